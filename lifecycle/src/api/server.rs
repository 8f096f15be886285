//! The socket, and the connections to it.

use std::convert::Infallible;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio_rustls::TlsAcceptor;

use super::client::Client;
use super::{Answer, Call, NEWEST, answer, route};
use crate::container::user;
use crate::engine::Engine;
use crate::error::{Error, Result, bail};

/// How long a client may take to show its certificate.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Who we say we are.
const NAME: &str = concat!("Corten/", env!("CARGO_PKG_VERSION"), " (linux)");

/// Listens on a socket that root and the members of a group may use.
///
/// # Errors
/// When somebody listens there already, or the socket cannot be made.
pub async fn listen(socket: &Path, group: &str) -> Result<UnixListener> {
    if UnixStream::connect(socket).await.is_ok() {
        bail!(conflict, "{} is in use by another engine", socket.display());
    }
    let _old = std::fs::remove_file(socket);
    if let Some(folder) = socket.parent() {
        crate::files::make_dir(folder, 0o755)?;
    }
    // By the umask nobody else may write to it, which is to connect.
    let listener = UnixListener::bind(socket).map_err(Error::at("listen on", socket))?;
    // Read from the file, since a static program has no name service.
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    if !crate::rootless::is()
        && let Ok(id) = user::group_id(&groups, group)
    {
        chown(socket, None, Some(id)).map_err(Error::at("change the group of", socket))?;
    }
    let mode = std::fs::Permissions::from_mode(0o660);
    std::fs::set_permissions(socket, mode).map_err(Error::at("set the mode of", socket))?;
    Ok(listener)
}

/// Where connections come from.
pub enum Listener {
    /// A socket whose mode says who may use it.
    Unix(UnixListener),
    /// An address, for those who have a certificate.
    Tcp(TcpListener, TlsAcceptor),
}

impl Listener {
    /// Serves connections for ever.
    pub async fn serve(self, engine: &'static Engine) {
        loop {
            let accepted = match &self {
                Self::Unix(listener) => listener.accept().await.and_then(|(stream, _)| {
                    let client = Client::local(&stream)?;
                    tokio::spawn(connection(engine, stream, client));
                    Ok(())
                }),
                Self::Tcp(listener, tls) => listener.accept().await.and_then(|(stream, _)| {
                    let client = Client::far(&stream)?;
                    let shaking = tls.accept(stream);
                    tokio::spawn(async move {
                        // Who has no certificate is told so by TLS itself.
                        if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, shaking).await {
                            connection(engine, stream, client).await;
                        }
                    });
                    Ok(())
                }),
            };
            // No descriptors left: it will be better when somebody has gone.
            if accepted.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Serves one client.
async fn connection(
    engine: &'static Engine,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    client: Client,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let client = client.clone();
        async move {
            let answer = respond(engine, request, client.clone()).await;
            Ok::<_, Infallible>(answer::until_gone(answer, client))
        }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    // Scripts look for the names as Docker writes them.
    http.half_close(true).title_case_headers(true);
    // How a client ends a connection is its own business.
    let _ended = http.serve_connection(TokioIo::new(stream), service).with_upgrades().await;
}

async fn respond(engine: &'static Engine, request: Request<Incoming>, client: Client) -> Answer {
    let answer = async { route(engine, Call::read(request, client)?).await };
    let mut answer = answer.await.unwrap_or_else(|error| answer::error(&error));
    let headers = answer.headers_mut();
    if let Ok(version) = HeaderValue::from_str(&NEWEST.to_string()) {
        headers.insert("Api-Version", version);
    }
    headers.insert("Ostype", HeaderValue::from_static("linux"));
    headers.insert("Docker-Experimental", HeaderValue::from_static("false"));
    headers.insert("Server", HeaderValue::from_static(NAME));
    answer
}
