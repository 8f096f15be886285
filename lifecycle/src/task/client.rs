//! Calls to a shim.

use std::io;
use std::path::Path;
use std::time::Duration;

use prost::Message;
use shim::proto::ttrpc::{KeyValue, Request, Response};
use shim::ttrpc::frame::{self, Decoder, Kind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

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

/// Makes a call of the task service at a shim's socket. One without a limit lasts as long as the shim lives.
///
/// # Errors
/// [`CallError`].
pub async fn call<C: Call>(socket: &Path, request: &C) -> Result<C::Answer, CallError> {
    let request = Request {
        service: "containerd.task.v3.Task".into(),
        method: C::METHOD.into(),
        payload: request.encode_to_vec(),
        timeout_nano: C::LIMIT.and_then(|limit| i64::try_from(limit.as_nanos()).ok()).unwrap_or(0),
        metadata: vec![KeyValue { key: "containerd-namespace-ttrpc".into(), value: NAMESPACE.into() }],
    };
    let answer = match C::LIMIT {
        Some(limit) => match tokio::time::timeout(limit, exchange(socket, &request)).await {
            Ok(answer) => answer,
            Err(_) => Err(CallError::TimedOut(limit)),
        },
        None => exchange(socket, &request).await,
    };
    C::Answer::decode(&answer?[..]).map_err(malformed)
}

/// One request and its answer, on a connection of their own.
async fn exchange(socket: &Path, request: &Request) -> Result<Vec<u8>, CallError> {
    let gone = |error: io::Error| CallError::Gone(error.to_string());
    let mut stream = UnixStream::connect(socket).await.map_err(gone)?;
    let mut bytes = Vec::new();
    frame::encode(1, Kind::Request, &request.encode_to_vec(), &mut bytes);
    stream.write_all(&bytes).await.map_err(gone)?;
    let mut decoder = Decoder::default();
    let mut buffer = vec![0; 16 << 10];
    loop {
        match stream.read(&mut buffer).await.map_err(gone)? {
            0 => return Err(CallError::Gone("the connection has ended".into())),
            count => decoder.push(&buffer[..count]),
        }
        if let Some(frame) = decoder.next_frame() {
            return answer(frame.message);
        }
    }
}

fn answer(message: Result<Vec<u8>, usize>) -> Result<Vec<u8>, CallError> {
    let message =
        message.map_err(|size| CallError::Gone(format!("an answer of {size} bytes is too large")))?;
    let response = Response::decode(&message[..]).map_err(malformed)?;
    match response.status.filter(|status| status.code != 0) {
        Some(status) => Err(CallError::Refused(status.code, status.message)),
        None => Ok(response.payload),
    }
}

fn malformed(error: prost::DecodeError) -> CallError {
    CallError::Gone(format!("its answer is malformed: {error}"))
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
        let request = PauseRequest { id: "x".into() };
        let asked = call(&socket, &request);
        let (answer, ()) = tokio::join!(asked, async { drop((listener.accept().await.unwrap(), listener)) });
        assert!(answer.is_err_and(|error| error.has_ended()));
        assert!(call(&socket, &request).await.is_err_and(|error| error.has_ended()));
    }
}
