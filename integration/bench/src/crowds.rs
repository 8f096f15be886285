//! Many containers: in a row, at once, and on a host with many mounts.

use crate::cases::{Case, Scene, TRUE, USUAL, whole};
use crate::ground::Shape;
use crate::measure::{self, Sample};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::Command;

/// How many commands run at a time.
const AT_ONCE: usize = 8;

/// Mounts on the host.
const MOUNTS: usize = 2000;

fn run_many(scene: &Scene<'_>) -> Vec<(&'static str, Sample)> {
    let ids = scene.names(200);
    let commands = ids.iter().map(|id| {
        scene.ground.bundle(id, Shape::Docker, TRUE, |_| {});
        scene.who.run(scene.ground, id, Shape::Docker, TRUE)
    });
    let commands: Vec<Command> = commands.collect();
    whole(measure::crowd(commands, AT_ONCE))
}

fn exec_many(scene: &Scene<'_>, at_once: usize) -> Vec<(&'static str, Sample)> {
    let commands = (0..100).map(|_| scene.exec(Shape::Docker)).collect();
    whole(measure::crowd(commands, at_once))
}

/// A hundred sleeping containers: the state of each, a signal to each, and the end of each.
fn hundred(scene: &Scene<'_>) -> Vec<(&'static str, Sample)> {
    let (ids, ground, who) = (scene.names(100), scene.ground, scene.who);
    for id in &ids {
        scene.sleeping(id, Shape::Docker);
    }
    let each = |command: &dyn Fn(&str) -> Command| {
        let samples = ids.iter().map(|id| measure::run(&mut command(id)));
        samples.fold(Sample::default(), Sample::and)
    };
    let states = each(&|id| who.simple(ground, "state", id, None));
    // To a process of PID 1 without a handler nothing happens.
    let signals = each(&|id| who.simple(ground, "kill", id, Some("WINCH")));
    for id in &ids {
        let pid = who.pid(ground, id);
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        measure::reap(pid);
    }
    let ends = each(&|id| who.delete(ground, id));
    vec![("state of 100", states), ("kill of 100", signals), ("delete of 100", ends)]
}

/// As the cases of one command, but rare: a round is long.
const RARE: Case = Case { quick: false, every: 30, cold: false, ..USUAL };

/// The cases, in the order of the report.
pub(crate) const ALL: [Case; 5] = [
    Case {
        name: "exec-100",
        title: "100 execs of /bin/true with Docker's seccomp profile, in a row",
        before: |scene| scene.sleeping(&scene.name, Shape::Docker),
        round: |scene| exec_many(scene, 1),
        after: |scene| scene.no_more(&scene.name),
        ..RARE
    },
    Case {
        name: "exec-8",
        title: "100 execs of /bin/true with Docker's seccomp profile, 8 at a time, on all processors",
        parallel: true,
        before: |scene| scene.sleeping(&scene.name, Shape::Docker),
        round: |scene| exec_many(scene, AT_ONCE),
        after: |scene| scene.no_more(&scene.name),
        ..RARE
    },
    Case {
        name: "hundred",
        title: "100 containers, one after the other",
        every: 60,
        floor: false,
        round: hundred,
        ..RARE
    },
    Case {
        name: "run-200",
        title: "200 × run /bin/true, as Docker has it, 8 at a time, on all processors",
        parallel: true,
        round: run_many,
        ..RARE
    },
    Case {
        name: "mounts",
        title: "run /bin/true, as Docker has it, with 2,000 mounts on the host",
        every: 4,
        cold: true,
        before: |scene| scene.ground.many_mounts(MOUNTS),
        round: |scene| whole(scene.measure(scene.run(Shape::Docker))),
        after: |scene| scene.ground.no_many_mounts(),
        ..RARE
    },
];
