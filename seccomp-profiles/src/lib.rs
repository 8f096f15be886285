//! OCI and Docker seccomp profiles, compiled to classic BPF.
#![forbid(unsafe_code)]

mod arch;
mod codegen;
mod compile;
mod emit;
mod error;
mod explain;
pub mod interpret;
mod oci;
mod policy;
mod program;
mod runs;
pub mod table;

pub use arch::{Arch, Endian};
pub use compile::{Listener, Options, compile};
pub use error::CompileError;
pub use explain::{Explainer, Explanation, Reason, explain};
pub use interpret::Call;
pub use oci::{Arg, Rule, Seccomp};
pub use program::{Instruction, MAX_INSTRUCTIONS, Program, action, flag};
