//! `seccomp`: what a profile means, as a program and call by call, and profiles made from what a container does.

use super::{Command, CommandError, Context, HELP, PROGRAM, VERBS, create, help, print};
use crate::cli::{self, Flag, Flags, Parsed, UsageError, value};
use crate::log::Level;
use crate::parent::Error;
use crate::parent::record::{Agent, Output, Recording};
use crate::spec::load::{self, LoadError};
use seccomp_profiles::docker::{Host, KernelVersion};
use seccomp_profiles::{
    Arch, Call, DockerProfile, Explainer, Options, PROFILES, Program, Reason, Seccomp, compile, disassemble,
    flag, profile, table,
};
use std::ffi::OsString;
use std::path::Path;

const ARCH: Flag = value("arch", "", "ARCH", "for this architecture, as in SCMP_ARCH_AARCH64 or arm64");
const CAPS: Flag =
    value("docker-caps", "", "CAPS", "with these capabilities in the bounding set, separated by commas");
const KERNEL: Flag = value("kernel", "", "VERSION", "on this kernel, as in 6.1 (default: the running one)");

/// `seccomp`.
pub const SECCOMP: Command = Command {
    name: "seccomp",
    arguments: "compile|explain|record|resolve ...",
    about: "compile, explain, record or resolve seccomp profiles",
    flags: &[],
    run: |context, parsed| {
        let mut words = parsed.arguments.iter();
        let name = words.next().and_then(|word| word.to_str()).unwrap_or_default();
        let full = format!("seccomp {name}");
        let Some(verb) = VERBS.iter().find(|verb| verb.name == full) else {
            let problem =
                format!("seccomp: unknown verb {name:?}; expected compile, explain, record or resolve");
            return Err(CommandError::other(problem));
        };
        let parsed = cli::parse(&[verb.flags, HELP], Flags::First, words.cloned())?;
        if parsed.on("help")? {
            return help::command(Some(verb.name));
        }
        (verb.run)(context, &parsed)
    },
    // One of its verbs does.
    enters: true,
};

/// `seccomp compile`.
pub const COMPILE: Command = Command {
    name: "seccomp compile",
    arguments: "PROFILE",
    about: "print the program that a profile becomes (a file, or default, strict or nested)",
    flags: &[ARCH, CAPS, KERNEL],
    run: |context, parsed| {
        let (_, program) = only_profile("seccomp compile", parsed)?;
        program.warnings.iter().for_each(|warning| context.log.warn(warning));
        print(&(heading(&program) + &disassemble(&program.instructions)))?;
        Ok(0)
    },
    enters: false,
};

/// `seccomp explain`.
pub const EXPLAIN: Command = Command {
    name: "seccomp explain",
    arguments: "PROFILE SYSCALL [ARGUMENT]...",
    about: "say which rule of a profile decides about a system call",
    flags: &[ARCH, CAPS, KERNEL],
    run: |_, parsed| {
        let words = parsed.words()?;
        let [name, call, arguments @ ..] = words.as_slice() else {
            return Err(usage("seccomp explain", "2 to 8"));
        };
        print(&explained(name, call, arguments, parsed)?)?;
        Ok(0)
    },
    enters: false,
};

/// `seccomp resolve`.
pub const RESOLVE: Command = Command {
    name: "seccomp resolve",
    arguments: "PROFILE",
    about: "print a profile as it is written in config.json, at linux.seccomp",
    flags: &[ARCH, CAPS, KERNEL],
    run: |_, parsed| {
        let (profile, _) = only_profile("seccomp resolve", parsed)?;
        print(&json(&profile)?)?;
        Ok(0)
    },
    enters: false,
};

/// `seccomp record`.
pub const RECORD: Command = Command {
    name: "seccomp record",
    arguments: "[-- run options] [ID]",
    about: "run a container, and write the smallest profile that allows what it does",
    flags: &[
        value("bundle", "b", "DIR", "the bundle (default: the working directory)"),
        value("output", "o", "FILE", "write the profile to FILE"),
    ],
    run: record,
    enters: true,
};

fn usage(command: &'static str, expected: &'static str) -> CommandError {
    UsageError::Arguments { command, expected }.into()
}

/// A profile as the runtime would get it, and where its rules were in the file.
struct Resolved {
    profile: Seccomp,
    rules: Vec<usize>,
}

/// The architecture asked for, or this machine's.
fn machine(parsed: &Parsed) -> Result<Arch, CommandError> {
    let Some(name) = parsed.text("arch")? else {
        return Arch::native().ok_or_else(|| {
            CommandError::other("there is no system call table for this machine: name another with --arch")
        });
    };
    let short = format!("SCMP_ARCH_{}", name.to_ascii_uppercase());
    let found = Arch::from_oci(name).or_else(|| Arch::from_docker(name)).or_else(|| Arch::from_oci(&short));
    found.ok_or_else(|| {
        let known: Vec<&str> = Arch::all().map(Arch::docker_name).collect();
        CommandError::other(format!("--arch: {name:?} is not known; expected one of {}", known.join(", ")))
    })
}

fn kernel(parsed: &Parsed) -> Result<KernelVersion, CommandError> {
    let release = match parsed.text("kernel")? {
        Some(text) => text.to_owned(),
        None => {
            let system =
                nix::sys::utsname::uname().map_err(|errno| CommandError::other(errno.to_string()))?;
            system.release().to_string_lossy().into_owned()
        }
    };
    KernelVersion::from_release(&release).ok_or_else(|| {
        CommandError::other(format!("{release:?} is not a kernel version; expected one like 6.1"))
    })
}

/// Reads a profile: a shipped one by name, or a file in Docker's format or OCI's, or a config.json that has one.
fn resolve(
    name: impl AsRef<std::ffi::OsStr>,
    machine: Arch,
    parsed: &Parsed,
) -> Result<Resolved, CommandError> {
    let name = name.as_ref();
    let shown = name.display();
    let shipped = name.to_str().and_then(profile);
    let docker = match shipped {
        Some(text) => DockerProfile::from_json(text)
            .map_err(|error| CommandError::other(format!("{shown}: {error}")))?,
        None => from_file(Path::new(name))?,
    };
    let lists: Vec<&str> = parsed.texts("docker-caps")?;
    let caps: Vec<String> = lists
        .iter()
        .flat_map(|list| list.split(','))
        .filter(|cap| !cap.is_empty())
        .map(|cap| match cap.to_ascii_uppercase() {
            full if full.starts_with("CAP_") => full,
            short => format!("CAP_{short}"),
        })
        .collect();
    if let Some(unknown) = caps.iter().find(|cap| !crate::plan::capabilities::NAMES.contains(&cap.as_str())) {
        return Err(CommandError::other(format!("--docker-caps: {unknown:?} is not a capability")));
    }
    let host = Host { arch: machine, caps: &caps, kernel: kernel(parsed)? };
    let resolved = docker.applying(&host).and_then(|rules| Ok((docker.resolve(&host)?, rules)));
    let (profile, rules) = resolved.map_err(|error| CommandError::other(format!("{shown}: {error}")))?;
    Ok(Resolved { profile, rules })
}

fn from_file(path: &Path) -> Result<DockerProfile, CommandError> {
    let profile = load::profile(path).map_err(|error| match error {
        LoadError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            let names = PROFILES.join(", ");
            let path = path.display();
            CommandError::other(format!(
                "{path}: no such file, and no profile of that name; there are {names}"
            ))
        }
        error => CommandError::Failed(error.into()),
    })?;
    match profile == DockerProfile::default() {
        true => Err(CommandError::other(format!("{}: there is no seccomp profile in it", path.display()))),
        false => Ok(profile),
    }
}

/// The one profile that a command is about, and the program that it becomes.
fn only_profile(command: &'static str, parsed: &Parsed) -> Result<(Seccomp, Program), CommandError> {
    let [name] = parsed.arguments.as_slice() else { return Err(usage(command, "exactly 1")) };
    let machine = machine(parsed)?;
    let Resolved { profile, .. } = resolve(name, machine, parsed)?;
    let program = compiled(&profile, machine, name)?;
    Ok((profile, program))
}

fn compiled(
    profile: &Seccomp,
    machine: Arch,
    name: impl AsRef<std::ffi::OsStr>,
) -> Result<Program, CommandError> {
    let options = Options { native: Some(machine), ..Options::default() };
    compile(profile, &options)
        .map_err(|error| CommandError::other(format!("{}: {error}", name.as_ref().display())))
}

fn heading(program: &Program) -> String {
    let flags = [
        (flag::LOG, "SECCOMP_FILTER_FLAG_LOG"),
        (flag::SPEC_ALLOW, "SECCOMP_FILTER_FLAG_SPEC_ALLOW"),
        (flag::NEW_LISTENER, "SECCOMP_FILTER_FLAG_NEW_LISTENER"),
        (flag::WAIT_KILLABLE_RECV, "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"),
    ];
    let set: Vec<&str> =
        flags.iter().filter(|(flag, _)| program.flags & flag != 0).map(|(_, name)| *name).collect();
    let flags = if set.is_empty() { "no flags".to_owned() } else { set.join(", ") };
    format!("; {} instructions; {flags}\n", program.instructions.len())
}

/// The call's ABI may be one of several of the machine: `--arch x86` is a 32-bit program on x86_64.
fn explained(name: &str, call: &str, arguments: &[&str], parsed: &Parsed) -> Result<String, CommandError> {
    let abi = machine(parsed)?;
    let native = Arch::native().filter(|native| native.abis().contains(&abi)).unwrap_or(abi);
    let number = match (table::number(abi, call), integer(call)) {
        (Some(number), _) => Some(number),
        (None, number) => number.and_then(|number| u32::try_from(number).ok()),
    };
    let number =
        number.ok_or_else(|| CommandError::other(format!("{call:?} is not a system call of {abi}")))?;
    if arguments.len() > 6 {
        return Err(usage("seccomp explain", "2 to 8"));
    }
    let mut args = [0; 6];
    for (place, text) in args.iter_mut().zip(arguments) {
        *place = integer(text).ok_or_else(|| {
            CommandError::other(format!("{text:?} is not a number; expected decimal or 0x and hexadecimal"))
        })?;
    }
    let Resolved { profile, rules } = resolve(name, native, parsed)?;
    compiled(&profile, native, name)?;
    let options = Options { native: Some(native), ..Options::default() };
    let explainer =
        Explainer::new(&profile, &options).map_err(|error| CommandError::other(error.to_string()))?;
    let mut explanation = explainer.explain(&Call { arch: abi, number, args });
    // Where the rule is in the file, not among those that were left of it.
    if let Reason::Rule { index, .. } = &mut explanation.reason {
        *index = rules.get(*index).copied().unwrap_or(*index);
    }
    Ok(format!("{explanation}\n"))
}

/// A number as seccomp sees it: negative ones as their 64 bits.
fn integer(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok().or_else(|| text.parse::<i64>().ok().map(i64::cast_unsigned)),
    }
}

fn record(context: &Context, parsed: &Parsed) -> Result<i32, CommandError> {
    let failed = |error: Error| CommandError::other(format!("{PROGRAM} seccomp record failed: {error}"));
    let path = parsed.path("output").ok_or_else(|| {
        CommandError::other("seccomp record: say with --output where the profile is to be written")
    })?;
    let run = run_command_line(parsed)?;
    let output = Output::create(&path).map_err(failed)?;
    let agent = Agent::start().map_err(failed)?;
    let outcome = create::run_watched(context, &run, Some(agent.socket()));
    let recording = agent.finish();
    let status = outcome?;
    let recording = recording.map_err(failed)?;
    report(context, &recording);
    output.finish(&json(&recording.profile)?).map_err(failed)?;
    Ok(status)
}

fn json(profile: &Seccomp) -> Result<String, CommandError> {
    let text =
        serde_json::to_string_pretty(profile).map_err(|error| CommandError::other(error.to_string()))?;
    Ok(text + "\n")
}

/// The command line of the `run` that is recorded.
fn run_command_line(parsed: &Parsed) -> Result<Parsed, CommandError> {
    let mut words: Vec<OsString> = Vec::new();
    if let Some(bundle) = parsed.path("bundle") {
        words.extend(["--bundle".into(), bundle.into()]);
    }
    words.extend(parsed.arguments.iter().cloned());
    let mut run = cli::parse(&[create::RUN.flags], Flags::Anywhere, words.into_iter())?;
    for flag in ["detach", "keep"] {
        if run.on(flag)? {
            let problem =
                format!("seccomp record: --{flag} is not possible: a recording ends with its container");
            return Err(CommandError::other(problem));
        }
    }
    if run.arguments.is_empty() {
        run.arguments.push(format!("seccomp-record-{}", std::process::id()).into());
    }
    Ok(run)
}

fn report(context: &Context, recording: &Recording) {
    let names: usize = recording.profile.syscalls.iter().map(|rule| rule.names.len()).sum();
    context
        .log
        .write(Level::Info, &format!("{} system calls seen, {names} names in the profile", recording.calls));
    for (arch, number) in &recording.nameless {
        context
            .log
            .warn(&format!("{arch}: system call {number} was seen, but has no name: the profile refuses it"));
    }
}
