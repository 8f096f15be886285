//! The container's system call filter: compiled once at create, kept for exec, loaded by the process itself.
//!
//! Decides which filter it is (the profile of config.json, a program given whole, or one that watches every call) and
//! knows nothing of how it gets into the kernel's hands but the one call.

use crate::plan::PlanError;
use crate::spec::Config;
use crate::sys::{self, Errno};
use crate::wire::LISTENER_FLAGS;
use seccomp_profiles::record::{UNWATCHED, let_through, watch};
use seccomp_profiles::{
    Arch, Call, Instruction, Listener, MAX_INSTRUCTIONS, Name, Options, Seccomp, action, compile, flag,
    interpret, table,
};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;

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
/// The annotation with the agent's socket, where the profile has no `listenerPath` (crun(1)).
pub const RECEIVER: &str = "run.oci.seccomp.receiver";
/// The environment variable for the same, where there is no annotation either (crun(1)).
pub const RECEIVER_VARIABLE: &str = "RUN_OCI_SECCOMP_RECEIVER";
/// The annotation that makes unknown names in a profile an error, if it is not `0` (crun(1)).
pub const FAIL_UNKNOWN: &str = "run.oci.seccomp_fail_unknown_syscall";
/// The annotation with a program in base64 that takes the profile's place (crun(1)).
pub const RAW_PROGRAM: &str = "run.oci.seccomp_bpf_data";

/// Settles on the filter of a new container; `None` when there is to be none. The profile's `listenerPath` becomes the
/// one that counts. With `watcher`, the socket of a recorder, the filter watches every call and nothing else matters.
///
/// # Errors
/// A field or annotation that cannot be carried out, by its JSON path.
pub fn plan(
    config: &mut Config,
    watcher: Option<&Path>,
    warnings: &mut Vec<String>,
) -> Result<Option<Filter>, PlanError> {
    if let Some(socket) = watcher {
        let profile = config.linux.get_or_insert_default().seccomp.insert(Seccomp::default());
        profile.listener_path = socket.to_string_lossy().into_owned();
        return watching().map(Some);
    }
    let annotations = &config.annotations;
    let raw = annotations.get(RAW_PROGRAM);
    let linux = config.linux.as_mut();
    let Some(profile) = linux.and_then(|linux| match raw {
        Some(_) => Some(linux.seccomp.get_or_insert_default()),
        None => linux.seccomp.as_mut(),
    }) else {
        return Ok(None);
    };
    if profile.listener_path.is_empty() {
        profile.listener_path = receiver(annotations)?;
    }
    match raw {
        Some(text) => given(text, profile).map(Some),
        None if profile.is_disabled() => Ok(None),
        None => compiled(profile, annotations, warnings).map(Some),
    }
}

fn annotation(key: &str, problem: impl Into<String>) -> PlanError {
    PlanError::at(format!("annotations[{key:?}]"), problem)
}

/// The agent that is named beside the profile; empty: none.
fn receiver(annotations: &BTreeMap<String, String>) -> Result<String, PlanError> {
    let path = match annotations.get(RECEIVER) {
        Some(path) => path.clone(),
        None => std::env::var(RECEIVER_VARIABLE).unwrap_or_default(),
    };
    match path.is_empty() || path.starts_with('/') {
        true => Ok(path),
        false => Err(annotation(RECEIVER, format!("{path:?} is not an absolute path"))),
    }
}

fn compiled(
    profile: &Seccomp,
    annotations: &BTreeMap<String, String>,
    warnings: &mut Vec<String>,
) -> Result<Filter, PlanError> {
    let enosys = match annotations.get(NO_ENOSYS).map(String::as_str) {
        None | Some("true") => true,
        Some("false") => false,
        Some(other) => return Err(annotation(NO_ENOSYS, format!("{other:?} is neither true nor false"))),
    };
    if annotations.get(FAIL_UNKNOWN).is_some_and(|value| value != "0") {
        refuse_unknown(profile)?;
    }
    let options = Options { enosys, ..Options::default() };
    let program = compile(profile, &options).map_err(|error| PlanError::Seccomp(error.to_string()))?;
    warnings.extend(program.warnings);
    Ok(Filter {
        program: bytes(&program.instructions),
        flags: u64::from(program.flags),
        droppable: u64::from(program.droppable_flags),
    })
}

fn refuse_unknown(profile: &Seccomp) -> Result<(), PlanError> {
    for (index, rule) in profile.syscalls.iter().enumerate() {
        let unknown = |name: &&Name| table::known(name).is_none();
        if let Some((at, name)) = rule.names.iter().enumerate().find(|(_, name)| unknown(name)) {
            let path = format!("linux.seccomp.syscalls[{index}].names[{at}]");
            return Err(PlanError::at(path, format!("{name:?} is not a known system call")));
        }
    }
    Ok(())
}

/// A program that was given whole, with the flags of the profile that it replaces. Where there is an agent, it gets the
/// listener: what the program returns is not looked at.
fn given(text: &str, profile: &Seccomp) -> Result<Filter, PlanError> {
    let problem = |problem: &str| annotation(RAW_PROGRAM, problem);
    let program = base64(text).ok_or_else(|| problem("is not base64"))?;
    let count = program.len() / sys::seccomp::INSTRUCTION;
    if !program.len().is_multiple_of(sys::seccomp::INSTRUCTION) || count == 0 || count > MAX_INSTRUCTIONS {
        return Err(problem(&format!(
            "{} bytes are no program; expected 1 to {MAX_INSTRUCTIONS} instructions of {} bytes",
            program.len(),
            sys::seccomp::INSTRUCTION
        )));
    }
    let flags_only = Seccomp {
        default_action: "SCMP_ACT_ALLOW".to_owned(),
        flags: profile.flags.clone(),
        ..Seccomp::default()
    };
    let flags =
        compile(&flags_only, &Options::default()).map_err(|error| PlanError::Seccomp(error.to_string()))?;
    let listener = if profile.listener_path.is_empty() { 0 } else { flag::NEW_LISTENER };
    Ok(Filter {
        program,
        flags: u64::from(flags.flags | listener),
        droppable: u64::from(flags.droppable_flags),
    })
}

/// Base64 with padding (RFC 4648 §4), as Go's `StdEncoding` and crun write it. `None` for anything else.
fn base64(text: &str) -> Option<Vec<u8>> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    if padding > 2 || !text.len().is_multiple_of(4) {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for digit in digits.bytes() {
        let value = ALPHABET.iter().position(|letter| *letter == digit)?;
        bits = bits << 6 | u32::try_from(value).ok()?;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    Some(bytes)
}

/// The filter of a recording: every call is notified, but for the one that hands the listener over.
fn watching() -> Result<Filter, PlanError> {
    let missing = || PlanError::Seccomp("there is no system call table for this machine".to_owned());
    let arch = Arch::native().ok_or_else(missing)?;
    let options = Options { listener: Listener::Caller, ..Options::default() };
    let program =
        compile(&watch(arch, &UNWATCHED), &options).map_err(|error| PlanError::Seccomp(error.to_string()))?;
    let flags = u64::from(LISTENER_FLAGS.unsigned_abs());
    let hand_over = Call::named(arch, "sendmsg", [0, 0, flags, 0, 0, 0]).ok_or_else(missing)?;
    let program = let_through(program.instructions, &hand_over, 2);
    // A call that is interrupted is notified again, for ever if signals come faster than answers; newer kernels let it
    // wait once it has been looked at.
    let droppable = u64::from(flag::SPEC_ALLOW | flag::WAIT_KILLABLE_RECV);
    Ok(Filter { program: bytes(&program), flags: droppable | u64::from(flag::NEW_LISTENER), droppable })
}

fn bytes(instructions: &[Instruction]) -> Vec<u8> {
    let each = |instruction: &Instruction| -> [u8; sys::seccomp::INSTRUCTION] {
        let ([a, b], [k, l, m, n]) = (instruction.code.to_ne_bytes(), instruction.k.to_ne_bytes());
        [a, b, instruction.jt, instruction.jf, k, l, m, n]
    };
    instructions.iter().map(each).collect::<Vec<_>>().into_flattened()
}

/// What [`bytes`] made of an instruction, as that again.
fn instruction(bytes: &[u8]) -> Option<Instruction> {
    let [a, b, jt, jf, k @ ..] = bytes else { return None };
    Some(Instruction {
        code: u16::from_ne_bytes([*a, *b]),
        jt: *jt,
        jf: *jf,
        k: u32::from_ne_bytes(k.try_into().ok()?),
    })
}

impl Filter {
    /// Whether loading it returns a listener for an agent.
    #[must_use]
    pub fn has_listener(&self) -> bool {
        self.flags & u64::from(flag::NEW_LISTENER) != 0
    }

    /// Whether it lets a call through, told without making the call: with the least and with the greatest arguments, as no
    /// sensible rule is about the addresses in between.
    #[must_use]
    pub fn allows(&self, name: &str) -> bool {
        let words = self.program.chunks_exact(sys::seccomp::INSTRUCTION);
        let instructions: Vec<Instruction> = words.filter_map(instruction).collect();
        [[0; 6], [u64::MAX; 6]].into_iter().all(|args| {
            let call = Arch::native().and_then(|arch| Call::named(arch, name, args));
            let result = call.and_then(|call| interpret::run(&instructions, &call).ok());
            result.is_some_and(|(result, _)| result == action::ALLOW)
        })
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

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_is_read_strictly() {
        for (text, bytes) in
            [("", &b""[..]), ("Zg==", b"f"), ("Zm8=", b"fo"), ("Zm9v", b"foo"), ("+/+/", &[251, 255, 191])]
        {
            assert_eq!(base64(text).as_deref(), Some(bytes), "{text}");
        }
        for text in ["Z", "Zg", "Zg=", "Zg===", "Zm9v\n", "Zm 9", "=Zm8", "Zm-_"] {
            assert_eq!(base64(text), None, "{text}");
        }
    }
}
