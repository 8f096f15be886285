//! Places and streams, without a runtime.

use super::uri::{LoggerUri, Target};
use super::*;
use std::fs::File;

fn stdout(text: &str) -> Stdio {
    Stdio { stdout: text.into(), ..Stdio::default() }
}

#[test]
fn the_places_that_clients_name() {
    for path in ["", "/run/x/stdout", "fifo:///run/x", "/odd://name"] {
        assert_eq!(Target::parse(&stdout(path)).unwrap(), Target::Paths, "{path}");
    }
    assert_eq!(
        Target::parse(&stdout("file:///var/log/a%20b.log")).unwrap(),
        Target::File("/var/log/a b.log".into())
    );
    let logger =
        Target::parse(&stdout("binary:///usr/bin/nerdctl?_NERDCTL_INTERNAL_LOGGING=%2Fvar%2Flib&flag"))
            .unwrap();
    let expected = LoggerUri {
        program: "/usr/bin/nerdctl".into(),
        arguments: ["_NERDCTL_INTERNAL_LOGGING", "/var/lib", "flag", ""].map(str::to_owned).to_vec(),
        must_say_ready: false,
    };
    assert_eq!(logger, Target::Logger(expected));
    assert!(
        matches!(Target::parse(&stdout("binary-v2:///l")).unwrap(), Target::Logger(uri) if uri.must_say_ready)
    );
    assert_eq!(Target::Paths.of_stream("fifo:///run/x"), Path::new("/run/x"));
}

#[test]
fn other_places_are_refused() {
    let refusal = |text| Target::parse(&stdout(text)).unwrap_err().to_string();
    assert_eq!(refusal("ttrpc+unix:///run/x?streaming_id=1"), "unknown STDIO scheme ttrpc+unix");
    assert!(refusal("file://relative").contains("expected scheme:///absolute/path"));
    assert!(refusal("binary:///x?a=%zz").contains("%XX"));
}

/// Neither side of these streams ever has to be waited for, as with a terminal whose program writes without
/// end and whose reader is faster than we are.
#[test]
fn a_stream_that_never_waits_gives_others_their_turn() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(64 << 20).unwrap();
    let streams = ["pipe", "input", "terminal"];
    for stream in streams {
        let from = Source::new(file.try_clone().unwrap().into()).unwrap();
        std::io::Seek::rewind(&mut &file).unwrap();
        let turns = crate::reactor::run(async move {
            let turns = Rc::new(Cell::new(0));
            let count = Rc::clone(&turns);
            let other = spawn(async move {
                loop {
                    count.set(count.get() + 1);
                    yield_now().await;
                }
            });
            let null = || File::options().write(true).open("/dev/null").unwrap();
            let sink = Sink::open(Path::new("/dev/null")).await.unwrap();
            match stream {
                "pipe" => copy::to_sink(&from, &sink).await,
                "input" => copy::typed(&from, &Terminal::new(Source::new(null().into()).unwrap())).await,
                _ => copy::terminal(&Terminal::new(from), &sink).await,
            }
            .unwrap();
            other.abort();
            turns.get()
        });
        assert!(turns.unwrap() >= 32, "{stream}");
    }
}
