//! Names of images: `[domain/]path[:tag][@digest]`, with Docker's defaults. Source: distribution/reference.

use std::fmt;

use crate::error::{Result, bail, error};

/// The registry that is meant when none is named.
pub const DEFAULT_DOMAIN: &str = "docker.io";

/// A name with everything in it that was left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// The registry.
    pub domain: String,
    /// The repository in it.
    pub path: String,
    /// The tag; without one and without a digest it is `latest`.
    pub tag: Option<String>,
    /// `sha256:…`.
    pub digest: Option<String>,
}

impl Reference {
    /// Understands a name as people write it.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self> {
        Self::parse_exact(text).map(|mut reference| {
            if reference.tag.is_none() && reference.digest.is_none() {
                reference.tag = Some("latest".into());
            }
            reference
        })
    }

    /// The same, but without a tag when none was written.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse_exact(text: &str) -> Result<Self> {
        let bad = || error!(invalid, "invalid reference format: {text:?}");
        let (name, digest) = text.split_once('@').map_or((text, None), |(name, digest)| (name, Some(digest)));
        let (name, tag) = match name.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (name, None),
        };
        if !digest.is_none_or(is_digest) || !tag.is_none_or(is_tag) {
            return Err(bad());
        }
        let (domain, path) = match name.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => {
                (first, rest.to_owned())
            }
            Some(_) => (DEFAULT_DOMAIN, name.to_owned()),
            None => (DEFAULT_DOMAIN, format!("library/{name}")),
        };
        let domain = if domain == "index.docker.io" { DEFAULT_DOMAIN } else { domain };
        if path.chars().any(|c| c.is_ascii_uppercase()) {
            bail!(invalid, "invalid reference format: repository name ({path}) must be lowercase");
        }
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let part_is_good = |part: &str| {
            part.starts_with(plain)
                && part.ends_with(plain)
                && part.chars().all(|c| plain(c) || "._-".contains(c))
        };
        let domain_is_good = domain.chars().all(|c| c.is_ascii_alphanumeric() || ".:-[]".contains(c))
            && domain
                .split('.')
                .all(|label| label.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '['));
        if !path.split('/').all(part_is_good) || !domain_is_good || path.len() + domain.len() > 255 {
            return Err(bad());
        }
        let [tag, digest] = [tag, digest].map(|part| part.map(str::to_owned));
        Ok(Self { domain: domain.to_owned(), path, tag, digest })
    }

    /// Domain and path.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The repository in the short form that people read.
    pub fn familiar(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.repository();
        }
        self.path.strip_prefix("library/").filter(|rest| !rest.contains('/')).unwrap_or(&self.path).to_owned()
    }

    /// The short form with tag or digest.
    pub fn familiar_full(&self) -> String {
        self.familiar() + &self.rest()
    }

    fn rest(&self) -> String {
        let tag = self.tag.iter().map(|tag| format!(":{tag}"));
        tag.chain(self.digest.iter().map(|digest| format!("@{digest}"))).collect()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}", self.repository(), self.rest())
    }
}

/// The beginning of an id or digest, as people read it.
pub fn short(id: &str) -> &str {
    let hash = id.strip_prefix("sha256:").unwrap_or(id);
    hash.get(..12).unwrap_or(hash)
}

/// Whether it is `sha256:` and 64 hexadecimal digits: the one algorithm that is used here.
pub fn is_digest(text: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.strip_prefix("sha256:").is_some_and(|hash| hash.len() == 64 && hash.bytes().all(is_digit))
}

fn is_tag(text: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    !text.is_empty() && text.len() <= 128 && !text.starts_with(['.', '-']) && text.chars().all(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_filled_in() {
        let full = |text| Reference::parse(text).unwrap().to_string();
        assert_eq!(full("busybox"), "docker.io/library/busybox:latest");
        assert_eq!(full("me/app:1.0"), "docker.io/me/app:1.0");
        assert_eq!(full("localhost:5000/a/b"), "localhost:5000/a/b:latest");
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(full(&format!("quay.io/x@{digest}")), format!("quay.io/x@{digest}"));
        assert_eq!(Reference::parse("docker.io/library/busybox:1").unwrap().familiar_full(), "busybox:1");
        assert_eq!(Reference::parse("localhost/b:1").unwrap().familiar_full(), "localhost/b:1");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in ["", "Upper", "a//b", "../x", "a:", "a:.x", "a@sha256:12", "-a", "a b", "a/../b"] {
            assert!(Reference::parse(text).is_err(), "{text}");
        }
    }
}
