//! The compiler's front: options, architectures and filter flags.

use crate::error::CompileError;
use crate::oci::Seccomp;
use crate::policy::Policy;
use crate::program::{Program, action, flag};
use crate::{Arch, arch, codegen, runs};

/// How many unknown system calls a warning names: profiles for many kernels have a few dozen.
const MOST_NAMED: usize = 200;

/// What a profile leaves to the runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The machine the program will run on. It is always filtered, whether or not the profile lists it.
    pub native: Option<Arch>,
    /// Answer ENOSYS, not the default action, to calls newer than the newest the profile names on that
    /// architecture: libc then falls back to older calls, where EPERM would make it give up. Never done where
    /// the default action is `SCMP_ACT_ALLOW`, `_LOG`, `_TRACE` or `_NOTIFY`.
    pub enosys: bool,
    /// Who gets user notifications.
    pub listener: Listener,
}

impl Default for Options {
    fn default() -> Self {
        Self { native: Arch::native(), enosys: true, listener: Listener::Agent }
    }
}

/// Who gets user notifications.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// The agent at `listenerPath`, to which the filtered process itself hands the descriptor with write(2).
    /// So neither write nor everything may be notified, as in runc.
    Agent,
    /// The caller, who has the descriptor without any help from the filtered process: anything may be
    /// notified.
    Caller,
}

impl Seccomp {
    /// Whether the profile says nothing at all, which means that no filter is loaded (as in runc).
    pub fn is_disabled(&self) -> bool {
        self.default_action.is_empty() && self.syscalls.is_empty()
    }
}

/// Compiles a profile.
///
/// # Errors
/// [`CompileError`] for the first thing that is wrong, with its JSON path.
pub fn compile(profile: &Seccomp, options: &Options) -> Result<Program, CompileError> {
    let mut policy = Policy::new(profile)?;
    let arches = architectures(profile, options.native)?;
    if options.listener == Listener::Agent {
        check_notify(profile)?;
    }
    let (flags, droppable_flags) = flags(profile, policy.notifies)?;
    let enosys = options.enosys && !is_permissive(policy.default);
    let sections = runs::sections(&mut policy, &arches, enosys);
    let instructions = codegen::program(&policy, &sections)?;
    let mut warnings = policy.warnings;
    if !policy.unknown.is_empty() {
        let named: Vec<&str> = policy.unknown.iter().take(MOST_NAMED).map(String::as_str).collect();
        let more = policy.unknown.len() - named.len();
        let and = if more > 0 { format!(" and {more} more") } else { String::new() };
        let names = named.join(", ");
        warnings.push(format!("linux.seccomp: unknown system calls are left out: {names}{and}"));
    }
    Ok(Program { instructions, flags, droppable_flags, listener: flags & flag::NEW_LISTENER != 0, warnings })
}

/// Whether a default action lets calls happen, or leaves them to somebody who can answer for new ones by
/// himself.
pub(crate) fn is_permissive(default: u32) -> bool {
    matches!(default & action::MASK, action::ALLOW | action::LOG | action::TRACE | action::NOTIFY)
}

/// The architectures to filter, the native one first, each once.
pub(crate) fn architectures(profile: &Seccomp, native: Option<Arch>) -> Result<Vec<Arch>, CompileError> {
    let mut arches: Vec<Arch> = native.into_iter().collect();
    for (index, name) in profile.architectures.iter().enumerate() {
        let path = || format!("linux.seccomp.architectures[{index}]");
        let Some(arch) = Arch::from_oci(name) else {
            let known =
                name.strip_prefix("SCMP_ARCH_").is_some_and(|short| arch::WITHOUT_TABLE.contains(&short));
            return Err(match known {
                true => CompileError::ArchitectureWithoutTable { path: path(), name: name.clone() },
                false => CompileError::Architecture { path: path(), name: name.clone() },
            });
        };
        if let Some(first) = arches.first().filter(|first| first.endian() != arch.endian()) {
            let native = first.oci_name();
            return Err(CompileError::Endian { path: path(), name: name.clone(), native });
        }
        if !arches.contains(&arch) {
            arches.push(arch);
        }
    }
    if arches.is_empty() {
        return Err(CompileError::NoArchitecture);
    }
    Ok(arches)
}

/// The process under the filter has to hand the listener over itself, with write(2).
fn check_notify(profile: &Seccomp) -> Result<(), CompileError> {
    const NOTIFY: &str = "SCMP_ACT_NOTIFY";
    if profile.default_action == NOTIFY {
        return Err(CompileError::NotifyDefault);
    }
    for (index, rule) in profile.syscalls.iter().enumerate().filter(|(_, rule)| rule.action == NOTIFY) {
        let path = format!("linux.seccomp.syscalls[{index}]");
        if rule.names.iter().any(|name| *name == *"write") {
            return Err(CompileError::NotifyWrite { path });
        }
        if profile.listener_path.is_empty() {
            return Err(CompileError::NoListener { path });
        }
    }
    Ok(())
}

/// (flags for seccomp(2), those of them that may be dropped). Without `flags` the default is SPEC_ALLOW where
/// the kernel has it, with an empty list it is none, as in runc.
fn flags(profile: &Seccomp, notifies: bool) -> Result<(u32, u32), CompileError> {
    let listener = if notifies { flag::NEW_LISTENER } else { 0 };
    let Some(names) = &profile.flags else {
        return Ok((flag::SPEC_ALLOW | listener, flag::SPEC_ALLOW));
    };
    let mut flags = listener;
    for (index, name) in names.iter().enumerate() {
        let path = || format!("linux.seccomp.flags[{index}]");
        flags |= match name.as_str() {
            // All threads get the filter, because the process that loads it has only one.
            "SECCOMP_FILTER_FLAG_TSYNC" => 0,
            "SECCOMP_FILTER_FLAG_LOG" => flag::LOG,
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => flag::SPEC_ALLOW,
            "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" if notifies => flag::WAIT_KILLABLE_RECV,
            "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => {
                return Err(CompileError::FlagNeedsNotify { path: path() });
            }
            _ => return Err(CompileError::Flag { path: path(), flag: name.clone() }),
        };
    }
    Ok((flags, 0))
}
