//! One request to one server, with or without TLS.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use crate::error::{Error, Result};

/// How long a server may take to take a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);

/// How long it may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// A request's body.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// Whether a server is on this machine.
pub(super) fn is_loopback(authority: &str) -> bool {
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    host == "localhost"
        || host.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
        || host == "[::1]"
}

/// Sends a request to `authority`, a host with or without a port.
pub(super) async fn send(tls: bool, authority: &str, request: Request<Body>) -> Result<Response<Incoming>> {
    let failed = |error: &dyn std::fmt::Display| Error::internal(format!("{authority}: {error}"));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => {
            (host, port.parse().map_err(|_| Error::invalid(format!("invalid port in {authority:?}")))?)
        }
        None => (authority, if tls { 443 } else { 80 }),
    };
    let connecting =
        tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect((host.trim_matches(['[', ']']), port)));
    let stream =
        connecting.await.map_err(|_| failed(&"no connection in time"))?.map_err(|error| failed(&error))?;
    let sending = async {
        if !tls {
            return exchange(stream, request).await;
        }
        let name =
            ServerName::try_from(host.to_owned()).map_err(|error| Error::invalid(error.to_string()))?;
        let stream =
            TlsConnector::from(config()?).connect(name, stream).await.map_err(|error| failed(&error))?;
        exchange(stream, request).await
    };
    let answer = tokio::time::timeout(ANSWER_LIMIT, sending).await;
    answer.map_err(|_| failed(&"no answer in time"))?.map_err(|error| error.context(authority))
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Body>,
) -> Result<Response<Incoming>> {
    let failed = Error::step("speak HTTP");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    tokio::spawn(async move {
        // What goes wrong is seen where the answer is read.
        let _ended = connection.await;
    });
    sender.send_request(request).await.map_err(Error::step("send the request"))
}

/// The certificates of this machine.
fn config() -> Result<Arc<ClientConfig>> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(Arc::clone(config));
    }
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(Error::internal(
            "no certificates of authorities are on this host (apt-get install ca-certificates)",
        ));
    }
    let provider = Arc::new(crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config =
        config.map_err(Error::step("set up TLS"))?.with_root_certificates(roots).with_no_client_auth();
    Ok(Arc::clone(CONFIG.get_or_init(|| Arc::new(config))))
}
