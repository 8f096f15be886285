"""What programs do with docker-py: each block asserts what its documentation promises."""
import io, os, tarfile, threading, time
import docker
from docker.errors import APIError, BuildError, ContainerError, ImageNotFound, NotFound

client = docker.from_env()
assert client.ping() and client.version()["Os"] == "linux"
quiet = {"network_mode": "none"}

# containers
assert client.containers.run("busybox", "echo hello", remove=True, **quiet) == b"hello\n"
try:
    client.containers.run("busybox", ["sh", "-c", "echo bad >&2; exit 3"], remove=True, **quiet)
    raise AssertionError("no error")
except ContainerError as error:
    assert error.exit_status == 3 and b"bad" in error.stderr, error
seen = []
events = client.events(decode=True, filters={"type": "container"})
listener = threading.Thread(target=lambda: [seen.append(event["Action"]) for event in events], daemon=True)
listener.start()
box = client.containers.run(
    "busybox", ["sh", "-c", "echo out; echo err >&2; trap 'exit 4' TERM; while :; do sleep 0.1; done"],
    name="box", detach=True, labels={"kind": "test"}, environment={"A": "b"}, mem_limit="64m", **quiet)
box.reload()
assert box.status == "running" and box.labels["kind"] == "test"
assert [c.id for c in client.containers.list(filters={"label": "kind=test"})] == [box.id]
code, output = box.exec_run(["sh", "-c", "echo $A; exit 5"])
assert (code, output) == (5, b"b\n"), (code, output)
code, (out, err) = box.exec_run("sh -c 'echo o; echo e >&2'", demux=True)
assert (out, err) == (b"o\n", b"e\n"), (out, err)
assert b"".join(box.exec_run("echo streamed", stream=True).output) == b"streamed\n"
# Whether there are frames is what the start says.
framed = client.api.exec_create(box.id, "echo framed", tty=True)
assert client.api.exec_start(framed, demux=True) == (b"framed\r\n", None)
while b"err" not in box.logs():
    time.sleep(0.05)
assert box.logs(stderr=False) == b"out\n" and box.logs(stdout=False) == b"err\n"
assert next(iter(box.logs(stream=True, follow=True, stderr=False))).startswith(b"out")
stats = box.stats(stream=False)
assert stats["memory_stats"]["limit"] == 64 << 20 and stats["cpu_stats"]["cpu_usage"]["total_usage"] > 0
assert any("sleep" in " ".join(row) or "sh" in " ".join(row) for row in box.top()["Processes"])
data = io.BytesIO()
with tarfile.open(fileobj=data, mode="w") as archive:
    entry = tarfile.TarInfo("file")
    entry.size = 4
    archive.addfile(entry, io.BytesIO(b"into"))
assert box.put_archive("/tmp", data.getvalue())
bits, stat = box.get_archive("/tmp/file")
assert stat["name"] == "file" and stat["size"] == 4
assert tarfile.open(fileobj=io.BytesIO(b"".join(bits))).extractfile("file").read() == b"into"
assert {"Path": "/tmp/file", "Kind": 1} in box.diff()
box.pause(); box.reload(); assert box.status == "paused"
box.unpause()
box.rename("other"); box.reload(); assert box.name == "other"
box.update(mem_limit="128m", memswap_limit="128m"); box.reload()
assert box.attrs["HostConfig"]["Memory"] == 128 << 20
image = box.commit("made", "1", message="note")
assert "made:1" in image.tags
box.stop(timeout=5)
assert box.wait()["StatusCode"] == 4
box.remove()
try:
    client.containers.get("other")
    raise AssertionError("still there")
except NotFound:
    pass
deadline = time.time() + 20
while "destroy" not in seen and time.time() < deadline:
    time.sleep(0.05)
order = [s for s in seen if s in ("create", "start", "pause", "unpause", "die", "stop", "destroy")]
# A commit freezes the container too.
assert order == ["create", "start", "pause", "unpause", "pause", "unpause", "die", "stop", "destroy"], order

# attach: what is written into a container comes out of it
box = client.containers.create("busybox", "cat", stdin_open=True, **quiet)
socket = box.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
box.start()
raw = getattr(socket, "_sock", socket)
raw.sendall(b"typed\n")
got = b""
while b"typed" not in got:
    got += raw.recv(100)
box.kill(); box.remove()

# images
image = client.images.get("busybox")
assert client.images.list("busybox")[0].id == image.id
assert image.tag("other/name", "2") and "other/name:2" in client.images.get("busybox").tags
assert len(image.history()) >= 1 and image.attrs["Architecture"]
saved = b"".join(image.save(named=True))
client.images.remove("other/name:2")
assert client.images.load(saved)[0].id == image.id
built, log = client.images.build(fileobj=io.BytesIO(b"FROM busybox\nRUN echo built\nLABEL a=b\n"), tag="built:1", network_mode="none", rm=True)
assert built.labels == {"a": "b"} and any("built" in line.get("stream", "") for line in log)
try:
    client.images.build(fileobj=io.BytesIO(b"FROM busybox\nRUN exit 9\n"), network_mode="none", forcerm=True)
    raise AssertionError("no error")
except BuildError as error:
    assert "returned a non-zero code: 9" in str(error), error
for name in ("built:1", "made:1"):
    client.images.remove(name)
try:
    client.images.get("built:1")
    raise AssertionError("still there")
except ImageNotFound:
    pass
client.images.prune()

# volumes
volume = client.volumes.create("store", labels={"kind": "test"})
assert client.volumes.get("store").attrs["Labels"] == {"kind": "test"}
client.containers.run("busybox", "sh -c 'echo kept > /s/f'", volumes={"store": {"bind": "/s", "mode": "rw"}}, remove=True, **quiet)
kept = client.containers.run("busybox", "cat /s/f", volumes=["store:/s:ro"], remove=True, **quiet)
assert kept == b"kept\n"
volume.remove()
assert client.volumes.list() == []

# networks
if os.environ.get("NETWORKS"):
    pool = docker.types.IPAMPool(subnet="10.97.0.0/24", gateway="10.97.0.1")
    network = client.networks.create("mine", driver="bridge", ipam=docker.types.IPAMConfig(pool_configs=[pool]))
    server = client.containers.run("busybox", "sh -c 'while :; do echo served | nc -l -p 80; done'", name="server", network="mine", detach=True)
    network.reload()
    assert [c.id for c in network.containers] == [server.id]
    knock = "until nc -w 2 server 80 | grep .; do sleep 0.05; done"
    assert client.containers.run("busybox", ["sh", "-c", knock], network="mine", remove=True) == b"served\n"
    network.disconnect(server)
    server.remove(force=True)
    network.remove()

# errors
try:
    client.api.inspect_container("nosuch")
    raise AssertionError("no error")
except NotFound:
    pass
try:
    client.login("me", "wrong", registry="127.0.0.1:1")
    raise AssertionError("logged in")
except APIError as error:
    assert error.status_code in (401, 500), error
assert client.df()["Containers"] in (None, []) and client.info()["Containers"] == 0
print("all held")
