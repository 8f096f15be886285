//! Checkpoint, and Create from one: what the runtime is asked for, and the states in between. The runtime's
//! own part of it is played by a script, so that neither criu nor a kernel that suits it is needed, but in
//! the last tests.

use integration::shim::wire::Writer;
use integration::shim::{Output, Pod, Stdio, pod};
use integration::{criu, needs, proc, skip};
use std::fs;

/// A runtime that writes down how it is called for a checkpoint and restores by making the container anew.
fn with_checkpoints(pod: &mut Pod) {
    let log = pod.directory().join("called");
    let script = format!(
        r#"case $verb in
checkpoint)
    echo "$@" >> {log}
    work=; root=
    while [ $# -gt 1 ]; do case $1 in --work-path) work=$2;; --root) root=$2;; esac; shift; done
    if [ -e {log}.fail ]; then mkdir -p "$work"; echo 'dump failed here' > "$work/dump.log"; echo 'criu failed: type NOTIFY' >&2; echo second line >&2; exit 1; fi
    exit 0;;
restore)
    echo "$@" >> {log}
    root=; bundle=; pid=; socket=
    while [ $# -gt 1 ]; do case $1 in --root) root=$2;; --bundle) bundle=$2;; --pid-file) pid=$2;; --console-socket) socket="--console-socket $2";; esac; shift; done
    {real} --root "$root" create --bundle "$bundle" --pid-file "$pid" $socket "$1" && {real} --root "$root" start "$1"
    exit;;
esac"#,
        log = log.display(),
        real = pod::real_runtime()
    );
    pod.script_runtime(&script);
}

fn called(pod: &Pod) -> String {
    fs::read_to_string(pod.directory().join("called")).unwrap_or_default()
}

#[test]
fn a_checkpoint_is_asked_for_with_all_its_options() {
    let mut pod = Pod::new(&["sleep", "600"]);
    with_checkpoints(&mut pod);
    pod.run(0);
    let image = pod.directory().join("image").to_string_lossy().into_owned();
    let plain = Writer::new().text(1, &pod.id()).text(2, &image);
    pod.client.call("Checkpoint", &plain).unwrap();
    let line = called(&pod);
    assert!(line.contains(&format!("checkpoint --image-path {image} --work-path ")), "{line}");
    assert!(line.contains("--leave-running") && line.trim().ends_with(&pod.id()), "{line}");

    let options = Writer::new()
        .number(1, 1)
        .number(2, 1)
        .number(3, 1)
        .number(4, 1)
        .number(5, 1)
        .text(6, "network")
        .text(9, "/work/here");
    let any = Writer::any("containerd.runc.v1.CheckpointOptions", &options.done());
    pod.client.call("Checkpoint", &plain.message(3, &any)).unwrap();
    let text = called(&pod);
    let line = text.lines().last().unwrap();
    for flag in [
        "--work-path /work/here",
        "--tcp-established",
        "--ext-unix-sk",
        "--shell-job",
        "--file-locks",
        "--empty-ns network",
    ] {
        assert!(line.contains(flag), "{flag} in {line}");
    }
    assert!(!line.contains("--leave-running"), "{line}");
}

#[test]
fn a_failed_checkpoint_keeps_the_log_of_criu() {
    let mut pod = Pod::new(&["sleep", "600"]);
    with_checkpoints(&mut pod);
    pod.run(0);
    fs::write(pod.directory().join("called.fail"), "").unwrap();
    let request = Writer::new().text(1, &pod.id()).text(2, "/image");
    let failed = pod.client.call("Checkpoint", &request).unwrap_err();
    let kept = pod.containers[0].bundle.join("criu-dump.log");
    assert!(failed.text.contains("criu failed: type NOTIFY"), "{failed:?}");
    assert!(failed.text.ends_with(&format!("path= {}", kept.display())), "{failed:?}");
    assert!(!failed.text.contains("second line"), "one line: {failed:?}");
    assert_eq!(fs::read_to_string(kept).unwrap(), "dump failed here\n");
    assert_eq!(pod.state(0, ""), 2, "it goes on");
}

#[test]
fn a_container_from_a_checkpoint_exists_before_its_process_does() {
    let mut pod = Pod::new(&["sh", "-c", "echo back; exit 8"]);
    with_checkpoints(&mut pod);
    let stdio = Stdio { stdin: String::new(), ..Stdio::fifos(pod.directory(), "init") };
    let (out, _err) = (Output::of(&stdio.stdout), Output::of(&stdio.stderr));
    let container = pod.containers[0].clone();
    let request = pod.create_request(&container, &stdio).text(8, "/image").text(9, "/parent");
    assert_eq!(pod.client.call("Create", &request).unwrap().number(1), 0, "no process yet");
    assert_eq!(pod.state(0, ""), 1);
    assert!(called(&pod).is_empty());
    assert!(pod.kill(0, "", 9, false).is_err());
    assert!(pod.exec(0, "e", &["true"], &Stdio::default()).is_err());
    let pid = pod.start(0, "").unwrap().number(1);
    assert!(pid > 0);
    let line = called(&pod);
    for part in
        ["restore --image-path /image --work-path ", "--parent-path /parent", "--detach", "-no-subreaper"]
    {
        assert!(line.contains(part), "{part} in {line}");
    }
    assert_eq!(pod.wait(0, ""), 8);
    pod.call("Delete", 0, "").unwrap();
    assert_eq!(out.end(), "back\n");
    let id = pod.id();
    pod.sink.wait("/tasks/delete", &id, 1);
    assert_eq!(pod.sink.wait("/tasks/create", &id, 1)[0].body.text(5), "/image");
    assert_eq!(pod.sink.wait("/tasks/start", &id, 1)[0].body.number(2), pid);
}

#[test]
fn a_container_from_a_checkpoint_that_has_no_streams_has_the_null_device() {
    let mut pod = Pod::new(&["sleep", "600"]);
    with_checkpoints(&mut pod);
    let container = pod.containers[0].clone();
    let request = pod.create_request(&container, &Stdio::default()).text(8, "/image");
    pod.client.call("Create", &request).unwrap();
    let pid = i32::try_from(pod.start(0, "").unwrap().number(1)).unwrap();
    assert_eq!(proc::streams(pid), ["/dev/null"; 3]);
}

#[test]
fn a_container_from_a_checkpoint_can_be_deleted_unstarted() {
    let mut pod = Pod::new(&["true"]);
    with_checkpoints(&mut pod);
    let container = pod.containers[0].clone();
    let request = pod.create_request(&container, &Stdio::default()).text(8, "/image");
    pod.client.call("Create", &request).unwrap();
    pod.call("Delete", 0, "").unwrap();
    pod.shutdown();
}

#[test]
fn nobody_waits_for_a_container_that_is_deleted_unstarted() {
    if !pod::is_ours() {
        skip!("needs Corten's shim: others never answer");
    }
    let mut pod = Pod::new(&["true"]);
    let container = pod.containers[0].clone();
    let request = pod.create_request(&container, &Stdio::default()).text(8, "/image");
    pod.client.call("Create", &request).unwrap();
    let request = pod.named(0, "");
    let wait = pod.client.send("Wait", &request);
    pod.call("Delete", 0, "").unwrap();
    assert_eq!(pod.client.answer(wait).unwrap_err().code, 5);
}

#[test]
fn a_container_that_could_not_be_restored_is_one_that_failed() {
    if !pod::is_ours() {
        skip!("needs Corten's shim: others never answer Wait");
    }
    let mut pod = Pod::new(&["sleep", "600"]);
    pod.script_runtime("[ $verb = restore ] && { echo 'no such image' >&2; exit 1; }");
    let container = pod.containers[0].clone();
    let request = pod.create_request(&container, &Stdio::default()).text(8, "/image");
    pod.client.call("Create", &request).unwrap();
    let request = pod.named(0, "");
    let wait = pod.client.send("Wait", &request);
    assert!(pod.start(0, "").unwrap_err().text.starts_with("OCI runtime restore failed"));
    assert_eq!(pod.client.answer(wait).unwrap().number(1), 255, "whoever waits is told");
    let exec = pod.exec(0, "e", &["true"], &Stdio::default());
    assert_eq!(exec.unwrap_err().code, 9, "there is nothing to execute a process in");
    assert_eq!(pod.start(0, "").unwrap_err().code, 9);
    assert_eq!(pod.kill(0, "", 9, false).unwrap_err().code, 5);
    assert_eq!(pod.call("Delete", 0, "").unwrap().number(2), 255);
    pod.shutdown();
}

/// A counter whose checkpoint is in `image`; the last number that it wrote. It has ended, and is deleted.
fn counter(pod: &mut Pod, image: &str) -> u64 {
    let stdio = Stdio { stdin: String::new(), ..Stdio::fifos(pod.directory(), "before") };
    let (out, _err) = (Output::of(&stdio.stdout), Output::of(&stdio.stderr));
    pod.create(0, &stdio);
    pod.start(0, "").unwrap();
    out.expect("5\n");
    let exit = Writer::any("containerd.runc.v1.CheckpointOptions", &Writer::new().number(1, 1).done());
    let request = Writer::new().text(1, &pod.id()).text(2, image).message(3, &exit);
    pod.client.call("Checkpoint", &request).unwrap();
    assert_eq!(pod.wait(0, ""), 137);
    pod.call("Delete", 0, "").unwrap();
    out.end().lines().last().unwrap().parse().unwrap()
}

const COUNTER: &[&str] = &["/bin/sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done"];

/// With criu and the runtime themselves: what was counted goes on, out of new streams.
#[test]
fn a_container_goes_on_from_a_checkpoint() {
    let path = needs!(criu::path(), "criu (integration/src/fetch-criu.sh)").to_string_lossy();
    let mut pod = Pod::with_variables(COUNTER, &[("PATH", &path)]);
    let image = pod.directory().join("image").to_string_lossy().into_owned();
    let last = counter(&mut pod, &image);

    let stdio = Stdio { stdin: String::new(), ..Stdio::fifos(pod.directory(), "after") };
    let (out, _err) = (Output::of(&stdio.stdout), Output::of(&stdio.stderr));
    let container = pod.containers[0].clone();
    let request = pod.create_request(&container, &stdio).text(8, &image);
    pod.client.call("Create", &request).unwrap();
    let pid = pod.start(0, "").unwrap().number(1);
    assert!(pid > 0);
    out.expect(&format!("{}\n", last + 3));
    assert!(out.so_far().starts_with(&format!("{}\n", last + 1)), "after {last}: {}", out.so_far());
    assert_eq!(pod.state(0, ""), 2);
    let side = Stdio::fifos(pod.directory(), "exec");
    pod.exec(0, "e", &["/bin/true"], &Stdio { stdin: String::new(), ..side }).unwrap();
    pod.kill(0, "", 9, false).unwrap();
    assert_eq!(pod.wait(0, ""), 137);
    pod.call("Delete", 0, "").unwrap();
}

/// What criu says comes through, and nothing is left of the container that could not be made. criu is named
/// by an option.
#[test]
fn a_checkpoint_that_is_damaged_is_refused() {
    let criu = needs!(criu::program(), "criu (integration/src/fetch-criu.sh)");
    let mut pod = Pod::new(COUNTER);
    let root = pod.directory().join("state");
    let options = Writer::new().text(7, &root.to_string_lossy()).text(8, &criu.to_string_lossy());
    pod.options = Writer::any("containerd.runc.v1.Options", &options.done());
    let image = pod.directory().join("image").to_string_lossy().into_owned();
    counter(&mut pod, &image);
    fs::write(pod.directory().join("image/inventory.img"), "nonsense").unwrap();
    let container = pod.containers[0].clone();
    let request = pod.create_request(&container, &Stdio::default()).text(8, &image);
    pod.client.call("Create", &request).unwrap();
    let failed = pod.start(0, "").unwrap_err();
    assert!(failed.text.contains("criu failed"), "{failed:?}");
    pod.call("Delete", 0, "").unwrap();
    pod.shutdown();
}
