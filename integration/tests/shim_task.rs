//! The task service without containerd: every call, in the states it can meet.

use integration::shim::{Output, Pod, Stdio, fifo};

#[test]
fn a_container_lives_and_ends() {
    let mut pod = Pod::new(&["sh", "-c", "echo out; echo err >&2; cat; exit 7"]);
    let stdio = Stdio::fifos(pod.directory(), "init");
    let (out, err) = (Output::of(&stdio.stdout), Output::of(&stdio.stderr));
    let pid = pod.create(0, &stdio);
    assert_eq!(pod.state(0, ""), 1);
    assert_eq!(pod.start(0, "").unwrap().number(1), pid as u64);
    assert_eq!(pod.state(0, ""), 2);
    fifo::write(&stdio.stdin, "typed\n");
    out.expect("typed");
    let close = pod.named(0, "").number(3, 1);
    pod.client.call("CloseIO", &close).unwrap();
    assert_eq!(pod.wait(0, ""), 7);
    assert_eq!(pod.state(0, ""), 3);
    let deleted = pod.call("Delete", 0, "").unwrap();
    assert_eq!((deleted.number(1), deleted.number(2)), (pid as u64, 7));
    assert_eq!(out.end(), "out\ntyped\n");
    assert_eq!(err.end(), "err\n");
    let id = pod.id();
    pod.sink.wait("/tasks/delete", &id, 1);
    let expected = ["create", "start", "exit", "delete"].map(|topic| format!("{topic} {id}"));
    assert_eq!(pod.sink.briefs(&id), expected);
    pod.shutdown();
}
