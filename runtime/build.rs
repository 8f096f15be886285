//! Lays the release program out in the order in which a container's start runs through it (`link-order.txt`, made by
//! `integration/bench/link-order.sh`): what is not needed is not read. A quarter less memory and page faults.
//!
//! Names that are not found (another compiler) are passed over: the order is a wish, not a need.

fn main() {
    println!("cargo:rerun-if-changed=link-order.txt");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let features = variable("CARGO_CFG_TARGET_FEATURE");
    // The first step of the program is that of the crate `seal`, where nothing has to be loaded first.
    if variable("CARGO_CFG_TARGET_ARCH") == "x86_64"
        && features.split(',').any(|feature| feature == "crt-static")
    {
        println!("cargo:rustc-link-arg-bin=corten=-Wl,--entry=corten_entry");
    }
    // The names are those of this architecture, and its linker is lld, as part of the toolchain (Rust 1.90).
    if variable("PROFILE") == "release" && variable("TARGET") == "x86_64-unknown-linux-gnu" {
        let file = format!("{}/link-order.txt", variable("CARGO_MANIFEST_DIR"));
        println!("cargo:rustc-link-arg-bin=corten=-Wl,--symbol-ordering-file={file}");
        println!("cargo:rustc-link-arg-bin=corten=-Wl,--no-warn-symbol-ordering");
        // For link-order.sh: the true names, which neither a build with symbols nor one with other settings has.
        println!("cargo:rerun-if-env-changed=CORTEN_LINK_MAP");
        let map = variable("CORTEN_LINK_MAP");
        if !map.is_empty() {
            println!("cargo:rustc-link-arg-bin=corten=-Wl,-Map={map},--no-demangle");
        }
    }
}
