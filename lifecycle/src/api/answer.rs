//! Answers: JSON, streams, errors.

use std::io;

use bytes::Bytes;
use futures_util::{TryStreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::{Response, StatusCode, header};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::error::{Error, Kind, Result};

/// The body of an answer.
pub type Content = UnsyncBoxBody<Bytes, io::Error>;

/// An answer.
pub type Answer = Response<Content>;

fn whole(bytes: impl Into<Bytes>) -> Content {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

fn with(status: StatusCode, kind: &'static str, content: Content) -> Answer {
    let mut answer = Response::new(content);
    *answer.status_mut() = status;
    if !kind.is_empty() {
        answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    }
    answer
}

/// A value, with status 200.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn json(value: &impl Serialize) -> Result<Answer> {
    json_with(StatusCode::OK, value)
}

/// A value with a status.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn json_with(status: StatusCode, value: &impl Serialize) -> Result<Answer> {
    let mut text = serde_json::to_vec(value)?;
    text.push(b'\n');
    Ok(with(status, "application/json", whole(text)))
}

/// Text.
pub fn text(text: impl Into<Bytes>) -> Answer {
    with(StatusCode::OK, "text/plain; charset=utf-8", whole(text))
}

/// A status alone.
pub fn empty(status: StatusCode) -> Answer {
    with(status, "", whole(Bytes::new()))
}

/// 204, what most changes are answered with.
pub fn done() -> Result<Answer> {
    Ok(empty(StatusCode::NO_CONTENT))
}

/// An error as Docker writes it.
pub fn error(error: &Error) -> Answer {
    let status = StatusCode::from_u16(error.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if error.kind == Kind::NotModified {
        return empty(status);
    }
    let text = serde_json::to_vec(&json!({"message": error.message})).unwrap_or_default();
    with(status, "application/json", whole(text))
}

/// An answer whose body is sent piece by piece; its header goes at once.
pub fn stream(kind: &'static str) -> (Pusher, Answer) {
    let (sender, mut receiver) = mpsc::channel::<io::Result<Bytes>>(32);
    let pieces = stream::poll_fn(move |context| receiver.poll_recv(context));
    let body = StreamBody::new(pieces.map_ok(Frame::data));
    (Pusher(sender), with(StatusCode::OK, kind, body.boxed_unsync()))
}

/// A line of JSON.
fn line(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.extend_from_slice(b"\r\n");
    line
}

/// An error in a stream of progress.
fn failure(error: &Error) -> Value {
    json!({"errorDetail": {"message": error.message}, "error": error.message})
}

/// The sending end of such a body.
#[derive(Debug, Clone)]
pub struct Pusher(mpsc::Sender<io::Result<Bytes>>);

impl Pusher {
    /// Sends bytes; whether anybody still wants them.
    pub async fn send(&self, bytes: impl Into<Bytes>) -> bool {
        self.0.send(Ok(bytes.into())).await.is_ok()
    }

    /// Sends a value as a line of JSON; whether anybody still wants it.
    pub async fn json(&self, value: &impl Serialize) -> bool {
        self.send(line(value)).await
    }

    /// The same from a thread that may wait.
    pub fn json_blocking(&self, value: &impl Serialize) -> bool {
        self.0.blocking_send(Ok(line(value).into())).is_ok()
    }

    /// One whose pieces nobody reads; it is open as long as this one is.
    #[must_use]
    pub fn silenced(&self) -> Self {
        let (sender, mut receiver) = mpsc::channel(32);
        let listener = self.0.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    piece = receiver.recv() => if piece.is_none() { return },
                    () = listener.closed() => return,
                }
            }
        });
        Self(sender)
    }

    /// Says that it failed, as streams of progress do.
    pub async fn fail(&self, error: &Error) -> bool {
        self.json(&failure(error)).await
    }

    /// The same from a thread that may wait.
    pub fn fail_blocking(&self, error: &Error) -> bool {
        self.json_blocking(&failure(error))
    }

    /// Waits until nobody listens any more.
    pub async fn closed(&self) {
        self.0.closed().await;
    }

    /// A writer for code that waits.
    pub fn writer(self) -> impl io::Write {
        io::BufWriter::with_capacity(64 << 10, Blocking(self.0))
    }

    /// Breaks the answer off, so that the client sees that it is not complete.
    pub fn break_off(&self, error: &Error) {
        let _nobody = self.0.blocking_send(Err(io::Error::other(error.message.clone())));
    }
}

struct Blocking(mpsc::Sender<io::Result<Bytes>>);

impl io::Write for Blocking {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map(|()| bytes.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A header for eight bytes and what follows it: how streams are told apart.
pub fn frame(stream: u8, bytes: &[u8]) -> Bytes {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut frame = Vec::with_capacity(8 + bytes.len());
    frame.extend_from_slice(&[stream, 0, 0, 0]);
    frame.extend_from_slice(&length);
    frame.extend_from_slice(bytes);
    frame.into()
}
