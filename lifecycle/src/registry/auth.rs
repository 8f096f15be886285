//! Who we are to a registry: a name and password from the client, and the tokens that are got for them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// What a client sends in `X-Registry-Auth`.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct Credentials {
    /// The name.
    #[serde(alias = "Username")]
    pub username: String,
    /// The password.
    #[serde(alias = "Password")]
    pub password: String,
    /// A token that stands for both.
    #[serde(alias = "IdentityToken", rename = "identitytoken")]
    pub identity_token: String,
    /// The registry they are for.
    #[serde(alias = "ServerAddress", rename = "serveraddress")]
    pub server: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

impl Credentials {
    /// Understands the header `X-Registry-Auth`.
    ///
    /// # Errors
    /// When it is something else.
    pub fn from_header(header: Option<&str>) -> Result<Self> {
        header.map_or_else(|| Ok(Self::default()), Self::read)
    }

    /// Understands a header: JSON in base64, with or without padding.
    ///
    /// # Errors
    /// When it is something else.
    pub fn read<T: DeserializeOwned + Default>(header: &str) -> Result<T> {
        let bad = || Error::invalid("invalid X-Registry-Auth or X-Registry-Config header");
        let bytes = decode(header).ok_or_else(bad)?;
        if bytes.is_empty() {
            return Ok(T::default());
        }
        serde_json::from_slice(&bytes).map_err(|_| bad())
    }

    /// Nobody in particular.
    pub fn is_empty(&self) -> bool {
        self.username.is_empty() && self.identity_token.is_empty()
    }

    /// The header of basic authentication.
    pub(super) fn basic(&self) -> String {
        format!("Basic {}", crate::files::base64(format!("{}:{}", self.username, self.password).as_bytes()))
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut bits, mut number) = (Vec::new(), 0, 0u32);
    for byte in text.trim_end_matches('=').bytes() {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        number = number << 6 | u32::from(digit);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(number >> bits & 0xff).ok()?);
        }
    }
    Some(bytes)
}

/// What a registry asks for with status 401.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// Name and password with each request.
    Basic,
    /// A token from `realm`.
    Bearer(BTreeMap<String, String>),
}

/// Understands `WWW-Authenticate`.
pub(super) fn challenge(header: &str) -> Option<Challenge> {
    let (scheme, rest) = header.split_once(' ').unwrap_or((header, ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let mut fields = BTreeMap::new();
    let mut rest = rest.trim();
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=')?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_at(after.find(',').unwrap_or(after.len())),
        };
        fields.insert(key.trim().to_ascii_lowercase(), value.to_owned());
        rest = after.trim_start_matches([',', ' ']);
    }
    Some(Challenge::Bearer(fields))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_and_headers_are_understood() {
        let text = r#"Bearer realm="https://auth.x/token",service="r.x",scope="repository:a/b:pull,push""#;
        let Some(Challenge::Bearer(fields)) = challenge(text) else { panic!("a challenge") };
        assert_eq!(
            (fields["realm"].as_str(), fields["scope"].as_str()),
            ("https://auth.x/token", "repository:a/b:pull,push")
        );
        assert_eq!(challenge("Basic realm=\"x\""), Some(Challenge::Basic));
        assert_eq!(challenge("Digest x"), None);
        let header = crate::files::base64(br#"{"username":"me","password":"secret"}"#);
        let credentials = Credentials::from_header(Some(header.trim_end_matches('='))).unwrap();
        assert_eq!((credentials.username.as_str(), credentials.password.as_str()), ("me", "secret"));
        assert!(Credentials::from_header(Some("e30=")).unwrap().is_empty());
        assert!(Credentials::from_header(Some("!")).is_err());
    }
}
