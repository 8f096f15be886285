//! The command line that containerd gives a shim, in the form of Go's `flag` package: `-name value`,
//! `-name=value` or `--name`, switches without a value, and the first other word is the action.

/// What the program was asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make sure a shim serves this container and print its address.
    Start,
    /// Clean up after a shim that is gone.
    Delete,
    /// Be the shim.
    Serve,
    /// Describe the runtime (`-info`).
    Info,
    /// Print the version (`-v`).
    Version,
}

/// The command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Args {
    /// What to do.
    pub action: Action,
    /// The containerd namespace of the container.
    pub namespace: String,
    /// The container's id.
    pub id: String,
    /// containerd's own gRPC address.
    pub address: String,
    /// The container's bundle; the working directory when empty.
    pub bundle: String,
    /// Log more.
    pub debug: bool,
}

/// A command line that cannot be understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The flag is not one of ours.
    #[error("flag provided but not defined: -{0}")]
    Unknown(String),
    /// The flag needs a value and there is none.
    #[error("flag needs an argument: -{0}")]
    NoValue(String),
    /// The switch has a value that is not a boolean.
    #[error("invalid boolean value {1:?} for -{0}")]
    NotBoolean(String, String),
    /// The action is not one that a shim knows.
    #[error("unknown action {0:?}: expected start or delete")]
    UnknownAction(String),
    /// Every action needs a namespace.
    #[error("shim namespace cannot be empty")]
    NoNamespace,
    /// The namespace is part of paths, too.
    #[error("shim namespace {0:?} cannot be used: {1}")]
    Namespace(String, crate::name::Error),
    /// Every action needs an id that can be part of a path.
    #[error("shim id {0:?} cannot be used: {1}")]
    Id(String, crate::name::Error),
}

impl Args {
    /// Understands `words`, the command line without the program's name.
    pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Self, Error> {
        let mut args = Self {
            action: Action::Serve,
            namespace: String::new(),
            id: String::new(),
            address: String::new(),
            bundle: String::new(),
            debug: false,
        };
        let (mut info, mut version) = (false, false);
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let Some(flag) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
                args.action = action(&word)?;
                break;
            };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (flag.to_owned(), None),
            };
            let switch = match name.as_str() {
                "debug" => Some(&mut args.debug),
                "info" => Some(&mut info),
                "v" | "version" => Some(&mut version),
                _ => None,
            };
            if let Some(switch) = switch {
                *switch = boolean(&name, value)?;
                continue;
            }
            let ignored = &mut String::new();
            let place = match name.as_str() {
                "namespace" => &mut args.namespace,
                "id" => &mut args.id,
                "address" => &mut args.address,
                "bundle" => &mut args.bundle,
                // Part of every caller's command line, and of no use here: events go to TTRPC_ADDRESS, and
                // the sockets are inherited.
                "publish-binary" | "socket" | "debug-socket" => ignored,
                _ => return Err(Error::Unknown(name)),
            };
            *place = value.or_else(|| words.next()).ok_or(Error::NoValue(name))?;
        }
        if version || info {
            args.action = if version { Action::Version } else { Action::Info };
            return Ok(args);
        }
        if args.namespace.is_empty() {
            return Err(Error::NoNamespace);
        }
        if let Err(error) = crate::name::check(&args.namespace) {
            return Err(Error::Namespace(args.namespace, error));
        }
        match crate::name::check(&args.id) {
            Ok(()) => Ok(args),
            Err(error) => Err(Error::Id(args.id, error)),
        }
    }
}

fn action(word: &str) -> Result<Action, Error> {
    match word {
        "start" => Ok(Action::Start),
        "delete" => Ok(Action::Delete),
        other => Err(Error::UnknownAction(other.to_owned())),
    }
}

fn boolean(name: &str, value: Option<String>) -> Result<bool, Error> {
    match value.as_deref() {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(other) => Err(Error::NotBoolean(name.to_owned(), other.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, Error> {
        Args::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn the_command_lines_of_every_containerd() {
        let line = "-namespace k8s.io -address /run/containerd/containerd.sock -publish-binary /usr/bin/containerd -id c1";
        let start = parse(&format!("{line} start")).unwrap();
        assert_eq!(
            (start.action, start.id.as_str(), start.namespace.as_str()),
            (Action::Start, "c1", "k8s.io")
        );
        let newer = parse(&format!("{line} -bundle /b -debug start")).unwrap();
        assert_eq!((newer.bundle.as_str(), newer.debug), ("/b", true));
        assert_eq!(parse(&format!("{line} -bundle /b delete")).unwrap().action, Action::Delete);
        assert_eq!(parse("-namespace a -id b -address=").unwrap().action, Action::Serve);
        assert_eq!(parse("-info").unwrap().action, Action::Info);
        assert_eq!(parse("--version").unwrap().action, Action::Version);
        assert_eq!(parse("-v=true -id x").unwrap().action, Action::Version);
        // What CRI-O gives: an empty address as a word of its own.
        let crio = ["-namespace", "default", "-address", "", "-publish-binary", "crio", "-id", "x", "start"];
        assert_eq!(Args::parse(crio.map(str::to_owned)).unwrap().address, "");
    }

    #[test]
    fn what_cannot_be_understood_is_refused() {
        assert_eq!(parse("-id x start"), Err(Error::NoNamespace));
        assert_eq!(parse("-namespace a -id"), Err(Error::NoValue("id".into())));
        assert_eq!(parse("-colour red"), Err(Error::Unknown("colour".into())));
        assert_eq!(parse("-debug=maybe"), Err(Error::NotBoolean("debug".into(), "maybe".into())));
        assert_eq!(parse("-namespace a -id x stop"), Err(Error::UnknownAction("stop".into())));
        assert!(matches!(parse("-namespace a -id ../x start"), Err(Error::Id(..))));
        for namespace in ["../a", "a/b", "..", "-a"] {
            assert!(matches!(
                parse(&format!("-namespace={namespace} -id x start")),
                Err(Error::Namespace(..))
            ));
        }
        assert!(matches!(parse("-namespace a start"), Err(Error::Id(..))));
    }
}
