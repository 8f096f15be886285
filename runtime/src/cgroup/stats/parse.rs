//! The formats of statistics files.

use super::super::dir::{Dir, parse_number};
use super::super::error::{Error, Result};
use super::{IoEntry, Pressure, Psi, Rdma};
use crate::sys::Errno;
use std::collections::BTreeMap;

/// `KEY VALUE` lines; lines of another form are left out.
pub(super) fn keyed(text: &str) -> BTreeMap<String, u64> {
    text.lines()
        .filter_map(|line| {
            let (key, value) = line.split_once(' ')?;
            Some((key.to_owned(), parse_number(value)?))
        })
        .collect()
}

/// Reads a file of `KEY VALUE` lines; empty when it is not there.
pub(super) fn keyed_file(dir: &Dir, name: &str) -> Result<BTreeMap<String, u64>> {
    Ok(keyed(&dir.optional(name)?.unwrap_or_default()))
}

/// The pressure in a `*.pressure` file; `None` where the kernel does not count it.
pub(super) fn psi(dir: &Dir, name: &str) -> Result<Option<Psi>> {
    let text = match dir.optional(name) {
        // PSI is compiled in but not switched on.
        Err(Error::Io { errno: Errno::EOPNOTSUPP, .. }) | Ok(None) => return Ok(None),
        text => text?.unwrap_or_default(),
    };
    let mut psi = Psi::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let pressure = match words.next() {
            Some("some") => &mut psi.some,
            Some("full") => &mut psi.full,
            _ => continue,
        };
        *pressure = pressure_of(words)
            .ok_or_else(|| Error::Content { path: dir.file(name), content: line.to_owned() })?;
    }
    Ok(Some(psi))
}

fn pressure_of<'a>(words: impl Iterator<Item = &'a str>) -> Option<Pressure> {
    let mut pressure = Pressure::default();
    for word in words {
        match word.split_once('=')? {
            ("avg10", value) => pressure.avg10 = value.parse().ok()?,
            ("avg60", value) => pressure.avg60 = value.parse().ok()?,
            ("avg300", value) => pressure.avg300 = value.parse().ok()?,
            ("total", value) => pressure.total = value.parse().ok()?,
            _ => {}
        }
    }
    Some(pressure)
}

/// `MAJOR:MINOR [OP] VALUE` lines of v1's blkio; the sum over all devices is left out.
pub(super) fn blkio(text: &str) -> Option<Vec<IoEntry>> {
    let mut entries = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split([' ', ':']).filter(|word| !word.is_empty()).collect();
        let (op, value) = match words.as_slice() {
            ["Total", _] => continue,
            [_, _, value] => ("", value),
            [_, _, op, value] => (*op, value),
            _ => return None,
        };
        let number = |text: &str| text.parse::<u64>().ok();
        entries.push(IoEntry {
            major: number(words[0])?,
            minor: number(words[1])?,
            op: op.to_owned(),
            value: number(value)?,
        });
    }
    Some(entries)
}

/// A list of numbers and ranges, `0-3,7`.
pub(super) fn list(text: &str) -> Option<Vec<u16>> {
    let mut numbers = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        numbers.extend(first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?);
    }
    Some(numbers)
}

/// The RDMA devices of a cgroup; the same on v1 and v2.
pub(super) fn rdma(dir: &Dir) -> Result<Vec<Rdma>> {
    let read = |name: &str| -> Result<BTreeMap<String, (u32, u32)>> {
        Ok(dir.optional(name)?.unwrap_or_default().lines().filter_map(rdma_line).collect())
    };
    let (current, limits) = (read("rdma.current")?, read("rdma.max")?);
    let devices = current.into_iter().map(|(device, current)| {
        let limit = limits.get(&device).copied().unwrap_or((u32::MAX, u32::MAX));
        Rdma { device, current, limit }
    });
    Ok(devices.collect())
}

fn rdma_line(line: &str) -> Option<(String, (u32, u32))> {
    let mut words = line.split_whitespace();
    let device = words.next()?.to_owned();
    let mut counts = (0, 0);
    for word in words {
        let (name, value) = word.split_once('=')?;
        let value = if value == "max" { u32::MAX } else { value.parse().ok()? };
        match name {
            "hca_handle" => counts.0 = value,
            "hca_object" => counts.1 = value,
            _ => {}
        }
    }
    Some((device, counts))
}

/// The sizes of huge pages that this kernel has, as cgroup files name them.
pub(super) fn huge_page_sizes() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/sys/kernel/mm/hugepages") else { return Vec::new() };
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut sizes: Vec<String> = names.filter_map(|name| page_size(&name)).collect();
    sizes.sort_unstable();
    sizes
}

/// `hugepages-2048kB` → `2MB`, as mm/hugetlb_cgroup.c names its files.
fn page_size(name: &str) -> Option<String> {
    let kilobytes: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
    Some(match kilobytes {
        0..1024 => format!("{kilobytes}KB"),
        1024..1_048_576 => format!("{}MB", kilobytes >> 10),
        _ => format!("{}GB", kilobytes >> 20),
    })
}

/// The part of [`crate::fuzz`] that looks inside of this module.
#[cfg(any(test, fuzzing))]
pub(in crate::cgroup) fn fuzz(text: &str) {
    assert!(keyed(text).len() <= text.lines().count());
    let _ = (blkio(text), list(text), page_size(text));
    for line in text.lines() {
        let _ = (rdma_line(line), pressure_of(line.split_whitespace()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        let read = keyed("anon 5\nfile max\nodd line here\n");
        assert_eq!(read.into_iter().collect::<Vec<_>>(), [("anon".into(), 5), ("file".into(), u64::MAX)]);
        assert_eq!(list("0-2,7\n"), Some(vec![0, 1, 2, 7]));
        assert_eq!(list("\n"), Some(vec![]));
        assert_eq!(list("x"), None);
        for (name, size) in [
            ("hugepages-64kB", Some("64KB")),
            ("hugepages-2048kB", Some("2MB")),
            ("hugepages-1048576kB", Some("1GB")),
            ("other", None),
        ] {
            assert_eq!(page_size(name).as_deref(), size);
        }
        assert_eq!(rdma_line("mlx5_0 hca_handle=2 hca_object=max"), Some(("mlx5_0".into(), (2, u32::MAX))));
    }

    #[test]
    fn blkio_lines() {
        let entries = blkio("8:0 Read 1024\n8:0 Total 1024\n8:16 7\nTotal 1024\n").unwrap();
        let short: Vec<_> = entries.iter().map(|e| (e.major, e.minor, e.op.as_str(), e.value)).collect();
        assert_eq!(short, [(8, 0, "Read", 1024), (8, 0, "Total", 1024), (8, 16, "", 7)]);
        assert!(blkio("rubbish\n").is_none());
    }

    #[test]
    fn pressure_lines() {
        let pressure = pressure_of("avg10=1.50 avg60=0.00 avg300=0.10 total=77".split(' ')).unwrap();
        assert_eq!(pressure, Pressure { avg10: 1.5, avg60: 0.0, avg300: 0.1, total: 77 });
        assert!(pressure_of(["avg10"].into_iter()).is_none());
    }
}
