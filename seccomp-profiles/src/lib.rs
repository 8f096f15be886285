//! OCI and Docker seccomp profiles, compiled to classic BPF.
#![forbid(unsafe_code)]

mod oci;
pub use oci::{Arg, Rule, Seccomp};
