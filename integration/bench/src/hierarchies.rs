//! What control groups of version 1 take of a start: a trace of the floor, which does no more there than the kernel wants.

use crate::contestant::Contestant;
use crate::ground::{Ground, Shape};
use std::fs;
use std::process::Command;

/// The floor's calls about control groups, up to where the container's program begins; empty where there is version 2 alone,
/// no floor, or no strace.
pub(crate) fn trace(ground: &Ground, contestants: &[Contestant]) -> Vec<String> {
    let legacy = ground.groups_of("").len() > 1;
    let Some(floor) = contestants.iter().find(|who| who.floor && legacy) else { return Vec::new() };
    let (id, program) = ("hierarchies", &["/bin/true"]);
    let (log, run) = (ground.directory.join("strace"), floor.run(ground, id, Shape::Docker, program));
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-qq", "-o"]).arg(&log).arg(run.get_program()).args(run.get_args());
    if !strace.status().is_ok_and(|status| status.success()) {
        return Vec::new();
    }
    let text = fs::read_to_string(&log).unwrap();
    let name = ground.directory.file_name().unwrap_or_default().to_string_lossy();
    let places = ground.directory.to_string_lossy();
    let begun = text.lines().take_while(|line| !line.contains("execve(\"/bin/true\""));
    // The first line is the command itself, with all groups as arguments; what another process has interrupted is on two.
    let calls = begun.skip(1).filter(|line| line.contains("fs/cgroup") && !line.contains("resumed>"));
    calls
        .map(|line| call(line).replace(&*places, "").replace(&*name, "bench").replace(id, "container"))
        .collect()
}

/// The call of a line, without pid and result, and without the name of the directory that a path begins in.
fn call(line: &str) -> String {
    let (_pid, call) = line.split_once(' ').unwrap_or(("", line));
    let end = call.find(" = ").or_else(|| call.find(" <unfinished")).unwrap_or(call.len());
    let (call, here) = (call[..end].trim(), "AT_FDCWD");
    match call
        .split_once(&format!("{here}<"))
        .and_then(|(begin, rest)| Some((begin, rest.split_once('>')?.1)))
    {
        Some((begin, rest)) => format!("{begin}{here}{rest}"),
        None => call.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_line_of_strace_is_shortened_to_its_call() {
        for (line, call) in [
            ("7 mkdir(\"/a\", 0755) = 0", "mkdir(\"/a\", 0755)"),
            ("7  openat(AT_FDCWD</work>, \"/a\", O_RDONLY) = 3</a>", "openat(AT_FDCWD, \"/a\", O_RDONLY)"),
            ("7 write(3</a>, \"0\", 1 <unfinished ...>", "write(3</a>, \"0\", 1"),
        ] {
            assert_eq!(super::call(line), call);
        }
    }
}
