//! Places in a JSON document, by the paths that messages name: `process.rlimits[2].type`, `linux.sysctl["net.x"]`.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// One step from a value to one below it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Into an object.
    Key(String),
    /// Into a list.
    Index(usize),
}

/// A place: the steps to it from the whole document.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(pub Vec<Step>);

impl Place {
    /// Reads a path as far as it fits the document; what does not exist there is taken as names divided by dots.
    ///
    /// A name may have dots itself, and then stands as it is (serde's way) or in quotes and brackets (the plan's).
    #[must_use]
    pub fn parse(path: &str, document: &Value) -> Self {
        let mut steps = Vec::new();
        let mut rest = path.trim_start_matches('.');
        let mut here = Some(document);
        while !rest.is_empty() {
            let (step, length) = next_step(rest, here);
            here = here.and_then(|value| below(value, &step));
            steps.push(step);
            rest = rest.get(length..).unwrap_or_default().trim_start_matches('.');
        }
        Self(steps)
    }

    /// What is there.
    #[must_use]
    pub fn get<'a>(&self, document: &'a Value) -> Option<&'a Value> {
        self.0.iter().try_fold(document, below)
    }

    /// The place one step up; `None` for the whole document.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let (_, above) = self.0.split_last()?;
        Some(Self(above.to_vec()))
    }

    /// Whether this is `other` or holds it.
    #[must_use]
    pub fn holds(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }

    /// The path with `[]` for every position and quoted name: what tables of places are written in.
    #[must_use]
    pub fn pattern(&self) -> String {
        let mut text = String::new();
        for step in &self.0 {
            match step {
                Step::Key(name) if plain(name) => push_name(&mut text, name),
                _ => text.push_str("[]"),
            }
        }
        text
    }

    /// Puts a value there; the objects on the way are made.
    pub fn put(&self, document: &mut Value, value: Value) {
        let mut here = document;
        for step in &self.0 {
            here = match step {
                Step::Index(index) => match here.get_mut(*index) {
                    Some(member) => member,
                    None => return,
                },
                Step::Key(name) => {
                    if !here.is_object() {
                        *here = Value::Object(serde_json::Map::new());
                    }
                    let Value::Object(map) = here else { return };
                    map.entry(name.clone()).or_insert(Value::Null)
                }
            };
        }
        *here = value;
    }

    /// Takes away what is there; whether anything was.
    pub fn remove(&self, document: &mut Value) -> bool {
        let Some((last, above)) = self.0.split_last() else { return false };
        let mut here = document;
        for step in above {
            let next = match (step, here) {
                (Step::Key(name), Value::Object(map)) => map.get_mut(name),
                (Step::Index(index), Value::Array(list)) => list.get_mut(*index),
                _ => None,
            };
            match next {
                Some(next) => here = next,
                None => return false,
            }
        }
        match (last, here) {
            (Step::Key(name), Value::Object(map)) => map.remove(name).is_some(),
            (Step::Index(index), Value::Array(list)) if *index < list.len() => {
                list.remove(*index);
                true
            }
            _ => false,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        for step in &self.0 {
            match step {
                Step::Key(name) if plain(name) => push_name(&mut text, name),
                Step::Key(name) => text.push_str(&format!("[{name:?}]")),
                Step::Index(index) => text.push_str(&format!("[{index}]")),
            }
        }
        formatter.write_str(if text.is_empty() { "." } else { &text })
    }
}

fn push_name(text: &mut String, name: &str) {
    if !text.is_empty() {
        text.push('.');
    }
    text.push_str(name);
}

/// Whether a name can stand without quotes.
fn plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

fn below<'a>(value: &'a Value, step: &Step) -> Option<&'a Value> {
    match step {
        Step::Key(name) => value.get(name),
        Step::Index(index) => value.get(*index),
    }
}

/// The first step of a path, and how many bytes of it that was.
fn next_step(rest: &str, here: Option<&Value>) -> (Step, usize) {
    if let Some(inside) = rest.strip_prefix('[') {
        let digits = inside.bytes().take_while(u8::is_ascii_digit).count();
        if inside[digits..].starts_with(']')
            && let Ok(index) = inside[..digits].parse()
        {
            return (Step::Index(index), digits + 2);
        }
        let quoted = |name: &&String| inside.starts_with(&format!("{name:?}]"));
        if let Some(name) = here.and_then(Value::as_object).and_then(|map| map.keys().find(quoted)) {
            return (Step::Key(name.clone()), format!("[{name:?}]").len());
        }
        let end = rest.find(']').map_or(rest.len(), |end| end + 1);
        return (Step::Key(rest[1..end].trim_end_matches(']').trim_matches('"').to_owned()), end);
    }
    let ends = |name: &str| matches!(rest.as_bytes().get(name.len()), None | Some(b'.' | b'['));
    let whole = |name: &&String| !name.is_empty() && rest.starts_with(name.as_str()) && ends(name);
    let known = here.and_then(Value::as_object).into_iter().flat_map(|map| map.keys()).filter(whole);
    match known.max_by_key(|name| name.len()) {
        Some(name) => (Step::Key(name.clone()), name.len()),
        None => {
            let end = rest.find(['.', '[']).unwrap_or(rest.len()).max(1);
            (Step::Key(rest[..end].to_owned()), end)
        }
    }
}

/// Positions as they were before members of lists were taken away.
#[derive(Debug, Default)]
pub struct Positions(BTreeMap<Place, Vec<usize>>);

impl Positions {
    /// Where a place of the changed document was in the one that was read.
    #[must_use]
    pub fn before(&self, place: &Place) -> Place {
        let mut before = Place::default();
        for step in &place.0 {
            let step = match step {
                Step::Index(index) => {
                    let kept = self.0.get(&before);
                    Step::Index(kept.and_then(|kept| kept.get(*index)).copied().unwrap_or(*index))
                }
                step => step.clone(),
            };
            before.0.push(step);
        }
        before
    }

    /// Notes that a place of the changed document is about to be taken away.
    pub fn note_removal(&mut self, place: &Place, document: &Value) {
        let (Some(Step::Index(index)), Some(list)) = (place.0.last(), place.parent()) else { return };
        let length = list.get(document).and_then(Value::as_array).map_or(0, Vec::len);
        let kept = self.0.entry(self.before(&list)).or_insert_with(|| (0..length).collect());
        if *index < kept.len() {
            kept.remove(*index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_of_every_kind_lead_to_their_value() {
        let document = json!({
            "linux": {"sysctl": {"net.ipv4.x": 1, "a\"b": 2}, "resources": {"unified": {"io.max": 3}}},
            "annotations": {"org.example": 4, "org": {"example": 5}},
            "process": {"rlimits": [{"type": "x"}, {"type": "y"}]}
        });
        for (path, value, shown) in [
            ("linux.sysctl[\"net.ipv4.x\"]", json!(1), "linux.sysctl[\"net.ipv4.x\"]"),
            ("linux.sysctl[\"a\\\"b\"]", json!(2), "linux.sysctl[\"a\\\"b\"]"),
            ("linux.resources.unified.io.max", json!(3), "linux.resources.unified[\"io.max\"]"),
            ("annotations.org.example", json!(4), "annotations[\"org.example\"]"),
            ("process.rlimits[1].type", json!("y"), "process.rlimits[1].type"),
            (".", document.clone(), "."),
        ] {
            let place = Place::parse(path, &document);
            assert_eq!(place.get(&document), Some(&value), "{path}");
            assert_eq!(place.to_string(), shown);
        }
        for absent in
            ["process.args[3]", "root.path", "linux.sysctl[\"x.y\"]", "annotations[\"", "a[", "[", "é["]
        {
            assert_eq!(Place::parse(absent, &document).get(&document), None, "{absent}");
        }
        assert_eq!(Place::parse("process.rlimits[1].type", &document).pattern(), "process.rlimits[].type");
    }

    #[test]
    fn positions_are_those_of_the_file() {
        let mut document = json!({"mounts": [0, 1, 2, 3]});
        let mut positions = Positions::default();
        for _ in 0..2 {
            let place = Place::parse("mounts[1]", &document);
            positions.note_removal(&place, &document);
            assert!(place.remove(&mut document));
        }
        assert_eq!(document, json!({"mounts": [0, 3]}));
        assert_eq!(positions.before(&Place::parse("mounts[1].x", &document)).to_string(), "mounts[3].x");
        assert!(!Place::parse("mounts[7]", &document).remove(&mut document));
    }

    #[test]
    fn what_is_put_makes_its_way() {
        let mut document = json!({"root": 5});
        Place::parse("root.path", &document.clone()).put(&mut document, json!("x"));
        Place::parse("linux.a.b", &document.clone()).put(&mut document, json!(1));
        assert_eq!(document, json!({"root": {"path": "x"}, "linux": {"a": {"b": 1}}}));
    }
}
