//! Figures that are no times: the size of a binary, the smallest memory limit that works.

use crate::contestant::Contestant;
use crate::ground::{Ground, Shape};
use std::fs;
use std::process::Stdio;

/// One figure of all contestants.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    /// For the targets.
    pub(crate) name: &'static str,
    /// For people, with its unit.
    pub(crate) title: String,
    /// Whose, and how much; `None`: none of those that were tried.
    pub(crate) values: Vec<(String, Option<f64>)>,
}

/// In kB.
const LIMITS: [u32; 15] = [64, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 16384];

/// A limit works when it works so many times in a row.
const TIMES: usize = 5;

/// All figures.
pub(crate) fn all(ground: &Ground, contestants: &[Contestant]) -> Vec<Figure> {
    let size = |who: &Contestant| {
        let bytes = fs::metadata(&who.path).map(|meta| meta.len()).unwrap_or_default();
        (who.name.clone(), Some(f64::from(u32::try_from(bytes / 1000).unwrap_or(u32::MAX)) / 1000.0))
    };
    let limit = |who: &Contestant| (who.name.clone(), smallest(ground, who).map(f64::from));
    vec![
        Figure {
            name: "size",
            title: "size of the binary, MB (without its shared libraries)".into(),
            values: contestants.iter().filter(|who| !who.floor).map(size).collect(),
        },
        Figure {
            name: "limit",
            title: format!(
                "smallest memory limit with which `run /bin/true`, as Docker has it, works {TIMES} times in a row, kB"
            ),
            values: contestants.iter().filter(|who| !who.floor).map(limit).collect(),
        },
    ]
}

/// The smallest limit from which on all work.
fn smallest(ground: &Ground, who: &Contestant) -> Option<u32> {
    let works = |limit: &&u32| (0..TIMES).all(|_| works(ground, who, **limit));
    LIMITS.iter().rev().take_while(works).last().copied()
}

fn works(ground: &Ground, who: &Contestant, limit: u32) -> bool {
    let (id, program) = ("limited", &["/bin/true"]);
    ground.bundle(id, Shape::Docker, program, |config| {
        config["linux"]["resources"]["memory"] = serde_json::json!({ "limit": u64::from(limit) * 1024 });
    });
    let mut run = who.run(ground, id, Shape::Docker, program);
    let status = run.stderr(Stdio::null()).status().unwrap();
    if !status.success() {
        let mut delete = who.simple(ground, "delete", "--force", Some(id));
        let _ = delete.stderr(Stdio::null()).status();
    }
    status.success()
}
