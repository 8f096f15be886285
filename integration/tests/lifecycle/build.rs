//! `docker build`: the classic builder of `cortend` with the stock command line.

use super::{Check, NONE_LEFT, engine, hold};

/// A context: files, and what is in them.
fn context(files: &[(&str, &str)]) -> String {
    let mut script = "rm -rf ctx; mkdir ctx; cd ctx\n".to_owned();
    for (name, text) in files {
        let folder = std::path::Path::new(name).parent().unwrap().display().to_string();
        script += &format!("mkdir -p './{folder}'\ncat > '{name}' <<'END_OF_FILE'\n{text}\nEND_OF_FILE\n");
    }
    script
}

#[test]
fn commands_see_extra_hosts_and_security_options() {
    let Some(engine) = engine() else { return integration::skip::say("needs docker") };
    // They are given one by one.
    let hosts = "printf 'FROM busybox\nRUN cat /etc/hosts; grep -i nonewprivs /proc/self/status' | docker build --network none --add-host one:10.0.0.1 --add-host two:10.0.0.2 --security-opt no-new-privileges -";
    hold(&engine, &[(hosts, 0, &["10.0.0.1\tone", "10.0.0.2\ttwo", "NoNewPrivs:\t1"])]);
}

#[test]
fn variables_take_neither_the_stack_nor_all_memory() {
    let Some(engine) = engine() else { return integration::skip::say("needs docker") };
    let build = "docker build --network none -";
    let nested = |count: usize| {
        let line = "${a:-".repeat(count) + &"}".repeat(count);
        format!("printf 'FROM busybox\nENV A={line}\n' | {build}")
    };
    let growing = format!(
        "{{ echo FROM busybox; echo ENV A=$(head -c 100000 /dev/zero | tr '\\0' x); for i in 1 2 3; do echo 'ENV A=$A$A$A$A$A$A$A$A'; done; }} | {build}"
    );
    let checks: &[(String, i32, &[&str])] = &[
        (nested(200), 0, &["Successfully built"]),
        (nested(10_000), 1, &["more than 200 variables in braces"]),
        (growing, 1, &["more than 1048576 characters by variables"]),
    ];
    hold(&engine, checks);
}

#[test]
fn an_image_of_many_steps_goes_with_all_of_them() {
    let Some(engine) = engine() else { return integration::skip::say("needs docker") };
    let build =
        "{ echo FROM scratch; for i in $(seq 1600); do echo ENV a=$i; done; } | docker build -q -t deep -";
    let checks: &[Check<'_>] = &[
        (build, 0, &["sha256:"]),
        (
            "docker images -aq | wc -l; docker rmi deep | wc -l; docker images -aq | wc -l",
            0,
            &["1601\n1601\n1\n"],
        ),
    ];
    hold(&engine, checks);
}

#[test]
fn dockerfiles_become_images() {
    let Some(engine) = engine() else { return integration::skip::say("needs docker") };
    let first = context(&[
        (
            "Dockerfile",
            "ARG BASE=nosuch
FROM ${BASE} AS tools
ARG WORD=default
ENV PLACE=/opt/app OTHER=\"two words\"
RUN mkdir -p $PLACE && echo \"$WORD $OTHER\" > $PLACE/word # not a comment
RUN [\"sh\", \"-c\", \"echo exec > /form\"]

FROM busybox
LABEL kind=test \"with space\"='a b'
WORKDIR /srv
WORKDIR data
COPY --from=tools /opt/app/word /form ./
COPY --chown=${OWNER:-tester}:12 *.txt owned/
COPY --link dir sub/
ADD --link inner.tar.gz /unpacked/
COPY . /all
USER 1000:1000
EXPOSE 80 90-91/udp
VOLUME /vol
STOPSIGNAL INT
HEALTHCHECK --interval=5s --retries=2 CMD true
SHELL [\"/bin/sh\", \"-ec\"]
ENTRYPOINT [\"cat\"]
CMD /srv/data/word
",
        ),
        ("a.txt", "a"),
        ("b.txt", "b"),
        ("dir/one", "1"),
        ("dir/deep/two", "2"),
        ("left/out", "x"),
        ("left/in", "x"),
        (".dockerignore", "left\n!left/in\ninner.tar.gz\n!inner.tar.gz\nDockerfile"),
    ]);
    let build = "docker build --network none --build-arg BASE=busybox --label more=yes -t made:1 ctx";
    let checks: Vec<(String, i32, Vec<&str>)> = vec![
        (
            first + "mkdir t; echo packed > t/file; chown 5:6 t/file; tar -czf inner.tar.gz t; rm -r t; cd ..; " + build,
            0,
            vec![
                "Step 1/24 : ARG BASE=nosuch",
                "Step 2/24 : FROM ${BASE} AS tools",
                " ---> Running in ",
                "Removing intermediate container",
                "Successfully built",
                "Successfully tagged made:1",
            ],
        ),
        (format!("{build} | grep -c 'Using cache'"), 0, vec!["21\n"]),
        (format!("{build} >out && ! grep 'Running in' out"), 0, vec![]),
        ("docker run --rm --network none --entrypoint cat made:1 word".into(), 0, vec!["default two words"]),
        (
            "docker run --rm --network none --user 0 --entrypoint sh made:1 -c 'cd /srv/data; cat form; stat -c \"%n %u:%g %a\" owned/*; stat -c \"%u:%g %a\" owned; cat sub/deep/two; cat /unpacked/t/file; stat -c %u:%g /unpacked/t/file; ls -a /all /all/left'".into(),
            0,
            vec!["exec", "owned/a.txt 1000:12 644", "owned/b.txt 1000:12 644", "1000:12 755", "2\npacked\n5:6", ".dockerignore", "/all/left:\n.\n..\nin\n"],
        ),
        ("docker run --rm --network none --entrypoint ls made:1 /all/Dockerfile /all/left/out".into(), 1, vec!["No such file"]),
        (
            "docker inspect -f '{{json .Config}}' made:1".into(),
            0,
            vec![
                "\"User\":\"1000:1000\"", "\"80/tcp\":{}", "\"91/udp\":{}", "\"/vol\":{}", "\"StopSignal\":\"INT\"",
                "\"CMD-SHELL\",\"true\"", "\"Interval\":5000000000", "\"Retries\":2", "\"WorkingDir\":\"/srv/data\"",
                "\"Entrypoint\":[\"cat\"]", "\"Cmd\":[\"/bin/sh\",\"-ec\",\"/srv/data/word\"]", "\"kind\":\"test\"",
                "\"with space\":\"a b\"", "\"more\":\"yes\"",
            ],
        ),
        ("docker inspect -f '{{.Config.Env}}' made:1 >out && grep PATH out && ! grep PLACE out".into(), 0, vec![]),
        (
            "docker history --no-trunc made:1".into(),
            0,
            vec!["/bin/sh -c #(nop) WORKDIR /srv/data", "#(nop) COPY multi:", "#(nop) ADD file:", "#(nop)  ENTRYPOINT [\"cat\"]"],
        ),
        // Another argument, another image; the same one is found again.
        (format!("{build} --build-arg WORD=mine | grep -c 'Running in'"), 0, vec!["2"]),
        ("docker run --rm --network none --entrypoint cat made:1 word".into(), 0, vec!["mine two words"]),
        (format!("touch -d 2001-01-01 ctx/a.txt; {build} | grep -c 'Using cache'"), 0, vec!["21\n"]),
        (format!("echo new > ctx/a.txt; {build} | grep -c 'Using cache'"), 0, vec!["8\n"]),
        (format!("{build} --no-cache >out && ! grep 'Using cache' out"), 0, vec![]),
        (format!("{build} --target tools -q"), 0, vec!["sha256:"]),
        ("docker run --rm --network none made:1 cat /opt/app/word".into(), 0, vec!["default two words"]),
        (format!("{build} --target nosuch"), 1, vec!["target stage \"nosuch\" could not be found"]),
        (format!("{build} --squash"), 1, vec!["squash"]),
        (format!("{build} --build-arg UNUSED=1"), 0, vec!["[UNUSED] were not consumed"]),
        (NONE_LEFT.into(), 0, vec![]),
    ];
    hold(&engine, &checks);
}

#[test]
fn what_is_of_another_stage_keeps_its_owner() {
    let Some(engine) = engine() else { return integration::skip::say("needs docker") };
    let of = |owner: &str| {
        let file = format!(
            "FROM busybox AS first\nRUN mkdir /of && echo x > /of/file && chown -R {owner} /of\n\
             FROM busybox\nCOPY --from=first /of /all\nCOPY --from=first /of/file /\nCOPY --from=first --chown=9 /of /own\n\
             CMD stat -c %u:%g /all /all/file /file /own /own/file"
        );
        let build =
            "cd ..; docker build -q --network none -t made ctx && docker run --rm --network none made";
        context(&[("Dockerfile", &file)]) + build
    };
    let checks: &[(String, i32, &[&str])] = &[
        (of("5:6"), 0, &["0:0\n5:6\n5:6\n9:9\n9:9\n"]),
        // An owner is what the cache knows it by, too.
        (of("7:8"), 0, &["0:0\n7:8\n7:8\n9:9\n9:9\n"]),
    ];
    hold(&engine, checks);
}

#[test]
fn sources_and_targets_are_found_behind_links() {
    let Some(engine) = engine() else { return integration::skip::say("needs docker") };
    let file = context(&[
        (
            "Dockerfile",
            r#"FROM busybox
ENV TWO="a b" HOST=8080
RUN ln -s etc/group /to
COPY near/up /got
COPY */one /only
COPY one /to
COPY $TWO ./both/
COPY un\\x2dit /
ADD --chown=7:8 inner.tar.gz /unpacked/
EXPOSE $HOST:82
CMD cat /got /only /etc/group "/both/a b" /un?x2dit; stat -c %u:%g:%a /unpacked /unpacked/own"#,
        ),
        ("one", "top"),
        ("a b", "both"),
        ("dir/one", "low"),
        ("dir/sub/one", "lowest"),
        ("pack/own", "x"),
        // As systemd names its units.
        (r"un\x2dit", "unit"),
    ]);
    let more = "ln -s dir/sub near; ln -s ../one dir/sub/up; chown 5:6 pack/own; chmod 711 pack; tar -C pack -czf inner.tar.gz .; rm -r pack; cd ..; ";
    let checks: Vec<(String, i32, Vec<&str>)> = vec![
        (file + more + "docker build --network none -t found ctx", 0, vec!["ADD --chown=7:8 inner.tar.gz"]),
        (
            "docker run --rm --network none found".into(),
            0,
            vec!["low\nlow\ntop\nboth\nunit\n0:0:755\n5:6:644"],
        ),
        ("docker history --no-trunc found".into(), 0, vec!["in ./both/", "EXPOSE 8080:82"]),
        ("docker inspect -f '{{json .Config.ExposedPorts}}' found".into(), 0, vec![r#"{"82/tcp":{}}"#]),
    ];
    hold(&engine, &checks);
}

#[test]
fn builds_that_fail_say_why() {
    let Some(engine) = engine() else { return integration::skip::say("needs docker") };
    let of = |text: &str| {
        context(&[("Dockerfile", text), ("file", "x")]) + "cd ..; docker build --network none -t made ctx"
    };
    let escape =
        "cd ctx 2>/dev/null || mkdir ctx && cd ctx; ln -sf /etc/passwd link; ln -sfn / root; cd ..; ";
    let hostile = "rm -f /tmp/corten-pwned; mkdir -p h/a; cd h; printf 'FROM busybox\\nCOPY x /\\n' > Dockerfile; echo pwned > a/x; \
        tar -cf ../evil.tar Dockerfile; ln -s /tmp evil; tar -rf ../evil.tar evil; rm evil; \
        tar -rf ../evil.tar --transform 's|a/x|evil/corten-pwned|' a/x; \
        tar -rPf ../evil.tar --transform 's|a/x|../../../tmp/corten-pwned|' a/x; cd ..; \
        [ $(tar -tPf evil.tar | grep -c corten-pwned) = 2 ] || exit 2; docker build - < evil.tar; [ ! -e /tmp/corten-pwned ] && echo inside";
    let links = escape.to_owned()
        + "printf 'FROM busybox\\nCOPY root/etc /got\\n' > ctx/Dockerfile; docker build -t made ctx";
    let checks: Vec<(String, i32, Vec<&str>)> = vec![
        (
            of("FROM busybox\nRUN exit 7"),
            7,
            vec!["The command '/bin/sh -c exit 7' returned a non-zero code: 7"],
        ),
        ("docker ps -aq --filter status=exited | wc -l; docker container prune -f".into(), 0, vec!["1\n"]),
        (of("FROM busybox\nRUN exit 7") + " --force-rm", 7, vec!["returned a non-zero code: 7"]),
        // Who is told nothing else hears how it came to that.
        (of("FROM busybox\nRUN echo told; exit 7") + " --force-rm -q", 7, vec!["Step 2/2", "\ntold\n", "non-zero code: 7"]),
        (NONE_LEFT.into(), 0, vec![]),
        (of("FROM busybox") + " -t sha256", 1, vec!["refusing to create an ambiguous tag"]),
        (of("FROM busybox\nRUN [\"/nosuch\"]"), 1, vec!["/nosuch", "no such file"]),
        (of("FROM busybox\nFLY away"), 1, vec!["dockerfile parse error on line 2: unknown instruction: FLY"]),
        (of("RUN true"), 1, vec!["FROM must come first"]),
        (
            of("FROM busybox\nCOPY nosuch /"),
            1,
            vec!["COPY failed: file not found in build context", "nosuch"],
        ),
        (of("FROM busybox\nCOPY no* /"), 1, vec!["no source files were specified"]),
        (of("FROM busybox\nCOPY file Dockerfile /into"), 1, vec!["must be a directory and end with a /"]),
        (of("FROM busybox\nADD http://127.0.0.1/x /"), 1, vec!["ADD failed: http://127.0.0.1/x: 127.0.0.1: Connection refused"]),
        (of("FROM busybox\nADD git@127.0.0.1:repo /"), 1, vec!["file does not exist"]),
        (of("FROM busybox\nCOPY http://127.0.0.1/x /"), 1, vec!["COPY failed"]),
        (of("FROM busybox\nRUN --mount=type=cache,target=/c true"), 1, vec!["BuildKit"]),
        (of("FROM busybox\nCOPY --link=odd file /"), 1, vec!["expecting boolean value for flag link, not: odd"]),
        (of("FROM busybox\nCOPY --chmod=640 file /"), 1, vec!["the --chmod option requires BuildKit"]),
        (of("FROM busybox\nRUN cat <<END\ntext\nEND"), 1, vec!["line 2: here-documents require BuildKit"]),
        (of("FROM busybox\nCOPY --from=3 /x /"), 1, vec!["invalid from flag value 3"]),
        (of("FROM --platform=linux/s390x 127.0.0.1:1/no/such"), 1, vec!["refused"]),
        // Refused without anything of the context being wanted: the client is heard out, and sees why.
        (
            "mkdir -p far; head -c 9000000 /dev/urandom > far/large; echo FROM busybox > far/Dockerfile; docker build --platform windows/amd64 far"
                .into(),
            1,
            vec!["operating system is not supported: windows"],
        ),
        (of("FROM busybox\nCOPY --chown ghost file /"), 1, vec!["line 2: missing a value on flag: --chown"]),
        (of("FROM busybox\nCOPY --chown=ghost file /"), 1, vec!["unable to find user ghost"]),
        (of("FROM 127.0.0.1:1/no/such"), 1, vec!["refused"]),
        (of("FROM --platform=odd busybox"), 1, vec!["\"odd\": unknown operating system or architecture"]),
        (of("FROM --platform=windows/amd64 scratch\nLABEL a=b"), 1, vec!["operating system \"windows\" cannot be used"]),
        (of("FROM busybox\nENV =x"), 1, vec!["can not be blank"]),
        (of("FROM busybox") + " -f nosuch", 1, vec!["nosuch"]),
        (of("# escape=`\nFROM busybox"), 1, vec!["the directive escape is not offered"]),
        // Behind a comment it is one, too.
        (of("# A comment\n# escape=`\nFROM busybox\nFLY"), 1, vec!["line 4: unknown instruction: FLY"]),
        ("docker build http://127.0.0.1:1/context.tar".into(), 1, vec!["refused"]),
        // What is outside stays outside, whatever points there.
        (links, 1, vec!["COPY failed", "root/etc"]),
        (hostile.to_owned(), 0, vec!["inside"]),
        (of("FROM busybox\nCOPY ../../../etc/passwd /"), 1, vec!["COPY failed"]),
        ("ids=$(docker images -aq made && docker ps -aq) && [ -z \"$ids\" ]".into(), 0, vec![]),
    ];
    hold(&engine, &checks);
}

#[test]
fn bases_tell_what_is_done_with_them() {
    let Some(engine) = engine() else { return integration::skip::say("needs docker") };
    let base = context(&[(
        "Dockerfile",
        "FROM busybox\nONBUILD COPY file /taken\nONBUILD RUN cat /taken > /again\nCMD [\"base\"]",
    )]);
    let user =
        context(&[("Dockerfile", "FROM base\nRUN cat /again\nENTRYPOINT [\"echo\"]"), ("file", "triggered")]);
    let scratch = context(&[(
        "sub/File",
        "FROM busybox AS from\nFROM scratch\nCOPY --from=0 /bin/busybox /bin/sh\nRUN echo static > /made && \\\n  # inside\n  echo two >> /made\nCMD [\"/bin/sh\", \"-c\", \"read x < /made; echo $x\"]",
    )]);
    let checks: Vec<(String, i32, Vec<&str>)> = vec![
        (base + "cd ..; docker build -t base ctx", 0, vec!["Successfully tagged base:latest"]),
        (
            user + "cd ..; docker build --network none -t user ctx",
            0,
            vec!["# Executing 2 build triggers", "triggered"],
        ),
        // What an image was made from waits for nobody.
        ("ids=$(docker images -aqf dangling=true) && [ -z \"$ids\" ]".into(), 0, vec![]),
        // A new ENTRYPOINT takes the inherited CMD away, and triggers work once.
        ("docker inspect -f '{{.Config.Cmd}} {{.Config.OnBuild}}' user".into(), 0, vec!["[] []"]),
        (
            scratch + "cd ..; docker build --network none -t small -f ctx/sub/File ctx",
            0,
            vec!["Successfully"],
        ),
        ("docker run --rm --network none small".into(), 0, vec!["static"]),
        // A layer that is there twice.
        (
            "mkdir again && echo again >again/file && printf 'FROM busybox\nCOPY file /\nRUN rm /file; echo made >/new\nCOPY file /' >again/Dockerfile && docker build -q --network none -t twice again && docker inspect -f '{{json .RootFS.Layers}}' twice | jq -r '.[]' | sort | uniq -d | wc -l && docker run --rm --network none twice cat /file /new && docker rmi twice".into(),
            0,
            vec!["\n1\nagain", "made"],
        ),
        (
            "printf 'FROM busybox\\nRUN echo piped' | docker build --network none -t piped -".into(),
            0,
            vec!["piped", "Successfully tagged piped:latest"],
        ),
        (
            "cd ctx; tar -czf ../c.tgz .; cd ..; docker build --network none -f sub/File - < c.tgz".into(),
            0,
            vec!["Using cache"],
        ),
        (
            "docker rmi user base small piped && docker image prune -f && docker images -aq | wc -l".into(),
            0,
            vec!["1\n"],
        ),
    ];
    hold(&engine, &checks);
}
