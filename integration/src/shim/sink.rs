//! The events that a shim publishes, taken by a server that can go away and come back.

use super::wire::{Message, Writer};
use crate::shim::client::{frame, patience};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

/// What happened.
#[derive(Debug, Clone)]
pub struct Event {
    /// `/tasks/exit` and the like.
    pub topic: String,
    /// containerd's namespace.
    pub namespace: String,
    /// The name of the message.
    pub kind: String,
    /// Its fields.
    pub body: Message,
}

impl Event {
    /// The container it is about.
    pub fn container(&self) -> String {
        self.body.text(1)
    }

    /// Topic without `/tasks/`, and the exec id or container id that an exit, exec or start is about.
    pub fn brief(&self) -> String {
        let topic = self.topic.trim_start_matches("/tasks/");
        match topic {
            "exit" | "exec-added" | "exec-started" => format!("{topic} {}", self.body.text(2)),
            _ => format!("{topic} {}", self.container()),
        }
    }
}

#[derive(Default)]
struct Shared {
    events: Vec<Event>,
    connections: BTreeMap<u64, UnixStream>,
    accepted: u64,
    /// Events of this topic are not taken.
    refused: Option<String>,
    down: bool,
}

/// The server.
pub struct Sink {
    path: PathBuf,
    shared: Arc<(Mutex<Shared>, Condvar)>,
}

impl Sink {
    /// A server that listens at `path`.
    ///
    /// # Panics
    /// When it cannot.
    pub fn listen(path: &Path) -> Sink {
        let sink = Sink { path: path.to_owned(), shared: Arc::default() };
        sink.up();
        sink
    }

    /// Listens, after having been [`Sink::down`].
    ///
    /// # Panics
    /// When it cannot.
    pub fn up(&self) {
        let listener = UnixListener::bind(&self.path).unwrap();
        self.shared.0.lock().unwrap().down = false;
        let shared = Arc::clone(&self.shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut state = shared.0.lock().unwrap();
                if state.down {
                    return;
                }
                let number = state.accepted;
                state.accepted += 1;
                state.connections.insert(number, stream.try_clone().unwrap());
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || {
                    let _ended = take_events(stream, &shared);
                    shared.0.lock().unwrap().connections.remove(&number);
                });
            }
        });
    }

    /// Goes away: the socket and every connection.
    ///
    /// # Panics
    /// When the socket cannot be removed.
    pub fn down(&self) {
        let mut state = self.shared.0.lock().unwrap();
        state.down = true;
        for connection in std::mem::take(&mut state.connections).into_values() {
            let _ = connection.shutdown(std::net::Shutdown::Both);
        }
        drop(state);
        // Wakes the thread that listens, which then ends.
        let _ = UnixStream::connect(&self.path);
        std::fs::remove_file(&self.path).unwrap();
    }

    /// From now on takes no events of this topic, and says so.
    pub fn refuse(&self, topic: &str) {
        self.shared.0.lock().unwrap().refused = Some(topic.to_owned());
    }

    /// Every event so far.
    pub fn events(&self) -> Vec<Event> {
        self.shared.0.lock().unwrap().events.clone()
    }

    /// The events so far, in short, of one container.
    pub fn briefs(&self, container: &str) -> Vec<String> {
        self.events().iter().filter(|event| event.container() == container).map(Event::brief).collect()
    }

    /// Waits until there are as many events with this topic and container.
    ///
    /// # Panics
    /// When they do not come.
    #[track_caller]
    pub fn wait(&self, topic: &str, container: &str, count: usize) -> Vec<Event> {
        let deadline = Instant::now() + patience();
        let mut state = self.shared.0.lock().unwrap();
        loop {
            let of = |event: &&Event| event.topic == topic && event.container() == container;
            let found: Vec<_> = state.events.iter().filter(of).cloned().collect();
            if found.len() >= count {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "{} of {count} {topic} for {container}: {:?}",
                found.len(),
                state.events
            );
            state = self.shared.1.wait_timeout(state, left).unwrap().0;
        }
    }
}

fn take_events(mut stream: UnixStream, shared: &(Mutex<Shared>, Condvar)) -> std::io::Result<()> {
    loop {
        let mut header = [0; 10];
        stream.read_exact(&mut header)?;
        let length = u32::from_be_bytes(header[..4].try_into().unwrap());
        let mut body = vec![0; length as usize];
        stream.read_exact(&mut body)?;
        let request = Message::read(&body).expect("a well-formed request");
        assert_eq!(request.text(1), "containerd.services.events.ttrpc.v1.Events");
        assert_eq!(request.text(2), "Forward");
        let envelope = request.message(3).message(1);
        assert!(envelope.message(1).number(1) > 1_600_000_000, "the time of the event");
        let any = envelope.message(4);
        let event = Event {
            namespace: envelope.text(2),
            topic: envelope.text(3),
            kind: any.text(1),
            body: any.message(2),
        };
        let mut state = shared.0.lock().unwrap();
        let response = if state.refused.as_ref() == Some(&event.topic) {
            let invalid_argument = Writer::new().number(1, 3).text(2, "refused by the test");
            Writer::new().message(1, &invalid_argument)
        } else {
            state.events.push(event);
            shared.1.notify_all();
            Writer::new()
        };
        drop(state);
        let number = u32::from_be_bytes(header[4..8].try_into().unwrap());
        stream.write_all(&frame(number, 2, 0, &response.done()))?;
    }
}
