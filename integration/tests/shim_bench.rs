//! Corten's shim beside containerd's own, in one run: memory, and how long things take. Memory is asserted, for it does
//! not depend on what else the machine does; times are printed.
//!
//!     cargo test --release -p integration --test shim_bench -- --ignored --nocapture

use integration::shim::engine::{Engine, IMAGE, RUNTIME, Release};
use integration::skip;
use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

/// The two shims, by the names under which ctr selects them.
const SHIMS: [&str; 2] = [RUNTIME, "io.containerd.runc.v2"];

/// Containers whose shims are measured.
const CONTAINERS: usize = 50;

/// How often each thing is timed.
const ROUNDS: usize = 20;

fn start(engine: &Engine, shim: &str, id: &str) {
    engine.ctr(&["run", "-d", "--runtime", shim, IMAGE, id, "sleep", "600"]).ok();
}

/// kB of every line of smaps_rollup that is asked for, on average over processes.
fn memory(pids: &[i32], names: [&str; 3]) -> [f64; 3] {
    let mut sums = [0.0; 3];
    for pid in pids {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
        for (sum, name) in sums.iter_mut().zip(names) {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            *sum += line.split_whitespace().next().unwrap().parse::<f64>().unwrap();
        }
    }
    sums.map(|sum| sum / f64::from(u32::try_from(pids.len()).unwrap()))
}

/// The least and the middle of some times, in milliseconds.
fn summary(mut times: Vec<Duration>) -> String {
    times.sort();
    let text = |time: Duration| format!("{:7.1}", time.as_secs_f64() * 1000.0);
    format!("{} {}", text(times[0]), text(times[times.len() / 2]))
}

fn timed(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}

#[test]
#[ignore = "a bench, for release builds: see the head of this file"]
fn beside_the_shim_of_containerd() {
    if cfg!(debug_assertions) {
        skip!("needs a release build: cargo test --release");
    }
    for release in Release::ALL {
        let Some(mut engine) = Engine::containerd(release) else {
            integration::skip::say(&format!("needs containerd ({release:?})"));
            continue;
        };
        // By its own name containerd's shim is itself here.
        let theirs = release.find("containerd-shim-runc-v2").unwrap();
        let link = engine.directory.join("bin/containerd-shim-runc-v2");
        fs::remove_file(&link).unwrap();
        symlink(theirs, link).unwrap();
        println!("containerd {release:?}: Corten's shim, then containerd's");
        compare_memory(&mut engine);
        compare_times(&engine);
    }
}

fn compare_memory(engine: &mut Engine) {
    let mut all = Vec::new();
    for shim in SHIMS {
        let before = engine.shims();
        for number in 0..CONTAINERS {
            start(engine, shim, &format!("m{number}"));
        }
        // Both have a moment to settle; ours gives memory back after five seconds.
        std::thread::sleep(Duration::from_secs(8));
        let pids: Vec<i32> = engine.shims().into_iter().filter(|pid| !before.contains(pid)).collect();
        assert_eq!(pids.len(), CONTAINERS);
        let threads = fs::read_dir(format!("/proc/{}/task", pids[0])).unwrap().count();
        let [rss, pss, dirty] = memory(&pids, ["Rss:", "Pss:", "Private_Dirty:"]);
        println!(
            "  {CONTAINERS} containers, kB each: rss {rss:7.0} pss {pss:6.0} dirty {dirty:6.0}, {threads} threads"
        );
        all.push([rss, pss, dirty]);
        let names: Vec<String> = (0..CONTAINERS).map(|number| format!("m{number}")).collect();
        for name in &names {
            engine.ctr(&["task", "rm", "-f", name]);
            engine.ctr(&["container", "rm", name]);
        }
    }
    for (ours, theirs) in all[0].iter().zip(all[1]) {
        assert!(ours * 8.0 <= theirs, "eight times less memory: {all:?}");
    }
    assert!(all[0][0] <= 1500.0 && all[0][2] <= 300.0, "{all:?}");
}

fn compare_times(engine: &Engine) {
    let name = |shim: usize| format!("live{shim}");
    for (index, shim) in SHIMS.iter().enumerate() {
        start(engine, shim, &name(index));
    }
    let mut run = [Vec::new(), Vec::new()];
    let mut exec = [Vec::new(), Vec::new()];
    for round in 0..ROUNDS {
        for (index, shim) in SHIMS.iter().enumerate() {
            run[index].push(timed(|| {
                engine
                    .ctr(&["run", "--rm", "--runtime", shim, IMAGE, &format!("r{round}-{index}"), "true"])
                    .ok();
            }));
            exec[index].push(timed(|| {
                engine.ctr(&["task", "exec", "--exec-id", &format!("e{round}"), &name(index), "true"]).ok();
            }));
        }
    }
    for (what, times) in [("run --rm", run), ("task exec", exec)] {
        let [ours, theirs] = times.map(summary);
        println!("  ctr {what:10} least and median, ms: {ours}   {theirs}");
    }
    let parallel = [0, 1].map(|index| {
        timed(|| {
            std::thread::scope(|scope| {
                for number in 0..30 {
                    let (engine, container) = (&engine, name(index));
                    scope.spawn(move || {
                        engine
                            .ctr(&["task", "exec", "--exec-id", &format!("p{number}"), &container, "true"])
                            .ok();
                    });
                }
            });
        })
    });
    println!("  30 execs at once: {:?}   {:?}", parallel[0], parallel[1]);
}
