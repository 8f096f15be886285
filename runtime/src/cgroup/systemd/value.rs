//! Values of D-Bus, and the text form of them that annotations hold (GVariant text format).

/// A value that can stand in a variant. Only the types that unit properties have.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Bool(bool),
    Byte(u8),
    I16(i16),
    U16(u16),
    I32(i32),
    U32(u32),
    I64(i64),
    U64(u64),
    Double(f64),
    String(String),
    /// The signature of the elements, and these.
    Array(&'static str, Vec<Value>),
    Struct(Vec<Value>),
}

impl Value {
    /// Its type in D-Bus's letters.
    pub(super) fn signature(&self) -> String {
        match self {
            Self::Bool(_) => "b".to_owned(),
            Self::Byte(_) => "y".to_owned(),
            Self::I16(_) => "n".to_owned(),
            Self::U16(_) => "q".to_owned(),
            Self::I32(_) => "i".to_owned(),
            Self::U32(_) => "u".to_owned(),
            Self::I64(_) => "x".to_owned(),
            Self::U64(_) => "t".to_owned(),
            Self::Double(_) => "d".to_owned(),
            Self::String(_) => "s".to_owned(),
            Self::Array(element, _) => format!("a{element}"),
            Self::Struct(fields) => format!("({})", fields.iter().map(Self::signature).collect::<String>()),
        }
    }

    /// An array of strings.
    pub(super) fn strings<T: Into<String>>(items: impl IntoIterator<Item = T>) -> Self {
        Self::Array("s", items.into_iter().map(|item| Self::String(item.into())).collect())
    }

    /// A number of seconds as one of microseconds; `None` when it is no number, or too large.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked before")]
    pub(super) fn seconds_to_microseconds(&self) -> Option<u64> {
        let whole = |seconds: i128| u64::try_from(seconds.checked_mul(1_000_000)?).ok();
        match self {
            Self::Byte(value) => whole(i128::from(*value)),
            Self::I16(value) => whole(i128::from(*value)),
            Self::U16(value) => whole(i128::from(*value)),
            Self::I32(value) => whole(i128::from(*value)),
            Self::U32(value) => whole(i128::from(*value)),
            Self::I64(value) => whole(i128::from(*value)),
            Self::U64(value) => whole(i128::from(*value)),
            Self::Double(value) if (0.0..1e12).contains(value) => Some((value * 1e6) as u64),
            _ => None,
        }
    }

    /// Reads a value in GVariant's text format: `true`, `'text'`, `5`, `uint64 5`, `['a', 'b']`, `@as []`,
    /// `('a', 5)`. Dictionaries, maybes and nested variants are refused: no property has them.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parser = Parser { rest: text, depth: 0 };
        let value = parser.value(None)?;
        match parser.rest.trim_start() {
            "" => Ok(value),
            rest => Err(format!("unexpected {rest:?} after the value")),
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::U64(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::String(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::String(value)
    }
}

/// The types of values by GVariant's word and by letter.
const TYPES: [(&str, &str); 12] = [
    ("boolean", "b"),
    ("byte", "y"),
    ("int16", "n"),
    ("uint16", "q"),
    ("int32", "i"),
    ("uint32", "u"),
    ("int64", "x"),
    ("uint64", "t"),
    ("double", "d"),
    ("string", "s"),
    ("objectpath", "s"),
    ("signature", "s"),
];

/// Types of elements of an array, as [`Value::Array`] keeps them.
const ELEMENTS: [&str; 16] =
    ["b", "y", "n", "q", "i", "u", "x", "t", "d", "s", "as", "(ss)", "(st)", "(sb)", "(bs)", "(sasb)"];

struct Parser<'a> {
    rest: &'a str,
    depth: u32,
}

/// How deep brackets and types may be nested. No property needs more than three.
const MAX_DEPTH: u32 = 8;

impl<'a> Parser<'a> {
    /// Reads one value, of the type that is wanted if any.
    fn value(&mut self, wanted: Option<&str>) -> Result<Value, String> {
        if self.depth == MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} levels of brackets or types"));
        }
        self.depth += 1;
        let value = self.value_here(wanted);
        self.depth -= 1;
        value
    }

    fn value_here(&mut self, wanted: Option<&str>) -> Result<Value, String> {
        self.rest = self.rest.trim_start();
        match self.rest.chars().next() {
            None => Err("a value is missing".to_owned()),
            Some('[') => self.array(wanted),
            Some('(') => self.tuple(),
            Some('\'' | '"') => match wanted {
                None | Some("s") => Ok(Value::String(self.string()?)),
                Some(other) => Err(format!("expected a value of type {other}, found a string")),
            },
            Some('@') => {
                let end = self.rest.find(char::is_whitespace).ok_or("a value is missing after its type")?;
                let signature = &self.rest[1..end];
                self.rest = &self.rest[end..];
                self.value(Some(signature))
            }
            Some(first) if first.is_ascii_digit() || matches!(first, '+' | '-' | '.') => self.number(wanted),
            Some('b') if self.rest.starts_with("b'") || self.rest.starts_with("b\"") => {
                self.rest = &self.rest[1..];
                // A byte string ends with a zero byte.
                let bytes = self.string()?.into_bytes().into_iter().chain([0]).map(Value::Byte);
                Ok(Value::Array("y", bytes.collect()))
            }
            Some(_) => self.word(wanted),
        }
    }

    fn word(&mut self, wanted: Option<&str>) -> Result<Value, String> {
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        if let Ok(value) = word.parse::<bool>() {
            self.rest = rest;
            return match wanted {
                None | Some("b") => Ok(Value::Bool(value)),
                Some(other) => Err(format!("expected a value of type {other}, found {word}")),
            };
        }
        match TYPES.iter().find(|(name, _)| *name == word) {
            Some((_, signature)) => {
                self.rest = rest;
                self.value(Some(signature))
            }
            None => Err(format!("expected a value, found {:?}", self.rest)),
        }
    }

    fn number(&mut self, wanted: Option<&str>) -> Result<Value, String> {
        let end = self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c)));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        fn read<T: std::str::FromStr>(word: &str, make: fn(T) -> Value) -> Option<Value> {
            word.parse().ok().map(make)
        }
        // As bytes are written as a rule.
        let hexadecimal = word.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let decimal = hexadecimal.map(|number| number.to_string());
        let word = decimal.as_deref().unwrap_or(word);
        let fraction = word.contains(['.', 'e', 'E']);
        let value = match wanted.unwrap_or(if fraction { "d" } else { "i" }) {
            "y" => read(word, Value::Byte),
            "n" => read(word, Value::I16),
            "q" => read(word, Value::U16),
            "i" => read(word, Value::I32),
            "u" => read(word, Value::U32),
            "x" => read(word, Value::I64),
            "t" => read(word, Value::U64),
            "d" => read(word, Value::Double),
            _ => None,
        };
        value.ok_or_else(|| match wanted {
            Some(wanted) => format!("expected a value of type {wanted}, found {word}"),
            None => format!(
                "{word} is not a 32-bit number; larger ones need their type before them, as in uint64 {word}"
            ),
        })
    }

    fn string(&mut self) -> Result<String, String> {
        let mut characters = self.rest.chars();
        let quote = characters.next().unwrap_or('\'');
        let mut text = String::new();
        loop {
            match characters.next() {
                None => return Err("a string does not end".to_owned()),
                Some(end) if end == quote => break,
                Some('\\') => match characters.next() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some(other @ ('\\' | '\'' | '"')) => text.push(other),
                    other => {
                        return Err(format!(
                            "unknown escape \\{}",
                            other.map_or(String::new(), String::from)
                        ));
                    }
                },
                Some('\0') => return Err("a string must not hold a zero byte".to_owned()),
                Some(other) => text.push(other),
            }
        }
        self.rest = characters.as_str();
        Ok(text)
    }

    /// The values up to a closing bracket.
    fn list(&mut self, end: char, wanted: Option<&str>) -> Result<Vec<Value>, String> {
        self.rest = &self.rest[1..];
        let mut values: Vec<Value> = Vec::new();
        loop {
            self.rest = self.rest.trim_start();
            if let Some(rest) = self.rest.strip_prefix(end) {
                self.rest = rest;
                return Ok(values);
            }
            if !values.is_empty() {
                let rest = self.rest.strip_prefix(',');
                self.rest =
                    rest.ok_or_else(|| format!("expected a comma or {end} before {:?}", self.rest))?;
            }
            // The elements of an array are of the type of the first.
            let first = if end == ']' { values.first().map(Value::signature) } else { None };
            values.push(self.value(first.as_deref().or(wanted))?);
        }
    }

    fn array(&mut self, wanted: Option<&str>) -> Result<Value, String> {
        let element = match wanted.map(|wanted| wanted.strip_prefix('a')) {
            Some(None) => {
                return Err(format!("expected a value of type {}, found an array", wanted.unwrap_or("")));
            }
            Some(element) => element,
            None => None,
        };
        let values = self.list(']', element)?;
        let found = values.first().map(Value::signature);
        let signature = match (element, found) {
            (Some(element), None) => element.to_owned(),
            (None, None) => return Err("the type of an empty array must be given, as in @as []".to_owned()),
            (_, Some(found)) => found,
        };
        if values.iter().any(|value| value.signature() != signature) {
            return Err("the elements of an array must be of one type".to_owned());
        }
        match ELEMENTS.iter().find(|known| **known == signature) {
            Some(known) => Ok(Value::Array(known, values)),
            None => Err(format!("no property is an array of {signature}")),
        }
    }

    fn tuple(&mut self) -> Result<Value, String> {
        match self.list(')', None)? {
            values if values.is_empty() => Err("an empty tuple is no value".to_owned()),
            values => Ok(Value::Struct(values)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_annotations() {
        for (text, want) in [
            ("true", Value::Bool(true)),
            ("'a b'", "a b".into()),
            (r#""a\"\n""#, "a\"\n".into()),
            ("5", Value::I32(5)),
            ("-5", Value::I32(-5)),
            ("1.5", Value::Double(1.5)),
            ("uint64 5", Value::U64(5)),
            ("@t 5", Value::U64(5)),
            ("byte 7", Value::Byte(7)),
            ("[byte 0x0f, 0xE1]", Value::Array("y", vec![Value::Byte(15), Value::Byte(0xe1)])),
            ("uint64 0xffffffffffffffff", Value::U64(u64::MAX)),
            ("['a', 'b']", Value::strings(["a", "b"])),
            ("@as []", Value::strings::<&str>([])),
            ("@at [1, 2]", Value::Array("t", vec![Value::U64(1), Value::U64(2)])),
            ("[uint32 1, 2]", Value::Array("u", vec![Value::U32(1), Value::U32(2)])),
            ("[('/x', 'r')]", Value::Array("(ss)", vec![Value::Struct(vec!["/x".into(), "r".into()])])),
            ("b'hi'", Value::Array("y", vec![Value::Byte(b'h'), Value::Byte(b'i'), Value::Byte(0)])),
        ] {
            assert_eq!(Value::parse(text), Ok(want), "{text}");
        }
        for text in [
            "",
            "nonsense",
            "'open",
            "[]",
            "[1, 'a']",
            "5000000000",
            "@s 5",
            "true x",
            "{'a': 1}",
            "<5>",
            "()",
        ] {
            assert!(Value::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rubbish_is_an_error_and_no_more() {
        for text in
            ["[".repeat(1 << 20), "(".repeat(1 << 20), "@s ".repeat(1 << 20), "int32 ".repeat(1 << 20)]
        {
            assert!(Value::parse(&text).is_err());
        }
        let good = "[('/dev/null', uint32 5), (\"x\\n\", @u 7)] b'yz' true -1.5e3";
        for start in 0..good.len() {
            for end in start..good.len() {
                let _ = Value::parse(&good[start..end]);
                let _ = Value::parse(&good[start..end].replace(['\'', ','], "["));
            }
        }
    }

    #[test]
    fn seconds() {
        assert_eq!(Value::I32(5).seconds_to_microseconds(), Some(5_000_000));
        assert_eq!(Value::Double(0.5).seconds_to_microseconds(), Some(500_000));
        assert_eq!(Value::I32(-1).seconds_to_microseconds(), None);
        assert_eq!(Value::U64(u64::MAX).seconds_to_microseconds(), None);
        assert_eq!(Value::Bool(true).seconds_to_microseconds(), None);
    }
}
