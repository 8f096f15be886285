//! The runtime options of a container: decoded from what containerd, Docker or CRI send, and kept in the
//! bundle.
//!
//! Several kinds of message arrive: `containerd.runc.v1.Options` from callers that know the runtime as
//! runc's, and `runtimeoptions.v1.Options` with a TOML text from everybody else; clients of containerd 1.6
//! also send the options of its first runtime, `containerd.linux.runc`. All end in one [`RuntimeOptions`].

mod toml;

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use prost::Message;
use serde::{Deserialize, Serialize};

use runtime::weak;

use crate::proto::linux_runc::{CreateOptions, RuncOptions as LinuxOptions};
use crate::proto::runc_options::Options as RuncOptions;
use crate::proto::runtime_options::Options as GenericOptions;
use crate::proto::well_known::Any;

/// The largest configuration file that is read.
const MAX_CONFIG: u64 = 1 << 20;

/// The most that is read from standard input, as other shims have it.
const MAX_INPUT: u64 = 10 << 20;

/// Why options cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The message is of a type that this shim does not know.
    #[error(
        "runtime options of type {0:?} are not known; expected containerd.runc.v1.Options or runtimeoptions.v1.Options"
    )]
    Type(String),
    /// The message does not decode.
    #[error("runtime options: {0}")]
    Message(#[from] prost::DecodeError),
    /// The text is not the TOML that is understood here.
    #[error("runtime options, line {line}: {problem}")]
    Toml {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// There is no option of this name.
    #[error("runtime option {0:?} is not known; expected one of {known}", known = KEYS.join(", "))]
    Unknown(String),
    /// The option exists and takes another type of value.
    #[error("runtime option {key:?} must be {expected}")]
    Value {
        /// The option's name.
        key: String,
        /// What it takes.
        expected: &'static str,
    },
    /// The file that holds the options cannot be read.
    #[error("runtime options {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file in the bundle is not ours.
    #[error("runtime options {path}: {source}", path = path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: serde_json::Error,
    },
}

/// The names that a TOML text may use, as the Go structures spell them.
const KEYS: [&str; 11] = [
    "BinaryName",
    "CriuImagePath",
    "CriuPath",
    "CriuWorkPath",
    "IoGid",
    "IoUid",
    "NoNewKeyring",
    "NoPivotRoot",
    "Root",
    "ShimCgroup",
    "SystemdCgroup",
];

/// What a container's runtime is and how it is called. The JSON form is that of `options.json` in the bundle,
/// which other shims of containerd read and write too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RuntimeOptions {
    /// Do not use pivot_root (for a root filesystem in RAM).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_pivot_root: bool,
    /// Do not give the container a session keyring of its own.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_new_keyring: bool,
    /// The cgroup that the shim itself goes into.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub shim_cgroup: String,
    /// The user that owns the pipes of the container's stdio.
    #[serde(skip_serializing_if = "is_zero")]
    pub io_uid: u32,
    /// The group that owns the pipes of the container's stdio.
    #[serde(skip_serializing_if = "is_zero")]
    pub io_gid: u32,
    /// The runtime to execute, a path or a name on PATH; empty for the runtime that is built in.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub binary_name: String,
    /// The directory of the runtime's own state; a namespace's name is appended.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub root: String,
    /// The criu program (until containerd 1.7).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub criu_path: String,
    /// Let systemd make the cgroups.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub systemd_cgroup: bool,
    /// Where checkpoints are written and restores are read.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub criu_image_path: String,
    /// Where criu keeps its logs.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub criu_work_path: String,
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

impl RuntimeOptions {
    /// Decodes the options of a request. No options at all are the default ones.
    pub fn decode(any: Option<&Any>) -> Result<Self, Error> {
        let Some(any) = any.filter(|any| !any.type_url.is_empty() || !any.value.is_empty()) else {
            return Ok(Self::default());
        };
        // Written bare by containerd; other encoders put a domain before it.
        let name = any.type_url.rsplit('/').next().unwrap_or_default();
        match name {
            "containerd.runc.v1.Options" => Ok(RuncOptions::decode(&any.value[..])?.into()),
            "containerd.linux.runc.CreateOptions" => Ok(CreateOptions::decode(&any.value[..])?.into()),
            "containerd.linux.runc.RuncOptions" => Ok(LinuxOptions::decode(&any.value[..])?.into()),
            "runtimeoptions.v1.Options" if weak::off("options") => {
                Ok(RuncOptions::decode(&any.value[..])?.into())
            }
            "runtimeoptions.v1.Options" => Self::from_generic(&GenericOptions::decode(&any.value[..])?),
            _ => Err(Error::Type(any.type_url.clone())),
        }
    }

    fn from_generic(options: &GenericOptions) -> Result<Self, Error> {
        if !options.config_path.is_empty() {
            return Self::from_toml(&read_config(Path::new(&options.config_path))?);
        }
        let text = std::str::from_utf8(&options.config_body)
            .map_err(|_| Error::Toml { line: 1, problem: "not UTF-8".into() })?;
        Self::from_toml(text)
    }

    /// Understands a TOML text.
    pub fn from_toml(text: &str) -> Result<Self, Error> {
        let mut options = Self::default();
        for (key, value) in toml::parse(text)? {
            options.set(&key, value)?;
        }
        Ok(options)
    }

    fn set(&mut self, key: &str, value: toml::Value) -> Result<(), Error> {
        enum Place<'a> {
            Flag(&'a mut bool),
            Number(&'a mut u32),
            Text(&'a mut String),
        }
        let place = match key {
            "NoPivotRoot" => Place::Flag(&mut self.no_pivot_root),
            "NoNewKeyring" => Place::Flag(&mut self.no_new_keyring),
            "SystemdCgroup" => Place::Flag(&mut self.systemd_cgroup),
            "IoUid" => Place::Number(&mut self.io_uid),
            "IoGid" => Place::Number(&mut self.io_gid),
            "ShimCgroup" => Place::Text(&mut self.shim_cgroup),
            "BinaryName" => Place::Text(&mut self.binary_name),
            "Root" => Place::Text(&mut self.root),
            "CriuPath" => Place::Text(&mut self.criu_path),
            "CriuImagePath" => Place::Text(&mut self.criu_image_path),
            "CriuWorkPath" => Place::Text(&mut self.criu_work_path),
            // What containerd itself takes from the same table.
            "TypeUrl" | "ConfigPath" | "ConfigBody" => return Ok(()),
            _ => return Err(Error::Unknown(key.to_owned())),
        };
        let refuse = |expected| Error::Value { key: key.to_owned(), expected };
        let not_a_number = || refuse("a number from 0 to 4294967295");
        match (place, value) {
            (Place::Flag(place), toml::Value::Boolean(value)) => *place = value,
            (Place::Text(place), toml::Value::Text(value)) => *place = value,
            (Place::Number(place), toml::Value::Integer(value)) => {
                *place = u32::try_from(value).map_err(|_| not_a_number())?;
            }
            (Place::Flag(_), _) => return Err(refuse("true or false")),
            (Place::Number(_), _) => return Err(not_a_number()),
            (Place::Text(_), _) => return Err(refuse("a text in quotes")),
        }
        Ok(())
    }

    /// Reads `options.json` of a bundle; the default options when there is none.
    pub fn read(bundle: &Path) -> Result<Self, Error> {
        let path = bundle.join("options.json");
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|source| Error::Json { path, source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(Error::Read { path, source }),
        }
    }

    /// The text of `options.json`.
    pub fn to_json(&self) -> Vec<u8> {
        // Plain strings, numbers and booleans: serialising them has no way to fail.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// What containerd gives to `start` and `-info` on standard input: the options, in a message that depends on
/// its version.
pub fn read_input() -> io::Result<Vec<u8>> {
    let mut input = Vec::new();
    io::stdin().take(MAX_INPUT).read_to_end(&mut input)?;
    Ok(input)
}

/// Reads a configuration file that the options name. Nobody is waited for: a FIFO would stop the event loop.
fn read_config(path: &Path) -> Result<String, Error> {
    let read = || {
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("is not a regular file"));
        }
        let mut text = String::new();
        if file.take(MAX_CONFIG + 1).read_to_string(&mut text)? as u64 > MAX_CONFIG {
            return Err(io::Error::other(format!("is larger than {MAX_CONFIG} bytes")));
        }
        Ok(text)
    };
    read().map_err(|source| Error::Read { path: path.to_owned(), source })
}

impl From<RuncOptions> for RuntimeOptions {
    fn from(options: RuncOptions) -> Self {
        Self {
            no_pivot_root: options.no_pivot_root,
            no_new_keyring: options.no_new_keyring,
            shim_cgroup: options.shim_cgroup,
            io_uid: options.io_uid,
            io_gid: options.io_gid,
            binary_name: options.binary_name,
            root: options.root,
            criu_path: options.criu_path,
            systemd_cgroup: options.systemd_cgroup,
            criu_image_path: options.criu_image_path,
            criu_work_path: options.criu_work_path,
        }
    }
}

impl From<CreateOptions> for RuntimeOptions {
    fn from(options: CreateOptions) -> Self {
        Self {
            no_pivot_root: options.no_pivot_root,
            no_new_keyring: options.no_new_keyring,
            shim_cgroup: options.shim_cgroup,
            io_uid: options.io_uid,
            io_gid: options.io_gid,
            criu_image_path: options.criu_image_path,
            criu_work_path: options.criu_work_path,
            ..Self::default()
        }
    }
}

impl From<LinuxOptions> for RuntimeOptions {
    fn from(options: LinuxOptions) -> Self {
        Self {
            binary_name: options.runtime,
            root: options.runtime_root,
            criu_path: options.criu_path,
            systemd_cgroup: options.systemd_cgroup,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(type_url: &str, value: Vec<u8>) -> Any {
        Any { type_url: type_url.into(), value }
    }

    fn generic(toml: &str) -> Any {
        let options = GenericOptions { config_body: toml.into(), ..Default::default() };
        any("runtimeoptions.v1.Options", options.encode_to_vec())
    }

    #[test]
    fn both_kinds_of_message_mean_the_same() {
        let runc = RuncOptions { systemd_cgroup: true, io_uid: 7, root: "/r".into(), ..Default::default() };
        let typed = any("types.containerd.io/containerd.runc.v1.Options", runc.encode_to_vec());
        let text = generic("SystemdCgroup = true\nIoUid = 7\nRoot = \"/r\"\n");
        let options = RuntimeOptions::decode(Some(&typed)).unwrap();
        assert_eq!(options, RuntimeOptions::decode(Some(&text)).unwrap());
        assert!(options.systemd_cgroup);
        let old = CreateOptions { io_uid: 7, shim_cgroup: "/s".into(), ..Default::default() };
        let old = any("containerd.linux.runc.CreateOptions", old.encode_to_vec());
        let options = RuntimeOptions::decode(Some(&old)).unwrap();
        assert_eq!((options.io_uid, options.shim_cgroup.as_str()), (7, "/s"));
        assert_eq!(RuntimeOptions::decode(None).unwrap(), RuntimeOptions::default());
        assert_eq!(RuntimeOptions::decode(Some(&Any::default())).unwrap(), RuntimeOptions::default());
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        let error = |any: &Any| RuntimeOptions::decode(Some(any)).unwrap_err().to_string();
        assert!(
            error(&generic("Colour = \"red\""))
                .contains("\"Colour\" is not known; expected one of BinaryName")
        );
        assert!(error(&generic("SystemdCgroup = \"yes\"")).contains("must be true or false"));
        assert!(error(&generic("IoUid = -1")).contains("must be a number"));
        assert!(error(&any("containerd.linux.runc.OtherOptions", vec![])).contains("are not known"));
        assert!(error(&any("containerd.runc.v1.Options", vec![0xff])).contains("runtime options"));
    }

    #[test]
    fn the_file_in_the_bundle_is_that_of_other_shims() {
        let bundle = tempfile::tempdir().unwrap();
        assert_eq!(RuntimeOptions::read(bundle.path()).unwrap(), RuntimeOptions::default());
        let foreign = br#"{"binary_name":"runc","root":"/run/docker/runtime-runc","systemd_cgroup":true,"task_api_version":3}"#;
        std::fs::write(bundle.path().join("options.json"), foreign).unwrap();
        let options = RuntimeOptions::read(bundle.path()).unwrap();
        assert_eq!((options.binary_name.as_str(), options.systemd_cgroup), ("runc", true));
        let text = String::from_utf8(options.to_json()).unwrap();
        assert_eq!(text, r#"{"binary_name":"runc","root":"/run/docker/runtime-runc","systemd_cgroup":true}"#);
    }

    #[test]
    fn a_configuration_file_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("corten.toml");
        std::fs::write(&path, "BinaryName = '/usr/bin/runc'\n").unwrap();
        let mut options = GenericOptions { config_path: path.display().to_string(), ..Default::default() };
        let decode = |options: &GenericOptions| {
            RuntimeOptions::decode(Some(&any("runtimeoptions.v1.Options", options.encode_to_vec())))
        };
        assert_eq!(decode(&options).unwrap().binary_name, "/usr/bin/runc");
        options.config_path = "/nonexistent/corten.toml".into();
        assert!(decode(&options).unwrap_err().to_string().contains("/nonexistent/corten.toml"));
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        options.config_path = fifo.display().to_string();
        assert!(decode(&options).unwrap_err().to_string().contains("is not a regular file"));
        std::fs::write(&path, "#".repeat(1 << 20) + "\nBinaryName = '/usr/bin/runc'\n").unwrap();
        options.config_path = path.display().to_string();
        assert!(decode(&options).unwrap_err().to_string().contains("is larger than 1048576 bytes"));
    }
}
