//! What a process holds while it is saved and restored: a lock, connections, memory.

use crate::say;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

/// Locks a file, writes that to it, and sleeps; says `taken` when somebody else has the lock.
pub(crate) fn lock(path: &str) {
    let mut file = std::fs::File::options().append(true).create(true).open(path).unwrap();
    if file.try_lock().is_err() {
        return say("taken");
    }
    file.write_all(b"locked").unwrap();
    loop {
        nix::unistd::pause();
    }
}

/// Sends the numbers from 1 on over a connection to itself, and writes down what arrives, and that it has
/// ended.
pub(crate) fn stream(path: &str) {
    let listener = TcpListener::bind("127.0.0.1:8080").unwrap();
    let mut from = TcpStream::connect("127.0.0.1:8080").unwrap();
    let (mut to, _) = listener.accept().unwrap();
    let mut file = std::fs::File::create(path).unwrap();
    for number in 1u64.. {
        let mut bytes = [0; 8];
        let sent = from.write_all(&number.to_be_bytes()).and_then(|()| to.read_exact(&mut bytes));
        if sent.is_err() {
            break;
        }
        writeln!(file, "{}", u64::from_be_bytes(bytes)).unwrap();
        std::thread::sleep(Duration::from_millis(10));
    }
    writeln!(file, "closed").unwrap();
    loop {
        nix::unistd::pause();
    }
}

/// Sends the numbers from 1 on to a socket, through one connection.
pub(crate) fn datagrams(path: &str) {
    let socket = UnixDatagram::unbound().unwrap();
    socket.connect(path).unwrap();
    for number in 1u64.. {
        socket.send(number.to_string().as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Listens, with a connection that waits to be accepted; when there is a file `PATH-go` it writes down what
/// became of that connection, and what a later one brings.
pub(crate) fn backlog(path: &str) {
    let address = "127.0.0.1:8080";
    let listener = TcpListener::bind(address).unwrap();
    let mut early = TcpStream::connect(address).unwrap();
    std::fs::write(path, "waiting\n").unwrap();
    while !std::fs::exists(format!("{path}-go")).unwrap() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut file = std::fs::File::options().append(true).open(path).unwrap();
    let lost = early.write_all(b"early").and_then(|()| early.read(&mut [0]));
    writeln!(file, "early: {}", lost.map_or_else(|error| format!("{:?}", error.kind()), |_| "alive".into()))
        .unwrap();
    let mut late = TcpStream::connect(address).unwrap();
    late.write_all(b"late").unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    let mut bytes = [0; 4];
    accepted.read_exact(&mut bytes).unwrap();
    writeln!(file, "{}", String::from_utf8_lossy(&bytes)).unwrap();
    loop {
        nix::unistd::pause();
    }
}

/// Writes a number into pages of memory, one after the other for ever, and how far it is into a file; stops,
/// and writes down which page it was, when one has lost what was written there.
pub(crate) fn pages(path: &str) {
    const PAGES: usize = 1024;
    const WORDS: usize = 512;
    // Pages that are written again and again; the others once.
    const BUSY: usize = 16;
    let mut memory = vec![0u64; PAGES * WORDS];
    let mut last = vec![0u64; PAGES];
    let note = |text: String| {
        std::fs::write(format!("{path}.new"), text).unwrap();
        std::fs::rename(format!("{path}.new"), path).unwrap();
    };
    for step in 1u64.. {
        let page = if step <= PAGES as u64 { step as usize - 1 } else { step as usize % BUSY };
        (memory[page * WORDS + page % WORDS], last[page]) = (step, step);
        let wrong = (0..PAGES).find(|page| memory[page * WORDS + page % WORDS] != last[*page]);
        if let Some(page) = wrong {
            note(format!("page {page} is not what it was at step {step}"));
            return;
        }
        if step > PAGES as u64 {
            note(step.to_string());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
