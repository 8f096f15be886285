//! Which networks containers are in, what leads out of them, and what is told of it.

use integration::shim::engine::Engine;
use integration::skip;

use super::{Check, curl, engine, has_networks, hold};

/// An engine whose containers can have networks.
fn connected() -> Option<Engine> {
    let found = engine().filter(|_| has_networks());
    if found.is_none() {
        skip::say("needs docker and netavark");
    }
    found
}

/// A request with a body.
fn post(path: &str, body: &str) -> String {
    curl(&format!("-H Content-Type:application/json -d '{body}'"), path)
}

/// A container of that name in API 1.51, or of an older one.
fn create(path: &str, more: &str) -> String {
    let stays = r#""Image":"busybox","Cmd":["sleep","1000"]"#;
    post(path, &format!("{{{stays},{more}}}"))
}

#[test]
fn containers_are_in_the_networks_they_are_given_and_in_no_others() {
    let Some(engine) = connected() else { return };
    let of = "docker inspect -f '{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}'";
    let only = r#""ExposedPorts":{"80/tcp":{}},"HostConfig":{"PortBindings":{"80/tcp":[{"HostPort":"8085"}]}},"NetworkingConfig":{"EndpointsConfig":{"nn":{}}}"#;
    let other = r#""HostConfig":{"NetworkMode":"nn"},"NetworkingConfig":{"EndpointsConfig":{"mm":{}}}"#;
    let mac = r#""MacAddress":"02:42:0a:00:00:07","NetworkingConfig":{"EndpointsConfig":{"nn":{}}}"#;
    let checks: &[(String, i32, &[&str])] = &[
        ("docker network create nn && docker network create mm".into(), 0, &[]),
        (create("v1.51/containers/create?name=one", only), 0, &[" 201"]),
        (
            format!(
                "docker start one && {of} one && docker exec one ls /sys/class/net | xargs && docker port one"
            ),
            0,
            &["\nnn \n", "eth0 lo\n", "80/tcp -> 0.0.0.0:8085"],
        ),
        (create("v1.51/containers/create?name=two", other), 0, &[" 201"]),
        (
            format!("docker start two && {of} two && docker exec two ls /sys/class/net | xargs"),
            0,
            &["\nmm \n", "eth0 lo\n"],
        ),
        (create("v1.51/containers/create", mac), 0, &["NetworkMode must match", " 400"]),
    ];
    hold(&engine, checks);
}

#[test]
fn old_clients_say_no_address_of_an_endpoint() {
    let Some(engine) = connected() else { return };
    let mac = r#""HostConfig":{"NetworkMode":"nn"},"NetworkingConfig":{"EndpointsConfig":{"nn":{"MacAddress":"02:42:0a:00:00:09"}}}"#;
    let whole = r#""MacAddress":"02:42:0a:00:00:07","NetworkingConfig":{"EndpointsConfig":{"nn":{}}}"#;
    let checks: &[(String, i32, &[&str])] = &[
        ("docker network create nn".into(), 0, &[]),
        (create("v1.43/containers/create?name=old", mac), 0, &[" 201"]),
        (create("v1.44/containers/create?name=new", mac), 0, &[" 201"]),
        ("docker start old new && docker inspect -f '{{.NetworkSettings.Networks.nn.MacAddress}}' old new | grep -c 02:42:0a:00:00:09".into(), 0, &["\n1\n"]),
        // The address of the container as a whole is that of its only network, or of the mode's.
        (create("v1.43/containers/create?name=three", whole), 0, &[" 201"]),
        ("docker start three && docker inspect -f '{{.NetworkSettings.Networks.nn.MacAddress}}' three && docker inspect -f '{{len .NetworkSettings.Networks}}' three".into(), 0, &["02:42:0a:00:00:07\n1\n"]),
    ];
    hold(&engine, checks);
}

#[test]
fn the_namespace_of_a_container_is_told() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    let checks: &[Check<'_>] = &[
        (
            "for net in none host; do docker run -d --name $net --network $net busybox sleep 1000 >/dev/null && [ $(readlink /proc/$(docker inspect -f '{{.State.Pid}}' $net)/ns/net) = $(readlink $(docker inspect -f '{{.NetworkSettings.SandboxKey}}' $net)) ] && echo same; done",
            0,
            &["same\nsame\n"],
        ),
        (
            "docker run -d --name joined --network container:none busybox sleep 1000 >/dev/null && docker inspect -f '[{{.NetworkSettings.SandboxID}}{{.NetworkSettings.SandboxKey}}]' joined",
            0,
            &["[]\n"],
        ),
        ("docker stop -t 0 none && docker inspect -f '[{{.NetworkSettings.SandboxKey}}]' none", 0, &["[]\n"]),
    ];
    hold(&engine, checks);
}

#[test]
fn one_of_several_networks_leads_out() {
    let Some(engine) = connected() else { return };
    let first = "docker exec box ip route | grep ^default | head -n 1 | cut -d ' ' -f 3";
    let six = "docker exec box ip -6 route | grep ^default | head -n 1 | cut -d ' ' -f 3";
    let checks: &[(String, i32, &[&str])] = &[
        ("docker network create --subnet 10.91.0.0/24 --gateway 10.91.0.91 bb && docker network create --subnet 10.92.0.0/24 --gateway 10.92.0.92 cc && docker network create --subnet 10.93.0.0/24 --gateway 10.93.0.93 dd && docker network create --internal aa".into(), 0, &[]),
        ("docker run -d --name box --network dd busybox sleep 1000 && docker exec box ip route | grep -c ^default".into(), 0, &["\n1\n"]),
        // Among equals the first name counts, whichever came last.
        (format!("docker network connect bb box && docker network connect cc box && docker network connect aa box && {first}"), 0, &["10.91.0.91\n"]),
        (format!("docker network disconnect bb box && {first}"), 0, &["10.92.0.92\n"]),
        (format!("docker network connect --gw-priority 5 bb box && docker network disconnect cc box && {first}"), 0, &["10.91.0.91\n"]),
        (format!("docker network connect --gw-priority 7 cc box && {first}"), 0, &["10.92.0.92\n"]),
        // All of that stays over a restart.
        (format!("docker restart -t 0 box && {first} && docker inspect -f '{{{{.NetworkSettings.Networks.cc.GwPriority}}}}' box"), 0, &["10.92.0.92\n7\n"]),
        (format!("docker network disconnect cc box && {first}; docker network disconnect bb box && {first}"), 0, &["10.91.0.91\n10.93.0.93\n"]),
        ("docker network create --ipv6 --subnet fd00:91::/64 --gateway fd00:91::91 six && docker network create --ipv6 --subnet fd00:92::/64 --gateway fd00:92::92 seven".into(), 0, &[]),
        (format!("docker network connect six box && docker network connect seven box && {six}"), 0, &["fd00:92::92"]),
    ];
    hold(&engine, checks);
}

#[test]
fn what_terraform_is_told_of_networks() {
    let Some(engine) = connected() else { return };
    let told = |name: &str| {
        format!("docker network inspect -f '{{{{range .IPAM.Config}}}}[{{{{.Gateway}}}}]{{{{end}}}}' {name}")
    };
    let checks: &[(String, i32, &[&str])] = &[
        // It makes a network anew that has a gateway that nobody has asked for; what the engine chose, it tells.
        (format!("docker network create --ipv6 --subnet 10.94.0.0/24 --gateway 10.94.0.9 --subnet fd00:94::/64 nn && {}", told("nn")), 0, &["\n[10.94.0.9][]\n"]),
        (format!("docker network create --subnet 10.95.0.0/24 mm && {}", told("mm")), 0, &["\n[]\n"]),
        (format!("docker network create --ipv6 own && {}", told("own")), 0, &[".1][fd", "::1]\n"]),
        ("docker run --rm --network mm busybox ip route".into(), 0, &["default via 10.95.0.1 "]),
        // It goes on after the first of these two.
        ("docker create --name box --network nn busybox sleep 1000 && docker network disconnect bridge box".into(), 1, &["is not connected to the network bridge"]),
        ("docker start box && docker network disconnect bridge box".into(), 1, &["is not connected to network bridge"]),
        (create("v1.51/containers/create?name=other", r#""HostConfig":{"UsernsMode":"user:231072:65536"}"#), 0, &["invalid user namespace mode", " 400"]),
    ];
    hold(&engine, checks);
}

#[test]
fn names_are_resolved_at_dockers_address() {
    let Some(engine) = connected() else { return };
    let ask = "docker exec box busybox nslookup peer 127.0.0.11";
    let checks: &[(String, i32, &[&str])] = &[
        ("docker network create nn && docker network create mm && docker network create --internal aa".into(), 0, &[]),
        ("docker run -d --name box --network nn busybox sleep 1000 && docker run -d --name peer --network nn busybox sleep 1000".into(), 0, &[]),
        (ask.into(), 0, &["127.0.0.11", "Name:\tpeer"]),
        (format!("docker network disconnect nn peer && docker network connect aa box && docker network connect mm box && docker network connect mm peer && docker network disconnect nn box && {ask}"), 0, &["Name:\tpeer"]),
        // What listens on its loopback stays its own.
        ("docker exec box busybox httpd -p 127.0.0.1:79 && docker exec box busybox nc 127.0.0.1 79 && docker exec peer busybox nc -w 1 box 79".into(), 1, &["remote host (172.", "Connection refused"]),
    ];
    hold(&engine, checks);
}

#[test]
fn who_changes_networks_stays_what_it_was() {
    let Some(engine) = connected() else { return };
    let ask = "docker run --rm --network host busybox busybox nc -w 5 192.0.2.1 8106 </dev/null";
    let checks: &[(String, i32, &[&str])] = &[
        ("docker network create --subnet 10.96.0.0/24 aa && docker network create --internal in".into(), 0, &[]),
        ("ip address add 192.0.2.1/24 dev lo && docker run -d --name box -p 8106:80 busybox sh -c 'while :; do busybox nc -lp 80 -e echo here; done'".into(), 0, &[]),
        // Its own name leads to where it is found first.
        ("docker run -d --name other --network aa busybox sleep 1000 && docker network connect aa box && docker rm -f other && docker exec box busybox hostname -i".into(), 0, &["other\n172."]),
        (ask.into(), 0, &["here"]),
        // What it publishes leads to where it is still found, by the address that it has there.
        (format!("docker network disconnect bridge box && docker port box && docker exec box busybox hostname -i && {ask}"), 0, &["80/tcp -> 0.0.0.0:8106", "10.96.0.3\n", "here"]),
        ("docker network disconnect aa box && docker port box | wc -l && docker run --rm -p 8106:80 busybox true".into(), 0, &["0\n"]),
        // Nor is one alone that begins in none.
        ("docker restart -t 0 box && docker exec box busybox ip address show lo".into(), 0, &["127.0.0.1/8"]),
        // All names of a network are known where there is no resolver, too.
        ("docker run -d --name web --network in --network-alias al busybox sleep 1000 && docker exec web busybox ping -c 1 -W 5 web.in && docker run --rm --network in busybox busybox ping -c 1 -W 5 al.in".into(), 0, &["0% packet loss"]),
        ("docker network create -o com.docker.network.driver.mtu=x bad".into(), 1, &["mtu=x is not offered"]),
    ];
    hold(&engine, checks);
}

#[test]
fn who_has_ended_unnoticed_is_connected_when_it_is_started_again() {
    let Some(engine) = connected() else { return };
    let checks: &[Check<'_>] = &[
        ("docker network create aa && docker run -d --name box busybox sleep 1000", 0, &[]),
        // Its shim is late to tell of its end.
        (
            "pid=$(docker inspect -f '{{.State.Pid}}' box); shim=$(awk '/^PPid/{print $2}' /proc/$pid/status); kill -STOP $shim; kill -9 $pid; while cat /proc/$pid/net/dev >/dev/null 2>&1; do sleep 0.01; done; docker network connect aa box && echo connected; (sleep 0.2; kill -CONT $shim) & docker pause box; docker wait box",
            0,
            &["connected\n", "is not running", "137"],
        ),
        ("docker start box && docker exec box busybox ls /sys/class/net | xargs", 0, &["eth0 eth1 lo"]),
    ];
    hold(&engine, checks);
}

#[test]
fn ports_are_told_where_somebody_finds_them() {
    let Some(engine) = connected() else { return };
    let told = "docker ps -a --no-trunc --filter name=^box$ --format '[{{.Ports}}]'; docker inspect -f '{{json .NetworkSettings.Ports}}' box";
    let run = |more: &str| {
        format!(
            "docker rm -f box >/dev/null 2>&1; docker run -d --name box --expose 77 {more} busybox sleep 1000 && {told}"
        )
    };
    let checks: &[(String, i32, &[&str])] = &[
        (run(""), 0, &["[77/tcp]\n{\"77/tcp\":null}"]),
        (format!("docker stop -t 0 box && {told}"), 0, &["[]\n{}"]),
        // A port is of TCP where nobody says so, and told once.
        (create("containers/create?name=named", r#""ExposedPorts":{"78":{},"78/tcp":{}},"HostConfig":{"PublishAllPorts":true}"#), 0, &[" 201"]),
        ("docker start named && docker port named | wc -l && docker inspect -f '{{len .NetworkSettings.Ports}}{{len .Config.ExposedPorts}}' named".into(), 0, &["named\n1\n11\n"]),
        (run("--network none"), 0, &["[]\n{}"]),
        (run("--network host"), 0, &["[]\n{}"]),
        (
            format!("docker rm -f box && docker create --name box --expose 77 busybox && {told}"),
            0,
            &["[]\n{}"],
        ),
        // A port is taken at an address, and where that is all of them, at each.
        (
            "docker run -d --name first -p 127.0.0.1:8101:80 -p 127.0.0.2:8101:81 busybox sleep 1000 && docker run -d -p 127.0.0.3:8101:80 busybox sleep 1000".into(),
            0,
            &[],
        ),
        (
            create("containers/create", r#""HostConfig":{"PortBindings":{"80/tcp":[{"HostPort":"90-80"}]}}"#),
            0,
            &["invalid port specification: \\\"90-80\\\"", " 400"],
        ),
        ("docker run --rm -p 127.0.0.2:8101:80 busybox true".into(), 125, &["Bind for 127.0.0.2:8101 failed"]),
        ("docker run --rm -p 8101:80 busybox true".into(), 125, &["Bind for 0.0.0.0:8101 failed"]),
        (
            "docker run --rm -p 0.0.0.0:8102:80 -p '[::]:8102:80' busybox true && docker rm -f first".into(),
            0,
            &[],
        ),
    ];
    hold(&engine, checks);
}

#[test]
fn networks_tell_what_they_were_made_with() {
    let Some(engine) = connected() else { return };
    let told = |name: &str, what: &str| format!("docker network inspect {name} | jq -c '.[0] | {what}'");
    let all = "docker network create --attachable --ipam-opt here=there -o traefik.x=y -o com.docker.network.bridge.enable_icc=true -o com.docker.network.bridge.enable_ip_masquerade=true -o com.docker.network.bridge.gateway_mode_ipv4=nat -o com.docker.network.enable_ipv4=true -o com.docker.network.bridge.host_binding_ipv4=127.0.0.1 all";
    let checks: &[(String, i32, &[&str])] = &[
        (format!("{all} && docker network create plain"), 0, &[]),
        (
            told("all", "[.Attachable, .IPAM.Options, .Options[\"traefik.x\"], (.Options | length)]"),
            0,
            &[r#"[true,{"here":"there"},"y",6]"#],
        ),
        (told("plain", ".Attachable"), 0, &["false"]),
        (
            "docker run -d --network all -p 8087:80 --name all busybox sleep 1000 && docker port all".into(),
            0,
            &["80/tcp -> 127.0.0.1:8087"],
        ),
        (
            "docker run -d --network all -p 0.0.0.0:8088:80 --name any busybox sleep 1000 && docker port any"
                .into(),
            0,
            &["80/tcp -> 0.0.0.0:8088"],
        ),
        (
            "docker network create -o com.docker.network.bridge.enable_icc=false x".into(),
            1,
            &["com.docker.network.bridge.enable_icc=false"],
        ),
        (
            "docker network create -o com.docker.network.bridge.gateway_mode_ipv4=routed x".into(),
            1,
            &["com.docker.network.bridge.gateway_mode_ipv4=routed"],
        ),
        (
            "docker network create -o com.docker.network.bridge.host_binding_ipv4=x x".into(),
            1,
            &["com.docker.network.bridge.host_binding_ipv4=x"],
        ),
    ];
    hold(&engine, checks);
}

#[test]
fn the_gateway_of_the_host_leads_there() {
    let Some(engine) = connected() else { return };
    let checks: &[Check<'_>] = &[(
        "docker network create hg >/dev/null && docker run -d --network host --name web busybox nc -ll -p 8089 -e echo served >/dev/null && docker run --rm --network hg --add-host h:host-gateway busybox sh -c 'for i in $(seq 50); do nc -w 1 h 8089 </dev/null | grep . && break; sleep 0.1; done'",
        0,
        &["served"],
    )];
    hold(&engine, checks);
}

#[test]
fn names_of_containers_and_networks_may_be_long() {
    let Some(engine) = connected() else { return };
    let long = "n".repeat(300);
    let checks: &[(String, i32, &[&str])] = &[
        (
            format!(
                "docker network create {long} && docker run -d --name {long} --network {long} -p 8090:80 busybox sleep 1000 && docker run --rm --network {long} --link {long}:other busybox busybox ping -c 1 -w 5 other"
            ),
            0,
            &["1 packets received"],
        ),
        (
            format!(
                "docker run -d --name short --network {long} busybox sleep 1000 && docker exec {long} busybox ping -c 1 -w 5 short && docker rename short renamed && docker exec {long} busybox ping -c 1 -w 5 renamed && docker rm -f short renamed {long}; docker network rm {long}"
            ),
            0,
            &["PING renamed", "1 packets received"],
        ),
        (format!("docker volume create {long}"), 1, &["Invalid volume name"]),
    ];
    hold(&engine, checks);
}

#[test]
fn the_shared_memory_of_a_container_may_be_anothers() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    let run = "docker run -d --network none";
    let same = |name: &str, other: &str| {
        format!(
            "{run} --name {name} --ipc container:{other} busybox sleep 1000 && docker exec {other} sh -c 'echo shared >/dev/shm/corten-{name}' && docker exec {name} sh -c 'cat /dev/shm/corten-{name}; rm /dev/shm/corten-{name}'"
        )
    };
    let checks: &[(String, i32, &[&str])] = &[
        (
            format!("{run} --name host --ipc host busybox sleep 1000 && {}", same("one", "host")),
            0,
            &["\nshared\n"],
        ),
        (same("two", "one"), 0, &["\nshared\n"]),
        (
            format!("{run} --name own --ipc shareable busybox sleep 1000 && {}", same("three", "own")),
            0,
            &["\nshared\n"],
        ),
        (same("four", "three"), 0, &["\nshared\n"]),
        (
            format!("{run} --name private busybox sleep 1000 && {}", same("five", "private")),
            125,
            &["non-shareable IPC"],
        ),
        ("docker rm -f $(docker ps -aq)".into(), 0, &[]),
    ];
    hold(&engine, checks);
}

#[test]
fn nothing_is_told_as_dockerd_does() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    let prune = |what: &str| curl("-X POST", &format!("v1.51/{what}/prune"));
    let checks: &[(String, i32, &[&str])] = &[
        (prune("containers"), 0, &[r#""ContainersDeleted":null"#]),
        (prune("images"), 0, &[r#""ImagesDeleted":null"#]),
        (prune("networks"), 0, &[r#""NetworksDeleted":null"#]),
        (prune("volumes"), 0, &[r#""VolumesDeleted":[]"#]),
        (prune("build"), 0, &[r#""CachesDeleted":null"#]),
        ("docker info -f json | jq -c .Swarm; docker system prune -f".into(), 0, &["reclaimed"]),
        (
            format!("{} | sed 's/ 200$//' | jq -Sc .Swarm", curl("", "v1.51/info")),
            0,
            &[
                r#"{"ControlAvailable":false,"Error":"","LocalNodeState":"inactive","NodeAddr":"","NodeID":"","RemoteManagers":null}"#,
            ],
        ),
    ];
    hold(&engine, checks);
}

/// A neighbour of this machine at 10.9.0.2, who serves one file, and a firewall that lets nothing in or through but answers.
const FIREWALL: &str = "ip netns add outside && ip link add out0 type veth peer name out1 netns outside && \
    ip addr add 10.9.0.1/24 dev out0 && ip link set out0 up && ip -n outside addr add 10.9.0.2/24 dev out1 && \
    ip -n outside link set out1 up && mkdir far && echo far >far/file && \
    ip netns exec outside busybox httpd -p 80 -h far && for table in iptables ip6tables; do $table -P FORWARD DROP && \
    $table -A INPUT -i lo -j ACCEPT && $table -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT && \
    $table -A INPUT -j DROP; done";

/// What is published, names, and the way out, where the host has a firewall.
pub(super) fn pass_a_firewall(engine: &Engine) {
    let serve = "echo near >/file; exec httpd -f -p 80";
    let out = "ip netns exec outside";
    let all = |again: &str| {
        let checks: [(String, i32, &[&str]); 7] = [
            (format!("{again} docker run -d --name server --network walled -p 8080:80 busybox sh -c '{serve}'"), 0, &[]),
            ("docker run --rm --network walled busybox wget -qO- http://server/file".into(), 0, &["near\n"]),
            (format!("{out} curl -sm 9 http://10.9.0.1:8080/file"), 0, &["near\n"]),
            ("docker run --rm busybox wget -qO- http://10.9.0.1:8080/file".into(), 0, &["near\n"]),
            ("docker run --rm --network walled busybox wget -qO- http://10.9.0.2/file".into(), 0, &["far\n"]),
            // Nothing else has come in, or can.
            ("docker run -d --rm --name host busybox sleep 1000; busybox httpd -p 9000 -h far; busybox netstat -ltn | grep -o :9000 && docker exec host sh -c 'timeout 2 wget -qO- http://10.9.0.1:9000/file || echo none'".into(), 0, &["\n:9000\nnone\n"]),
            (format!("{out} ip route replace 172.16.0.0/12 via 10.9.0.1; at=http://$(docker inspect -f '{{{{.NetworkSettings.Networks.walled.IPAddress}}}}' server)/file; curl -sfm 9 $at && {{ {out} curl -sfm 2 $at || echo none; }} && docker rm -f server host"), 0, &["near\nnone\nserver\nhost\n"]),
        ];
        hold(engine, &checks);
    };
    engine.docker_command(&format!("{FIREWALL} && docker network create walled")).ok();
    all("");
    // It may be made anew at any time.
    all(
        "iptables -F; iptables -P INPUT DROP; iptables -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT;",
    );
    // What somebody has put before our rules stays before them.
    let first = "iptables -I FORWARD -d 10.9.0.2 -j REJECT; docker run --rm busybox wget -qO- http://10.9.0.2/file; iptables -S FORWARD | grep -c CORTEN";
    hold(engine, &[(first, 0, ["refused", "1\n"])]);
}

#[test]
fn a_firewall_lets_through_what_containers_need() {
    let Some(engine) = connected() else { return };
    pass_a_firewall(&engine);
}

#[test]
fn resolvers_behind_that_of_systemd_are_asked() {
    let Some(engine) = connected() else { return };
    let script = "mkdir -p /run/systemd/resolve
printf 'nameserver 127.0.0.53\nsearch stub\n' >stub; printf 'nameserver 10.1.2.3\nsearch real\n' >/run/systemd/resolve/resolv.conf
mount --bind stub /etc/resolv.conf";
    engine.docker_command(script).ok();
    let checks = [
        ("docker run --rm busybox cat /etc/resolv.conf", 0, vec!["nameserver 10.1.2.3\nsearch real\n"]),
        (
            "docker run --rm --network host busybox cat /etc/resolv.conf",
            0,
            vec!["nameserver 127.0.0.53\nsearch stub\n"],
        ),
        // What a domain of the host calls as a container is called is not found in its place.
        (
            "docker network create nn && docker run --rm --network nn busybox cat /etc/resolv.conf; docker run --rm --network nn --dns-opt ndots:2 busybox cat /etc/resolv.conf",
            0,
            vec!["search real\noptions ndots:0\n", "search real\noptions ndots:2\n"],
        ),
        (
            "rm -r /run/systemd; docker run --rm busybox cat /etc/resolv.conf",
            0,
            vec!["nameserver 8.8.8.8", "search stub\n"],
        ),
    ];
    hold(&engine, &checks);
}
