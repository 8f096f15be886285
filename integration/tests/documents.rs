//! The documents say what is true: their commands run, their figures are those of the results, their table of
//! packages is that of the manifests.
//!
//! Every block of shell, in any document, is run as it stands, under a terminal, in a directory with a root
//! file system. A block that takes long or changes the machine has a comment before it that names the files
//! by which it is run instead, and each of its programs is named there: `<!-- run elsewhere: FILE... -->`;
//! one that no test can run says what it needs, and is counted as skipped: `<!-- needs: X -->`. `UPDATE=1`
//! writes the README's figures anew.

#![expect(clippy::unwrap_used, clippy::panic)]

use integration::console::Console;
use integration::runtime::{built, runtime};
use integration::{outcome, rootfs, skip};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(name: &str) -> String {
    fs::read_to_string(repository().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Every document below a directory, by its path from the repository.
fn documents(directory: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !path.is_symlink() && name != "target" && !name.starts_with('.') {
            documents(&path, found);
        } else if name.ends_with(".md") {
            found.push(path.strip_prefix(repository()).unwrap().to_str().unwrap().to_owned());
        }
    }
}

/// What becomes of a block of shell.
enum Fate {
    /// It is run here.
    Run,
    /// These files run it.
    Elsewhere(Vec<String>),
    /// No test can run it, for want of this.
    Needs(String),
}

/// A block of shell in a document.
struct Block {
    /// The document and the line.
    place: String,
    text: String,
    fate: Fate,
}

/// The blocks of a document, of which it has no others than those of shell, of the languages of
/// configurations, and of text.
fn blocks(name: &str) -> Vec<Block> {
    let text = read(name);
    let lines: Vec<&str> = text.lines().collect();
    let mut blocks = Vec::new();
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        at += 1;
        assert!(!line.trim_start().starts_with("~~~"), "{name}:{at}: a block that is not looked at");
        let Some(language) = line.trim_start().strip_prefix("```") else { continue };
        let length = lines[at..].iter().position(|line| line.trim() == "```").expect("an end of the block");
        let inside = &lines[at..at + length];
        match language {
            "sh" => {
                let before =
                    lines[..at - 1].iter().rev().find(|line| !line.is_empty()).copied().unwrap_or_default();
                let fate = comment(before, "run elsewhere: ")
                    .map(|files| Fate::Elsewhere(files.split(' ').map(str::to_owned).collect()))
                    .or_else(|| comment(before, "needs: ").map(|what| Fate::Needs(what.to_owned())));
                let text = inside.iter().map(|line| format!("{line}\n")).collect();
                blocks.push(Block { place: format!("{name}:{at}"), text, fate: fate.unwrap_or(Fate::Run) });
            }
            "" | "text" | "json" | "toml" | "yaml" => {
                let shell = inside.iter().find(|line| line.starts_with("$ "));
                assert_eq!(shell, None, "{name}:{at}: a command in a block that is not one of shell");
            }
            other => panic!("{name}:{at}: a block of {other:?} is not looked at"),
        }
        at += length + 1;
    }
    blocks
}

fn comment<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    line.strip_prefix("<!-- ")?.strip_suffix(" -->")?.strip_prefix(word)
}

/// The commands of a block, without comments and variables, as words.
fn commands(text: &str) -> Vec<Vec<&str>> {
    text.lines()
        .flat_map(|line| line.split(" #").next().unwrap_or_default().split("&&"))
        .map(|command| {
            let words = command.trim().trim_end_matches('&').split_whitespace();
            words.skip_while(|word| word.contains('=')).collect::<Vec<_>>()
        })
        .filter(|words| words.first().is_some_and(|word| *word != "cd"))
        .collect()
}

/// Whether a source names a program as one that it runs: by its path, by its name in quotes, or as a line of
/// shell.
fn is_named(words: &[&str], source: &str) -> bool {
    let program = words[0];
    let name = program.rsplit('/').next().unwrap_or(program);
    match (name, words) {
        // All that is installed is installed there.
        ("apt-get", [_, "install", packages @ ..]) => {
            let installed: BTreeSet<&str> = source.split_whitespace().collect();
            packages.iter().all(|package| installed.contains(package))
        }
        ("cargo", [_, verb, ..]) => source.contains(&format!("cargo {verb}")),
        _ => {
            let forms = [format!("\"{name}\""), format!("\"{name} ")];
            program.contains('/') && source.contains(program)
                || forms.iter().any(|form| source.contains(form))
        }
    }
}

#[test]
fn every_command_of_the_documents_runs() {
    if !runtime().is_ours() || !nix::unistd::geteuid().is_root() {
        skip!("needs Corten and root");
    }
    let mut names = Vec::new();
    documents(&repository(), &mut names);
    let (mut run_here, mut run_elsewhere, mut needs) = (0, 0, Vec::new());
    for block in names.iter().flat_map(|name| blocks(name)) {
        assert!(!commands(&block.text).is_empty(), "{}: no command", block.place);
        match &block.fate {
            Fate::Elsewhere(files) => {
                let sources: String = files.iter().map(|file| read(file)).collect();
                for words in commands(&block.text) {
                    assert!(is_named(&words, &sources), "{}: {words:?} is not in {files:?}", block.place);
                }
                run_elsewhere += 1;
            }
            Fate::Needs(what) => needs.push(format!("{what} ({})", block.place)),
            Fate::Run => {
                run(&block);
                run_here += 1;
            }
        }
    }
    assert!(run_here >= 3 && run_elsewhere >= 6, "blocks are looked for in vain: {names:?}");
    if !needs.is_empty() {
        skip!("needs, for some of the blocks, {}", needs.join(", "));
    }
}

#[test]
fn a_command_that_nothing_runs_is_found_out() {
    let block = "apt-get install gcc jq # comment\nA=1 cargo test -p x && cargo fmt --all --check\ncd x && a/b.sh --c &\n";
    let commands = commands(block);
    let first: Vec<String> = commands.iter().map(|words| words.join(" ")).collect();
    assert_eq!(first, ["apt-get install gcc jq", "cargo test -p x", "cargo fmt --all --check", "a/b.sh --c"]);
    let named = |source: &str| commands.iter().map(|words| is_named(words, source)).collect::<Vec<_>>();
    assert_eq!(named("packages=(gcc\n jq)"), [false; 4]);
    assert_eq!(named("install gcc jq\ncargo fmt"), [true, false, true, false]);
    assert_eq!(named("cargo test\nstage x a/b.sh"), [false, true, false, true]);
    assert_eq!(named("script(\"b.sh\")"), [false, false, false, true]);
    assert_eq!(named("b.shx xb.sh"), [false; 4]);
}

/// Runs a block as somebody would who types it, with words of their own for those in capitals.
fn run(block: &Block) {
    let place = tempfile::tempdir_in(rootfs::base()).unwrap();
    fs::create_dir(place.path().join("rootfs")).unwrap();
    rootfs::populate(&place.path().join("rootfs"));
    let own = place.path().file_name().unwrap().to_str().unwrap().trim_start_matches('.').to_owned();
    let text = block.text.replace("NAME", &format!("doc-{own}")).replace("DIR", ".");
    let path = format!(
        "{}:{}",
        built("corten").parent().unwrap().display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let (mut console, terminal) = Console::pair();
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", &text]).current_dir(place.path()).env("PATH", path);
    command.env("XDG_RUNTIME_DIR", place.path()).stdin(terminal.try_clone().unwrap());
    command.stdout(terminal.try_clone().unwrap()).stderr(Stdio::from(terminal));
    let mut child = command.spawn().unwrap();
    drop(command);
    // The program of `corten spec` is a shell: whoever is asked for a command leaves it.
    let deadline = std::time::Instant::now() + outcome::BOUND;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if std::time::Instant::now() > deadline {
            let _ = child.kill();
            panic!("{}: does not end: {}", block.place, console.text());
        }
        console.write("exit\n");
        std::thread::sleep(Duration::from_millis(100));
    };
    assert!(status.success(), "{}: {status}: {}", block.place, console.text());
}

/// The least times of a table of RESULTS.md, for one contestant: warm, then cold.
fn least(results: &str, section: &str, contestant: &str) -> (String, String) {
    let table =
        results.split(&format!("### {section}\n")).nth(1).unwrap_or_else(|| panic!("no section {section:?}"));
    let mut rows = table.lines().take_while(|line| !line.starts_with("### "));
    let row = rows.find(|line| line.starts_with(&format!("| {contestant} ")));
    let cells: Vec<&str> =
        row.unwrap_or_else(|| panic!("{section}: no {contestant}")).split('|').map(str::trim).collect();
    (cells[2].to_owned(), cells[6].to_owned())
}

/// Counts of a table, for one contestant: system calls and peak memory in kB.
fn counts(results: &str, section: &str, contestant: &str) -> (String, String) {
    let table = results.split(&format!("### {section}\n")).nth(1).unwrap();
    let row = table.lines().find(|line| line.starts_with(&format!("| {contestant} "))).unwrap();
    let cells: Vec<&str> = row.split('|').map(str::trim).collect();
    (cells[11].to_owned(), cells[12].to_owned())
}

/// The README's table of figures.
fn figures() -> String {
    const CONTESTANTS: [&str; 3] = ["corten", "crun-1.28", "runc"];
    const SECTIONS: [(&str, &str); 3] = [
        ("run /bin/true, as Docker has it", "`run`, with Docker's configuration"),
        ("create, start and delete, as Docker has it", "`create`, `start`, `delete`, the same"),
        ("exec /bin/true", "`exec`"),
    ];
    let bench = read("integration/bench/RESULTS.md");
    let titles = bench.lines().find_map(|line| line.strip_prefix("| contestants | ")).unwrap();
    let title = |name: &str| {
        let found = titles.split("), ").find_map(|one| one.strip_prefix(&format!("{name} (")));
        found.unwrap_or(name).trim_end_matches([')', '|', ' ']).to_owned()
    };
    let mut text = String::from("| least time in ms, warm and cold |");
    CONTESTANTS.iter().for_each(|name| write!(text, " {} |", title(name)).unwrap());
    text.push_str("\n|---|--:|--:|--:|\n");
    for (section, words) in SECTIONS {
        write!(text, "| {words} |").unwrap();
        for name in CONTESTANTS {
            let (warm, cold) = least(&bench, section, name);
            write!(text, " {warm}, {cold} |").unwrap();
        }
        text.push('\n');
    }
    for (which, words) in [(0, "system calls of that `run`"), (1, "its peak memory, kB")] {
        write!(text, "| {words} |").unwrap();
        for name in CONTESTANTS {
            let (calls, memory) = counts(&bench, SECTIONS[0].0, name);
            write!(text, " {} |", if which == 0 { calls } else { memory }).unwrap();
        }
        text.push('\n');
    }
    let conformance = read("conformance/RESULTS.md");
    let passed = |line: &str, name: &str| {
        let found = line
            .split([',', ':'])
            .find_map(|part| part.trim().strip_prefix(&format!("{name} passes ")).map(str::to_owned));
        found.map(|count| count.split(';').next().unwrap_or_default().to_owned())
    };
    let version = |name: &str| {
        conformance
            .lines()
            .find_map(|line| line.strip_prefix(&format!("- {name}: {name} version ")))
            .unwrap_or("?")
            .to_owned()
    };
    text.push_str(&format!(
        "\n| passed | corten | crun {} | runc {} |\n|---|--:|--:|--:|\n",
        version("crun"),
        version("runc")
    ));
    let usual = version("runc");
    let mut with = usual.clone();
    for line in conformance.lines() {
        if let Some(other) = line.strip_prefix("- runc: runc version ") {
            with = other.to_owned();
        }
        if !line.contains(": corten passes ") {
            continue;
        }
        let suite = line.split(':').next().unwrap();
        let another = if with == usual { String::new() } else { format!(", with runc {with}") };
        write!(text, "| {suite}{another} |").unwrap();
        for name in ["corten", "crun", "runc"] {
            write!(text, " {} |", passed(line, name).unwrap_or_else(|| "–".to_owned())).unwrap();
        }
        text.push('\n');
    }
    text
}

#[test]
fn the_figures_of_the_readme_are_those_of_the_results() {
    const BEGIN: &str = "<!-- figures: begin -->\n";
    const END: &str = "<!-- figures: end -->\n";
    let readme = read("README.md");
    let (before, rest) = readme.split_once(BEGIN).expect("a place for figures");
    let (written, after) = rest.split_once(END).expect("an end of the figures");
    let figures = figures();
    if std::env::var_os("UPDATE").is_some() {
        fs::write(repository().join("README.md"), format!("{before}{BEGIN}{figures}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(written, figures, "UPDATE=1 cargo test -p integration --test documents writes them anew");
}

/// The README's first lines have two figures of another table: the first row of it, Docker's profile compiled
/// by us.
#[test]
fn what_a_profile_costs_is_what_was_measured() {
    let results = read("integration/bench/SECCOMP.md");
    let row = results.lines().find_map(|line| line.strip_prefix("  ours  ")).expect("a row of ours");
    let mut columns = row.split_whitespace().map(|text| text.parse::<f64>().unwrap());
    let (instructions, least) = (columns.next().unwrap(), columns.next().unwrap());
    let said = format!("Docker's default profile in {instructions:.0} instructions and {least:.0} µs.");
    assert!(read("README.md").contains(&said), "the README should say: {said}");
}

/// Each complaint about shims in ARCHITECTURE.md has tests that exist; `…` stands for any text, and one
/// without a file is in that of the one before it.
#[test]
fn the_tests_of_each_complaint_exist() {
    let architecture = read("ARCHITECTURE.md");
    let table = architecture.split("| complaint |").nth(1).unwrap().split("\n\n").next().unwrap();
    let mut named = 0;
    for row in table.lines().skip(2) {
        let cell = row.split('|').nth(2).unwrap();
        let mut source = String::new();
        for test in cell.split('`').skip(1).step_by(2) {
            let name = test.rsplit("::").next().unwrap();
            if let Some((file, _)) = test.rsplit_once("::") {
                let file = format!("integration/tests/{}", file.replace("::", "/"));
                let is_folder = repository().join(&file).is_dir();
                source = read(&format!("{file}{}", if is_folder { "/main.rs" } else { ".rs" }));
            }
            let parts: Vec<&str> = name.split('…').collect();
            let found = source.lines().filter_map(|line| line.strip_prefix("fn ")?.split_once("()")).any(
                |(have, _)| {
                    let (first, last) = (parts[0], parts[parts.len() - 1]);
                    have.starts_with(first) && have.ends_with(last) && (parts.len() > 1 || have == name)
                },
            );
            assert!(found, "{test} does not exist: {row}");
            named += 1;
        }
    }
    assert!(named > 30, "{named} tests are named");
}

/// Every package that a crate of the workspace is built from is in the table of ARCHITECTURE.md, and nothing
/// else.
#[test]
fn the_table_of_packages_is_that_of_the_manifests() {
    let workspace: toml::Table = read("Cargo.toml").parse().unwrap();
    let members =
        workspace["workspace"]["members"].as_array().unwrap().iter().map(|member| member.as_str().unwrap());
    let own = ["runtime", "seal", "seccomp-profiles", "shim", "tree", "integration"];
    let mut expected = BTreeSet::new();
    for member in members {
        let manifest: toml::Table = read(&format!("{member}/Cargo.toml")).parse().unwrap();
        for section in ["dependencies", "dev-dependencies"] {
            let used = manifest.get(section).and_then(|section| section.as_table());
            let names =
                used.into_iter().flat_map(|used| used.keys()).filter(|name| !own.contains(&name.as_str()));
            expected.extend(names.cloned());
        }
    }
    let architecture = read("ARCHITECTURE.md");
    let table = architecture.split("## Packages\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| package"));
    let mut named = BTreeSet::new();
    for row in rows {
        let first = row.split('|').nth(1).unwrap();
        for name in first.split(',').map(str::trim) {
            assert!(named.insert(name.to_owned()), "{name} stands twice");
        }
    }
    assert_eq!(named, expected);
    // What the table says is only used in tests is in no program.
    let tests = table.lines().filter(|line| line.contains("| tests |"));
    let tests: Vec<&str> =
        tests.flat_map(|row| row.split('|').nth(1).unwrap().split(',').map(str::trim)).collect();
    for name in ["runtime", "shim", "seccomp-profiles", "lifecycle", "lifecycle/tree"] {
        let manifest: toml::Table = read(&format!("{name}/Cargo.toml")).parse().unwrap();
        let used = manifest["dependencies"].as_table().unwrap();
        assert_eq!(tests.iter().find(|package| used.contains_key(**package)), None, "{name}");
    }
}
