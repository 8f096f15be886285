//! What the tests of control groups share: cgroups of their own on this machine's hierarchies, and processes in them.
#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

use runtime::cgroup::stats::Stats;
use runtime::cgroup::{Cgroup, Driver, Request, create};
use runtime::spec::Resources;
use runtime::sys::Errno;
use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// The kinds of layout that tests can see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    V1,
    V2,
}

/// What is mounted at /sys/fs/cgroup; `None` when this process may not make cgroups there.
pub fn layout() -> Option<Layout> {
    let v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let probe = if v2 { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/memory" };
    let dir = format!("{probe}/corten-probe-{}", std::process::id());
    if nix::unistd::geteuid().is_root() && std::fs::create_dir(&dir).is_ok() {
        std::fs::remove_dir(&dir).unwrap();
        return Some(if v2 { Layout::V2 } else { Layout::V1 });
    }
    None
}

/// Says visibly that a test did nothing, and what it lacks.
pub fn skip(needs: &str) {
    eprintln!("skipped: needs {needs}");
}

/// Gives this thread a v2 hierarchy at /sys/fs/cgroup, beside the machine's own, in a mount namespace of its own. Its
/// limits are those of the controllers that v1 has not taken.
pub fn v2_view() -> bool {
    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};
    if layout() == Some(Layout::V2) {
        return true;
    }
    let none = None::<&str>;
    layout().is_some()
        && unshare(CloneFlags::CLONE_NEWNS).is_ok()
        && mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).is_ok()
        && mount(Some("none"), "/sys/fs/cgroup", Some("cgroup2"), MsFlags::empty(), none).is_ok()
}

/// A cgroup that is removed at the end, with what runs in it.
pub struct Sandbox {
    pub path: String,
    pub cgroup: Cgroup,
    children: Vec<Child>,
}

impl Sandbox {
    /// What is counted once a process has used the processor and 3 MB of memory; it goes on.
    pub fn busy(&mut self) -> Stats {
        self.run("sh", &["-c", "x=$(head -c 3000000 /dev/zero | tr '\\0' x); while :; do :; done"]);
        let mut stats = self.cgroup.stats().unwrap();
        for _ in 0..500 {
            if stats.cpu.user > 0 && stats.memory.usage.usage > 2_000_000 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
            stats = self.cgroup.stats().unwrap();
        }
        stats
    }

    /// A cgroup with these limits; the error as one line.
    pub fn new(resources: &Resources) -> Result<Self, String> {
        Self::at(&unique(), resources)
    }

    pub fn at(path: &str, resources: &Resources) -> Result<Self, String> {
        Self::with(&request(path, resources, &BTreeMap::new())).map_err(|error| error.to_string())
    }

    pub fn with(request: &Request<'_>) -> runtime::cgroup::Result<Self> {
        let cgroup = create(request)?;
        Ok(Self { path: request.path.to_owned(), cgroup, children: Vec::new() })
    }

    /// The directory of a controller, `""` for v2.
    pub fn dir(&self, controller: &str) -> String {
        let record = self.cgroup.record();
        let found = record.dirs.iter().find(|(names, _)| names.split(',').any(|name| name == controller));
        found.unwrap_or_else(|| panic!("no {controller:?} in {record:?}")).1.clone()
    }

    /// What a file holds.
    pub fn read(&self, controller: &str, file: &str) -> String {
        let path = format!("{}/{file}", self.dir(controller));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        text.trim_end().to_owned()
    }

    /// Starts a program in the cgroup: it does nothing before it is there.
    pub fn run(&mut self, program: &str, arguments: &[&str]) -> i32 {
        let mut child = Command::new("sh")
            .args(["-c", "read go; exec \"$0\" \"$@\"", program])
            .args(arguments)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("sh: {error}"));
        let pid = i32::try_from(child.id()).unwrap();
        self.cgroup.attach(pid).unwrap();
        drop(child.stdin.take());
        self.children.push(child);
        pid
    }

    /// Waits for the children to end; their signals or exit codes.
    pub fn reap(&mut self) -> Vec<String> {
        self.children.drain(..).map(|mut child| child.wait().unwrap().to_string()).collect()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
        }
        let _ = self.cgroup.thaw();
        let _ = self.cgroup.kill_all(9);
        for child in &mut self.children {
            let _ = child.wait();
        }
        let _ = self.cgroup.remove();
    }
}

/// A path for a cgroup that nobody else has.
pub fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("/corten-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

pub fn request<'a>(
    path: &'a str,
    resources: &'a Resources,
    annotations: &'a BTreeMap<String, String>,
) -> Request<'a> {
    Request {
        driver: Driver::Cgroupfs,
        id: "corten-test",
        path,
        resources,
        nodes: &[],
        annotations,
        rootless: false,
        owner: None,
        journal: None,
    }
}

/// `linux.resources` from JSON text.
pub fn resources(json: &str) -> Resources {
    serde_json::from_str(json).unwrap()
}

/// Where a process is, line by line.
pub fn cgroups_of(pid: i32) -> Vec<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// Starts a process as a runtime does: cloned into a v2 cgroup, writing itself into v1 ones. It waits for its death;
/// when this returns it is where it should be.
pub fn child_into(target: Option<BorrowedFd<'_>>, joins: &[BorrowedFd<'_>]) -> Result<i32, Errno> {
    let (ready, done) = nix::unistd::pipe().unwrap();
    // SAFETY: clone_args is plain old data for which all zeroes is a valid value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(target) = target {
        args.flags = 0x2_0000_0000;
        args.cgroup = u64::try_from(target.as_raw_fd()).unwrap();
    }
    // SAFETY: a fork without shared memory; the child below makes only system calls on what is there already.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    match pid {
        -1 => Err(Errno::last()),
        0 => {
            for file in joins {
                let _ = nix::unistd::write(file, b"0");
            }
            let _ = nix::unistd::write(&done, b"x");
            loop {
                nix::unistd::pause();
            }
        }
        pid => {
            assert_eq!(nix::unistd::read(&ready, &mut [0]), Ok(1));
            Ok(i32::try_from(pid).unwrap())
        }
    }
}

/// Runs something as an ordinary user: in a thread whose effective user is `uid`, without capabilities.
pub fn as_user<T: Send + 'static>(uid: u32, run: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::spawn(move || {
        // SAFETY: no pointers. The raw call, unlike the library's, changes the calling thread alone.
        let result = unsafe { libc::syscall(libc::SYS_setresuid, -1, uid, -1) };
        assert_eq!(result, 0, "setresuid: {}", Errno::last());
        run()
    })
    .join()
    .unwrap()
}
