//! `state`: a container as JSON (runtime.md, "State").

use super::{Command, only_id, print};
use crate::command::CommandError;
use crate::state::{self, Record, StateDir, Status};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;

/// A container as `state` and `list` show it; the fields and their order are runc's.
#[derive(Debug, Serialize)]
pub struct Shown<'a> {
    #[serde(rename = "ociVersion")]
    oci_version: &'a str,
    /// Its id.
    pub id: &'a str,
    /// Its first process; 0 when that has ended.
    pub pid: i32,
    /// Its state.
    pub status: &'static str,
    /// The bundle.
    pub bundle: &'a Path,
    rootfs: &'a Path,
    /// When it was created.
    pub created: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
    /// The name of the user who created it.
    pub owner: String,
}

impl<'a> Shown<'a> {
    /// What is shown of a record in that state.
    #[must_use]
    pub fn new(record: &'a Record, status: Status, owner: String) -> Self {
        Self {
            oci_version: &record.oci_version,
            id: &record.id,
            pid: if status == Status::Stopped { 0 } else { record.pid },
            status: status.name(),
            bundle: &record.bundle,
            rootfs: &record.rootfs,
            created: &record.created,
            annotations: &record.annotations,
            owner,
        }
    }
}

/// `state`.
pub const STATE: Command = Command {
    name: "state",
    arguments: "ID",
    about: "print the state of a container as JSON",
    flags: &[],
    run: |context, parsed| {
        let dir = StateDir::open(&context.root, only_id("state", parsed)?)?;
        let record = dir.record()?;
        let status = state::status(&dir, &record)?;
        // runc leaves the owner out here and shows it in `list`.
        let shown = Shown::new(&record, status, String::new());
        let text =
            serde_json::to_string_pretty(&shown).map_err(|error| CommandError::other(error.to_string()))?;
        print(&(text + "\n"))?;
        Ok(0)
    },
    enters: false,
};
