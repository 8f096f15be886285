//! SECURITY.md says which attack stands for which report: the table is complete and true.

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
