//! Skipping a test visibly.
//!
//! libtest has no word for "not here", so a skipped test says so past its capture of the output, as
//! `skipped: needs X [test]`, and returns. The `suite` program counts these lines.

use std::io::Write;

/// Says why the current test does not run. Used through [`crate::skip!`] and [`crate::since!`].
pub fn say(reason: &str) {
    let thread = std::thread::current();
    let line = format!("skipped: {reason} [{}]\n", thread.name().unwrap_or("?"));
    // Not eprint!, which libtest captures. One write, so that lines of parallel tests do not mix.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Leaves the test, saying what this machine lacks: `skip!("needs X")`.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)*) => {{
        $crate::skip::say(&format!($($reason)*));
        return;
    }};
}

/// Leaves the test when the runtime is a control that is too old for it: `since!("time namespaces", "runc
/// 1.2")`.
///
/// Each control is a name and the first version that has the feature, or `-` when no version has. Corten has
/// no such line: it must pass.
#[macro_export]
macro_rules! since {
    ($feature:literal, $($control:literal),+) => {
        if let Some(reason) = $crate::runtime::runtime().lacks($feature, &[$($control),+]) {
            $crate::skip!("{reason}");
        }
    };
}

/// Leaves the test unless an expression is `Some`, whose value it is otherwise: `needs!(option, "X")`.
#[macro_export]
macro_rules! needs {
    ($option:expr, $($what:tt)*) => {
        match $option {
            Some(value) => value,
            None => $crate::skip!("needs {}", format_args!($($what)*)),
        }
    };
}
