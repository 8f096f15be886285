//! `process.env`: the environment, in order, each name once.

use super::{PlanError, Result, c_string};
use std::collections::BTreeMap;
use std::ffi::CString;

/// Checks and deduplicates an environment: of several values for one name the last one counts, as in runc.
///
/// # Errors
/// An entry without `=`, with an empty name, or with a NUL character.
pub fn plan(path: &str, env: &[String]) -> Result<Vec<CString>> {
    // Not a hash table: that would ask the kernel for random numbers.
    let mut place: BTreeMap<&str, usize> = BTreeMap::new();
    let mut planned: Vec<CString> = Vec::with_capacity(env.len() + 1);
    for (index, entry) in env.iter().enumerate() {
        let name = match entry.split_once('=') {
            Some((name, _)) if !name.is_empty() => name,
            _ => {
                return Err(PlanError::at(
                    format_args!("{path}[{index}]"),
                    format!("{entry:?} is not NAME=VALUE"),
                ));
            }
        };
        let value = c_string(format_args!("{path}[{index}]"), entry)?;
        match place.get(name) {
            Some(position) => planned[*position] = value,
            None => {
                place.insert(name, planned.len());
                planned.push(value);
            }
        }
    }
    Ok(planned)
}

/// The value of `name` in a planned environment.
#[must_use]
pub fn value<'a>(env: &'a [CString], name: &str) -> Option<&'a [u8]> {
    env.iter().find_map(|entry| entry.to_bytes().strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_counts_and_bad_entries_are_named() {
        let env = ["A=1", "B=2", "A=3=4", "C="].map(str::to_owned);
        let planned = plan("process.env", &env).expect("valid");
        let planned: Vec<&str> = planned.iter().map(|entry| entry.to_str().expect("UTF-8")).collect();
        assert_eq!(planned, ["A=3=4", "B=2", "C="]);
        for bad in ["novalue", "=x", "A=\0"] {
            let error = plan("process.env", &["A=1".to_owned(), bad.to_owned()]).expect_err(bad).to_string();
            assert!(error.starts_with("process.env[1]: "), "{error}");
        }
    }
}
