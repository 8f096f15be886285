//! What is measured.

use crate::contestant::Contestant;
use crate::ground::{Ground, Shape};
use crate::measure::{self, Counted, Sample};
use std::process::Command;

/// One thing to measure.
pub(crate) struct Case {
    /// For the command line.
    pub(crate) name: &'static str,
    /// For people.
    pub(crate) title: &'static str,
    /// Part of `--quick`.
    pub(crate) quick: bool,
    /// Of all rounds that are asked for, one in so many; a warm round of a case with many commands is long.
    pub(crate) every: usize,
    /// Whether it makes sense with a gap before each command.
    pub(crate) cold: bool,
    /// Whether the floor has it.
    pub(crate) floor: bool,
    /// Whether it uses all processors.
    pub(crate) parallel: bool,
    /// What is there before the first round.
    pub(crate) before: fn(&Scene<'_>),
    /// One round: the parts that were measured, each with its name; an empty name for the whole.
    pub(crate) round: fn(&Scene<'_>) -> Vec<(&'static str, Sample)>,
    /// What ends what `before` has made.
    pub(crate) after: fn(&Scene<'_>),
    /// The commands whose system calls are counted, in order; what is done between them is not.
    pub(crate) count: fn(&Scene<'_>) -> Vec<(&'static str, Counted)>,
}

/// A contestant on the ground.
pub(crate) struct Scene<'a> {
    /// The ground.
    pub(crate) ground: &'a Ground,
    /// Whose turn it is.
    pub(crate) who: &'a Contestant,
    /// The name of its container.
    pub(crate) name: String,
    /// How long the machine is left alone before a command.
    pub(crate) gap: std::time::Duration,
}

/// The program of most containers.
pub(crate) const TRUE: &[&str] = &["/bin/true"];
const SLEEP: &[&str] = &["/bin/sleep", "1000"];

impl Scene<'_> {
    /// Measures a command after the gap.
    pub(crate) fn measure(&self, mut command: Command) -> Sample {
        if !self.gap.is_zero() {
            std::thread::sleep(self.gap);
        }
        if self.who.ours {
            return measure::run(&mut command);
        }
        // Others lose a race with a short program now and then: that is theirs to mend, and no reason to
        // measure nothing.
        measure::attempt(&mut command).unwrap_or_else(|_| {
            let mut delete = self.who.simple(self.ground, "delete", "--force", Some(&self.name));
            let _ = delete.stderr(std::process::Stdio::null()).status();
            measure::run(&mut command)
        })
    }

    /// Names of as many containers.
    pub(crate) fn names(&self, count: usize) -> Vec<String> {
        (0..count).map(|number| format!("{}-{number}", self.who.name)).collect()
    }

    /// Makes a running container that sleeps.
    pub(crate) fn sleeping(&self, name: &str, shape: Shape) {
        self.ground.bundle(name, shape, SLEEP, |_| {});
        measure::run(&mut self.who.create(self.ground, name, shape, SLEEP));
        measure::run(&mut self.who.start(self.ground, name));
    }

    /// Ends it.
    pub(crate) fn no_more(&self, name: &str) {
        let pid = self.who.pid(self.ground, name);
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
        measure::reap(pid);
        measure::run(&mut self.who.delete(self.ground, name));
    }

    /// `run` of its container.
    pub(crate) fn run(&self, shape: Shape) -> Command {
        self.ground.bundle(&self.name, shape, TRUE, |_| {});
        self.who.run(self.ground, &self.name, shape, TRUE)
    }

    /// `exec` in its container.
    pub(crate) fn exec(&self, shape: Shape) -> Command {
        self.who.exec(self.ground, &self.name, shape, TRUE)
    }

    /// Create, start and delete; what became of the container's process is counted with the start.
    fn life(&self, mut step: impl FnMut(&'static str, Command)) {
        let shape = Shape::Docker;
        self.ground.bundle(&self.name, shape, TRUE, |_| {});
        step("create", self.who.create(self.ground, &self.name, shape, TRUE));
        step("start", self.who.start(self.ground, &self.name));
        step("delete", self.who.delete(self.ground, &self.name));
        let fifo = self.ground.directory.join("bundles").join(&self.name).join("fifo");
        let _ = std::fs::remove_file(fifo);
    }
}

/// A round without parts.
pub(crate) fn whole(sample: Sample) -> Vec<(&'static str, Sample)> {
    vec![("", sample)]
}

fn life(scene: &Scene<'_>) -> Vec<(&'static str, Sample)> {
    let mut parts = Vec::new();
    scene.life(|name, command| {
        let mut sample = scene.measure(command);
        if name == "start" {
            sample.uses(measure::reap(scene.who.pid(scene.ground, &scene.name)));
        }
        parts.push((name, sample));
    });
    let all = parts.iter().fold(Sample::default(), |sum, (_, sample)| sum.and(*sample));
    parts.insert(0, ("", all));
    parts
}

fn life_calls(scene: &Scene<'_>) -> Vec<(&'static str, Counted)> {
    let mut parts = Vec::new();
    scene.life(|name, command| {
        parts.push((name, measure::count(command)));
        if name == "start" {
            measure::reap(scene.who.pid(scene.ground, &scene.name));
        }
    });
    let all = parts.iter().fold(Counted::default(), |sum, (_, one)| sum.and(one));
    parts.insert(0, ("", all));
    parts
}

/// Neither before nor after.
pub(crate) fn nothing(_: &Scene<'_>) {}

/// Nothing is counted.
pub(crate) fn no_count(_: &Scene<'_>) -> Vec<(&'static str, Counted)> {
    Vec::new()
}

/// All cases, in the order of the report.
pub(crate) fn all() -> impl Iterator<Item = &'static Case> {
    ALL.iter().chain(&crate::crowds::ALL)
}

/// What the cases of one command at a time have in common.
pub(crate) const USUAL: Case = Case {
    name: "",
    title: "",
    quick: true,
    every: 1,
    cold: true,
    floor: true,
    parallel: false,
    before: nothing,
    round: |_| Vec::new(),
    after: nothing,
    count: no_count,
};

/// Those of one command at a time.
const ALL: &[Case] = &[
    Case {
        name: "run",
        title: "run /bin/true, as `runc spec` has it",
        round: |scene| whole(scene.measure(scene.run(Shape::Plain))),
        count: |scene| vec![("", measure::count(scene.run(Shape::Plain)))],
        ..USUAL
    },
    Case {
        name: "run-docker",
        title: "run /bin/true, as Docker has it",
        round: |scene| whole(scene.measure(scene.run(Shape::Docker))),
        count: |scene| vec![("", measure::count(scene.run(Shape::Docker)))],
        ..USUAL
    },
    Case {
        name: "life",
        title: "create, start and delete, as Docker has it",
        round: life,
        count: life_calls,
        ..USUAL
    },
    Case {
        name: "exec",
        title: "exec /bin/true",
        before: |scene| scene.sleeping(&scene.name, Shape::Plain),
        round: |scene| whole(scene.measure(scene.exec(Shape::Plain))),
        after: |scene| scene.no_more(&scene.name),
        count: |scene| vec![("", measure::count(scene.exec(Shape::Plain)))],
        ..USUAL
    },
    Case {
        name: "exec-docker",
        title: "exec /bin/true with Docker's seccomp profile",
        before: |scene| scene.sleeping(&scene.name, Shape::Docker),
        round: |scene| whole(scene.measure(scene.exec(Shape::Docker))),
        after: |scene| scene.no_more(&scene.name),
        count: |scene| vec![("", measure::count(scene.exec(Shape::Docker)))],
        ..USUAL
    },
    Case {
        name: "state",
        title: "state",
        floor: false,
        before: |scene| scene.sleeping(&scene.name, Shape::Docker),
        round: |scene| whole(scene.measure(scene.who.simple(scene.ground, "state", &scene.name, None))),
        after: |scene| scene.no_more(&scene.name),
        count: |scene| vec![("", measure::count(scene.who.simple(scene.ground, "state", &scene.name, None)))],
        ..USUAL
    },
];
