//! Volumes with options: something is mounted on them while containers use them.

use integration::shim::pod::until;
use integration::skip;
use nix::sys::signal::Signal;

use super::{Check, curl, engine, hold, start};

/// Runs a container to its end.
const RUN: &str = "docker run --rm --network none";

/// Succeeds when nothing is mounted on any volume.
const NONE: &str = "! grep /volumes/ /proc/mounts";

#[test]
fn a_volume_has_what_its_options_say() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    let create = |name: &str, options: &str| {
        let options: String = options.split_whitespace().map(|option| format!(" -o {option}")).collect();
        format!("docker volume create{options} {name}")
    };
    let json = "-H Content-Type:application/json";
    let checks: &[(String, i32, &[&str])] = &[
        (create("bad", "foobar=1"), 1, &["create bad: invalid option: \"foobar\""]),
        (create("bad", "type=tmpfs"), 1, &["missing required option: \"device\""]),
        (create("bad", "o=ro type=tmpfs"), 1, &["missing required option: \"device\""]),
        (create("bad", "device=tmpfs"), 1, &["missing required option: \"type\""]),
        (create("bad", "size=1m"), 1, &["quota size requested but no quota support"]),
        (curl(&format!("-X POST {json} -d '{{\"Name\":\"bad\",\"DriverOpts\":{{\"a\":\"b\"}}}}'"), "volumes/create"), 0, &["invalid option", " 400"]),
        ("names=$(docker volume ls -q) && [ -z \"$names\" ]".into(), 0, &[]),
        (create("fast", "type=tmpfs device=tmpfs o=size=2m,uid=1000"), 0, &["fast"]),
        ("docker volume inspect -f '{{json .Options}}' fast".into(), 0, &[r#""o":"size=2m,uid=1000""#, r#""type":"tmpfs""#, r#""device":"tmpfs""#]),
        (format!("{RUN} -v fast:/fast busybox sh -c 'df -m /fast | tail -n 1 | xargs; stat -c %u:%a /fast'; {NONE}"), 0, &["tmpfs 2 0 2 0% /fast\n1000:1777\n"]),
        // Of a name that is taken, the options count for nothing.
        (create("fast", "type=tmpfs device=tmpfs o=size=5m"), 0, &["fast"]),
        (format!("{RUN} --mount type=volume,src=fast,dst=/fast,volume-opt=size=1m busybox busybox df -m /fast"), 0, &[" 2 "]),
        // It stays as long as one container uses it.
        (format!("docker run -d --name first --network none -v fast:/fast busybox sleep 1000 && docker run -d --name second --network none -v fast:/other busybox sleep 1000 && docker exec first touch /fast/made && {RUN} -v fast:/fast busybox ls /fast"), 0, &["made"]),
        ("docker cp first:/fast/made - | tar t && docker rm -f first && docker exec second ls /other && grep -c /fast/_data /proc/mounts".into(), 0, &["made\nfirst\nmade\n1\n"]),
        ("docker volume rm fast".into(), 1, &["volume is in use"]),
        (format!("docker stop -t 0 second && {NONE}"), 0, &[]),
        (format!("docker start second && docker exec second ls /other | wc -l && docker rm -f second && {NONE} && docker volume rm fast"), 0, &["0\n"]),
        (format!("{RUN} --mount type=volume,src=made,dst=/m,volume-driver=local,volume-opt=type=tmpfs,volume-opt=device=tmpfs,volume-opt=o=size=3m busybox busybox df -m /m && docker volume inspect made"), 0, &[" 3 ", "\"o\": \"size=3m\""]),
        (format!("{RUN} --mount type=volume,dst=/m,volume-opt=type=tmpfs,volume-opt=device=tmpfs busybox mount && docker volume ls -q"), 0, &["tmpfs on /m type tmpfs (rw", "\nmade\n"]),
        (format!("{RUN} --mount type=volume,src=bad,dst=/m,volume-opt=type=tmpfs busybox true"), 125, &["missing required option"]),
        // Nothing is freed where it is somewhere else.
        ("docker volume prune -af && docker system df -v | grep -c made; docker volume rm made".into(), 0, &["0B", "0\nmade"]),
    ];
    hold(&engine, checks);
}

#[test]
fn a_volume_is_whose_its_folder_in_the_image_is() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    let build = r"printf 'FROM busybox\nRUN mkdir /full /bare && echo x >/full/file && chown 1000:50 /full /bare && chmod 700 /full /bare\nVOLUME /full /bare\n' | docker build -q --network none -t own -";
    let look = "own stat -c %u:%g:%a /full /bare";
    let checks: &[(String, i32, &[&str])] = &[
        (build.into(), 0, &["sha256:"]),
        (format!("{RUN} {look}"), 0, &["1000:50:700\n1000:50:700\n"]),
        (format!("{RUN} -v named:/full -v other:/bare {look}"), 0, &["1000:50:700\n1000:50:700\n"]),
        // Also where that is behind a link.
        (r"printf 'FROM busybox\nRUN mkdir -p /srv/full && echo x >/srv/full/file && ln -s srv/full /way\n' | docker build -q --network none -t led -".into(), 0, &["sha256:"]),
        (format!("{RUN} -v behind:/way led cat /srv/full/file"), 0, &["x\n"]),
    ];
    hold(&engine, checks);
}

#[test]
fn a_volume_may_be_a_folder_of_the_host() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    let create = "docker volume create -o type=none -o";
    let checks: &[(String, i32, &[&str])] = &[
        (format!("mkdir -p own/part own/empty && echo kept >own/part/file && {create} device=$PWD/own -o o=bind all && {create} device=$PWD/own -o o=bind,ro closed && {create} device=$PWD/own/empty -o o=bind filled"), 0, &[]),
        (format!("{RUN} -v all:/x busybox sh -c 'cat /x/part/file; echo new >/x/made' && cat own/made && {NONE}"), 0, &["kept\nnew\n"]),
        (format!("{RUN} -v closed:/x busybox sh -c 'cat /x/part/file; echo new >/x/made'"), 1, &["kept", "Read-only file system"]),
        (format!("{RUN} -v all:/x:ro busybox touch /x/made"), 1, &["Read-only file system"]),
        (format!("{RUN} --mount type=volume,src=all,dst=/x,volume-subpath=part busybox ls /x; {NONE}"), 0, &["file"]),
        // Those who may write to the folder of the image may write to the volume.
        (format!("docker volume create plain && {RUN} -v plain:/tmp busybox stat -c %a /tmp && docker volume rm plain"), 0, &["1777"]),
        // Files of the image go where the volume is, and not below it.
        (format!("docker create --name box -v filled:/etc -v all:/all busybox && ls own/empty data/volumes/filled/_data && {NONE}"), 0, &["passwd", "filled/_data:\n"]),
        // Of one that does not run, too.
        ("docker cp box:/all/part/file - | tar xO && echo copied >copied && docker cp copied box:/all/part && cat own/part/copied".into(), 0, &["kept", "copied"]),
        ("docker cp box:/all - | tar t".into(), 0, &["all/part/file"]),
        (format!("{NONE} && docker rm box && docker volume rm all closed filled && ls own own/empty && ls data/volumes | wc -l"), 0, &["made\npart", "passwd", "\n0\n"]),
        // What is still mounted when a volume goes stays as well.
        (format!("{create} device=$PWD/own -o o=bind all && mount --bind own data/volumes/all/_data && docker volume rm all && cat own/made && {NONE}"), 0, &["new"]),
        // One without options is the host's to mount something on.
        (format!("docker volume create plain && mount --bind own data/volumes/plain/_data && {RUN} -v plain:/x busybox ls /x && {NONE}"), 1, &["made"]),
        ("docker volume rm plain".into(), 1, &["remove"]),
        ("umount data/volumes/plain/_data && docker volume rm plain && cat own/made".into(), 0, &["new"]),
    ];
    hold(&engine, checks);
}

#[test]
fn what_cannot_be_mounted_fails_the_start_and_leaves_nothing() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    let failed = "error while mounting volume '";
    let local = "failed to mount local volume: mount ";
    let checks: &[Check<'_>] = &[
        (
            "docker volume create -o type=none -o o=bind -o device=/no/such gone && docker volume create -o type=tmpfs -o device=tmpfs good",
            0,
            &[],
        ),
        ("docker create --name box --network none -v good:/good -v gone:/x busybox true", 0, &[]),
        (
            "docker start box",
            1,
            &[failed, "/volumes/gone/_data': ", local, "/no/such:", "no such file or directory"],
        ),
        (
            "! grep /volumes/ /proc/mounts && left=$(ls -A /run/corten/c) && [ -z \"$left\" ] && docker inspect -f '{{.State.Status}} {{.State.Error}}' box",
            0,
            &["created error while"],
        ),
        ("docker cp box:/x/file .", 1, &["/no/such"]),
        ("docker create -v gone:/etc busybox; docker ps -aq | wc -l", 0, &["/no/such", "1\n"]),
        // When there is something, it works.
        (
            "mkdir -p /run/such && docker volume create -o type=none -o o=bind -o device=/run/such late && rmdir /run/such && docker run --name late --network none -v late:/x busybox touch /x/made; mkdir /run/such && docker start -a late && ls /run/such",
            0,
            &["made"],
        ),
        (
            "docker volume create -o type=nosuch -o device=x kind && docker run --rm --network none -v kind:/x busybox true",
            125,
            &[failed, local, "nosuch", "no such device"],
        ),
        (
            "docker volume create -o type=tmpfs -o device=x -o o=odd=1 odd && docker run --rm --network none -v odd:/x busybox true",
            125,
            &[failed, local, "odd"],
        ),
        (
            "docker volume create -o type=nfs -o device=:/x -o o=addr=no.such.invalid,rw far && docker run --rm --network none -v far:/x busybox true",
            125,
            &[failed, "resolve", "no.such.invalid"],
        ),
        (
            "docker volume create -o type=none -o o=bind -o device=/etc/passwd file && docker run --rm --network none -v file:/x busybox true",
            125,
            &[failed, local],
        ),
        (
            "docker rm -f box late && docker volume rm good gone late kind odd far file && ls data/volumes | wc -l && ! grep /volumes/ /proc/mounts",
            0,
            &["0\n"],
        ),
    ];
    hold(&engine, checks);
}

#[test]
fn mounted_volumes_outlive_the_daemon() {
    let Some(mut engine) = engine() else { return skip::say("needs docker") };
    let up = "docker run -d --network none -v fast:/fast";
    let checks: &[(String, i32, &[&str])] = &[
        ("docker volume create -o type=tmpfs -o device=tmpfs -o o=size=2m fast".into(), 0, &[]),
        (format!("{up} --name two busybox sleep 1000 && {up} --name ends busybox sleep 1000"), 0, &[]),
    ];
    hold(&engine, checks);
    // However their ends and starts fall together, all that run have the same one.
    let again = "for n in $(seq 8); do docker restart -t 0 two & docker restart -t 0 ends & wait; docker exec two touch /fast/$n; docker exec ends ls /fast/$n || exit 1; done";
    engine.docker_command(again).ok();
    engine.docker_command(&format!("{up} --name one busybox sh -c 'touch /fast/made; sleep 1000'")).ok();
    engine.kill("cortend", Signal::SIGKILL);
    start(&mut engine, &[]);
    let checks: &[(String, i32, &[&str])] = &[
        ("docker volume inspect -f '{{.Options.o}}' fast".into(), 0, &["size=2m"]),
        (format!("{RUN} -v fast:/fast busybox ls /fast && docker volume rm fast"), 1, &["made", "in use"]),
        ("docker rm -f one && docker exec two ls /fast && docker stop -t 0 two && grep -c /volumes/fast/ /proc/mounts".into(), 0, &["made\ntwo\n1\n"]),
    ];
    hold(&engine, checks);
    // The last one ends while nobody is there.
    let pid = engine.docker_command("docker inspect -f '{{.State.Pid}}' ends").ok();
    engine.kill("cortend", Signal::SIGKILL);
    engine.docker_command(&format!("kill -9 {pid}")).ok();
    start(&mut engine, &[]);
    until("it is unmounted", || engine.docker_command(NONE).status == 0);
    // As after a restart of the machine: what was mounted is gone, and all of /run.
    engine.docker_command("docker start ends && docker exec ends touch /fast/made").ok();
    engine.kill("cortend", Signal::SIGKILL);
    engine.docker_command("kill -9 $(pgrep -f [c]ontainerd-shim-corten-v2) $(pgrep -x sleep); while pgrep -x sleep; do sleep 0.1; done; umount -l data/volumes/fast/_data /run/corten/c/*/bundle/rootfs; rm -r /run/corten").ok();
    start(&mut engine, &[]);
    let checks: &[(String, i32, &[&str])] = &[
        ("until docker inspect -f '{{.State.Status}}' ends | grep exited; do sleep 0.1; done".into(), 0, &[]),
        (
            format!(
                "{NONE} && docker start ends && docker exec ends busybox df -m /fast && left=$(docker exec ends ls -A /fast) && [ -z \"$left\" ]"
            ),
            0,
            &[" 2 "],
        ),
        (format!("docker rm -f ends two && {NONE} && docker volume rm fast"), 0, &["fast"]),
    ];
    hold(&engine, checks);
    until("no shim is left", || engine.shims().is_empty());
}

const APPLICATION: &str = "mkdir -p app own && echo bound >own/file && cat > app/docker-compose.yml <<END
version: '3'
services:
  api: {image: busybox, network_mode: none, command: 'sh -c \"cat /b/file; df -m /t | tail -n 1\"', volumes: ['bound:/b', 'fast:/t']}
volumes:
  bound: {driver: local, driver_opts: {type: none, o: bind, device: $PWD/own}}
  fast: {driver_opts: {type: tmpfs, device: tmpfs, o: 'size=4m,uid=7'}}
END
cd app && docker-compose up";

#[test]
fn compose_asks_for_options() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    if engine.run(&["docker-compose", "version"]).status != 0 {
        return skip::say("needs docker-compose");
    }
    let checks: &[Check<'_>] = &[
        (APPLICATION, 0, &["bound\n", " 4 "]),
        ("cd app && docker-compose up", 0, &["bound\n"]),
        (
            "cd app && docker-compose down -v && cat ../own/file && docker volume ls -q | wc -l",
            0,
            &["bound\n0\n"],
        ),
    ];
    hold(&engine, checks);
}
