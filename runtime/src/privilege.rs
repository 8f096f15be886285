//! What this process may do on its host.

use crate::sys::process;
use nix::sys::stat::stat;
use nix::unistd::Uid;
use std::sync::OnceLock;

/// The effective user of this program: only its children become others, who never ask.
#[must_use]
pub fn user() -> Uid {
    process::executing_user()
}

/// Whether this process is root, and not of a user namespace of its own.
#[must_use]
pub fn over_the_host() -> bool {
    user().is_root() && !in_user_namespace()
}

/// The number of the host's own user namespace, the same on every machine (`USER_NS_INIT_INO` of `linux/nsfs.h`; since
/// Linux 3.8). A map tells less: another namespace may map all ids to themselves, and gives no right over the host.
const HOST: u64 = 0xEFFF_FFFD;

/// Whether this process is in another user namespace than the host's (`/proc/self/ns/user`, namespaces(7)). Looked up once.
#[must_use]
pub fn in_user_namespace() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| stat("/proc/self/ns/user").is_ok_and(|found| found.st_ino != HOST))
}
