//! One attempt at something that a container may be refused: `ok`, or the name of the error.

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use std::fs;
use std::io;

/// Does what the words say.
pub(crate) fn attempt(what: &str, words: &[&str]) -> String {
    let result = match (what, words) {
        ("read", [path]) => fs::read(path).map(drop),
        ("write", [path]) => fs::OpenOptions::new().write(true).open(path).map(drop),
        ("write-text", [path, text]) => fs::write(path, text),
        ("create", [path]) => fs::File::create(path).map(drop),
        ("mkdir", [path]) => fs::create_dir(path),
        ("chown", [path, uid]) => std::os::unix::fs::chown(path, Some(uid.parse().unwrap()), None),
        ("open-device", [path]) => {
            open(*path, OFlag::O_RDWR | OFlag::O_NONBLOCK, Mode::empty()).map(drop).map_err(io)
        }
        ("mknod", [path, kind, major, minor]) => {
            let kind = if *kind == "b" { SFlag::S_IFBLK } else { SFlag::S_IFCHR };
            let number = makedev(major.parse().unwrap(), minor.parse().unwrap());
            mknod(*path, kind, Mode::from_bits_truncate(0o600), number).map_err(io)
        }
        ("mount-tmpfs", [path]) => {
            mount(Some("none"), *path, Some("tmpfs"), MsFlags::empty(), None::<&str>).map_err(io)
        }
        ("remount-rw", [path]) => {
            let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
            mount(None::<&str>, *path, None::<&str>, flags, None::<&str>).map_err(io)
        }
        ("umount", [path]) => umount2(*path, MntFlags::MNT_DETACH).map_err(io),
        ("unshare", [flags]) => {
            let flags = CloneFlags::from_bits_truncate(number(flags).try_into().unwrap());
            unshare(flags).map_err(io)
        }
        ("sethostname", [name]) => nix::unistd::sethostname(name).map_err(io),
        ("execute", [path, rest @ ..]) => std::process::Command::new(path).args(rest).output().map(drop),
        ("syscall", [call, rest @ ..]) => {
            let mut args = [0u64; 6];
            for (arg, word) in args.iter_mut().zip(rest) {
                *arg = number(word).cast_unsigned();
            }
            integration::sys::probe_syscall(number(call), args).map(drop)
        }
        ("syscall-of-x86", [call, rest @ ..]) => {
            let mut args = [0u64; 3];
            for (arg, word) in args.iter_mut().zip(rest) {
                *arg = number(word).cast_unsigned();
            }
            integration::sys::probe_syscall_of_x86(number(call), args).map(drop)
        }
        _ => panic!("unknown attempt: {what} {words:?}"),
    };
    match result {
        Ok(()) => "ok".to_owned(),
        Err(error) => {
            error.raw_os_error().map_or(error.to_string(), |code| format!("{:?}", Errno::from_raw(code)))
        }
    }
}

fn io(errno: Errno) -> io::Error {
    io::Error::from(errno)
}

/// A decimal or 0x-hexadecimal number.
fn number(word: &str) -> i64 {
    match word.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).unwrap().cast_signed(),
        None => word.parse().unwrap(),
    }
}
