//! `delete`: cleans up after a shim that is gone.
//!
//! containerd calls `delete` for every shim whose connection has ended, also after an orderly end: with
//! nothing left to do it must be quick. It may find any part missing, and may be called again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use prost::Message;

use runtime::weak;

use crate::args::Args;
use crate::oci::Runtime;
use crate::options::RuntimeOptions;
use crate::proto::task::DeleteResponse;
use crate::time::timestamp;
use crate::{mount, reactor};

/// The status of a container that was killed by its deletion: 128 plus SIGKILL.
const KILLED: u32 = 137;

/// How long the runtime may take: containerd gives `delete` five seconds, in which it has to unmount, too.
const LIMIT: Duration = Duration::from_secs(4);

/// Why cleaning up failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bundle cannot be found.
    #[error("find the bundle: {0}")]
    Bundle(io::Error),
    /// The event loop does not start.
    #[error("event loop: {0}")]
    Loop(io::Error),
}

/// Serves `delete` and returns what is to be printed. What cannot be cleaned up is said on standard error.
pub fn delete(args: &Args) -> Result<Vec<u8>, Error> {
    let bundle = bundle(args).map_err(Error::Bundle)?;
    // Options that cannot be read are as good as none: the default root and runtime are the best guess.
    let mut options = RuntimeOptions::read(&bundle).unwrap_or_default();
    let mut runtime = Runtime::new(&options, &args.namespace, &bundle, None);
    if runtime.is_built_in() && runtime.is_anothers(&args.id) {
        // Its shim, whose place this program has taken, called runc when no runtime was named.
        options.binary_name = "runc".to_owned();
        runtime = Runtime::new(&options, &args.namespace, &bundle, None);
    }
    let pid = read_pid(&bundle.join("init.pid")).unwrap_or(0);
    if runtime.state_dir(&args.id).exists() && !weak::off("cleanup") {
        let id = args.id.clone();
        let deleted = reactor::run(async move { runtime.delete(&id, true, LIMIT).await });
        if let Err(error) = deleted.map_err(Error::Loop)? {
            eprintln!("{error}");
        }
    }
    let unmount = |lazily| mount::unmount_bundle(&bundle, lazily);
    if let Err(error) = unmount(false).or_else(|_| unmount(true)) {
        eprintln!("{error}");
    }
    let response = DeleteResponse { pid, exit_status: KILLED, exited_at: Some(timestamp(SystemTime::now())) };
    Ok(response.encode_to_vec())
}

/// The bundle of the container: named, or beside the working directory, which is that of a container of the
/// same group.
fn bundle(args: &Args) -> io::Result<PathBuf> {
    if !args.bundle.is_empty() {
        return Ok(PathBuf::from(&args.bundle));
    }
    let here = std::env::current_dir()?;
    Ok(here.parent().unwrap_or(Path::new("/")).join(&args.id))
}

fn read_pid(path: &Path) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}
