//! `exec`: one more process in a running container.

use super::{Command, CommandError, Context};
use crate::cli::{Parsed, UsageError, switch, value};
use crate::parent::exec::{self, Options};
use crate::parent::{Error, foreground};
use crate::plan::capabilities;
use crate::spec::{self, Capabilities, Process};
use crate::sys::process;
use crate::weak;
use std::os::fd::AsFd;

/// The exit status when the process could not be run, as runc's.
const EXEC_FAILED: i32 = 255;

/// `exec`.
pub const EXEC: Command = Command {
    name: "exec",
    arguments: "ID COMMAND [ARGUMENTS] | --process FILE ID",
    about: "run another process in a container",
    flags: &[
        value("console-socket", "", "SOCKET", "send the master of the terminal to this socket"),
        value("pidfd-socket", "", "SOCKET", "send a pidfd of the process to this socket"),
        value("cwd", "", "DIR", "the working directory in the container"),
        value("env", "e", "NAME=VALUE", "add to the environment; may be repeated"),
        switch("tty", "t", "give the process a terminal"),
        value("user", "u", "UID[:GID]", "the user to run as"),
        value("additional-gids", "g", "GID", "an additional group; may be repeated"),
        value("process", "p", "FILE", "take everything from FILE, the JSON of a process"),
        switch("detach", "d", "do not wait for the process"),
        value("pid-file", "", "FILE", "write the number of the process to FILE"),
        value("process-label", "", "LABEL", "the SELinux label of the process"),
        value("apparmor", "", "PROFILE", "the AppArmor profile of the process"),
        switch("no-new-privs", "", "the process can gain no privileges"),
        value("cap", "c", "CAPABILITY", "add a capability; may be repeated"),
        value("preserve-fds", "", "N", "pass N descriptors after standard error on to the process"),
        value("cgroup", "", "[CONTROLLERS:]PATH", "a control group below the container's; may be repeated"),
        switch("ignore-paused", "", "into a paused container too; the process waits until that is resumed"),
        switch("no-subreaper", "", "accepted as in runc, where it was for nothing as well"),
    ],
    run: |context, parsed| {
        run(context, parsed).map_err(|error| match error {
            CommandError::Usage(error) => CommandError::Usage(error),
            error => CommandError::Status { message: format!("exec failed: {error}"), status: EXEC_FAILED },
        })
    },
    enters: true,
};

fn run(context: &Context, parsed: &Parsed) -> Result<i32, CommandError> {
    let words = parsed.words()?;
    let Some((id, command)) = words.split_first() else {
        return Err(UsageError::Arguments { command: "exec", expected: "at least 1" }.into());
    };
    let options = Options {
        console_socket: parsed.path("console-socket"),
        pidfd_socket: parsed.path("pidfd-socket"),
        pid_file: super::pid_file(parsed)?,
        preserve_fds: context.preserved.asked,
        cgroups: parsed.texts("cgroup")?.into_iter().map(str::to_owned).collect(),
        ignore_paused: parsed.on("ignore-paused")?,
        foreground: !parsed.on("detach")?,
    };
    let target = exec::target(&context.root, id, options.ignore_paused)?;
    let wanted = match parsed.path("process") {
        Some(path) => from_file(&path, &target.defaults.process)?,
        None => from_flags(parsed, command, target.defaults.process.clone())?,
    };
    // The new process has a copy of this one's arguments for a moment, and others in the container see it.
    if !weak::off("arguments") {
        process::hide_arguments(&parsed.texts("env")?);
    }
    let signals = options.foreground.then(foreground::hold_signals).transpose()?;
    let running = exec::exec(&target, &wanted, &options, &context.log)?;
    match &signals {
        None => Ok(0),
        Some(signals) => Ok(foreground::wait(running.pid, running.pidfd.as_fd(), running.console, signals)?),
    }
}

/// A process from a file; what it leaves out of its rights and of its priority is the container's. It would be the caller's
/// otherwise: an engine that the kernel is to spare, say.
fn from_file(path: &std::path::Path, container: &Process) -> Result<Process, CommandError> {
    let mut process = spec::load::process(path).map_err(Error::Load)?;
    inherit(&mut process.capabilities, &container.capabilities);
    inherit(&mut process.user.umask, &container.user.umask);
    inherit(&mut process.oom_score_adj, &container.oom_score_adj);
    inherit(&mut process.scheduler, &container.scheduler);
    inherit(&mut process.io_priority, &container.io_priority);
    inherit(&mut process.exec_cpu_affinity, &container.exec_cpu_affinity);
    if process.rlimits.is_empty() {
        process.rlimits.clone_from(&container.rlimits);
    }
    for (own, inherited) in [
        (&mut process.apparmor_profile, &container.apparmor_profile),
        (&mut process.selinux_label, &container.selinux_label),
    ] {
        if own.is_empty() {
            own.clone_from(inherited);
        }
    }
    Ok(process)
}

fn inherit<T: Clone>(own: &mut Option<T>, container: &Option<T>) {
    if own.is_none() {
        own.clone_from(container);
    }
}

/// The container's own process, with other arguments and what the flags change.
fn from_flags(parsed: &Parsed, command: &[&str], mut process: Process) -> Result<Process, CommandError> {
    if command.is_empty() {
        return Err(CommandError::other("exec args cannot be empty: say after the id what to run"));
    }
    process.args = command.iter().map(|word| (*word).to_owned()).collect();
    process.terminal = parsed.on("tty")?;
    // An empty one is what scripts pass for the container's own.
    if let Some(cwd) = parsed.text("cwd")?.filter(|cwd| !cwd.is_empty()) {
        cwd.clone_into(&mut process.cwd);
    }
    if let Some(profile) = parsed.text("apparmor")? {
        profile.clone_into(&mut process.apparmor_profile);
    }
    if let Some(label) = parsed.text("process-label")? {
        label.clone_into(&mut process.selinux_label);
    }
    if parsed.raw("no-new-privs").is_some() {
        process.no_new_privileges = parsed.on("no-new-privs")?;
    }
    process.env.extend(parsed.texts("env")?.into_iter().map(str::to_owned));
    let added = parsed.texts("cap")?;
    if !added.is_empty() {
        add_capabilities(process.capabilities.get_or_insert_default(), &added);
    }
    if let Some(user) = parsed.text("user")? {
        let (uid, gid) = self::user(user).map_err(|error| CommandError::other(error.to_string()))?;
        process.user.uid = uid;
        if let Some(gid) = gid {
            process.user.gid = gid;
        }
    }
    for gid in parsed.texts("additional-gids")? {
        process.user.additional_gids.push(id("additional-gids", gid)?);
    }
    Ok(process)
}

/// To the bounding, effective and permitted sets, and never to the inheritable one (CVE-2022-29162). One that is not known
/// is left to the plan, which warns of it.
fn add_capabilities(sets: &mut Capabilities, added: &[&str]) {
    for given in added {
        let known = capabilities::number(given).and_then(|number| capabilities::NAMES.get(number as usize));
        for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
            set.push((*known.unwrap_or(given)).to_owned());
        }
    }
}

/// `UID[:GID]`, digits alone (CVE-2026-30892: a user id that is read as another one).
fn user(text: &str) -> Result<(u32, Option<u32>), UsageError> {
    match text.split_once(':') {
        None => Ok((id("user", text)?, None)),
        Some((uid, gid)) => Ok((id("user", uid)?, Some(id("user", gid)?))),
    }
}

fn id(flag: &'static str, text: &str) -> Result<u32, UsageError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| digits && *number != u32::MAX);
    number.ok_or_else(|| UsageError::BadValue { flag, value: text.to_owned(), expected: "a numeric id" })
}

/// A user is read as the number that is written, or not at all.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz_user(text: &str) {
    if let Ok((uid, gid)) = user(text) {
        let same = |number: u32, text: &str| {
            text.trim_start_matches('0') == number.to_string().trim_start_matches('0')
        };
        let (first, second) =
            text.split_once(':').map_or((text, None), |(first, second)| (first, Some(second)));
        assert!(same(uid, first) && uid != u32::MAX, "{text:?} is {uid}");
        assert_eq!(gid.map(|gid| same(gid, second.unwrap_or_default())), second.map(|_| true), "{text:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbers_and_nothing_else() {
        for (text, expected) in [("1", (1, None)), ("01", (1, None)), ("5:6", (5, Some(6)))] {
            assert_eq!(user(text).expect(text), expected);
        }
        for text in ["", "1:", ":1", "+1", "-1", "4294967295", "4294967296", "1x", "root", "1:2:3", " 1"] {
            assert!(user(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn added_capabilities_are_not_inheritable() {
        let mut sets = Capabilities::default();
        add_capabilities(&mut sets, &["kill", "CAP_CHOWN", "nope"]);
        assert_eq!(sets.permitted, ["CAP_KILL", "CAP_CHOWN", "nope"]);
        assert!(sets.inheritable.is_empty() && sets.ambient.is_empty());
    }
}
