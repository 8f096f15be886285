//! Builds the validation programs from the Go module in `runtime-tools/`, whose go.mod pins the version and
//! names every program. The result stays in a cache outside the repository and is made again only when the
//! module or the Go version changes.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{At as _, Result};
use crate::runtime::in_path;

/// The module that holds the programs.
const MODULE: &str = "github.com/opencontainers/runtime-tools";

/// A folder with every validation program, `runtimetest` and the root file system they use: their working
/// folder.
pub(crate) struct Programs {
    /// The folder.
    pub(crate) folder: PathBuf,
    /// Names of the validation programs, sorted.
    pub(crate) names: Vec<String>,
    /// The pinned version.
    pub(crate) version: String,
}

/// Build or find the programs; `Err` inside says what is missing on this machine.
pub(crate) fn get(module: &Path) -> Result<std::result::Result<Programs, String>> {
    let file = module.join("go.mod");
    let listing = std::fs::read_to_string(&file).at("read", &file)?;
    let names = validation_programs(&listing);
    let version = listing.lines().find_map(|line| line.trim().strip_prefix(MODULE)).unwrap_or_default();
    let version = version.split_whitespace().next().unwrap_or("?").to_owned();
    if let Some(folder) = std::env::var_os("CONFORMANCE_PROGRAMS") {
        return Ok(Ok(Programs { folder: folder.into(), names, version }));
    }
    if in_path("go").is_none() {
        return Ok(Err("go".into()));
    }
    let mut hasher = DefaultHasher::new();
    (&listing, go(module, &["env", "GOVERSION"])).hash(&mut hasher);
    let cache =
        std::env::var_os("CONFORMANCE_CACHE").unwrap_or_else(|| "/var/cache/corten-conformance".into());
    let folder = PathBuf::from(cache).join(format!("runtime-tools-{:016x}", hasher.finish()));
    if !folder.exists()
        && let Err(missing) = build(module, &folder)?
    {
        return Ok(Err(missing));
    }
    Ok(Ok(Programs { folder, names, version }))
}

/// The programs are the `tool` lines of go.mod below `validation/`.
fn validation_programs(listing: &str) -> Vec<String> {
    let prefix = format!("{MODULE}/validation/");
    listing.lines().filter_map(|line| line.trim().strip_prefix(&prefix)).map(str::to_owned).collect()
}

fn build(module: &Path, folder: &Path) -> Result<std::result::Result<(), String>> {
    println!("# building the validation programs in {}", folder.display());
    let new = folder.with_extension(format!("new-{}", std::process::id()));
    std::fs::create_dir_all(&new).at("create", &new)?;
    let output = new.display().to_string();
    // `tool` is every program that go.mod names.
    let built =
        go(module, &["build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", &output, "tool"]);
    let source = built.and_then(|_| go(module, &["list", "-m", "-f", "{{.Dir}}", MODULE]));
    let source = match source {
        Ok(source) => PathBuf::from(source),
        Err(message) => {
            let _ = std::fs::remove_dir_all(&new);
            return Ok(Err(format!("Go 1.24 and its module proxy ({message})")));
        }
    };
    let archive = new.join("rootfs-amd64.tar.gz");
    std::fs::copy(source.join("rootfs-amd64.tar.gz"), &archive).at("copy", &archive)?;
    match std::fs::rename(&new, folder) {
        // Another run was faster.
        Err(_) if folder.exists() => std::fs::remove_dir_all(&new).at("remove", &new)?,
        renamed => renamed.at("rename", &new)?,
    }
    Ok(Ok(()))
}

/// Run `go` in the module: its standard output, or the last line of its complaint.
fn go(module: &Path, arguments: &[&str]) -> std::result::Result<String, String> {
    let output = Command::new("go").args(arguments).current_dir(module).env("CGO_ENABLED", "0").output();
    let output = output.map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr).lines().last().unwrap_or("no message").to_owned()),
    }
}

/// The programs that a go.mod names.
#[cfg(test)]
pub(crate) fn named_in(file: &Path) -> Result<Vec<String>> {
    Ok(validation_programs(&std::fs::read_to_string(file).at("read", file)?))
}

#[cfg(test)]
mod tests {
    #[test]
    fn go_mod_names_every_program() {
        let names = super::validation_programs(include_str!("../../runtime-tools/go.mod"));
        assert_eq!(names.len(), 58);
        assert!(names.is_sorted());
    }
}
