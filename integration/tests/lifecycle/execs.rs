//! Processes in running containers, and the streams of both, as clients have them that wait for nothing.

use integration::skip;

use super::{Check, NONE_LEFT, engine, has_networks, hold};

/// Speaks the API: `call` is a request and its answer's status and content, `begin` one whose connection stays.
const CLIENT: &str = r#"import json, os, random, socket, sys, time
def begin(method, path, body="", upgrade="Connection: Upgrade\r\nUpgrade: tcp"):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(20)
    client.connect(os.environ["DOCKER_HOST"][7:])
    client.sendall(f"{method} /v1.45{path} HTTP/1.1\r\nHost: x\r\n{upgrade}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
    return client
def call(method, path, body=""):
    answer = begin(method, path, body, "Connection: close").makefile("rb").read()
    head, _, content = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(content) if content.startswith(b"{") else content
def new(name, **more):
    return call("POST", f"/containers/{name}/exec", json.dumps(more))[1]["Id"]
def ended(id):
    while (state := call("GET", f"/exec/{id}/json")[1])["ExitCode"] is None: time.sleep(0.02)
    return state
"#;

/// A script in Python after that.
fn client(script: &str) -> String {
    format!("cat >client.py <<'E'\n{CLIENT}{script}\nE\ntimeout 100 python3 client.py")
}

#[test]
fn what_is_told_of_a_process_is_true_from_its_start() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    let sizes = client(
        r#"
def size(id):
    status, content = call("POST", f"/exec/{id}/resize?h=33&w=77")
    return status, content["message"] if content else ""
for number in range(10):
    id = new("box", Cmd=["sh", "-c", "until [ $(stty size | cut -d' ' -f1) = 33 ]; do sleep 0.02; done; stty size"], Tty=True, AttachStdout=True)
    stream = begin("POST", f"/exec/{id}/start", '{"Tty":true}')
    stream.recv(15)
    print(size(id), stream.makefile("rb").read().split()[-2:])
id = new("box", Cmd=["nosuch"], Tty=True)
stream = begin("POST", f"/exec/{id}/start", '{"Tty":true}')
stream.recv(15)
print(size(id), size(new("box", Cmd=["true"])))"#,
    );
    let keys = client(
        r#"
id = new("box", Cmd=["sh", "-c", "exit 3"], DetachKeys="ctrl-a,x")
print(id in call("GET", "/containers/box/json")[1]["ExecIDs"])
print(call("POST", f"/exec/{id}/start", '{"Detach":true}')[0])
state = ended(id)
print(id in (call("GET", "/containers/box/json")[1]["ExecIDs"] or []), state["CanRemove"], state["DetachKeys"])
print(repr(call("GET", "/exec/%s/json" % new("box", Cmd=["true"]))[1]["DetachKeys"]))"#,
    );
    let mut said = "(200, '') [b'33', b'77']\n".repeat(10);
    said += "(400, 'exec process is not started') (500, 'timeout waiting for exec session ready')";
    let checks: &[Check<'_>] = &[
        ("docker run -d --name box --network none busybox sleep 1000", 0, &[]),
        (&sizes, 0, &[&said]),
        (&keys, 0, &["True\n200\nFalse False AXg=\n''\n"]),
        ("docker exec --detach-keys ctrl-a box true", 0, &[]),
        ("docker rm -f box", 0, &[]),
    ];
    hold(&engine, checks);
}

#[test]
fn streams_have_what_was_and_end_when_the_end_is_known() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    let past = client(
        r#"
for upgrade in "Connection: Upgrade\r\nUpgrade: tcp", "Connection: close":
    path = "/containers/past/attach?logs=1&stream=1&stdout=1"
    stream = begin("POST", path, upgrade=upgrade).makefile("rb")
    while not stream.readline().endswith(b"said\n"): pass
    print(call("POST", "/containers/past/start")[0], stream.read().count(b"said"))"#,
    );
    let network = if has_networks() { "bridge" } else { "none" };
    let ends = client(
        &r#"
states = []
for number in range(12):
    os.system("docker run -d --name box --network NETWORK busybox sleep 1000 >/dev/null")
    id = new("box", Cmd=["sleep", "1000"], AttachStdout=True)
    stream = [
        lambda: begin("POST", f"/exec/{id}/start", "{}"),
        lambda: begin("GET", "/containers/box/logs?stdout=1&follow=1", upgrade="Connection: close"),
        lambda: begin("POST", "/containers/box/attach?stdout=1&stream=1")][number % 3]()
    stream.recv(1000)
    while number % 3 == 0 and call("GET", f"/exec/{id}/json")[1]["Pid"] == 0: time.sleep(0.02)
    kill = begin("POST", "/containers/box/kill")
    stream.makefile("rb").read()
    states.append(call("GET", "/containers/box/json")[1]["State"]["Status"])
    call("DELETE", "/containers/box?force=1")
print(" ".join(states))"#
            .replace("NETWORK", network),
    );
    let checks: &[Check<'_>] = &[
        ("docker run --name past --network none busybox echo said", 0, &[]),
        (&past, 0, &["204 1\n204 2\n"]),
        // With a network, which takes its time to be taken down.
        (&ends, 0, &[&["exited"; 12].join(" ")]),
    ];
    hold(&engine, checks);
}

#[test]
fn a_process_makes_no_place_for_a_container_that_has_gone() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    // As when the container ends while the process is on its way.
    let gone = client(
        r#"
id = new("box", Cmd=["true"])
os.system("mkdir /run/aside && mv /run/corten/c/* /run/aside")
print(call("POST", f"/exec/{id}/start", '{"Detach":true}')[0], os.listdir("/run/corten/c"))
os.system("mv /run/aside/* /run/corten/c")"#,
    );
    let checks: &[Check<'_>] = &[
        ("docker run -d --name box --network none busybox sleep 1000", 0, &[]),
        (&gone, 0, &["500 []\n"]),
        ("docker rm -f box", 0, &[]),
        (NONE_LEFT, 0, &[]),
    ];
    hold(&engine, checks);
}

#[test]
fn a_process_is_started_whoever_goes_away() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    let goes = client(
        r#"
for number in range(20):
    id = new("box", Cmd=["sh", "-c", "cat; exit 3"], AttachStdin=True, AttachStdout=True, AttachStderr=True)
    client = begin("POST", f"/exec/{id}/start", '{"Detach":false}')
    client.recv(1000)
    print(call("GET", f"/exec/{id}/json")[1]["Running"])
    time.sleep(random.choice([0, 0, 0.005, 0.02]))
    client.close()
    print(ended(id)["ExitCode"])
for number in range(8):
    client = begin("POST", "/exec/%s/start" % new("box", Cmd=["sh"], Tty=True, AttachStdin=True), '{"Tty":true}')
    client.recv(1000)
    client.close()
print(call("DELETE", "/containers/box?force=1")[0])"#,
    );
    let all = "True\n3\n".repeat(20) + "204\n";
    let checks: &[Check<'_>] = &[
        ("docker run -d --name box --network none busybox sleep 1000", 0, &[]),
        (&goes, 0, &[&all]),
        (NONE_LEFT, 0, &[]),
    ];
    hold(&engine, checks);
}
