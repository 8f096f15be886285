//! What moby's tests of the command line ask of a daemon (`moby.rs` runs them all).

use integration::shim::pod::until;
use integration::skip;

use super::{Check, curl, engine, has_networks, hold};

#[test]
fn builds_take_what_dockerfiles_may_say() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    let build = "docker build --network none";
    let checks: &[(String, i32, &[&str])] = &[
        ("mkdir -p c www && echo one >c/file && ln -s file c/link && echo ignored >c/left && printf '\\357\\273\\277left\\n' >c/.dockerignore && busybox httpd -p 127.0.0.1:8001 -h $PWD/www".into(), 0, &[]),
        // The client's archive has no end then.
        (format!("printf 'FROM busybox\\nCOPY . /all\\nRUN ls -A /all\\n' | {build} -f - c"), 0, &["file\nlink\nRemoving"]),
        (format!("printf 'FROM busybox\\nCOPY link /to/\\nRUN ls /to && cat /to/link\\n' >c/Dockerfile && {build} c"), 0, &["link\none\n"]),
        // Links that lead to what is not there yet stay in the image.
        (format!("printf 'FROM busybox\\nRUN ln -s /../../../there/deep /in && ln -s in /chain && ln -s round /round\\nADD file /chain/\\nRUN cat /there/deep/file\\n' >c/Dockerfile && {build} -t links c && ! ls -d /there"), 0, &["one\n"]),
        (format!("printf 'FROM links\\nADD file /round/\\n' >c/Dockerfile && {build} c"), 1, &["ELOOP"]),
        // As on a shell without a PATH of the image's.
        (format!("printf 'FROM scratch\\nENV A=$PATH:/own\\n' >c/Dockerfile && {build} -q -t path c && docker inspect -f '{{{{.Config.Env}}}}' path"), 0, &["[PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin A=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/own]"]),
        (format!("printf 'FROM busybox\\nRUN []\\nCMD [\"/nosuch\"]\\n' >c/Dockerfile && {build} c"), 0, &["Successfully built"]),
        (format!("printf 'FROM busybox\\nCMD []\\n' | {build} -qt cleared - && docker inspect -f '{{{{json .Config.Cmd}}}}' cleared"), 0, &["\nnull\n"]),
        (format!("printf 'FROM busybox\\nENV none=\\nVOLUME $none\\n' >c/Dockerfile && {build} c"), 1, &["VOLUME specified can not be an empty string"]),
        (format!("printf 'FROM busybox\\nEXPOSE 80 90\\n' >c/Dockerfile && {build} -q c >a && printf 'FROM busybox\\nEXPOSE 90 80\\n' >c/Dockerfile && {build} -q c | cmp - a"), 0, &[]),
        (format!("printf 'FROM busybox\\nONBUILD /not/known now\\n' >c/Dockerfile && {build} -q -t later c && docker inspect -f '{{{{.Config.OnBuild}}}}' later && printf 'FROM later\\n' >c/Dockerfile && {build} c"), 1, &["[/not/known now]", "unknown instruction: /NOT/KNOWN"]),
        (format!("printf 'FROM busybox\\nONBUILD from x\\n' >c/Dockerfile && {build} c"), 1, &["FROM isn't allowed as an ONBUILD trigger"]),
        (format!("printf 'FROM busybox\\n\\nFLY\\n' >c/Dockerfile && {build} c"), 1, &["dockerfile parse error on line 3: unknown instruction: FLY"]),
        (format!("printf 'FROM busybox\\n' >c/Dockerfile && {build} --target nosuch c"), 1, &["target stage \"nosuch\" could not be found"]),
        (format!("printf 'FROM busybox\\nCOPY --from=0 a b\\n' >c/Dockerfile && {build} c"), 1, &["invalid from flag value 0: refers to current build stage"]),
        (format!("printf 'FROM busybox\\nADD nosuch /\\n' >c/Dockerfile && {build} c"), 1, &["stat nosuch: file does not exist"]),
        (format!("printf 'FROM busybox\\n' >c/Dockerfile && {build} --build-arg NOBODY c"), 0, &["build-args [NOBODY] were not consumed"]),
        (format!("mv c/Dockerfile c/dockerfile && {} && rm c/dockerfile", curl("-X POST -H Content-Type:application/x-tar --data-binary @-", "v1.41/build").replace("curl", "tar -cC c . | curl")), 0, &["Successfully built", " 200"]),
        // Other compressions, and an archive that ends in the middle of a file.
        ("rm -rf d && mkdir -p d/t && echo packed >d/t/in && tar -cJC d -f d/a.tar.xz t && tar -cjC d -f d/b.tar.bz2 t && tar -cC d -f d/w.tar t && head -c 1026 d/w.tar >d/cut.tar".into(), 0, &[]),
        (format!("printf 'FROM busybox\\nADD a.tar.xz /a/\\nADD b.tar.bz2 /b/\\nRUN cat /a/t/in /b/t/in\\n' >d/Dockerfile && {build} d"), 0, &["packed\npacked\n"]),
        (format!("printf 'FROM busybox\\nADD cut.tar /a/\\n' >d/Dockerfile && {build} d"), 1, &["unexpected end of file"]),
        // What is on the web is added as it is.
        ("cp d/w.tar www/ && echo page >www/page && touch -d '2020-01-02 03:04:05Z' www/page && mkdir www/folder && touch www/folder/index.html".into(), 0, &[]),
        (format!("printf 'FROM busybox\\nADD http://127.0.0.1:8001/w.tar http://127.0.0.1:8001/page /web/\\nADD http://127.0.0.1:8001/page /named\\nRUN ls /web && stat -c %%Y:%%a:%%u /web/page && cat /named && ls -d /t 2>&1\\n' >d/Dockerfile && {build} d"), 1, &["page\nw.tar\n1577934245:600:0\npage\nls: /t"]),
        (format!("printf 'FROM busybox\\nADD http://127.0.0.1:8001/page /\\nCOPY . /all\\nRUN ls -A /all\\n' >d/Dockerfile && {build} d >out && grep 'ls -A' out && ! grep '^\\.tmp' out"), 0, &["RUN ls -A /all"]),
        (format!("{build} d | grep -c 'Using cache'; echo other >www/page; {build} d >out && ! grep 'Using cache' out"), 0, &["3\n"]),
        (format!("printf 'FROM busybox\\nADD http://127.0.0.1:8001/none /\\n' >d/Dockerfile && {build} d"), 1, &["404"]),
        (format!("printf 'FROM busybox\\nADD http://127.0.0.1:8001/folder/ /\\n' >d/Dockerfile && {build} d"), 1, &["cannot determine filename for source"]),
        (format!("printf 'FROM busybox\\nCOPY http://127.0.0.1:8001/page /\\n' >d/Dockerfile && {build} d"), 1, &["source can't be a URL for COPY"]),
        ("docker import http://127.0.0.1:8001/w.tar web && docker export $(docker create web x) | tar -xO t/in && docker history --format '{{.Comment}}' web".into(), 0, &["packed", "Imported from http://127.0.0.1:8001/w.tar"]),
        ("docker import http://127.0.0.1:8001/none x".into(), 1, &["404"]),
        (curl("-X POST", "images/create?fromSrc=127.0.0.1:8001/none"), 0, &[" 404"]),
        ("ls data/tmp".into(), 0, &[]),
    ];
    hold(&engine, checks);
    assert_eq!(engine.docker_command("ls -A data/tmp").ok(), "");
}

#[test]
fn steps_come_from_the_images_that_are_named() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    let build = "docker build --network none";
    let checks: &[(String, i32, &[&str])] = &[
        (
            format!(
                "mkdir c && echo 1 >c/baz && printf 'FROM busybox\\nENV A=b\\nADD baz /\\nRUN touch made\\n' >c/Dockerfile && {build} -t one c && docker save -o one.tar one"
            ),
            0,
            &[],
        ),
        (
            format!(
                "{build} -t two --cache-from one c | grep -c 'Using cache' && {build} -t two --cache-from nosuch c >out && ! grep 'Using cache' out"
            ),
            0,
            &["3\n"],
        ),
        // Of an image that has come from elsewhere there are no steps here.
        ("docker rmi one two && docker image prune -f && docker load -i one.tar".into(), 0, &[]),
        (format!("{build} -t two c >out && ! grep 'Using cache' out"), 0, &[]),
        (
            format!(
                "docker rmi two; {build} -t two --cache-from one c | grep -c 'Using cache' && docker inspect -f '{{{{.Id}}}}' one >a && docker inspect -f '{{{{.Id}}}}' two | cmp - a"
            ),
            0,
            &["3\n"],
        ),
        (
            format!(
                "printf 'FROM busybox\\nENV A=b\\nADD baz /\\nRUN touch other\\n' >c/Dockerfile && {build} -t three --cache-from one c | grep -c 'Using cache' && docker run --rm --network none three ls /baz /other"
            ),
            0,
            &["2\n", "/baz\n/other"],
        ),
    ];
    hold(&engine, checks);
}

#[test]
fn a_build_whose_client_has_gone_ends() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    engine.docker_command("mkdir c && printf 'FROM busybox\nRUN sleep 1000\n' >c/Dockerfile").ok();
    engine
        .docker_command("docker build --network none c & until [ $(docker ps -q | wc -l) = 1 ]; do sleep 0.1; done; kill -9 $!")
        .ok();
    until("its container is gone", || engine.docker_command("[ -z \"$(docker ps -aq)\" ]").status == 0);
}

#[test]
fn who_has_left_a_terminal_may_come_back() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    // The keys twice: the first time by the client that has made the container, whose input is for once.
    let leave = "(sleep 2; printf '\\020\\021')";
    let come = "(sleep 1; printf 'echo back$((40 + 2))\\n'; sleep 1; printf '\\020\\021')";
    let checks: &[(String, i32, &[&str])] = &[
        (
            format!("{leave} | script -qec 'docker run -ti --name box --network none busybox sh' /dev/null"),
            0,
            &[],
        ),
        // Some clients fail then.
        (format!("{come} | script -qec 'docker attach box' /dev/null; true"), 0, &["back42"]),
        (
            format!(
                "{come} | script -qec 'docker attach box' /dev/null; docker ps -q --filter name=box | wc -l"
            ),
            0,
            &["back42", "1\n"],
        ),
    ];
    hold(&engine, checks);
}

#[test]
fn a_bridge_keeps_its_address() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    if !has_networks() {
        return skip::say("needs netavark and aardvark-dns");
    }
    let address = "gateway=$(docker network inspect -f '{{(index .IPAM.Config 0).Gateway}}' n) && docker exec stays busybox ping -c 1 -w 5 $gateway >/dev/null && docker exec stays sed -n \"s/^$gateway .*\\(02:42:[0-9a-f:]*\\).*/\\1/p\" /proc/net/arp";
    engine.docker_command("docker network create n && docker run -d --net n --name stays busybox sleep 1000 && docker run -d --net n --name other busybox sleep 1000").ok();
    let first = engine.docker_command(address).ok();
    assert!(first.starts_with("02:42:"), "{first}");
    // By itself it has that of one of its ports, which are random: one of these would have changed it.
    for _ in 0..8 {
        engine
            .docker_command("docker restart -t 0 other && docker exec stays busybox ping -c 1 -w 2 other")
            .ok();
        assert_eq!(engine.docker_command(address).ok(), first);
    }
}

#[test]
fn containers_are_told_of_their_network() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    if !has_networks() {
        return skip::say("needs netavark and aardvark-dns");
    }
    let checks: &[Check<'_>] = &[
        ("docker run --rm -h www.example.com busybox tail -1 /etc/hosts", 0, &["\twww.example.com www\n"]),
        (
            "docker run --rm --dns 1.1.1.1 --dns-search . --dns-opt ndots:3 busybox cat /etc/resolv.conf",
            0,
            &["nameserver 1.1.1.1\noptions ndots:3\n"],
        ),
        // Nobody in a container reaches the host's loopback.
        (
            "printf 'nameserver 127.0.0.53\nnameserver ::1\n' >near && mount --bind near /etc/resolv.conf && docker run --rm busybox cat /etc/resolv.conf && docker run --rm --net host busybox cat /etc/resolv.conf && umount /etc/resolv.conf",
            0,
            &["nameserver 8.8.8.8\nnameserver 8.8.4.4\nnameserver 127.0.0.53\nnameserver ::1\n"],
        ),
        (
            "for name in bridge host none default; do docker network create $name; done",
            1,
            &["predefined bridge", "predefined host", "predefined none", "predefined default"],
        ),
        (
            "docker network create n && docker run -d --net n --name aa --link later:l busybox sleep 1000 && docker run -d --net n --name bb busybox sleep 1000",
            0,
            &[],
        ),
        (
            "docker network connect --alias x bridge bb",
            1,
            &["network-scoped alias is supported only for containers in user defined networks"],
        ),
        (
            "docker run -d --net host --name hh busybox sleep 1000 && docker network connect n hh",
            1,
            &["cannot be connected to any other network"],
        ),
        ("docker network disconnect host hh", 1, &["cannot disconnect container from host network"]),
        ("docker network connect host aa", 1, &["cannot connect container to host network"]),
        ("docker inspect -f '{{.NetworkSettings.Networks.host.NetworkID}}' hh | grep -c .", 0, &["1"]),
        ("docker run --rm --net container:aa -h x busybox true", 125, &["hostname and the network mode"]),
        (
            "docker run --rm --net container:aa --expose 80 busybox true",
            125,
            &["port exposing and the container type network mode"],
        ),
        (
            "docker run --rm --net container:me --name me busybox true",
            125,
            &["cannot join own network namespace"],
        ),
        (
            "docker run --rm --net host --mac-address 92:d0:c6:0a:29:33 busybox true",
            125,
            &["mac-address and the network mode"],
        ),
        // Links are for one network, and stay true when the other is renamed.
        (
            "docker network create m && docker run -d --net n --name cc --link bb:bn busybox sleep 1000 && docker network connect m bb && docker network connect --link bb:bm m cc && docker exec cc busybox ping -c 1 -w 5 bn && docker exec cc busybox ping -c 1 -w 5 bm",
            0,
            &[],
        ),
        (
            "docker rename bb renamed && docker exec cc busybox ping -c 1 -w 5 bn && docker inspect -f '{{json .NetworkSettings.Networks}}' cc",
            0,
            &["renamed:bn"],
        ),
        (
            "docker network disconnect n renamed && docker exec cc busybox ping -c 1 -w 5 bm && docker exec cc busybox ping -c 1 -w 5 bn",
            1,
            &["bad address"],
        ),
        (
            "docker create --name up busybox sleep 1000 && docker create --name down --link up:u busybox true && docker start down",
            1,
            &["Cannot link to a non running container: /up AS /down/u"],
        ),
        ("docker start up && docker start -a down", 0, &[]),
    ];
    hold(&engine, checks);
    // Until API 1.45 the aliases had the short id.
    let old = curl("", "v1.44/containers/aa/json");
    let new = curl("", "v1.45/containers/aa/json");
    let has = |of: &str| {
        engine
            .docker_command(&format!(
                "{of} | grep -c \"Aliases\\\":\\[\\\"$(docker inspect -f '{{{{slice .Id 0 12}}}}' aa)\""
            ))
            .out
    };
    assert_eq!((has(&old).trim(), has(&new).trim()), ("1", "0"));
}

#[test]
fn commands_do_as_they_say() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    let run = "docker run --rm --network none";
    let checks: &[(String, i32, &[&str])] = &[
        ("docker create --name made --network none -w /not/there busybox pwd && docker cp made:/not/there - | tar -t && docker start -a made".into(), 0, &["there/\n", "/not/there\n"]),
        // With an end alone all that is remembered is told.
        ("docker events --filter container=made --until $(date +%s.%N)".into(), 0, &["container create", "container die"]),
        ("docker events --filter image=busybox --until $(date +%s.%N)".into(), 0, &["container create"]),
        ("docker events --since 10 --until 5".into(), 1, &["`since` time", "cannot be after `until` time"]),
        (format!("{run} -u 2147483648 busybox true"), 125, &["uids and gids must be in range 0-2147483647"]),
        (format!("{run} -u 1:-1 busybox true"), 125, &["uids and gids must be in range 0-2147483647"]),
        (format!("{run} -u 2147483647 busybox id -u"), 0, &["2147483647"]),
        (format!("{run} --cpuset-cpus 8000 busybox true"), 125, &["Requested CPUs are not available - requested 8000, available: 0"]),
        (format!("{run} --cpuset-mems 1-7000 busybox true"), 125, &["Requested memory nodes are not available"]),
        (format!("{run} --cpuset-cpus 1,,2 busybox true"), 125, &["Invalid value 1,,2 for cpuset cpus"]),
        (format!("{run} --oom-score-adj 1001 busybox true"), 125, &["Invalid value 1001, range for oom score adj is [-1000, 1000]"]),
        (format!("{run} -v /tmp:/x:nocopy busybox true"), 125, &["invalid mode: nocopy"]),
        (format!("{run} -p 80:x busybox true"), 125, &["invalid containerPort: x"]),
        (format!("{run} --device /etc:/dev/x busybox true"), 125, &["\"/etc\": not a device node"]),
        ("docker run -d --name limited --network none -m 300m busybox sleep 1000 && docker inspect -f '{{.HostConfig.MemorySwap}}' limited && docker update -m 800m limited".into(), 1, &["629145600", "Memory limit should be smaller than already set memoryswap limit"]),
        ("docker update -m 800m --memory-swap 1000m limited".into(), 0, &[]),
        // A terminal of the container's is none of a process beside it.
        ("docker run -dt --name terminal --network none busybox sleep 1000 && docker exec terminal sh -c 'echo \"[$TERM]\"' && docker exec -t terminal sh -c 'echo \"[$TERM]\"'".into(), 0, &["[]\n[xterm]"]),
        ("docker run -dt --name own -e TERM=dumb --network none busybox sleep 1000 && docker exec own sh -c 'echo \"[$TERM]\"'; docker rm -f terminal own".into(), 0, &["[dumb]"]),
        // Volumes that nobody has named go with the last who has them.
        ("docker create --name first -v /data --network none busybox true && docker create --name second --volumes-from first busybox true && docker rm -v first && docker volume ls -q | wc -l && docker rm -v second && docker volume ls -q | wc -l".into(), 0, &["\n1\n", "\n0\n"]),
        (format!("{run} --volumes-from limited:odd busybox true"), 125, &["invalid mode: odd"]),
        ("docker create --name has --network none -v named:/data -v /tmp:/t busybox true && docker inspect -f '{{range .Mounts}}{{.Type}}:{{.Mode}} {{end}}' has".into(), 0, &["volume:z"]),
        ("docker ps -aq --filter volume=/tmp | wc -l; docker ps -aq --filter volume=named | wc -l; docker ps -aq --filter volume=/nowhere | wc -l".into(), 0, &["1\n1\n0\n"]),
        // Containers of an image are those of what was made from it, too.
        ("printf 'FROM busybox\\nLABEL a=b\\n' | docker build -q -t child - && docker create --name of --network none child && docker ps -a --filter ancestor=busybox --format '{{.Names}}' | grep -x of && docker ps -aq --filter ancestor=child | wc -l".into(), 0, &["of\n1\n"]),
        ("docker rmi ' '".into(), 1, &["image name cannot be blank"]),
        // What is between two runs is ended by a kill, and one that ends by itself has ended.
        ("docker run -d --name again --network none --restart always busybox false; for i in 1 2 3 4 5 6 7 8; do docker kill again >/dev/null || exit 1; docker inspect -f '{{.State.Running}}{{.State.Restarting}}' again; docker start again >/dev/null; done; docker rm -f again".into(), 0, &[&"falsefalse\n".repeat(8)]),
        // Another signal ends nothing: it goes on.
        ("docker run -d --name again --network none --restart always busybox false; for i in 1 2 3 4 5 6 7 8; do docker kill -s HUP again; done; before=$(docker inspect -f '{{.RestartCount}}' again); for i in $(seq 100); do sleep 0.1; [ $(docker inspect -f '{{.RestartCount}}' again) -gt $before ] && break; done; [ $(docker inspect -f '{{.RestartCount}}' again) -gt $before ] && docker rm -f again".into(), 0, &["again"]),
        ("docker run -d --name twice --network none busybox sleep 1000".into(), 0, &[]),
        (format!("id=$({} | grep -o '[0-9a-f]\\{{64\\}}') && docker restart -t 0 twice && {}", curl("-X POST -H Content-Type:application/json -d '{\"Cmd\":[\"true\"]}'", "v1.41/containers/twice/exec"), curl("-X POST -H Content-Type:application/json -d '{\"Detach\":true}'", "v1.41/exec/'$id'/start").replace("\"http", "'http").replace("start\"", "start'")), 0, &["No such exec instance", " 404"]),
        ("docker run -dt --name sized --network none busybox sleep 1000".into(), 0, &[]),
        (format!("{} && docker events --filter event=resize --until $(date +%s.%N)", curl("-X POST", "v1.41/containers/sized/resize?h=20&w=70")), 0, &["height=20", "width=70"]),
        (curl("-X POST -H Content-Type:application/json -d '{\"HostConfig\":{}}'", "v1.41/containers/create"), 0, &["config cannot be empty", " 400"]),
        (curl("-X POST -H Content-Type:application/json -d '{\"Image\":\"busybox\",\"HostConfig\":{\"PortBindings\":{\"80/tcp\":[{\"HostPort\":\"aa80\"}]}}}'", "v1.41/containers/create"), 0, &["invalid port specification: \\\"aa80\\\"", " 400"]),
        (curl("-X POST -H Content-Type:application/json -d '{\"Image\":\"busybox\",\"HostConfig\":{\"PortBindings\":{\"1903;9\":[{}]}}}'", "v1.41/containers/create"), 0, &["invalid port", " 400"]),
        // Whose process waited for the end of a pause runs after it.
        ("docker pause sized".into(), 0, &[]),
        (format!("docker unpause sized; id=$({} | grep -o '[0-9a-f]\\{{64\\}}'); docker pause sized; for n in 1 2; do {}; docker unpause sized; done", curl("-X POST -H Content-Type:application/json -d '{\"Cmd\":[\"true\"]}'", "v1.41/containers/sized/exec"), curl("-X POST -H Content-Type:application/json -d '{\"Detach\":true}'", "v1.41/exec/'$id'/start").replace("\"http", "'http").replace("start\"", "start'")), 1, &["is paused, unpause the container before exec", " 409", " 200"]),
        ("docker rm -f sized; docker create --name files --network none busybox true && docker start -a files && docker cp files:/etc/hosts - | tar -xO".into(), 0, &["127.0.0.1\tlocalhost"]),
        (curl("-X OPTIONS", "v1.41/containers/json"), 0, &[" 200"]),
    ];
    hold(&engine, checks);
}
