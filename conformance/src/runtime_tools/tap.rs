//! What a validation program's output says. The programs are not of one mind: most print TAP, some only a
//! diagnostic without a test, some nothing at all and an exit status.

/// How a program ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Everything it checked holds.
    Pass,
    /// It did not, and this is the first thing it said about that.
    Fail(String),
}

/// Judge by exit status, the TAP on standard output, and standard error.
pub(crate) fn judge(exit: Option<i32>, stdout: &str, stderr: &str) -> Verdict {
    let mut lines = stdout.lines();
    if let Some(line) = lines.by_ref().find(|line| line.starts_with("not ok")) {
        let name = line
            .trim_start_matches("not ok")
            .trim_start_matches(|c: char| c.is_ascii_digit() || " -".contains(c));
        let detail = detail(lines).or_else(|| said(stderr).filter(|_| name.starts_with("exit status")));
        return Verdict::Fail(with_detail(name, detail));
    }
    let tests = stdout.lines().any(|line| line.starts_with("ok "));
    if !tests && let Some(message) = field(stdout, "error") {
        return Verdict::Fail(message);
    }
    match exit {
        Some(0) => Verdict::Pass,
        Some(status) => Verdict::Fail(said(stderr).unwrap_or_else(|| format!("exit status {status}"))),
        None => Verdict::Fail("it did not end in time, or a signal ended it".into()),
    }
}

/// What the diagnostic of a failed test adds: a comment, or the "stderr" or "error" of its YAML block.
fn detail(following: std::str::Lines) -> Option<String> {
    let block: Vec<&str> =
        following.take_while(|line| !line.starts_with("ok ") && !line.starts_with("not ok")).collect();
    if let Some(comment) = block.iter().find_map(|line| line.strip_prefix("# ")) {
        return Some(comment.to_owned());
    }
    let text = block.join("\n");
    ["stderr", "error", "actual"].iter().find_map(|name| field(&text, name))
}

fn with_detail(name: &str, detail: Option<String>) -> String {
    match detail {
        Some(detail) => format!("{name}: {detail}"),
        None => name.to_owned(),
    }
}

/// `"name": "value"` of a YAML block that is in fact JSON; one line of it.
fn field(text: &str, name: &str) -> Option<String> {
    let key = format!("\"{name}\": ");
    let rest = text.lines().find_map(|line| line.trim().strip_prefix(&key))?;
    let value: String = serde_json::from_str(rest.trim_end_matches(',')).unwrap_or_else(|_| rest.to_owned());
    said(&value)
}

/// The first line that tells more than that something failed, without a log prefix.
fn said(text: &str) -> Option<String> {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let dull =
        |line: &&&str| ["Refer to:", "exit status", "failed to"].iter().any(|start| line.starts_with(start));
    let line = lines.iter().find(|line| !dull(line)).or(lines.first())?;
    Some(line.split_once("msg=").map_or(*line, |(_, message)| message.trim_matches('"')).to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Verdict, judge};

    fn fails(exit: i32, stdout: &str, stderr: &str) -> String {
        match judge(Some(exit), stdout, stderr) {
            Verdict::Fail(message) => message,
            Verdict::Pass => panic!("passes: {stdout}"),
        }
    }

    #[test]
    fn good_ends() {
        assert_eq!(judge(Some(0), "TAP version 13\nok 1 - a\n1..1\n", ""), Verdict::Pass);
        assert_eq!(judge(Some(0), "TAP version 13\n1..0\n", "WARNING"), Verdict::Pass);
        assert_eq!(judge(Some(0), "", ""), Verdict::Pass);
    }

    #[test]
    fn a_failed_test_is_told_with_its_detail() {
        assert_eq!(
            fails(0, "ok 1\nnot ok 2 - limit\n# expect: 1, actual: 2\n1..2\n", ""),
            "limit: expect: 1, actual: 2"
        );
        let yaml = "not ok 1 - must\n  ---\n  {\n    \"error\": \"exit status 1\",\n    \"stderr\": \"level=error msg=\\\"gone\\\"\\n\"\n  }\n  ...\n";
        assert_eq!(fails(0, yaml, ""), "must: gone");
    }

    #[test]
    fn a_diagnostic_without_a_test_is_a_failure() {
        let text =
            "TAP version 13\n  ---\n  {\n    \"error\": \"in order\\nRefer to: x\"\n  }\n  ...\n1..0\n";
        assert_eq!(fails(0, text, ""), "in order");
    }

    #[test]
    fn an_exit_status_is_a_failure() {
        assert_eq!(
            fails(1, "TAP version 13\n", "failed to create\nlevel=error msg=\"why\"\nexit status 1\n"),
            "why"
        );
        assert_eq!(fails(1, "ok 1\n", ""), "exit status 1");
        assert!(matches!(judge(None, "ok 1\n", ""), Verdict::Fail(_)));
    }
}
