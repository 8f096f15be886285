//! `checkpoint`: a container's processes go to disk.

use super::externals::Table;
use super::message::{Kind, Message};
use super::swrk::{Criu, Launch};
use super::{Error, Images, Options, Result};
use crate::cgroup::Cgroup;
use crate::log::Log;
use crate::parent::create;
use crate::parent::error::{OrError, file_error};
use crate::plan::{self, Plan};
use crate::state::{self, Record};
use crate::sys::Errno;
use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

/// Saves a running container. Unless it is to be left running it has ended when this returns, and is still to be deleted.
///
/// # Errors
/// criu cannot save it, for the reason that it gives; then the container runs on.
pub fn dump(record: &Record, options: &mut Options, log: &Log) -> Result<()> {
    let init = state::init(record)?.ok_or_else(|| Error::Other("the container has stopped".into()))?;
    let config = crate::spec::load::config(&record.bundle.join("config.json"))?;
    let plan = plan::container::plan(&config, &record.bundle, &create::host()?)?;
    let images = Images::to_write(options)?;
    check_features(options)?;
    let mut request = options
        .message(images.directory(), images.work(), images.log(), &record.annotations)
        .number(2, u64::try_from(init.pid).unwrap_or(0))
        .bytes(13, record.rootfs.as_os_str().as_bytes())
        .flag(50, true);
    let cgroup = record.cgroup.as_ref().map(Cgroup::open).transpose()?;
    let freezer = cgroup.as_ref().and_then(Cgroup::freezer_path);
    request = options.cgroup_message(request, cgroup.as_ref().is_some_and(|cgroup| !cgroup.is_none()));
    if let Some(freezer) = freezer {
        request = request.bytes(44, freezer.as_bytes());
    }
    if let Some((address, port)) = &options.page_server {
        let server = Message::default().bytes(1, address.as_bytes()).number(2, u64::from(*port));
        request = request.nested(11, &server);
    }
    if let Some(parent) = &options.parent {
        request = request.bytes(14, parent.as_os_str().as_bytes()).flag(15, true);
    }
    request = external_namespaces(request, &plan, init.pid)?;
    if !options.pre_dump {
        let mut table = Table::of(init.pid)?;
        let externals = table.externals(&plan)?;
        request = table.tell(request);
        images.write_externals(&externals)?;
        images.write_descriptors(&descriptors(init.pid)?)?;
    }
    let kind = if options.pre_dump { Kind::PreDump } else { Kind::Dump };
    log.debug(&format!("{}: criu saves process {}", record.id, init.pid));
    let mut status = options.status.take();
    let criu = Criu::start(&Launch::plain(options))?;
    let answer = criu.ask(kind, Some(&request), &mut |notice, _| {
        log.debug(&format!("{}: criu: {}", record.id, notice.script));
        if notice.script == "status-ready" {
            tell_ready(status.take(), log);
        }
        Ok(())
    });
    answer.map(drop).map_err(|error| images.explain(error))
}

/// Asks criu for what cannot be done without, before anything is done.
fn check_features(options: &Options) -> Result<()> {
    let tracking = options.pre_dump || options.parent.is_some();
    if !tracking && !options.lazy_pages {
        return Ok(());
    }
    let wanted = Message::default().flag(1, tracking).flag(2, options.lazy_pages);
    let found =
        Criu::start(&Launch::plain(options))?.ask(Kind::FeatureCheck, Some(&wanted), &mut |_, _| Ok(()))?;
    if tracking && !found.mem_track {
        return Err(Error::Missing {
            what: "MemTrack",
            why: "--pre-dump and --parent-path need a kernel that tells pages that were written to from others \
                  (CONFIG_MEM_SOFT_DIRTY)",
        });
    }
    if options.lazy_pages && !found.lazy_pages {
        return Err(Error::Missing { what: "LazyPages", why: "--lazy-pages needs userfaultfd(2)" });
    }
    if options.lazy_pages && !can_serve_pages()? {
        return Err(Error::Missing {
            what: "LazyPages",
            why: "with --lazy-pages criu hands out memory through a pipe of 4 MiB, which is more than \
                  /proc/sys/fs/pipe-max-size and needs CAP_SYS_RESOURCE",
        });
    }
    Ok(())
}

/// Whether criu gets the pipe that it hands memory out through: it does not look itself, and fails at the first page, when the
/// other side has a container already that waits for it.
///
/// # Errors
/// There are no pipes to be had.
pub(crate) fn can_serve_pages() -> Result<bool> {
    use nix::fcntl::{FcntlArg, fcntl};
    // `PIPE_MAX_SIZE` of criu's page-pipe.h, in bytes.
    const SIZE: i32 = 4 << 20;
    let (pipe, _end) =
        nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).or_error(|| "create a pipe".into())?;
    match fcntl(pipe, FcntlArg::F_SETPIPE_SZ(SIZE)) {
        Err(Errno::EPERM) => Ok(false),
        result => Ok(result.map(|_| true).or_error(|| "resize a pipe".into())?),
    }
}

/// Network and PID namespaces that were there before the container are left alone, and joined again: criu is told which
/// they are. The key is that of all runtimes.
fn external_namespaces(mut request: Message, plan: &Plan, pid: i32) -> Result<Message> {
    for (flag, name, key) in super::restore::EXTERNAL_NAMESPACES {
        let Some(join) = plan.namespaces.join.iter().find(|join| join.flag == flag) else { continue };
        let inode = |path: &std::path::Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino()));
        let named = inode(&join.path).map_err(file_error("find namespace", &join.path))?;
        let own = format!("/proc/{pid}/ns/{name}");
        // config.json may be another one by now: what counts is where the process is.
        if named == inode(own.as_ref()).map_err(file_error("find namespace", &own))? {
            request = request.bytes(37, format!("{name}[{}]:{key}", named.1).as_bytes());
        }
    }
    Ok(request)
}

/// How many descriptors are noted: what a caller hands on with `--preserve-fds` are a few.
const MOST_DESCRIPTORS: u32 = 1024;

/// Where the first process's descriptors lead, from standard input on as far as there is one after the other.
fn descriptors(pid: i32) -> Result<Vec<String>> {
    let link = |number: u32| fs::read_link(format!("/proc/{pid}/fd/{number}"));
    let mut links = Vec::new();
    for number in 0..MOST_DESCRIPTORS {
        match link(number) {
            Ok(target) => links.push(target.to_string_lossy().into_owned()),
            // One of the three may be closed.
            Err(_) if number < 3 => links.push(String::new()),
            Err(_) => break,
        }
    }
    Ok(links)
}

fn tell_ready(status: Option<OwnedFd>, log: &Log) {
    let Some(status) = status else { return };
    if let Err(error) = fs::File::from(status).write_all(&[0]) {
        log.warn(&format!("--status-fd: {error}"));
    }
}

/// Checks that `--status-fd` can be written to.
///
/// # Errors
/// It is not open for writing.
pub fn check_status(file: &OwnedFd, number: i32) -> Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags =
        fcntl(file, FcntlArg::F_GETFL).or_error(|| format!("invalid --status-fd argument {number}"))?;
    match OFlag::from_bits_retain(flags) & OFlag::O_ACCMODE {
        OFlag::O_RDONLY => Err(Error::Other(format!("invalid --status-fd argument {number}: not writable"))),
        _ => Ok(()),
    }
}
