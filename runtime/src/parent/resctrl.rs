//! `linux.intelRdt`: cache and memory bandwidth, by directories of resctrl (Documentation/filesystems/resctrl.rst).

use super::error::{Error, Result, file_error};
use crate::spec::IntelRdt;
use nix::sys::statfs::{FsType, statfs};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Where resctrl is mounted on every host that has it.
const ROOT: &str = "/sys/fs/resctrl";
/// `RDTGROUP_SUPER_MAGIC` of `linux/magic.h`.
const MAGIC: FsType = FsType(0x0765_5821);

/// The groups made for a container: a class of service, or a monitoring group in one that stays.
pub type Groups = (Option<PathBuf>, Option<PathBuf>);

/// Whether this host has resctrl.
#[must_use]
pub fn available() -> bool {
    statfs(ROOT).is_ok_and(|stat| stat.filesystem_type() == MAGIC)
}

/// Whether a container's class of service can be; its name.
///
/// # Errors
/// This host has no resctrl, or the name is not one.
pub fn check<'a>(wanted: Option<&'a IntelRdt>, id: &'a str) -> Result<&'a str> {
    let Some(wanted) = wanted else { return Ok(id) };
    if !available() {
        return Err(Error::Other(format!("linux.intelRdt: this host has no resctrl mounted at {ROOT}")));
    }
    let name = if wanted.clos_id.is_empty() { id } else { &wanted.clos_id };
    if name != "/" && (name.contains('/') || name == "." || name == "..") {
        return Err(Error::Other(format!("linux.intelRdt.closID: {name:?} is not the name of a directory")));
    }
    Ok(name)
}

/// Puts the process `pid` of the container `id` into its class of service, which is made if it is not there.
///
/// # Errors
/// This host has no resctrl, the class does not exist or does not match, the kernel refuses a schema.
pub fn apply(wanted: Option<&IntelRdt>, id: &str, pid: i32) -> Result<Groups> {
    let Some(wanted) = wanted else { return Ok(Groups::default()) };
    let name = check(Some(wanted), id)?;
    let group = if name == "/" { PathBuf::from(ROOT) } else { Path::new(ROOT).join(name) };
    let lines = schemata(wanted);
    let made = match fs::create_dir(&group) {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
        Err(error) => return Err(file_error("linux.intelRdt: create", &group)(error)),
    };
    let own = (made && wanted.clos_id.is_empty()).then(|| group.clone());
    let outcome = fill(&group, &lines, wanted, id, pid, made);
    if outcome.is_err() && made {
        let _ = fs::remove_dir(&group);
    }
    let monitor = outcome?.filter(|_| own.is_none());
    Ok((own, monitor))
}

fn fill(
    group: &Path,
    lines: &[String],
    wanted: &IntelRdt,
    id: &str,
    pid: i32,
    made: bool,
) -> Result<Option<PathBuf>> {
    if !lines.is_empty() {
        let file = group.join("schemata");
        if made || wanted.clos_id.is_empty() {
            let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
            fs::write(&file, text).map_err(file_error("linux.intelRdt: write", &file))?;
        } else {
            // Somebody else's class: it must be what is asked for, not become it.
            let found = fs::read_to_string(&file).map_err(file_error("linux.intelRdt: read", &file))?;
            if let Some(line) =
                lines.iter().find(|line| !found.lines().any(|other| other.trim() == line.trim()))
            {
                return Err(Error::Other(format!(
                    "linux.intelRdt: {} does not have {line:?}",
                    file.display()
                )));
            }
        }
    }
    let tasks = group.join("tasks");
    fs::write(&tasks, pid.to_string()).map_err(file_error("linux.intelRdt: write", &tasks))?;
    if !wanted.enable_monitoring {
        return Ok(None);
    }
    let monitor = group.join("mon_groups").join(id);
    fs::create_dir(&monitor).map_err(file_error("linux.intelRdt.enableMonitoring: create", &monitor))?;
    let tasks = monitor.join("tasks");
    if let Err(error) = fs::write(&tasks, pid.to_string()) {
        let _ = fs::remove_dir(&monitor);
        return Err(file_error("linux.intelRdt.enableMonitoring: write", tasks)(error));
    }
    Ok(Some(monitor))
}

fn schemata(wanted: &IntelRdt) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for text in [&wanted.l3_cache_schema, &wanted.mem_bw_schema].into_iter().chain(&wanted.schemata) {
        lines.extend(text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned));
    }
    lines
}
