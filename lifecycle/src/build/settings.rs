//! Instructions that change what containers of an image run, and no files: `ENV`, `CMD`, `EXPOSE` and so on. `docker
//! commit --change` and `docker import --change` take the same.

use std::collections::BTreeMap;

use bollard_stubs::models::{ContainerConfig, HealthConfig};

use super::copy::absolute;
use super::dockerfile::{check_trigger, parse};
use super::{Instruction, Words};
use crate::container::environment;
use crate::container::settings::shell;
use crate::error::{Error, Result, bail, ensure, error};
use crate::network::ports;
use crate::{said, time};

/// Changes a configuration as an instruction says; returns how the history tells of it, `None` when it is not one of
/// these. `cmd_set` remembers whether this build has set CMD: ENTRYPOINT takes away only an inherited one.
///
/// # Errors
/// When the instruction is malformed.
pub(super) fn apply(
    config: &mut ContainerConfig,
    cmd_set: &mut bool,
    instruction: &Instruction,
    words: &Words,
) -> Result<Option<String>> {
    let rest = &instruction.rest;
    let told = match instruction.word.as_str() {
        "ENV" => pairs("ENV", rest, words, |name, value| {
            environment::set(config.env.get_or_insert_default(), [&format!("{name}={value}")]);
        })?,
        "LABEL" => pairs("LABEL", rest, words, |name, value| {
            config.labels.get_or_insert_default().insert(name.to_owned(), value.to_owned());
        })?,
        "CMD" => {
            *cmd_set = true;
            let command = command(config, instruction);
            format!("CMD {}", go_list(config.cmd.insert(command)))
        }
        "ENTRYPOINT" => {
            config.cmd.take_if(|_| !*cmd_set);
            let command = command(config, instruction);
            format!("ENTRYPOINT {}", go_list(config.entrypoint.insert(command)))
        }
        "USER" => format!("USER {}", config.user.insert(words.one(rest)?)),
        "EXPOSE" => expose(config, words.many(rest)?)?,
        "VOLUME" => {
            let paths = instruction.words(words)?;
            let named = !paths.is_empty() && paths.iter().all(|path| !path.trim().is_empty());
            ensure!(named, invalid, "VOLUME specified can not be an empty string");
            let told = format!("VOLUME [{}]", paths.join(" "));
            add(config.volumes.get_or_insert_default(), paths);
            told
        }
        "STOPSIGNAL" => {
            let name = config.stop_signal.insert(words.one(rest)?);
            said::signal(name)?;
            format!("STOPSIGNAL {name}")
        }
        "SHELL" => {
            let shell = instruction.json().filter(|shell| !shell.is_empty());
            let bad = || Error::invalid("SHELL requires the arguments to be in JSON form");
            format!("SHELL [{}]", config.shell.insert(shell.ok_or_else(bad)?).join(" "))
        }
        "HEALTHCHECK" => {
            config.healthcheck = Some(healthcheck(instruction)?);
            instruction.original.clone()
        }
        "ONBUILD" => {
            check_trigger(rest)?;
            config.on_build.get_or_insert_default().push(rest.clone());
            format!("ONBUILD {rest}")
        }
        _ => return Ok(None),
    };
    let of_checks = ["interval", "timeout", "start-period", "start-interval", "retries"];
    instruction.check_flags(if instruction.word == "HEALTHCHECK" { &of_checks } else { &[] })?;
    Ok(Some(told))
}

/// Applies the lines of `--change`.
///
/// # Errors
/// When a line is none of these instructions.
pub fn change(mut config: ContainerConfig, lines: &[String]) -> Result<ContainerConfig> {
    let (mut cmd_set, text) = (false, lines.join("\n"));
    let instructions = if text.trim().is_empty() { Vec::new() } else { parse(&text)? };
    for instruction in instructions {
        let words = Words(variables(&config));
        if instruction.word == "WORKDIR" {
            config.working_dir = Some(absolute(&config, &words.one(&instruction.rest)?)?);
        } else if apply(&mut config, &mut cmd_set, &instruction, &words)?.is_none() {
            bail!(invalid, "{} is not a valid change command", instruction.word);
        }
    }
    Ok(config)
}

/// The environment, by name.
pub(super) fn variables(config: &ContainerConfig) -> BTreeMap<String, String> {
    let pairs = config.env.iter().flatten().filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn pairs(word: &str, rest: &str, words: &Words, mut set: impl FnMut(&str, &str)) -> Result<String> {
    let mut told = word.to_owned();
    for (name, value) in words.pairs(rest)? {
        ensure!(!name.is_empty(), invalid, "{word} names can not be blank");
        set(&name, &value);
        told += &format!(" {name}={value}");
    }
    Ok(told)
}

fn add(all: &mut Vec<String>, more: Vec<String>) {
    all.extend(more);
    all.sort();
    all.dedup();
}

/// The words of CMD, ENTRYPOINT and RUN: a list, or a line for the shell.
pub(super) fn command(config: &ContainerConfig, instruction: &Instruction) -> Vec<String> {
    let line = || shell(config).into_iter().chain([instruction.rest.clone()]).collect();
    if instruction.rest.is_empty() { Vec::new() } else { instruction.json().unwrap_or_else(line) }
}

/// A list as Go's `%q` writes it.
fn go_list(list: &[String]) -> String {
    format!("[{}]", list.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" "))
}

fn expose(config: &mut ContainerConfig, mut words: Vec<String>) -> Result<String> {
    words.sort();
    let mut ports = Vec::new();
    for word in &words {
        let (range, protocol) = word.split_once('/').unwrap_or((word, "tcp"));
        let protocol = protocol.to_ascii_lowercase();
        ensure!(matches!(protocol.as_str(), "tcp" | "udp" | "sctp"), invalid, "invalid proto: {protocol}");
        // A port of the host before it means nothing in an image.
        let range = range.rsplit(':').next().unwrap_or_default();
        let range = ports::range(range).map_err(|_| error!(invalid, "invalid containerPort: {word}"))?;
        ports.extend(range.map(|port| format!("{port}/{protocol}")));
    }
    let told = format!("EXPOSE {}", words.join(" "));
    add(config.exposed_ports.get_or_insert_default(), ports);
    Ok(told)
}

fn healthcheck(instruction: &Instruction) -> Result<HealthConfig> {
    let (kind, rest) = instruction.rest.split_once(char::is_whitespace).unwrap_or((&instruction.rest, ""));
    let own = Instruction { rest: rest.trim().to_owned(), ..instruction.clone() };
    let test = match (kind.to_ascii_uppercase().as_str(), own.json()) {
        ("NONE", _) if own.rest.is_empty() => vec!["NONE".to_owned()],
        ("NONE", _) => return Err(Error::invalid("HEALTHCHECK NONE takes no arguments")),
        ("CMD", _) if own.rest.is_empty() => {
            return Err(Error::invalid("Missing command after HEALTHCHECK CMD"));
        }
        ("CMD", Some(words)) => [vec!["CMD".to_owned()], words].concat(),
        ("CMD", None) => vec!["CMD-SHELL".to_owned(), own.rest],
        (other, _) => return Err(error!(invalid, "Unknown type \"{other}\" in HEALTHCHECK (try CMD)")),
    };
    // As 0, nothing leaves it to the image below.
    let given = |flag: &str| {
        let value = instruction.flag(flag)?.trim_matches(['"', '\'']);
        (!matches!(value, "" | "0")).then_some(value)
    };
    let nanos = |flag: &str| {
        let parse = |text: &str| {
            let nanos = time::duration(text).and_then(|length| i64::try_from(length.as_nanos()).ok());
            let nanos = nanos.filter(|nanos| *nanos == 0 || *nanos >= 1_000_000);
            nanos.ok_or_else(|| error!(invalid, "Interval {flag:?} cannot be {text:?}: less than 1ms"))
        };
        given(flag).map(parse).transpose()
    };
    let count = |text: &str| match text.parse::<i64>() {
        Ok(count) if count >= 1 => Ok(count),
        _ => Err(error!(invalid, "--retries must be at least 1 (not {text})")),
    };
    Ok(HealthConfig {
        test: Some(test),
        interval: nanos("interval")?,
        timeout: nanos("timeout")?,
        start_period: nanos("start-period")?,
        start_interval: nanos("start-interval")?,
        retries: given("retries").map(count).transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(lines: &[&str]) -> Result<ContainerConfig> {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        change(ContainerConfig::default(), &lines)
    }

    #[test]
    fn instructions_change_the_configuration() {
        let config = changed(&[
            "ENV A=1 B=2",
            "ENV A=${B}x",
            "EXPOSE 80 90-91/UDP",
            "VOLUME /a /b",
            "LABEL k=\"v w\" \\",
            "  # note",
            "l=1",
            "ENTRYPOINT [\"/e\"]",
            "CMD echo $A",
            "HEALTHCHECK --interval=\"1m\" --timeout=0 --start-period= --retries=2 CMD true",
            "ONBUILD RUN x",
        ])
        .unwrap();
        assert_eq!(config.env.unwrap(), ["A=2x", "B=2"]);
        assert_eq!(config.exposed_ports.unwrap(), ["80/tcp", "90/udp", "91/udp"]);
        assert_eq!(config.cmd.unwrap(), ["/bin/sh", "-c", "echo $A"]);
        assert_eq!(config.labels.unwrap()["k"], "v w");
        let health = config.healthcheck.unwrap();
        assert_eq!(
            (health.test.unwrap().len(), health.interval, health.retries),
            (2, Some(60_000_000_000), Some(2))
        );
    }

    #[test]
    fn malformed_ones_are_refused() {
        for line in [
            "RUN true",
            "EXPOSE x",
            "EXPOSE 9-8",
            "SHELL sh",
            "STOPSIGNAL SIGNOT",
            "HEALTHCHECK MAYBE",
            "HEALTHCHECK --interval=1us CMD x",
            "ONBUILD FROM x",
            "USER --as x",
            "ENV =x",
        ] {
            assert!(changed(&[line]).is_err(), "{line}");
        }
    }
}
