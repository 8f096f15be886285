//! Lays the release program out in the order in which a container's start runs through it (`link-order.txt`, made by
//! `integration/bench/link-order.sh`): what is not needed is not read. A quarter less memory and page faults.
//!
//! Names that are not found (another compiler, another C library) are passed over: the order is a wish, not a need.

fn main() {
    println!("cargo:rerun-if-changed=link-order.txt");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let features = variable("CARGO_CFG_TARGET_FEATURE");
    let target = variable("TARGET");
    // Of the linker, which is called by itself for musl (.cargo/config.toml), and else by the C compiler.
    let prefix = if target.ends_with("-musl") { "" } else { "-Wl," };
    let option = |text: &str| println!("cargo:rustc-link-arg-bin=corten={prefix}{text}");
    // The first step of the program is that of the crate `seal`, where nothing has to be loaded first.
    if variable("CARGO_CFG_TARGET_ARCH") == "x86_64"
        && features.split(',').any(|feature| feature == "crt-static")
    {
        option("--entry=corten_entry");
        // Nothing makes it read-only in a static program (that is a loader's work): it would be one more part to map.
        option(if prefix.is_empty() { "-znorelro" } else { "-z,norelro" });
    }
    // The names are those of this architecture, and its linker is lld, as part of the toolchain (Rust 1.90).
    let known = ["x86_64-unknown-linux-gnu", "x86_64-unknown-linux-musl"];
    if variable("PROFILE") == "release" && known.contains(&&*target) {
        option(&format!("--symbol-ordering-file={}/link-order.txt", variable("CARGO_MANIFEST_DIR")));
        option("--no-warn-symbol-ordering");
        // For link-order.sh: the true names, which neither a build with symbols nor one with other settings has.
        println!("cargo:rerun-if-env-changed=CORTEN_LINK_MAP");
        let map = variable("CORTEN_LINK_MAP");
        if !map.is_empty() {
            option(&format!("-Map={map}"));
            option("--no-demangle");
        }
    }
}
