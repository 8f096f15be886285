//! The cases of the matrix, by chapter of the specification.

mod exec;
mod isolation;
mod mounts;
mod process;
mod resources;

pub(crate) use exec::process_file;

use super::bundle::Case;

/// Every case.
pub(crate) fn all() -> Vec<Case> {
    [process::cases(), mounts::cases(), isolation::cases(), resources::cases(), exec::cases()]
        .into_iter()
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn enough_cases_with_names_of_their_own() {
        let mut names: Vec<&str> = super::all().iter().map(|case| case.name).collect();
        assert!(names.len() >= 60, "{}", names.len());
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }
}
