//! Runs inside a container and says what it sees, or does one thing a test needs done there.
//!
//! It is linked statically and stands alone in the root filesystem: a container needs nothing else to be
//! tested.

// Wrong arguments and broken pipes are mistakes of the test that started it; a panic shows them best.
#![expect(clippy::unwrap_used, clippy::panic)]
#![deny(unsafe_code)]

mod attempt;
mod held;
mod look;
mod spy;

use nix::fcntl::{RenameFlags, renameat2};
use nix::sys::signal::{SigSet, Signal};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = args.iter().skip(1).map(String::as_str).collect();
    match words.as_slice() {
        ["report", rest @ ..] => say(&serde_json::to_string(&look::report(rest)).unwrap()),
        ["sleep"] => loop {
            nix::unistd::pause();
        },
        ["ready-then-sleep"] => {
            say("ready");
            loop {
                nix::unistd::pause();
            }
        }
        ["exit", code] => return ExitCode::from(code.parse::<u8>().unwrap()),
        ["signals"] => signals(),
        ["window-sizes"] => window_sizes(),
        ["try", attempt, rest @ ..] => say(&attempt::attempt(attempt, rest)),
        ["allocate", bytes] => allocate(bytes.parse().unwrap()),
        ["notify", text] => notify(text),
        ["serve", port, text] => serve(port, text),
        ["lock", path] => held::lock(path),
        ["stream", path] => held::stream(path),
        ["datagrams", path] => held::datagrams(path),
        ["backlog", path] => held::backlog(path),
        ["pages", path] => held::pages(path),
        ["fetch", address] => say(&fetch(address)),
        ["orphans", count] => orphans(count.parse().unwrap()),
        ["storm", count] => storm(count.parse().unwrap()),
        ["spy", sentinel, name] => spy::spy(sentinel, name),
        ["swap", one, other] => loop {
            let here = nix::fcntl::AT_FDCWD;
            let _ = renameat2(here, *one, here, *other, RenameFlags::RENAME_EXCHANGE);
        },
        ["spin"] => loop {
            std::hint::spin_loop();
        },
        _ => panic!("unknown request: {words:?}"),
    }
    ExitCode::SUCCESS
}

/// One line on standard output, written at once.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}

/// Says the name of every signal it gets, and ends after SIGTERM. Says `ready` when none can be missed any
/// more.
fn signals() {
    let all = SigSet::all();
    all.thread_block().unwrap();
    say("ready");
    loop {
        let signal = all.wait().unwrap();
        say(signal.as_str());
        if signal == Signal::SIGTERM {
            return;
        }
    }
}

/// Says the size of the terminal now and after each SIGWINCH, and ends after SIGTERM.
fn window_sizes() {
    let mut set = SigSet::empty();
    set.add(Signal::SIGWINCH);
    set.add(Signal::SIGTERM);
    set.thread_block().unwrap();
    loop {
        let (rows, columns) = integration::sys::window_size(std::io::stdin().as_fd()).unwrap();
        say(&format!("{rows}x{columns}"));
        if set.wait().unwrap() == Signal::SIGTERM {
            return;
        }
    }
}

/// Touches that many bytes of memory, then says so.
fn allocate(bytes: usize) {
    let block = vec![1u8; bytes];
    say(&format!("allocated {}", std::hint::black_box(&block).len()));
}

/// Sends a datagram to the service manager's socket (sd_notify(3)).
fn notify(text: &str) {
    let socket = UnixDatagram::unbound().unwrap();
    socket.send_to(text.replace("\\n", "\n").as_bytes(), std::env::var("NOTIFY_SOCKET").unwrap()).unwrap();
    say("sent");
}

/// Makes system calls in two threads while signals of two kinds interrupt them, that many times; then says
/// so.
fn storm(count: usize) {
    let signals = [Signal::SIGUSR1, Signal::SIGUSR2];
    signals.iter().for_each(|signal| integration::sys::interrupt_on(*signal as i32).unwrap());
    let shared = std::sync::Mutex::new(0);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            for signal in signals.iter().cycle().take(count) {
                // May be interrupted by itself.
                let _ = nix::sys::signal::kill(nix::unistd::getpid(), *signal);
                *shared.lock().unwrap() += 1;
            }
        });
        while !sender.is_finished() {
            let _ = nix::unistd::getppid();
            *shared.lock().unwrap() += 1;
        }
    });
    say("survived");
}

/// Answers every connection to a port with a text, for ever. Says `ready` when it listens.
fn serve(port: &str, text: &str) {
    let listener = TcpListener::bind(format!("0.0.0.0:{port}")).unwrap();
    say("ready");
    for stream in listener.incoming() {
        let _ = stream.unwrap().write_all(text.as_bytes());
    }
}

/// What a server answers, or the error.
fn fetch(address: &str) -> String {
    let mut text = String::new();
    let read = TcpStream::connect(address).and_then(|mut stream| stream.read_to_string(&mut text));
    read.map_or_else(|error| error.to_string(), |_| text)
}

/// Leaves that many processes behind that sleep, in sessions of their own, then sleeps as well.
#[expect(clippy::zombie_processes)] // They end with the container.
fn orphans(count: usize) {
    for _ in 0..count {
        Command::new("/bin/setsid").args(["/probe", "sleep"]).spawn().unwrap();
    }
    say("ready");
    loop {
        nix::unistd::pause();
    }
}
