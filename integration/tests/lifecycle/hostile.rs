//! Images and archives that somebody made to do harm: each of them ends in one clear line, or has its files inside of
//! the container.

use std::fs;
use std::os::unix::fs::MetadataExt;

use integration::shim::Said;
use integration::shim::engine::Engine;
use integration::shim::pod::until;
use integration::skip;

use super::storage::{NESTED, REFUSED};
use super::{curl, engine, engine_with, has_networks, python};

/// Makes what is tried: `NAME.tar` with an image, `NAME.layer` with its upper layer, and `registry`, a static one.
/// `MARK` is the name of what must not be anywhere.
const MAKE: &str = r#"
import copy, gzip, hashlib, io, json, os, random, sys
from tarfile import BLKTYPE, CHRTYPE, DIRTYPE, FIFOTYPE, GNUTYPE_LONGNAME, GNU_FORMAT, LNKTYPE, PAX_FORMAT, REGTYPE, SYMTYPE, XHDTYPE, TarInfo
MARK, UP = sys.argv[1], "../../../../../../../../../../"
ODD = "a\n\x1b[2Jb"

def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()

def file(name, kind, rest, **more):
    one = TarInfo(name)
    one.type, one.mode, one.linkname = kind, 0o755, rest if kind in (SYMTYPE, LNKTYPE) else ""
    text = rest if kind == REGTYPE else b""
    text = text if isinstance(text, bytes) else text.encode()
    one.size = len(text)
    for key, value in more.items():
        setattr(one, key, value)
    return one.tobuf(PAX_FORMAT if one.pax_headers else GNU_FORMAT, errors="surrogateescape") + text + bytes(-len(text) % 512)

def archive(*entries):
    return b"".join(file(*one[:3], **(one[3] if len(one) > 3 else {})) for one in entries) + bytes(1024)

APPLETS = ["sh", "cat", "head", "ls", "stat", "sleep"]
BASE = archive(("bin", DIRTYPE, ""), ("tmp", DIRTYPE, ""), ("etc", DIRTYPE, ""), ("dst", DIRTYPE, ""), ("bin/busybox", REGTYPE, open("/bin/busybox", "rb").read()),
    *(("bin/" + name, SYMTYPE, "busybox") for name in APPLETS))
CONFIG = {"os": "linux", "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"]}}

def save(name, files):
    with gzip.open(name + ".tar", "wb", 1) as out:
        out.write(archive(*((path, SYMTYPE if isinstance(text, str) else REGTYPE, text) for path, text in files.items())))

def image(name, upper=archive(), change=lambda config, entry, files: None):
    """An image of two layers, which `change` has changed."""
    config = {**copy.deepcopy(CONFIG), "rootfs": {"type": "layers", "diff_ids": [digest(BASE), digest(upper)]}}
    entry = {"Config": "config.json", "RepoTags": [f"hostile/{name}:1"], "Layers": ["0.tar", "1.tar"]}
    files = {"0.tar": BASE, "1.tar": upper}
    change(config, entry, files)
    for path, value in ("config.json", config), ("manifest.json", [entry]):
        files.setdefault(path, json.dumps(value).encode())
    save(name, files)
    open(name + ".layer", "wb").write(upper)

def of(name, *entries, **more):
    image(name, archive(*entries), **more)

# Layers.
of("plain")
of("up", *(("../" * count + MARK, REGTYPE, "inside") for count in range(12)))
of("absolute", ("/tmp/" + MARK, REGTYPE, "inside"), ("//etc/" + MARK, REGTYPE, "inside"), ("/../../" + MARK, REGTYPE, "inside"))
of("through", ("root", SYMTYPE, "/"), ("root/tmp/" + MARK, REGTYPE, "inside"), ("up", SYMTYPE, UP), ("up/etc/" + MARK, REGTYPE, "inside"),
    ("one", SYMTYPE, "two"), ("two", SYMTYPE, UP + "tmp"), ("one/" + MARK + "2", REGTYPE, "inside"), ("one/" + MARK, REGTYPE, "again"))
of("loop", ("loop", SYMTYPE, "loop"), ("loop/x", REGTYPE, "x"))
of("nowhere", ("link", SYMTYPE, "/nowhere"), ("link/x", REGTYPE, "x"))
of("hard", ("h", LNKTYPE, "/etc/passwd"))
of("hard-up", ("h", LNKTYPE, UP + "etc/passwd"))
of("hard-through", ("e", SYMTYPE, UP + "etc"), ("h", LNKTYPE, "e/passwd"))
of("hard-inside", ("etc/passwd", REGTYPE, "own"), ("e", SYMTYPE, "/etc"), ("h", LNKTYPE, UP + "e/passwd"), ("h2", LNKTYPE, "h"), ("h2", REGTYPE, "new"),
    ("l", SYMTYPE, "/etc/shadow"), ("h3", LNKTYPE, "l"), ("h3", REGTYPE, "own"))
of("hard-self", ("h", LNKTYPE, "h"))
of("replaced", ("s", SYMTYPE, "/tmp/" + MARK), ("s", REGTYPE, "inside"), ("tmp", DIRTYPE, ""), ("d", SYMTYPE, "/tmp"), ("d", DIRTYPE, ""), ("d/" + MARK, REGTYPE, "inside"),
    ("d/s", SYMTYPE, UP + "tmp"), ("d/s/" + MARK, REGTYPE, "inside"))
of("swapped", ("tmp", DIRTYPE, ""), ("d", DIRTYPE, ""), ("d/x", REGTYPE, "x"), ("d", SYMTYPE, UP + "tmp"), ("d/" + MARK, REGTYPE, "inside"))
of("whiteouts", *((name, REGTYPE, "") for name in [".wh...", ".wh..", ".wh.", "bin/.wh...", "bin/.wh..", "bin/.wh.head", "etc/.wh..wh..wh.x", UP + ".wh.tmp", "..wh"]),
    ("link", SYMTYPE, "/"), ("link/bin/.wh.stat", REGTYPE, "x"), (".wh.dir/x", REGTYPE, ""), ("bin/ls", REGTYPE, "here"), ("bin/.wh.ls", DIRTYPE, ""))
of("devices", ("disk", BLKTYPE, "", {"devmajor": 8, "mode": 0o666}), ("memory", CHRTYPE, "", {"devmajor": 1, "devminor": 1, "mode": 0o666}),
    ("pipe", FIFOTYPE, ""))
of("hidden", ("tmp", CHRTYPE, ""))
of("setuid", ("suid", REGTYPE, "inside", {"mode": 0o6755}))
of("attributes", ("bin", DIRTYPE, "", {"pax_headers": {"SCHILY.xattr.trusted.overlay.opaque": "y", "SCHILY.xattr.trusted.overlay.redirect": "/tmp"}}))
of("pipes", ("etc/passwd", FIFOTYPE, ""), ("etc/group", SYMTYPE, "/dev/zero"))
of("deep", ("/".join("d" * 300) + "/x", REGTYPE, "x"))
of("odd", (ODD, LNKTYPE, "/nowhere"))
of("owner", ("x", REGTYPE, "x", {"uid": 1 << 40}))
of("times", ("x", REGTYPE, "inside", {"mtime": 1 << 62}))
os.system("truncate -s 300M sparse; truncate -s 2T sparse-large; for name in sparse sparse-large; do echo end >> $name; tar --format=gnu -S -cf $name.upper $name; done; tar --format=pax -S -cf sparse-pax.upper sparse")
for name in "sparse", "sparse-large", "sparse-pax":
    image(name, open(name + ".upper", "rb").read())
for name, kind in ("names", GNUTYPE_LONGNAME), ("records", XHDTYPE):
    image(name, file("x", REGTYPE, bytes(1 << 28), type=kind))
image("lies", file("x", REGTYPE, "x", size=1 << 62))
image("cut", archive(("x", REGTYPE, "x" * 5000))[:2000])
image("noise", random.Random(1).randbytes(3000))

# What is said of them.
image("other", change=lambda config, entry, files: config["rootfs"]["diff_ids"].__setitem__(1, digest(b"other")))
image("no-digest", change=lambda config, entry, files: config["rootfs"]["diff_ids"].__setitem__(1, "sha256:" + UP))
image("uneven", change=lambda config, entry, files: entry["Layers"].pop())
image("config-outside", change=lambda config, entry, files: entry.update(Config=UP + "etc/passwd"))
image("layer-outside", change=lambda config, entry, files: entry["Layers"].__setitem__(1, "/etc/passwd"))
image("config-link", change=lambda config, entry, files: files.update({"config.json": "/etc/passwd"}))
image("layer-link", change=lambda config, entry, files: files.update({"1.tar": UP + "etc/passwd"}))
image("nested", change=lambda config, entry, files: files.update({"manifest.json": b"[" * 10000 + b"]" * 10000}))
image("nested-config", change=lambda config, entry, files: files.update({"config.json": b'{"config":' + b"[" * 10000 + b"]" * 10000 + b"}"}))
image("large", change=lambda config, entry, files: files.update({"manifest.json": b" " * 100000000 + b"[]"}))
image("large-config", change=lambda config, entry, files: files.update({"config.json": b" " * 10000000 + b"{}"}))
image("odd-tag", change=lambda config, entry, files: entry.update(RepoTags=[ODD]))
image("pinned", change=lambda config, entry, files: entry.update(RepoTags=["hostile/pinned@sha256:" + "a" * 64]))
image("odd-config", change=lambda config, entry, files: entry.update(Config=ODD))
image("places", archive(("out", SYMTYPE, UP + "tmp")), lambda config, entry, files: config["config"].update(WorkingDir="/out/" + MARK, Volumes={"/out/" + MARK + "2": {}}))
index = lambda at: json.dumps({"schemaVersion": 2, "manifests": [{"mediaType": "application/vnd.oci.image.index.v1+json", "size": 10, "digest": at,
    "platform": {"os": "linux", "architecture": sys.argv[2]}}]}).encode()
ITSELF = digest(b"index")
save("turning", {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}', "index.json": index(ITSELF), "blobs/sha256/" + ITSELF[7:]: "/index.json"})
save("turning-outside", {"index.json": index(ITSELF), "blobs": UP + "etc"})

# A registry.
def put(path, data):
    os.makedirs(os.path.dirname("registry/v2/" + path), exist_ok=True)
    open("registry/v2/" + path, "wb").write(data)

def published(name, upper=archive(), size=0, at=None, config=None, blob=None, manifest=None):
    """An image; `size` is added to that of the layer, the others are what stands for what is expected."""
    text = json.dumps({**CONFIG, "rootfs": {"type": "layers", "diff_ids": [digest(BASE), digest(upper)]}}).encode()
    layers = [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest(one), "size": len(one)} for one in (BASE, upper)]
    layers[1].update(size=len(upper) + size, digest=at or digest(upper))
    own = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(text), "size": len(text)}
    put(name + "/manifests/latest", manifest or json.dumps({"schemaVersion": 2, "config": own, "layers": layers}).encode())
    put(name + "/blobs/" + digest(text), config or text)
    put(name + "/blobs/" + digest(BASE), BASE)
    put(name + "/blobs/" + digest(upper), blob or upper)

MORE = archive(("x", REGTYPE, "x" * 9000))
published("up", archive(*(("../" * count + MARK, REGTYPE, "inside") for count in range(12))))
published("larger", MORE, size=-1000)
published("smaller", MORE, size=1000)
published("config", config=b"{}")
published("layer", MORE, blob=MORE.replace(b"xxx", b"yyy"))
published("path", at="sha256:" + UP + "etc/passwd")
published("algorithm", at="sha512:" + "a" * 128)
put("algorithm/blobs/sha512:" + "a" * 128, archive())
published("large", manifest=b" " * 100000000 + b"{}")
published("nested", manifest=b"[" * 10000 + b"]" * 10000)
published("turning", manifest=index(ITSELF))
put("turning/manifests/" + ITSELF, index(ITSELF))
published("twice", manifest=index(digest(index(ITSELF))))
put("twice/manifests/" + digest(index(ITSELF)), index(ITSELF))
"#;

/// Layers whose files are inside, and what a container sees of them: a script, and what it says. `MARK` is the mark.
const INSIDE: &[(&str, &str, &str)] = &[
    ("plain", "cat /etc/hosts", "127.0.0.1"),
    ("up", "cat /MARK", "inside"),
    ("absolute", "cat /tmp/MARK /etc/MARK /MARK", "insideinsideinside"),
    ("through", "cat /tmp/MARK /etc/MARK /tmp/MARK2", "againinsideinside"),
    ("hard-inside", "cat /etc/passwd /h /h2 /h3; busybox readlink /l", "ownownnewown/etc/shadow"),
    ("replaced", "cat /s /d/MARK /tmp/MARK; ls /d", "insideinsideinsideMARK\ns\n"),
    ("swapped", "cat /tmp/MARK; ls /d", "insideMARK\n"),
    (
        "whiteouts",
        "cat /bin/ls; ls /bin/head /bin/stat 2>&1; test ! -e /tmp && test -d /etc && echo both",
        "both",
    ),
    (
        "devices",
        "for name in disk memory; do head -c1 /\\$name 2>&1; done; stat -c %F /disk /pipe",
        "head: /disk: Operation not permitted\nhead: /memory: Operation not permitted\nblock special file\nfifo\n",
    ),
    ("setuid", "stat -c '%a %u' /suid; cat /suid", "6755 0\ninside"),
    ("attributes", "ls /bin/sh /bin/cat", "/bin/cat\n/bin/sh"),
    ("times", "cat /x", "inside"),
    (
        "sparse",
        "stat -c %s /sparse; test \\$(stat -c %b /sparse) -lt 1000 && busybox tail -c 4 /sparse",
        "314572804\nend\n",
    ),
    ("places", "pwd; ls -d /tmp/MARK2", "/tmp/MARK\n/tmp/MARK2"),
];

/// Layers that are refused, and in which words.
const REFUSED_LAYERS: &[(&str, &str)] = &[
    ("loop", "unpack loop/x: Too many levels of symbolic links"),
    ("nowhere", "unpack link/x: No such file"),
    ("hard", "unpack h: No such file"),
    ("hard-up", "unpack h: No such file"),
    ("hard-through", "unpack h: No such file"),
    ("hard-self", "unpack h: No such file"),
    ("deep", "it is more than 256 folders deep"),
    ("odd", "unpack a\\n\\u{1b}[2Jb: No such file"),
    ("owner", "unpack x: owner out of range"),
    ("lies", "read the archive"),
    ("cut", "read the archive"),
    ("names", "what is said of an entry has more than 8 MiB"),
    ("records", "what is said of an entry has more than 8 MiB"),
    ("sparse-large", "more than 1 TiB"),
    ("sparse-pax", "not offered in pax's way"),
    ("noise", "read the archive"),
];

/// Archives that are refused.
const REFUSED_ARCHIVES: &[(&str, &str)] = &[
    ("other", "unpacks to sha256:"),
    ("no-digest", "diff_ids are not sha256 digests"),
    ("uneven", "layers length mismatch"),
    ("config-outside", "the archive has no "),
    ("layer-outside", "the archive has no "),
    ("config-link", "the archive has no "),
    ("layer-link", "the archive has no "),
    ("nested", "manifest.json in the archive: "),
    ("nested-config", "the image's configuration: "),
    ("large", "more than 8388608 bytes"),
    ("large-config", "more than 8388608 bytes"),
    ("odd-tag", "invalid reference format"),
    ("pinned", "refusing to create a tag with a digest reference"),
    ("odd-config", "the archive has no "),
    ("turning", "missing field `config`"),
    ("turning-outside", "the archive has no "),
];

/// Pulls that are refused.
const REFUSED_PULLS: &[(&str, &str)] = &[
    ("larger", "larger than the "),
    ("smaller", " bytes arrived"),
    ("config", "has digest sha256:"),
    ("layer", "has digest sha256:"),
    ("path", "the manifest: "),
    ("algorithm", "expected sha512:"),
    ("large", "more than 8388608 bytes"),
    ("nested", "the manifest: "),
    ("turning", "has digest sha256:"),
    ("twice", "the manifest: "),
];

/// What is tried, and what went wrong with it.
struct Trials<'a> {
    engine: &'a Engine,
    mark: String,
    /// What the host's /etc/passwd was.
    passwd: [u64; 4],
    /// There are no overlays: what is wrong with a layer is seen when a container is made.
    copied: bool,
    failures: Vec<String>,
}

fn passwd() -> [u64; 4] {
    let stat = fs::metadata("/etc/passwd").unwrap();
    [stat.nlink(), stat.len(), stat.mode().into(), stat.uid().into()]
}

/// What the engine may have in memory at most, in kB.
const MEMORY: u64 = 150_000;

/// Whether it is one line, which does not speak to the terminal.
fn is_clear(text: &str) -> bool {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.contains("--help"));
    lines.count() == 1 && !text.contains(|one: char| one.is_control() && one != '\n')
}

impl<'a> Trials<'a> {
    fn new(engine: &'a Engine, copied: bool) -> Self {
        let mark = format!("out-of-{}", engine.name);
        fs::write(engine.directory.join("make.py"), MAKE).unwrap();
        let make = format!("python3 make.py {mark} $(docker version -f '{{{{.Server.Arch}}}}')");
        engine.docker_command(&make).ok();
        engine.docker_command("docker rmi -f $(docker images -q)").ok();
        Self { engine, mark, passwd: passwd(), copied, failures: Vec::new() }
    }

    /// Runs a script, which says `wanted` or is refused with these words.
    fn run(&mut self, script: &str, wanted: Result<&str, &str>) {
        let script = script.replace("MARK", &self.mark);
        let said = self.engine.docker_command(&script);
        let Said { status, out, err } = &said;
        let fits = match wanted {
            Ok(words) => *status == 0 && out.contains(&words.replace("MARK", &self.mark)),
            Err(words) => *status != 0 && err.contains(words) && is_clear(err),
        };
        if !fits {
            self.failures.push(format!("{script}\n  expected {wanted:?}: {said:?}"));
        }
    }

    /// Looks for what is left, and removes all images.
    fn look(&mut self, what: &str, refused: bool) {
        let images = if refused && !self.copied { "docker images -aq; " } else { "" };
        // A layer beside the one that was refused may be unpacked still.
        until("nothing is made any more", || self.engine.docker_command("ls -A data/tmp").out.is_empty());
        // While a link to it that an image has would still be there.
        let passwd = passwd();
        let (dir, mark) = (self.engine.directory.display(), &self.mark);
        let left = format!(
            "{images}docker rmi -f $(docker images -aq) >/dev/null 2>&1; docker volume prune -af >/dev/null; docker images -aq; docker ps -aq
             find {dir} -name '{mark}*'; find / /tmp /etc /root /var /var/lib /run {dir}/.. -maxdepth 1 -name '{mark}*'"
        );
        let said = self.engine.docker_command(&left);
        if said.status != 0 || !said.out.is_empty() || self.passwd != passwd {
            self.failures.push(format!("{what} is left over: {said:?}, {passwd:?}"));
        }
    }

    fn load(&mut self, name: &str, inside: &str, wanted: Result<&str, &str>) {
        self.run(
            &format!(
                "docker load -qi {name}.tar && docker run --rm --network none hostile/{name}:1 sh -c \"{inside}\""
            ),
            wanted,
        );
        self.look(name, wanted.is_err());
    }

    #[track_caller]
    fn end(mut self) {
        // What was in the engine's memory at most, in kB: much less than there is in some archives.
        for pid in self.engine.processes_of("cortend") {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix(" kB"));
            let most: u64 = most.unwrap().trim().parse().unwrap();
            if most > MEMORY {
                self.failures.push(format!("{most} kB of memory"));
            }
        }
        // What no image needs goes with the next one.
        let last = "docker load -qi plain.tar && docker rmi hostile/plain:1 && find data/layers data/blobs/sha256 data/trees data/tmp -mindepth 1 -maxdepth 1 2>/dev/null | wc -l";
        let said = self.engine.docker_command(last);
        assert!(said.out.ends_with("\n0\n"), "{said:?}");
        assert!(self.failures.is_empty(), "{}\n{}", self.failures.join("\n"), self.engine.log("cortend"));
    }
}

fn load_all(engine: &Engine, copied: bool) {
    let mut trials = Trials::new(engine, copied);
    for (name, inside, words) in INSIDE {
        trials.load(name, inside, Ok(words));
    }
    for (name, words) in REFUSED_LAYERS.iter().chain(REFUSED_ARCHIVES) {
        trials.load(name, "", Err(words));
    }
    // A pipe where names of users are looked for: it is not waited for.
    let pipes = "docker load -qi pipes.tar && docker run --rm --network none hostile/pipes:1 ls";
    trials.run(pipes, Err("open in the image etc/passwd"));
    trials.look("pipes", false);
    if !copied {
        // An overlay's own note that something is hidden.
        trials.load("hidden", "test ! -e /tmp && echo hidden", Ok("hidden"));
    }
    trials.end();
}

#[test]
fn hostile_archives_are_refused_or_stay_inside() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    load_all(&engine, false);
}

#[test]
fn and_where_files_are_copied() {
    let mut refused = false;
    let nest = |engine: &Engine| {
        engine.docker_command(NESTED).ok();
        refused = engine.docker_command(REFUSED).status == 0;
    };
    let Some(engine) = engine_with(&[], nest) else { return skip::say("needs docker") };
    if !refused {
        return skip::say("needs a kernel that refuses overlays on overlays");
    }
    load_all(&engine, true);
}

#[test]
fn hostile_registries_are_refused() {
    let Some(mut engine) = engine() else { return skip::say("needs docker") };
    let folder = engine.directory.join("registry").display().to_string();
    engine.docker_command("mkdir registry").ok();
    python(&mut engine, "files", &["-m", "http.server", "-b", "127.0.0.1", "-d", &folder, "5006"]);
    let mut trials = Trials::new(&engine, false);
    until("the registry answers", || {
        engine.run(&["busybox", "wget", "-qO-", "http://127.0.0.1:5006/v2/"]).status == 0
    });
    trials.run("docker run --rm --network none 127.0.0.1:5006/up cat /MARK", Ok("inside"));
    trials.look("up", false);
    for (name, words) in REFUSED_PULLS {
        trials.run(&format!("docker pull -q 127.0.0.1:5006/{name}"), Err(words));
        trials.look(name, true);
    }
    trials.end();
}

#[test]
fn hostile_archives_are_copied_into_no_other_place_of_a_container() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    let mut trials = Trials::new(&engine, false);
    let box_of =
        "docker load -qi plain.tar && docker run -d --name box --network none hostile/plain:1 sleep 1000";
    engine.docker_command(box_of).ok();
    let inside = INSIDE.iter().map(|(name, ..)| match *name {
        "swapped" => ("swapped", Err("cannot overwrite directory with non-directory")),
        "replaced" => ("replaced", Err("cannot overwrite non-directory with directory")),
        name => (name, Ok("")),
    });
    for (name, wanted) in inside.chain(REFUSED_LAYERS.iter().map(|(name, words)| (*name, Err(*words)))) {
        trials.run(&format!("docker cp - box:/dst <{name}.layer"), wanted);
        // Its folder itself may have got another mode.
        let outside = "echo outside: $(docker diff box | grep -v '^. /dst')";
        trials.run(outside, Ok("outside:\n"));
        trials.run("docker exec box sh -c 'busybox rm -rf /dst; busybox mkdir /dst; echo done'", Ok("done"));
    }
    // Names that are no text, which only bytes can be.
    let odd = r#"docker exec box sh -c 'cd /dst && >"$(printf "n\377")" && busybox ln -s "$(printf "t\377")" link' && docker diff box | tail -2 && docker cp -L box:/dst/link . ; docker cp box:/dst - | tar -t | wc -l"#;
    trials.run(odd, Ok("A /dst/link\nA /dst/n\u{fffd}\n3\n"));
    trials.run("docker rm -f box", Ok("box"));
    trials.look("the container", false);
    trials.end();
}

/// Tries to reach the files of images and containers as somebody who is not root.
const REACH: &str = "echo reached: $(for file in data/layers/*/fs/suid data/containers/*/*/suid /run/corten/c/*/bundle/rootfs/suid; do [ ! -e $file ] || echo there; \
    setpriv --reuid 65534 --regid 65534 --clear-groups test -e $file && echo $file; done)";

#[test]
fn setuid_files_of_images_are_nobody_elses() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    let mut trials = Trials::new(&engine, false);
    let start =
        "docker load -qi setuid.tar && docker run -d --name box --network none hostile/setuid:1 sleep 1000";
    engine.docker_command(start).ok();
    trials.run(REACH, Ok("reached: there there\n"));
    trials.run("docker rm -f box", Ok("box"));
    trials.look("the container", false);
    trials.end();
}

/// A container ends while the engine has no time to hear of it, and another process gets the number of its first one. The
/// daemon is told of both at once, so that it takes a few times until it sees the request first: here, to copy into that
/// container, and to start others in its namespaces.
const REUSED: &str = r#"mkdir here && echo x >file
for i in $(seq 10); do
  docker run -d --name gone$i --network none --ipc shareable busybox sleep 1000 >/dev/null
  for mode in pid network; do
    docker create --name $mode$i --$mode container:gone$i busybox sh -c 'grep -h cortend /proc/[0-9]*/comm; ls /sys/class/net /proc/sys/net/ipv4/conf | grep corten0; echo ran' >/dev/null
  done
  pid=$(docker inspect -f '{{.State.Pid}}' gone$i); daemon=$(pgrep -xo cortend)
  kill -STOP $daemon; kill -9 $pid; while [ -e /proc/$pid ]; do sleep 0.01; done
  echo $((pid - 1)) >/proc/sys/kernel/ns_last_pid; sleep 1 & [ $! = $pid ] && echo reused
  (sleep 0.2; kill -CONT $daemon) &
  for mode in pid network; do START/containers/$mode$i/start" & done
  docker cp file gone$i:$PWD/here/$i
  wait
done; ls here | wc -l; for i in $(seq 10); do docker logs pid$i; docker logs network$i; done"#;

#[test]
fn a_number_that_is_anothers_now_is_no_containers() {
    let Some(engine) = engine().filter(|_| has_networks()) else {
        return skip::say("needs docker and netavark");
    };
    // So that the host has an interface that is known.
    engine.docker_command("docker run -d busybox sleep 1000").ok();
    let script = REUSED.replace("START", curl("-X POST", "v1.41").trim_end_matches('"'));
    let said = engine.docker_command(&script);
    let text = said.out + &said.err;
    assert!(text.contains("reused") && text.contains("\n0\n"), "{text}");
    assert!(!text.contains("\ncortend") && !text.contains("corten0") && !text.contains("\nran"), "{text}");
}
