//! Bytes of a peer, in pieces: the decoder takes any, keeps no more than arrived, and what it takes apart can be put
//! together again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message;
use shim::proto::task::CreateTaskRequest;
use shim::proto::ttrpc::Request;
use shim::ttrpc::frame::{Decoder, Kind, encode};

fuzz_target!(|input: &[u8]| {
    let Some((size, bytes)) = input.split_first() else { return };
    let mut decoder = Decoder::default();
    let mut arrived = 0;
    for piece in bytes.chunks(usize::from(*size).max(1)) {
        arrived += piece.len();
        decoder.push(piece);
        while let Some(frame) = decoder.next_frame() {
            let Ok(message) = frame.message else { continue };
            if let Ok(request) = Request::decode(&message[..]) {
                let _any = CreateTaskRequest::decode(&request.payload[..]);
            }
            let mut again = Vec::new();
            encode(frame.stream, frame.kind, &message, &mut again);
            let mut other = Decoder::default();
            other.push(&again);
            let same = other.next_frame().expect("a whole frame");
            assert_eq!((same.stream, same.kind, same.message), (frame.stream, frame.kind, Ok(message)));
            assert_ne!(frame.kind, Kind::Other(1));
        }
        assert!(decoder.held() <= arrived);
    }
});
