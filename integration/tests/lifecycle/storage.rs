//! A data root on which overlays cannot be made: everything is copied, and seen and left as it is with
//! overlays.

use integration::shim::engine::Engine;
use integration::shim::pod::until;
use integration::skip;
use nix::sys::signal::Signal;

use super::{Check, engine, engine_with, hold, start};

/// An overlay, which can be the upper directory of no other.
pub(super) const NESTED: &str = "mkdir -p lower upper work data && mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work data";

/// Whether an overlay on it is refused.
pub(super) const REFUSED: &str = "cd data && mkdir -p try/l try/u try/w try/m && ! mount -t overlay overlay -o lowerdir=try/l,upperdir=try/u,workdir=try/w try/m && rm -r try";

const BUILD: &str = r#"mkdir ctx && echo one > ctx/a && cat > ctx/Dockerfile <<'END'
FROM busybox AS first
RUN mkdir /gone /again && echo x > /gone/x && echo old > /again/old && ln /again/old /again/linked
RUN rm -r /gone /again && mkdir /again && echo new > /again/new
COPY a /copied/
FROM first
COPY --from=first /copied/a /second
RUN chmod 600 /second && true
CMD find /gone /again /copied /second 2>&1
END
docker build --network none -t built ctx && docker run --rm --network none built"#;

const BUILD_AGAIN: &str = "docker build --network none -t built ctx";

const CHANGE: &str = "docker run --name one --network none busybox sh -c 'echo new > /new; mkdir /made; echo in > /made/in; rm -r /home; echo more >> /etc/passwd; rm /bin/true; echo f > /bin/true; touch -c /etc'";

#[test]
fn where_there_are_no_overlays_files_are_copied() {
    let mut refused = false;
    let nest = |engine: &Engine| {
        engine.docker_command(NESTED).ok();
        refused = engine.docker_command(REFUSED).status == 0;
    };
    let Some(mut engine) = engine_with(&[], nest) else { return skip::say("needs docker") };
    if !refused {
        return skip::say("needs a kernel that refuses overlays on overlays");
    }
    let checks: &[Check<'_>] = &[
        ("docker info --format '{{.Driver}}'", 0, &["vfs"]),
        ("docker image inspect busybox --format '{{.GraphDriver.Name}}'", 0, &["vfs"]),
        (CHANGE, 0, &[]),
        // Neither what is the engine's own nor what is as it was.
        (
            "docker diff one | xargs",
            0,
            &["C /bin C /bin/true C /etc C /etc/passwd D /home A /made A /made/in A /new\n"],
        ),
        (
            "docker run --network none --name same busybox ls / && changes=$(docker diff same) && test -z \"$changes\"",
            0,
            &["etc"],
        ),
        ("docker ps -as --filter name=same --format '{{.Size}}'", 0, &["0B (virtual"]),
        ("docker start -a one; docker cp one:/made/in - | tar xO", 0, &["in"]),
        ("docker export one | tar t", 0, &["made/in", "etc/passwd"]),
        // The folder of all is as it is in the image.
        (
            "mkdir bare && docker export same | tar x -C bare && chmod 711 bare && tar -C bare -c . | docker import - bare && docker run --rm --network none bare stat -c %a /; docker rmi bare && rm -r bare",
            0,
            &["\n711\n"],
        ),
        (
            "docker commit one made:1 && docker run --rm --network none made:1 sh -c 'cat /made/in /bin/true; tail -n 1 /etc/passwd; ls -d /home'",
            1,
            &["in\nf\nmore", "/home: No such file"],
        ),
        // What was committed is a layer like any other, here and elsewhere.
        (
            "docker save made:1 -o made.tar && docker rmi -f made:1 && docker load -qi made.tar && docker run --rm --network none made:1 sh -c 'ls /made /home'",
            1,
            &["/made:\nin", "/home: No such file"],
        ),
        ("docker run --rm --network none --read-only busybox touch /x", 1, &["Read-only file system"]),
        ("docker run --rm --network none -v filled:/etc busybox grep -c root:x /etc/passwd", 0, &["1"]),
        (
            BUILD,
            1,
            &["Successfully tagged built", "/gone: No such file", "/again/new", "/copied/a", "/second"],
        ),
        ("docker run --rm --network none built ls /again | xargs", 0, &["new\n"]),
        (BUILD_AGAIN, 0, &["Using cache"]),
        ("docker run -d --name stays --network none busybox sh -c 'echo kept > /kept; sleep 1000'", 0, &[]),
    ];
    hold(&engine, checks);
    engine.kill("cortend", Signal::SIGKILL);
    start(&mut engine, &[]);
    let checks: &[Check<'_>] = &[
        (
            "docker exec stays cat /kept && docker restart -t 0 stays && docker exec stays cat /kept",
            0,
            &["kept"],
        ),
        // Nothing is left: no tree, no layer, no container.
        (
            "docker rm -f $(docker ps -aq) && docker volume rm filled && docker rmi -f $(docker images -q); docker image prune -af; for kind in trees layers containers tmp blobs/sha256; do ls -A data/$kind || echo none; done | wc -l",
            0,
            &["\n0\n"],
        ),
    ];
    hold(&engine, checks);
    until("no shim is left", || engine.shims().is_empty());
    // A root keeps the way in which it was begun: where that is not possible, this is said.
    let said = engine.docker_command(
        "mkdir -p data/other/layers && cortend -H $PWD/other.sock --root $PWD/data/other --exec-root /run/other",
    );
    assert!(said.status == 1 && said.err.contains("storage driver overlay2"), "{}{}", said.out, said.err);
}

#[test]
fn a_folder_that_was_made_again_hides_what_was_in_it() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    let checks: &[Check<'_>] = &[
        (
            BUILD,
            1,
            &["Successfully tagged built", "/gone: No such file", "/again/new", "/copied/a", "/second"],
        ),
        (
            "docker run --name more --network none built sh -c 'rm -r /copied; mkdir /copied; echo b > /copied/b; touch /etc/group'",
            0,
            &[],
        ),
        ("docker diff more | xargs", 0, &["C /copied D /copied/a A /copied/b C /etc C /etc/group\n"]),
        ("docker commit more more && docker run --rm --network none more ls /copied | xargs", 0, &["\nb\n"]),
    ];
    hold(&engine, checks);
}

/// On a small disk: one that runs, and what can be removed.
const LITTLE: &str = r#"docker run -d --name runs --network none busybox sleep 1000
docker run --name ended --network none -v /kept busybox true; tar c /etc/hostname | docker import - other
mkdir ctx && echo 'FROM busybox' > ctx/Dockerfile && head -c 3000000 /dev/urandom > ctx/large
cat /dev/zero > data/rest 2>/dev/null; df --output=avail data | tail -1 | tr -d ' '"#;

#[test]
fn what_is_on_a_full_disk_stays_and_can_be_removed() {
    let small = |engine: &Engine| {
        std::fs::create_dir(engine.directory.join("data")).unwrap();
        engine.docker_command("mount -t tmpfs -o size=64m tmpfs data").ok();
    };
    let Some(mut engine) = engine_with(&[], small) else { return skip::say("needs docker") };
    let full = "No space left on device";
    let refused: &[Check<'_>] = &[
        (LITTLE, 0, &["\n0"]),
        // What cannot be done is not said to have been done, nor half of it.
        ("docker create --name new busybox", 1, &[full]),
        ("docker tag busybox other:new", 1, &[full]),
        ("docker update --restart always runs", 1, &[full]),
        ("docker rename runs walks", 1, &[full]),
        ("docker commit runs made", 1, &[full]),
        ("docker save busybox | docker load", 1, &[full]),
        ("docker cp /etc/services runs:/", 1, &[full]),
        // A client that is still sending hears why.
        ("DOCKER_BUILDKIT=0 docker build ctx", 1, &[full]),
        (
            "docker inspect -f '{{.Name}} {{.State.Status}} {{.HostConfig.RestartPolicy.Name}}' runs; docker ps -aq | wc -l; docker images -q | wc -l",
            0,
            &["/runs running no\n2\n2\n"],
        ),
        // What happens is known, written down or not.
        ("docker pause runs && docker ps", 0, &["(Paused)"]),
        ("docker unpause runs && docker exec runs echo said", 0, &["said"]),
    ];
    hold(&engine, refused);
    engine.kill("cortend", Signal::SIGKILL);
    start(&mut engine, &[]);
    let removed: &[Check<'_>] = &[
        ("docker ps; docker exec runs echo said", 0, &["Up ", "said"]),
        ("docker stop -t 0 runs && docker inspect -f '{{.State.ExitCode}}' runs", 0, &["137"]),
        (
            "docker rm -v ended && docker rmi other && docker volume ls -q",
            0,
            &["Untagged: other", "Deleted: "],
        ),
        ("docker rm runs && docker rmi busybox && docker images -q", 0, &["Deleted: "]),
        (
            "left=$(find data/containers data/blobs data/layers data/tmp data/volumes -mindepth 2) && test -z \"$left\"",
            0,
            &[],
        ),
    ];
    hold(&engine, removed);
    // Whoever reads what could not be written.
    engine.kill("cortend", Signal::SIGKILL);
    start(&mut engine, &[]);
    let after: &[Check<'_>] = &[
        (
            "all=$(docker images -q && docker ps -aq && docker volume ls -q) && test -z \"$all\" && rm data/rest",
            0,
            &[],
        ),
        (
            "tar c /etc/hostname | docker import - new && docker create new true && docker ps -a",
            0,
            &["Created"],
        ),
    ];
    hold(&engine, after);
}
