//! Requests that no command of docker's makes: what is refused, and says so by name.

use integration::skip;

use super::{Check, curl, engine, has_networks, hold};

/// A request in API 1.43, with a body if it is not empty.
fn request(method: &str, path: &str, body: &str) -> String {
    let body =
        if body.is_empty() { String::new() } else { format!("-H Content-Type:application/json -d '{body}'") };
    curl(&format!("-X {method} {body}"), &format!("v1.43{path}"))
}

/// What `POST /containers/create` refuses beside an image, with status 400, and words of why.
const CONTAINERS: &[(&str, &str)] = &[
    (r#""Cmd":7"#, "invalid JSON"),
    (r#""WorkingDir":"here""#, "absolute path"),
    (r#""StopSignal":"SIGX""#, "invalid signal"),
    (r#""HostConfig":{"CgroupParent":"a/../b"}"#, "cgroup-parent"),
    (r#""HostConfig":{"Links":["gone:x"]}"#, "could not get container for gone"),
    (r#""HostConfig":{"Links":["box"],"NetworkMode":"none"}"#, "used with links"),
    (r#""HostConfig":{"Links":["box:a b"],"NetworkMode":"bridge"}"#, "bad format for links"),
    (r#""HostConfig":{"NetworkMode":"gone"}"#, "network gone not found"),
    (r#""HostConfig":{"VolumesFrom":["box:odd"]}"#, "invalid mode: odd"),
    (r#""HostConfig":{"Mounts":[{"Type":"npipe","Target":"/x"}]}"#, "not offered"),
    (r#""HostConfig":{"Mounts":[{"Type":"cluster","Target":"/x"}]}"#, "not offered"),
    (
        r#""HostConfig":{"Mounts":[{"Type":"image","Source":"nosuch","Target":"/x"}]}"#,
        "No such image: nosuch",
    ),
    (
        r#""HostConfig":{"Mounts":[{"Type":"image","Source":"busybox","Target":"/x","ImageOptions":{"Subpath":"../x"}}]}"#,
        "subpath must be a relative path",
    ),
    (
        r#""HostConfig":{"Mounts":[{"Type":"tmpfs","Source":"/a","Target":"/x"}]}"#,
        "Source must not be specified",
    ),
    (
        r#""HostConfig":{"Mounts":[{"Type":"volume","Target":"/x","VolumeOptions":{"Subpath":"../a"}}]}"#,
        "subpath must be a relative path within the volume",
    ),
    (r#""Env":["=x"]"#, "invalid environment variable: =x"),
    (r#""HostConfig":{"Annotations":{"":"x"}}"#, "the empty string is not permitted as an annotation key"),
    (r#""HostConfig":{"PidMode":"container:gone"}"#, "No such container: gone"),
    (r#""HostConfig":{"IpcMode":"container:gone"}"#, "No such container: gone"),
    (r#""HostConfig":{"IpcMode":"odd"}"#, "invalid IPC mode: odd"),
    (r#""HostConfig":{"CpuShares":-1}"#, "invalid CPU shares (-1)"),
    (r#""NetworkingConfig":{"EndpointsConfig":{"a":{},"b":{}}}"#, "with multiple network endpoints: a, b"),
    (
        r#""HostConfig":{"Mounts":[{"Type":"bind","Source":"/","Target":"/x","BindOptions":{"Propagation":"rprivate"}}]}"#,
        "is within the daemon root",
    ),
    (
        r#""HostConfig":{"Mounts":[{"Type":"bind","Source":"/tmp","Target":"/x","VolumeOptions":{}}]}"#,
        "field VolumeOptions must not be specified",
    ),
    (
        r#""HostConfig":{"Mounts":[{"Type":"volume","Target":"/x","VolumeOptions":{"DriverConfig":{"Name":"nfs"}}}]}"#,
        r#"plugin \"nfs\" not found"#,
    ),
    (
        r#""HostConfig":{"SecurityOpt":["apparmor"],"Sysctls":{"net.x":"1"},"NetworkMode":"host"}"#,
        "not allowed in this network mode",
    ),
    (r#""HostConfig":{"SecurityOpt":["seccomp=nosuch"]}"#, "seccomp profile"),
    (r#""HostConfig":{"SecurityOpt":["colour=red"]}"#, "--security-opt"),
    (r#""HostConfig":{"Ulimits":[{"Name":"nofile","Soft":9,"Hard":8}]}"#, "ulimit soft limit"),
    (r#""HostConfig":{"BlkioDeviceReadBps":[{"Path":"/nosuch","Rate":1}]}"#, "/nosuch"),
    (
        r#""HostConfig":{"BlkioWeightDevice":[{"Path":"/dev/null","Weight":10}]}"#,
        "--blkio-weight-device is not offered",
    ),
    (
        r#""HostConfig":{"Mounts":[{"Type":"bind","Source":"/etc","Target":"/x","BindOptions":{"NonRecursive":true,"ReadOnlyForceRecursive":true}}]}"#,
        "conflicts with NonRecursive",
    ),
    (r#""HostConfig":{"DeviceCgroupRules":["x"]}"#, "device cgroup rule"),
    (
        r#""HostConfig":{"Devices":[{"PathOnHost":"/dev/null","CgroupPermissions":"x"}]}"#,
        "invalid device mode",
    ),
    (
        r#""NetworkingConfig":{"EndpointsConfig":{"bridge":{"IPAMConfig":{"LinkLocalIPs":["169.254.8.8"]}}}}"#,
        "--link-local-ip",
    ),
    (
        r#""NetworkingConfig":{"EndpointsConfig":{"bridge":{"DriverOpts":{"com.docker.network.endpoint.ifname":"x"}}}}"#,
        "com.docker.network.endpoint.ifname",
    ),
    (
        r#""HostConfig":{"LogConfig":{"Type":"json-file","Config":{"mode":"non-blocking"}}}"#,
        "log opt 'mode=non-blocking' is not offered",
    ),
    (r#""Hostname":"x","HostConfig":{"UTSMode":"host"}"#, "hostname and the UTS mode"),
    (r#""HostConfig":{"RestartPolicy":{"Name":"always","MaximumRetryCount":3}}"#, "maximum retry count"),
    (r#""HostConfig":{"MemoryReservation":1000}"#, "Minimum memory reservation"),
    (r#""HostConfig":{"CpuPeriod":10}"#, "CPU cfs period"),
    (r#""Healthcheck":{"Interval":1000}"#, "Interval in Healthcheck"),
    (r#""HostConfig":{"Binds":["/tmp:/x:ro,rw"]}"#, "invalid mode: ro,rw"),
    (r#""HostConfig":{"ExtraHosts":["x"]}"#, r#"bad format for add-host: \"x\""#),
    (r#""HostConfig":{"ExtraHosts":["a:x"]}"#, r#"invalid IP address in add-host: \"x\""#),
    (r#""MacAddress":"02:42:ac:11:00""#, "invalid MAC address 02:42:ac:11:00"),
    (
        r#""HostConfig":{"Mounts":[{"Type":"volume","Target":"/x","BindOptions":{}}]}"#,
        "field BindOptions must not be specified",
    ),
    (
        r#""HostConfig":{"Mounts":[{"Type":"volume","Target":"/x","ReadOnly":true}]}"#,
        "must not set ReadOnly mode when using anonymous volumes",
    ),
    // Not a limit that nobody has set.
    (r#""HostConfig":{"PidsLimit":"100"}"#, "invalid JSON"),
    (r#""hostconfig":{"memory":1024}"#, "Minimum memory limit allowed is 6MB"),
];

/// The same of `POST /networks/create`, beside a name.
const NETWORKS: &[(&str, &str)] = &[
    (r#""EnableIPv4":false"#, "without IPv4"),
    (r#""Ingress":true"#, "swarm"),
    (r#""ConfigFrom":{"Network":"x"}"#, "configuration of another"),
    (r#""IPAM":{"Driver":"dhcp"}"#, "IPAM driver"),
    (r#""IPAM":{"Config":[{"Subnet":"10.1.0.0/24"},{"Subnet":"10.2.0.0/24"}]}"#, "more than one subnet"),
    (r#""IPAM":{"Config":[{"Subnet":"10.1.0.0/24","IPRange":"10.2.0.0/28"}]}"#, "does not belong"),
    (r#""Options":{"com.docker.network.odd":"x"}"#, "com.docker.network.odd=x"),
    (r#""Options":{"com.docker.network.bridge.name":"a/b"}"#, "name of an interface"),
];

/// What is said of an image that is for another platform than the one that is asked for.
const OTHER_PLATFORM: &[&str] =
    &[" 404", "image with reference busybox was found but its platform (linux/", "/x)"];

/// What else is refused: method, path, body, and the status and words of the answer.
const REQUESTS: &[(&str, &str, &str, &[&str])] = &[
    // Of containers.
    (
        "POST",
        "/containers/create?platform=linux/s390x",
        r#"{"Image":"busybox"}"#,
        &[
            " 404",
            "image with reference busybox was found but its platform (linux/",
            ") does not match the specified platform (linux/s390x)",
        ],
    ),
    ("POST", "/containers/create", "", &[" 400", "config cannot be empty"]),
    (
        "POST",
        "/containers/create?name=-x",
        r#"{"Image":"busybox"}"#,
        &[" 400", "Invalid container name (-x)"],
    ),
    ("GET", "/containers/box/top?ps_args=-o%20/etc", "", &[" 400", "ps_args"]),
    ("GET", "/containers/box/stats?stream=1&one-shot=1", "", &[" 400", "one-shot"]),
    ("GET", "/containers/box/logs", "", &[" 400", "at least one stream"]),
    ("GET", "/containers/box/logs?stdout=1&since=x", "", &[" 400", "invalid time"]),
    ("POST", "/containers/box/wait?condition=x", "", &[" 400", "Invalid condition"]),
    ("POST", "/containers/box/attach?detachKeys=x-y", "", &[" 400", "detach keys"]),
    (
        "POST",
        "/containers/box/update",
        r#"{"Devices":[{"PathOnHost":"/dev/null"}]}"#,
        &[" 400", "cannot be changed"],
    ),
    ("POST", "/containers/box/resize?h=-1&w=2", "", &[" 400", "out of range"]),
    ("POST", "/containers/box/rename", "", &[" 400", "names may be empty"]),
    ("GET", "/containers/box/archive?path=/nosuch", "", &[" 404", "Could not find the file"]),
    ("GET", "/containers/json?filters=%7B%22odd%22:%5B%22x%22%5D%7D", "", &[" 400", "invalid filter"]),
    ("GET", "/containers/json?filters=%7B%22expose%22:%5B%2280:80%22%5D%7D", "", &[" 400", "expose=80:80"]),
    ("POST", "/containers/prune?filters=%7B%22until%22:%5B%22x%22%5D%7D", "", &[" 400", "until=x"]),
    ("DELETE", "/containers/box?link=1", "", &[" 501", "docker rm --link is not offered"]),
    ("POST", "/exec/gone/start", "{}", &[" 404", "No such exec instance"]),
    ("GET", "/containers/json?filters=%7B%22exited%22:%5B%22x%22%5D%7D", "", &[" 400", "exited=x"]),
    ("GET", "/containers/json?filters=%7B%22health%22:%5B%22x%22%5D%7D", "", &[" 400", "health=x"]),
    ("GET", "/containers/json?all=%zz", "", &[" 400", "invalid URL escape"]),
    ("GET", "/containers/json?all=1;size=1", "", &[" 400", "invalid semicolon separator in query"]),
    ("POST", "/containers/box/start", r#"{"Binds":[]}"#, &[" 400", "non-empty request body"]),
    ("POST", "/containers/box/update", "[1]", &[" 400", "[1] is not an object"]),
    // Of networks and volumes.
    ("POST", "/volumes/create", r#"{"Name":"v1","Driver":"nfs"}"#, &[" 404", "plugin"]),
    ("GET", "/volumes?filters=%7B%22dangling%22:%5B%221%22,%220%22%5D%7D", "", &[" 400", "invalid filter"]),
    ("GET", "/networks/bridge?scope=swarm", "", &[" 404", "network bridge not found"]),
    ("POST", "/networks/bridge/connect", r#"{"Container":""}"#, &[" 400", "invalid name or ID supplied"]),
    ("POST", "/networks/bridge/connect", r#"{"Container":"box"}"#, &[" 400", "in private (none) mode"]),
    // Of images and the engine.
    ("GET", "/images/search?term=x&limit=101", "", &[" 400", "outside the range of [1, 100]"]),
    ("GET", "/images/search?term=http://x/y", "", &[" 400", "should not have a scheme"]),
    ("GET", "/images/search?term=x&filters=%7B%22stars%22:%5B%22x%22%5D%7D", "", &[" 400", "stars=x"]),
    ("GET", "/images/search?term=x&filters=%7B%22odd%22:%5B%22x%22%5D%7D", "", &[" 400", "invalid filter"]),
    (
        "GET",
        "/images/busybox/json?platform=%7B%22os%22:%22linux%22,%22architecture%22:%22x%22%7D",
        "",
        OTHER_PLATFORM,
    ),
    ("GET", "/images/busybox/history?platform=linux/x", "", OTHER_PLATFORM),
    ("GET", "/images/get?names=busybox&platform=linux/x", "", OTHER_PLATFORM),
    (
        "DELETE",
        "/images/busybox?platforms=%7B%22os%22:%22x%22,%22architecture%22:%22x%22%7D",
        "",
        OTHER_PLATFORM,
    ),
    ("POST", "/images/busybox/push?platform=linux/x", "", OTHER_PLATFORM),
    ("POST", "/images/load?platform=odd", "x", &[" 400", "unknown operating system or architecture"]),
    ("POST", "/images/create?fromSrc=http://x/y.tar", "", &[" 500", "x: failed to lookup"]),
    ("GET", "/distribution/Upper/json", "", &[" 400", "invalid reference format"]),
    ("POST", "/build?squash=1", "", &[" 501", "squash"]),
    ("POST", "/build?securityopt=odd", "", &[" 400", "--security-opt"]),
    ("POST", "/build?version=2", "", &[" 400", "BuildKit"]),
    ("GET", "/system/df?type=odd", "", &[" 400", "unknown object type: odd"]),
    ("GET", "/services", "", &[" 503", "swarm"]),
    ("POST", "/session", "", &[" 404", "BuildKit"]),
    ("POST", "/plugins/pull", "", &[" 404", "plugins are not offered"]),
];

#[test]
fn what_cannot_be_done_is_refused_by_name() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    if engine.run(&["sh", "-c", "command -v curl"]).status != 0 {
        return skip::say("needs curl");
    }
    if !has_networks() {
        return skip::say("needs netavark and aardvark-dns");
    }
    let prepare = "docker run -d --name box --network none busybox sleep 1000";
    let end = "docker rm -f box && docker ps -aq | wc -l && docker volume ls -q | wc -l";
    let mut checks: Vec<(String, i32, Vec<&str>)> = vec![(prepare.into(), 0, vec![])];
    let tables = [
        ("/containers/create", r#""Image":"busybox""#, CONTAINERS),
        ("/networks/create", r#""Name":"n1""#, NETWORKS),
    ];
    for (path, always, rows) in tables {
        checks.extend(rows.iter().map(|(more, words)| {
            (request("POST", path, &format!("{{{always},{more}}}")), 0, vec![" 400", words])
        }));
    }
    let requests = REQUESTS.iter();
    checks
        .extend(requests.map(|(method, path, body, parts)| (request(method, path, body), 0, parts.to_vec())));
    checks.push((end.into(), 0, vec!["0\n0"]));
    hold(&engine, &checks);
}

#[test]
fn what_few_clients_say_is_done() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    let checks: &[Check<'_>] = &[
        ("docker run -d --name box --network none busybox sleep 1000", 0, &[]),
        (
            r#"s=${DOCKER_HOST#unix://}; id=$(curl -s --unix-socket $s -H Content-Type:application/json -d '{"AttachStdout":true,"Tty":true,"Cmd":["stty","size"]}' http://x/v1.43/containers/box/exec | jq -r .Id) && curl -s --max-time 20 --unix-socket $s -H Content-Type:application/json -d '{"Tty":true,"ConsoleSize":[33,77]}' http://x/v1.43/exec/$id/start"#,
            0,
            &["33 77"],
        ),
        // What is null is left out.
        (
            r#"say() { curl -s -w ' %{http_code}' --unix-socket ${DOCKER_HOST#unix://} -H Content-Type:application/json -d "$2" http://x/v1.43/$1; }; id=$(say containers/box/exec '{"Cmd":["true"],"AttachStdin":null,"Tty":null,"Privileged":null,"Env":null,"DetachKeys":null}' | grep -o '[0-9a-f]\{64\}') && say exec/$id/start '{"Detach":true,"Tty":null,"ConsoleSize":null}'; say auth '{"username":"me","password":"x","serveraddress":"127.0.0.1:1","identitytoken":null,"auth":null}'"#,
            0,
            &[" 200", "127.0.0.1:1", " 401"],
        ),
        // Names of fields are in any case, but for those that a user has chosen.
        (
            r#"s=${DOCKER_HOST#unix://}; curl -s -o /dev/null --unix-socket $s -H Content-Type:APPLICATION/JSON -d '{"image":"busybox","cmd":"true","labels":{"image":"own"},"Hostconfig":{"memory":8000000,"readonlyRootfs":true}}' http://x/containers/create?name=odd; docker inspect -f '{{.Config.Cmd}} {{.Config.Labels.image}} {{.HostConfig.Memory}} {{.HostConfig.ReadonlyRootfs}}' odd; docker rm odd"#,
            0,
            &["[true] own 8000000 true\n"],
        ),
        // None of these waits for what does not come.
        (
            r#"get() { curl -s -m 5 -o /dev/null -w '%{http_code}\n' --unix-socket ${DOCKER_HOST#unix://} "$@"; }; get -X POST "http://x/containers/box/attach?stream=1"; get "http://x/events?until=0"; get "http://x/events?until=1" -G --data-urlencode 'filters={"node":["a"],"service":["b"]}'; get 'http://x/events?until=1&filters=null'; get "http://x/containers/box/logs?stdout=1&since=-1""#,
            0,
            &["200\n200\n200\n200\n200\n"],
        ),
        (
            r#"seen() { curl -s --unix-socket ${DOCKER_HOST#unix://} "http://x/events?since=0&until=$(date +%s).9" -G --data-urlencode "filters=$1" | grep -c '"start"'; }; seen '{"container":["bo"]}'; seen '{"container":["ox"]}'; seen '{"image":["busy"]}'"#,
            1,
            &["1\n0\n0\n"],
        ),
        (
            r#"curl -s --unix-socket ${DOCKER_HOST#unix://} http://x/containers/json -G --data-urlencode 'filters={"is-task":["true"]}'"#,
            0,
            &["[]\n"],
        ),
        ("docker top box zz 2>&1 | grep -c -i -e usage -e zz", 1, &["0\n"]),
        ("docker rm -f box", 0, &[]),
        (
            "a=$(docker version -f '{{.Server.Arch}}'); for p in linux/$a linux %7B%22os%22:%22linux%22,%22architecture%22:%22$a%22%7D; do curl -s -o /dev/null -w '%{http_code} ' --unix-socket ${DOCKER_HOST#unix://} http://x/v1.49/images/busybox/json?platform=$p; done",
            0,
            &["200 200 200"],
        ),
    ];
    hold(&engine, checks);
}

#[test]
fn networks_have_ranges_links_and_a_second_family() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    if !has_networks() {
        return skip::say("needs netavark and aardvark-dns");
    }
    let checks: &[Check<'_>] = &[
        (
            "docker network create --subnet 10.98.0.0/16 --ip-range 10.98.5.0/24 --aux-address taken=10.98.5.1 --subnet fd00:98::/64 --ipv6 both && docker network inspect both",
            0,
            &["10.98.5.0/24", "\"taken\": \"10.98.5.1\"", "fd00:98::/64", "\"EnableIPv6\": true"],
        ),
        ("docker run --rm --network both busybox ip addr show eth0", 0, &["10.98.5.2/16", "fd00:98::2/64"]),
        (
            "docker run --rm --network both --ip 10.98.7.7 --ip6 fd00:98::77 busybox sh -c 'ip addr show eth0; cat /etc/hosts'",
            0,
            &["10.98.7.7/16", "fd00:98::77/64", "fd00:98::77\t"],
        ),
        ("docker run --rm --network both --ip 10.98.5.1 busybox true", 125, &["already in use"]),
        ("docker run --rm --network bridge --ip6 fd00::1 busybox true", 125, &[]),
        (
            "docker run -d --name six --network both busybox nc -ll -p 80 -e echo served && docker inspect -f '{{.NetworkSettings.Networks.both.GlobalIPv6Address}}' six && docker run --rm --network both busybox sh -c 'until nc -w 2 fd00:98::2 80 | grep .; do sleep 0.05; done'; docker rm -f six",
            0,
            &["fd00:98::2", "served"],
        ),
        ("docker network create --ipv6 own && docker network inspect own", 0, &["\"fd"]),
        // Links: a name.
        (
            "docker run -d --name db busybox sleep 1000 && docker run -d --name user --link db:data busybox sleep 1000 && docker exec user cat /etc/hosts && docker inspect -f '{{.HostConfig.Links}}' user",
            0,
            &["\tdata ", "[/db:/user/data]"],
        ),
        // It is found where it is after a restart.
        (
            "docker stop -t 0 db && docker run -d --name between busybox sleep 1000 && docker start db && a=$(docker inspect -f '{{.NetworkSettings.IPAddress}}' db) && docker exec user grep \"^$a.data \" /etc/hosts && docker rm -f between",
            0,
            &["data"],
        ),
        ("docker rm -f db user", 0, &[]),
        (
            "docker network create mine && docker run -d --name user --link later:data busybox sleep 1000",
            125,
            &["could not get container for later"],
        ),
        (
            "docker run -d --name db --network mine busybox nc -ll -p 80 -e echo served && docker run --rm --network mine --link db:data busybox sh -c 'until nc -w 2 data 80 | grep .; do sleep 0.05; done'",
            0,
            &["served"],
        ),
        ("docker rm -f db; docker network prune -f", 0, &["mine"]),
    ];
    hold(&engine, checks);
}
