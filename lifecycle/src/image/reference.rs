//! Names of images: `[domain/]path[:tag][@digest]`, with Docker's defaults. Source: distribution/reference.

use std::fmt;
use std::sync::LazyLock;

use regex::Regex;

use crate::error::{Result, ensure, error};

/// The registry that is meant when none is named.
pub const DEFAULT_DOMAIN: &str = "docker.io";

/// Names, where the first part is a registry if it looks like one.
static GRAMMAR: LazyLock<Regex> = LazyLock::new(|| {
    let label = "[[:alnum:]][[:alnum:]-]*";
    let domain = format!(r"localhost|{label}(?:\.{label})+|(?:{label}(?:\.{label})*|\[[[:xdigit:]:]+\]):\d+");
    let part = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*";
    let rest = r"(?::(?<tag>\w[\w.-]{0,127}))?(?:@(?<digest>sha256:[0-9a-f]{64}))?";
    let text = format!("(?-u)^(?:(?<domain>{domain})/)?(?<path>{part}(?:/{part})*){rest}$");
    #[allow(clippy::expect_used, reason = "a constant, which a test compiles")]
    Regex::new(&text).expect("the grammar of names")
});

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
        let mut reference = Self::parse_exact(text)?;
        if reference.digest.is_none() {
            reference.tag.get_or_insert_with(|| "latest".into());
        }
        Ok(reference)
    }

    /// A name that an image can be given here: what a digest names, its registry alone can say.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse_tag(text: &str) -> Result<Self> {
        let reference = Self::parse(text)?;
        ensure!(
            reference.digest.is_none(),
            invalid,
            "refusing to create a tag with a digest reference: {text}"
        );
        let is_plain = reference.familiar() != "sha256";
        ensure!(is_plain, invalid, "refusing to create an ambiguous tag using digest algorithm as name");
        Ok(reference)
    }

    /// The same as [`Reference::parse`], but without a tag when none was written.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse_exact(text: &str) -> Result<Self> {
        let bad = || error!(invalid, "invalid reference format: {text:?}");
        let parts = GRAMMAR.captures(text).ok_or_else(bad)?;
        let part = |name| parts.name(name).map(|part| part.as_str().to_owned());
        let (tag, digest, mut path) = (part("tag"), part("digest"), part("path").ok_or_else(bad)?);
        let domain = part("domain").filter(|own| own != "index.docker.io");
        let domain = domain.unwrap_or_else(|| DEFAULT_DOMAIN.into());
        if domain == DEFAULT_DOMAIN && !path.contains('/') {
            path = format!("library/{path}");
        }
        if path.len() + domain.len() > 255 {
            return Err(bad());
        }
        Ok(Self { domain, path, tag, digest })
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
