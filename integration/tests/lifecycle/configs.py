"""What dockerd and cortend make of the same words: their config.json, option by option. Prints what differs."""
import json, os, shlex, subprocess, sys
from concurrent.futures import ThreadPoolExecutor

DIR = os.getcwd()
SOCKETS = {"dockerd": f"unix://{DIR}/dockerd.sock", "cortend": f"unix://{DIR}/docker.sock"}
BUNDLES = {
    "dockerd": lambda id: f"{DIR}/dockerd/exec/containerd/daemon/io.containerd.runtime.v2.task/moby/{id}",
    "cortend": lambda id: f"/run/corten/c/{id[:16]}/bundle",
}
CASES = """
-t
-it
--network none
--network host
-u tester
-u tester --group-add 56
-u 12:34
--read-only
--tmpfs /t:size=1m
--tmpfs /t:exec,mode=700
-v /etc:/host:ro
-v vol:/v
-v /anon
--volumes-from other
--mount type=tmpfs,dst=/t,tmpfs-size=1000000,tmpfs-mode=1770
--shm-size 1m
--ipc none
--ipc host
--pid host
--uts host
--cgroupns private
-m 64m
-m 64m --memory-swap 64m
-m 64m --memory-swap 100m
--memory-reservation 32m
--cpus 0.5
--cpu-shares 512
--cpuset-cpus 0
--cpu-period 50000 --cpu-quota 25000
--pids-limit 50
--oom-score-adj 100
--cap-add NET_ADMIN
--cap-drop ALL
--cap-drop ALL --cap-add CHOWN -u tester
--cap-drop CHOWN
--security-opt no-new-privileges
--security-opt seccomp=unconfined
--security-opt systempaths=unconfined
--device /dev/null:/dev/mine:r
--device-cgroup-rule 'c 42:* rwm'
--ulimit nofile=100:200
--sysctl net.ipv4.ip_forward=1
--init
--dns 1.2.3.4 --dns-search x.y
--add-host a:1.2.3.4
--hostname here
-e A=b -e HOME=/x
-w /tmp
-w /tmp/../etc/
-v /:/host
-v /dev:/dev
--mount type=bind,src=/etc,dst=/host,bind-nonrecursive
--init --pid host
--ipc shareable
--label a=b
--stop-signal INT
-p 80
"""
# What differs for a reason: the places of each engine, what dockerd tells the kernel itself, and what Docker has in releases
# after the one compared with.
NEWER_MASKS = {"/proc/interrupts", "/sys/devices/virtual/powercap"}
NO_IPV6 = "linux.sysctl.net.ipv6.conf.eth0.disable_ipv6"
PLACES = ["root", "hooks", "ociVersion", "linux.cgroupsPath", "linux.seccomp", NO_IPV6]


def docker(engine, *words):
    done = subprocess.run(["docker", "-H", SOCKETS[engine], *words], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{engine}: docker {' '.join(words)}: {done.stderr}")
    return done.stdout.split()[-1] if done.stdout.split() else ""


def options(own):
    """A bind that is read-only is so with all below it, in newer releases; what is said twice is as it is said last. To what has
    no propagation of its own the runtime gives that of its root."""
    last = {one.removeprefix("no") if one in ("noexec", "nosuid", "nodev") else one: one for one in own}
    own = list(last.values())
    if "rbind" in own and not any(one.lstrip("r") in ("private", "slave", "shared") for one in own):
        own.append("rslave")
    return sorted({"rro": "ro"}.get(one, one) for one in own if one not in ("rw", "rprivate"))


def tidy(config, id):
    config = json.loads(json.dumps(config).replace(id, "ID").replace(id[:12], "SHORT"))
    linux, process = config["linux"], config["process"]
    for mount in config["mounts"]:
        mount["options"] = options(mount["options"])
        source = mount.get("source", "")
        mount["source"] = os.path.basename(source) if source.startswith(DIR) or "/run/" in source else source
        if mount["destination"] in ("/anon", "/vf", "/v"):
            mount["source"] = "volume"
    config["mounts"] = {mount.pop("destination"): mount for mount in config["mounts"]}
    # One engine makes the namespace, the other one's runtime does.
    linux["namespaces"] = sorted(space["type"] for space in linux["namespaces"] if space.get("path") != HOSTS)
    linux["maskedPaths"] = sorted(p for p in linux.get("maskedPaths") or [] if p not in NEWER_MASKS and "thermal" not in p)
    linux["readonlyPaths"] = sorted(linux.get("readonlyPaths") or [])
    # Allowed devices, in whatever order; nothing else is denied that all denies.
    rules = linux["resources"].get("devices") or []
    linux["resources"]["devices"] = sorted(json.dumps(rule, sort_keys=True) for rule in rules if rule["allow"])
    process["env"] = sorted(process["env"])
    process["user"]["additionalGids"] = sorted(set(process["user"].get("additionalGids") or []))
    for kind, names in (process.get("capabilities") or {}).items():
        process["capabilities"][kind] = sorted(names or [])
    return flat(config)


def flat(value, path=""):
    if not isinstance(value, dict):
        nothing = value in (None, "", [], False) or value == 0
        return {} if nothing else {path: value}
    found = {}
    for key, inner in value.items():
        below = f"{path}.{key}" if path else key
        if below not in PLACES:
            found.update(flat(inner, below))
    return found


HOSTS = f"{DIR}/dockerd/exec/netns/default"


def configs(engine):
    docker(engine, "run", "-d", "--network", "none", "--name", "other", "-v", "/vf", "busybox", "sleep", "1000")
    found = []
    for case in cases:
        id = docker(engine, "run", "-d", *shlex.split(case), "busybox", "sleep", "1000")
        with open(BUNDLES[engine](id) + "/config.json") as file:
            found.append(tidy(json.load(file), id))
        docker(engine, "rm", "-f", "-v", id)
    docker(engine, "rm", "-f", "-v", "other")
    return found


cases = ["", *CASES.strip().splitlines()]
with ThreadPoolExecutor() as both:
    found = dict(zip(SOCKETS, both.map(configs, SOCKETS)))
for case, theirs, ours in zip(cases, *found.values()):
    for path in sorted(set(theirs) | set(ours)):
        if theirs.get(path) != ours.get(path):
            print(f"{case}: {path}\n  dockerd {theirs.get(path)}\n  cortend {ours.get(path)}")
print(len(cases), "compared")
