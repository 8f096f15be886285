//! What this process may do on its host.

use nix::unistd::Uid;
use std::fs::File;
use std::io::Read;
use std::sync::OnceLock;

/// The effective user of this program. Looked up once: only its children become others, who never ask.
#[must_use]
pub fn user() -> Uid {
    static ANSWER: OnceLock<Uid> = OnceLock::new();
    *ANSWER.get_or_init(nix::unistd::geteuid)
}

/// Whether this process is root, and not of a user namespace of its own.
#[must_use]
pub fn over_the_host() -> bool {
    user().is_root() && !in_user_namespace()
}

/// Whether this process is in another user namespace than the host's: its map (`/proc/self/uid_map`,
/// user_namespaces(7)) is not the identity. Looked up once.
#[must_use]
pub fn in_user_namespace() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let mut buffer = [0; 256];
        let Ok(length) = File::open("/proc/self/uid_map").and_then(|mut file| file.read(&mut buffer)) else {
            return false;
        };
        String::from_utf8_lossy(&buffer[..length]).split_whitespace().ne(["0", "0", "4294967295"])
    })
}
