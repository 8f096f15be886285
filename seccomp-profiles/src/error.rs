//! What can be wrong with a profile. Every message begins with the JSON path of what is refused.

use thiserror::Error;

/// A profile that cannot be compiled. Nothing of it takes effect.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CompileError {
    /// An action that no kernel or specification knows.
    #[error(
        "{path}: {action:?} is not a seccomp action; expected SCMP_ACT_ALLOW, _ERRNO, _KILL, _KILL_THREAD, \
         _KILL_PROCESS, _TRAP, _TRACE, _LOG or _NOTIFY"
    )]
    Action {
        /// JSON path.
        path: String,
        /// As written.
        action: String,
    },
    /// An errno for an action that returns none (runtime-spec: "the runtime MUST print an error and fail").
    #[error("{path}: {action} does not return an errno; only SCMP_ACT_ERRNO and SCMP_ACT_TRACE do")]
    ErrnoUnused {
        /// JSON path.
        path: String,
        /// The action it was given for.
        action: String,
    },
    /// An errno beyond what the kernel passes on.
    #[error("{path}: {errno} is out of range; expected 0 to {max}")]
    ErrnoRange {
        /// JSON path.
        path: String,
        /// As written.
        errno: u32,
        /// The largest value of this action.
        max: u32,
    },
    /// A comparison that does not exist.
    #[error(
        "{path}: {op:?} is not a comparison; expected SCMP_CMP_EQ, _NE, _LT, _LE, _GT, _GE or _MASKED_EQ"
    )]
    Operator {
        /// JSON path.
        path: String,
        /// As written.
        op: String,
    },
    /// An argument beyond the six of a system call.
    #[error("{path}: {index} is not an argument of a system call; expected 0 to 5")]
    Index {
        /// JSON path.
        path: String,
        /// As written.
        index: u32,
    },
    /// An empty string among the names.
    #[error("{path}: an empty string is not a system call")]
    EmptyName {
        /// JSON path.
        path: String,
    },
    /// An architecture of no specification.
    #[error("{path}: {name:?} is not an architecture; expected a name such as SCMP_ARCH_X86_64")]
    Architecture {
        /// JSON path.
        path: String,
        /// As written.
        name: String,
    },
    /// An architecture of the specification that this build has no system call table for.
    #[error("{path}: {name:?} is not supported: there is no system call table for it")]
    ArchitectureWithoutTable {
        /// JSON path.
        path: String,
        /// As written.
        name: String,
    },
    /// An architecture of the other byte order than the machine's.
    #[error("{path}: {name:?} has another byte order than {native}, so no program can serve both")]
    Endian {
        /// JSON path.
        path: String,
        /// As written.
        name: String,
        /// The machine's.
        native: String,
    },
    /// No architecture is named, and this build runs on one without a table.
    #[error("linux.seccomp.architectures: empty, and there is no system call table for this machine")]
    NoArchitecture,
    /// A filter flag that does not exist.
    #[error(
        "{path}: seccomp flag {flag:?} is not known; expected SECCOMP_FILTER_FLAG_TSYNC, _LOG, _SPEC_ALLOW or \
         _WAIT_KILLABLE_RECV"
    )]
    Flag {
        /// JSON path.
        path: String,
        /// As written.
        flag: String,
    },
    /// A flag that only works with a listener, in a profile without one (the kernel would say EINVAL).
    #[error("{path}: SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV needs a rule with SCMP_ACT_NOTIFY")]
    FlagNeedsNotify {
        /// JSON path.
        path: String,
    },
    /// Notification of everything: the process could not even hand its listener over.
    #[error("linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be used as default action")]
    NotifyDefault,
    /// Notification of the call that hands the listener over.
    #[error("{path}: SCMP_ACT_NOTIFY cannot be used for the write syscall")]
    NotifyWrite {
        /// JSON path.
        path: String,
    },
    /// Notification with nobody to notify.
    #[error("{path}: SCMP_ACT_NOTIFY needs linux.seccomp.listenerPath, which is empty")]
    NoListener {
        /// JSON path.
        path: String,
    },
    /// Two rules that match the same calls and disagree.
    #[error("{path}: {name:?} has another action with the same conditions in {earlier}")]
    Contradiction {
        /// JSON path of the later rule.
        path: String,
        /// The system call.
        name: String,
        /// JSON path of the earlier rule.
        earlier: String,
    },
    /// More conditions than a program could test, by far.
    #[error("{path}: with this rule there are more than {limit} conditions on names in the profile")]
    TooManyConditions {
        /// JSON path of the rule's conditions.
        path: String,
        /// The most there may be: each rule's sets of conditions, times its names.
        limit: usize,
    },
    /// The kernel takes no more than 4096 instructions (`BPF_MAXINSNS`).
    #[error(
        "linux.seccomp: the profile needs {needed} instructions, and the kernel takes no more than {limit}"
    )]
    TooLong {
        /// Instructions the profile needs.
        needed: usize,
        /// The kernel's limit.
        limit: usize,
    },
}
