//! Takes one bundle through its life on one runtime and collects everything that can be compared: what each
//! command said, what the kernel shows outside, what the probe saw inside.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::bundle::{self, Case};
use super::cases::process_file;
use crate::error::{At as _, Result};
use crate::runtime::{Runtime, View};
use crate::work::text_of;
use crate::{cgroups, command};

/// No command and no container of the matrix takes longer.
const LIMIT: Duration = Duration::from_secs(30);

/// Everything a case needs besides itself.
pub(crate) struct Setting<'a> {
    /// The probe, on the file system of the bundles.
    pub(crate) probe: &'a Path,
    /// A process with namespaces of its own, to join.
    pub(crate) holder: u32,
    /// The cgroup below which every case has its own.
    pub(crate) cgroup: &'a str,
}

impl Setting<'_> {
    /// The cgroup of a case on a runtime. Its parent is its own too: which controllers a runtime enables
    /// there is seen by no other.
    pub(crate) fn cgroup_of(&self, runtime: &str, case: &str) -> String {
        format!("{}/{runtime}-{case}/container", self.cgroup)
    }
}

/// One container of one runtime.
struct Container<'a> {
    view: View,
    launcher: PathBuf,
    folder: &'a Path,
    id: String,
}

/// What a command did.
struct Ended {
    status: Option<ExitStatus>,
    message: String,
}

impl Ended {
    fn good(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }
}

/// Run the case; the answer is an object with `outcome`, `outside`, `state`, `report`.
pub(crate) fn observe(case: &Case, runtime: &Runtime, folder: &Path, setting: &Setting) -> Result<Value> {
    let cgroup = setting.cgroup_of(runtime.name, case.name);
    bundle::write(case, folder, &cgroup, setting.probe, setting.holder)?;
    let process = folder.join("process.json");
    fs::write(&process, process_file().to_string()).at("write", &process)?;
    let launcher = runtime.launcher(folder)?;
    let id = format!("matrix-{}-{}", runtime.name, case.name);
    let container = Container { view: View::open(runtime)?, launcher, folder, id };
    let seen = if case.run { container.foreground(case)? } else { container.life(case)? };
    runtime.sweep(&container.launcher, &folder.join("root"));
    Ok(seen)
}

impl Container<'_> {
    fn life(&self, case: &Case) -> Result<Value> {
        let mut seen = BTreeMap::new();
        let mut outcome = BTreeMap::new();
        let bundle = self.folder.display().to_string();
        let pid_file = self.folder.join("pid").display().to_string();
        let created = self.run("create", &["--bundle", &bundle, "--pid-file", &pid_file, &self.id])?;
        outcome.insert("create", verdict(&created));
        if created.good() {
            let pid = text_of(&self.folder.join("pid"));
            seen.insert("state", self.state(&pid)?);
            seen.insert("outside", cgroups::limits(&pid));
            let started = self.run("start", &[&self.id])?;
            outcome.insert("start", verdict(&started));
            if started.good() {
                let report = match &case.exec {
                    Some(arguments) => self.exec(arguments, &mut outcome)?,
                    None => self.wait(&pid, &mut outcome),
                };
                seen.insert("report", report);
            }
            // A container that waits, or did not start, goes the hard way.
            let force = !started.good() || case.exec.is_some();
            let arguments: &[&str] = if force { &["--force", &self.id] } else { &[&self.id] };
            outcome.insert("delete", verdict(&self.run("delete", arguments)?));
            seen.insert("left", cgroups::remains(&text_of(&self.folder.join("cgroups"))));
            seen.insert(
                "hooks",
                json!(text_of(&self.folder.join("rootfs/data/hooks")).lines().collect::<Vec<_>>()),
            );
        }
        seen.insert("outcome", json!(outcome));
        Ok(json!(seen))
    }

    /// `run` in the foreground; with a terminal under script(1), which gives the runtime one too.
    fn foreground(&self, case: &Case) -> Result<Value> {
        let bundle = self.folder.display().to_string();
        let ended = if case.patch.pointer("/process/terminal") == Some(&json!(true)) {
            let script = format!("'{}' run --bundle '{bundle}' '{}'", self.launcher.display(), self.id);
            self.launch("run", Path::new("script"), &["-qec", &script, "/dev/null"])?
        } else {
            self.run("run", &["--bundle", &bundle, &self.id])?
        };
        let status = json!(ended.status.and_then(|status| status.code()));
        let left = self.run("state", &[&self.id])?.good();
        Ok(
            json!({"outcome": {"run status": status, "left": left}, "report": report(&text_of(&self.folder.join("run.out")))}),
        )
    }

    /// Run a runtime command; its output goes to files named after it, which a container's process inherits.
    fn run(&self, verb: &str, arguments: &[&str]) -> Result<Ended> {
        let arguments: Vec<&str> = std::iter::once(verb).chain(arguments.iter().copied()).collect();
        self.launch(verb, &self.launcher, &arguments)
    }

    fn launch(&self, verb: &str, program: &Path, arguments: &[&str]) -> Result<Ended> {
        let (out, err) = (self.folder.join(format!("{verb}.out")), self.folder.join(format!("{verb}.err")));
        let mut command = self.view.command(self.folder, program);
        command.args(arguments);
        command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command
            .stdout(fs::File::create(&out).at("create", &out)?)
            .stderr(fs::File::create(&err).at("create", &err)?);
        // Not /dev/null: a runtime may change the owner of what it inherits, and that one belongs to the
        // machine.
        let nothing = self.folder.join("nothing");
        fs::write(&nothing, "").at("write", &nothing)?;
        command.stdin(fs::File::open(&nothing).at("open", &nothing)?);
        let status = command::run(&mut command, LIMIT)?;
        Ok(Ended { status, message: text_of(&err) })
    }

    fn state(&self, pid: &str) -> Result<Value> {
        self.run("state", &[&self.id])?;
        let text = text_of(&self.folder.join("state.out"));
        let state: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        fs::write(self.folder.join("cgroups"), text_of(Path::new(&format!("/proc/{pid}/cgroup"))))
            .at("write", self.folder)?;
        let field = |name: &str| state.get(name).cloned().unwrap_or(Value::Null);
        Ok(json!({
            "status": field("status"), "annotations": field("annotations"),
            "id is right": field("id") == json!(self.id), "pid is right": field("pid").as_u64() == pid.parse().ok(),
            "bundle is right": field("bundle") == json!(self.folder),
        }))
    }

    /// The probe as second process.
    fn exec(&self, arguments: &[&str], outcome: &mut BTreeMap<&str, Value>) -> Result<Value> {
        let bundle = self.folder.display().to_string();
        let arguments: Vec<String> =
            arguments.iter().map(|text| text.replace("$ID", &self.id).replace("$BUNDLE", &bundle)).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let ended = self.run("exec", &arguments)?;
        outcome.insert("exec", verdict(&ended));
        outcome.insert("exec status", json!(ended.status.and_then(|status| status.code())));
        Ok(report(&text_of(&self.folder.join("exec.out"))))
    }

    /// The probe as the container's process: wait until it has gone.
    fn wait(&self, pid: &str, outcome: &mut BTreeMap<&str, Value>) -> Value {
        let start = Instant::now();
        while !gone(pid) {
            if start.elapsed() > LIMIT {
                outcome.insert("end", json!("it does not end"));
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        report(&text_of(&self.folder.join("create.out")))
    }
}

/// A process that is no more, or waits only for being reaped.
fn gone(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z') || rest.starts_with('X'))
}

/// What the probe printed: one line, before or after which a runtime may have written a warning. A terminal
/// also echoes what script(1) sends to it.
fn report(text: &str) -> Value {
    let text = text.replace("^@", "");
    let start = text.find("{\"args0\"").unwrap_or(text.len());
    let json = text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
    serde_json::from_str(json).unwrap_or_else(|_| json!({"nothing": text}))
}

/// `ok`, or that it failed; what it said is kept apart, because every runtime has its own words.
fn verdict(ended: &Ended) -> Value {
    match (ended.good(), ended.status) {
        (true, _) => json!("ok"),
        (false, Some(_)) => json!({"failed": true, "message": ended.message.trim()}),
        (false, None) => json!("it does not end"),
    }
}
