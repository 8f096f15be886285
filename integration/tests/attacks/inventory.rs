//! Where the `unsafe` code is: the table of ARCHITECTURE.md is made from the sources, and true.
//!
//! `UPDATE=1` writes it anew.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

const BEGIN: &str = "<!-- unsafe: begin -->\n";
const END: &str = "<!-- unsafe: end -->\n";
const CRATES: [&str; 6] =
    ["runtime", "runtime/seal", "shim", "seccomp-profiles", "lifecycle", "lifecycle/tree"];

/// The Rust sources below a directory, in order.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Blocks, functions, implementations and foreign items that are `unsafe`.
fn count(text: &str) -> usize {
    let code = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
    text.lines().map(code).map(|line| occurrences(&line)).sum()
}

fn occurrences(line: &str) -> usize {
    ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "unsafe(no_mangle)"]
        .iter()
        .map(|form| line.matches(form).count())
        .sum()
}

fn table(root: &Path) -> String {
    let mut text = String::from("| file | `unsafe` |\n|---|--:|\n");
    for name in CRATES {
        let mut files = Vec::new();
        sources(&root.join(name).join("src"), &mut files);
        for file in files {
            let number = count(&fs::read_to_string(&file).unwrap());
            if number > 0 {
                let path = file.strip_prefix(root).unwrap().display();
                writeln!(text, "| `{path}` | {number} |").unwrap();
            }
        }
    }
    text
}

#[test]
fn the_inventory_of_unsafe_code_is_true() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let path = root.join("ARCHITECTURE.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("ARCHITECTURE.md has the mark");
    let (found, after) = rest.split_once(END).expect("ARCHITECTURE.md has the second mark");
    let wanted = table(root);
    // One module a crate, but for the program's entry.
    for line in wanted.lines().skip(2) {
        assert!(line.contains("/src/sys") || line.contains("`runtime/src/main.rs`"), "unsafe code: {line}");
    }
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, [before, BEGIN, &wanted, END, after].concat()).unwrap();
        return;
    }
    assert_eq!(found, wanted, "run it with UPDATE=1, and say in the commit why there is more");
}
