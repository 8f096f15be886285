//! The shim's log: lines in the form of containerd's own, written to the `log` pipe of the first bundle.
//!
//! Writing never blocks and never fails: when nobody reads and the pipe is full, the line is lost, for a shim
//! that waits for its log is worse than one without.

use std::cell::{Cell, RefCell};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use runtime::time::stamp_nanos;
use runtime::weak;

thread_local! {
    static OUTPUT: RefCell<Option<File>> = const { RefCell::new(None) };
    static DEBUG: Cell<bool> = const { Cell::new(false) };
}

/// Sends the log to `path`, a pipe that containerd reads. Without a call to this there is no log.
pub fn open(path: &Path, debug: bool) -> io::Result<()> {
    // Read and write, so that opening does not depend on a reader and none is needed later either.
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(if weak::off("log") { 0 } else { libc::O_NONBLOCK })
        .open(path)?;
    OUTPUT.with(|output| output.replace(Some(file)));
    DEBUG.with(|flag| flag.set(debug));
    Ok(())
}

/// Has a panic say in the log what it is about: standard error leads nowhere.
pub fn tell_panics() {
    std::panic::set_hook(Box::new(|panic| error(&panic.to_string())));
}

/// What people need to know only when they look for something.
pub fn debug(message: &str) {
    if DEBUG.with(Cell::get) {
        line("debug", message);
    }
}

/// What is worth a line and no worry.
pub fn info(message: &str) {
    line("info", message);
}

/// What went wrong and was survived.
pub fn warn(message: &str) {
    line("warning", message);
}

/// What went wrong and cost something.
pub fn error(message: &str) {
    line("error", message);
}

fn line(level: &str, message: &str) {
    OUTPUT.with(|output| {
        // Busy when writing a line is what has panicked.
        let Ok(mut output) = output.try_borrow_mut() else { return };
        if let Some(file) = output.as_mut() {
            let now = stamp_nanos();
            let text =
                format!("time=\"{now}\" level={level} msg={message:?} runtime=io.containerd.corten.v2\n");
            // A full pipe, or one without a reader: the line is lost.
            let _lost = file.write(text.as_bytes());
        }
    });
}
