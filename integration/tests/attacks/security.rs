//! SECURITY.md says which attack stands for which report: the table is complete and true.

use integration::runtime::runtime;
use integration::skip;
use std::fs;
use std::path::Path;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Whether a test of this name is in the sources, `module::name`.
fn exists(test: &str) -> bool {
    let Some((module, name)) = test.split_once("::") else { return false };
    let places = ["tests/attacks", "tests/containers"]
        .map(|place| repository().join("integration").join(place).join(format!("{module}.rs")));
    let function = format!("fn {name}(");
    places.iter().any(|path| fs::read_to_string(path).is_ok_and(|text| text.contains(&function)))
}

/// The Rust sources below a directory.
fn sources(directory: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(fs::read_to_string(&path).unwrap());
        }
    }
}

/// An annotation that changes what is done is one that engines must know, to let nobody set it who is not to:
/// each that the sources name is in the list that `features` shows, but for those of which a plan only warns
/// that they do nothing.
#[test]
fn every_annotation_that_is_read_is_told() {
    if !runtime().is_ours() {
        skip!("needs Corten itself");
    }
    let output = std::process::Command::new(&runtime().path).arg("features").output().unwrap();
    let features: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let told = features["potentiallyUnsafeConfigAnnotations"].as_array().unwrap();
    let told: Vec<&str> = told.iter().filter_map(|name| name.as_str()).collect();
    let mut texts = Vec::new();
    sources(&repository().join("runtime/src"), &mut texts);
    let mut named = 0;
    for text in texts {
        let code = text.split("#[cfg(test)]").next().unwrap();
        let warned = code.split_once("const CRUNS: ").and_then(|(_, rest)| rest.split_once("];"));
        let warned = warned.map_or("", |(table, _)| table);
        for word in code.split('"').skip(1).step_by(2) {
            let annotation = ["run.oci.", "org.criu.", "org.systemd.property", "org.corten."];
            let own = ["org.corten.version", "org.corten.commit"].contains(&word);
            let nothing = warned.contains(&format!("(\"{word}\","));
            if own || nothing || !annotation.iter().any(|prefix| word.starts_with(prefix)) {
                continue;
            }
            named += 1;
            assert!(told.contains(&word), "{word} is not in {told:?}");
        }
    }
    assert!(named >= told.len(), "{named} annotations found, {told:?}");
}

#[test]
fn every_report_has_a_test_that_exists() {
    let text = fs::read_to_string(repository().join("SECURITY.md")).unwrap();
    let table = text.split("| report |").nth(1).unwrap();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .skip(2)
        .filter(|line| line.starts_with("| "))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert!(rows.len() > 30, "the table has {} rows", rows.len());
    for row in rows {
        assert!(row.len() == 4 && row.iter().all(|cell| !cell.is_empty()), "an empty cell: {row:?}");
        let tests: Vec<&str> = row[3].split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "no test: {row:?}");
        for test in tests {
            assert!(exists(test), "{test} does not exist: {row:?}");
        }
    }
}
