//! Calls to a shim: what each is called, what is answered, and how long that may take.

use std::io;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use prost::Message;
use shim::proto::{rpc, task};
pub use shim::ttrpc::client::Error as CallError;
use shim::ttrpc::client::{request, response};
use shim::ttrpc::frame::{Decoder, Frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::NAMESPACE;
use crate::error::Error;

/// A request of the task service.
pub trait Call: Message {
    /// Its name.
    const METHOD: &str;
    /// What is answered.
    type Answer: Message + Default;
}

macro_rules! calls {
    ($($method:literal $request:ident => $answer:path;)*) => {
        $(impl Call for task::$request {
            const METHOD: &str = $method;
            type Answer = $answer;
        })*
    };
}

calls! {
    "CloseIO" CloseIORequest => rpc::Status;
    "Create" CreateTaskRequest => task::CreateTaskResponse;
    "Delete" DeleteRequest => task::DeleteResponse;
    "Exec" ExecProcessRequest => rpc::Status;
    "Kill" KillRequest => rpc::Status;
    "Pause" PauseRequest => rpc::Status;
    "Pids" PidsRequest => task::PidsResponse;
    "ResizePty" ResizePtyRequest => rpc::Status;
    "Resume" ResumeRequest => rpc::Status;
    "Shutdown" ShutdownRequest => rpc::Status;
    "Start" StartRequest => task::StartResponse;
    "State" StateRequest => task::StateResponse;
    "Update" UpdateTaskRequest => rpc::Status;
    "Wait" WaitRequest => task::WaitResponse;
}

/// The one call that takes as long as the process.
const WAIT: &str = "Wait";

/// How long the shim may take for any other.
const LIMIT: Duration = Duration::from_secs(120);

/// Whether the process or its shim is not there any more.
pub fn has_ended(error: &CallError) -> bool {
    match error {
        CallError::Refused(status) => status.code == 5,
        CallError::Connection(_) | CallError::Malformed(_) => !is_ours(error),
        CallError::TimedOut(_) => false,
    }
}

/// Whether it is this program that has no room for a call now, such as no descriptor, which says nothing of the shim.
pub fn is_ours(error: &CallError) -> bool {
    use Errno::{EAGAIN, EMFILE, ENFILE, ENOBUFS, ENOMEM};
    let errno = match error {
        CallError::Connection(error) => error.raw_os_error().map(Errno::from_raw),
        _ => None,
    };
    errno.is_some_and(|errno| [EAGAIN, EMFILE, ENFILE, ENOBUFS, ENOMEM].contains(&errno))
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(status) => match status.code {
                5 => Self::not_found(status.message),
                9 => Self::conflict(status.message),
                _ => Self::internal(status.message),
            },
            other => Self::internal(format!("the container's shim: {other}")),
        }
    }
}

/// Makes one call, over a connection of its own: one that waits holds up nobody.
///
/// # Errors
/// [`CallError`]
pub async fn call<C: Call>(socket: &Path, call: &C) -> Result<C::Answer, CallError> {
    let limit = Some(LIMIT).filter(|_| C::METHOD != WAIT);
    let payload = call.encode_to_vec();
    let frame = request(1, "containerd.task.v3.Task", C::METHOD, payload, NAMESPACE, limit);
    let answer = timeout(limit.unwrap_or(Duration::MAX), exchange(socket, &frame)).await;
    Ok(C::Answer::decode(&answer.unwrap_or(Err(CallError::TimedOut(LIMIT)))?[..])?)
}

async fn exchange(socket: &Path, request: &[u8]) -> Result<Vec<u8>, CallError> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(request).await?;
    response(next_frame(&mut stream, &mut Decoder::default()).await?.message)
}

/// The next frame that comes.
pub(super) async fn next_frame(stream: &mut UnixStream, decoder: &mut Decoder) -> io::Result<Frame> {
    let mut buffer = [0; 4096];
    loop {
        if let Some(frame) = decoder.next_frame() {
            return Ok(frame);
        }
        match stream.read(&mut buffer).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => decoder.push(&buffer[..count]),
        }
    }
}
