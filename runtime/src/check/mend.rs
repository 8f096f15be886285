//! Everything that would be refused: each refusal is taken out of a copy of the configuration, and asked for the next.
//!
//! What is put in a refused value's place is only there to go on; it is never shown. A refusal of a place that was
//! mended is a consequence of the mending: it is not told, and more is taken away.

use super::advice;
use super::place::{Place, Positions, Step};
use super::refusal::{self, Accepted, Asked, Refusal};
use super::{Finding, Level};
use serde_json::{Value, json};

/// How many refusals are looked for. A file with more has been told enough.
const MOST: usize = 200;

/// A configuration without what is refused.
#[derive(Debug)]
pub struct Mended {
    /// What was refused, and what was only warned of.
    pub findings: Vec<Finding>,
    /// What is left, if that could be found.
    pub accepted: Option<Accepted>,
    /// Whether everything was looked at.
    pub complete: bool,
    original: Value,
    document: Value,
    positions: Positions,
    /// Places of the original whose value was changed.
    touched: Vec<Place>,
}

impl Mended {
    /// The place in the file of a path in what is left.
    #[must_use]
    pub fn place(&self, path: &str) -> Place {
        self.positions.before(&Place::parse(path, &self.document))
    }

    /// Whether a refusal was taken out at this path of the file, above or below it.
    #[must_use]
    pub fn touched(&self, path: &str) -> bool {
        let place = Place::parse(path, &self.original);
        self.touched.iter().any(|touched| touched.holds(&place) || place.holds(touched))
    }

    /// A finding about a path in what is left.
    #[must_use]
    pub fn finding(&self, level: Level, path: &str, problem: String, expected: &str, fix: &str) -> Finding {
        let place = self.place(path);
        let value = place.get(&self.original).cloned();
        let (path, expected, fix) = (place.to_string(), expected.to_owned(), fix.to_owned());
        Finding { level, path, value, problem, expected, fix }
    }

    /// Tells a refusal of what is at a place of the file, or of this host.
    fn refused(&mut self, place: Option<&Place>, refusal: &Refusal) {
        let value = place.and_then(|place| place.get(&self.original)).cloned();
        let advice = advice::of(place, value.as_ref(), &refusal.problem);
        self.findings.push(Finding {
            level: Level::Error,
            path: place.map_or_else(|| ".".to_owned(), Place::to_string),
            value,
            problem: advice.problem,
            expected: advice.expected,
            fix: advice.fix,
        });
    }

    /// Takes a refusal out; whether anything changed.
    fn mend(&mut self, refusal: &Refusal) -> bool {
        let mut place = Place::parse(&refusal.path, &self.document);
        let before = self.positions.before(&place);
        let again = self.touched.iter().any(|touched| before.holds(touched));
        if !again {
            self.refused(Some(&before), refusal);
            if self.drop_member(&place, refusal) {
                return true;
            }
            self.touched.push(before);
            if let Some(value) = replacement(&place, &self.document, &refusal.problem) {
                place.put(&mut self.document, value);
                return true;
            }
            if self.add_namespace(&refusal.problem) {
                return true;
            }
        }
        // A map of ids is one thing in two fields.
        if place.pattern() == "linux.uidMappings" {
            let other = Place::parse("linux.gidMappings", &self.document);
            if other.remove(&mut self.document) {
                place.remove(&mut self.document);
                return true;
            }
        }
        loop {
            let before = self.positions.before(&place);
            self.positions.note_removal(&place, &self.document);
            if place.remove(&mut self.document) {
                self.touched.push(before);
                return true;
            }
            // Not a whole chapter for one line of it.
            match place.parent() {
                Some(above) if above.0.len() > 1 => place = above,
                _ => return false,
            }
        }
    }

    /// Where a namespace is missing, it is added: what needs it can then be looked at. Not a user namespace, which changes
    /// what everything else means.
    fn add_namespace(&mut self, problem: &str) -> bool {
        let Some(kind) = advice::namespace(problem).filter(|kind| *kind != "user") else { return false };
        let place = Place::parse("linux.namespaces", &self.document);
        let mut list = place.get(&self.document).and_then(Value::as_array).cloned().unwrap_or_default();
        if list.iter().any(|namespace| namespace["type"] == kind) {
            return false;
        }
        list.push(json!({"type": kind}));
        place.put(&mut self.document, Value::Array(list));
        true
    }

    /// Where one text of a list is meant, that text alone goes.
    fn drop_member(&mut self, place: &Place, refusal: &Refusal) -> bool {
        let Some(list) = place.get(&self.document).and_then(Value::as_array) else { return false };
        let named = |member: &Value| {
            member.as_str().is_some_and(|text| refusal.problem.contains(&format!("{text:?}")))
        };
        let Some(index) = list.iter().position(named) else { return false };
        let mut member = place.clone();
        member.0.push(Step::Index(index));
        self.positions.note_removal(&member, &self.document);
        member.remove(&mut self.document)
    }
}

/// What can stand in the place of a refused value: what was probably meant, or the least that is accepted.
fn replacement(place: &Place, document: &Value, problem: &str) -> Option<Value> {
    if let Some(meant) = advice::meant(place.get(document), problem) {
        return Some(Value::String(meant));
    }
    Some(match place.pattern().as_str() {
        "ociVersion" => json!(crate::command::version::SPEC),
        "process" => json!({"args": ["/"], "cwd": "/"}),
        "process.args" => json!(["/"]),
        "process.args[]" | "process.cwd" => json!("/"),
        "root" => json!({"path": "."}),
        "root.path" => json!("."),
        "linux.seccomp.defaultAction" => json!("SCMP_ACT_ERRNO"),
        "linux.seccomp.syscalls[].action" => json!("SCMP_ACT_ALLOW"),
        "linux.uidMappings" | "linux.gidMappings" if !problem.starts_with("needs") => {
            json!([{"containerID": 0, "hostID": 0, "size": 1}])
        }
        _ => return None,
    })
}

/// Finds everything that is refused.
#[must_use]
pub fn all(document: &Value, asked: &Asked<'_>) -> Mended {
    let mut mended = Mended {
        findings: Vec::new(),
        accepted: None,
        complete: false,
        original: document.clone(),
        document: document.clone(),
        positions: Positions::default(),
        touched: Vec::new(),
    };
    let mut host_can = true;
    while mended.findings.len() < MOST {
        let refusal = match refusal::first(&mended.document, asked, host_can) {
            Ok(accepted) => {
                warn(&mut mended, &accepted.warnings);
                (mended.accepted, mended.complete) = (Some(accepted), true);
                break;
            }
            Err(refusal) => refusal,
        };
        if refusal.path.is_empty() {
            // Nothing in the file can mend this host.
            host_can = false;
            mended.refused(None, &refusal);
        } else if !mended.mend(&refusal) {
            break;
        }
    }
    mended
}

/// What `create` would log and go on.
fn warn(mended: &mut Mended, warnings: &[String]) {
    for warning in warnings {
        let (path, problem) = match warning.split_once(": ") {
            Some((path, problem)) if !path.contains(' ') => (path, problem),
            _ => (".", warning.as_str()),
        };
        let fix = "remove it, or do not count on it";
        let finding = mended.finding(Level::Warning, path, problem.to_owned(), "", fix);
        mended.findings.push(finding);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Driver;
    use crate::plan::Host;

    fn found(document: &Value) -> Mended {
        let host = Host { grantable: !0, last_capability: 40, rootless: false, selinux: || false };
        // With nothing in it: what is at a mount's destination would be looked at.
        let bundle = tempfile::tempdir().unwrap();
        all(document, &Asked { bundle: bundle.path(), host: &host, driver: Driver::Disabled })
    }

    fn plain() -> Value {
        json!({
            "ociVersion": "1.2.0",
            "process": {"args": ["sh"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
            "root": {"path": "."},
            "linux": {"namespaces": [{"type": "mount"}, {"type": "uts"}]}
        })
    }

    #[test]
    fn a_configuration_without_faults_is_left_alone() {
        let mended = found(&plain());
        assert!(mended.findings.is_empty() && mended.complete, "{:?}", mended.findings);
    }

    #[test]
    fn every_fault_is_found_at_its_place_in_the_file() {
        let mut document = plain();
        document["ociVersion"] = json!("2.0.0");
        document["hostname"] = json!("h".repeat(65));
        document["process"]["cwd"] = json!("tmp");
        document["process"]["user"] = json!({"uid": "root", "umask": 4096});
        document["process"]["env"] = json!(["A=1", "=x", "B=2", "C"]);
        document["process"]["rlimits"] = json!([
            {"type": "RLIMIT_FOO", "soft": 1, "hard": 1},
            {"type": "RLIMIT_CPU", "soft": 2, "hard": 1},
            {"type": "RLIMIT_NOFILES", "soft": 1, "hard": 1}
        ]);
        document["mounts"] = json!([
            {"destination": "", "type": "tmpfs"},
            {"destination": "/a", "type": "tmpfs", "options": ["idmap=", "ro", "ridmap="]},
            {"destination": "/b", "type": "", "source": "no/such/source", "options": ["bind"]}
        ]);
        document["linux"]["namespaces"] = json!([{"type": "mnt"}, {"type": "utz"}, {"type": "uts"}]);
        document["linux"]["timeOffsets"] = json!({"x": {"secs": 1}});
        document["linux"]["sysctl"] = json!({"kernel.panic": "1", "net.ipv4.x": "1"});
        document["linux"]["maskedPaths"] = json!(["/a", "b", "c"]);
        document["linux"]["seccomp"] =
            json!({"defaultAction": "NOPE", "syscalls": [{"names": ["read"], "action": "NOPE"}]});
        let mended = found(&document);
        let mut paths: Vec<&str> = mended.findings.iter().map(|finding| finding.path.as_str()).collect();
        paths.sort_unstable();
        let mut expected = vec![
            "ociVersion",
            "hostname",
            "process.cwd",
            "process.user.uid",
            "process.user.umask",
            "process.env[1]",
            "process.env[3]",
            "process.rlimits[0].type",
            "process.rlimits[1].soft",
            "process.rlimits[2].type",
            "mounts[0].destination",
            "mounts[1].options",
            "mounts[1].options",
            "mounts[2].source",
            "linux.namespaces[0].type",
            "linux.namespaces[1].type",
            "linux.namespaces[2].type",
            "linux.timeOffsets",
            "linux.timeOffsets.x",
            "linux.sysctl[\"kernel.panic\"]",
            "linux.sysctl[\"net.ipv4.x\"]",
            "linux.maskedPaths[1]",
            "linux.maskedPaths[2]",
            "linux.seccomp.defaultAction",
            "linux.seccomp.syscalls[0].action",
        ];
        expected.sort_unstable();
        assert_eq!(paths, expected);
        assert!(mended.complete);
        for finding in &mended.findings {
            assert!(!finding.fix.is_empty() && !finding.expected.is_empty(), "{finding:?}");
        }
        let value = |path: &str| {
            mended.findings.iter().find(|found| found.path == path).and_then(|found| found.value.clone())
        };
        assert_eq!(value("process.rlimits[2].type"), Some(json!("RLIMIT_NOFILES")));
        assert_eq!(value("process.env[3]"), Some(json!("C")));
    }

    #[test]
    fn what_is_missing_is_named_once() {
        for (path, document) in [
            ("process", json!({"ociVersion": "1.0.0", "root": {"path": "."}})),
            ("root", json!({"ociVersion": "1.0.0", "process": {"args": ["x"], "cwd": "/"}})),
            (
                "process.args",
                json!({"ociVersion": "1.0.0", "root": {"path": "."}, "process": {"args": [], "cwd": "/"}}),
            ),
            (
                "process.args[0]",
                json!({"ociVersion": "1.0.0", "root": {"path": "."}, "process": {"args": [""], "cwd": "/"}}),
            ),
        ] {
            let mended = found(&document);
            let paths: Vec<&str> = mended.findings.iter().map(|finding| finding.path.as_str()).collect();
            assert_eq!((&paths[..], mended.complete), (&[path][..], true));
        }
    }

    #[test]
    fn nonsense_of_every_kind_comes_to_an_end() {
        for document in
            [json!(null), json!([]), json!("x"), json!({"mounts": [1, 2, [], {}]}), json!({"linux": 5})]
        {
            let mended = found(&document);
            assert!(!mended.findings.is_empty(), "{document}");
        }
        let mut document = plain();
        document["process"]["env"] = json!(vec!["=x"; 5000]);
        let mended = found(&document);
        assert!(mended.findings.len() <= MOST && !mended.complete);
    }
}
