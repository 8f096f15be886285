//! What the floor's containers see beside what Corten's see: the floor may not be faster by leaving something
//! out.

use crate::contestant::Contestant;
use crate::ground::{Ground, Shape};
use std::collections::BTreeSet;
use std::process::Stdio;

/// What the container's process looks at.
const LOOK: &str = "\
while read -r _ _ _ root place options rest; do echo \"mount $place $root $options ${rest#*- }\"; done < /proc/self/mountinfo
grep -E '^(Seccomp|Cap|NoNewPrivs|Groups|Uid|Gid|NSpid)' /proc/self/status
grep -E 'open files' /proc/self/limits
ls -l /dev | while read -r mode links user group size time; do echo \"dev $mode $user $group ${time##*:}\"; done
while read -r line; do echo \"cgroup $line\"; done < /proc/self/cgroup
echo \"host name $(hostname), umask $(umask), directory $PWD, home $HOME\"
echo \"ping $(cat /proc/sys/net/ipv4/ping_group_range), score $(cat /proc/self/oom_score_adj)\"
cat /proc/net/dev | grep -c lo:
for ns in ipc mnt net pid uts user cgroup; do echo \"namespace $(readlink /proc/self/ns/$ns)\"; done
";

/// Whether the two see the same, for both shapes; true where one of them does not take part. What differs is
/// said.
pub(crate) fn same(ground: &Ground, contestants: &[Contestant]) -> bool {
    let floor = contestants.iter().find(|who| who.floor);
    let corten = contestants.iter().find(|who| who.name == "corten");
    let (Some(floor), Some(corten)) = (floor, corten) else { return true };
    let mut same = true;
    for shape in [Shape::Plain, Shape::Docker] {
        let one = sees(ground, corten, shape);
        let other = sees(ground, floor, shape);
        for (who, line) in one
            .difference(&other)
            .map(|line| ("corten", line))
            .chain(other.difference(&one).map(|line| ("floor", line)))
        {
            eprintln!("{}: only {who} sees: {line}", shape.name());
            same = false;
        }
        if same {
            eprintln!(
                "{}: containers of corten and of the floor see the same {} things",
                shape.name(),
                one.len()
            );
        }
    }
    same
}

fn sees(ground: &Ground, who: &Contestant, shape: Shape) -> BTreeSet<String> {
    let program = ["/bin/sh", "-c", LOOK];
    // The name is the same for both: it is a part of what is seen.
    ground.bundle("same", shape, &program, |_| {});
    let mut command = who.run(ground, "same", shape, &program);
    let output = command.stdout(Stdio::piped()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let own = |line: &str| {
        // A namespace is the host's, or one of its own: numbers differ.
        let Some(link) = line.strip_prefix("namespace ") else { return line.to_owned() };
        let kind = link.split(':').next().unwrap_or_default();
        let host = std::fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        format!(
            "namespace {kind} {}",
            if host.to_string_lossy() == link { "of the host" } else { "of its own" }
        )
    };
    text.lines().map(own).collect()
}
