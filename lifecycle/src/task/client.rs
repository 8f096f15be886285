//! A connection to a shim: any number of calls at a time.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use prost::Message;
use shim::proto::ttrpc::{KeyValue, Request, Response};
use shim::ttrpc::frame::{self, Decoder, Kind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::oneshot;

use super::NAMESPACE;
use super::call::Call;
use crate::error::Error;

/// Why a call brought no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// The shim is gone, or the connection to it.
    #[error("the container's shim is gone: {0}")]
    Gone(String),
    /// The shim refused; the number is one of gRPC's codes.
    #[error("{1}")]
    Refused(i32, String),
    /// Nothing came in time.
    #[error("the container's shim did not answer within {0:?}")]
    TimedOut(Duration),
}

impl CallError {
    /// What was asked about is not there (any more), or its shim is not.
    pub fn has_ended(&self) -> bool {
        matches!(self, Self::Refused(5, _) | Self::Gone(_))
    }
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(5, text) => Self::not_found(text),
            CallError::Refused(9, text) => Self::conflict(text),
            other => Self::internal(other),
        }
    }
}

type Waiting = HashMap<u32, oneshot::Sender<Result<Vec<u8>, CallError>>>;

/// The calls that wait for their answers; `None` once the connection has ended.
type Calls = Arc<Mutex<Option<Waiting>>>;

/// A connection to a shim.
#[derive(Debug)]
pub struct Client {
    writer: tokio::sync::Mutex<OwnedWriteHalf>,
    calls: Calls,
    next: AtomicU32,
}

impl Client {
    /// Connects to a shim's socket.
    ///
    /// # Errors
    /// When nobody listens there.
    pub async fn connect(socket: &Path) -> io::Result<Arc<Self>> {
        let (reader, writer) = UnixStream::connect(socket).await?.into_split();
        let calls: Calls = Arc::new(Mutex::new(Some(HashMap::new())));
        tokio::spawn(receive(reader, Arc::clone(&calls)));
        Ok(Arc::new(Self { writer: tokio::sync::Mutex::new(writer), calls, next: AtomicU32::new(0) }))
    }

    /// Makes a call of the task service. One without a limit lasts as long as the connection lives.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call<C: Call>(&self, request: &C) -> Result<C::Answer, CallError> {
        let stream = self.next.fetch_add(1, Ordering::Relaxed).wrapping_mul(2).wrapping_add(1);
        let (sender, receiver) = oneshot::channel();
        let gone = || CallError::Gone("the connection has ended".into());
        self.calls.lock().as_mut().ok_or_else(gone)?.insert(stream, sender);
        let request = Request {
            service: "containerd.task.v3.Task".into(),
            method: C::METHOD.into(),
            payload: request.encode_to_vec(),
            timeout_nano: C::LIMIT.and_then(|limit| i64::try_from(limit.as_nanos()).ok()).unwrap_or(0),
            metadata: vec![KeyValue { key: "containerd-namespace-ttrpc".into(), value: NAMESPACE.into() }],
        };
        let mut bytes = Vec::new();
        frame::encode(stream, Kind::Request, &request.encode_to_vec(), &mut bytes);
        let exchange = async {
            let sent = self.writer.lock().await.write_all(&bytes).await;
            sent.map_err(|error| CallError::Gone(error.to_string()))?;
            receiver.await.map_err(|_| gone())?
        };
        let answer = match C::LIMIT {
            Some(limit) => match tokio::time::timeout(limit, exchange).await {
                Ok(answer) => answer,
                Err(_) => Err(CallError::TimedOut(limit)),
            },
            None => exchange.await,
        };
        if let Some(calls) = self.calls.lock().as_mut() {
            calls.remove(&stream);
        }
        C::Answer::decode(&answer?[..])
            .map_err(|error| CallError::Gone(format!("its answer is malformed: {error}")))
    }
}

async fn receive(mut reader: OwnedReadHalf, calls: Calls) {
    let mut decoder = Decoder::default();
    let mut buffer = vec![0; 16 << 10];
    loop {
        match reader.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(count) => decoder.push(&buffer[..count]),
        }
        while let Some(frame) = decoder.next_frame() {
            if frame.kind != Kind::Response {
                continue;
            }
            let waiting = calls.lock().as_mut().and_then(|calls| calls.remove(&frame.stream));
            if let Some(waiting) = waiting {
                let _nobody_waits = waiting.send(answer(frame.message));
            }
        }
    }
    // Dropping them tells everybody who waits.
    calls.lock().take();
}

fn answer(message: Result<Vec<u8>, usize>) -> Result<Vec<u8>, CallError> {
    let message =
        message.map_err(|size| CallError::Gone(format!("an answer of {size} bytes is too large")))?;
    let response = Response::decode(&message[..])
        .map_err(|error| CallError::Gone(format!("its answer is malformed: {error}")))?;
    match response.status.filter(|status| status.code != 0) {
        Some(status) => Err(CallError::Refused(status.code, status.message)),
        None => Ok(response.payload),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shim::proto::task::PauseRequest;

    #[tokio::test]
    async fn a_shim_that_goes_away_meanwhile_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("shim.sock");
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let client = Client::connect(&socket).await.unwrap();
        drop((listener.accept().await.unwrap(), listener));
        let request = PauseRequest { id: "x".into() };
        let answer = client.call(&request).await;
        assert!(answer.is_err_and(|error| error.has_ended()));
    }
}
