//! The name of a system call, as a profile gives it.
//!
//! A profile has some four hundred of them, and each start of a container reads them all: a name that any
//! architecture has is kept as its row in the table of names, so that it is looked up once and takes no
//! memory of its own.

use crate::table::{self, RowId};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt::{Debug, Display, Formatter, Result};
use std::ops::Deref;

/// A name: any text, known to an architecture or not.
#[derive(Clone, PartialEq, Eq)]
pub struct Name(Kept);

/// One text is always kept in one way, so that equal names are equal.
#[derive(Clone, PartialEq, Eq)]
enum Kept {
    Row(RowId),
    Text(Box<str>),
}

impl Name {
    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Kept::Row(row) => table::name_of(*row),
            Kept::Text(text) => text,
        }
    }

    /// Its row, when any architecture has a call of that name.
    pub(crate) fn row(&self) -> Option<RowId> {
        match &self.0 {
            Kept::Row(row) => Some(*row),
            Kept::Text(_) => None,
        }
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Self(table::row(text).map_or_else(|| Kept::Text(text.into()), Kept::Row))
    }
}

impl From<String> for Name {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl Debug for Name {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        Debug::fmt(self.as_str(), out)
    }
}

impl Display for Name {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        Display::fmt(self.as_str(), out)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Name;

            fn expecting(&self, out: &mut Formatter<'_>) -> Result {
                out.write_str("a string")
            }

            fn visit_str<E: Error>(self, text: &str) -> std::result::Result<Name, E> {
                Ok(text.into())
            }
        }

        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::Name;

    #[test]
    fn a_name_is_the_text_it_was_made_from() {
        for text in ["read", "open", "no_such_call", "", "ré"] {
            let name = Name::from(text);
            assert_eq!(name.as_str(), text);
            assert_eq!(name, Name::from(text.to_owned()));
            let json = serde_json::to_string(&name).expect("a string");
            assert_eq!(json, format!("{text:?}"));
            assert_eq!(serde_json::from_str::<Name>(&json).expect("the same"), name);
        }
        assert_ne!(Name::from("read"), Name::from("write"));
        let error = serde_json::from_str::<Name>("7").expect_err("a number").to_string();
        assert!(error.starts_with("invalid type: integer `7`, expected a string"), "{error}");
        assert_eq!(
            serde_json::from_str::<Name>(r#""\u0072ead""#).expect("escaped").row(),
            Name::from("read").row()
        );
    }
}
