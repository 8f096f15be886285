//! What a request says.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Seek, Write};

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::task::block_in_place;

use crate::error::{Error, Result};
use crate::image::content::Content;
use crate::image::{Reference, config};
use crate::time::{self, Time};

/// The largest body that is not a stream.
const MOST: usize = 8 << 20;

/// The largest that is read before anything is answered.
const EARLY: usize = 64 << 10;

/// A request, its path cut up.
#[derive(Debug)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// The version of the API that the client speaks.
    pub version: (u32, u32),
    /// The parts of the path, without the version.
    pub path: Vec<String>,
    query: HashMap<String, Vec<String>>,
    /// A body that is small, read before anything is answered: a client that is still writing would not see the answer.
    early: Option<Bytes>,
    /// The rest of it.
    pub request: Request<Incoming>,
}

impl Call {
    /// Takes a request apart; `version` is that of a client that names none. A body whose length is known and small is
    /// read.
    ///
    /// # Errors
    /// When the path is malformed, or the client breaks off.
    pub async fn read(request: Request<Incoming>, version: (u32, u32)) -> Result<Self> {
        let uri = request.uri();
        let bad = || Error::invalid("malformed path");
        let mut path: Vec<String> = uri
            .path()
            .split('/')
            .filter(|part| !part.is_empty())
            .map(|part| decode(part, false))
            .collect::<Option<_>>()
            .ok_or_else(bad)?;
        let named = path.first().and_then(|first| first.strip_prefix('v')).and_then(|text| {
            let (major, minor) = text.split_once('.')?;
            Some((major.parse().ok()?, minor.parse().ok()?))
        });
        if named.is_some() {
            path.remove(0);
        }
        let mut query: HashMap<String, Vec<String>> = HashMap::new();
        for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let key = decode(key, true).ok_or_else(bad)?;
            query.entry(key).or_default().push(decode(value, true).ok_or_else(bad)?);
        }
        let method = request.method().clone();
        let version = named.unwrap_or(version);
        let mut call = Self { method, version, path, query, early: None, request };
        let length = call.header("content-length").and_then(|text| text.parse::<usize>().ok());
        if length.is_some_and(|length| (1..=EARLY).contains(&length)) {
            let body = call.request.body_mut().collect().await;
            let body = body.map_err(|error| Error::invalid(format!("read the request: {error}")))?;
            call.early = Some(body.to_bytes());
        }
        Ok(call)
    }

    /// A parameter that is not empty.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.query
            .get(key)
            .and_then(|values| values.first())
            .map(String::as_str)
            .filter(|text| !text.is_empty())
    }

    /// All values of a parameter.
    pub fn all(&self, key: &str) -> Vec<String> {
        self.query.get(key).cloned().unwrap_or_default()
    }

    /// A switch, as Docker reads them.
    pub fn flag(&self, key: &str) -> bool {
        self.text(key)
            .is_some_and(|text| !matches!(text.to_ascii_lowercase().as_str(), "0" | "no" | "false" | "none"))
    }

    /// A switch that is on when nobody says anything.
    pub fn flag_or(&self, key: &str, default: bool) -> bool {
        if self.text(key).is_some() { self.flag(key) } else { default }
    }

    /// A number.
    ///
    /// # Errors
    /// When it is none.
    pub fn number(&self, key: &str) -> Result<Option<i64>> {
        let parse =
            |text: &str| text.parse().map_err(|_| Error::invalid(format!("{key}: {text:?} is not a number")));
        self.text(key).map(parse).transpose()
    }

    /// A point in time.
    ///
    /// # Errors
    /// When it is none.
    pub fn time(&self, key: &str) -> Result<Option<Time>> {
        let parse = |text: &str| {
            time::from_query(text).ok_or_else(|| Error::invalid(format!("{key}: invalid time {text:?}")))
        };
        // Nothing has happened until 1970; old clients mean no limit by that.
        self.text(key).filter(|text| key != "until" || *text != "0").map(parse).transpose()
    }

    /// A repository with the request's tag, if it has one.
    ///
    /// # Errors
    /// When they are no name of an image.
    pub fn tagged(&self, repository: &str) -> Result<Reference> {
        let mut reference = Reference::parse_exact(repository)?;
        if let Some(tag) = self.text("tag") {
            reference.tag = Some(tag.to_owned());
        }
        Reference::parse(&reference.to_string())
    }

    /// Refuses another platform than this machine's.
    ///
    /// # Errors
    /// With its name.
    pub fn check_platform(&self) -> Result<()> {
        self.text("platform").map_or(Ok(()), config::check_platform)
    }

    /// The filters of a list: names and their values.
    ///
    /// # Errors
    /// When they are malformed, or not among the known ones.
    pub fn filters(&self, known: &[&str]) -> Result<Filters> {
        let text = self.text("filters").unwrap_or("{}");
        let bad = || Error::invalid(format!("invalid filter: {text}"));
        let value: Value = serde_json::from_str(text).map_err(|_| bad())?;
        let mut filters = HashMap::new();
        for (name, values) in value.as_object().ok_or_else(bad)? {
            if !known.contains(&name.as_str()) {
                return Err(Error::invalid(format!("invalid filter '{name}'")));
            }
            let values = match values {
                // An object of value and true, or a list.
                Value::Object(values) => values.keys().cloned().collect(),
                Value::Array(values) => values.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect(),
                Value::Null => Vec::new(),
                _ => return Err(bad()),
            };
            filters.insert(name.clone(), values);
        }
        let bad = |text: &String| Error::invalid(format!("invalid filter 'until={text}'"));
        let until = filters.get("until").and_then(|values: &Vec<String>| values.first());
        let until = until.map(|text| time::from_query(text).ok_or_else(|| bad(text))).transpose()?;
        Ok(Filters { values: filters, until })
    }

    /// The whole body as JSON; `None` when there is none.
    ///
    /// # Errors
    /// When it is too large or malformed.
    pub async fn json<T: DeserializeOwned>(&mut self) -> Result<Option<T>> {
        let bytes = match self.early.take() {
            Some(bytes) => bytes,
            None => {
                let body = Limited::new(self.request.body_mut(), MOST).collect().await;
                body.map_err(|error| Error::invalid(format!("read the request: {error}")))?.to_bytes()
            }
        };
        if bytes.is_empty() {
            return Ok(None);
        }
        // Some clients write nothing as `null`.
        serde_json::from_slice(&bytes).map_err(|error| Error::invalid(format!("invalid JSON: {error}")))
    }

    /// The whole body in a file without a name, to be read from its beginning.
    ///
    /// # Errors
    /// When the client breaks off or writing fails.
    pub async fn spool(&mut self, content: &Content) -> Result<File> {
        let mut file = content.spool()?;
        file.write_all(&self.early.take().unwrap_or_default())?;
        while let Some(frame) = self.request.body_mut().frame().await {
            let frame = frame.map_err(|error| Error::invalid(format!("read the request: {error}")))?;
            if let Ok(bytes) = frame.into_data() {
                block_in_place(|| file.write_all(&bytes))?;
            }
        }
        file.rewind()?;
        Ok(file)
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.request.headers().get(name).and_then(|value| value.to_str().ok())
    }
}

/// The filters of a list.
#[derive(Debug, Default)]
pub struct Filters {
    values: HashMap<String, Vec<String>>,
    until: Option<Time>,
}

impl Filters {
    /// The values of a filter.
    pub fn get(&self, name: &str) -> &[String] {
        self.values.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether a filter lets something through: when it is not there, or one of its values does.
    pub fn any(&self, name: &str, test: impl FnMut(&String) -> bool) -> bool {
        let values = self.get(name);
        values.is_empty() || values.iter().any(test)
    }

    /// Whether labels have all that is asked for, and nothing of `label!`.
    pub fn labels(&self, labels: &HashMap<String, String>) -> bool {
        let has = |wanted: &String| match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|own| own == value),
            None => labels.contains_key(wanted),
        };
        self.get("label").iter().all(has) && !self.get("label!").iter().any(has)
    }

    /// Whether something that was made then is older than `until`, if that is asked for.
    pub fn old(&self, made: Option<&str>) -> bool {
        self.until.is_none_or(|until| made.and_then(time::parse).is_some_and(|made| made < until))
    }

    /// What a filter that names one thing leads to.
    ///
    /// # Errors
    /// Those of `find`.
    pub fn one<T>(&self, name: &str, find: impl FnOnce(&str) -> Result<T>) -> Result<Option<T>> {
        self.get(name).first().map(|wanted| find(wanted)).transpose()
    }

    /// A filter that is true or false.
    ///
    /// # Errors
    /// When its value is neither.
    pub fn boolean(&self, name: &str) -> Result<Option<bool>> {
        match self.get(name) {
            [] => Ok(None),
            [value, ..] => match value.as_str() {
                "1" | "true" | "True" | "TRUE" => Ok(Some(true)),
                "0" | "false" | "False" | "FALSE" => Ok(Some(false)),
                _ => Err(Error::invalid(format!("invalid filter '{name}={value}'"))),
            },
        }
    }
}

/// Undoes percent-encoding.
fn decode(text: &str, plus: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        match first {
            b'%' => {
                let digits = std::str::from_utf8(tail.get(..2)?).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = &tail[2..];
            }
            b'+' if plus => bytes.push(b' '),
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn escapes_are_undone() {
        assert_eq!(decode("a%2Fb+c", true).as_deref(), Some("a/b c"));
        assert_eq!(decode("a+c", false).as_deref(), Some("a+c"));
        assert_eq!((decode("%2", true), decode("%zz", true), decode("%ff", true)), (None, None, None));
    }
}
