//! `linux.seccomp` of config.json, as written (runtime-spec 1.3, `config-linux.md` § Seccomp).
//!
//! Strings stay strings; what they mean is decided by the compiler, which names the JSON path of what it
//! refuses.

use crate::Name;
use serde::{Deserialize, Deserializer, Serialize};

pub(crate) fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// `linux.seccomp`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Seccomp {
    #[serde(deserialize_with = "nullable")]
    pub default_action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_errno_ret: Option<u32>,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub architectures: Vec<String>,
    /// Absent and empty differ: without flags the runtime chooses, with an empty list there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flags: Option<Vec<String>>,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub listener_path: String,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub listener_metadata: String,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub syscalls: Vec<Rule>,
}

/// One of `syscalls`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Rule {
    #[serde(deserialize_with = "nullable")]
    pub names: Vec<Name>,
    #[serde(deserialize_with = "nullable")]
    pub action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errno_ret: Option<u32>,
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Arg>,
}

/// One of `syscalls[].args`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct Arg {
    #[serde(deserialize_with = "nullable")]
    pub index: u32,
    #[serde(deserialize_with = "nullable")]
    pub value: u64,
    #[serde(deserialize_with = "nullable")]
    pub value_two: u64,
    #[serde(deserialize_with = "nullable")]
    pub op: String,
}
