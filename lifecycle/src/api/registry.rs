//! Pull, push and login.

use serde_json::json;

use super::answer::{self, Answer};
use super::request::Call;
use crate::engine::Engine;
use crate::error::{Error, Kind, Result, error};
use crate::image::Reference;
use crate::registry::{self, Credentials, Registry};

/// `POST /images/create?fromImage=`
pub(super) fn pull(engine: &'static Engine, call: &Call) -> Result<Answer> {
    let name = call.text("fromImage").ok_or_else(|| Error::invalid("fromImage is missing"))?;
    let mut reference = Reference::parse_exact(name)?;
    match call.text("tag") {
        Some(digest) if digest.contains(':') => reference.digest = Some(digest.to_owned()),
        Some(tag) => reference.tag = Some(tag.to_owned()),
        None => {}
    }
    // Without a tag, all of them are meant: checked here, and kept as it is.
    Reference::parse(&reference.to_string())?;
    call.check_platform()?;
    let credentials = Credentials::from_header(call.header("x-registry-auth"))?;
    Ok(answer::progress(
        |pusher| async move { registry::pull(engine, &reference, credentials, &pusher).await },
    ))
}

/// `POST /images/NAME/push`
pub(super) fn push(engine: &'static Engine, call: &Call, name: &str) -> Result<Answer> {
    let reference = call.tagged(name)?;
    let missing = |error: Error| match error.kind {
        Kind::NotFound => {
            error!(not_found, "An image does not exist locally with the tag: {}", reference.familiar())
        }
        _ => error,
    };
    let image = engine.images.find(&reference.to_string()).map_err(missing)?;
    let credentials = Credentials::from_header(call.header("x-registry-auth"))?;
    let remote = Registry::new(&reference.domain, credentials)?;
    Ok(answer::progress(|pusher| async move {
        registry::push(engine, &remote, &image, &reference, &pusher).await
    }))
}

/// `POST /auth`
pub(super) async fn log_in(mut call: Call) -> Result<Answer> {
    let credentials: Credentials = call.json().await?;
    let remote = Registry::new(super::build::domain(&credentials.server), credentials.clone())?;
    remote.log_in().await.map_err(|error| Error { kind: Kind::Unauthorized, message: error.message })?;
    answer::json(&json!({"Status": "Login Succeeded", "IdentityToken": ""}))
}
