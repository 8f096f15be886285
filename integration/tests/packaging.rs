//! What is installed: every file in its place, word for word what it should be, and nothing left when it is
//! taken away.

#![expect(clippy::unwrap_used)]

use integration::engine::find;
use integration::runtime::built;
use integration::{outcome, skip};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A script of `packaging`, with the programs that lie beside this one.
fn script(name: &str, destination: &Path) -> Command {
    let bin = built("corten").parent().unwrap().to_owned();
    for program in ["containerd-shim-corten-v2", "cortend"] {
        built(program);
    }
    let mut command = Command::new(repository().join("packaging").join(name));
    command.env("BIN", bin).env("DESTDIR", destination).env("COMPRESSION", "none").env_remove("PREFIX");
    command.env("SOURCE_DATE_EPOCH", "1700000000");
    command.stdin(Stdio::null());
    command
}

#[track_caller]
fn output(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Files below a directory, by their path from it.
fn files(directory: &Path) -> BTreeSet<String> {
    let mut command = Command::new("find");
    command.arg(directory).args(["!", "-type", "d", "-printf", "%P\n"]);
    output(command).lines().map(str::to_owned).collect()
}

#[test]
fn what_is_installed_works_and_goes_away_again() {
    let place = tempfile::tempdir().unwrap();
    output(script("install.sh", place.path()));
    let root = place.path().join("usr/local");
    let found = files(&root);
    for name in [
        "bin/corten",
        "bin/containerd-shim-corten-v2",
        "bin/cortend",
        "lib/systemd/system/cortend.service",
        "share/bash-completion/completions/corten",
        "share/corten/seccomp/default.json",
        "share/doc/corten/copyright",
        "share/fish/vendor_completions.d/corten.fish",
        "share/man/man8/corten.8.gz",
        "share/man/man8/corten-doctor.8.gz",
        "share/zsh/vendor-completions/_corten",
    ] {
        assert!(found.contains(name), "{name}: {found:?}");
    }
    let mut version = Command::new(root.join("bin/corten"));
    version.arg("--version");
    assert!(output(version).starts_with("corten version "));
    let mut syntax = Command::new("bash");
    syntax.arg("-n").arg(root.join("share/bash-completion/completions/corten"));
    output(syntax);
    let unit = fs::read_to_string(root.join("lib/systemd/system/cortend.service")).unwrap();
    assert!(
        unit.contains("ExecStart=/usr/local/bin/cortend --cgroup-parent system.slice\n")
            && !unit.contains('@'),
        "{unit}"
    );
    // A file of somebody else stays, with the directories above it.
    fs::write(root.join("share/doc/corten/mine"), "").unwrap();
    let mut uninstall = script("install.sh", place.path());
    uninstall.arg("uninstall");
    output(uninstall);
    assert_eq!(files(place.path()), BTreeSet::from(["usr/local/share/doc/corten/mine".to_owned()]));
    fs::remove_file(root.join("share/doc/corten/mine")).unwrap();
    output(script("install.sh", place.path()));
    let mut uninstall = script("install.sh", place.path());
    uninstall.arg("uninstall");
    output(uninstall);
    assert_eq!(fs::read_dir(&root).unwrap().count(), 0, "directories are left in PREFIX");
}

/// The README is the home of the configuration of engines; `engine_readme` tries it with them.
#[test]
fn examples_are_the_lines_of_the_readme() {
    let place = tempfile::tempdir().unwrap();
    output(script("install.sh", place.path()));
    let readme = fs::read_to_string(repository().join("README.md")).unwrap();
    let examples = place.path().join("usr/local/share/doc/corten/examples");
    let names = files(&examples);
    assert_eq!(names.len(), 6, "{names:?}");
    for name in &names {
        let text = fs::read_to_string(examples.join(name)).unwrap();
        assert!(!text.trim().is_empty() && readme.contains(&format!("\n{text}```")), "{name}: {text}");
    }
    // Each block of configuration in the README is one of them.
    let blocks = ["toml", "json", "yaml"].map(|language| readme.matches(&format!("```{language}\n")).count());
    assert_eq!(blocks.iter().sum::<usize>(), names.len());
}

/// A page for the program and for each command that its help lists; nothing that a formatter warns of.
#[test]
fn manual_pages_are_clean_and_complete() {
    let place = tempfile::tempdir().unwrap();
    let mut write = Command::new(built("corten"));
    write.args(["help", "--man"]).arg(place.path());
    output(write);
    let mut help = Command::new(built("corten"));
    help.arg("help");
    let help = output(help);
    let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let mut expected: BTreeSet<String> = commands
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(|name| format!("corten-{name}.8"))
        .collect();
    expected.insert("corten.8".to_owned());
    assert_eq!(files(place.path()), expected);
    let mut tried = 0;
    for (program, arguments) in
        [("groff", &["-man", "-Tutf8", "-ww", "-z"][..]), ("mandoc", &["-Tlint", "-Wwarning"][..])]
    {
        let Some(formatter) = find(program) else {
            skip::say(&format!("needs {program}"));
            continue;
        };
        for page in &expected {
            let said =
                Command::new(&formatter).args(arguments).arg(place.path().join(page)).output().unwrap();
            let text = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
            assert!(said.status.success() && text.is_empty(), "{program} {page}: {text}");
        }
        tried += 1;
    }
    if tried == 0 {
        skip::say("needs a formatter of manual pages");
    }
}

/// bash offers commands, flags and files as the script says.
#[test]
fn completion_completes() {
    let place = tempfile::tempdir().unwrap();
    let mut print = Command::new(built("corten"));
    print.args(["completion", "bash"]);
    let file = place.path().join("completion");
    fs::write(&file, output(print)).unwrap();
    let offered = |words: &[&str]| {
        let line: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
        let code = format!(
            "source {}; COMP_WORDS=({}); COMP_CWORD={}; _corten; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            file.display(),
            line.join(" "),
            words.len() - 1
        );
        let mut bash = Command::new("bash");
        bash.args(["-c", &code]).env("PATH", path_with(built("corten").parent().unwrap()));
        output(bash).lines().map(str::to_owned).collect::<BTreeSet<String>>()
    };
    assert_eq!(offered(&["corten", "doc"]), BTreeSet::from(["doctor".to_owned()]));
    assert!(offered(&["corten", "check", "--"]).contains("--strict"));
    assert!(offered(&["corten", "seccomp", "rec"]).contains("record"));
    assert!(offered(&["corten", "seccomp", "compile", "--"]).contains("--docker-caps"));
    assert_eq!(offered(&["corten", "--log-format", "=", "j"]), BTreeSet::from(["json".to_owned()]));
    assert_eq!(offered(&["corten", "kill", "some", "SIGKI"]), BTreeSet::from(["SIGKILL".to_owned()]));
    let folder = place.path().join("two words");
    fs::create_dir(&folder).unwrap();
    let folder = folder.to_string_lossy().into_owned();
    assert_eq!(
        offered(&["corten", "run", "--bundle", &folder[..folder.len() - 2]]),
        BTreeSet::from([folder.clone()])
    );
    assert_eq!(
        offered(&["corten", "run", "--bundle", "=", &folder[..folder.len() - 2]]),
        BTreeSet::from([folder])
    );
}

/// `$PATH` with a directory at its beginning.
fn path_with(directory: &Path) -> String {
    format!("{}:{}", directory.display(), std::env::var("PATH").unwrap_or_default())
}

/// fish offers commands with what they are for, the flags of each, and files where a flag wants one.
#[test]
fn fish_completes() {
    let Some(fish) = find("fish") else { skip!("needs fish") };
    let place = tempfile::tempdir().unwrap();
    output(script("install.sh", place.path()));
    let file = place.path().join("usr/local/share/fish/vendor_completions.d/corten.fish");
    let offered = |line: &str| {
        let code = format!("source {}; complete -C {line:?}", file.display());
        let mut command = Command::new(&fish);
        command.args(["--no-config", "-c", &code]).env("HOME", place.path()).stdin(Stdio::null());
        command.env("PATH", path_with(&place.path().join("usr/local/bin")));
        output(command)
    };
    assert!(offered("corten doc").starts_with("doctor\t"));
    assert!(offered("corten check --").contains("--strict\t"));
    assert!(offered("corten seccomp rec").starts_with("record"));
    assert!(offered("corten seccomp record --").contains("--output"));
    let place = place.path().display();
    assert!(offered(&format!("corten run --bundle {place}/us")).contains("/usr/"));
    assert!(
        offered(&format!("corten run --bundle={place}/us")).starts_with(&format!("--bundle={place}/usr/"))
    );
    assert_eq!(offered("corten --log-format=j"), "--log-format=json\n");
}

/// zsh completes in a terminal, from the first time on.
#[test]
fn zsh_completes() {
    let Some(zsh) = find("zsh") else { skip!("needs zsh") };
    let place = tempfile::tempdir().unwrap();
    output(script("install.sh", place.path()));
    let root = place.path().join("usr/local");
    let begin = r#"zmodload zsh/zpty || exit
        zpty z zsh -f -i
        zpty -w z "fpath=($FUNCTIONS \$fpath); autoload -Uz compinit; compinit -u -D""#;
    let lines = [
        ("doc", "doctor"),
        ("check --str", "check --strict"),
        ("seccomp rec", "seccomp record"),
        ("kill some SIGKI", "kill some SIGKILL"),
        ("--log-format=j", "--log-format=json"),
        ("--root=/usr/loc", "--root=/usr/local"),
    ];
    // Each in place of the one before.
    let complete = lines.map(|(typed, shown)| {
        format!("zpty -w -n z $'\\C-ucorten {typed}\\t'\nzpty -r z out '*corten {shown}*'")
    });
    let program = format!("{begin}\n{}\nprint complete", complete.join("\n"));
    let mut command = Command::new("timeout");
    command.arg("60").arg(zsh).args(["-f", "-c", &program]).stdin(Stdio::null());
    command.env("FUNCTIONS", root.join("share/zsh/vendor-completions"));
    command.env("PATH", path_with(&root.join("bin")));
    assert_eq!(output(command), "complete\n");
}

#[test]
fn the_debian_package_has_what_is_installed() {
    if find("dpkg-deb").is_none() {
        skip!("needs dpkg-deb");
    }
    let (place, plain) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut build = script("build-deb.sh", Path::new("/nonexistent"));
    build.arg(place.path());
    output(build);
    let packages = files(place.path());
    let package = place.path().join(packages.first().unwrap());
    assert_eq!(packages.len(), 1);
    let version = env!("CARGO_PKG_VERSION");
    assert!(packages.first().unwrap().starts_with(&format!("corten_{version}_")), "{packages:?}");
    let field = |name: &str| {
        let mut command = Command::new("dpkg-deb");
        command.arg("-f").arg(&package).arg(name);
        output(command).trim().to_owned()
    };
    assert_eq!((field("Package"), field("Version")), ("corten".to_owned(), version.to_owned()));
    let mut list = Command::new("dpkg-deb");
    list.arg("-c").arg(&package);
    let listed = output(list);
    assert!(listed.lines().all(|line| line.contains(" root/root ")), "{listed}");
    let named: BTreeSet<String> = listed
        .lines()
        .filter(|line| !line.starts_with('d'))
        .filter_map(|line| line.rsplit_once(" ./").map(|(_, name)| name.to_owned()))
        .collect();
    let mut install = script("install.sh", plain.path());
    install.env("PREFIX", "/usr");
    output(install);
    let mut installed = files(plain.path());
    assert!(installed.remove("usr/share/corten/installed"));
    assert_eq!(named, installed);
    // Made again, it is the same.
    let again = tempfile::tempdir().unwrap();
    let mut build = script("build-deb.sh", Path::new("/nonexistent"));
    build.arg(again.path());
    output(build);
    let other = again.path().join(packages.first().unwrap());
    let same = Command::new("cmp")
        .arg(&package)
        .arg(&other)
        .spawn()
        .map(|mut child| outcome::wait(&mut child, "cmp"));
    assert!(same.unwrap().success());
}

/// Two clones of the last commit, in folders of other names, make the same programs. It builds everything
/// twice.
#[test]
fn a_release_is_the_same_wherever_it_is_built() {
    if std::env::var_os("REPRODUCIBLE").is_none() {
        skip!("needs REPRODUCIBLE=1, and a quarter of an hour");
    }
    let mut command = Command::new(repository().join("packaging/reproducible.sh"));
    command.stdin(Stdio::null());
    let said = output(command);
    assert!(said.ends_with("the same, twice\n"), "{said}");
}
