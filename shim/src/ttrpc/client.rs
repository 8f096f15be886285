//! The calling side: one call at a time over one connection. The shim uses it to deliver events to
//! containerd.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use prost::Message;

use super::frame::{self, Decoder, Kind};
use crate::proto::rpc;
use crate::proto::ttrpc::{KeyValue, Request, Response};
use crate::reactor::{Source, clock};

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection could not be made or broke; the call may or may not have happened.
    #[error("ttrpc connection: {0}")]
    Connection(#[from] io::Error),
    /// Nothing came back in time.
    #[error("ttrpc call: no answer within {0:?}")]
    TimedOut(Duration),
    /// The answer is not a ttrpc response.
    #[error("ttrpc answer: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// The other side answered with an error.
    #[error("{} (code {})", .0.message, .0.code)]
    Refused(rpc::Status),
}

/// A connection to a ttrpc server.
pub struct Client {
    socket: Source,
    decoder: Decoder,
    next_stream: u32,
}

impl Client {
    /// Connects to a Unix socket, given as a path or with `unix://` before it.
    ///
    /// Nobody is waited for: when the server does not accept and its backlog is full, this fails.
    pub fn connect(address: &str) -> io::Result<Self> {
        let path = address.strip_prefix("unix://").unwrap_or(address);
        let socket = connect_now(Path::new(path))?;
        Ok(Self { socket: Source::new(socket)?, decoder: Decoder::default(), next_stream: 1 })
    }

    /// Makes one call and returns the message that came back. After an [`Error::Refused`] the connection is
    /// still good; after any other error it is not.
    pub async fn call(
        &mut self,
        service: &str,
        method: &str,
        payload: Vec<u8>,
        namespace: &str,
        timeout: Duration,
    ) -> Result<Vec<u8>, Error> {
        let stream = self.next_stream;
        self.next_stream = stream.wrapping_add(2);
        let bytes = request(stream, service, method, payload, namespace, Some(timeout));
        match clock::within(timeout, self.exchange(stream, &bytes)).await {
            Some(result) => result,
            None => Err(Error::TimedOut(timeout)),
        }
    }

    async fn exchange(&mut self, stream: u32, mut request: &[u8]) -> Result<Vec<u8>, Error> {
        while !request.is_empty() {
            let sent = self.socket.write_with(|fd| Ok(nix::unistd::write(fd, request)?)).await?;
            request = &request[sent..];
        }
        loop {
            while let Some(frame) = self.decoder.next_frame() {
                if frame.stream != stream || frame.kind != Kind::Response {
                    continue;
                }
                return response(frame.message);
            }
            let mut bytes = [0; 1024];
            let count = self.socket.read_with(|fd| Ok(nix::unistd::read(fd, &mut bytes)?)).await?;
            if count == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            self.decoder.push(&bytes[..count]);
        }
    }
}

/// The frame of a call, for whoever has a connection of another kind. Without a limit the server waits as long as it
/// takes.
pub fn request(
    stream: u32,
    service: &str,
    method: &str,
    payload: Vec<u8>,
    namespace: &str,
    limit: Option<Duration>,
) -> Vec<u8> {
    let nanos = |limit: Duration| i64::try_from(limit.as_nanos()).unwrap_or(i64::MAX);
    let request = Request {
        service: service.to_owned(),
        method: method.to_owned(),
        payload,
        timeout_nano: limit.map_or(0, nanos),
        metadata: vec![KeyValue { key: "containerd-namespace-ttrpc".into(), value: namespace.to_owned() }],
    };
    let mut bytes = Vec::new();
    frame::encode(stream, Kind::Request, &request.encode_to_vec(), &mut bytes);
    bytes
}

/// What the message of an answer says: what was asked for, or why not.
///
/// # Errors
/// [`Error::Refused`], or what is wrong with the message.
pub fn response(message: Result<Vec<u8>, usize>) -> Result<Vec<u8>, Error> {
    let message = message.map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    let response = Response::decode(&message[..])?;
    match response.status.filter(|status| status.code != 0) {
        Some(status) => Err(Error::Refused(status)),
        None => Ok(response.payload),
    }
}

/// Connects to a Unix socket; `EAGAIN` when its backlog is full, since nobody is waited for.
pub(crate) fn connect_now(path: &Path) -> nix::Result<OwnedFd> {
    let address = UnixAddr::new(path)?;
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(socket.as_raw_fd(), &address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::socket::{Backlog, bind, listen};

    /// containerd may be stopped, and the containers' output must go on.
    #[test]
    fn a_server_that_accepts_nobody_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.sock");
        let server = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(server.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        listen(&server, Backlog::new(0).unwrap()).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let waiting: Vec<_> = (0..4).map(|_| connect_now(&path)).collect();
            sender.send(waiting.iter().map(Result::is_ok).collect::<Vec<_>>())
        });
        let connected = receiver.recv_timeout(Duration::from_secs(10)).expect("an answer");
        assert_eq!((connected.first(), connected.last()), (Some(&true), Some(&false)), "{connected:?}");
    }
}
