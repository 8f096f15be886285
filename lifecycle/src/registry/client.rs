//! Requests to a registry: authentication, redirections, errors in its own words.

use std::io::Write;
use std::sync::Mutex;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode, Uri, header};
use serde_json::Value;

use super::auth::{Challenge, Credentials, challenge};
use super::transport::{Body, is_loopback, send};
use crate::error::{Error, Result};

/// The largest manifest, configuration or token.
const MOST: usize = 8 << 20;

/// Who we say we are.
const AGENT: &str = concat!("corten/", env!("CARGO_PKG_VERSION"));

/// A registry, as one user sees it.
#[derive(Debug)]
pub struct Registry {
    authority: String,
    credentials: Credentials,
    /// The `Authorization` that was accepted last.
    authorization: Mutex<Option<String>>,
    /// Whether it speaks TLS, once that is known.
    tls: Mutex<Option<bool>>,
}

pub(super) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

impl Registry {
    /// A registry by its name in references.
    pub fn new(domain: &str, credentials: Credentials) -> Self {
        let authority = if domain == "docker.io" { "registry-1.docker.io" } else { domain };
        Self {
            authority: authority.to_owned(),
            credentials,
            authorization: Mutex::default(),
            tls: Mutex::default(),
        }
    }

    fn authorization(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.authorization.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Whether it speaks TLS: only one on this machine may not.
    async fn speaks_tls(&self) -> bool {
        let known = *self.tls.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(known) = known {
            return known;
        }
        let tls = if is_loopback(&self.authority) {
            let probe = Request::get("/v2/").header(header::HOST, &self.authority).body(full(""));
            match probe {
                Ok(probe) => send(true, &self.authority, probe).await.is_ok(),
                Err(_) => true,
            }
        } else {
            true
        };
        *self.tls.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(tls);
        tls
    }

    /// Makes a request; `body` is made anew for each attempt. Redirections are followed when reading.
    ///
    /// # Errors
    /// When the registry cannot be reached, or refuses.
    pub(super) async fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&'static str, String)],
        body: impl Fn() -> Body,
    ) -> Result<Response<Incoming>> {
        let tls = self.speaks_tls().await;
        let scheme = if tls { "https" } else { "http" };
        let mut uri = if path.contains("://") {
            path.to_owned()
        } else {
            format!("{scheme}://{}{path}", self.authority)
        };
        let mut asked = false;
        for _ in 0..8 {
            let answer = self.attempt(&method, &uri, headers, body()).await?;
            let status = answer.status();
            if status == StatusCode::UNAUTHORIZED && !asked {
                asked = true;
                self.authorize(&answer).await?;
                continue;
            }
            let target = answer.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            match target.filter(|_| status.is_redirection() && matches!(method, Method::GET | Method::HEAD)) {
                Some(target) => uri = absolute(&uri, target)?,
                None => return Ok(answer),
            }
        }
        Err(Error::internal(format!("registry {}: too many redirections", self.authority)))
    }

    async fn attempt(
        &self,
        method: &Method,
        uri: &str,
        headers: &[(&'static str, String)],
        body: Body,
    ) -> Result<Response<Incoming>> {
        let parsed: Uri = uri.parse().map_err(|error| Error::internal(format!("{uri}: {error}")))?;
        let authority = parsed.authority().map(ToString::to_string).unwrap_or_default();
        let tls = parsed.scheme_str() != Some("http");
        if !tls && !is_loopback(&authority) {
            return Err(Error::internal(format!("registry {authority}: it does not use TLS")));
        }
        let path = parsed.path_and_query().map_or("/", |path| path.as_str());
        let mut request =
            Request::builder().method(method.clone()).uri(path).header(header::HOST, &authority);
        request = request.header(header::USER_AGENT, AGENT);
        // Elsewhere, our authorization is nobody's business.
        let authorization = self.authorization().clone().filter(|_| authority == self.authority);
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(body).map_err(Error::step("make a request"))?;
        send(tls, &authority, request).await
    }

    /// Does what a refusal asks for.
    async fn authorize(&self, refusal: &Response<Incoming>) -> Result<()> {
        let denied = |why: &str| Error::internal(format!("unauthorized: {why}"));
        let header = refusal.headers().get(header::WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
        match header.and_then(challenge) {
            Some(Challenge::Basic) if !self.credentials.username.is_empty() => {
                *self.authorization() = Some(self.credentials.basic());
                Ok(())
            }
            Some(Challenge::Basic) => Err(denied("authentication required")),
            Some(Challenge::Bearer(fields)) => {
                let token = self.token(&fields).await?;
                *self.authorization() = Some(format!("Bearer {token}"));
                Ok(())
            }
            None => Err(denied("the registry asks for an authentication that is not known")),
        }
    }

    async fn token(&self, fields: &std::collections::BTreeMap<String, String>) -> Result<String> {
        let realm = fields
            .get("realm")
            .ok_or_else(|| Error::internal("unauthorized: the registry names no realm"))?;
        let uri: Uri = realm.parse().map_err(|error| Error::internal(format!("{realm}: {error}")))?;
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        let tls = uri.scheme_str() != Some("http");
        if !tls && !is_loopback(&authority) {
            return Err(Error::internal(format!("{realm}: tokens are not asked for without TLS")));
        }
        let mut query = vec![("client_id", "corten".to_owned())];
        for key in ["service", "scope"] {
            query.extend(fields.get(key).map(|value| (key, value.clone())));
        }
        let request = if self.credentials.identity_token.is_empty() {
            let separator = if uri.query().is_some() { '&' } else { '?' };
            let path = format!(
                "{}{separator}{}",
                uri.path_and_query().map_or("/", |path| path.as_str()),
                form(&query)
            );
            let mut request = Request::get(path).header(header::HOST, &authority);
            if !self.credentials.username.is_empty() {
                request = request.header(header::AUTHORIZATION, self.credentials.basic());
            }
            request.body(full(""))
        } else {
            query.push(("grant_type", "refresh_token".into()));
            query.push(("refresh_token", self.credentials.identity_token.clone()));
            let request = Request::post(uri.path()).header(header::HOST, &authority);
            request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(full(form(&query)))
        };
        let answer = send(tls, &authority, request.map_err(Error::step("make a request"))?).await?;
        let status = answer.status();
        let bytes = read(answer).await?;
        if !status.is_success() {
            return Err(Error::internal(format!("unauthorized: incorrect username or password ({status})")));
        }
        let value: Value = serde_json::from_slice(&bytes)?;
        let token = value["token"].as_str().or_else(|| value["access_token"].as_str());
        token.map(str::to_owned).ok_or_else(|| Error::internal("unauthorized: the answer has no token"))
    }

    /// Whether the registry accepts the credentials.
    ///
    /// # Errors
    /// When it does not.
    pub async fn log_in(&self) -> Result<()> {
        let answer = self.request(Method::GET, "/v2/", &[], || full("")).await?;
        expect(answer, &[StatusCode::OK]).await.map(drop)
    }
}

/// The answer, when its status is one of those; the registry's own words otherwise.
///
/// # Errors
/// With what the registry says.
pub(super) async fn expect(answer: Response<Incoming>, good: &[StatusCode]) -> Result<Response<Incoming>> {
    let status = answer.status();
    if good.contains(&status) {
        return Ok(answer);
    }
    let bytes = read(answer).await.unwrap_or_default();
    let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let first = &value["errors"][0];
    let text = match (first["code"].as_str(), first["message"].as_str()) {
        (Some(code), Some(message)) => format!("{}: {message}", code.to_lowercase().replace('_', " ")),
        _ => format!("the registry answers {status}"),
    };
    Err(match status {
        StatusCode::NOT_FOUND => Error::not_found(text),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Error::forbidden(text),
        _ => Error::internal(text),
    })
}

/// A whole answer of modest size.
///
/// # Errors
/// When it is larger or breaks off.
pub(super) async fn read(answer: Response<Incoming>) -> Result<Bytes> {
    let body = Limited::new(answer.into_body(), MOST).collect().await;
    body.map(http_body_util::Collected::to_bytes)
        .map_err(|error| Error::internal(format!("read the answer: {error}")))
}

/// Writes what is at a URL of no registry into a file; redirections are followed. Returns the URL it was found at.
///
/// # Errors
/// When it is not there, or breaks off.
pub async fn download(url: &str, mut to: std::fs::File) -> Result<String> {
    let mut url = url.to_owned();
    for _ in 0..8 {
        let parsed: Uri = url.parse().map_err(|error| Error::invalid(format!("{url}: {error}")))?;
        let authority = parsed.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
        // A name and a password in it are for the server alone, and would be for whoever reads the history.
        if authority.contains('@') {
            return Err(Error::invalid("a URL with a name and password in it is not offered"));
        }
        let path = parsed.path_and_query().map_or("/", |path| path.as_str());
        let request = Request::get(path).header(header::HOST, &authority).header(header::USER_AGENT, AGENT);
        let request = request.body(full("")).map_err(Error::step("make a request"))?;
        let answer = send(parsed.scheme_str() == Some("https"), &authority, request).await?;
        let status = answer.status();
        let target = answer.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
        if let Some(target) = target.filter(|_| status.is_redirection()) {
            let next = absolute(&url, target)?;
            if !next.starts_with("https://") && (url.starts_with("https://") || !next.starts_with("http://"))
            {
                return Err(Error::invalid(format!("{url} leads to {next}, which is not followed")));
            }
            url = next;
            continue;
        }
        if !status.is_success() {
            return Err(Error::invalid(format!("{url}: the server answers {status}")));
        }
        let mut body = answer.into_body();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Error::internal(format!("{url}: {error}")))?;
            if let Ok(bytes) = frame.into_data() {
                to = tokio::task::spawn_blocking(move || to.write_all(&bytes).map(|()| to)).await??;
            }
        }
        return Ok(url);
    }
    Err(Error::invalid(format!("{url}: too many redirections")))
}

fn absolute(base: &str, target: &str) -> Result<String> {
    if target.contains("://") {
        return Ok(target.to_owned());
    }
    let base: Uri = base.parse().map_err(|error| Error::internal(format!("{base}: {error}")))?;
    let (scheme, authority) =
        (base.scheme_str().unwrap_or("https"), base.authority().map(ToString::to_string).unwrap_or_default());
    Ok(format!("{scheme}://{authority}/{}", target.trim_start_matches('/')))
}

fn form(fields: &[(&str, String)]) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let escape = |text: &str| -> String {
        text.bytes()
            .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
            .collect()
    };
    fields.iter().map(|(key, value)| format!("{key}={}", escape(value))).collect::<Vec<_>>().join("&")
}
