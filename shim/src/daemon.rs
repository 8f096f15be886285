//! The shim itself: serves its socket until nobody needs it any more.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{UnixAddr, getsockname};

use runtime::sys::process::set_subreaper;
use runtime::weak;

use crate::args::Args;
use crate::bootstrap::{LISTENER_FD, SocketFile};
use crate::events::Publisher;
use crate::reactor::{self, Source, clock, task};
use crate::service::Service;
use crate::ttrpc::server;
use crate::{log, reaper, sys};

/// A shim without containers and without a connection ends by itself after this time: nobody knows it any
/// more, or containerd has died between `start` and Create. The variable `CORTEN_SHIM_IDLE_EXIT` gives
/// another time in seconds.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// A shim without containers that is connected and was not asked for anything ends by itself after this time:
/// its Shutdown was lost.
const UNUSED: Duration = Duration::from_secs(600);

/// How much freed memory the allocator may keep.
const HEAP_SLACK: i32 = 64 << 10;

/// How long the last events may take to be delivered.
const FLUSH_LIMIT: Duration = Duration::from_secs(4);

/// The least time between two looks at whether anybody needs the shim.
const TICK: Duration = Duration::from_millis(1);

/// How often the socket is tried to be removed, with a `TICK` in between. One that stays is taken for dead by
/// the next `start`.
const REMOVE_ATTEMPTS: u32 = 1000;

/// A shim that has been asked nothing for this long gives memory back.
const QUIET: Duration = Duration::from_secs(5);

/// Why there is no shim.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program was not started by `start`.
    #[error("descriptor {LISTENER_FD} is not a listening socket: {0}")]
    Listener(io::Error),
    /// The process could not be set up.
    #[error("{0}: {1}")]
    Setup(&'static str, io::Error),
}

/// Serves until nobody needs it any more.
pub fn serve(args: &Args) -> Result<(), Error> {
    sys::keep_heap_small(HEAP_SLACK);
    #[cfg(debug_assertions)]
    let _heavy = weak::off("small").then(|| vec![1_u8; 20 << 20]);
    let listener = sys::inherited_fd(LISTENER_FD).map_err(Error::Listener)?;
    let path = socket_path(&listener).map_err(Error::Listener)?;
    let socket = SocketFile::of(&path);
    let setup = |step| move |error| Error::Setup(step, error);
    // By way of /proc/self/exe it is called "exe", in lists of processes and when the kernel kills it.
    nix::sys::prctl::set_name(c"containerd-shim").map_err(|errno| setup("take a name")(errno.into()))?;
    // A log that cannot be opened is no reason to run no containers.
    let _no_log = log::open(Path::new("log"), args.debug);
    if !weak::off("panics") {
        log::tell_panics();
    }
    // The bundle of the first container is removed while others of its pod still run.
    if !weak::off("root") {
        std::env::set_current_dir("/").map_err(setup("change to /"))?;
    }
    set_subreaper().map_err(|errno| setup("become the parent of orphans")(errno.into()))?;
    let signals = block_signals().map_err(setup("block signals"))?;
    let open_files = raise_open_files().map_err(setup("raise the limit of open files"))?;
    let ttrpc = std::env::var("TTRPC_ADDRESS").unwrap_or_default();
    let publisher = Publisher::new(ttrpc, args.namespace.clone());
    let service = Service::new(args.namespace.clone(), Rc::clone(&publisher), open_files);
    let ended = reactor::run(run(listener, socket, signals, publisher, service));
    if weak::off("successor") {
        let _gone = std::fs::remove_file(&path);
    }
    ended.and_then(|result| result).map_err(setup("event loop"))
}

async fn run(
    listener: OwnedFd,
    socket: SocketFile,
    signals: SignalFd,
    publisher: Rc<Publisher>,
    service: Rc<Service>,
) -> io::Result<()> {
    task::spawn(Rc::clone(&publisher).deliver());
    task::spawn(watch_signals(
        Source::watch(signals.as_fd().try_clone_to_owned()?)?,
        signals,
        Rc::clone(&service),
    ));
    task::spawn(watchdog(Rc::clone(&service)));
    task::spawn(tidy(Rc::clone(&service)));
    let serving = Rc::clone(&service);
    task::spawn(async move {
        if let Err(error) = server::serve(listener, serving).await {
            log::error(&format!("serve: {error}"));
        }
    });
    service.stopped().await;
    // From now on a `start` of this group makes a new shim, whose socket has the same name: this is done
    // once.
    remove(&socket).await;
    publisher.flushed(FLUSH_LIMIT).await;
    Ok(())
}

/// Removes the socket, as soon as no `start` is at work beside it.
async fn remove(socket: &SocketFile) {
    for _ in 0..REMOVE_ATTEMPTS {
        match socket.remove() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => clock::sleep(TICK).await,
            _ => return,
        }
    }
}

fn socket_path(listener: &OwnedFd) -> io::Result<PathBuf> {
    let address: UnixAddr = getsockname(listener.as_raw_fd())?;
    address.path().map(Path::to_owned).ok_or_else(|| io::Error::other("it has no path"))
}

/// The signals that the event loop handles come through a descriptor.
fn block_signals() -> io::Result<SignalFd> {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGUSR1] {
        set.add(signal);
    }
    set.thread_block()?;
    Ok(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

/// Allows as many descriptors as the hard limit does, and returns the soft limit that children get back.
fn raise_open_files() -> io::Result<Option<u64>> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= hard {
        return Ok(None);
    }
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(Some(soft))
}

async fn watch_signals(readiness: Source, signals: SignalFd, service: Rc<Service>) {
    loop {
        readiness.readable().await;
        while let Ok(Some(signal)) = signals.read_signal() {
            match Signal::try_from(signal.ssi_signo.cast_signed()) {
                Ok(Signal::SIGCHLD) => reaper::sweep(),
                Ok(Signal::SIGUSR1) => log::info(&service.describe()),
                Ok(signal) => {
                    log::info(&format!("ending because of {signal}"));
                    service.stop();
                }
                Err(_) => {}
            }
        }
        readiness.not_readable();
    }
}

/// Ends a shim that nobody uses, so that none is left behind whatever becomes of containerd.
async fn watchdog(service: Rc<Service>) {
    let said = std::env::var("CORTEN_SHIM_IDLE_EXIT").ok().and_then(|text| text.parse().ok());
    let forgotten = said.map_or(FORGOTTEN, Duration::from_secs);
    loop {
        service.unused().await;
        let (idle, connected) = service.idle();
        let limit = if connected { UNUSED } else { forgotten };
        if idle >= limit && !weak::off("watchdog") {
            log::warn(&format!("no container and no request for {} seconds: ending", idle.as_secs()));
            return service.stop();
        }
        clock::sleep(limit.saturating_sub(idle).max(TICK)).await;
    }
}

/// Makes the shim small again after each time of work.
async fn tidy(service: Rc<Service>) {
    loop {
        let worked = service.last_used();
        let quiet = worked.elapsed();
        if quiet < QUIET {
            clock::sleep(QUIET - quiet).await;
            continue;
        }
        sys::give_memory_back();
        service.used_after(worked).await;
    }
}
