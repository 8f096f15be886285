//! Requests to a registry: authentication, redirections, errors in its own words.

use std::error::Error as _;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::iter::successors;
use std::net::IpAddr;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use http_auth::{ChallengeRef, parse_challenges};
use ipnet::IpNet;
use parking_lot::Mutex;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, LINK, WWW_AUTHENTICATE};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url, redirect};
use serde_json::Value;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::{Credentials, MANIFESTS};
use crate::error::{Error, Result, ensure, error};
use crate::files;
use crate::image::content::digest;
use crate::image::{DEFAULT_DOMAIN, Reference};

/// The largest manifest, configuration or token.
const MOST: usize = 8 << 20;

/// How long a server may take to take a connection, and to say anything; to an upload it says nothing before it has all.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
const UPLOAD_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);

/// How many tags of a repository are asked for, and how long one may be.
const MOST_TAGS: usize = 1 << 16;
const MOST_OF_TAG: usize = 128;

/// How often one request is led elsewhere.
const REDIRECTIONS: usize = 8;

/// Who we say we are.
const AGENT: &str = concat!("corten/", env!("CARGO_PKG_VERSION"));

/// The certificates of this machine.
static AUTHORITIES: LazyLock<RootCertStore> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
});

/// A client that follows where it may go, and waits so long for more of an answer. It goes through the proxies of the
/// environment (`HTTPS_PROXY`, `NO_PROXY`), but never to this machine, as Go's do. Where `anybody` may answer, certificates
/// do not count.
fn client(
    limit: Duration,
    url: &Url,
    anybody: bool,
    may: impl Fn(&Url, &Url) -> bool + Send + Sync + 'static,
) -> Result<Client> {
    let redirect = redirect::Policy::custom(move |attempt| match attempt.previous() {
        all if all.len() > REDIRECTIONS => attempt.error("too many redirections"),
        [.., from] if !may(from, attempt.url()) => {
            let text = format!("{from} leads to {}, which is not followed", attempt.url());
            attempt.error(text)
        }
        _ => attempt.follow(),
    });
    let client = match anybody {
        true => {
            let _already = ring::default_provider().install_default();
            Client::builder().tls_danger_accept_invalid_certs(true)
        }
        false => Client::builder().tls_backend_preconfigured(tls(url)?),
    };
    let client = client
        .user_agent(AGENT)
        .redirect(redirect)
        .referer(false)
        .connect_timeout(CONNECT_LIMIT)
        .read_timeout(limit);
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let is_near = host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
    let client = if is_near { client.no_proxy() } else { client };
    client.build().map_err(Error::step("set up HTTP"))
}

/// Whom a server's certificate may be of, and what it is shown of us: those of this machine, and those in the folder that
/// Docker has for it (`HOST[:PORT]/*.crt`, and `*.cert` with `*.key`).
fn tls(url: &Url) -> Result<ClientConfig> {
    let (mut roots, mut own) = (AUTHORITIES.clone(), None);
    for file in files::entries(&Path::new("/etc/docker/certs.d").join(url.authority())) {
        match file.extension().and_then(OsStr::to_str) {
            Some("crt") => drop(roots.add_parsable_certificates(files::certificates(&file)?)),
            Some("cert") => own = Some(file),
            _ => {}
        }
    }
    let config = ClientConfig::builder().with_root_certificates(roots);
    let Some(file) = own else { return Ok(config.with_no_client_auth()) };
    let key = file.with_extension("key");
    let key = PrivateKeyDer::from_pem_file(&key).map_err(Error::at("read the key", &key))?;
    config.with_client_auth_cert(files::certificates(&file)?, key).map_err(Error::at("use", &file))
}

/// What a request failed of, with the server's name.
fn failed(error: reqwest::Error) -> Error {
    let url = error.url().cloned();
    let server = url.as_ref().map(|url| url.authority().to_owned()).unwrap_or_default();
    if AUTHORITIES.is_empty() && url.is_some_and(|url| url.scheme() == "https") {
        return error!(internal, "{server}: this host has no certificates (apt-get install ca-certificates)");
    }
    // The innermost cause is the one that says something.
    let innermost = successors(error.source(), |cause| (*cause).source()).last();
    match innermost.map_or_else(|| error.to_string(), ToString::to_string) {
        // What is no TLS at all, in the words of rustls.
        text if text.ends_with("InvalidContentType") => {
            error!(internal, "{server}: it does not use TLS, which cortend --insecure-registry would allow")
        }
        text => error!(internal, "{server}: {text}"),
    }
}

/// Asks any server for a file, as one without a name yet; returns what the server has said of it.
///
/// # Errors
/// When it does not give all of it, or it cannot be written.
pub async fn download(url: &str, file: &mut File) -> Result<Response> {
    let as_safe = |from: &Url, to: &Url| to.scheme() == "https" || from.scheme() == "http";
    let url: Url = url.parse().map_err(|error| error!(invalid, "{url}: {error}"))?;
    let answer = client(ANSWER_LIMIT, &url, false, as_safe)?.get(url).send().await.map_err(failed)?;
    ensure!(answer.status() != StatusCode::NOT_FOUND, not_found, "{}: {}", answer.url(), answer.status());
    let mut answer = answer.error_for_status().map_err(failed)?;
    while let Some(piece) = piece(&mut answer).await? {
        file.write_all(&piece).map_err(Error::step("write what is downloaded"))?;
    }
    Ok(answer)
}

/// The next piece of an answer.
pub(super) async fn piece(answer: &mut Response) -> Result<Option<Bytes>> {
    let next = answer.chunk().await;
    next.map_err(|error| failed(error.with_url(answer.url().clone())))
}

/// Only servers that are named as insecure may speak without TLS.
fn is_safe(url: &Url, insecure: &[String]) -> bool {
    url.scheme() == "https" || is_insecure(url, insecure)
}

/// Whether one of the names, which are those of hosts, with their port if they have one, and of networks, is a server's.
fn is_insecure(url: &Url, insecure: &[String]) -> bool {
    let host = url.host_str().unwrap_or_default();
    // URLs leave out the usual port, references do not.
    let full = format!("{host}:{}", url.port_or_known_default().unwrap_or_default());
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    let is_in = |network: IpNet| address.as_ref().is_ok_and(|address| network.contains(address));
    let is_its = |own: &String| own == url.authority() || *own == full || own.parse().is_ok_and(is_in);
    host == "localhost" || insecure.iter().any(is_its)
}

/// A registry, as one user sees it.
pub struct Registry {
    client: Client,
    uploads: Client,
    base: Url,
    insecure: &'static [String],
    credentials: Credentials,
    /// The `Authorization` that was accepted last.
    authorization: Mutex<Option<String>>,
}

impl Registry {
    /// A registry by its name in references; those that are `insecure` may speak without TLS, or have a certificate that
    /// nobody knows, and are asked which it is.
    ///
    /// # Errors
    /// When TLS cannot be set up, or the name is none.
    pub async fn new(insecure: &'static [String], domain: &str, credentials: Credentials) -> Result<Self> {
        let safe = move |_: &Url, to: &Url| is_safe(to, insecure);
        let authority = if domain == DEFAULT_DOMAIN { "registry-1.docker.io" } else { domain };
        let url = |scheme| format!("{scheme}://{authority}/v2/").parse::<Url>();
        let mut base = url("https").map_err(|error| error!(invalid, "registry {authority}: {error}"))?;
        let mut anybody = false;
        if is_insecure(&base, insecure)
            && let Err(error) = client(ANSWER_LIMIT, &base, false, safe)?.get(base.clone()).send().await
        {
            anybody = failed(error).message.contains("invalid peer certificate");
            if !anybody {
                base = url("http").map_err(|error| error!(invalid, "registry {authority}: {error}"))?;
            }
        }
        let client = |limit| client(limit, &base, anybody, safe);
        let (client, uploads) = (client(ANSWER_LIMIT)?, client(UPLOAD_LIMIT)?);
        Ok(Self { client, uploads, base, insecure, credentials, authorization: Mutex::default() })
    }

    /// Makes a request, and again with what the registry asks for when it asks for something; `adorn` gives each attempt
    /// what the request has besides. Redirections are followed, and what is no success is an error.
    ///
    /// # Errors
    /// When the registry cannot be reached, or refuses, with what it says.
    pub(super) async fn request(
        &self,
        method: Method,
        path: &str,
        adorn: impl Fn(RequestBuilder) -> io::Result<RequestBuilder>,
    ) -> Result<Response> {
        let base = &self.base;
        let url = base.join(path).map_err(|error| error!(internal, "{path}: {error}"))?;
        ensure!(is_safe(&url, self.insecure), internal, "registry {}: it does not use TLS", url.authority());
        let attempt = async || {
            let client = if method == Method::PUT { &self.uploads } else { &self.client };
            let mut request = adorn(client.request(method.clone(), url.clone()))?;
            // Elsewhere, our authorization is nobody's business.
            let authorization = self.authorization.lock().clone();
            if let Some(value) = authorization.filter(|_| url.origin() == base.origin()) {
                request = request.header(AUTHORIZATION, value);
            }
            request.send().await.map_err(failed)
        };
        let mut answer = attempt().await?;
        if answer.status() == StatusCode::UNAUTHORIZED && answer.url().origin() == base.origin() {
            let authorization = self.authorize(answer.headers()).await?;
            *self.authorization.lock() = Some(authorization);
            answer = attempt().await?;
        }
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        // A token was good, but not for this.
        let is_denied =
            |value: &HeaderValue| value.to_str().is_ok_and(|text| text.contains("insufficient_scope"));
        if answer.headers().get_all(WWW_AUTHENTICATE).iter().any(is_denied) {
            return Err(Error::forbidden("denied: requested access to the resource is denied"));
        }
        let said = read(answer).await.unwrap_or_default();
        let value: Value = serde_json::from_slice(&said).unwrap_or_default();
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

    /// The `Authorization` that a refusal asks for.
    async fn authorize(&self, refusal: &HeaderMap) -> Result<String> {
        let denied = |why: &str| error!(internal, "unauthorized: {why}");
        let headers = refusal.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let challenges: Vec<_> = headers.filter_map(|text| parse_challenges(text).ok()).flatten().collect();
        let of = |scheme: &str| challenges.iter().find(|one| one.scheme.eq_ignore_ascii_case(scheme));
        let Credentials { username, password, .. } = &self.credentials;
        let own = format!("{username}:{password}");
        match (of("bearer"), of("basic")) {
            (Some(challenge), _) => Ok(format!("Bearer {}", self.token(challenge).await?)),
            (_, Some(_)) if username.is_empty() => Err(denied("authentication required")),
            (_, Some(_)) => Ok(format!("Basic {}", files::base64(own.as_bytes()))),
            _ => Err(denied("the registry asks for an authentication that is not known")),
        }
    }

    async fn token(&self, challenge: &ChallengeRef<'_>) -> Result<String> {
        let denied = |why: &str| error!(internal, "unauthorized: {why}");
        let field = |name: &str| {
            let found = challenge.params.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.to_unescaped())
        };
        let realm = field("realm").ok_or_else(|| denied("the registry names no realm"))?;
        let url: Url = realm.parse().map_err(|error| error!(internal, "{realm}: {error}"))?;
        ensure!(is_safe(&url, self.insecure), internal, "{realm}: tokens are not asked for without TLS");
        let mut query = vec![("client_id", "corten".to_owned())];
        query.extend(["service", "scope"].iter().filter_map(|key| Some((*key, field(key)?))));
        let Credentials { username, password, identity_token, .. } = &self.credentials;
        let request = if !identity_token.is_empty() {
            query.push(("grant_type", "refresh_token".into()));
            query.push(("refresh_token", identity_token.clone()));
            self.client.post(url).form(&query)
        } else if username.is_empty() {
            self.client.get(url).query(&query)
        } else {
            self.client.get(url).query(&query).basic_auth(username, Some(password))
        };
        let answer = request.send().await.map_err(failed)?;
        let status = answer.status();
        let text = read(answer).await?;
        if !status.is_success() {
            let nobody = username.is_empty() && identity_token.is_empty();
            let why = if nobody { "authentication required" } else { "incorrect username or password" };
            return Err(denied(&format!("{why} ({status})")));
        }
        let value: Value = serde_json::from_slice(&text)?;
        let token = value["token"].as_str().or_else(|| value["access_token"].as_str());
        token.map(str::to_owned).ok_or_else(|| denied("the answer has no token"))
    }

    /// A manifest by tag or digest: its digest, and its text.
    ///
    /// # Errors
    /// When there is none, or it is not what its digest says.
    pub(super) async fn manifest(&self, reference: &Reference, wanted: &str) -> Result<(String, Vec<u8>)> {
        let path = format!("/v2/{}/manifests/{wanted}", reference.path);
        let accept = |request: RequestBuilder| Ok(request.header(ACCEPT, MANIFESTS.join(", ")));
        let name = reference.familiar_full();
        let answer = self.request(Method::GET, &path, accept).await.map_err(|error| match error.status {
            StatusCode::NOT_FOUND => error.context(format!("manifest for {name} not found")),
            _ => error,
        })?;
        checked(answer, wanted).await
    }

    /// An image's configuration, by its digest.
    ///
    /// # Errors
    /// When there is none, or it is not what its digest says.
    pub(super) async fn config(&self, reference: &Reference, wanted: &str) -> Result<Vec<u8>> {
        let path = format!("/v2/{}/blobs/{wanted}", reference.path);
        let (_, config) = checked(self.request(Method::GET, &path, Ok).await?, wanted).await?;
        Ok(config)
    }

    /// The tags of a repository, as far as it is of sensible size.
    ///
    /// # Errors
    /// When it has none.
    pub async fn tags(&self, path: &str) -> Result<Vec<String>> {
        let (mut tags, path) = (Vec::<String>::new(), format!("/v2/{path}/tags/list"));
        loop {
            let query = [("n", "1000"), ("last", tags.last().map_or("", String::as_str))];
            let answer = self.request(Method::GET, &path, |request| Ok(request.query(&query))).await?;
            let more = answer.headers().contains_key(LINK);
            let page: Value = serde_json::from_slice(&read(answer).await?)?;
            let before = tags.len();
            let names = page["tags"].as_array().into_iter().flatten().filter_map(Value::as_str);
            tags.extend(names.filter(|name| name.len() <= MOST_OF_TAG).map(str::to_owned));
            if !more || tags.len() == before || tags.len() > MOST_TAGS {
                return Ok(tags);
            }
        }
    }

    /// What an index of the first version of registries finds, as it says it.
    ///
    /// # Errors
    /// When it is none.
    pub async fn search(&self, term: &str, limit: i64) -> Result<Vec<Value>> {
        let query = [("q", term), ("n", &limit.to_string())];
        let answer = self.request(Method::GET, "/v1/search", |request| Ok(request.query(&query))).await?;
        let found: Value = serde_json::from_slice(&read(answer).await?)
            .map_err(|error| error!(internal, "{}: it cannot be searched: {error}", self.base.authority()))?;
        Ok(found["results"].as_array().cloned().unwrap_or_default())
    }

    /// Whether the registry accepts the credentials.
    ///
    /// # Errors
    /// When it does not.
    pub async fn log_in(&self) -> Result<()> {
        self.request(Method::GET, "/v2/", Ok).await.map(drop)
    }
}

/// A whole answer of modest size.
///
/// # Errors
/// When it is larger or breaks off.
async fn read(mut answer: Response) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(more) = piece(&mut answer).await? {
        bytes.extend_from_slice(&more);
        ensure!(bytes.len() <= MOST, internal, "read the answer: it has more than {MOST} bytes");
    }
    Ok(bytes)
}

/// A whole answer and its digest, which is the one that was asked for; a tag is none, and has no colon.
async fn checked(answer: Response, wanted: &str) -> Result<(String, Vec<u8>)> {
    let path = answer.url().path().to_owned();
    let text = read(answer).await?;
    let own = digest(&text);
    ensure!(!wanted.contains(':') || own == wanted, invalid, "{path} has digest {own}, expected {wanted}");
    Ok((own, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    async fn authorize(challenge: &str) -> Result<String> {
        let credentials =
            Credentials { username: "me".into(), password: "pw".into(), ..Credentials::default() };
        let mut headers = HeaderMap::new();
        headers.insert(WWW_AUTHENTICATE, challenge.parse().unwrap());
        let insecure = vec!["127.0.0.0/8".into()].leak();
        Registry::new(insecure, "localhost", credentials).await?.authorize(&headers).await
    }

    #[test]
    fn insecure_are_those_that_are_named() {
        let named = ["127.0.0.0/8", "10.1.0.0/16", "fd00::/8", "a.test", "b.test:5000", "c.test:80"];
        let named = named.map(str::to_owned);
        let is = |url: &str| is_safe(&url.parse().unwrap(), &named);
        let safe = [
            "https://x.test",
            "http://localhost:1",
            "http://127.1.2.3",
            "http://10.1.2.3:5000",
            "http://[fd00::1]:1",
            "http://a.test",
            "http://A.test:80",
            "http://b.test:5000",
            "http://c.test",
            "http://c.test:80",
        ];
        let others = [
            "http://x.test",
            "http://10.2.2.3",
            "http://a.test:5000",
            "http://b.test",
            "http://b.test:80",
            "http://c.test:81",
            "http://b.test:5000@x.test",
            "http://[fe80::1]",
            "http://10.1.test",
            "http://a.test.x",
        ];
        assert_eq!((safe.map(is), others.map(is)), ([true; 10], [false; 10]));
    }

    #[tokio::test]
    async fn challenges_are_met() {
        assert_eq!(authorize("Basic realm=\"x\"").await.unwrap(), "Basic bWU6cHc=");
        assert!(authorize("Digest x").await.is_err());
        assert!(authorize("Bearer realm=\"http://192.0.2.1/token\"").await.is_err());

        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serving = std::thread::spawn(move || {
            let (mut stream, mut request) = (listener.accept().unwrap().0, Vec::new());
            while !request.ends_with(b"\r\n\r\n") {
                let mut piece = [0; 512];
                let count = stream.read(&mut piece).unwrap();
                request.extend_from_slice(&piece[..count]);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{\"token\":\"t\"}").unwrap();
            String::from_utf8(request).unwrap()
        });
        let scope = "repository:a/b:pull,push";
        let text = format!("Bearer realm=\"http://{address}/token?a=b\",service=\"r.x\",scope=\"{scope}\"");
        assert_eq!(authorize(&text).await.unwrap(), "Bearer t");
        let request = serving.join().unwrap();
        let wanted =
            "GET /token?a=b&client_id=corten&service=r.x&scope=repository%3Aa%2Fb%3Apull%2Cpush HTTP/1.1";
        assert!(request.starts_with(wanted), "{request}");
        assert!(request.contains("authorization: Basic bWU6cHc="), "{request}");
    }
}
