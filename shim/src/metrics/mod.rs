//! What a container uses, as containerd's metrics: one kind of message for hosts with v1 hierarchies, one for
//! v2.

mod v1;
mod v2;

use prost::Message;
use runtime::cgroup::Cgroup;
use runtime::cgroup::stats::{IoEntry, Stats};

use crate::proto::well_known::Any;

/// Reads the statistics of a container's cgroups.
///
/// # Errors
/// The library's: a file that cannot be read.
pub fn read(cgroup: &Cgroup) -> runtime::cgroup::Result<Any> {
    let stats = cgroup.stats()?;
    let (type_url, value) = match cgroup.is_v2() {
        true => ("io.containerd.cgroups.v2.Metrics", v2::metrics(&stats).encode_to_vec()),
        false => ("io.containerd.cgroups.v1.Metrics", v1::metrics(&stats, &disk_names()).encode_to_vec()),
    };
    Ok(Any { type_url: type_url.to_owned(), value })
}

/// The names of block devices by their numbers, from /proc/partitions (major, minor, blocks, name).
fn disk_names() -> Vec<((u64, u64), String)> {
    let table = std::fs::read_to_string("/proc/partitions").unwrap_or_default();
    let name = |line: &str| {
        let mut words = line.split_whitespace();
        let (major, minor) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(((major, minor), format!("/dev/{}", words.nth(1)?)))
    };
    table.lines().filter_map(name).collect()
}

#[cfg(test)]
mod tests;
