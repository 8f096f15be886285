//! What each command may cost: system calls, page faults and memory of the release build against musl, on a fixed bundle.
//!
//! These figures do not depend on how busy a machine is, so they can fail a build where times cannot.
//! `budget.toml` has them; a command that exceeds one fails, with the calls that became more. A change that
//! needs more, or less, writes the file anew and says why in its commit:
//!
//!     cargo build --release -p runtime --target x86_64-unknown-linux-musl
//!     UPDATE=1 cargo test -p integration --test budget
//!
//! Control groups cost what their layout costs: each layout has figures of its own, and `none` (the manager
//! that is disabled) holds on every machine. Each figure is the least of some runs: who of two processes is
//! faster must not count. `BUDGET=required` makes a missing or outdated release build a failure, for CI.

use integration::observe::{self, Cost, Observed};
use integration::{config, host, proc, skip, trace};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use serde::Deserialize;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;
use std::{env, fs};

/// How often each command is observed.
const ROUNDS: usize = 5;

/// Page faults and memory move a little with what of the program the page cache holds: by so many of a
/// hundred, but at least by so many.
const SLACK: (u64, u64) = (8, 8);

/// The kernel maps a program's file in pieces of so many kB around a page fault (`fault_around_bytes`): where a linker
/// puts things decides how many of them a command needs, two more or less for the same program.
const PIECES: u64 = 2 * 64;

/// How often a process waits depends on who is faster: not counted.
const WAITS: [i64; 3] = [libc::SYS_poll, libc::SYS_ppoll, libc::SYS_epoll_wait];

/// What a command may cost.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct Budget {
    /// System calls of the command itself.
    program: u64,
    /// System calls of the processes that it makes, until they become the container's program.
    children: u64,
    /// Page faults of all of them.
    faults: u64,
    /// The most memory that one of them has, in kB.
    peak: u64,
    /// The most that one of them has without its program's file, in kB.
    private: u64,
    /// The calls behind `program`, to say which became more.
    program_calls: BTreeMap<String, u64>,
    /// The calls behind `children`.
    children_calls: BTreeMap<String, u64>,
}

/// By layout of control groups, then by command.
type Budgets = BTreeMap<String, BTreeMap<String, Budget>>;

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/budget.toml")
}

fn named(cost: &Cost) -> BTreeMap<String, u64> {
    let calls = cost.calls.iter().filter(|(call, _)| !WAITS.contains(call));
    calls.map(|(call, count)| (trace::name(*call), *count)).collect()
}

impl Budget {
    fn of(seen: &Observed) -> Budget {
        let (program_calls, children_calls) = (named(&seen.program), named(&seen.children));
        Budget {
            program: program_calls.values().sum(),
            children: children_calls.values().sum(),
            faults: seen.program.faults + seen.children.faults,
            peak: seen.peak(),
            private: seen.private(),
            program_calls,
            children_calls,
        }
    }

    /// The least of two observations, figure by figure.
    fn least(self, other: Budget) -> Budget {
        let (faults, peak) = (self.faults.min(other.faults), self.peak.min(other.peak));
        let private = self.private.min(other.private);
        let fewer =
            |one: &Budget, other: &Budget| one.program + one.children <= other.program + other.children;
        let calls = if fewer(&self, &other) { self } else { other };
        Budget { faults, peak, private, ..calls }
    }

    /// What of it a command exceeds, in words.
    fn exceeded_by(&self, now: &Budget) -> Vec<String> {
        let mut found = Vec::new();
        let sides = [
            ("the command", self.program, now.program, &self.program_calls, &now.program_calls),
            ("its children", self.children, now.children, &self.children_calls, &now.children_calls),
        ];
        for (who, may, does, old, new) in sides {
            if does > may {
                let more = differences(old, new).join(", ");
                found
                    .push(format!("{who} makes {does} system calls, {} more than {may}: {more}", does - may));
            }
        }
        for (what, may, does, more) in [
            ("page faults", self.faults, now.faults, 0),
            ("kB at its peak", self.peak, now.peak, PIECES),
            ("kB of its own", self.private, now.private, 0),
        ] {
            let slack = (may * SLACK.0 / 100).max(SLACK.1) + more;
            if does > may + slack {
                found.push(format!(
                    "{does} {what}, {} more than {may} and {slack} of slack",
                    does - may - slack
                ));
            }
        }
        found
    }
}

/// The calls that are made more or less often, as `openat 30 -> 31`.
fn differences(old: &BTreeMap<String, u64>, new: &BTreeMap<String, u64>) -> Vec<String> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let count = |calls: &BTreeMap<String, u64>, name: &String| calls.get(name).copied().unwrap_or_default();
    let both = names.into_iter().map(|name| (name, count(old, name), count(new, name)));
    both.filter(|(_, old, new)| old != new).map(|(name, old, new)| format!("{name} {old} -> {new}")).collect()
}

/// A fixed bundle in a directory whose path has always the same length, with a copy of the release build.
struct Place {
    directory: tempfile::TempDir,
    globals: &'static [&'static str],
}

const ID: &str = "budget";

impl Place {
    fn new(corten: &Path, globals: &'static [&'static str]) -> Place {
        nix::sys::prctl::set_child_subreaper(true).unwrap();
        let directory = tempfile::Builder::new().prefix("corten-budget-").tempdir_in("/tmp").unwrap();
        // How much of a program is mapped at once depends on the file system, and on how its file was
        // written. This mount namespace ends with the test's thread.
        let none = None::<&str>;
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        mount(Some("tmpfs"), directory.path(), Some("tmpfs"), MsFlags::empty(), none).unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["bin", "dev", "etc", "proc", "sys"] {
            fs::create_dir_all(path("rootfs").join(name)).unwrap();
        }
        fs::copy(corten, path("corten")).unwrap();
        fs::copy("/bin/busybox", path("rootfs/bin/busybox")).expect("install busybox-static");
        for name in ["true", "sleep"] {
            std::os::unix::fs::symlink("busybox", path("rootfs/bin").join(name)).unwrap();
        }
        fs::write(path("rootfs/etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
        Place { directory, globals }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn configure(&self, program: &[&str]) {
        let mut config = config::docker();
        config["process"]["args"] = json!(program);
        // What every kernel has, and what none has.
        config["linux"]["maskedPaths"] = json!([
            "/proc/cmdline",
            "/proc/uptime",
            "/proc/none",
            "/proc/sys/vm",
            "/sys/kernel",
            "/sys/none"
        ]);
        config["linux"]["readonlyPaths"] = json!(["/proc/sys", "/proc/fs", "/proc/none"]);
        fs::write(self.path("config.json"), serde_json::to_vec(&config).unwrap()).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.path("corten"));
        command.env_clear().env("PATH", "/bin").current_dir(self.directory.path());
        command.arg("--root").arg(self.path("state")).args(self.globals).args(arguments);
        command.stdout(Stdio::null());
        command
    }

    fn observe(&self, arguments: &[&str]) -> Budget {
        let seen = observe::run(self.command(arguments));
        assert_eq!(seen.status, 0, "corten {arguments:?}");
        Budget::of(&seen)
    }

    /// Waits for a process that a command has left to this program, by the file that has its number.
    fn reap(&self, file: &str, signal: Option<Signal>) {
        let pid = fs::read_to_string(self.path(file)).unwrap().trim().parse().unwrap();
        let pid = Pid::from_raw(pid);
        if let Some(signal) = signal {
            kill(pid, signal).unwrap();
        }
        // One that ended while it was observed has been waited for by then.
        let _ = waitpid(pid, None);
    }

    /// Each command once. They are detached: how a command learns of the end of a program depends on who is
    /// faster.
    fn round(&self) -> Vec<(&'static str, Budget)> {
        self.configure(&["/bin/sleep", "1000"]);
        let mut seen = vec![("run", self.observe(&["run", "--detach", "--pid-file", "pid", ID]))];
        self.reap("pid", Some(Signal::SIGKILL));
        assert!(self.command(&["delete", ID]).status().unwrap().success());
        seen.push(("create", self.observe(&["create", "--pid-file", "pid", ID])));
        for (name, arguments) in [
            ("start", &["start", ID][..]),
            ("state", &["state", ID]),
            ("list", &["list"]),
            ("exec", &["exec", "--detach", "--pid-file", "other", ID, "/bin/true"]),
            // Nothing happens to it: how long a process takes to die must not count.
            ("kill", &["kill", ID, "WINCH"]),
        ] {
            seen.push((name, self.observe(arguments)));
        }
        self.reap("other", None);
        self.reap("pid", Some(Signal::SIGKILL));
        seen.push(("delete", self.observe(&["delete", ID])));
        seen
    }

    fn measure(&self) -> BTreeMap<String, Budget> {
        let mut least: BTreeMap<String, Budget> = BTreeMap::new();
        for (name, seen) in (0..ROUNDS).flat_map(|_| self.round()) {
            let seen = match least.remove(name) {
                Some(before) => before.least(seen),
                None => seen,
            };
            least.insert(name.to_owned(), seen);
        }
        least
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Nothing is left when all went well.
        let _ = self.command(&["delete", "--force", ID]).stderr(Stdio::null()).status();
        let _ = umount2(self.directory.path(), MntFlags::MNT_DETACH);
    }
}

/// The layout of control groups on this machine, as a key: `v1-9-v2` are nine hierarchies of version 1 and
/// the unified one.
fn layout() -> String {
    let mounts = proc::mounts("self");
    let count = |kind: &str| mounts.iter().filter(|mount| mount.fstype == kind).count();
    match (count("cgroup"), host::unified()) {
        (0, _) => "v2".into(),
        (legacy, None) => format!("v1-{legacy}"),
        (legacy, Some(_)) => format!("v1-{legacy}-v2"),
    }
}

/// The release build against musl in the target directory of this test, if it is as new as its source.
fn release_build() -> Result<PathBuf, String> {
    let own = env::current_exe().unwrap();
    let target = format!("{}-unknown-linux-musl", env::consts::ARCH);
    let path = own.ancestors().nth(4).unwrap().join(&target).join("release/corten");
    let hint = format!("rustup target add {target} && cargo build --release -p runtime --target {target}");
    let built = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    let made = built(&path).ok_or_else(|| format!("needs {}: {hint}", path.display()))?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let newest =
        ["runtime", "seccomp-profiles"].iter().map(|name| newest(&root.join(name).join("src"))).max();
    match newest.is_some_and(|newest| newest > made) {
        true => Err(format!("needs {} as new as its source: {hint}", path.display())),
        false => Ok(path),
    }
}

fn newest(directory: &Path) -> SystemTime {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    let times = entries.map(|entry| match entry.file_type().unwrap().is_dir() {
        true => newest(&entry.path()),
        false => entry.metadata().unwrap().modified().unwrap(),
    });
    times.max().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The file, as [`Budgets`] are written: a table a command, and its calls on two lines.
fn text(budgets: &Budgets) -> String {
    let mut text = String::from(
        "# What each command may cost, by layout of control groups: see budget.rs, which writes this file.\n\
         # program, children: system calls; faults: page faults; peak: kB resident in one process;\n\
         # private: those of them that are not its program's file.\n",
    );
    let calls = |calls: &BTreeMap<String, u64>| {
        calls.iter().map(|(name, count)| format!("\"{name}\" = {count}")).collect::<Vec<_>>().join(", ")
    };
    for (layout, commands) in budgets {
        for (command, budget) in commands {
            let Budget { program, children, faults, peak, private, program_calls, children_calls } = budget;
            write!(
                text,
                "\n[{layout}.{command}]\nprogram = {program}\nchildren = {children}\nfaults = {faults}\npeak = {peak}\nprivate = {private}\n\
                 program_calls = {{ {} }}\nchildren_calls = {{ {} }}\n",
                calls(program_calls),
                calls(children_calls)
            )
            .unwrap();
        }
    }
    text
}

#[test]
fn no_command_costs_more_than_its_budget() {
    let corten = match release_build() {
        Ok(corten) => corten,
        Err(reason) if env::var_os("BUDGET").is_some() => panic!("{reason}"),
        Err(reason) => skip!("{reason}"),
    };
    if !nix::unistd::geteuid().is_root() {
        skip!("needs root");
    }
    let mut budgets: Budgets = toml::from_str(&fs::read_to_string(file()).unwrap_or_default()).unwrap();
    let layouts: [(String, &'static [&'static str]); 2] =
        [("none".into(), &["--cgroup-manager", "disabled"]), (layout(), &[])];
    let mut exceeded = String::new();
    for (layout, globals) in layouts {
        let now = Place::new(&corten, globals).measure();
        if env::var_os("UPDATE").is_some() {
            budgets.insert(layout, now);
            continue;
        }
        let Some(may) = budgets.get(&layout) else {
            skip::say(&format!(
                "needs a budget for control groups laid out as {layout}: UPDATE=1 writes one"
            ));
            continue;
        };
        for (command, now) in &now {
            let lines = may
                .get(command)
                .map_or_else(|| vec!["it has no budget".to_owned()], |may| may.exceeded_by(now));
            for line in lines {
                writeln!(exceeded, "{command} ({layout}): {line}").unwrap();
            }
        }
    }
    if env::var_os("UPDATE").is_some() {
        fs::write(file(), text(&budgets)).unwrap();
    }
    assert!(
        exceeded.is_empty(),
        "over budget:\n{exceeded}A change that needs this runs with UPDATE=1 and says why."
    );
}

#[test]
fn what_exceeds_a_budget_is_said() {
    let budget = |program: u64, calls: &[(&str, u64)], faults, peak, private| Budget {
        program,
        children: 0,
        faults,
        peak,
        private,
        program_calls: calls.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
        children_calls: BTreeMap::new(),
    };
    let may = budget(5, &[("openat", 3), ("close", 2)], 100, 1000, 200);
    assert_eq!(may.exceeded_by(&budget(5, &[("read", 5)], 108, 1208, 216)), Vec::<String>::new());
    assert_eq!(
        may.exceeded_by(&budget(7, &[("openat", 5), ("close", 2)], 109, 1040, 200)),
        [
            "the command makes 7 system calls, 2 more than 5: openat 3 -> 5",
            "109 page faults, 1 more than 100 and 8 of slack"
        ]
    );
    assert_eq!(
        may.exceeded_by(&budget(5, &[], 1, 2000, 217)),
        [
            "2000 kB at its peak, 792 more than 1000 and 208 of slack",
            "217 kB of its own, 1 more than 200 and 16 of slack"
        ]
    );
    let budgets: Budgets = [("v2".to_owned(), [("run".to_owned(), may)].into())].into();
    assert_eq!(toml::from_str::<Budgets>(&text(&budgets)).unwrap(), budgets);
}
