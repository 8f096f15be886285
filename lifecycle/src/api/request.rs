//! What a request says.

use std::collections::HashMap;
use std::fmt::Display;
use std::fs::File;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Body, Incoming};
use hyper::{Method, Request};
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncSeekExt, AsyncWriteExt};

use super::client::Client;
use super::{NEWEST, Version};
use crate::container::part;
use crate::error::{Error, Result, bail, ensure, error};
use crate::image::config::Platform;
use crate::image::{Content, Reference};
use crate::said;
use crate::time::{self, Time};

/// The largest body that is not a stream.
const MOST: usize = 8 << 20;

/// A request, its path cut up.
#[derive(Debug)]
pub struct Call {
    /// The method.
    pub method: Method,
    /// The version of the API that the client speaks.
    pub version: Version,
    /// The parts of the path, without the version.
    pub path: Vec<String>,
    query: Vec<(String, String)>,
    /// Whose it is.
    pub client: Client,
    /// The rest of it.
    pub request: Request<BoxBody<Bytes, hyper::Error>>,
}

/// What a client failed of while it sent its request.
fn broken(error: impl Display) -> Error {
    error!(invalid, "read the request: {error}")
}

impl Call {
    /// Takes a request apart; a client that names no version speaks the newest.
    ///
    /// # Errors
    /// When the path or the query is malformed.
    pub fn read(request: Request<Incoming>, client: Client) -> Result<Self> {
        let uri = request.uri();
        let parts = uri.path().split('/').filter(|part| !part.is_empty());
        let decoded = parts.map(|part| percent_decode_str(part).decode_utf8().map(String::from));
        let path = decoded.collect::<Result<Vec<_>, _>>();
        let mut path = path.map_err(|_| Error::invalid("malformed path"))?;
        let named = path.first().and_then(|first| first.strip_prefix('v')).and_then(|text| {
            let (major, minor) = text.split_once('.')?;
            Some(Version(major.parse().ok()?, minor.parse().ok()?))
        });
        if named.is_some() {
            path.remove(0);
        }
        let query = uri.query().unwrap_or_default();
        ensure!(!query.contains(';'), invalid, "invalid semicolon separator in query");
        let is_byte =
            |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
        if let Some(rest) = query.split('%').skip(1).find(|rest| !is_byte(rest)) {
            bail!(invalid, "invalid URL escape \"%{}\"", rest.chars().take(2).collect::<String>());
        }
        let query = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let (method, version) = (request.method().clone(), named.unwrap_or(NEWEST));
        Ok(Self { method, version, path, query, client, request: request.map(BodyExt::boxed) })
    }

    /// A parameter that is not empty.
    pub fn text(&self, key: &str) -> Option<&str> {
        let (_, value) = self.query.iter().find(|(own, _)| own == key)?;
        Some(value.as_str()).filter(|text| !text.is_empty())
    }

    /// All values of a parameter.
    pub fn all(&self, key: &str) -> Vec<String> {
        self.query.iter().filter(|(own, _)| own == key).map(|(_, value)| value.clone()).collect()
    }

    /// A switch, as Docker reads them.
    pub fn flag(&self, key: &str) -> bool {
        self.flag_or(key, false)
    }

    /// A switch that is on when nobody says anything.
    pub fn flag_or(&self, key: &str, default: bool) -> bool {
        let on = |text: &str| !["0", "no", "false", "none"].contains(&text.to_ascii_lowercase().as_str());
        self.text(key).map_or(default, on)
    }

    /// A number.
    ///
    /// # Errors
    /// When it is none.
    pub fn number(&self, key: &str) -> Result<Option<i64>> {
        let parse = |text: &str| text.parse().map_err(|_| error!(invalid, "{key}: {text:?} is not a number"));
        self.text(key).map(parse).transpose()
    }

    /// A point in time.
    ///
    /// # Errors
    /// When it is none.
    pub fn time(&self, key: &str) -> Result<Option<Time>> {
        let parse = |text: &str| {
            time::from_query(text).ok_or_else(|| error!(invalid, "{key}: invalid time {text:?}"))
        };
        self.text(key).map(parse).transpose()
    }

    /// A repository with the request's tag or digest, as far as it has one.
    ///
    /// # Errors
    /// When they are no name of an image.
    pub fn named(&self, repository: &str) -> Result<Reference> {
        let mut reference = Reference::parse_exact(repository)?;
        match self.text("tag") {
            Some(digest) if digest.contains(':') => reference.digest = Some(digest.to_owned()),
            Some(tag) => reference.tag = Some(tag.to_owned()),
            None => {}
        }
        Reference::parse_exact(&reference.to_string())
    }

    /// The name that an image is to be given.
    ///
    /// # Errors
    /// When it is none.
    pub fn tagged(&self, repository: &str) -> Result<Reference> {
        Reference::parse_tag(&self.named(repository)?.to_string())
    }

    /// The platform that is asked for, which clients name, such as `linux/amd64`, or send as JSON.
    ///
    /// # Errors
    /// When there is no such thing, or more than one.
    pub fn platform(&self) -> Result<Option<Platform>> {
        let all = ["platform", "platforms"].into_iter().flat_map(|key| self.all(key));
        let all: Vec<_> = all.filter(|text| !text.is_empty()).collect();
        ensure!(all.len() < 2, invalid, "multiple platform parameters not supported");
        let understood = |text: &String| match serde_json::from_str::<oci_spec::image::Platform>(text) {
            Ok(platform) => Ok(Platform::from(&platform)),
            Err(_) => Platform::parse(text),
        };
        all.first().map(understood).transpose()
    }

    /// The filters of a list: names and their values.
    ///
    /// # Errors
    /// When they are malformed, or not among the known ones.
    pub fn filters(&self, known: &[&str]) -> Result<Filters> {
        let text = self.text("filters").unwrap_or("{}");
        let bad = || error!(invalid, "invalid filter: {text}");
        let given: Option<HashMap<String, Value>> = serde_json::from_str(text).map_err(|_| bad())?;
        let mut filters = Filters::default();
        for (name, values) in given.into_iter().flatten() {
            ensure!(known.contains(&name.as_str()), invalid, "invalid filter '{name}'");
            let values = match values {
                Value::Null => Vec::new(),
                // As the names of something that is true.
                Value::Object(set) => set.into_iter().map(|(value, _)| value).collect(),
                list => serde_json::from_value(list).map_err(|_| bad())?,
            };
            filters.values.insert(name, values);
        }
        if let Some(text) = filters.get("until").first() {
            let bad = || error!(invalid, "invalid filter 'until={text}'");
            filters.until = Some(time::from_query(text).ok_or_else(bad)?);
        }
        Ok(filters)
    }

    /// The whole body as JSON; what the type has for nothing when there is none.
    ///
    /// # Errors
    /// When it is too large or malformed.
    pub async fn json<T: DeserializeOwned + Default>(&mut self) -> Result<T> {
        let bytes = Limited::new(self.request.body_mut(), MOST).collect().await.map_err(broken)?.to_bytes();
        let kind = self.header("content-type").unwrap_or_default();
        let is = |kind: &str| kind.trim().eq_ignore_ascii_case("application/json");
        let is_json = kind.split(';').next().is_some_and(is);
        if !(is_json || bytes.is_empty() && kind.is_empty()) {
            bail!(invalid, "unsupported Content-Type header ({kind}): must be 'application/json'");
        }
        // Some clients write nothing as `null`.
        let mut values = serde_json::Deserializer::from_slice(&bytes).into_iter();
        let value = values.next().transpose().map_err(|error| error!(invalid, "invalid JSON: {error}"))?;
        ensure!(values.next().is_none(), invalid, "unexpected content after JSON");
        part(value.unwrap_or(Value::Null))
    }

    /// The same as it is written, with the names that fields have in the type that it is of.
    ///
    /// # Errors
    /// When it is of another.
    pub async fn json_of<T: DeserializeOwned + Default>(&mut self) -> Result<Value> {
        let mut value = self.json().await?;
        said::understood::<T>(&mut value)?;
        Ok(value)
    }

    /// The whole body in a file without a name, to be read from its beginning.
    ///
    /// # Errors
    /// When the client breaks off or writing fails.
    pub async fn spool(&mut self, content: &Content) -> Result<File> {
        let mut file = tokio::fs::File::from_std(content.spool()?);
        while let Some(frame) = self.request.body_mut().frame().await {
            if let Ok(bytes) = frame.map_err(broken)?.into_data() {
                file.write_all(&bytes).await.map_err(Error::step("keep what is sent"))?;
            }
        }
        file.flush().await.map_err(Error::step("keep what is sent"))?;
        file.rewind().await?;
        Ok(file.into_std().await)
    }

    /// The type of those offered that the client asks for most, by its name: `*/*` is not one.
    pub fn accepted(&self, offered: &[&'static str]) -> Option<&'static str> {
        let accept = self.header("accept")?;
        let weight = |kind: &str| {
            let of = |range: &str| {
                let mut words = range.split(';').map(str::trim);
                words.next().filter(|own| own.eq_ignore_ascii_case(kind))?;
                words.find_map(|word| word.strip_prefix("q=")).map_or(Some(1.0), |text| text.parse().ok())
            };
            accept.split(',').filter_map(of).fold(0.0_f32, f32::max)
        };
        // Of several, the first.
        let most = offered.iter().rev().max_by(|one, other| weight(one).total_cmp(&weight(other)))?;
        Some(*most).filter(|kind| weight(kind) > 0.0)
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.request.headers().get(name).and_then(|value| value.to_str().ok())
    }
}

impl Drop for Call {
    /// Takes what is still sent to its end: a client that is writing would not see an answer.
    fn drop(&mut self) {
        let nothing = Empty::new().map_err(|never| match never {}).boxed();
        let mut rest = std::mem::replace(self.request.body_mut(), nothing);
        if !rest.is_end_stream() {
            tokio::spawn(async move { while let Some(Ok(_)) = rest.frame().await {} });
        }
    }
}

/// Whether a pair `name=value`, or one with that name, is among them.
fn has(pairs: &HashMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((name, value)) => pairs.get(name).is_some_and(|own| own == value),
        None => pairs.contains_key(wanted),
    }
}

/// The filters of a list.
#[derive(Debug, Default)]
pub struct Filters {
    values: HashMap<String, Vec<String>>,
    until: Option<Time>,
    since: Option<Time>,
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
        self.pairs("label", Some(labels)) && !self.get("label!").iter().any(|wanted| has(labels, wanted))
    }

    /// Whether there is all that a filter asks for, by names or with values.
    pub fn pairs(&self, name: &str, pairs: Option<&HashMap<String, String>>) -> bool {
        self.get(name).iter().all(|wanted| pairs.is_some_and(|pairs| has(pairs, wanted)))
    }

    /// With what `before` and `since` name looked up: `made` says when that was made.
    ///
    /// # Errors
    /// Those of `made`.
    pub fn beside(mut self, made: impl Fn(&str) -> Result<Option<String>>) -> Result<Self> {
        let named = |filter| -> Result<Option<Time>> {
            let Some(name) = self.get(filter).first() else { return Ok(None) };
            Ok(made(name)?.as_deref().and_then(time::parse))
        };
        let (before, since) = (named("before")?, named("since")?);
        self.until = self.until.into_iter().chain(before).min();
        self.since = since;
        Ok(self)
    }

    /// Whether something that was made then is as old and as new as it is asked for.
    pub fn in_time(&self, made: Option<&str>) -> bool {
        let made = made.and_then(time::parse);
        self.until.is_none_or(|until| made.is_some_and(|made| made < until))
            && self.since.is_none_or(|since| made.is_some_and(|made| made > since))
    }

    /// The values of a filter as what they stand for.
    ///
    /// # Errors
    /// When one of them stands for nothing.
    pub fn parsed<T>(&self, name: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Vec<T>> {
        let parse =
            |text: &String| parse(text).ok_or_else(|| error!(invalid, "invalid filter '{name}={text}'"));
        self.get(name).iter().map(parse).collect()
    }

    /// A filter that is true or false.
    ///
    /// # Errors
    /// When its value is neither.
    pub fn boolean(&self, name: &str) -> Result<Option<bool>> {
        match self.get(name).iter().map(String::as_str).collect::<Vec<_>>()[..] {
            [] => Ok(None),
            ["1" | "true" | "True" | "TRUE"] => Ok(Some(true)),
            ["0" | "false" | "False" | "FALSE"] => Ok(Some(false)),
            ref values => Err(error!(invalid, "invalid filter '{name}={}'", values.join(" "))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_and_since_are_points_in_time_wherever_they_were_written() {
        let values = HashMap::from([
            ("before".to_owned(), vec!["new".to_owned()]),
            ("since".to_owned(), vec!["old".to_owned()]),
        ]);
        let made = |name: &str| {
            let time = if name == "new" { "2026-01-01T12:00:00+02:00" } else { "2026-01-01T08:00:00.5Z" };
            Ok(Some(time.to_owned()))
        };
        let filters = Filters { values, ..Filters::default() }.beside(made).unwrap();
        assert!(filters.in_time(Some("2026-01-01T09:59:59Z")));
        for outside in ["2026-01-01T11:00:00Z", "2026-01-01T08:00:00Z", "2026-01-01T10:00:00Z"] {
            assert!(!filters.in_time(Some(outside)), "{outside}");
        }
        assert!(!filters.in_time(None));
    }
}
