//! The side of containerd: calls over one connection, several at a time.

use super::wire::{Message, Writer};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long a test waits for an answer that has to come: `SHIM_PATIENCE` seconds, two minutes by default.
pub fn patience() -> Duration {
    let said = std::env::var("SHIM_PATIENCE").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(said.unwrap_or(120))
}

/// The service of containerd 1.6 and 1.7.
pub const TASK_V2: &str = "containerd.task.v2.Task";
/// The service of containerd 2.
pub const TASK_V3: &str = "containerd.task.v3.Task";

/// An answer that says no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The gRPC code.
    pub code: u64,
    /// The message.
    pub text: String,
}

/// What came back of a call.
pub type Answer = Result<Message, Failure>;

/// A connection to a shim.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    next: u32,
    answers: BTreeMap<u32, Answer>,
    /// The service that calls go to.
    pub service: &'static str,
}

impl Client {
    /// Connects to the socket at `path`.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn connect(path: &Path) -> io::Result<Client> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(patience()))?;
        Ok(Client { stream, next: 1, answers: BTreeMap::new(), service: TASK_V2 })
    }

    /// Sends a request and returns its stream.
    ///
    /// # Panics
    /// When the connection is broken.
    #[track_caller]
    pub fn send(&mut self, method: &str, payload: &Writer) -> u32 {
        let request = Writer::new().text(1, self.service).text(2, method).message(3, payload);
        self.send_message(&request.done())
    }

    /// As [`Client::send`], with a deadline for the other side.
    #[track_caller]
    pub fn send_within(&mut self, limit: Duration, method: &str, payload: &Writer) -> u32 {
        let nanos = u64::try_from(limit.as_nanos()).unwrap();
        let request =
            Writer::new().text(1, self.service).text(2, method).message(3, payload).number(4, nanos);
        self.send_message(&request.done())
    }

    #[track_caller]
    fn send_message(&mut self, message: &[u8]) -> u32 {
        let stream = self.next;
        self.next += 2;
        self.raw(&frame(stream, 1, 0, message));
        stream
    }

    /// Sends bytes as they are.
    ///
    /// # Panics
    /// When the connection is broken.
    #[track_caller]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("write to the shim");
    }

    /// Waits for the answer to a request.
    ///
    /// # Panics
    /// When the connection ends or nothing comes.
    #[track_caller]
    pub fn answer(&mut self, stream: u32) -> Answer {
        loop {
            if let Some(answer) = self.answers.remove(&stream) {
                return answer;
            }
            let (stream, answer) = self.receive().expect("an answer of the shim");
            self.answers.insert(stream, answer);
        }
    }

    /// The answer to a request if it comes within `limit`.
    ///
    /// # Panics
    /// When the connection ends.
    #[track_caller]
    pub fn answer_within(&mut self, stream: u32, limit: Duration) -> Option<Answer> {
        if let Some(answer) = self.answers.remove(&stream) {
            return Some(answer);
        }
        self.stream.set_read_timeout(Some(limit)).unwrap();
        let received = self.receive();
        self.stream.set_read_timeout(Some(patience())).unwrap();
        match received {
            Ok((got, answer)) if got == stream => Some(answer),
            Ok((got, answer)) => {
                self.answers.insert(got, answer);
                None
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => panic!("the shim's answer: {error}"),
        }
    }

    /// One call.
    ///
    /// # Panics
    /// When the connection is broken.
    #[track_caller]
    pub fn call(&mut self, method: &str, payload: &Writer) -> Answer {
        let stream = self.send(method, payload);
        self.answer(stream)
    }

    /// The next response, of whatever stream.
    ///
    /// # Errors
    /// When the connection ends or nothing comes.
    pub fn receive(&mut self) -> io::Result<(u32, Answer)> {
        let mut header = [0; 10];
        self.stream.read_exact(&mut header)?;
        let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
        assert_eq!(header[8], 2, "a response");
        let mut body = vec![0; number(0) as usize];
        self.stream.read_exact(&mut body)?;
        let response = Message::read(&body).expect("a well-formed response");
        let status = response.message(1);
        let answer = match status.number(1) {
            0 => Ok(response.message(2)),
            code => Err(Failure { code, text: status.text(2) }),
        };
        Ok((number(4), answer))
    }
}

/// A frame as the protocol describes it.
pub fn frame(stream: u32, kind: u8, flags: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap();
    let header = [length.to_be_bytes(), stream.to_be_bytes()].concat();
    [&header[..], &[kind, flags], message].concat()
}
