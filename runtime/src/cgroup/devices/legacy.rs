//! Device rules as the files of the v1 `devices` controller (Documentation/admin-guide/cgroup-v1/devices.rst).
//!
//! v1 knows a default, allow or deny, and a list of exceptions to it. A hole in an exception cannot be expressed there,
//! and the kernel forgets such a request silently; here it is an error.

use super::super::dir::{Dir, write_once};
use super::super::error::{Error, Result};
use super::{Access, Devices, Kind, Rule};
use crate::sys::Errno;
use crate::sys::fd::LazyFd;
use nix::fcntl::OFlag;
use std::os::fd::AsFd;

/// A default and its exceptions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in super::super) struct Policy {
    allow: bool,
    exceptions: Exceptions,
}

/// Devices with access, in the order in which they were first named: `devices.list` then shows them as the configuration
/// has them.
#[derive(Debug, Clone, Default)]
struct Exceptions(Vec<(Devices, Access)>);

impl PartialEq for Exceptions {
    /// The order means nothing.
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.0.iter().all(|(devices, access)| other.of(*devices) == *access)
    }
}

impl Eq for Exceptions {}

impl Exceptions {
    /// The access of exactly these devices; none if they are not named.
    fn of(&self, devices: Devices) -> Access {
        self.0.iter().find(|(other, _)| *other == devices).map_or_else(Access::default, |(_, access)| *access)
    }

    fn add(&mut self, devices: Devices, access: Access) {
        match self.0.iter_mut().find(|(other, _)| *other == devices) {
            Some((_, theirs)) => *theirs = theirs.plus(access),
            None => self.0.push((devices, access)),
        }
    }
}

impl Policy {
    /// What `rules` mean, taken in order from "nothing is allowed".
    ///
    /// # Errors
    /// A rule that v1 cannot express.
    pub(in super::super) fn new(rules: &[Rule]) -> Result<Self> {
        let mut policy = Self::default();
        for rule in rules {
            policy.apply(rule)?;
        }
        Ok(policy)
    }

    fn apply(&mut self, rule: &Rule) -> Result<()> {
        if rule.devices == Devices::default() && rule.access == Access::ALL {
            *self = Self { allow: rule.allow, exceptions: Exceptions::default() };
            return Ok(());
        }
        let kinds = match rule.devices.kind {
            None => vec![Kind::Block, Kind::Char],
            Some(kind) => vec![kind],
        };
        for kind in kinds {
            let devices = Devices { kind: Some(kind), ..rule.devices };
            if rule.allow == self.allow {
                self.remove(devices, rule)?;
            } else {
                self.add(devices, rule.access);
            }
        }
        Ok(())
    }

    /// Adds an exception. The kernel wants one exception that covers a whole request, so what broader and narrower ones
    /// say on reading and writing is merged.
    fn add(&mut self, devices: Devices, access: Access) {
        let merged = Access::READ.plus(Access::WRITE);
        let mut own = access;
        for (other, theirs) in &mut self.exceptions.0 {
            if other.covers(&devices) {
                own = own.plus(theirs.and(merged));
            }
            if devices.covers(other) {
                *theirs = theirs.plus(access.and(merged));
            }
        }
        self.exceptions.add(devices, own);
    }

    /// Takes access out of the exceptions.
    fn remove(&mut self, devices: Devices, rule: &Rule) -> Result<()> {
        for (other, theirs) in &mut self.exceptions.0 {
            if devices.covers(other) {
                *theirs = theirs.minus(rule.access);
            } else if other.meets(&devices) && !theirs.and(rule.access).is_empty() {
                return Err(Error::Invalid {
                    field: "linux.resources.devices".to_owned(),
                    value: format!("{} {rule}", if rule.allow { "allow" } else { "deny" }),
                    why: format!("cgroup v1 cannot make a hole in the wider rule {other} {theirs}"),
                });
            }
        }
        self.exceptions.0.retain(|(_, access)| !access.is_empty());
        Ok(())
    }

    /// What is allowed; `None` when the default is to allow.
    pub(in super::super) fn allowed(&self) -> Option<impl Iterator<Item = (&Devices, Access)>> {
        (!self.allow).then(|| self.exceptions.0.iter().map(|(devices, access)| (devices, *access)))
    }

    /// Reads `devices.list`. Where the default is to allow, the kernel does not tell the exceptions.
    fn of(list: &str) -> Option<Self> {
        let mut policy = Self::default();
        for line in list.lines() {
            let mut words = line.split([' ', ':']);
            let kind = match words.next()? {
                "a" => return Some(Self { allow: true, exceptions: Exceptions::default() }),
                "b" => Kind::Block,
                "c" => Kind::Char,
                _ => return None,
            };
            let number = |word: &str| if word == "*" { Some(None) } else { word.parse().ok().map(Some) };
            let (major, minor) = (number(words.next()?)?, number(words.next()?)?);
            policy.exceptions.add(Devices { kind: Some(kind), major, minor }, Access::parse(words.next()?)?);
        }
        Some(policy)
    }

    /// The writes that lead from one policy to another, disturbing what stays the same only where there is no other
    /// way.
    fn transition(from: &Self, to: &Self) -> Vec<Rule> {
        let mut rules = Vec::new();
        let none = Exceptions::default();
        let old = if from.allow || from.allow != to.allow {
            rules.push(Rule { devices: Devices::default(), access: Access::ALL, allow: to.allow });
            &none
        } else {
            &from.exceptions
        };
        for (first, second, allow) in [(old, &to.exceptions, to.allow), (&to.exceptions, old, !to.allow)] {
            for (devices, access) in &first.0 {
                let access = access.minus(second.of(*devices));
                if !access.is_empty() {
                    rules.push(Rule { devices: *devices, access, allow });
                }
            }
        }
        rules
    }
}

/// Gives a new cgroup its policy: everything is forgotten, then set.
///
/// # Errors
/// A rule that the kernel refuses, because the parent has less.
pub(in super::super) fn set(dir: &Dir, policy: &Policy) -> Result<()> {
    let unknown = Policy { allow: true, exceptions: Exceptions::default() };
    write(dir, &Policy::transition(&unknown, policy))
}

/// Changes the policy of a cgroup in which processes run. On failure the old one is put back.
///
/// # Errors
/// A rule that the kernel refuses, or a `devices.list` that cannot be read.
pub(in super::super) fn change(dir: &Dir, before: &Policy, policy: &Policy) -> Result<()> {
    let list = dir.read("devices.list").map_err(|errno| dir.error("read", "devices.list", errno))?;
    let Some(now) = Policy::of(&list) else {
        return Err(Error::Content { path: dir.file("devices.list"), content: list });
    };
    let result = write(dir, &Policy::transition(&now, policy));
    if result.is_err() {
        let then = Policy::of(&dir.read("devices.list").unwrap_or_default()).unwrap_or_default();
        let _ = write(dir, &Policy::transition(&then, before));
    }
    result
}

fn write(dir: &Dir, rules: &[Rule]) -> Result<()> {
    let mut files: [Option<LazyFd>; 2] = [None, None];
    for rule in rules {
        let name = if rule.allow { "devices.allow" } else { "devices.deny" };
        let refused = |errno: Errno| Error::Limit {
            field: "linux.resources.devices".to_owned(),
            value: rule.to_string(),
            path: dir.file(name),
            errno,
            hint: String::new(),
        };
        let slot = &mut files[usize::from(rule.allow)];
        let file = match slot {
            Some(file) => file,
            None => slot.insert(dir.open(name, OFlag::O_WRONLY).map_err(refused)?.into()),
        };
        write_once(file.as_fd(), &rule.to_string()).map_err(refused)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{always, parse, tests::spec};
    use super::*;

    fn policy(rules: &[(bool, &str)]) -> Result<Policy> {
        let rules: Vec<_> = rules.iter().map(|(allow, text)| spec(*allow, text)).collect();
        Policy::new(&parse(&rules).unwrap())
    }

    fn shown(rules: &[Rule]) -> Vec<String> {
        rules.iter().map(|rule| format!("{} {rule}", if rule.allow { "+" } else { "-" })).collect()
    }

    #[test]
    fn a_new_cgroup_is_emptied_and_filled() {
        let policy = policy(&[(false, "a *:* rwm"), (true, "c 10:229 rw")]).unwrap();
        let unknown = Policy { allow: true, ..Policy::default() };
        assert_eq!(shown(&Policy::transition(&unknown, &policy)), ["- a *:* rwm", "+ c 10:229 rw"]);
    }

    #[test]
    fn an_update_touches_only_what_changes() {
        let before = policy(&[(true, "c 1:3 rwm"), (true, "c 10:229 rw")]).unwrap();
        let after = policy(&[(true, "c 1:3 rwm"), (true, "c 10:229 r"), (true, "b 8:0 r")]).unwrap();
        assert_eq!(shown(&Policy::transition(&before, &after)), ["- c 10:229 w", "+ b 8:0 r"]);
        let all = policy(&[(true, "a *:* rwm")]).unwrap();
        assert_eq!(shown(&Policy::transition(&before, &all)), ["+ a *:* rwm"]);
        assert_eq!(shown(&Policy::transition(&all, &before))[0], "- a *:* rwm");
    }

    #[test]
    fn holes_are_refused_and_narrower_rules_are_not() {
        let error = policy(&[(true, "c *:* rwm"), (false, "c 1:3 w")]).unwrap_err().to_string();
        assert!(error.contains("deny c 1:3 w") && error.contains("c *:* rwm"), "{error}");
        let removed = policy(&[(true, "c 1:3 rwm"), (true, "c 2:1 r"), (false, "c 1:* rwm")]).unwrap();
        assert_eq!(shown(&Policy::transition(&Policy::default(), &removed)), ["+ c 2:1 r"]);
    }

    #[test]
    fn one_exception_covers_a_whole_request() {
        let policy = policy(&[(true, "c 1:* r"), (true, "c 1:3 w"), (true, "c *:* m")]).unwrap();
        assert_eq!(
            shown(&Policy::transition(&Policy::default(), &policy)),
            ["+ c 1:* r", "+ c 1:3 rw", "+ c *:* m"]
        );
    }

    #[test]
    fn the_kernel_s_list_is_read() {
        let rules = always(&[]);
        let policy = Policy::new(&rules).unwrap();
        let list: String =
            policy.exceptions.0.iter().map(|(devices, access)| format!("{devices} {access}\n")).collect();
        assert_eq!(Policy::of(&list).unwrap(), policy);
        assert!(Policy::of("a *:* rwm\n").unwrap().allow);
        assert!(Policy::of("rubbish\n").is_none());
    }
}
