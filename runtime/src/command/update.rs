//! `update`: other limits for a container that lives, all of them or none.

use super::{Command, CommandError, Context, only_id};
use crate::cgroup::Cgroup;
use crate::cli::{Parsed, UsageError, value};
use crate::spec::{BlockIo, Cpu, DeviceRule, Memory, Objects, Pids, Resources};
use crate::state::{self, StateDir, Status};
use crate::sys;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// The largest file of resources that is read, in bytes.
const MAX_RESOURCES: u64 = 16 << 20;

/// `update`.
pub const UPDATE: Command = Command {
    name: "update",
    arguments: "ID",
    about: "change the limits and device rules of a container",
    flags: &[
        value(
            "resources",
            "r",
            "FILE",
            "read them from FILE, or - for standard input, as linux.resources of config.json has them; other flags are ignored",
        ),
        value("blkio-weight", "", "N", "share of block I/O, 10 to 1000"),
        value("cpu-period", "", "USEC", "period of the processor quota"),
        value("cpu-quota", "", "USEC", "processor time in a period; -1: no limit"),
        value("cpu-burst", "", "USEC", "time that may be saved up beyond the quota"),
        value("cpu-share", "", "N", "share of processor time, 2 to 262144 (default 1024)"),
        value("cpu-rt-period", "", "USEC", "period of the realtime quota (cgroup v1)"),
        value("cpu-rt-runtime", "", "USEC", "realtime processor time in a period (cgroup v1)"),
        value("cpu-idle", "", "0|1", "1: run only when nobody else wants to"),
        value("cpuset-cpus", "", "LIST", "processors, as in 0-3,7"),
        value("cpuset-mems", "", "LIST", "memory nodes"),
        value("memory", "", "BYTES", "memory, as in 512m; -1: no limit"),
        value("memory-reservation", "", "BYTES", "memory that is kept for it when memory is short"),
        value("memory-swap", "", "BYTES", "memory and swap together; -1: no limit"),
        value("kernel-memory", "", "BYTES", "kernel memory (cgroup v1 before Linux 5.16)"),
        value("kernel-memory-tcp", "", "BYTES", "kernel memory of TCP buffers (cgroup v1)"),
        value("pids-limit", "", "N", "processes and threads; -1: no limit"),
        value("l3-cache-schema", "", "SCHEMA", "Intel RDT: parts of the L3 cache"),
        value("mem-bw-schema", "", "SCHEMA", "Intel RDT: memory bandwidth"),
        value(
            "device-rule",
            "",
            "RULE",
            "\"allow c 10:200 rw\" or \"deny b 8:* w\"; may stand several times, the last word counts",
        ),
    ],
    run: update,
    enters: false,
};

fn update(context: &Context, parsed: &Parsed) -> Result<i32, CommandError> {
    let dir = StateDir::open(&context.root, only_id("update", parsed)?)?;
    let resources = match parsed.text("resources")? {
        None | Some("") => from_flags(parsed)?,
        Some("-") => from_reader("standard input", &mut std::io::stdin().lock())?,
        Some(path) => {
            let mut file = File::open(path)
                .map_err(|error| CommandError::other(format!("open {path}: {}", sys::io_reason(&error))))?;
            from_reader(path, &mut file)?
        }
    };
    let schemata = schemata(parsed)?;
    let (_lock, mut record) = dir.lock_made()?;
    if state::status(&dir, &record)? == Status::Stopped {
        return Err(CommandError::other("container not running"));
    }
    let held = record.cgroup.clone().unwrap_or_default();
    let mut cgroup = Cgroup::open(&held)?;
    let before = Schemata::change(record.resctrl.as_deref(), &schemata)?;
    if let Err(error) = cgroup.update(&resources) {
        before.restore();
        return Err(error.into());
    }
    for warning in cgroup.warnings() {
        context.log.warn(warning);
    }
    let now = cgroup.record();
    if now != held {
        record.cgroup = Some(now);
        dir.write_record(&record)?;
    }
    Ok(0)
}

/// Reads resources as JSON. As in Go's decoder, what follows the first value is not looked at.
fn from_reader(name: &str, reader: &mut dyn Read) -> Result<Resources, CommandError> {
    let mut bytes = Vec::new();
    let failed = |error: &dyn std::fmt::Display| CommandError::other(format!("{name}: {error}"));
    reader
        .take(MAX_RESOURCES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| failed(&sys::io_reason(&error)))?;
    if bytes.len() as u64 > MAX_RESOURCES {
        return Err(failed(&format_args!("more than {MAX_RESOURCES} bytes")));
    }
    let mut reader = serde_json::Deserializer::from_slice(&bytes);
    serde_path_to_error::deserialize(Objects(&mut reader))
        .map_err(|error| failed(&format_args!("{}: {}", error.path(), error.inner())))
}

fn from_flags(parsed: &Parsed) -> Result<Resources, CommandError> {
    let text = |name| Ok::<_, UsageError>(parsed.text(name)?.filter(|text| !text.is_empty()));
    let unsigned = |name| match text(name)? {
        Some(_) => parsed.number::<u64>(name),
        None => Ok(None),
    };
    let signed = |name| match text(name)? {
        Some(_) => parsed.number::<i64>(name),
        None => Ok(None),
    };
    let memory = |name| text(name)?.map(|text| bytes(name, text)).transpose();
    let weight = parsed.number::<u16>("blkio-weight")?.filter(|weight| *weight != 0);
    Ok(Resources {
        memory: Some(Memory {
            limit: memory("memory")?,
            reservation: memory("memory-reservation")?,
            swap: memory("memory-swap")?,
            kernel: memory("kernel-memory")?,
            kernel_tcp: memory("kernel-memory-tcp")?,
            ..Memory::default()
        })
        .filter(|memory| *memory != Memory::default()),
        cpu: Some(Cpu {
            shares: unsigned("cpu-share")?,
            quota: signed("cpu-quota")?,
            burst: unsigned("cpu-burst")?,
            period: unsigned("cpu-period")?,
            realtime_runtime: signed("cpu-rt-runtime")?,
            realtime_period: unsigned("cpu-rt-period")?,
            cpus: text("cpuset-cpus")?.unwrap_or_default().to_owned(),
            mems: text("cpuset-mems")?.unwrap_or_default().to_owned(),
            idle: signed("cpu-idle")?,
        })
        .filter(|cpu| *cpu != Cpu::default()),
        pids: parsed.number::<i64>("pids-limit")?.map(|limit| Pids { limit: Some(limit) }),
        block_io: weight.map(|weight| BlockIo { weight: Some(weight), ..BlockIo::default() }),
        devices: parsed.texts("device-rule")?.into_iter().map(device_rule).collect::<Result<_, _>>()?,
        ..Resources::default()
    })
}

/// A number of bytes as Docker's tools read it: `512`, `512m`, `1.5G`, `2GiB`; -1 is no limit.
fn bytes(flag: &'static str, text: &str) -> Result<i64, UsageError> {
    const UNITS: &[u8] = b"kmgtp";
    let wrong = || UsageError::BadValue {
        flag,
        value: text.to_owned(),
        expected: "a number of bytes such as 512m, or -1",
    };
    if text == "-1" {
        return Ok(-1);
    }
    let lower = text.to_ascii_lowercase();
    let bare = lower.strip_suffix('b').unwrap_or(&lower);
    let bare = bare.strip_suffix('i').unwrap_or(bare);
    let unit = bare.bytes().last().and_then(|last| UNITS.iter().position(|unit| *unit == last));
    let (number, shift) = match unit {
        Some(position) => (&bare[..bare.len() - 1], 10 * (position + 1)),
        // "5i" is no number.
        None if bare.len() < lower.trim_end_matches('b').len() => return Err(wrong()),
        None => (bare, 0),
    };
    let number = number.trim_end_matches(' ');
    let plain = number.starts_with(|c: char| c.is_ascii_digit())
        && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if !plain {
        return Err(wrong());
    }
    if let Ok(whole) = number.parse::<i64>() {
        return whole.checked_mul(1 << shift).ok_or_else(wrong);
    }
    match number.parse::<f64>() {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            reason = "the range is checked"
        )]
        Ok(fraction) if fraction * ((1u64 << shift) as f64) < 9e18 => {
            Ok((fraction * ((1u64 << shift) as f64)) as i64)
        }
        _ => Err(wrong()),
    }
}

/// `allow|deny TYPE MAJOR:MINOR ACCESS`, with `*` for any number.
fn device_rule(text: &str) -> Result<DeviceRule, UsageError> {
    let wrong = || UsageError::BadValue {
        flag: "device-rule",
        value: text.to_owned(),
        expected: "\"allow c 10:200 rwm\" or \"deny b 8:* w\"",
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    let [verb, kind, numbers, access] = words[..] else { return Err(wrong()) };
    let allow = match verb {
        "allow" => true,
        "deny" => false,
        _ => return Err(wrong()),
    };
    let (major, minor) = numbers.split_once(':').ok_or_else(wrong)?;
    let number = |word: &str| match word {
        "*" => Ok(None),
        word => word.parse::<u32>().map(|number| Some(i64::from(number))).map_err(|_| wrong()),
    };
    Ok(DeviceRule {
        allow,
        kind: kind.to_owned(),
        major: number(major)?,
        minor: number(minor)?,
        access: access.to_owned(),
    })
}

/// The lines for the container's resctrl group.
fn schemata(parsed: &Parsed) -> Result<String, CommandError> {
    let mut lines = String::new();
    for name in ["l3-cache-schema", "mem-bw-schema"] {
        if let Some(schema) = parsed.text(name)?.filter(|schema| !schema.is_empty()) {
            lines.push_str(schema.trim_end());
            lines.push('\n');
        }
    }
    Ok(lines)
}

/// What a resctrl group had before.
struct Schemata<'a>(Option<(&'a Path, String)>);

impl<'a> Schemata<'a> {
    fn change(group: Option<&'a Path>, lines: &str) -> Result<Self, CommandError> {
        if lines.is_empty() {
            return Ok(Self(None));
        }
        let Some(group) = group else {
            return Err(CommandError::other(
                "updating a non-existent Intel RDT configuration is not supported",
            ));
        };
        let file = group.join("schemata");
        let failed = |what: &str, error: std::io::Error| {
            CommandError::other(format!(
                "linux.intelRdt: {what} {}: {}",
                file.display(),
                sys::io_reason(&error)
            ))
        };
        let before = fs::read_to_string(&file).map_err(|error| failed("read", error))?;
        fs::write(&file, lines).map_err(|error| failed("write", error))?;
        Ok(Self(Some((group, before))))
    }

    fn restore(&self) {
        if let Some((group, before)) = &self.0 {
            let _ = fs::write(group.join("schemata"), before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Flags, parse};

    fn flags(args: &[&str]) -> Result<Resources, CommandError> {
        from_flags(&parse(&[UPDATE.flags], Flags::Anywhere, args.iter().map(Into::into))?)
    }

    #[test]
    fn flags_become_resources() {
        let found = flags(&[
            "--memory=512m",
            "--memory-swap",
            "-1",
            "--memory-reservation",
            "1.5g",
            "--cpu-share",
            "512",
            "--cpu-quota=-1",
            "--cpuset-cpus",
            "0-1",
            "--pids-limit=-1",
            "--blkio-weight",
            "500",
            "--device-rule",
            "allow c 10:200 rw",
            "--device-rule=deny b 8:* w",
        ])
        .unwrap();
        let want: Resources = serde_json::from_str(
            r#"{"memory": {"limit": 536870912, "swap": -1, "reservation": 1610612736},
                "cpu": {"shares": 512, "quota": -1, "cpus": "0-1"}, "pids": {"limit": -1},
                "blockIO": {"weight": 500},
                "devices": [{"allow": true, "type": "c", "major": 10, "minor": 200, "access": "rw"},
                            {"allow": false, "type": "b", "major": 8, "access": "w"}]}"#,
        )
        .unwrap();
        assert_eq!(found, want);
        assert_eq!(flags(&[]).unwrap(), Resources::default());
        // Empty values are what scripts pass for "nothing".
        assert_eq!(flags(&["--memory=", "--cpu-quota=", "--cpuset-cpus="]).unwrap(), Resources::default());
    }

    #[test]
    fn sizes() {
        for (text, want) in [
            ("0", 0),
            ("512", 512),
            ("512b", 512),
            ("1k", 1024),
            ("1KB", 1024),
            ("1 KiB", 1024),
            ("2m", 2 << 20),
            ("1.5G", 3 << 29),
            ("1t", 1 << 40),
            ("-1", -1),
        ] {
            assert_eq!(bytes("memory", text).unwrap(), want, "{text}");
        }
        for text in ["", "m", "-5", "5x", "5i", "1,5m", ".5m", "99999999999p", "0x10", "1e3", "infinity"] {
            assert!(bytes("memory", text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for args in [
            ["--memory", "lots"],
            ["--cpu-share", "-1"],
            ["--pids-limit", "many"],
            ["--device-rule", "c 10:200 rw"],
            ["--device-rule", "allow c 10 rw"],
        ] {
            assert!(flags(&args).is_err(), "{args:?}");
        }
    }

    #[test]
    fn resources_from_a_stream() {
        let read = |text: &str| from_reader("standard input", &mut text.as_bytes());
        let found = read("{\"pids\": {\"limit\": 5}, \"memory\": null}\n{}").unwrap();
        assert_eq!(found.pids.and_then(|pids| pids.limit), Some(5));
        for (text, problem) in [
            ("", ".: EOF while parsing a value"),
            ("{", "?: EOF while parsing an object"),
            ("[]", ".: invalid type: sequence, expected an object"),
            ("{\"pids\": 5}", "pids: invalid type: integer `5`, expected an object"),
            ("{\"pids\": [5]}", "pids: invalid type: sequence, expected an object"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("standard input: {problem}")), "{error}");
        }
    }
}
