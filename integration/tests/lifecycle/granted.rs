//! What clients take for granted that are not the docker command line: Testcontainers, dockertest, Nomad, Ansible, scripts.

use integration::skip;

use super::{curl, engine, has_networks, hold};

const JSON: &str = "-X POST -H Content-Type:application/json";

#[test]
fn names_that_are_given_by_chance_may_meet() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    // Of 10240 names: among so many containers two have met with 99 %.
    let create =
        curl(&format!("{JSON} -d '{{\"Image\":\"busybox\"}}'"), "v1.44/containers/create?of=[1-310]");
    let checks: &[(String, i32, &[&str])] = &[
        (format!("{create} --max-time 120 | grep -c ' 201$'"), 0, &["310"]),
        ("docker ps -aq | wc -l".into(), 0, &["310"]),
        ("docker ps -a --format '{{.Names}}' >names && test $(sort -u names | wc -l) = 310".into(), 0, &[]),
    ];
    hold(&engine, checks);
}

#[test]
fn what_inspect_tells_is_whole_and_can_be_sent_back() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    let plain = curl(
        &format!("{JSON} -d '{{\"Image\":\"busybox\",\"HostConfig\":{{}}}}'"),
        "v1.44/containers/create?name=aa",
    );
    let checks: &[(String, i32, &[&str])] = &[
        ("docker version -f '{{.Server.Version}} {{(index .Server.Components 1).Name}}'; docker info".into(), 0, &["28.", "cortend", "Server Version: 28."]),
        (plain, 0, &["201"]),
        (
            curl("", "v1.44/containers/aa/json"),
            0,
            &["\"CpuShares\":0", "\"PidMode\":\"\"", "\"Devices\":null", "\"OomKillDisable\":false", "\"ConsoleSize\":[0,0]"],
        ),
        // It is no change of the container, and not in what is made of it.
        // Nor are the engine's files where links of the image lead: init programs mount something on /run.
        (r"mkdir -p own/etc && ln -s ../run/stub own/etc/resolv.conf && ln -s hostname own/etc/hostname && touch own/etc/mtab && printf 'FROM busybox\nCOPY own /\nRUN mkdir -p /run\n' >Dockerfile && docker build -q --network none -t leads .".into(), 0, &["sha256:"]),
        ("docker run --rm --network none --privileged --dns 1.2.3.4 --hostname here leads sh -c 'mount -t tmpfs t /run && cat /etc/resolv.conf /etc/hostname && grep overlay /etc/mtab'".into(), 0, &["1.2.3.4", "here\n", "overlay"]),
        ("docker run --name marked --network none busybox sh -c 'ls -a /; grep overlay /etc/mtab; touch /marked-by' && docker diff marked".into(), 0, &[".dockerenv\n", "overlay / ", "A /marked-by\n"]),
        ("docker diff marked >out && ! grep -E 'dockerenv|mtab' out".into(), 0, &[]),
        ("docker commit marked made && docker save made -o made.tar && tar -xOf made.tar --wildcards '*sha256/*' >out && grep -aq marked-by out && ! grep -aq dockerenv out".into(), 0, &[]),
    ];
    hold(&engine, checks);
    if !has_networks() {
        return skip::say("links: needs netavark and aardvark-dns");
    }
    let told = curl(
        &format!("{JSON} -d '{{\"Image\":\"busybox\",\"HostConfig\":{{\"Links\":[\"/db:/user/data\"]}}}}'"),
        "v1.44/containers/create?name=copy",
    );
    let links = "docker inspect -f '{{.HostConfig.Links}}'";
    let checks: &[(String, i32, &[&str])] = &[
        (
            "docker create --name db busybox && docker create --name user --link db:data busybox".into(),
            0,
            &[],
        ),
        (format!("{links} user"), 0, &["[/db:/user/data]"]),
        (told, 0, &["201"]),
        (format!("{links} copy"), 0, &["[/db:/copy/data]"]),
        (
            format!(
                "docker network create nn && docker create --name own --network nn --link db:data busybox && {links} own"
            ),
            0,
            &["[]"],
        ),
    ];
    hold(&engine, checks);
}

#[test]
fn one_with_rm_is_removed_by_force_as_well() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    let remove = curl("-X DELETE", "v1.44/containers/aa?force=1");
    let again = || ("docker run -d --rm --name aa --network none busybox sleep 1000".to_owned(), 0, &[][..]);
    let checks: &[(String, i32, &[&str])] = &[
        again(),
        (remove.clone(), 0, &[" 204"]),
        again(),
        (remove.clone(), 0, &[" 204"]),
        (remove, 0, &[" 404"]),
    ];
    hold(&engine, checks);
}
