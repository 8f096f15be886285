//! What this host's control groups are, for those who only want to know.

use super::devices::filter;
use super::dir::Dir;
use super::host::{self, Host, ROOT};
use super::path::join;
use super::tree::controllers;
use crate::sys::{self, bpf};

/// The layout of the host's hierarchies, with the names of their controllers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// v2 alone.
    Unified {
        /// Controllers that it has.
        controllers: Vec<String>,
        /// Those that are enabled below its root.
        enabled: Vec<String>,
    },
    /// v1, with a v2 hierarchy beside it.
    Hybrid {
        /// Controllers of v2.
        controllers: Vec<String>,
        /// Controllers of v1 that are mounted.
        legacy: Vec<String>,
    },
    /// v1 alone.
    Legacy {
        /// Controllers that are mounted.
        legacy: Vec<String>,
    },
    /// None.
    Absent,
}

/// Looks.
#[must_use]
pub fn layout() -> Layout {
    let hierarchies = match Host::detect() {
        Ok(Host::Unified) => {
            let enabled = Dir::new(ROOT).read_value("cgroup.subtree_control").unwrap_or_default();
            return Layout::Unified {
                controllers: controllers(&Dir::new(ROOT)).unwrap_or_default(),
                enabled: enabled.split_whitespace().map(str::to_owned).collect(),
            };
        }
        Ok(Host::Legacy(hierarchies)) => hierarchies,
        Ok(Host::Absent) | Err(_) => return Layout::Absent,
    };
    let (mut legacy, mut unified) = (Vec::new(), None);
    for hierarchy in hierarchies {
        let Some(mount) = hierarchy.mounts().into_iter().find(|mount| host::is_cgroup(mount)) else {
            continue;
        };
        match hierarchy.controllers.as_str() {
            host::UNIFIED => unified = Some(controllers(&Dir::new(mount)).unwrap_or_default()),
            names => legacy.extend(names.split(',').map(str::to_owned)),
        }
    }
    match unified {
        Some(controllers) => Layout::Hybrid { controllers, legacy },
        None if legacy.is_empty() => Layout::Absent,
        None => Layout::Legacy { legacy },
    }
}

/// Where this process is in the hierarchy of v2, as a path that can be opened.
#[must_use]
pub fn own_unified_directory() -> Option<String> {
    let mount = [ROOT.to_owned(), format!("{ROOT}/unified")].into_iter().find(|mount| {
        std::path::Path::new(mount).join("cgroup.controllers").exists() && host::is_cgroup(mount)
    })?;
    let own = host::own_unified().ok()?;
    Some(join(&mount, &own).trim_end_matches('/').to_owned())
}

/// Whether this process may load the program that a container's device rules are on v2. It is let go at once.
///
/// # Errors
/// The errno of bpf(2).
pub fn can_load_device_filter() -> sys::Result<()> {
    bpf::load_device_filter(&filter::compile(&[])).map(drop)
}
