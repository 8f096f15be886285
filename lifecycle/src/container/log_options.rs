//! The options of a container's log, which are those of dockerd's driver `json-file`.

use std::collections::{BTreeMap, HashMap};

use regex::bytes::{Regex, RegexBuilder};

use super::Record;
use crate::error::{Error, Result, bail, ensure, error};
use crate::logger::Options;

/// The most bytes that a regular expression may become.
const LARGEST_REGEX: usize = 1 << 20;

/// How a container's log is written; `None` when there is to be no log.
///
/// # Errors
/// When the driver or an option is not offered, or its value is none of those that it can have.
pub fn of(record: &Record) -> Result<Option<Options>> {
    // Whatever its options.
    if !record.has_log() {
        return Ok(None);
    }
    let log = record.host.log_config.clone().unwrap_or_default();
    let config = log.config.unwrap_or_default();
    match log.typ.as_deref().unwrap_or_default() {
        "" | "json-file" => {}
        other => bail!(invalid, "logger: no log driver named '{other}' is registered"),
    }
    match config.get("mode").map_or("", String::as_str) {
        "" | "blocking" => {}
        "non-blocking" => bail!(invalid, "log opt 'mode=non-blocking' is not offered: expected blocking"),
        other => bail!(invalid, "logger: logging mode not supported: {other}"),
    }
    let attributes = attributes(record, &config)?;
    let mut options = Options { max_file: 1, attributes, ..Options::default() };
    for (name, value) in &config {
        let bad = || error!(invalid, "invalid value for log opt '{name}': {value}");
        match name.as_str() {
            "max-size" => options.max_size = Some(size(value).ok_or_else(bad)?),
            "max-file" => options.max_file = value.parse().map_err(|_| bad())?,
            "compress" => match value.as_str() {
                "1" | "t" | "T" | "true" | "True" | "TRUE" => options.compress = true,
                "0" | "f" | "F" | "false" | "False" | "FALSE" => {}
                _ => return Err(bad()),
            },
            "mode" | "labels" | "labels-regex" | "env" | "env-regex" | "tag" => {}
            "max-buffer-size" => {
                bail!(invalid, "logger: max-buffer-size option is only supported with 'mode=non-blocking'")
            }
            _ => bail!(invalid, "unknown log opt '{name}' for json-file log driver"),
        }
    }
    ensure!(options.max_size != Some(0), invalid, "max-size must be a positive number");
    ensure!(options.max_file > 0, invalid, "max-file cannot be less than 1");
    let rotates = options.max_size.is_some() && options.max_file > 1;
    let message = "compress cannot be true when max-file is less than 2 or max-size is not set";
    ensure!(rotates || !options.compress, invalid, "{message}");
    Ok(Some(options))
}

/// What is written with each line: the labels and variables that are named or match, and the tag.
fn attributes(record: &Record, config: &HashMap<String, String>) -> Result<BTreeMap<String, String>> {
    let option = |name: &str| config.get(name).map(String::as_str).filter(|text| !text.is_empty());
    let labels = record.config.labels.iter().flatten().map(|(name, value)| (name.as_str(), value.as_str()));
    let variables = record.config.env.iter().flatten().filter_map(|variable| variable.split_once('='));
    let mut all = BTreeMap::new();
    for (kind, pairs) in [("labels", labels.collect::<Vec<_>>()), ("env", variables.collect())] {
        let names: Vec<&str> = option(kind).iter().flat_map(|names| names.split(',')).collect();
        let regex = option(&format!("{kind}-regex")).map(compiled).transpose()?;
        let matches = |name: &str| regex.as_ref().is_some_and(|regex| regex.is_match(name.as_bytes()));
        let chosen = pairs.into_iter().filter(|(name, _)| names.contains(name) || matches(name));
        all.extend(chosen.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    if let Some(template) = option("tag") {
        all.insert("tag".into(), tag(template, record)?);
    }
    Ok(all)
}

/// As in Go, classes such as `\w` are of ASCII.
fn compiled(text: &str) -> Result<Regex> {
    let regex = RegexBuilder::new(text).unicode(false).size_limit(LARGEST_REGEX).build();
    regex.map_err(|error| Error::invalid(error).context("error parsing regexp"))
}

/// The tag that a template of Go's stands for, of which there are the fields that Docker documents.
fn tag(template: &str, record: &Record) -> Result<String> {
    let mut parts = template.split("{{");
    let mut tag = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let unclosed = || error!(invalid, "log opt 'tag': unclosed action in '{template}'");
        let (action, text) = part.split_once("}}").ok_or_else(unclosed)?;
        tag += match action.trim() {
            ".ID" => record.id.get(..12).unwrap_or_default(),
            ".FullID" | ".ContainerID" => &record.id,
            ".Name" => &record.name,
            ".ImageID" => record.image.get(..12).unwrap_or_default(),
            ".ImageFullID" | ".ContainerImageID" => &record.image,
            ".ImageName" | ".ContainerImageName" => &record.image_name,
            // Not this one's: those who read logs know it by this name.
            ".DaemonName" => "docker",
            other => bail!(
                invalid,
                "log opt 'tag': '{{{{{other}}}}}' is not offered: expected .ID, .FullID, .Name, .ImageID, .ImageFullID, .ImageName or .DaemonName"
            ),
        };
        tag += text;
    }
    Ok(tag)
}

/// A size such as `10m`, in bytes; a kilobyte has 1000.
fn size(text: &str) -> Option<u64> {
    let text = text.to_ascii_lowercase();
    let text = text.strip_suffix("ib").or_else(|| text.strip_suffix('b')).unwrap_or(&text);
    let units = [('k', 1), ('m', 2), ('g', 3), ('t', 4)];
    let unit = units.iter().find_map(|(unit, power)| Some((text.strip_suffix(*unit)?, *power)));
    let (digits, power) = unit.unwrap_or((text, 0));
    digits.trim_end().parse::<u64>().ok()?.checked_mul(1000_u64.pow(power))
}

#[cfg(test)]
mod tests {
    use bollard_stubs::models::{ContainerConfig, HostConfigLogConfig};

    use super::*;

    fn options(typ: &str, config: &[(&str, &str)]) -> Result<Option<Options>> {
        let pairs = |list: &[(&str, &str)]| {
            Some(list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
        };
        let mut record = Record {
            id: "0123456789abcdef".into(),
            name: "box".into(),
            image: "sha256:0123456789".into(),
            image_name: "busybox:1".into(),
            config: ContainerConfig {
                labels: pairs(&[("one", "1"), ("two", "2"), ("other", "3")]),
                env: Some(vec!["PATH=/bin".into(), "A=b=c".into(), "one=env".into()]),
                ..Default::default()
            },
            ..Record::default()
        };
        record.host.log_config = Some(HostConfigLogConfig { typ: Some(typ.into()), config: pairs(config) });
        of(&record)
    }

    fn attributes(config: &[(&str, &str)]) -> String {
        let options = options("", config).unwrap().unwrap();
        options.attributes.iter().map(|(name, value)| format!("{name}:{value} ")).collect()
    }

    #[test]
    fn labels_variables_and_a_tag_are_attributes() {
        assert_eq!(attributes(&[]), "");
        assert_eq!(attributes(&[("labels", "two,none"), ("env", "A,")]), "A:b=c two:2 ");
        assert_eq!(attributes(&[("labels-regex", "^o"), ("env-regex", r"^\w$")]), "A:b=c one:1 other:3 ");
        // A variable goes before a label of this name.
        assert_eq!(attributes(&[("labels", "one"), ("env-regex", "ne$")]), "one:env ");
        let tag =
            "{{.DaemonName}}/{{ .Name }}/{{.ID}}/{{.FullID}}/{{.ImageName}}/{{.ImageID}}/{{.ImageFullID}}";
        let known = "docker/box/0123456789ab/0123456789abcdef/busybox:1/sha256:01234/sha256:0123456789";
        assert_eq!(attributes(&[("tag", tag)]), format!("tag:{known} "));
        assert_eq!(attributes(&[("tag", "{plain}}")]), "tag:{plain}} ");
    }

    #[test]
    fn what_is_no_option_is_refused() {
        let rotates = [("max-size", "1k"), ("max-file", "2"), ("compress", "1"), ("mode", "blocking")];
        assert!(options("json-file", &rotates).unwrap().is_some_and(|options| options.compress));
        assert!(options("none", &[("colour", "red")]).unwrap().is_none());
        let large = "(a{1000}){1000}";
        for (typ, config, text) in [
            ("syslog", ("tag", "x"), "logger: no log driver named 'syslog' is registered"),
            ("", ("colour", "red"), "unknown log opt 'colour' for json-file log driver"),
            ("", ("max-size", "0"), "max-size must be a positive number"),
            ("", ("max-size", "1x"), "invalid value for log opt 'max-size': 1x"),
            ("", ("max-file", "0"), "max-file cannot be less than 1"),
            ("", ("compress", "maybe"), "invalid value for log opt 'compress': maybe"),
            ("", ("compress", "true"), "compress cannot be true when max-file is less than 2"),
            ("", ("mode", "non-blocking"), "log opt 'mode=non-blocking' is not offered"),
            ("", ("mode", "odd"), "logger: logging mode not supported: odd"),
            ("", ("max-buffer-size", "1m"), "is only supported with 'mode=non-blocking'"),
            ("", ("env-regex", "("), "error parsing regexp: "),
            ("", ("labels-regex", large), "exceeds size limit"),
            ("", ("tag", "{{.Name"), "unclosed action in '{{.Name'"),
            ("", ("tag", "{{upper .Name}}"), "'{{upper .Name}}' is not offered"),
        ] {
            let error = options(typ, &[config]).unwrap_err().message;
            assert!(error.contains(text), "{config:?}: {error}");
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(
            [size("10"), size("1k"), size("15M"), size("2gb"), size("3 MiB")],
            [Some(10), Some(1000), Some(15_000_000), Some(2_000_000_000), Some(3_000_000)]
        );
        assert_eq!([size("x"), size(""), size("-1"), size("1.5m")], [None; 4]);
    }
}
