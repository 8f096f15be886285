//! `hooks`: programs to run at points of a container's life.

use super::{PlanError, Result};
use crate::spec;

/// Checks all hooks.
///
/// # Errors
/// A path that is not absolute, a timeout that is not above zero.
pub fn check(hooks: &spec::Hooks) -> Result<()> {
    let kinds = [
        ("prestart", &hooks.prestart),
        ("createRuntime", &hooks.create_runtime),
        ("createContainer", &hooks.create_container),
        ("startContainer", &hooks.start_container),
        ("poststart", &hooks.poststart),
        ("poststop", &hooks.poststop),
    ];
    for (kind, hooks) in kinds {
        for (index, hook) in hooks.iter().enumerate() {
            let at = |field: &str, problem: String| {
                PlanError::at(format!("hooks.{kind}[{index}].{field}"), problem)
            };
            if !hook.path.starts_with('/') {
                return Err(at("path", format!("{:?} is not an absolute path", hook.path)));
            }
            if let Some(timeout) = hook.timeout.filter(|timeout| *timeout <= 0) {
                return Err(at("timeout", format!("{timeout} is not above 0 seconds")));
            }
        }
    }
    Ok(())
}
