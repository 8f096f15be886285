//! The working folder of one run: outputs, bundles, runtime state. Removed at the end unless asked to stay.
//! And tasks that work in it side by side.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{At as _, Error, Result};

/// A folder that goes away with this value.
pub(crate) struct Work {
    root: PathBuf,
    keep: bool,
}

impl Work {
    /// Make the folder. `keep`: leave it behind and say where it is.
    pub(crate) fn new(keep: bool) -> Result<Work> {
        let folder =
            tempfile::Builder::new().prefix("conformance-").tempdir().at("create", &std::env::temp_dir())?;
        Ok(Work { root: folder.keep(), keep })
    }

    /// A new folder below it.
    pub(crate) fn folder(&self, parts: &[&str]) -> Result<PathBuf> {
        let path = parts.iter().fold(self.root.clone(), |path, part| path.join(part));
        std::fs::create_dir_all(&path).at("create", &path)?;
        Ok(path)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if self.keep {
            eprintln!("conformance: everything is kept in {}", self.root.display());
        } else if let Err(error) = std::fs::remove_dir_all(&self.root) {
            eprintln!("conformance: {} stays behind: {error}", self.root.display());
        }
    }
}

/// Do every task, `jobs` at a time; the results come back in the order of the tasks.
pub(crate) fn in_parallel<T: Sync, R: Send>(
    jobs: usize,
    tasks: &[T],
    each: impl Fn(&T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let done: Vec<Mutex<Option<Result<R>>>> = tasks.iter().map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, tasks.len().max(1)) {
            scope.spawn(|| {
                while let Some((task, slot)) = {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    tasks.get(index).zip(done.get(index))
                } {
                    let result = each(task);
                    if let Ok(mut slot) = slot.lock() {
                        *slot = Some(result);
                    }
                }
            });
        }
    });
    let missing = || Error::Usage("a case ended without a result".into());
    done.into_iter().map(|slot| slot.into_inner().ok().flatten().ok_or_else(missing)?).collect()
}

/// A file's text, with bytes that are not UTF-8 replaced; empty when it cannot be read.
pub(crate) fn text_of(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}
