//! Identifiers of containers and of processes in them. They come from the outside and become parts of paths.

/// Longer ones would not fit into a file name together with a suffix.
const MAX: usize = 200;

/// Why a text cannot be an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing there.
    #[error("it is empty")]
    Empty,
    /// More than fits into a file name.
    #[error("it is longer than {MAX} bytes")]
    TooLong,
    /// It would name another place.
    #[error(
        "it contains a character other than letters, digits, '.', '_', '-', '+' and ':', or begins with '.' or '-'"
    )]
    Character,
}

/// Checks that `name` can be a file's name and an argument of a command.
pub fn check(name: &str) -> Result<(), Error> {
    let first = name.bytes().next().ok_or(Error::Empty)?;
    if name.len() > MAX {
        return Err(Error::TooLong);
    }
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+:".contains(&byte);
    if matches!(first, b'.' | b'-') || !name.bytes().all(fine) {
        return Err(Error::Character);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_pass() {
        for good in ["a", "k8s_POD_x-1.2", "0123456789abcdef", "_under", &"x".repeat(MAX)] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [".", "..", "a/b", "../x", "-rf", "a b", "a\0", "a\n", "ä"] {
            assert_eq!(check(bad), Err(Error::Character), "{bad:?}");
        }
        assert_eq!(check(""), Err(Error::Empty));
        assert_eq!(check(&"x".repeat(MAX + 1)), Err(Error::TooLong));
    }
}
