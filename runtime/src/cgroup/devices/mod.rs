//! Which devices a container may use: `linux.resources.devices`, and the rules that every container gets.
//!
//! One meaning on both versions of cgroups: rules are taken in order, each gives or takes the access that it names on
//! the devices that it matches, and nothing is allowed before the first. v2 gets it as a program ([`filter`]), v1 as
//! files that cannot express all of it ([`legacy`]): there a rule that cannot be honoured is an error.

pub(super) mod filter;
pub(super) mod legacy;

use super::error::{Error, Result};
use crate::spec::{Device, DeviceRule};
use std::fmt::{self, Write};

/// Kinds of access to a device; a set of bits, with the kernel's values (`BPF_DEVCG_ACC_…`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Access(pub(super) u8);

impl Access {
    pub(super) const MKNOD: Self = Self(1);
    pub(super) const READ: Self = Self(2);
    pub(super) const WRITE: Self = Self(4);
    pub(super) const ALL: Self = Self(7);

    fn parse(text: &str) -> Option<Self> {
        let mut bits = 0;
        for letter in text.chars() {
            bits |= match letter {
                'm' => Self::MKNOD.0,
                'r' => Self::READ.0,
                'w' => Self::WRITE.0,
                _ => return None,
            };
        }
        (bits != 0).then_some(Self(bits))
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn contains(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl fmt::Display for Access {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (bit, letter) in [(Self::READ, "r"), (Self::WRITE, "w"), (Self::MKNOD, "m")] {
            if self.contains(bit) {
                formatter.write_str(letter)?;
            }
        }
        Ok(())
    }
}

/// Block or character device, with the kernel's values (`BPF_DEVCG_DEV_…`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Block = 1,
    Char = 2,
}

/// The devices that a rule matches; `None` matches any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Devices {
    pub(super) kind: Option<Kind>,
    pub(super) major: Option<i32>,
    pub(super) minor: Option<i32>,
}

impl Devices {
    /// Whether every device that `other` matches is matched here.
    pub(super) fn covers(&self, other: &Self) -> bool {
        (self.kind.is_none() || self.kind == other.kind)
            && (self.major.is_none() || self.major == other.major)
            && (self.minor.is_none() || self.minor == other.minor)
    }

    /// Whether a device exists that both match.
    pub(super) fn meets(&self, other: &Self) -> bool {
        fn agree<T: PartialEq>(a: Option<T>, b: Option<T>) -> bool {
            match (a, b) {
                (Some(a), Some(b)) => a == b,
                _ => true,
            }
        }
        agree(self.kind, other.kind) && agree(self.major, other.major) && agree(self.minor, other.minor)
    }
}

impl fmt::Display for Devices {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            None => 'a',
            Some(Kind::Block) => 'b',
            Some(Kind::Char) => 'c',
        };
        formatter.write_char(kind)?;
        for (before, number) in [(' ', self.major), (':', self.minor)] {
            formatter.write_char(before)?;
            match number {
                None => formatter.write_char('*')?,
                Some(number) => fmt::Display::fmt(&number, formatter)?,
            }
        }
        Ok(())
    }
}

/// One rule: gives or takes access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) devices: Devices,
    pub(super) access: Access,
    pub(super) allow: bool,
}

impl fmt::Display for Rule {
    /// As the files of v1 want it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.devices, self.access)
    }
}

/// Reads the rules of config.json.
///
/// # Errors
/// A type, number or access that means nothing; more rules than any host has devices, each of which is compared with all
/// others.
pub(super) fn parse(rules: &[DeviceRule]) -> Result<Vec<Rule>> {
    const MOST: usize = 8192;
    if rules.len() > MOST {
        return Err(Error::Invalid {
            field: "linux.resources.devices".to_owned(),
            value: format!("{} rules", rules.len()),
            why: format!("expected at most {MOST}"),
        });
    }
    rules.iter().enumerate().map(|(index, rule)| parse_rule(index, rule)).collect()
}

fn parse_rule(index: usize, rule: &DeviceRule) -> Result<Rule> {
    let invalid = |name: &str, value: String, why: &str| Error::Invalid {
        field: format!("linux.resources.devices[{index}].{name}"),
        value,
        why: why.to_owned(),
    };
    let kind = match rule.kind.as_str() {
        "" | "a" => None,
        "b" => Some(Kind::Block),
        "c" => Some(Kind::Char),
        other => return Err(invalid("type", format!("{other:?}"), "expected a, b or c")),
    };
    let number = |name: &str, value: Option<i64>| match value {
        None | Some(-1) => Ok(None),
        Some(value) => match i32::try_from(value) {
            Ok(number) if number >= 0 => Ok(Some(number)),
            _ => Err(invalid(name, value.to_string(), "no device has such a number")),
        },
    };
    let Some(access) = Access::parse(&rule.access) else {
        return Err(invalid("access", format!("{:?}", rule.access), "expected one or more of r, w and m"));
    };
    let devices = Devices { kind, major: number("major", rule.major)?, minor: number("minor", rule.minor)? };
    Ok(Rule { devices, access, allow: rule.allow })
}

/// The devices that runc's containers may always use, with the path by which `linux.devices` can put another device in
/// the place of one.
const ALWAYS: [(&str, Option<i32>, Option<i32>); 9] = [
    ("/dev/null", Some(1), Some(3)),
    ("/dev/random", Some(1), Some(8)),
    ("/dev/full", Some(1), Some(7)),
    ("/dev/tty", Some(5), Some(0)),
    ("/dev/zero", Some(1), Some(5)),
    ("/dev/urandom", Some(1), Some(9)),
    // Pseudo-terminals, /dev/ptmx, and /dev/net/tun, which engines have come to count on.
    ("", Some(136), None),
    ("", Some(5), Some(2)),
    ("", Some(10), Some(200)),
];

/// The rules that follow those of the configuration in every container: make any device node, use the basic devices.
/// `replaced` are paths at which the configuration has devices of its own.
pub(super) fn always(replaced: &[String]) -> Vec<Rule> {
    let char = |major, minor| Devices { kind: Some(Kind::Char), major, minor };
    let mut rules = vec![
        Rule { devices: char(None, None), access: Access::MKNOD, allow: true },
        Rule {
            devices: Devices { kind: Some(Kind::Block), ..Devices::default() },
            access: Access::MKNOD,
            allow: true,
        },
    ];
    let kept = ALWAYS.iter().filter(|(path, ..)| !replaced.iter().any(|other| other == path));
    rules.extend(kept.map(|(_, major, minor)| Rule {
        devices: char(*major, *minor),
        access: Access::ALL,
        allow: true,
    }));
    rules
}

/// Which of the devices of [`always`] the configuration replaces by its own nodes.
pub(super) fn replaced(nodes: &[Device]) -> Vec<String> {
    let taken = nodes.iter().filter(|node| ALWAYS.iter().any(|(path, ..)| *path == node.path));
    taken.map(|node| node.path.clone()).collect()
}

/// Drops rules that change nothing, because later ones overrule them or because it was so before: a list to which
/// updates add does not grow without end, and two lists that mean the same are mostly equal.
pub(super) fn simplify(rules: Vec<DeviceRule>) -> Result<Vec<DeviceRule>> {
    let parsed = parse(&rules)?;
    let all: Vec<usize> = (0..parsed.len()).collect();
    let kept: Vec<usize> = all.iter().copied().filter(|i| !overruled(&parsed, *i)).collect();
    let kept: Vec<usize> =
        (0..kept.len()).filter(|at| !idle(&parsed, &kept, *at)).map(|at| kept[at]).collect();
    Ok(rules
        .into_iter()
        .enumerate()
        .filter(|(index, _)| kept.contains(index))
        .map(|(_, rule)| rule)
        .collect())
}

/// Whether a later rule says something on all that this one is about.
fn overruled(rules: &[Rule], index: usize) -> bool {
    let rule = &rules[index];
    rules[index + 1..]
        .iter()
        .any(|later| later.devices.covers(&rule.devices) && later.access.contains(rule.access))
}

/// Whether the rule at this place of the order says what holds already.
fn idle(rules: &[Rule], order: &[usize], at: usize) -> bool {
    let rule = &rules[order[at]];
    for earlier in order[..at].iter().rev().map(|index| &rules[*index]) {
        if !earlier.devices.meets(&rule.devices) || earlier.access.and(rule.access).is_empty() {
            continue;
        }
        if earlier.allow != rule.allow {
            return false;
        }
        if earlier.devices.covers(&rule.devices) && earlier.access.contains(rule.access) {
            return true;
        }
    }
    // In the beginning everything is denied.
    !rule.allow
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn spec(allow: bool, text: &str) -> DeviceRule {
        let mut parts = text.split([' ', ':']);
        let number = |part: Option<&str>| part.and_then(|part| part.parse().ok());
        DeviceRule {
            allow,
            kind: parts.next().unwrap().to_owned(),
            major: number(parts.next()),
            minor: number(parts.next()),
            access: parts.next().unwrap().to_owned(),
        }
    }

    #[test]
    fn rules_read_and_print() {
        for text in ["c 1:3 rwm", "b 8:* r", "a *:* rwm", "c *:200 wm"] {
            let rule = parse(&[spec(true, text)]).unwrap()[0];
            assert_eq!(rule.to_string(), text);
        }
        // -1 is the wildcard of those who write Go.
        let wild = DeviceRule { major: Some(-1), ..spec(true, "c *:1 r") };
        assert_eq!(parse(&[wild]).unwrap()[0].to_string(), "c *:1 r");
        for (rule, want) in [
            (spec(true, "x 1:3 rwm"), "devices[0].type: \"x\""),
            (DeviceRule { access: String::new(), ..spec(true, "c 1:3 r") }, "devices[0].access: \"\""),
            (DeviceRule { access: "rx".into(), ..spec(true, "c 1:3 r") }, "devices[0].access: \"rx\""),
            (DeviceRule { major: Some(1 << 40), ..spec(true, "c 1:3 r") }, "devices[0].major: 1099511627776"),
        ] {
            let error = parse(&[rule]).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
    }

    #[test]
    fn rules_without_effect_go() {
        let kept = |rules: &[(bool, &str)]| -> Vec<String> {
            let rules = rules.iter().map(|(allow, text)| spec(*allow, text)).collect();
            let rules = parse(&simplify(rules).unwrap()).unwrap();
            rules.iter().map(|rule| format!("{} {rule}", if rule.allow { "+" } else { "-" })).collect()
        };
        assert_eq!(
            kept(&[
                (true, "c 1:3 r"),
                (false, "a *:* rwm"),
                (true, "c 10:200 rw"),
                (false, "c 10:200 w"),
                (true, "c 10:200 rw"),
            ]),
            ["+ c 10:200 rw"]
        );
        assert_eq!(
            kept(&[(true, "c 10:* rw"), (true, "c 10:200 r"), (false, "c 10:200 w"), (true, "b *:* r")]),
            ["+ c 10:* rw", "- c 10:200 w", "+ b *:* r"]
        );
        assert_eq!(kept(&[(true, "c 1:* r"), (true, "c 1:3 rw")]), ["+ c 1:* r", "+ c 1:3 rw"]);
    }

    #[test]
    fn a_node_of_the_configuration_takes_the_place_of_a_default() {
        let node =
            Device { path: "/dev/null".into(), kind: "c".into(), major: 10, minor: 1, ..Device::default() };
        let rules = always(&replaced(&[node]));
        assert!(!rules.iter().any(|rule| rule.to_string().starts_with("c 1:3")));
        assert_eq!(rules.len(), always(&[]).len() - 1);
    }
}
