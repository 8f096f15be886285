//! What the fuzz targets of this crate check: whatever a peer, a runtime or a file says is understood or
//! refused, and what is understood keeps its promises.
//!
//! Compiled for fuzzers (`shim/fuzz`) and for this crate's own tests, which run the same checks on the
//! corpora and on a bounded number of changed inputs.

#![expect(clippy::expect_used, reason = "a check fails by a panic")]

use crate::args::Args;
use crate::options::RuntimeOptions;
use crate::proto::task::{CreateTaskRequest, ExecProcessRequest, UpdateTaskRequest};
use crate::proto::ttrpc::Request;
use crate::proto::well_known::Any;
use crate::ttrpc::frame::{Decoder, encode};
use crate::{bootstrap, mount, oci, stdio};
use prost::Message;

/// Bytes of a peer, in pieces: the decoder takes any, keeps no more than arrived, and what it takes apart can
/// be put together again.
pub fn frame(input: &[u8]) {
    let Some((size, bytes)) = input.split_first() else { return };
    let mut decoder = Decoder::default();
    let mut arrived = 0;
    for piece in bytes.chunks(usize::from(*size).max(1)) {
        arrived += piece.len();
        decoder.push(piece);
        while let Some(frame) = decoder.next_frame() {
            let Ok(message) = frame.message else { continue };
            if let Ok(request) = Request::decode(&message[..]) {
                let _create = CreateTaskRequest::decode(&request.payload[..]);
                let _exec = ExecProcessRequest::decode(&request.payload[..]);
                let _update = UpdateTaskRequest::decode(&request.payload[..]);
            }
            let mut again = Vec::new();
            encode(frame.stream, frame.kind, &message, &mut again);
            let mut other = Decoder::default();
            other.push(&again);
            let same = other.next_frame().expect("a whole frame");
            assert_eq!((same.stream, same.kind, same.message), (frame.stream, frame.kind, Ok(message)));
        }
        assert!(decoder.held() <= arrived);
    }
}

/// Runtime options as TOML and as the JSON of other shims: what is understood survives its own JSON.
pub fn options(input: &[u8]) {
    let survives = |options: RuntimeOptions| {
        let again: RuntimeOptions = serde_json::from_slice(&options.to_json()).expect("our own text");
        assert_eq!(again, options);
    };
    let text = std::str::from_utf8(input).unwrap_or_default();
    if let Ok(options) = RuntimeOptions::from_toml(text) {
        survives(options);
    }
    if let Ok(options) = serde_json::from_slice::<RuntimeOptions>(input) {
        survives(options);
    }
    for kind in ["runc.v1.Options", "linux.runc.CreateOptions", "linux.runc.RuncOptions"] {
        let any = Any { type_url: format!("containerd.{kind}"), value: input.to_vec() };
        if let Ok(options) = RuntimeOptions::decode(Some(&any)) {
            survives(options);
        }
    }
}

/// What containerd writes to the standard input of `start`, in any of its dialects.
pub fn bootstrap(input: &[u8]) {
    bootstrap::fuzz(input);
}

/// The command line of containerd, a word in each line: what is accepted can name files.
pub fn command(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(args) = Args::parse(text.split('\n').map(str::to_owned))
        && !matches!(args.action, crate::args::Action::Info | crate::args::Action::Version)
    {
        assert!(!args.id.is_empty() && !args.id.contains('/') && !args.id.starts_with('.'));
        assert!(!args.namespace.is_empty());
    }
}

/// Options of mounts, one in each line; lists of layers that are made shorter are the same layers.
pub fn mounts(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let list: Vec<String> = text.split('\n').map(str::to_owned).collect();
    mount::fuzz_options(&list);
}

/// Tables of the kernel, and the log of a runtime.
pub fn tables(input: &[u8]) {
    mount::fuzz_table(input);
    oci::fuzz_log(input);
}

/// Where output is to go.
pub fn uri(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input) {
        stdio::fuzz_uri(text);
    }
}

#[cfg(test)]
#[path = "../../seccomp-profiles/fuzz/rounds.rs"]
mod rounds;

#[cfg(test)]
mod tests {
    fn run(target: &str, count: usize, check: fn(&[u8])) {
        super::rounds::run(env!("CARGO_MANIFEST_DIR"), target, count, check);
    }

    #[test]
    fn frames_of_a_peer() {
        run("frame", 20_000, super::frame);
    }

    #[test]
    fn options_of_a_runtime() {
        run("options", 10_000, super::options);
    }

    #[test]
    fn what_start_is_told() {
        run("bootstrap", 10_000, super::bootstrap);
    }

    #[test]
    fn command_lines() {
        run("command", 10_000, super::command);
    }

    #[test]
    fn options_of_mounts() {
        run("mounts", 10_000, super::mounts);
    }

    #[test]
    fn tables_and_logs() {
        run("tables", 10_000, super::tables);
    }

    #[test]
    fn places_of_output() {
        run("uri", 20_000, super::uri);
    }
}
