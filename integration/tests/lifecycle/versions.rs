//! What a client sees and may say depends on the version of the API that it speaks.

use integration::skip;

use super::{curl, engine, has_networks, hold};

/// `curl` of the API, whose answer and status go through `then`.
fn get(path: &str, then: &str) -> String {
    format!("{} {then}", curl("", path))
}

/// The same with a body.
fn post(path: &str, body: &str) -> String {
    get(path, &format!("-H Content-Type:application/json -d '{body}'"))
}

/// `jq` of what [`get`] got.
fn look(path: &str, filter: &str) -> String {
    get(path, &format!("| sed 's/ 200$//' | jq -c '{filter}'"))
}

#[test]
fn those_that_are_too_new_or_too_old_are_refused() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    let checks: &[(String, i32, &[&str])] = &[
        (get("v1.57/info", ""), 0, &["1.57 is too new. Maximum supported API version is 1.56", " 400"]),
        (get("v1.23/info", ""), 0, &["1.23 is too old. Minimum supported API version is 1.24", " 400"]),
        (get("_ping", "-i"), 0, &["Api-Version: 1.56"]),
    ];
    hold(&engine, checks);
}

#[test]
fn what_is_told_changes() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    let network =
        r#".NetworkSettings | [has("Bridge"), has("IPAddress"), has("MacAddress"), has("Networks")]"#;
    let config = r#"[(.Config | has("Hostname"), has("Tty"), has("Cmd"), has("Env"), has("User")), has("Author"), has("DockerVersion")]"#;
    let usage = r#"[has("Images"), has("LayersSize"), has("BuilderSize"), .ImageUsage.TotalCount, .ContainerUsage.ActiveCount, (.VolumeUsage, .ImageUsage | has("Items"))]"#;
    let past = "events?since=0&until=$(date +%s)";
    let event = |version: &str| {
        look(
            &format!("v{version}/{past}"),
            r#"select(.Action == "start") | [.status, .id == .Actor.ID, .from]"#,
        )
    };
    let checks: &[(String, i32, &[&str])] = &[
        (
            "docker run -d --name box --network none -h box --annotation colour=red --health-cmd true --health-interval 100ms busybox sleep 1000 && docker commit box made && docker create --network none made && until docker ps | grep '(healthy)'; do sleep 0.1; done".into(),
            0,
            &[],
        ),
        (look("v1.49/info", r#"has("BridgeNfIptables")"#), 0, &["true"]),
        (look("v1.51/info", r#"has("BridgeNfIptables")"#), 0, &["false"]),
        (look("v1.56/info", r#"[has("NRI"), has("KernelMemoryTCP")]"#), 0, &["[false,false]"]),
        // Of images.
        (look("v1.51/images/made/json", config), 0, &["[false,false,true,true,true,true,true]"]),
        (look("v1.52/images/made/json", config), 0, &["[false,false,true,false,false,false,false]"]),
        (
            look("images/json", "[.[] | [.RepoTags[0], .Containers, .VirtualSize == .Size]] | sort"),
            0,
            &[r#"[["busybox:latest",1,true],["made:latest",1,true]]"#],
        ),
        (get("v1.53/images/json?identity=1", "-o /dev/null"), 0, &[" 200"]),
        (get("v1.54/images/json?identity=1", ""), 0, &["identity requires manifests=1", " 400"]),
        (get("v1.54/images/json?identity=1&manifests=1", "-o /dev/null"), 0, &[" 200"]),
        (get("v1.54/images/made/attestations", ""), 0, &["page not found", " 404"]),
        (get("v1.55/images/made/attestations", ""), 0, &["image store does not keep attestations", " 501"]),
        // Of containers.
        (look("v1.51/containers/box/json", network), 0, &["[true,true,true,true]"]),
        (look("v1.52/containers/box/json", network), 0, &["[true,true,true,true]"]),
        (look("v1.51/containers/box/json", r#".Config | has("OnBuild")"#), 0, &["true"]),
        (look("v1.52/containers/box/json", r#".Config | [has("OnBuild"), has("Env")]"#), 0, &["[false,true]"]),
        (look("v1.51/containers/json", "[.[0].Health, .[0].HostConfig.Annotations.colour]"), 0, &[r#"[null,"red"]"#]),
        (look("v1.45/containers/json", "[.[0].Health, .[0].HostConfig.Annotations]"), 0, &["[null,null]"]),
        (look("v1.52/containers/json", ".[0].Health"), 0, &[r#"{"FailingStreak":0,"Status":"healthy"}"#]),
        (look("v1.52/containers/json?all=1", "[.[].Health.Status] | sort"), 0, &[r#"["healthy","none"]"#]),
        (look("v1.56/containers/json?filters=%7B%22annotation%22:%5B%22colour=red%22%5D%7D", "length"), 0, &["1"]),
        (look("v1.56/containers/json?filters=%7B%22annotation%22:%5B%22colour%22%5D%7D", "length"), 0, &["1"]),
        (look("v1.56/containers/json?filters=%7B%22annotation%22:%5B%22colour=blue%22%5D%7D", "length"), 0, &["0"]),
        (look("v1.52/containers/box/stats?stream=0&one-shot=1", ".os_type"), 0, &["linux"]),
        // Of the engine.
        (look("v1.51/system/df", usage), 0, &["[true,true,true,null,null,false,false]"]),
        (look("v1.52/system/df", usage), 0, &["[true,true,false,2,1,false,false]"]),
        (look("v1.52/system/df?verbose=1", usage), 0, &["[false,false,false,2,1,false,true]"]),
        (
            look(
                "v1.52/system/df?verbose=1&type=image",
                "[(.ImageUsage.Items | length), .VolumeUsage, .ImageUsage.Reclaimable < .ImageUsage.TotalSize]",
            ),
            0,
            &["[2,null,true]"],
        ),
        (look("v1.52/system/df?verbose=1&type=volume", ".VolumeUsage.Items"), 0, &["null"]),
        (get("v1.52/nothing", ""), 0, &["{\"message\":\"page not found\"}", " 404"]),
        // Both images have the same layers, so that only their last one is theirs alone.
        (
            look("v1.52/system/df", ".LayersSize == .ImageUsage.TotalSize and .Images[0].SharedSize > 0"),
            0,
            &["true"],
        ),
        (event("1.51"), 0, &[r#"["start",true,"busybox"]"#]),
        (event("1.52"), 0, &["[null,false,null]"]),
        (get(past, "-i"), 0, &["application/jsonl"]),
        (get(&format!("v1.51/{past}"), "-i"), 0, &["application/json\r"]),
        (get(past, "-i -H 'Accept: */*, application/x-ndjson;q=0.2'"), 0, &["application/x-ndjson"]),
        (get(past, "-i -H 'Accept: application/json-seq, application/x-ndjson;q=0.2'"), 0, &["application/json-seq", "\n\u{1e}{", "}\n\u{1e}{"]),
        ("docker rm -f $(docker ps -aq)".into(), 0, &[]),
    ];
    hold(&engine, checks);
}

#[test]
fn what_may_be_said_changes() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    let with = |name: &str, more: &str| {
        format!(
            r#"{{"Image":"busybox","Cmd":["sh","-c","umask; sleep 1000"],{more},"HostConfig":{{"NetworkMode":"none",{name}}}}}"#
        )
    };
    let create = |version: &str, name: &str, host: &str, more: &str| {
        post(&format!("v{version}/containers/create?name={name}"), &with(host, more))
    };
    let health = r#""Healthcheck":{"Test":["CMD-SHELL","umask"],"Interval":100000000}"#;
    let (mask, mac) = (r#""Umask":63"#, r#""MacAddress":"02:42:aa:bb:cc:dd""#);
    let mode = r#""Hostname":"h""#;
    let checks: &[(String, i32, &[&str])] = &[
        (create("1.56", "masked", mask, health), 0, &[r#""Warnings":[]"#, " 201"]),
        (create("1.55", "plain", mask, health), 0, &[" 201"]),
        ("docker start masked plain && for c in masked plain; do until docker logs $c | grep .; do sleep 0.1; done; done".into(), 0, &["0077\n", "0022\n"]),
        ("docker exec masked sh -c umask; docker exec -u 1 masked sh -c umask; docker exec plain sh -c umask".into(), 0, &["0077\n0077\n0022\n"]),
        (
            "for c in masked plain; do until docker inspect $c | grep -q healthy; do sleep 0.1; done; docker inspect -f '{{json (index .State.Health.Log 0).Output}}' $c; done".into(),
            0,
            &[r#""0077\n""#, r#""0022\n""#],
        ),
        (look("v1.56/containers/masked/json", ".HostConfig.Umask"), 0, &["63"]),
        (look("v1.55/containers/masked/json", r#".HostConfig | has("Umask")"#), 0, &["false"]),
        (look("v1.56/containers/plain/json", r#".HostConfig | has("Umask")"#), 0, &["false"]),
        (create("1.56", "", r#""Umask":512"#, mode), 0, &["invalid umask", " 400"]),
        (create("1.56", "", r#""Umask":-1"#, mode), 0, &["invalid JSON", " 400"]),
        (create("1.52", "", mask, mac), 0, &["use endpoint-specific MAC address instead", " 400"]),
        (create("1.51", "macked", mask, mac), 0, &[" 201"]),
        (create("1.51", "p51", r#""PortBindings":{"80/tcp":[]}"#, mode), 0, &[r#""Warnings":[]"#, " 201"]),
        (create("1.52", "p52", r#""PortBindings":{"80/tcp":null}"#, mode), 0, &["empty list of port-bindings: 80/tcp.", " 201"]),
        (look("v1.52/containers/p52/json", ".HostConfig.PortBindings"), 0, &[r#"{"80/tcp":[{"HostIp":"","HostPort":""}]}"#]),
        ("docker rm -f $(docker ps -aq)".into(), 0, &[]),
    ];
    hold(&engine, checks);
}

/// What the kernel is told of the disk that the tests are about.
const LIMITS: &str = r#"p=$(docker inspect -f '{{.State.Pid}}' box); c=$(sed -n 's/.*:blkio://p' /proc/$p/cgroup); if [ "$c" ]; then cat /sys/fs/cgroup/blkio$c/blkio.throttle.*_device; else cat /sys/fs/cgroup$(sed -n 's/^0:://p' /proc/$p/cgroup)/io.max; fi && echo end"#;

#[test]
fn limits_of_devices_change() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    let disk = "for b in /sys/block/[!lr]*; do mknod $PWD/disk b $(tr : ' ' <$b/dev) && break; done";
    if engine.docker_command(disk).status != 0 {
        return skip::say("needs a disk");
    }
    let path = engine.directory.join("disk");
    let say = |to: &str, body: &str| post(to, &body.replace("DISK", &path.to_string_lossy()));
    let create = r#"{"Image":"busybox","Cmd":["sleep","1000"],"HostConfig":{"NetworkMode":"none","BlkioDeviceReadBps":[{"Path":"DISK","Rate":1000001}]}}"#;
    let update = |version: &str, body: &str| say(&format!("v{version}/containers/box/update"), body);
    let checks: &[(String, i32, &[&str])] = &[
        (say("v1.55/containers/create?name=box", create), 0, &[" 201"]),
        ("docker start box".into(), 0, &[]),
        (LIMITS.into(), 0, &["1000001\n"]),
        (update("1.54", r#"{"BlkioDeviceReadBps":[]}"#), 0, &[" 200"]),
        (
            update("1.54", r#"{"BlkioDeviceReadBps":[{"Path":"DISK","Rate":1}]}"#),
            0,
            &["cannot be changed", " 400"],
        ),
        (
            update(
                "1.55",
                r#"{"BlkioDeviceReadBps":null,"BlkioDeviceWriteIOps":[{"Path":"DISK","Rate":1007}]}"#,
            ),
            0,
            &[" 200"],
        ),
        (LIMITS.into(), 0, &["1000001", "1007\n"]),
        (update("1.55", r#"{"BlkioDeviceReadBps":[{"Path":"DISK","Rate":1000002}]}"#), 0, &[" 200"]),
        (LIMITS.into(), 0, &["1000002", "1007\n"]),
        (update("1.55", r#"{"BlkioDeviceReadBps":[{"Path":"/nosuch","Rate":1}]}"#), 0, &["/nosuch", " 400"]),
        (
            update("1.55", r#"{"BlkioWeightDevice":[{"Path":"DISK","Weight":10}]}"#),
            0,
            &["--blkio-weight-device is not offered", " 400"],
        ),
        (update("1.55", r#"{"BlkioDeviceReadBps":[],"BlkioDeviceWriteIOps":[]}"#), 0, &[" 200"]),
        (format!("{{ {LIMITS}; }} >out && ! grep '[12]00' out"), 0, &[]),
        ("docker restart -t 0 box".into(), 0, &[]),
        (format!("{{ {LIMITS}; }} >out && ! grep '[12]00' out"), 0, &[]),
        (
            look("v1.55/containers/box/json", ".HostConfig | [.BlkioDeviceReadBps, .BlkioDeviceWriteIOps]"),
            0,
            &["[[],[]]"],
        ),
        ("docker rm -f box".into(), 0, &[]),
    ];
    hold(&engine, checks);
}

#[test]
fn networks_tell_of_their_addresses() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    if !has_networks() {
        return skip::say("needs netavark and aardvark-dns");
    }
    let subnets =
        "[.Status.IPAM.Subnets // {} | to_entries[] | [.key, .value.IPsInUse, .value.DynamicIPsAvailable]]";
    let connect = r#"{"Container":"box","EndpointConfig":{"MacAddress":"02:42:aa:bb:cc:dd"}}"#;
    let checks: &[(String, i32, &[&str])] = &[
        ("docker network create --subnet 10.97.0.0/24 --ip-range 10.97.0.64/26 --aux-address other=10.97.0.70 --subnet fd00:97::/120 --ipv6 both".into(), 0, &[]),
        (look("v1.51/networks/both", r#"has("Status")"#), 0, &["false"]),
        (look("v1.52/networks/both", subnets), 0, &[r#"[["10.97.0.0/24",4,63],["fd00:97::/120",2,254]]"#]),
        (look("v1.52/networks/none", subnets), 0, &["[]"]),
        (look("v1.52/networks", r#"map(has("Status")) | unique"#), 0, &["[false]"]),
        ("docker run -d --name box busybox sleep 1000".into(), 0, &[]),
        (post("v1.54/networks/both/connect", connect), 0, &[" 200"]),
        ("docker exec box ip link show eth1".into(), 0, &["02:42:aa:bb:cc:dd"]),
        (look("v1.52/networks/both", subnets), 0, &[r#"[["10.97.0.0/24",5,62],["fd00:97::/120",3,253]]"#]),
        ("docker rm -f box && docker network rm both".into(), 0, &[]),
    ];
    hold(&engine, checks);
}
