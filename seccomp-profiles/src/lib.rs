//! OCI and Docker seccomp profiles, compiled to classic BPF; the profiles that are shipped; and the way from
//! a recording to a profile. Pure: no system call is made here. Loading a [`Program`] with seccomp(2), and
//! handing a listener to its agent, is the runtime's work.
//!
//! # How the program is built
//!
//! 1. `policy` validates the profile and resolves names to *rows* of one sorted list of all names, once for
//!    all architectures: each row says *always this action*, *these rules in order*, or nothing.
//! 2. `runs` walks each architecture's list of (number, row), which is generated in order of the numbers, and
//!    writes down where the outcome changes: some four hundred numbers become fifty to a hundred and fifty
//!    runs. The end of the numbers that the profile knows is one more run, of ENOSYS.
//! 3. `codegen` makes runs a binary tree of `jge`. A leaf is a run together with up to four single numbers in
//!    it that differ, a `jeq` each. Rules about arguments become the same kind of tree over the argument's
//!    values, upper word first; they are written once for each width of arguments and shared by all
//!    architectures.
//! 4. `emit` writes from the program's end to its beginning: jumps only go forward, so each distance is known
//!    when the jump is written. A `ret` that is too far away is written again, anything else gets a `ja`.
//!
//! ```text
//!  ld arch ─ jeq x86_64 ─┬─ ld nr ─ jge 0x40000000 ─┬─ jge 174 ─┬─ jge 101 ─┬─ jeq 48 … ret ALLOW
//!            │           │          (x32 above)     │  (numbers of x86_64)   └─ … ret ERRNO(1)
//!            │           │                          ├─ jeq 41 ─ ld args[0] hi ─ jeq 0 ─ ld lo ─ jge 12 … (socket)
//!            │           │                          └─ jge 467 ─ ret ERRNO(38)   newer than the profile
//!            jeq x86 ────── ld nr ─ …  the same tests of arguments, on lower words only
//!            ret KILL_THREAD           an architecture that is not listed
//! ```
//!
//! The kernel evaluates such a program once per number when it is loaded, as long as it looks at number and
//! architecture only, and never runs it again for calls that come out as allowed (Linux 5.11). So nothing
//! cleverer than comparisons is used before an argument is looked at, and a short way through the tree makes
//! loading fast.
//!
//! # Why it can be believed
//!
//! [`interpret`] runs programs as the kernel does, [`Explainer`] reads profiles rule by rule without knowing
//! the compiler. Tests compare the two, and both with seccompiler and libseccomp, on random profiles, for
//! every number of every architecture and for arguments around every value that occurs.
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
mod name;
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
pub use name::Name;
pub use oci::{Arg, Rule, Seccomp};
pub use profiles::{PROFILES, profile};
pub use program::{Instruction, MAX_INSTRUCTIONS, Program, action, flag};
