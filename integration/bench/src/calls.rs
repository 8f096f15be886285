//! Which system calls a create makes, beside those of the floor and the others.

use crate::series::Row;
use std::collections::BTreeSet;
use std::fmt::Write;

const HOW: &str = "
## System calls of a create, as Docker has it

The floor's are what the kernel wants for such a container: each mount in one call or two, each capability that is dropped
in one, each hierarchy of version 1 in five and more. What Corten makes beyond them:

- it maps itself anew from a file that nobody can write to (CVE-2019-5736), below an overlay made for it, and tells the kernel
  so: `fsopen`, `fsconfig`, `fsmount`, `openat`, `newfstatat`, `mmap`, `prctl`;
- every place in the image's root is opened by `openat2` and mounted on by its descriptor, not by its name: what has to be in hand
  for that is mounted where nobody else can reach, opened (`openat`) and moved there (`move_mount`; CVE-2021-30465,
  CVE-2025-31133, CVE-2025-52565);
- cgroups are noted before they are made, so that `delete --force` finds them after a crash (`write`);
- it reads a configuration and writes the records that later commands start from (`openat`, `read`, `write`).

Where the machine has version 2 alone there are fewer ([RESULTS-v2.md](RESULTS-v2.md)).

";

/// Case and part of a create.
pub(crate) const CREATE: (&str, &str) = ("life", "create");

/// The table, one row a system call, and what of it is the `hierarchies`' of version 1; empty when nothing was counted.
pub(crate) fn table(rows: &[Row], hierarchies: &[String]) -> String {
    let creates: Vec<_> = rows
        .iter()
        .filter(|row| (row.case, row.part) == CREATE)
        .filter_map(|row| Some((&row.who, row.counted.as_ref()?)))
        .collect();
    let Some((_, ours)) = creates.first() else {
        return String::new();
    };
    let count = |counted: &crate::measure::Counted, call| counted.by_call.get(&call).copied().unwrap_or(0);
    let all: BTreeSet<i64> =
        creates.iter().flat_map(|(_, counted)| counted.by_call.keys().copied()).collect();
    let mut calls: Vec<i64> = all.into_iter().collect();
    calls.sort_by_key(|call| std::cmp::Reverse(count(ours, *call)));
    let mut text = String::from(HOW);
    let names: String = creates.iter().fold(String::new(), |text, (who, _)| text + " " + who + " |");
    writeln!(text, "| |{names}\n|---|{}", "--:|".repeat(creates.len())).unwrap();
    for call in calls {
        write!(text, "| {} |", integration::trace::name(call)).unwrap();
        for (_, counted) in &creates {
            write!(text, " {} |", count(counted, call)).unwrap();
        }
        text.push('\n');
    }
    if !hierarchies.is_empty() {
        let (count, calls) = (hierarchies.len(), hierarchies.join("\n"));
        write!(
            text,
            "\n### Those for control groups of version 1\n
As strace(1) has seen them in the floor, up to where the container's program begins: {count} calls for {shown} hierarchies,
of the floor's and of everybody's. In each a directory is made, its `tasks` opened and written to, and what the container sees
of it has a place made and is mounted there; `cpuset` wants its processors and memory nodes, `devices` a line a rule.\n
```text\n{calls}\n```\n",
            shown = hierarchies.iter().filter(|call| call.contains("/tasks\"")).count(),
        )
        .unwrap();
    }
    text
}
