//! Connections that become streams: attach and exec.

use bytes::Bytes;
use futures_util::future::{FutureExt, ready};
use futures_util::stream::{self, BoxStream, StreamExt};
use hyper::header;
use hyper::upgrade::Upgraded;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

use super::client::Client;
use super::{Answer, Call, Version, answer};
use crate::container::{Input, Output, Sides};
use crate::error::{Error, Result, error};
use crate::logger::frame;

/// The keys that leave a container running and end being attached to it: Ctrl-P, Ctrl-Q.
const DETACH: [u8; 2] = [16, 17];

/// The type of a stream that may be of one kind or the other.
const RAW: &str = "application/vnd.docker.raw-stream";

/// How a stream is carried.
#[derive(Debug, Clone)]
pub(super) struct Way {
    /// There is a terminal: one stream without frames.
    pub raw: bool,
    /// Standard output is wanted.
    pub stdout: bool,
    /// Standard error is wanted.
    pub stderr: bool,
    /// The keys that end it.
    pub keys: Vec<u8>,
}

impl Way {
    /// The type of an answer that carries streams so.
    pub(super) fn kind(&self, version: Version) -> &'static str {
        match self.raw || version < Version(1, 42) {
            true => RAW,
            false => "application/vnd.docker.multiplexed-stream",
        }
    }

    /// What a client sees of the output.
    pub(super) fn bytes(&self, output: Output) -> BoxStream<'static, Bytes> {
        let Self { raw, stdout, stderr, .. } = *self;
        let seen = move |(stream, bytes): (u8, Bytes)| {
            let wanted = if stream == 2 { stderr } else { stdout };
            ready(wanted.then(|| if raw { bytes } else { frame(stream, &bytes).into() }))
        };
        output.filter_map(seen).boxed()
    }
}

/// Answers with a stream: what is `past`, and what is known once `sides` is ready, which may be long after the answer.
///
/// # Errors
/// When the answer cannot be made.
pub(super) fn answer(
    mut call: Call,
    way: Way,
    past: Output,
    sides: impl Future<Output = Sides> + Send + 'static,
) -> Result<Answer> {
    if call.header("upgrade").is_none() {
        // No way in, but the output can be seen.
        let sides = tokio::spawn(sides);
        let output = sides.map(stream::iter).flatten_stream().flat_map(|(output, _)| output);
        return Ok(answer::streamed(RAW, way.bytes(past.chain(output).boxed())));
    }
    let client = call.client.clone();
    let kind = way.kind(call.version);
    let upgrading = hyper::upgrade::on(&mut call.request);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgrading.await {
            carry(upgraded, client, way, past, sides).await;
        }
    });
    let answer = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
    let answer = answer.header(header::CONTENT_TYPE, kind);
    let answer = answer.header(header::CONNECTION, "Upgrade").header(header::UPGRADE, "tcp");
    answer.body(answer::empty(StatusCode::OK).into_body()).map_err(Error::step("answer"))
}

async fn carry(
    upgraded: Upgraded,
    client: Client,
    way: Way,
    past: Output,
    sides: impl Future<Output = Sides>,
) {
    let (reader, mut writer) = tokio::io::split(TokioIo::new(upgraded));
    let past = async {
        client.has_read().await;
        carry_out(way.bytes(past), &mut writer).await;
    };
    let sides = async {
        tokio::select! {
            sides = sides => Some(sides),
            () = client.hung_up() => None,
        }
    };
    // At once, so that nothing is missed between.
    let ((), Some((output, input))) = tokio::join!(past, sides) else { return };
    let keys = if way.raw { way.keys.clone() } else { Vec::new() };
    let outward = async {
        carry_out(way.bytes(output), &mut writer).await;
        let _gone = writer.shutdown().await;
    };
    let inward = async {
        // The output goes on for who has nothing more to say, and is still there.
        if !carry_in(reader, input, keys).await {
            client.hung_up().await;
        }
    };
    tokio::select! {
        () = outward => {}
        () = inward => {}
    }
}

/// Carries output until there is no more, or nobody wants it.
async fn carry_out(mut output: BoxStream<'_, Bytes>, writer: &mut WriteHalf<TokioIo<Upgraded>>) {
    while let Some(bytes) = output.next().await
        && writer.write_all(&bytes).await.is_ok()
    {}
}

/// Carries input until there is no more, or until the keys are pressed; whether they were.
async fn carry_in(mut reader: ReadHalf<TokioIo<Upgraded>>, mut input: Option<Input>, keys: Vec<u8>) -> bool {
    let mut buffer = vec![0; 16 << 10];
    let mut detector = Detector { keys, held: Vec::new() };
    loop {
        let count = match reader.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(count) => count,
        };
        let (bytes, over) = detector.feed(&buffer[..count]);
        if let Some(open) = &mut input
            && !bytes.is_empty()
            && open.pipe.write_all(&bytes).await.is_err()
        {
            input = None;
        }
        if over {
            return true;
        }
    }
    false
}

/// Looks for the keys that end being attached.
struct Detector {
    keys: Vec<u8>,
    /// The last bytes, while they may still become the keys.
    held: Vec<u8>,
}

impl Detector {
    /// The bytes to pass on, and whether the keys were pressed.
    fn feed(&mut self, bytes: &[u8]) -> (Vec<u8>, bool) {
        let mut all = std::mem::take(&mut self.held);
        all.extend_from_slice(bytes);
        let (keys, count) = (&self.keys, self.keys.len());
        if let Some(at) = all.windows(count.max(1)).position(|part| part == keys) {
            all.truncate(at);
            return (all, true);
        }
        let held = (1..count).rev().find(|part| all.ends_with(&keys[..*part])).unwrap_or(0);
        self.held = all.split_off(all.len() - held);
        (all, false)
    }
}

/// Understands `ctrl-p,ctrl-q`; nothing is the default.
///
/// # Errors
/// When it is something else.
pub(super) fn keys(text: Option<&str>) -> Result<Vec<u8>> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(DETACH.to_vec()) };
    let bad = || error!(invalid, "Invalid detach keys ({text}) provided");
    let key = |word: &str| match word.as_bytes() {
        [one] => Some(*one),
        _ => match word.strip_prefix("ctrl-").map(str::as_bytes) {
            Some([letter @ b'a'..=b'z']) => Some(letter - b'a' + 1),
            Some([other @ (b'@' | b'[' | b'\\' | b']' | b'^' | b'_')]) => Some(other - b'@'),
            _ => None,
        },
    };
    text.split(',').map(|word| key(word).ok_or_else(bad)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_wherever_they_are_cut() {
        let mut detector = Detector { keys: DETACH.to_vec(), held: Vec::new() };
        assert_eq!(detector.feed(b"ab\x10"), (b"ab".to_vec(), false));
        assert_eq!(detector.feed(b"c\x10\x10"), (b"\x10c\x10".to_vec(), false));
        assert_eq!(detector.feed(b"\x11d"), (b"".to_vec(), true));
        assert_eq!(keys(Some("ctrl-a,x")).unwrap(), [1, b'x']);
        assert!(keys(Some("shift-a")).is_err());
        let mut none = Detector { keys: Vec::new(), held: Vec::new() };
        assert_eq!(none.feed(b"\x10\x11"), (b"\x10\x11".to_vec(), false));
    }
}
