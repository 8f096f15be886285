//! A profile, validated and turned from names into rows: what each name's rules are, on any architecture.
//!
//! How rules combine is libseccomp's behaviour, which every profile in the field was written against: a rule
//! with the default's action says nothing; a rule without conditions beats all rules with conditions; of two
//! rules without conditions the first counts. Of overlapping rules with conditions the first in the profile
//! counts (libseccomp's order there depends on its internal sorting).

use crate::error::CompileError;
use crate::oci::{Arg, Rule, Seccomp};
use crate::program::{MAX_INSTRUCTIONS, action, errno};
use crate::table::{ROWS, RowId};
use std::collections::BTreeSet;

/// How many times a profile may put conditions on a name, all rules and names taken together. Each such time
/// costs an instruction, unless it happens to say no more than its neighbours do; every new one is compared
/// with those before it, so that without an end to them a few megabytes of profile would take hours.
pub(crate) const MOST_CONDITIONS: usize = 2 * MAX_INSTRUCTIONS;

/// How many rules that decide nothing are told of one by one. Profiles in the field have a handful.
const MOST_USELESS: usize = 100;

/// A comparison of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Condition {
    /// 0 to 5.
    pub(crate) arg: u8,
    pub(crate) test: Test,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Test {
    Equal(u64),
    NotEqual(u64),
    Less(u64),
    LessEqual(u64),
    Greater(u64),
    GreaterEqual(u64),
    /// `argument & mask == value`; bits of the value outside the mask are already cleared.
    Masked {
        mask: u64,
        value: u64,
    },
}

/// Index in `Policy::chains`.
pub(crate) type ChainId = u16;

/// A rule as it applies to one name: all conditions must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Guard {
    /// Index in `syscalls`.
    pub(crate) rule: u32,
    pub(crate) conditions: Vec<Condition>,
    /// `SECCOMP_RET_*` with data.
    pub(crate) result: u32,
}

/// What the profile says about one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing: the profile does not name it.
    Unnamed,
    /// The default action, in so many words.
    Default,
    /// Always this.
    Always {
        /// Index in `syscalls`.
        rule: u32,
        /// `SECCOMP_RET_*` with data.
        result: u32,
    },
    /// These rules, then the default.
    Chain(ChainId),
}

/// A whole profile.
pub(crate) struct Policy {
    /// `SECCOMP_RET_*` with data.
    pub(crate) default: u32,
    /// By row.
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) chains: Vec<Vec<Guard>>,
    /// Names without a row.
    pub(crate) unknown: BTreeSet<String>,
    /// Whether any rule notifies.
    pub(crate) notifies: bool,
    /// What the author may want to know, one sentence each.
    pub(crate) warnings: Vec<String>,
    /// How many conditions there were, of [`MOST_CONDITIONS`].
    conditions: usize,
    /// How many times a rule turned out to decide nothing.
    useless: usize,
}

/// Parses the action and the errno of a rule, or of the default.
pub(crate) fn parse_action(rule: Option<u32>, name: &str, code: Option<u32>) -> Result<u32, CompileError> {
    let path = |of_rule: &str, of_default: &str| match rule {
        Some(index) => format!("linux.seccomp.syscalls[{index}].{of_rule}"),
        None => format!("linux.seccomp.{of_default}"),
    };
    let errno_path = || path("errnoRet", "defaultErrnoRet");
    let with_data = |base: u32, max: u32| {
        let errno = code.unwrap_or(errno::EPERM);
        if errno > max {
            return Err(CompileError::ErrnoRange { path: errno_path(), errno, max });
        }
        Ok(base | errno)
    };
    let plain = match name {
        "SCMP_ACT_ERRNO" => return with_data(action::ERRNO, errno::MAX),
        "SCMP_ACT_TRACE" => return with_data(action::TRACE, action::DATA),
        "SCMP_ACT_ALLOW" => action::ALLOW,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => action::KILL_THREAD,
        "SCMP_ACT_KILL_PROCESS" => action::KILL_PROCESS,
        "SCMP_ACT_TRAP" => action::TRAP,
        "SCMP_ACT_LOG" => action::LOG,
        "SCMP_ACT_NOTIFY" => action::NOTIFY,
        _ => {
            return Err(CompileError::Action {
                path: path("action", "defaultAction"),
                action: name.to_owned(),
            });
        }
    };
    match code {
        None => Ok(plain),
        Some(_) => Err(CompileError::ErrnoUnused { path: errno_path(), action: name.to_owned() }),
    }
}

fn parse_condition(rule: u32, index: usize, arg: &Arg) -> Result<Condition, CompileError> {
    let path = |field: &str| format!("linux.seccomp.syscalls[{rule}].args[{index}].{field}");
    let position = match u8::try_from(arg.index) {
        Ok(position @ 0..=5) => position,
        _ => return Err(CompileError::Index { path: path("index"), index: arg.index }),
    };
    let test = match arg.op.as_str() {
        "SCMP_CMP_EQ" => Test::Equal(arg.value),
        "SCMP_CMP_NE" => Test::NotEqual(arg.value),
        "SCMP_CMP_LT" => Test::Less(arg.value),
        "SCMP_CMP_LE" => Test::LessEqual(arg.value),
        "SCMP_CMP_GT" => Test::Greater(arg.value),
        "SCMP_CMP_GE" => Test::GreaterEqual(arg.value),
        "SCMP_CMP_MASKED_EQ" => Test::Masked { mask: arg.value, value: arg.value_two & arg.value },
        _ => return Err(CompileError::Operator { path: path("op"), op: arg.op.clone() }),
    };
    Ok(Condition { arg: position, test })
}

/// The alternatives a rule's `args` stand for: usually one, whose conditions must all hold. When two
/// conditions are about the same argument, every condition is an alternative of its own, as in every runtime
/// since the format began.
fn parse_conditions(rule: u32, args: &[Arg]) -> Result<Vec<Vec<Condition>>, CompileError> {
    let mut conditions = Vec::with_capacity(args.len());
    let mut seen = 0u8;
    let mut repeated = false;
    for (index, arg) in args.iter().enumerate() {
        let condition = parse_condition(rule, index, arg)?;
        repeated |= seen & (1 << condition.arg) != 0;
        seen |= 1 << condition.arg;
        conditions.push(condition);
    }
    // The order in which conditions are tested makes no difference to the result; this one makes equal rules
    // equal.
    conditions.sort_by_key(|condition| condition.arg);
    Ok(if repeated {
        conditions.into_iter().map(|condition| vec![condition]).collect()
    } else {
        vec![conditions]
    })
}

impl Policy {
    /// Validates a profile's actions, conditions and names.
    pub(crate) fn new(profile: &Seccomp) -> Result<Self, CompileError> {
        let default = parse_action(None, &profile.default_action, profile.default_errno_ret)?;
        let mut policy = Self {
            default,
            verdicts: vec![Verdict::Unnamed; ROWS],
            chains: Vec::new(),
            unknown: BTreeSet::new(),
            notifies: default == action::NOTIFY,
            warnings: Vec::new(),
            conditions: 0,
            useless: 0,
        };
        for (index, rule) in (0..).zip(&profile.syscalls) {
            policy.add_rule(index, rule)?;
        }
        if let Some(more) = policy.useless.checked_sub(MOST_USELESS).filter(|more| *more > 0) {
            policy
                .warnings
                .push(format!("linux.seccomp.syscalls: {more} more rules or names decide nothing"));
        }
        Ok(policy)
    }

    fn add_rule(&mut self, index: u32, rule: &Rule) -> Result<(), CompileError> {
        let path = || format!("linux.seccomp.syscalls[{index}].names");
        let result = parse_action(Some(index), &rule.action, rule.errno_ret)?;
        let alternatives = parse_conditions(index, &rule.args)?;
        self.notifies |= result == action::NOTIFY;
        if rule.names.is_empty() {
            self.warn_useless(|| format!("{}: empty, so the rule decides nothing", path()));
        }
        for (position, name) in rule.names.iter().enumerate() {
            if name.is_empty() {
                return Err(CompileError::EmptyName { path: format!("{}[{position}]", path()) });
            }
            let Some(row) = name.row() else {
                if !self.unknown.contains(name.as_str()) {
                    self.unknown.insert(name.to_string());
                }
                continue;
            };
            if result == self.default {
                self.name_default(row);
            } else if rule.args.is_empty() {
                self.add_always(row, index, name, result);
            } else {
                self.add_guards(row, index, name, &alternatives, result)?;
            }
        }
        Ok(())
    }

    fn verdict(&self, row: RowId) -> Verdict {
        self.verdicts[usize::from(row)]
    }

    fn name_default(&mut self, row: RowId) {
        let verdict = &mut self.verdicts[usize::from(row)];
        if *verdict == Verdict::Unnamed {
            *verdict = Verdict::Default;
        }
    }

    /// A rule without conditions replaces all rules with conditions. A second one is left out, and said so:
    /// engines ship profiles with such pairs (podman's names setns twice), so it cannot be an error.
    fn add_always(&mut self, row: RowId, rule: u32, name: &str, result: u32) {
        match self.verdict(row) {
            Verdict::Always { rule: first, result: before } => {
                if before != result {
                    self.warn_overruled(rule, name, first);
                }
            }
            Verdict::Chain(chain) => {
                let other = self.chains[usize::from(chain)].iter().find(|guard| guard.result != result);
                if let Some(other) = other.map(|guard| guard.rule) {
                    self.warn_overruled(other, name, rule);
                }
                self.verdicts[usize::from(row)] = Verdict::Always { rule, result };
            }
            Verdict::Unnamed | Verdict::Default => {
                self.verdicts[usize::from(row)] = Verdict::Always { rule, result };
            }
        }
    }

    fn add_guards(
        &mut self,
        row: RowId,
        rule: u32,
        name: &str,
        alternatives: &[Vec<Condition>],
        result: u32,
    ) -> Result<(), CompileError> {
        let chain = match self.verdict(row) {
            Verdict::Always { rule: first, result: before } => {
                if before != result {
                    self.warn_overruled(rule, name, first);
                }
                return Ok(());
            }
            Verdict::Chain(chain) => chain,
            Verdict::Unnamed | Verdict::Default => {
                let chain = self.add_chain(Vec::new());
                self.verdicts[usize::from(row)] = Verdict::Chain(chain);
                chain
            }
        };
        self.conditions += alternatives.len();
        if self.conditions > MOST_CONDITIONS {
            return Err(CompileError::TooManyConditions {
                path: format!("linux.seccomp.syscalls[{rule}].args"),
                limit: MOST_CONDITIONS,
            });
        }
        for conditions in alternatives {
            let same = self.chains[usize::from(chain)].iter().find(|guard| guard.conditions == *conditions);
            match same {
                Some(guard) if guard.result != result => return Err(contradiction(rule, name, guard.rule)),
                Some(_) => {}
                None => self.chains[usize::from(chain)].push(Guard {
                    rule,
                    conditions: conditions.clone(),
                    result,
                }),
            }
        }
        Ok(())
    }

    /// Adds rules for one name, or for one number.
    pub(crate) fn add_chain(&mut self, guards: Vec<Guard>) -> ChainId {
        self.chains.push(guards);
        // There are as many as names and numbers, a few thousand at most.
        ChainId::try_from(self.chains.len() - 1).unwrap_or(ChainId::MAX)
    }

    fn warn_overruled(&mut self, rule: u32, name: &str, decides: u32) {
        self.warn_useless(|| {
            format!(
                "linux.seccomp.syscalls[{rule}]: never decides {name}, which syscalls[{decides}] decides without conditions"
            )
        });
    }

    fn warn_useless(&mut self, text: impl FnOnce() -> String) {
        self.useless += 1;
        if self.useless <= MOST_USELESS {
            self.warnings.push(text());
        }
    }
}

fn contradiction(rule: u32, name: &str, earlier: u32) -> CompileError {
    CompileError::Contradiction {
        path: format!("linux.seccomp.syscalls[{rule}]"),
        name: name.to_owned(),
        earlier: format!("linux.seccomp.syscalls[{earlier}]"),
    }
}
