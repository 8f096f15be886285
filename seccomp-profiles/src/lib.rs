//! OCI and Docker seccomp profiles, compiled to classic BPF.
#![forbid(unsafe_code)]

mod arch;
mod codegen;
mod compile;
mod disassemble;
pub mod docker;
mod emit;
mod error;
mod explain;
pub mod interpret;
mod oci;
mod policy;
mod profiles;
mod program;
pub mod record;
mod runs;
pub mod table;

pub use arch::{Arch, Endian};
pub use compile::{Listener, Options, compile};
pub use disassemble::disassemble;
pub use docker::DockerProfile;
pub use error::CompileError;
pub use explain::{Explainer, Explanation, Reason, explain};
pub use interpret::Call;
pub use oci::{Arg, Rule, Seccomp};
pub use profiles::{PROFILES, profile};
pub use program::{Instruction, MAX_INSTRUCTIONS, Program, action, flag};
