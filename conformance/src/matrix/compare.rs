//! Two observations of the same case, made comparable and compared.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// What a case showed on one runtime: path → value.
pub(crate) type Seen = BTreeMap<String, String>;

/// A path where two runtimes differ.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    /// The path in the observation.
    pub(crate) path: String,
    /// What the subject showed.
    pub(crate) subject: String,
    /// What the control showed.
    pub(crate) control: String,
}

/// Flatten an observation, and replace what must differ from run to run by names.
pub(crate) fn comparable(observation: &Value, names: &[(String, &str)]) -> Seen {
    let mut all = Seen::new();
    flatten(String::new(), observation, &mut all);
    all.into_iter().map(|(path, value)| (rename(&path, names), namespace(rename(&value, names)))).collect()
}

/// A namespace that has no name yet is a new one: `net:[4026532330]`.
fn namespace(value: String) -> String {
    let inode = value.split_once(":[").and_then(|(_, rest)| rest.strip_suffix(']'));
    if inode.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit())) {
        "new".into()
    } else {
        value
    }
}

fn rename(text: &str, names: &[(String, &str)]) -> String {
    names.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

fn flatten(path: String, value: &Value, all: &mut Seen) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}/{key}") };
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                flatten(below(key), field, all);
            }
        }
        Value::Null => {}
        Value::String(text) => drop(all.insert(path, text.clone())),
        other => drop(all.insert(path, other.to_string())),
    }
}

/// What a command that failed said; shown, never compared.
const MESSAGE: &str = "/message";

/// Every path where the two differ. When one of them got less far than the other, only that is said.
pub(crate) fn differences(subject: &Seen, control: &Seen) -> Vec<Pair> {
    let paths: BTreeSet<&String> = subject.keys().chain(control.keys()).collect();
    let pair = |path: &String| {
        let get = |seen: &Seen| seen.get(path).cloned().unwrap_or_else(|| "(nothing)".into());
        let (subject, control) = (get(subject), get(control));
        (subject != control && !path.ends_with(MESSAGE)).then(|| Pair {
            path: path.clone(),
            subject,
            control,
        })
    };
    let all: Vec<Pair> = paths.into_iter().filter_map(pair).collect();
    let outcomes: Vec<Pair> = outcomes(subject, control);
    if outcomes.is_empty() { all } else { outcomes }
}

/// The commands that worked on one side and failed on the other.
fn outcomes(subject: &Seen, control: &Seen) -> Vec<Pair> {
    let pair = |verb: &&str| {
        let path = format!("outcome/{verb}");
        let get = |seen: &Seen| match (seen.get(&path), seen.get(&format!("{path}/failed"))) {
            (Some(ok), _) => ok.clone(),
            (None, Some(_)) => {
                format!("failed: {}", seen.get(&format!("{path}{MESSAGE}")).map_or("", String::as_str))
            }
            (None, None) => "(not reached)".into(),
        };
        let (subject, control) = (get(subject), get(control));
        let same = subject == control || (subject.starts_with("failed") && control.starts_with("failed"));
        (!same).then_some(Pair { path, subject, control })
    };
    ["create", "start", "exec", "delete"].iter().filter_map(pair).take(1).collect()
}

#[cfg(test)]
mod tests {
    use super::{comparable, differences};
    use serde_json::json;

    #[test]
    fn only_what_differs_is_told() {
        let names = [("/tmp/1/corten".to_owned(), "$BUNDLE"), ("/tmp/1/runc".to_owned(), "$BUNDLE")];
        let ours = comparable(&json!({"a": {"b": "/tmp/1/corten/x", "c": 1}, "d": [1]}), &names);
        let theirs = comparable(&json!({"a": {"b": "/tmp/1/runc/x", "c": 2}, "e": null}), &names);
        let found: Vec<_> =
            differences(&ours, &theirs).into_iter().map(|p| (p.path, p.subject, p.control)).collect();
        assert_eq!(
            found,
            [("a/c".into(), "1".into(), "2".into()), ("d".into(), "[1]".into(), "(nothing)".into())]
        );
    }

    #[test]
    fn two_refusals_are_equal_whatever_they_say() {
        let refusal =
            |text| comparable(&json!({"outcome": {"create": {"failed": true, "message": text}}}), &[]);
        assert!(differences(&refusal("no"), &refusal("never")).is_empty());
        let fine = comparable(&json!({"outcome": {"create": "ok"}, "report": {"x": 1}}), &[]);
        let found = differences(&fine, &refusal("no"));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].path.as_str(), found[0].control.as_str()), ("outcome/create", "failed: no"));
    }
}
