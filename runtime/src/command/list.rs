//! `list`: all containers.

use super::{Command, CommandError, Context, print};
use crate::cli::{Parsed, switch, value};
use crate::command::state::Shown;
use crate::state::{self, Record, StateDir, StateError, Status};

/// `list`.
pub const LIST: Command = Command {
    name: "list",
    arguments: "",
    about: "list containers",
    flags: &[value("format", "f", "FORMAT", "table (default) or json"), switch("quiet", "q", "only ids")],
    run: list,
    enters: false,
};

fn list(context: &Context, parsed: &Parsed) -> Result<i32, CommandError> {
    super::no_arguments("list", parsed)?;
    let mut found: Vec<(Record, Status)> = Vec::new();
    for id in state::ids(&context.root)? {
        // Deleted in the meantime, or not there yet: not in the list.
        match StateDir::open(&context.root, &id).and_then(|dir| {
            let record = dir.record()?;
            let status = state::status(&dir, &record)?;
            Ok((record, status))
        }) {
            Ok(container) => found.push(container),
            Err(StateError::Missing) => {}
            Err(error) => context.log.warn(&error.to_string()),
        }
    }
    if parsed.on("quiet")? {
        print(&found.iter().map(|(record, _)| format!("{}\n", record.id)).collect::<String>())?;
        return Ok(0);
    }
    let names = user_names();
    let owner = |id: u32| {
        names.iter().find(|(other, _)| *other == id).map_or(format!("#{id}"), |(_, name)| name.clone())
    };
    let shown: Vec<Shown<'_>> =
        found.iter().map(|(record, status)| Shown::new(record, *status, owner(record.owner))).collect();
    match parsed.text("format")? {
        None | Some("table") => print(&table(&shown))?,
        Some("json") => {
            // An empty list is `null`, as Go writes a nil slice.
            let text = if shown.is_empty() { Ok("null".to_owned()) } else { serde_json::to_string(&shown) };
            print(&text.map_err(|error| CommandError::other(error.to_string()))?)?;
        }
        Some(other) => {
            return Err(CommandError::other(format!(
                "invalid format option {other:?}; expected table or json"
            )));
        }
    }
    Ok(0)
}

/// Columns as Go's tabwriter lays them out: at least 12 wide, a space between them.
fn table(containers: &[Shown<'_>]) -> String {
    const HEADS: [&str; 6] = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"];
    let mut rows: Vec<[String; 6]> = vec![HEADS.map(str::to_owned)];
    for shown in containers {
        rows.push([
            shown.id.to_owned(),
            shown.pid.to_string(),
            shown.status.to_owned(),
            shown.bundle.display().to_string(),
            shown.created.to_owned(),
            shown.owner.clone(),
        ]);
    }
    let width =
        |column: usize| rows.iter().map(|row| row[column].chars().count() + 1).max().unwrap_or(0).max(12);
    let widths: Vec<usize> = (0..HEADS.len() - 1).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        for (cell, width) in row.iter().zip(&widths) {
            text.push_str(&format!("{cell:width$}"));
        }
        text.push_str(&row[HEADS.len() - 1]);
        text.push('\n');
    }
    text
}

/// Users of this host by id. `/etc/passwd` alone: a static program cannot ask name services.
fn user_names() -> Vec<(u32, String)> {
    let text = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            Some((fields.nth(1)?.parse().ok()?, name.to_owned()))
        })
        .collect()
}
