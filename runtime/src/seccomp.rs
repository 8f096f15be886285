//! The container's system call filter: compiled once at create, kept for exec, loaded by the process itself.

use crate::plan::PlanError;
use crate::sys::{self, Errno};
use seccomp_profiles::{Instruction, Options, Seccomp, compile, flag};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

/// A filter as it is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// The program, as it lies in memory.
    pub program: Vec<u8>,
    /// `SECCOMP_FILTER_FLAG_…`.
    pub flags: u64,
    /// Those of the flags that nobody asked for: left out where the kernel does not know them.
    pub droppable: u64,
}

/// The annotation that turns off `ENOSYS` for system calls newer than the profile.
pub const NO_ENOSYS: &str = "org.corten.seccomp.enosys";

/// Compiles `linux.seccomp`; `None` when it says nothing.
///
/// # Errors
/// A field that cannot be carried out, by its JSON path.
pub fn plan(
    seccomp: Option<&Seccomp>,
    annotations: &BTreeMap<String, String>,
    warnings: &mut Vec<String>,
) -> Result<Option<Filter>, PlanError> {
    let Some(profile) = seccomp.filter(|profile| !profile.is_disabled()) else { return Ok(None) };
    let enosys = match annotations.get(NO_ENOSYS).map(String::as_str) {
        None | Some("true") => true,
        Some("false") => false,
        Some(other) => {
            let problem = format!("{other:?} is neither true nor false");
            return Err(PlanError::at(format!("annotations[{NO_ENOSYS:?}]"), problem));
        }
    };
    let options = Options { enosys, ..Options::default() };
    let program = compile(profile, &options).map_err(|error| PlanError::Seccomp(error.to_string()))?;
    if program.listener && profile.listener_path.is_empty() {
        return Err(PlanError::at("linux.seccomp.listenerPath", "is empty, but SCMP_ACT_NOTIFY is used"));
    }
    warnings.extend(program.warnings);
    Ok(Some(Filter {
        program: bytes(&program.instructions),
        flags: u64::from(program.flags),
        droppable: u64::from(program.droppable_flags),
    }))
}

fn bytes(instructions: &[Instruction]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(instructions.len() * sys::seccomp::INSTRUCTION);
    for instruction in instructions {
        bytes.extend_from_slice(&instruction.code.to_ne_bytes());
        bytes.extend_from_slice(&[instruction.jt, instruction.jf]);
        bytes.extend_from_slice(&instruction.k.to_ne_bytes());
    }
    bytes
}

impl Filter {
    /// Whether loading it returns a listener for an agent.
    #[must_use]
    pub fn has_listener(&self) -> bool {
        self.flags & u64::from(flag::NEW_LISTENER) != 0
    }

    /// Loads it for this process; returns the listener if it has one.
    ///
    /// # Errors
    /// The errno of seccomp(2).
    pub fn load(&self) -> Result<Option<OwnedFd>, Errno> {
        match sys::seccomp::load(&self.program, self.flags) {
            Err(Errno::EINVAL) if self.droppable != 0 => {
                sys::seccomp::load(&self.program, self.flags & !self.droppable)
            }
            result => result,
        }
    }
}
