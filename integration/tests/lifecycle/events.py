"""What dockerd and cortend tell while the same is done with them: their events, one after the other. Prints what differs."""
import json, os, shlex, subprocess, sys, time
from concurrent.futures import ThreadPoolExecutor

DIR = os.getcwd()
SOCKETS = {"dockerd": f"unix://{DIR}/dockerd.sock", "cortend": f"unix://{DIR}/docker.sock"}
STEPS = """
create --name one --network none busybox sleep 1000
start one
exec one true
exec one sh -c 'exit 3'
pause one
unpause one
rename one two
update -m 64m --memory-swap 64m two
kill -s HUP two
restart -t 0 two
cp two:/etc/passwd copied
cp copied two:/tmp/
export -o exported two
commit -m note two made:1
tag made:1 made:2
save -o saved made:2
rmi made:2
rmi made:1
import exported imported:1
rmi imported:1
load -i saved
rmi made:2
stop -t 0 two
rm two
run --rm --network none busybox true
run --rm --network host busybox sh -c 'exit 3'
run --rm busybox true
run --name big --network none -m 8m --memory-swap 8m busybox sh -c 'tail /dev/zero'
rm big
network create net
run -d --name member --network net busybox sleep 1000
rm -f member
network rm net
run --rm -v kept:/v --network none busybox true
volume rm kept
volume create kept
volume rm kept
run --rm -v /anonymous --network none busybox true
container prune -f
network prune -f
volume prune -f
image prune -f
"""
# Docker has this in later releases than the one compared with.
NEWER = {"execDuration"}
# What is another one each time.
NAMES = {"name", "container", "execID", "imageID", "image"}


def docker(engine, *words):
    folder = f"{DIR}/events-{engine}"
    os.makedirs(folder, exist_ok=True)
    command = ["docker", "-H", SOCKETS[engine], *words]
    return subprocess.run(command, capture_output=True, text=True, errors="replace", cwd=folder)


def told(engine, step):
    """Does it, and says what is told of it; some of it comes after the command has ended: until there is no more."""
    since = now()
    status = docker(engine, *shlex.split(step)).returncode
    lines, before = [], None
    while lines != before:
        time.sleep(0.2)
        before = lines
        done = docker(engine, "events", "--since", since, "--until", now(), "--format", "{{json .}}")
        if done.returncode != 0:
            sys.exit(f"{engine}: {step}: events: {done.stderr}")
        lines = done.stdout.splitlines()
    events = [json.loads(line) for line in lines]
    rows = [f"status {status}"]
    for event in events:
        attributes = {k: "*" if k in NAMES else v for k, v in event["Actor"]["Attributes"].items() if k not in NEWER}
        rows.append(f"{event['Type']} {event['Action']} {json.dumps(attributes, sort_keys=True)}")
    return rows


def now():
    return f"{time.time():.9f}"


steps = STEPS.strip().splitlines()
with ThreadPoolExecutor() as both:
    seen = dict(zip(SOCKETS, both.map(lambda engine: [told(engine, step) for step in steps], SOCKETS)))
if sum(row.split()[0] != "status" for rows in seen["dockerd"] for row in rows) < 60:
    sys.exit(f"hardly anything was told: {seen}")
for step, theirs, ours in zip(steps, *seen.values()):
    if theirs != ours:
        print(step, *(f"dockerd {row}" for row in theirs), *(f"cortend {row}" for row in ours), sep="\n  ")
print(len(steps), "compared")
