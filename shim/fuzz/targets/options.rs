//! The TOML text of runtime options: any text is understood or refused, and what is understood survives its JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shim::options::RuntimeOptions;

fuzz_target!(|text: &str| {
    let Ok(options) = RuntimeOptions::from_toml(text) else { return };
    let bundle = std::env::temp_dir().join(format!("corten-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&bundle).expect("a folder");
    std::fs::write(bundle.join("options.json"), options.to_json()).expect("a file");
    assert_eq!(RuntimeOptions::read(&bundle).expect("our own file"), options);
});
