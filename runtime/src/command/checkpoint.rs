//! `checkpoint`.

use super::{Command, CommandError, Context, delete, failed, only_id};
use crate::checkpoint::{self, CgroupMode, NetworkLock, Options};
use crate::cli::{Flag, Parsed, switch, value};
use crate::privilege;
use crate::state::{self, StateDir, Status};
use crate::sys::fd;
use std::path::PathBuf;

pub(super) const IMAGES: Flag =
    value("image-path", "", "DIR", "where the images are (default: ./checkpoint)");
pub(super) const WORK: Flag =
    value("work-path", "", "DIR", "where criu's log goes (default: with the images)");
pub(super) const TCP: Flag = switch("tcp-established", "", "keep open TCP connections");
pub(super) const SOCKETS: Flag =
    switch("ext-unix-sk", "", "keep Unix sockets that lead out of the container");
pub(super) const SHELL_JOB: Flag = switch("shell-job", "", "keep a terminal that is the caller's own");
pub(super) const LOCKS: Flag = switch("file-locks", "", "keep file locks");
pub(super) const LINKS: Flag = switch("link-remap", "", "keep open files that have no name any more");
pub(super) const LAZY: Flag =
    switch("lazy-pages", "", "leave memory where it is until it is asked for (criu lazy-pages)");
pub(super) const DEDUP: Flag = switch("auto-dedup", "", "cut out of earlier images what later ones have too");
pub(super) const CGROUPS: Flag = value(
    "manage-cgroups-mode",
    "",
    "MODE",
    "what happens to control groups: soft (default), full, strict or ignore",
);
pub(super) const EMPTY: Flag =
    value("empty-ns", "", "NAMESPACE", "make it anew and leave it empty: network (which is so by default)");
pub(super) const LOCK: Flag = value(
    "network-lock",
    "",
    "METHOD",
    "how open connections are kept quiet meanwhile: iptables, nftables or skip (default: criu's choice)",
);
pub(super) const PARENT: Flag =
    value("parent-path", "", "DIR", "images of an earlier --pre-dump, relative to --image-path");

/// `checkpoint`.
pub const CHECKPOINT: Command = Command {
    name: "checkpoint",
    arguments: "ID",
    about: "save a running container to disk, with criu",
    flags: &[
        IMAGES,
        WORK,
        PARENT,
        switch("leave-running", "R", "let the container run on"),
        TCP,
        switch("tcp-skip-in-flight", "", "leave out TCP connections that are not accepted yet"),
        SOCKETS,
        SHELL_JOB,
        LOCKS,
        LINKS,
        switch("pre-dump", "", "save memory alone, and let the container run on"),
        LAZY,
        value("status-fd", "", "FD", "write a NUL character there when --lazy-pages is ready"),
        value("page-server", "", "ADDRESS:PORT", "send memory to a page server (criu page-server)"),
        CGROUPS,
        EMPTY,
        DEDUP,
        LOCK,
    ],
    run,
    enters: false,
};

fn run(context: &Context, parsed: &Parsed) -> Result<i32, CommandError> {
    let id = only_id("checkpoint", parsed)?;
    warn_without_privilege(context, "checkpoint");
    let dir = StateDir::open(&context.root, id)?;
    let (lock, record) = dir.lock_made()?;
    let status = state::status(&dir, &record)?;
    if !matches!(status, Status::Running | Status::Paused) {
        return Err(CommandError::other(format!(
            "Container cannot be checkpointed in {} state",
            status.name()
        )));
    }
    let mut options = options(context, parsed)?;
    match (options.lazy_pages, options.page_server.is_some(), options.status.is_some()) {
        (true, false, _) => {
            return Err(CommandError::other("--lazy-pages needs --page-server: where memory is asked for"));
        }
        (false, _, true) => {
            return Err(CommandError::other("--status-fd needs --lazy-pages: nothing else is told there"));
        }
        _ => {}
    }
    checkpoint::dump(&record, &mut options, &context.log).map_err(|error| failed("checkpoint", error))?;
    if !options.leave_running && !options.pre_dump {
        delete::remove(&dir, lock, &record, &context.log)?;
    }
    Ok(0)
}

pub(super) fn warn_without_privilege(context: &Context, command: &str) {
    if !privilege::over_the_host() {
        context.log.warn(&format!("{command} without privilege over the host is untested"));
    }
}

/// What both commands can be told.
pub(super) fn options(context: &Context, parsed: &Parsed) -> Result<Options, CommandError> {
    Ok(Options {
        program: context.criu.clone(),
        images: parsed.path("image-path").unwrap_or_else(|| PathBuf::from("checkpoint")),
        work: parsed.path("work-path"),
        parent: parsed.path("parent-path"),
        leave_running: parsed.on("leave-running")?,
        pre_dump: parsed.on("pre-dump")?,
        tcp_established: parsed.on("tcp-established")?,
        tcp_skip_in_flight: parsed.on("tcp-skip-in-flight")?,
        tcp_close: parsed.on("tcp-close")?,
        ext_unix_sk: parsed.on("ext-unix-sk")?,
        shell_job: parsed.on("shell-job")?,
        file_locks: parsed.on("file-locks")?,
        link_remap: parsed.on("link-remap")?,
        auto_dedup: parsed.on("auto-dedup")?,
        lazy_pages: parsed.on("lazy-pages")?,
        status: status(parsed)?,
        page_server: page_server(parsed)?,
        cgroups: match parsed.text("manage-cgroups-mode")?.filter(|mode| !mode.is_empty()) {
            None => None,
            Some(mode) => Some(
                CgroupMode::of(mode)
                    .ok_or_else(|| CommandError::other("Invalid manage-cgroups-mode value"))?,
            ),
        },
        empty_namespaces: empty_namespaces(parsed)?,
        network_lock: match parsed.text("network-lock")?.filter(|method| !method.is_empty()) {
            None => None,
            Some(method) => Some(
                NetworkLock::of(method)
                    .ok_or_else(|| super::bad("network-lock", method, "iptables, nftables or skip"))?,
            ),
        },
        lsm_profile: parsed.text("lsm-profile")?.filter(|text| !text.is_empty()).map(str::to_owned),
        lsm_mount_context: parsed
            .text("lsm-mount-context")?
            .filter(|text| !text.is_empty())
            .map(str::to_owned),
    })
}

/// The descriptor of `--status-fd`, which only means something with `--lazy-pages`.
fn status(parsed: &Parsed) -> Result<Option<std::os::fd::OwnedFd>, CommandError> {
    let Some(number) = parsed.number::<i32>("status-fd")?.filter(|number| *number != -1) else {
        return Ok(None);
    };
    let passed = Some(number).filter(|number| *number > 2 && fd::was_passed(*number));
    let Some(file) = passed.and_then(fd::inherited) else {
        return Err(CommandError::other(format!(
            "invalid --status-fd argument {number}: bad file descriptor"
        )));
    };
    checkpoint::dump::check_status(&file, number).map_err(|error| CommandError::other(error.to_string()))?;
    Ok(Some(file))
}

/// `ADDRESS:PORT`, with an IPv6 address in brackets.
fn page_server(parsed: &Parsed) -> Result<Option<(String, u16)>, CommandError> {
    let Some(text) = parsed.text("page-server")?.filter(|text| !text.is_empty()) else { return Ok(None) };
    let split = text.rsplit_once(':').filter(|(address, port)| !address.is_empty() && !port.is_empty());
    let Some((address, port)) = split else {
        return Err(CommandError::other("Use --page-server ADDRESS:PORT to specify page server"));
    };
    let address = address.strip_prefix('[').and_then(|address| address.strip_suffix(']')).unwrap_or(address);
    let port = port.parse().map_err(|_| CommandError::other("Invalid port number"))?;
    Ok(Some((address.to_owned(), port)))
}

/// The network is always made anew: it belongs to the engine, which sets it up again.
fn empty_namespaces(parsed: &Parsed) -> Result<u32, CommandError> {
    if let Some(other) = parsed.texts("empty-ns")?.into_iter().find(|name| *name != "network") {
        return Err(CommandError::other(format!("namespace {other:?} is not supported")));
    }
    Ok(libc::CLONE_NEWNET.cast_unsigned())
}
