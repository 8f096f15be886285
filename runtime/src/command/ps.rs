//! `ps`: the processes of a container.

use super::{Command, CommandError, Context, print};
use crate::cgroup::Cgroup;
use crate::cli::{Parsed, UsageError, value};
use crate::state::{self, Record, StateDir};

/// `ps`.
pub const PS: Command = Command {
    name: "ps",
    arguments: "ID [PS OPTIONS]",
    about: "list the processes of a container",
    flags: &[value("format", "f", "FORMAT", "table (default, by ps(1)) or json (an array of pids)")],
    run: ps,
    enters: false,
};

fn ps(context: &Context, parsed: &Parsed) -> Result<i32, CommandError> {
    let words = parsed.words()?;
    let Some((id, options)) = words.split_first() else {
        return Err(UsageError::Arguments { command: "ps", expected: "at least 1" }.into());
    };
    let dir = StateDir::open(&context.root, id)?;
    let record = dir.record()?;
    let cgroup = record.cgroup.as_ref().map(Cgroup::open).transpose()?.filter(|cgroup| !cgroup.is_none());
    let mut pids = match cgroup {
        Some(cgroup) => cgroup.processes()?,
        None => of_namespace(&record)?,
    };
    pids.sort_unstable();
    match parsed.text("format")? {
        Some("json") => {
            let text =
                serde_json::to_string(&pids).map_err(|error| CommandError::other(error.to_string()))?;
            print(&text)?;
        }
        None | Some("table") => print(&table(&pids, options)?)?,
        Some(other) => {
            return Err(CommandError::other(format!(
                "invalid format option {other:?}; expected table or json"
            )));
        }
    }
    Ok(0)
}

/// The processes of a container without a control group: the first one, and all that share its PID namespace, unless that
/// is the caller's.
fn of_namespace(record: &Record) -> Result<Vec<i32>, CommandError> {
    let Some(init) = state::init(record)? else { return Ok(Vec::new()) };
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let own = namespace(&init.pid.to_string()).filter(|own| namespace("self").as_ref() != Some(own));
    let Some(own) = own else { return Ok(vec![init.pid]) };
    let names = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let found = names.filter(|name| name.parse::<i32>().is_ok() && namespace(name).as_ref() == Some(&own));
    Ok(found.filter_map(|name| name.parse().ok()).collect())
}

/// What ps(1) says, restricted to `pids`.
fn table(pids: &[i32], options: &[&str]) -> Result<String, CommandError> {
    let options = if options.is_empty() { &["-ef"] } else { options };
    crate::sys::process::keep_ended_children();
    let output = std::process::Command::new("ps").args(options).output();
    let output =
        output.map_err(|error| CommandError::other(format!("run ps: {}", crate::sys::io_reason(&error))))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(CommandError::other(format!("ps {}: {}", options.join(" "), text.trim())));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default();
    let column = head.split_whitespace().position(|name| name == "PID");
    let column = column.ok_or_else(|| CommandError::other("couldn't find PID field in ps output"))?;
    let mut shown = format!("{head}\n");
    for line in lines {
        let pid: Option<i32> = line.split_whitespace().nth(column).and_then(|pid| pid.parse().ok());
        if pid.is_some_and(|pid| pids.binary_search(&pid).is_ok()) {
            shown.push_str(line);
            shown.push('\n');
        }
    }
    Ok(shown)
}
