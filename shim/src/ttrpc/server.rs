//! The serving side: accepts connections, cuts them into calls, and sends the answers back as they come.
//!
//! A call runs as a task of its own and is not tied to its connection: when containerd goes away in the
//! middle of a create or delete, the work is finished all the same.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::{Gid, Uid};
use prost::Message;
use runtime::weak;

use super::frame::{self, Decoder, Frame, Kind, MAX_MESSAGE};
use super::{Code, Status};
use crate::log;
use crate::proto::ttrpc::{Request, Response};
use crate::reactor::{Condition, First, Source, clock, first, task, yield_now};

/// Of a peer that does not read its answers no more requests are read while this many bytes wait for it.
const MAX_UNSENT: usize = 256 << 10;

/// One request.
pub struct Call {
    /// The full name of the service, such as `containerd.task.v2.Task`.
    pub service: String,
    /// The method's name.
    pub method: String,
    /// The request message.
    pub payload: Vec<u8>,
    /// When the caller stops waiting, if it said so.
    pub deadline: Option<Instant>,
    /// The connection it came from.
    pub connection: Rc<Connection>,
}

/// The future of an answer.
pub type Answer = Pin<Box<dyn Future<Output = Result<Vec<u8>, Status>>>>;

/// What calls are handed to.
pub trait Service {
    /// Answers one call. The future is run to its end whatever happens to the connection.
    fn call(self: Rc<Self>, call: Call) -> Answer;

    /// A connection was made (true) or has ended (false).
    fn connected(&self, _up: bool) {}
}

/// One peer.
pub struct Connection {
    socket: Source,
    unsent: RefCell<Vec<u8>>,
    closed: Cell<bool>,
    changed: Condition,
}

impl Connection {
    /// Waits until the peer has gone.
    pub async fn closed(&self) {
        self.changed.until(|| self.closed.get()).await;
    }

    fn close(&self) {
        self.closed.set(true);
        self.unsent.take();
        self.changed.changed();
    }

    /// Sends an answer, as much as the socket takes at once and the rest by the sending task.
    fn respond(&self, stream: u32, result: Result<Vec<u8>, Status>) {
        if self.closed.get() {
            return;
        }
        let response = match result {
            Ok(payload) => Response { status: None, payload },
            Err(status) => Response { status: Some(status.to_wire()), payload: Vec::new() },
        };
        let mut message = response.encode_to_vec();
        if message.len() > MAX_MESSAGE {
            let status =
                Status::new(Code::ResourceExhausted, "the answer is larger than the protocol allows");
            message = Response { status: Some(status.to_wire()), payload: Vec::new() }.encode_to_vec();
        }
        let mut unsent = self.unsent.borrow_mut();
        let idle = unsent.is_empty();
        frame::encode(stream, Kind::Response, &message, &mut unsent);
        if idle {
            let sent = nix::unistd::write(&self.socket, &unsent).unwrap_or(0);
            unsent.drain(..sent);
        }
        if unsent.is_empty() {
            // Not kept: one large answer must not stay in memory for the rest of a pod's life.
            *unsent = Vec::new();
            return;
        }
        drop(unsent);
        self.changed.changed();
    }

    /// Sends what [`respond`](Self::respond) could not.
    async fn send_rest(self: Rc<Self>) {
        loop {
            self.changed.until(|| self.closed.get() || !self.unsent.borrow().is_empty()).await;
            if self.closed.get() {
                return;
            }
            let sent = self.socket.write_with(|fd| {
                let mut unsent = self.unsent.borrow_mut();
                let sent = nix::unistd::write(fd, &unsent)?;
                unsent.drain(..sent);
                if unsent.is_empty() {
                    *unsent = Vec::new();
                }
                Ok(())
            });
            match first(sent, self.closed()).await {
                First::Left(Ok(())) => self.changed.changed(),
                First::Left(Err(_)) => return self.close(),
                First::Right(()) => return,
            }
        }
    }
}

/// Accepts connections for ever and serves them.
pub async fn serve(listener: OwnedFd, service: Rc<dyn Service>) -> io::Result<()> {
    let listener = Source::new(listener)?;
    loop {
        let accepted = listener.read_with(crate::sys::accept);
        match accepted.await {
            Ok(socket) => {
                if let Err(error) = start(socket, Rc::clone(&service)) {
                    log::warn(&format!("refused a connection: {error}"));
                }
            }
            // Out of descriptors or memory: the peer stays in the backlog, try again when some may be free.
            Err(error) => {
                log::warn(&format!("accept a connection: {error}"));
                clock::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Starts to serve one connection, if its peer is who we are.
fn start(socket: OwnedFd, service: Rc<dyn Service>) -> io::Result<()> {
    let peer = getsockopt(&socket, sockopt::PeerCredentials)?;
    let same = peer.uid() == Uid::effective().as_raw() && peer.gid() == Gid::effective().as_raw();
    if !same && !weak::off("peer") {
        let message = format!("the peer is user {} of group {}", peer.uid(), peer.gid());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    let connection = Rc::new(Connection {
        socket: Source::new(socket)?,
        unsent: RefCell::default(),
        closed: Cell::new(false),
        changed: Condition::new(),
    });
    task::spawn(Rc::clone(&connection).send_rest());
    task::spawn(async move {
        service.connected(true);
        receive(&connection, &service).await;
        connection.close();
        service.connected(false);
    });
    Ok(())
}

/// Reads frames until the peer goes away.
async fn receive(connection: &Rc<Connection>, service: &Rc<dyn Service>) {
    let mut decoder = Decoder::default();
    let mut last_stream = 0;
    loop {
        connection.changed.until(|| connection.unsent.borrow().len() < MAX_UNSENT).await;
        let read = connection.socket.read_with(|fd| {
            let mut bytes = [0; 4096];
            let count = nix::unistd::read(fd, &mut bytes)?;
            decoder.push(&bytes[..count]);
            Ok(count)
        });
        match first(read, connection.closed()).await {
            First::Left(Ok(count)) if count > 0 => {}
            _ => return,
        }
        while let Some(frame) = decoder.next_frame() {
            let stream = frame.stream;
            match accept_frame(frame, &mut last_stream, connection) {
                Ok(Some(call)) => answer(call, stream, service),
                Ok(None) => {}
                Err(status) => connection.respond(stream, Err(status)),
            }
        }
        // The calls have their turn before more of them are read.
        yield_now().await;
    }
}

/// Checks one frame against the rules of the protocol; `None` for a frame that is to be ignored.
fn accept_frame(
    frame: Frame,
    last_stream: &mut u32,
    connection: &Rc<Connection>,
) -> Result<Option<Call>, Status> {
    let message = frame.message.map_err(|length| {
        let text = format!("message length {length} exceed maximum message size of {MAX_MESSAGE}");
        Status::new(Code::ResourceExhausted, text)
    })?;
    match frame.kind {
        Kind::Request => {}
        Kind::Data => return Err(Status::invalid("streams are not served here")),
        Kind::Response | Kind::Other(_) => return Ok(None),
    }
    if frame.stream % 2 != 1 {
        return Err(Status::invalid("StreamID must be odd for client initiated streams"));
    }
    if frame.stream <= *last_stream {
        return Err(Status::invalid("StreamID cannot be re-used and must increment"));
    }
    *last_stream = frame.stream;
    if frame.flags & frame::REMOTE_OPEN != 0 {
        return Err(Status::new(Code::Unimplemented, "streaming calls are not served here"));
    }
    let request = Request::decode(&message[..])
        .map_err(|error| Status::invalid(format!("unmarshal request error: {error}")))?;
    let timeout = u64::try_from(request.timeout_nano).ok().filter(|nanos| *nanos > 0);
    Ok(Some(Call {
        service: request.service,
        method: request.method,
        payload: request.payload,
        deadline: timeout.and_then(|nanos| Instant::now().checked_add(Duration::from_nanos(nanos))),
        connection: Rc::clone(connection),
    }))
}

/// Runs a call as a task of its own.
fn answer(call: Call, stream: u32, service: &Rc<dyn Service>) {
    let connection = Rc::clone(&call.connection);
    let answer = Rc::clone(service).call(call);
    task::spawn(async move {
        let result = answer.await;
        connection.respond(stream, result);
    });
}
