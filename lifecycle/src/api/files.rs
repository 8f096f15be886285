//! Files of containers: cp, export, diff.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use hyper::header::HeaderValue;
use hyper::{Method, StatusCode};
use nix::errno::Errno;
use nix::sys::stat::FileStat;
use serde_json::json;
use tokio::task::block_in_place;

use super::{Answer, Call, answer};
use crate::container::{Container, user, view};
use crate::error::{Error, Result, ensure, error};
use crate::files::lossy;
use crate::time::{self, Time};
use tree::{Apply, Change, Pack, Root, Source, clean, is_kind};

pub(super) fn changes(container: &Container) -> Result<Answer> {
    let changes = block_in_place(|| Ok::<_, Error>(tree::changes(&container.overlay()?)?))?;
    let row = |change: &Change| json!({"Path": lossy(&change.path), "Kind": change.kind});
    let rows: Vec<_> = changes.iter().filter(|change| change.kind != Change::TIME).map(row).collect();
    answer::json(&Some(rows).filter(|rows| !rows.is_empty()))
}

/// Sends a tree as an archive.
fn send(root: Root, path: PathBuf, name: PathBuf) -> Answer {
    answer::archive(move |writer| {
        let mut pack = Pack::new(writer, Source::Tree);
        pack.add(&root, &path, &name)?;
        pack.finish()?;
        Ok(())
    })
}

pub(super) async fn export(container: &Container) -> Result<Answer> {
    container.publish("export", &[]);
    let _busy = container.busy.lock().await;
    // Without what is mounted into it, running or not.
    let is_up = container.record().state.status.is_up();
    let root = match is_up {
        true => Root::open(&container.bundle().join("rootfs"))?,
        false => block_in_place(|| tree::mount(&container.overlay()?).map_err(Error::from))?,
    };
    Ok(send(root, PathBuf::new(), PathBuf::new()))
}

fn wanted_path(call: &Call) -> Result<String> {
    call.text("path").map(str::to_owned).ok_or_else(|| Error::invalid("bad parameter: path cannot be empty"))
}

fn missing(path: &str, container: &Container) -> Error {
    error!(not_found, "Could not find the file {path} in container {}", container.id)
}

/// A folder, or what a link to one leads to.
fn folder(container: &Container, root: &Root, inside: &Path, text: &str) -> Result<Root> {
    match root.below(inside) {
        Ok(folder) => Ok(folder),
        Err(Errno::ENOTDIR) => Err(error!(invalid, "{text}: not a directory")),
        Err(_) => Err(missing(text, container)),
    }
}

/// `GET` and `HEAD` of `/containers/ID/archive`
pub(super) async fn get(container: &Container, call: &Call) -> Result<Answer> {
    let text = wanted_path(call)?;
    let path = clean(Path::new(&text));
    let _busy = container.busy.lock().await;
    let (root, inside, header) = block_in_place(|| -> Result<_> {
        let (mut root, mut inside) = (view::open(container)?, path.clone());
        if text.ends_with('/') || text.ends_with("/.") {
            (root, inside) = (folder(container, &root, &inside, &text)?, PathBuf::new());
        }
        let stat = root.stat(&inside).map_err(|_| missing(&text, container))?;
        let target = match is_kind(&stat, libc::S_IFLNK) {
            true => Path::new("/").join(root.resolve(&inside)?),
            false => PathBuf::new(),
        };
        let header = describe(&target, &path, &stat);
        Ok((root, inside, header))
    })?;
    // In the archive it has its own name, whatever it was called in the request.
    let bare = text.trim_end_matches('/');
    let is_content = bare == "." || bare.ends_with("/.");
    let name = if is_content { OsStr::new(".") } else { path.file_name().unwrap_or(OsStr::new("/")) };
    let name = PathBuf::from(name);
    let mut answer = if call.method == Method::GET {
        container.publish("archive-path", &[]);
        send(root, inside, name)
    } else {
        answer::empty(StatusCode::OK)
    };
    let header = HeaderValue::try_from(header).map_err(Error::step("describe the path"))?;
    answer.headers_mut().insert("X-Docker-Container-Path-Stat", header);
    Ok(answer)
}

/// The header with which clients learn what a path of a container is, and where it leads to: JSON in base64.
fn describe(target: &Path, path: &Path, stat: &FileStat) -> String {
    let name = path.file_name().map_or_else(|| "/".into(), |name| name.to_string_lossy().into_owned());
    let time = Time::from_second(stat.st_mtime).unwrap_or_default();
    let value = json!({
        "name": name, "size": stat.st_size, "mode": go_mode(stat), "mtime": time::text(time), "linkTarget": lossy(target),
    });
    crate::files::base64(value.to_string().as_bytes())
}

/// A mode as Go has it.
fn go_mode(stat: &FileStat) -> u32 {
    let kind = match stat.st_mode & libc::S_IFMT {
        libc::S_IFDIR => 1 << 31,
        libc::S_IFLNK => 1 << 27,
        libc::S_IFBLK => 1 << 26,
        libc::S_IFCHR => 1 << 26 | 1 << 21,
        libc::S_IFIFO => 1 << 25,
        libc::S_IFSOCK => 1 << 24,
        _ => 0,
    };
    let special = [(libc::S_ISUID, 1 << 23), (libc::S_ISGID, 1 << 22), (libc::S_ISVTX, 1 << 20)];
    let special = special.iter().filter(|(bit, _)| stat.st_mode & bit != 0).map(|(_, own)| own);
    kind | special.sum::<u32>() | stat.st_mode & 0o777
}

pub(super) async fn put(container: &Container, mut call: Call) -> Result<Answer> {
    let file = call.spool(&container.engine.images.content).await?;
    // While it neither starts nor is written to by another request.
    let _busy = container.busy.lock().await;
    let text = wanted_path(&call)?;
    let keep_kinds = call.flag("noOverwriteDirNonDir");
    let record = container.record().clone();
    let user = record.config.user.filter(|user| call.flag("copyUIDGID") && !user.is_empty());
    let inside = clean(Path::new(&text));
    let at = Path::new("/").join(&inside);
    let mut mounts = record.mounts.iter().filter(|mount| at.starts_with(&mount.destination)).peekable();
    let closed = record.host.readonly_rootfs == Some(true) && mounts.peek().is_none();
    ensure!(!closed, forbidden, "container rootfs is marked read-only");
    ensure!(mounts.all(|mount| mount.writable), forbidden, "mounted volume is marked read-only");
    block_in_place(|| {
        let root = view::open(container)?;
        let find = |user: String| user::find(&root, &user, &[]);
        let owner = user.map(find).transpose()?.map(|user| (user.uid, user.gid));
        // The folder is found below the container's root; what is unpacked is resolved below the folder.
        let folder = folder(container, &root, &inside, &text)?;
        let stream = crate::image::content::decompressed(file)?;
        let apply = Apply { keep_kinds, owner, ..Apply::default() };
        apply.run(&folder, stream).map_err(Error::invalid)
    })?;
    container.publish("extract-to-dir", &[]);
    answer::nothing()
}
