//! Events that shims send by themselves. Only one of them cannot be found out otherwise: that the kernel has killed
//! for want of memory. The rest is acknowledged, so that shims do not keep it.

use prost::Message;
use shim::proto::events::TaskOOM;
use shim::proto::forward::ForwardRequest;
use shim::proto::ttrpc::{Request, Response};
use shim::ttrpc::frame::{self, Decoder, Kind};
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};

use super::client::next_frame;
use crate::engine::Engine;
use crate::error::{Error, Result};

/// Serves shims at the engine's socket.
///
/// # Errors
/// When the socket cannot be made.
pub fn listen(engine: &'static Engine) -> Result<()> {
    let socket = &super::shim::events(&engine.settings);
    let _old = std::fs::remove_file(socket);
    let listener = UnixListener::bind(socket).map_err(Error::at("listen on", socket))?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, engine));
        }
    });
    Ok(())
}

async fn serve(mut stream: UnixStream, engine: &'static Engine) {
    let mut decoder = Decoder::default();
    while let Ok(frame) = next_frame(&mut stream, &mut decoder).await {
        if frame.kind != Kind::Request {
            continue;
        }
        let id = frame.message.ok().and_then(|message| out_of_memory(&message));
        if let Some(container) = id.and_then(|id| engine.container(&id).ok()) {
            tokio::spawn(container.ran_out_of_memory());
        }
        let mut answer = Vec::new();
        frame::encode(frame.stream, Kind::Response, &Response::default().encode_to_vec(), &mut answer);
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

fn out_of_memory(request: &[u8]) -> Option<String> {
    let request = Request::decode(request).ok()?;
    let envelope = ForwardRequest::decode(&request.payload[..]).ok()?.envelope?;
    let event = envelope.event.filter(|_| envelope.topic == "/tasks/oom")?;
    Some(TaskOOM::decode(&event.value[..]).ok()?.container_id)
}
