//! Answers: JSON, streams, errors.

use std::collections::VecDeque;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::mem::take;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, BodyStream, Full, StreamBody};
use hyper::body::{Body, Frame};
use hyper::{Response, StatusCode, header};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::block_in_place;

use super::client::Client;
use crate::container::received;
use crate::error::{Error, Result};
use crate::image::short;

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
    whole_json(StatusCode::OK, value)
}

/// A value that is new, with status 201.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn created(value: &impl Serialize) -> Result<Answer> {
    whole_json(StatusCode::CREATED, value)
}

fn whole_json(status: StatusCode, value: &impl Serialize) -> Result<Answer> {
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

/// 200, with nothing else.
pub fn nothing() -> Result<Answer> {
    Ok(empty(StatusCode::OK))
}

/// 204, what most changes are answered with.
pub fn done() -> Result<Answer> {
    Ok(empty(StatusCode::NO_CONTENT))
}

/// A message as one line: names that come with an image are not to speak to a terminal.
fn line(message: &str) -> String {
    let one = |one: char| if one.is_control() { one.escape_default().to_string() } else { one.to_string() };
    message.chars().map(one).collect()
}

/// An error as Docker writes it.
pub fn error(error: &Error) -> Answer {
    if error.status == StatusCode::NOT_MODIFIED {
        return empty(error.status);
    }
    let text = format!("{}\n", json!({"message": line(&error.message)}));
    with(error.status, "application/json", whole(text))
}

/// An answer whose body comes piece by piece; its header goes at once.
pub fn streamed(kind: &'static str, pieces: impl Stream<Item = Bytes> + Send + 'static) -> Answer {
    flowing(kind, pieces.map(Ok))
}

fn flowing(kind: &'static str, pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Answer {
    with(StatusCode::OK, kind, StreamBody::new(pieces.map_ok(Frame::data)).boxed_unsync())
}

type Pieces = mpsc::Receiver<io::Result<Bytes>>;

/// What some work sends while it goes on, and what it fails of.
fn pieces<F: Future<Output = Result<()>> + Send + 'static>(work: impl FnOnce(Pusher) -> F) -> Pieces {
    let (sender, pieces) = mpsc::channel(32);
    let pusher = Pusher { sender, held: None };
    let working = work(pusher.clone());
    tokio::spawn(async move {
        if let Err(error) = working.await {
            let _nobody = pusher.sender.send(Err(io::Error::other(error))).await;
        }
    });
    pieces
}

/// Lines of JSON, the last of which tells of a failure.
fn lines(pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Answer {
    let failed = |error: io::Error| Ok(failure(&error.downcast().unwrap_or_else(Error::internal)));
    flowing("application/json", pieces.map(move |piece| piece.or_else(failed)))
}

/// An answer that tells how some work goes, and of its failure; its header goes at once.
pub fn stream<F: Future<Output = Result<()>> + Send + 'static>(work: impl FnOnce(Pusher) -> F) -> Answer {
    lines(received(pieces(work)))
}

/// A value as one line of many.
pub fn row(value: &impl Serialize) -> Bytes {
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.extend_from_slice(b"\r\n");
    line.into()
}

/// The same, where what it fails of before it has told anything is the answer.
///
/// # Errors
/// That.
pub async fn progress<F: Future<Output = Result<()>> + Send + 'static>(
    work: impl FnOnce(Pusher) -> F,
) -> Result<Answer> {
    let mut pieces = pieces(work);
    match pieces.recv().await.transpose() {
        Err(error) => Err(error.downcast().unwrap_or_else(Error::internal)),
        Ok(first) => Ok(lines(stream::iter(first.map(Ok)).chain(received(pieces)))),
    }
}

/// The last line of a stream of progress that has failed.
fn failure(error: &Error) -> Bytes {
    let message = line(&error.message);
    let mut detail = json!({"message": message});
    if let Some(code) = error.code {
        detail["code"] = json!(code);
    }
    row(&json!({"errorDetail": detail, "error": message}))
}

/// An archive that is sent while it is written; the answer is broken off when that fails, so that the client sees that
/// it is not complete.
pub fn archive(write: impl FnOnce(&mut dyn Write) -> Result<()> + Send + 'static) -> Answer {
    let pieces = pieces(|pusher| async move {
        block_in_place(|| {
            // What it holds is sent when it goes, too: that is not to be outside of this.
            let mut writer = BufWriter::with_capacity(64 << 10, Blocking(pusher.sender));
            write(&mut writer).and_then(|()| Ok(writer.flush()?))
        })
    });
    flowing("application/x-tar", received(pieces))
}

/// The sending end of a body that is sent piece by piece.
#[derive(Debug, Clone)]
pub struct Pusher {
    sender: mpsc::Sender<io::Result<Bytes>>,
    /// What is sent only when it is asked for, the newest of it.
    held: Option<Arc<Mutex<VecDeque<Bytes>>>>,
}

/// How many lines are held.
const MOST_HELD: usize = 1000;

impl Pusher {
    /// Sends a value as a line of JSON; whether anybody still wants it.
    pub async fn json(&self, value: &impl Serialize) -> bool {
        let Some(held) = &self.held else { return self.sender.send(Ok(row(value))).await.is_ok() };
        let mut held = held.lock();
        held.push_back(row(value));
        if held.len() > MOST_HELD {
            held.pop_front();
        }
        !self.sender.is_closed()
    }

    /// Sends what was held.
    pub async fn release(&self) {
        let held = self.held.as_ref().map(|held| take(&mut *held.lock())).unwrap_or_default();
        for line in held {
            // Who has gone needs not be told.
            let _told = self.sender.send(Ok(line)).await;
        }
    }

    /// Tells how it goes with a layer; whether anybody still wants to know.
    pub async fn layer(&self, digest: &str, status: &str, detail: Value) -> bool {
        let line = json!({"status": status, "progressDetail": detail, "id": short(digest)});
        self.json(&line).await
    }

    /// One that holds what it is to send; it is open as long as this one is.
    #[must_use]
    pub fn holding(&self) -> Self {
        Self { held: Some(Arc::default()), ..self.clone() }
    }

    /// Waits until nobody listens any more.
    pub async fn closed(&self) {
        self.sender.closed().await;
    }
}

/// An answer that ends when who it is for has gone, also while there is nothing to be sent.
pub fn until_gone(answer: Answer, client: Client) -> Answer {
    if answer.body().size_hint().exact().is_some() {
        return answer;
    }
    let gone = async move { client.hung_up().await };
    let frames = |content| BodyStream::new(content).take_until(Box::pin(gone));
    answer.map(|content| StreamBody::new(frames(content)).boxed_unsync())
}

/// A writer for code that waits.
struct Blocking(mpsc::Sender<io::Result<Bytes>>);

impl Write for Blocking {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map(|()| bytes.len()).map_err(|_| ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
