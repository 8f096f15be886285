//! The fuzz targets on their corpora, and on a bounded number of changed inputs.

#[path = "../fuzz/properties.rs"]
mod properties;
#[path = "../fuzz/rounds.rs"]
mod rounds;

#[test]
fn texts() {
    rounds::run(env!("CARGO_MANIFEST_DIR"), "json", 120, properties::json);
}

#[test]
fn valid_profiles() {
    rounds::run(env!("CARGO_MANIFEST_DIR"), "rules", 150, properties::rules);
}
