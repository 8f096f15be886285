//! The directories of a checkpoint, by descriptor: images, and criu's log.
//!
//! Whoever made the images filled the directory with whatever they liked: nothing in it is opened through a link, and what
//! is written is a file of our own making.

use super::{Error, Options, Result};
use crate::child::{OrFail, Step, failure};
use crate::parent::error::{OrError, file_error};
use crate::path;
use crate::sys::Errno;
use nix::dir::Dir;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Where standard I/O led: runc's file, and runc's form.
const DESCRIPTORS: &str = "descriptors.json";
/// What belongs to the host.
const EXTERNALS: &str = "externals.json";

/// How much of a log is looked at, from its end.
const LOG_PART: u64 = 1 << 20;

/// The directories.
#[derive(Debug)]
pub struct Images {
    directory: OwnedFd,
    path: PathBuf,
    work: Option<(OwnedFd, PathBuf)>,
    log: &'static str,
}

impl Images {
    /// Opens the directories for a checkpoint, and makes those that are missing.
    ///
    /// # Errors
    /// One cannot be made or opened; `--parent-path` names no directory; there are links where images would be written.
    pub fn to_write(options: &Options) -> Result<Self> {
        make(&options.images, true)?;
        let images = Self::open(options, "dump.log")?;
        images.check_parent(options.parent.as_deref())?;
        images.refuse_links()?;
        images.remove(DESCRIPTORS)?;
        images.remove(EXTERNALS)?;
        Ok(images)
    }

    /// Opens the directories for a restore.
    ///
    /// # Errors
    /// There are no images, or a directory cannot be opened.
    pub fn to_read(options: &Options) -> Result<Self> {
        Self::open(options, "restore.log")
    }

    fn open(options: &Options, log: &'static str) -> Result<Self> {
        let directory = open_directory("--image-path", &options.images)?;
        let work = match &options.work {
            None => None,
            Some(path) => {
                make(path, false)?;
                Some((open_directory("--work-path", path)?, path.clone()))
            }
        };
        let images = Self { directory, path: options.images.clone(), work, log };
        // criu would write through a link.
        images.remove_from(images.log_directory(), log)?;
        Ok(images)
    }

    /// The descriptor of the images' directory, as a number.
    pub(super) fn directory(&self) -> i32 {
        self.directory.as_raw_fd()
    }

    /// The descriptor of the log's directory, where it is another one.
    pub(super) fn work(&self) -> Option<i32> {
        self.work.as_ref().map(|(fd, _)| fd.as_raw_fd())
    }

    /// The directories as they are in the mount namespace of the caller, which is another one by now.
    ///
    /// # Errors
    /// The paths lead to others there.
    pub(super) fn open_again(&self) -> Step<(OwnedFd, Option<OwnedFd>)> {
        let again = |before: &OwnedFd, path: &Path| {
            let what = || format!("open {} again", path.display());
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
            let file = nix::fcntl::open(path, flags, Mode::empty()).or_fail(what)?;
            let (one, other) = (fstat(before).or_fail(what)?, fstat(&file).or_fail(what)?);
            match (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino) {
                true => Ok(file),
                false => Err(failure(format!("{} is another directory now", path.display()))),
            }
        };
        let directory = again(&self.directory, &self.path)?;
        let work = self.work.as_ref().map(|(before, path)| again(before, path)).transpose()?;
        Ok((directory, work))
    }

    /// The log's name.
    pub(super) fn log(&self) -> &'static str {
        self.log
    }

    fn log_directory(&self) -> &OwnedFd {
        self.work.as_ref().map_or(&self.directory, |(fd, _)| fd)
    }

    /// An error of criu's, with what its log says, if it got as far as writing one.
    pub(super) fn explain(&self, error: Error) -> Error {
        if !matches!(error, Error::Refused { .. } | Error::Ended { .. } | Error::Missing { .. }) {
            return error;
        }
        let Some(line) = self.last_error() else { return error };
        let directory = self.work.as_ref().map_or(self.path.as_path(), |(_, path)| path);
        Error::Logged { error: Box::new(error), line, log: directory.join(self.log).display().to_string() }
    }

    /// What the log tells of errors, empty when there is none; `None` without a log.
    fn last_error(&self) -> Option<String> {
        let mut file = open_file(self.log_directory(), self.log).ok()?;
        let length = file.metadata().ok()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_PART))).ok()?;
        let mut bytes = Vec::new();
        file.take(LOG_PART).read_to_end(&mut bytes).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        Some(causes(&text))
    }

    fn check_parent(&self, parent: Option<&Path>) -> Result<()> {
        let Some(parent) = parent else { return Ok(()) };
        if parent.is_absolute() {
            return Err(Error::Other("--parent-path must be relative".into()));
        }
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        openat(&self.directory, parent, flags, Mode::empty())
            .or_error(|| format!("invalid --parent-path: open {}", self.path.join(parent).display()))?;
        Ok(())
    }

    /// criu opens the files it writes by name, and would follow a link that somebody left there.
    fn refuse_links(&self) -> Result<()> {
        let what = || format!("--image-path: read {}", self.path.display());
        let copy = self.directory.try_clone().map_err(file_error("open", &self.path))?;
        let mut directory = Dir::from_fd(copy).or_error(what)?;
        for entry in directory.iter() {
            let entry = entry.or_error(what)?;
            let name = entry.file_name().to_string_lossy();
            // `parent` is the link that criu makes itself, anew.
            let link = path::stat_one(self.directory.as_fd(), std::ffi::OsStr::new(&*name))
                .is_ok_and(|stat| path::file_type(&stat) == SFlag::S_IFLNK);
            if link && name != "parent" {
                return Err(Error::Other(format!(
                    "--image-path: {} is a link; expected a directory that is empty or has an older checkpoint",
                    self.path.join(&*name).display()
                )));
            }
        }
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.remove_from(&self.directory, name)
    }

    fn remove_from(&self, directory: &OwnedFd, name: &str) -> Result<()> {
        match unlinkat(directory, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            // Who may not remove it may not write to it either: criu will say so.
            Err(Errno::EROFS | Errno::EACCES | Errno::EPERM) => Ok(()),
            result => Ok(result.or_error(|| format!("remove {}", self.path.join(name).display()))?),
        }
    }

    /// Notes where standard I/O leads.
    pub(super) fn write_descriptors(&self, links: &[String]) -> Result<()> {
        self.write(DESCRIPTORS, links)
    }

    /// Where standard I/O led.
    ///
    /// # Errors
    /// There is no checkpoint here.
    pub(super) fn descriptors(&self) -> Result<Vec<String>> {
        match self.read(DESCRIPTORS)? {
            Some(links) => Ok(links),
            None => Err(Error::Other(format!(
                "--image-path: {} has no {DESCRIPTORS}: it is no checkpoint",
                self.path.display()
            ))),
        }
    }

    /// Notes what belongs to the host.
    pub(super) fn write_externals<T: Serialize>(&self, externals: &T) -> Result<()> {
        self.write(EXTERNALS, externals)
    }

    /// What belonged to the host; `None` in images of another runtime.
    pub(super) fn externals<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        self.read(EXTERNALS)
    }

    fn write<T: Serialize + ?Sized>(&self, name: &str, value: &T) -> Result<()> {
        let path = self.path.join(name);
        let text = serde_json::to_vec(value).map_err(|error| Error::Other(error.to_string()))?;
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        let file = openat(&self.directory, name, flags, Mode::from_bits_truncate(0o600))
            .or_error(|| format!("create {}", path.display()))?;
        File::from(file).write_all(&text).map_err(file_error("write", path))?;
        Ok(())
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        const MOST: u64 = 4 << 20;
        let path = self.path.join(name);
        let file = match open_file(&self.directory, name) {
            Err(Errno::ENOENT) => return Ok(None),
            result => result.or_error(|| format!("open {}", path.display()))?,
        };
        let mut text = Vec::new();
        file.take(MOST).read_to_end(&mut text).map_err(file_error("read", &path))?;
        let value = serde_json::from_slice(&text);
        value.map(Some).map_err(|error| Error::Other(format!("{}: {error}", path.display())))
    }
}

/// The first error of a log, which is the cause, and the last one before criu's word that it failed.
fn causes(log: &str) -> String {
    let cause = |line: &&str| {
        line.contains("Error") && !line.trim_end().ends_with("FAILED.") && !line.contains(super::HARMLESS)
    };
    let first = log.lines().find(cause).unwrap_or_default().trim();
    let last = log.lines().rfind(cause).unwrap_or_default().trim();
    if first == last { first.to_owned() } else { format!("{first} ... {last}") }
}

/// Opens a regular file, not through a link.
fn open_file(directory: &OwnedFd, name: &str) -> std::result::Result<File, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = openat(directory, name, flags, Mode::empty())?;
    match path::file_type(&fstat(&file)?) {
        SFlag::S_IFREG => Ok(file.into()),
        _ => Err(Errno::EINVAL),
    }
}

fn open_directory(flag: &'static str, path: &Path) -> Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(nix::fcntl::open(path, flags, Mode::empty())
        .or_error(|| format!("{flag}: open {}", path.display()))?)
}

fn make(path: &Path, recursive: bool) -> Result<()> {
    match fs::DirBuilder::new().recursive(recursive).mode(0o700).create(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(Error::Host(file_error("create directory", path)(error)))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn options(images: &Path) -> Options {
        Options { images: images.to_owned(), ..Options::default() }
    }

    #[test]
    fn nothing_is_written_through_a_link() {
        let place = tempfile::tempdir().expect("temporary directory");
        let (images, precious) = (place.path().join("images"), place.path().join("precious"));
        fs::write(&precious, "precious").expect("written");
        fs::create_dir(&images).expect("made");
        for name in [DESCRIPTORS, EXTERNALS, "dump.log"] {
            symlink(&precious, images.join(name)).expect("linked");
        }
        let opened = Images::to_write(&options(&images)).expect_err("links are there");
        assert!(opened.to_string().contains("is a link"), "{opened}");
        for name in [DESCRIPTORS, EXTERNALS, "pages-1.img"] {
            let _ = fs::remove_file(images.join(name));
        }
        fs::hard_link(&precious, images.join(DESCRIPTORS)).expect("linked");
        let opened = Images::to_write(&options(&images)).expect("no links");
        opened.write_descriptors(&["pipe:[1]".to_owned()]).expect("written");
        assert_eq!(fs::read_to_string(&precious).expect("read"), "precious");
        assert_eq!(opened.descriptors().expect("read"), ["pipe:[1]"]);
    }

    #[test]
    fn the_last_error_of_the_log_is_quoted() {
        let place = tempfile::tempdir().expect("temporary directory");
        let images = Images::to_write(&options(place.path())).expect("opened");
        let error = || Error::Refused { kind: super::super::Kind::Dump, errno: 0, message: String::new() };
        assert_eq!(images.explain(error()).to_string(), "criu failed: type DUMP errno 0");
        let log = "(1) Error (criu/util.c:1): rlimit: Can't\n(2) Error (criu/x.c:1): no\n(3) Error (criu/cr-dump.c:2): Dumping FAILED.\n";
        fs::write(place.path().join("dump.log"), log).expect("written");
        let text = images.explain(error()).to_string();
        assert!(text.contains("its log says \"(2) Error (criu/x.c:1): no\"; log file: "), "{text}");
    }

    #[test]
    fn a_parent_is_relative_and_there() {
        let place = tempfile::tempdir().expect("temporary directory");
        let with = |parent: &str| {
            let options = Options { parent: Some(parent.into()), ..options(&place.path().join("images")) };
            Images::to_write(&options).map(drop).map_err(|error| error.to_string())
        };
        fs::create_dir(place.path().join("first")).expect("made");
        assert_eq!(with("../first"), Ok(()));
        assert_eq!(with("/first"), Err("--parent-path must be relative".to_owned()));
        assert!(with("../none").is_err_and(|text| text.starts_with("invalid --parent-path: ")));
    }
}
