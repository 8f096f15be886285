//! Requests of the task service: what each is called, what is answered, and how long that may take.

use std::time::Duration;

use prost::Message;
use shim::proto::{rpc, task};

/// A request of the task service.
pub trait Call: Message {
    /// Its name.
    const METHOD: &str;
    /// How long the shim may take, if there is a limit.
    const LIMIT: Option<Duration>;
    /// What is answered.
    type Answer: Message + Default;
}

/// What makes or removes something.
const STEP: Option<Duration> = Some(Duration::from_secs(120));

/// What only looks or says something.
const WORD: Option<Duration> = Some(Duration::from_secs(10));

macro_rules! calls {
    ($($method:literal $request:ident, $limit:expr => $answer:path;)*) => {
        $(impl Call for task::$request {
            const METHOD: &str = $method;
            const LIMIT: Option<Duration> = $limit;
            type Answer = $answer;
        })*
    };
}

calls! {
    "CloseIO" CloseIORequest, STEP => rpc::Status;
    "Create" CreateTaskRequest, STEP => task::CreateTaskResponse;
    "Delete" DeleteRequest, STEP => task::DeleteResponse;
    "Exec" ExecProcessRequest, STEP => rpc::Status;
    "Kill" KillRequest, STEP => rpc::Status;
    "Pause" PauseRequest, STEP => rpc::Status;
    "Pids" PidsRequest, WORD => task::PidsResponse;
    "ResizePty" ResizePtyRequest, WORD => rpc::Status;
    "Resume" ResumeRequest, STEP => rpc::Status;
    "Shutdown" ShutdownRequest, STEP => rpc::Status;
    "Start" StartRequest, STEP => task::StartResponse;
    "State" StateRequest, STEP => task::StateResponse;
    "Update" UpdateTaskRequest, WORD => rpc::Status;
    "Wait" WaitRequest, None => task::WaitResponse;
}
