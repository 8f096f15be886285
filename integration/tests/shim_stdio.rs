//! Standard streams: FIFOs, terminals, files and logging programs; and what happens when a reader or writer
//! goes away.

use integration::shim::client::patience;
use integration::shim::pod::{self, until};
use integration::shim::wire::Writer;
use integration::shim::{Delay, Output, Pod, Stdio, fifo};
use integration::{host, leaks, proc, skip};
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

/// A quantity of output that no pipe holds.
const LINES: usize = 200_000;

fn sum_of_lines(text: &str) -> (usize, bool) {
    let ordered = text.lines().enumerate().all(|(index, line)| line.parse() == Ok(index + 1));
    (text.lines().count(), ordered)
}

/// `seq` with what the root filesystem has.
fn count_to(lines: usize) -> String {
    format!("awk 'BEGIN {{ for (i = 1; i <= {lines}; i++) print i }}'")
}

#[test]
fn much_output_arrives_whole_and_in_order() {
    let mut pod = Pod::new(&["sh", "-c", &count_to(LINES)]);
    let stdio = Stdio::fifos(pod.directory(), "init");
    let (out, err) = (Output::of(&stdio.stdout), Output::of(&stdio.stderr));
    pod.create(0, &stdio);
    pod.start(0, "").unwrap();
    assert_eq!(pod.wait(0, ""), 0);
    pod.call("Delete", 0, "").unwrap();
    assert_eq!(sum_of_lines(&out.end()), (LINES, true));
    assert_eq!(err.end(), "");
}

#[test]
fn much_input_arrives_whole() {
    let mut pod = Pod::new(&["sh", "-c", "wc -c"]);
    let stdio = Stdio::fifos(pod.directory(), "init");
    let (out, _err) = (Output::of(&stdio.stdout), Output::of(&stdio.stderr));
    pod.create(0, &stdio);
    pod.start(0, "").unwrap();
    fifo::write(&stdio.stdin, &"x".repeat(1_000_000));
    let close = pod.named(0, "").number(3, 1);
    pod.client.call("CloseIO", &close).unwrap();
    assert_eq!(pod.wait(0, ""), 0);
    pod.call("Delete", 0, "").unwrap();
    assert_eq!(out.end().trim(), "1000000");
}

#[test]
fn input_stays_open_when_one_writer_goes_and_another_comes() {
    let mut pod = Pod::new(&["sh", "-c", "while read line; do echo got $line; done; echo end"]);
    let stdio = Stdio::fifos(pod.directory(), "init");
    let (out, _err) = (Output::of(&stdio.stdout), Output::of(&stdio.stderr));
    pod.create(0, &stdio);
    pod.start(0, "").unwrap();
    for line in ["one", "two", "three"] {
        fifo::write(&stdio.stdin, &format!("{line}\n"));
        out.expect(&format!("got {line}\n"));
    }
    let close = pod.named(0, "").number(3, 1);
    pod.client.call("CloseIO", &close).unwrap();
    out.expect("end\n");
    assert_eq!(pod.wait(0, ""), 0);
}

#[test]
fn output_survives_the_restart_of_its_reader() {
    let mut pod = Pod::new(&[
        "sh",
        "-c",
        "i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo $i; [ $((i % 20)) = 0 ] && sleep 0.02; done",
    ]);
    let stdio = Stdio { stdin: String::new(), ..Stdio::fifos(pod.directory(), "init") };
    let _err = Output::of(&stdio.stderr);
    let path = stdio.stdout.clone();
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        let give_up = Instant::now() + patience();
        loop {
            assert!(Instant::now() < give_up, "output is lost: {:?}", String::from_utf8_lossy(&all));
            // Opens, takes what there is for a moment, and goes away, as containerd does when it is
            // restarted.
            let mut fifo = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
            for _ in 0..20 {
                let mut part = [0; 100];
                match fifo.read(&mut part) {
                    Ok(0) if String::from_utf8_lossy(&all).ends_with("\n300\n") => return all,
                    Ok(count) => all.extend_from_slice(&part[..count]),
                    Err(_) => {}
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            // Longer than the process is silent.
            drop(fifo);
            std::thread::sleep(Duration::from_millis(40));
        }
    });
    pod.create(0, &stdio);
    pod.start(0, "").unwrap();
    assert_eq!(pod.wait(0, ""), 0, "no SIGPIPE");
    pod.call("Delete", 0, "").unwrap();
    let text = String::from_utf8(reader.join().unwrap()).unwrap();
    assert_eq!(sum_of_lines(&text), (300, true));
}

#[test]
fn the_output_of_the_shortest_processes_is_not_lost() {
    let mut pod = Pod::new(&["sleep", "600"]);
    pod.run(0);
    for number in 0..50 {
        let name = format!("short-{number}");
        let stdio = Stdio { stdin: String::new(), ..Stdio::fifos(pod.directory(), &name) };
        pod.exec(0, &name, &["echo", &name], &stdio).unwrap();
        let (out, err) = (Output::of(&stdio.stdout), Output::of(&stdio.stderr));
        pod.start(0, &name).unwrap();
        assert_eq!(pod.wait(0, &name), 0);
        pod.call("Delete", 0, &name).unwrap();
        assert_eq!(out.end(), format!("{name}\n"));
        assert_eq!(err.end(), "");
    }
}

#[test]
fn a_reader_that_stands_still_holds_up_its_own_stream_only() {
    let flood = format!("{} >&2; echo done", count_to(LINES));
    let mut pod = Pod::new(&["sh", "-c", &flood]);
    let stdio = Stdio { stdin: String::new(), ..Stdio::fifos(pod.directory(), "init") };
    let out = Output::of(&stdio.stdout);
    // Opened and not read.
    let open = |path: &str| OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).unwrap();
    let stalled = open(&stdio.stderr);
    let pid = pod.create(0, &stdio);
    pod.start(0, "").unwrap();
    until("the process waits for its reader", || {
        let waits = |pid: &i32| {
            fs::read_to_string(format!("/proc/{pid}/wchan")).is_ok_and(|text| text.contains("pipe"))
        };
        waits(&pid) || proc::children(pid).iter().any(waits)
    });
    // Everything else goes on: other containers, other calls, the same container's other processes.
    assert_eq!(pod.state(0, ""), 2);
    pod.exec(0, "e", &["true"], &Stdio::default()).unwrap();
    pod.start(0, "e").unwrap();
    assert_eq!(pod.wait(0, "e"), 0);
    let other = pod.add(&["sh", "-c", "exit 3"], |_| {});
    pod.run(other);
    assert_eq!(pod.wait(other, ""), 3);
    assert!(!out.so_far().contains("done"), "the process must wait for its reader");
    // And it goes on when the reader does.
    drop(stalled);
    let err = Output::of(&stdio.stderr);
    assert_eq!(pod.wait(0, ""), 0);
    pod.call("Delete", 0, "").unwrap();
    assert_eq!(sum_of_lines(&err.end()), (LINES, true));
    assert_eq!(out.end(), "done\n");
}

#[test]
fn a_process_left_in_the_background_does_not_hold_up_delete() {
    let mut pod = Pod::new(&["sleep", "600"]);
    pod.run(0);
    let stdio = Stdio { stdin: String::new(), ..Stdio::fifos(pod.directory(), "bg") };
    pod.exec(0, "bg", &["sh", "-c", "echo early; sleep 600 &"], &stdio).unwrap();
    let (out, _err) = (Output::of(&stdio.stdout), Output::of(&stdio.stderr));
    pod.start(0, "bg").unwrap();
    assert_eq!(pod.wait(0, "bg"), 0);
    let request = pod.named(0, "bg");
    let stream = pod.client.send("Delete", &request);
    // Well below the ten seconds after which containerd's CRI gives up.
    let answer = pod.client.answer_within(stream, Duration::from_secs(9)).expect("Delete answers in time");
    assert_eq!(answer.unwrap().number(2), 0);
    assert_eq!(out.end(), "early\n");
}

#[test]
fn create_waits_for_the_reader_of_the_output() {
    let mut pod = Pod::new(&["sh", "-c", "echo here"]);
    let stdio = Stdio { stdin: String::new(), ..Stdio::fifos(pod.directory(), "init") };
    let stream = pod.send_create(0, &stdio);
    assert_eq!(pod.client.answer_within(stream, Duration::from_millis(300)), None);
    let (out, _err) = (Output::of(&stdio.stdout), Output::of(&stdio.stderr));
    pod.client.answer(stream).unwrap();
    pod.start(0, "").unwrap();
    pod.wait(0, "");
    pod.call("Delete", 0, "").unwrap();
    assert_eq!(out.end(), "here\n");
}

#[test]
fn a_terminal_is_handed_over_resized_and_hung_up() {
    let script = "tty; read line; stty size; echo got $line; exit 6";
    let mut pod = Pod::with(&["sh", "-c", script], |config| config["process"]["terminal"] = true.into());
    let stdio = Stdio::terminal(pod.directory(), "init");
    let out = Output::of(&stdio.stdout);
    pod.create(0, &stdio);
    let size = pod.named(0, "").number(3, 132).number(4, 43);
    pod.client.call("ResizePty", &size).unwrap();
    pod.start(0, "").unwrap();
    out.expect("/dev/pts/0");
    fifo::write(&stdio.stdin, "typed\n");
    assert_eq!(pod.wait(0, ""), 6);
    pod.call("Delete", 0, "").unwrap();
    let text = out.end();
    assert!(text.contains("43 132") && text.contains("got typed"), "{text}");
}

#[test]
fn much_output_of_a_terminal_arrives_whole() {
    let mut pod = Pod::new(&["sleep", "600"]);
    pod.run(0);
    let stdio = Stdio::terminal(pod.directory(), "tty");
    pod.exec(0, "tty", &["sh", "-c", &count_to(20_000)], &stdio).unwrap();
    let out = Output::of(&stdio.stdout);
    pod.start(0, "tty").unwrap();
    assert_eq!(pod.wait(0, "tty"), 0);
    pod.call("Delete", 0, "tty").unwrap();
    assert_eq!(sum_of_lines(&out.end().replace('\r', "")), (20_000, true));
}

#[test]
fn a_terminal_that_nobody_has_open_for_a_while_goes_on() {
    // The shell gives up all its descriptors and opens the terminal again by its name.
    let script = "exec 0<&- 1>&- 2>&-; sleep 0.2; exec 1>/dev/pts/0; echo again; sleep 0.1";
    let mut pod = Pod::with(&["sh", "-c", script], |config| config["process"]["terminal"] = true.into());
    let stdio = Stdio::terminal(pod.directory(), "init");
    let out = Output::of(&stdio.stdout);
    pod.create(0, &stdio);
    pod.start(0, "").unwrap();
    pod.wait(0, "");
    pod.call("Delete", 0, "").unwrap();
    assert!(out.end().contains("again"));
}

/// Also one whose output nobody takes at that moment. What it has written until then is not lost.
#[test]
fn the_end_of_its_input_hangs_a_terminal_up() {
    let script = "trap '' INT; i=0; while echo $((i=i+1)); do :; done; exit 3";
    for stands_still in [false, true] {
        let mut pod = Pod::with(&["sh", "-c", script], |config| config["process"]["terminal"] = true.into());
        let stdio = Stdio::terminal(pod.directory(), "init");
        let mut open = OpenOptions::new();
        let reader = open.read(true).custom_flags(libc::O_NONBLOCK).open(&stdio.stdout).unwrap();
        let mut out = (!stands_still).then(|| Output::of(&stdio.stdout));
        let pid = pod.create(0, &stdio);
        pod.start(0, "").unwrap();
        match &out {
            Some(out) => drop(out.expect("1000")),
            None => until("it waits for its reader", || {
                fs::read_to_string(format!("/proc/{pid}/wchan")).is_ok_and(|text| text.contains("wait"))
            }),
        }
        // Whoever types still has it open when the client says that there is no more.
        let typed = fifo::writer(&stdio.stdin);
        let close = pod.named(0, "").number(3, 1);
        pod.client.call("CloseIO", &close).unwrap();
        drop(typed);
        assert_eq!(pod.wait(0, ""), 3, "the error of its write");
        let out = out.get_or_insert_with(|| Output::of(&stdio.stdout));
        until("its output has come", || out.so_far().contains("1000"));
        pod.call("Delete", 0, "").unwrap();
        drop(reader);
        let text = out.end().replace('\r', "");
        // The last line may be cut off.
        let (lines, _) = text.rsplit_once('\n').unwrap();
        assert!(sum_of_lines(lines).1, "{lines}");
    }
}

#[test]
fn resizing_without_a_terminal_does_nothing() {
    let mut pod = Pod::new(&["sleep", "600"]);
    pod.run(0);
    let size = pod.named(0, "").number(3, 80).number(4, 24);
    pod.client.call("ResizePty", &size).unwrap();
}

#[test]
fn both_streams_go_to_one_file() {
    let mut pod = Pod::new(&["sh", "-c", "echo out; echo err >&2"]);
    let file = pod.directory().join("new/folder/log.txt");
    let uri = format!("file://{}", file.display());
    let stdio = Stdio { stdout: uri.clone(), stderr: uri, ..Stdio::default() };
    for round in 1..=2 {
        let number = if round == 1 { 0 } else { pod.add(&["sh", "-c", "echo out; echo err >&2"], |_| {}) };
        pod.create(number, &stdio);
        pod.start(number, "").unwrap();
        pod.wait(number, "");
        pod.call("Delete", number, "").unwrap();
        let mut lines: Vec<String> = fs::read_to_string(&file).unwrap().lines().map(str::to_owned).collect();
        lines.sort();
        let expected = [vec!["err"; round], vec!["out"; round]].concat();
        assert_eq!(lines, expected, "appended");
    }
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error() {
    let mut pod = Pod::new(&["true"]);
    let uri = format!("file://{}", pod.directory().display());
    let stream = pod.send_create(0, &Stdio { stdout: uri.clone(), stderr: uri, ..Stdio::default() });
    let failed = pod.client.answer(stream).unwrap_err();
    assert!(failed.text.contains(&*pod.directory().to_string_lossy()), "{failed:?}");
    assert!(failed.text.to_lowercase().contains("is a directory"), "{failed:?}");
}

/// FIFOs whose client has gone, and has removed them before the process was started.
#[test]
fn a_place_that_is_not_there_is_an_error_and_not_made() {
    let mut pod = Pod::new(&["sleep", "600"]);
    let gone = pod.directory().join("gone");
    let stdout = gone.join("fifo/stdout").to_string_lossy().into_owned();
    let stdio = Stdio { stdout: stdout.clone(), stderr: stdout.clone(), ..Stdio::default() };
    let stream = pod.send_create(0, &stdio);
    let failed = pod.client.answer(stream).unwrap_err();
    assert!(failed.text.contains(&stdout), "{failed:?}");
    assert!(failed.text.to_lowercase().contains("no such file or directory"), "{failed:?}");
    let id = pod.id();
    until("its process is dead", || leaks::processes(&id).is_empty());

    let other = pod.add(&["sleep", "600"], |_| {});
    pod.run(other);
    pod.exec(other, "e", &["sleep", "600"], &stdio).unwrap();
    let failed = pod.start(other, "e").unwrap_err();
    assert!(failed.text.to_lowercase().contains("no such file or directory"), "{failed:?}");
    let terminal = Stdio { stdout: stdout.clone(), terminal: true, ..Stdio::default() };
    pod.exec(other, "t", &["sleep", "600"], &terminal).unwrap();
    pod.start(other, "t").unwrap_err();
    assert!(!gone.exists());
}

#[test]
fn a_file_that_is_there_is_appended_to() {
    let mut pod = Pod::new(&["sh", "-c", "echo out; echo err >&2"]);
    let file = pod.directory().join("log.txt");
    fs::write(&file, "before\n").unwrap();
    let path = file.to_string_lossy().into_owned();
    pod.create(0, &Stdio { stdout: path.clone(), stderr: path, ..Stdio::default() });
    pod.start(0, "").unwrap();
    pod.wait(0, "");
    pod.call("Delete", 0, "").unwrap();
    let text = fs::read_to_string(&file).unwrap();
    let (first, rest) = text.split_once('\n').unwrap();
    let mut rest: Vec<&str> = rest.lines().collect();
    rest.sort_unstable();
    assert_eq!((first, &rest[..]), ("before", &["err", "out"][..]));
}

#[test]
fn a_full_disk_costs_output_and_not_the_container() {
    if !pod::is_ours() {
        skip!("needs Corten's shim: others let the process wait for ever");
    }
    let mut pod = Pod::new(&["sh", "-c", "dd if=/dev/zero bs=64k count=32 || exit 9; exit 7"]);
    let uri = "file:///dev/full".to_owned();
    pod.create(0, &Stdio { stdout: uri.clone(), stderr: uri, ..Stdio::default() });
    pod.start(0, "").unwrap();
    assert_eq!(pod.wait(0, ""), 7);
    pod.call("Delete", 0, "").unwrap();
    let log = pod.containers[0].log();
    assert_eq!(log.matches("output is lost").count(), 1, "{log}");
}

#[test]
fn a_disk_that_does_not_answer_stops_one_container_and_not_the_shim() {
    let mut pod = Pod::new(&["sh", "-c", "read go; dd if=/dev/zero bs=64k count=32 2>/dev/null; exit 7"]);
    let file = pod.directory().join("output");
    let uri = format!("file://{}", file.display());
    let stdin = Stdio::fifos(pod.directory(), "init").stdin;
    pod.create(0, &Stdio { stdin: stdin.clone(), stdout: uri.clone(), stderr: uri, ..Stdio::default() });
    pod.start(0, "").unwrap();
    let other = pod.add(&["sleep", "600"], |_| {});
    let shim = pod.shim_pid();
    // Whoever writes the file: the shim, or a process of it that is not the container's.
    let program = |pid: i32| fs::read_link(format!("/proc/{pid}/exe")).ok();
    let children = proc::pids().into_iter().filter(|pid| {
        proc::Status::of(&pid.to_string()).get("PPid") == shim.to_string() && program(*pid) == program(shim)
    });
    let writers: Vec<i32> = children.chain([shim]).collect();
    let Some(delay) = Delay::of(&writers, "write", Some(&file)) else { skip!("needs strace") };
    fs::write(&stdin, "go\n").unwrap();
    until("the file is being written", || {
        writers.iter().any(|pid| {
            let stack = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
            stack.starts_with("1 ") && proc::Status::of(&pid.to_string()).get("State").starts_with('t')
        })
    });
    for _ in 0..10 {
        assert_eq!(pod.state(0, ""), 2);
    }
    pod.run(other);
    pod.kill(other, "", 9, false).unwrap();
    assert_eq!(pod.wait(other, ""), 137);
    drop(delay);
    assert_eq!(pod.wait(0, ""), 7);
    pod.call("Delete", 0, "").unwrap();
    assert_eq!(fs::metadata(&file).unwrap().len(), 32 * 65536, "nothing is lost");
}

/// What a process that was given no streams prints is kept nowhere.
#[test]
fn a_process_without_streams_has_the_null_device() {
    let mut pod = Pod::new(&["sleep", "600"]);
    let init = pod.run(0);
    pod.exec(0, "e", &["sleep", "600"], &Stdio::default()).unwrap();
    let executed = i32::try_from(pod.start(0, "e").unwrap().number(1)).unwrap();
    for pid in [init, executed] {
        assert_eq!(proc::streams(pid), ["/dev/null"; 3]);
    }
    // Those that it was not given are no others.
    let stdio = Stdio { stdout: String::new(), ..Stdio::fifos(pod.directory(), "some") };
    let _err = Output::of(&stdio.stderr);
    pod.exec(0, "some", &["sleep", "600"], &stdio).unwrap();
    let [input, output, error] =
        proc::streams(i32::try_from(pod.start(0, "some").unwrap().number(1)).unwrap());
    assert!(input.starts_with("pipe:") && error.starts_with("pipe:"), "{input} {error}");
    assert_eq!(output, "/dev/null");
}

/// A logging program in shell: says what it was given, then copies both streams.
fn logger(directory: &Path, ready: &str) -> String {
    let path = directory.join("logger.sh");
    let log = directory.join("logged");
    let script = format!(
        "#!/bin/sh\nexec >>{log} 2>&1\necho args $@\necho id $CONTAINER_ID in $CONTAINER_NAMESPACE home ${{HOME:-none}}\n\
         {ready}\ncat <&4 | sed 's/^/err: /' &\ncat <&3 | sed 's/^/out: /'\nwait\necho ended\n",
        log = log.display()
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_string_lossy().into_owned()
}

#[test]
fn a_logging_program_gets_both_streams() {
    let mut pod = Pod::new(&["sh", "-c", "echo one; echo two >&2"]);
    let program = logger(pod.directory(), "exec 5>&-");
    let stdio = Stdio { stdout: format!("binary://{program}?name=a%20b&flag"), ..Stdio::default() };
    pod.create(0, &stdio);
    pod.start(0, "").unwrap();
    pod.wait(0, "");
    pod.call("Delete", 0, "").unwrap();
    let log = pod.directory().join("logged");
    until("the program has ended", || fs::read_to_string(&log).unwrap_or_default().contains("ended"));
    let text = fs::read_to_string(&log).unwrap();
    let expected = [
        "out: one".to_owned(),
        "err: two".to_owned(),
        format!("id {} in {} home none", pod.id(), pod.namespace()),
    ];
    for line in expected {
        assert!(text.lines().any(|found| found == line), "{line:?} in {text}");
    }
    assert!(text.contains("args name a b flag") || text.contains("args flag name a b"), "{text}");
}

#[test]
fn a_logging_program_that_is_never_ready_fails_the_create() {
    if !pod::is_ours() {
        skip!("needs Corten's shim: binary-v2 is new");
    }
    let mut pod = Pod::new(&["true"]);
    let program = logger(pod.directory(), "exit 0");
    let stdio = Stdio { stdout: format!("binary-v2://{program}"), ..Stdio::default() };
    let stream = pod.send_create(0, &stdio);
    let failed = pod.client.answer(stream).unwrap_err();
    assert!(failed.text.contains("without being ready"), "{failed:?}");
    let stdio = Stdio { stdout: "binary:///no/such/logger".into(), ..Stdio::default() };
    let stream = pod.send_create(0, &stdio);
    let failed = pod.client.answer(stream).unwrap_err();
    assert!(failed.text.contains("/no/such/logger"), "{failed:?}");
    // By byte it is ready.
    let program = logger(pod.directory(), "printf x >&5; exec 5>&-");
    let stdio = Stdio { stdout: format!("binary-v2://{program}"), ..Stdio::default() };
    pod.create(0, &stdio);
}

/// One that does not look at its input, for processes that come to nothing: a container that cannot be made,
/// an exec that cannot be started.
#[test]
fn a_logging_program_does_not_outlive_what_was_never_started() {
    let mut pod = Pod::new(&["/no/such/program"]);
    let number = pod.add(&["sleep", "600"], |_| {});
    pod.run(number);
    let pids = pod.directory().join("pids");
    let program = pod.directory().join("logger");
    let script = format!("#!/bin/sh\necho $$ >> {}\nexec 5>&-\nexec sleep 200\n", pids.display());
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let stdio = Stdio { stdout: format!("binary://{}", program.display()), ..Stdio::default() };
    let stream = pod.send_create(0, &stdio);
    if pod.client.answer(stream).is_ok() {
        skip!("needs a runtime that looks for the program in create");
    }
    pod.exec(number, "e", &["/no/such/program"], &stdio).unwrap();
    pod.start(number, "e").unwrap_err();
    let text = fs::read_to_string(&pids).unwrap();
    assert_eq!(text.lines().count(), 2);
    for pid in text.lines() {
        until("it is gone", || !host::alive(pid.parse().unwrap()));
    }
}

#[test]
fn a_terminals_output_goes_to_a_logging_program_too() {
    let mut pod = Pod::with(&["sh", "-c", "echo from the terminal"], |config| {
        config["process"]["terminal"] = true.into()
    });
    let program = logger(pod.directory(), "exec 5>&-");
    let stdio = Stdio { stdout: format!("binary://{program}"), terminal: true, ..Stdio::default() };
    pod.create(0, &stdio);
    pod.start(0, "").unwrap();
    pod.wait(0, "");
    pod.call("Delete", 0, "").unwrap();
    let log = pod.directory().join("logged");
    until("it is logged", || fs::read_to_string(&log).unwrap_or_default().contains("out: from the terminal"));
}

#[test]
fn other_schemes_are_refused() {
    let mut pod = Pod::new(&["true"]);
    let stdio = Stdio { stdout: "carrier-pigeon:///x".into(), ..Stdio::default() };
    let stream = pod.send_create(0, &stdio);
    let failed = pod.client.answer(stream).unwrap_err();
    assert!(failed.text.contains("unknown STDIO scheme carrier-pigeon"), "{failed:?}");
}

#[test]
fn another_user_can_open_its_stdout_again() {
    let script = "echo first; echo second > /dev/stdout; echo third > /proc/self/fd/1";
    let mut pod = Pod::with(&["sh", "-c", script], |config| {
        config["process"]["user"] = serde_json::json!({ "uid": 1000, "gid": 1000 });
    });
    let options = Writer::new()
        .number(4, 1000)
        .number(5, 1000)
        .text(6, &std::env::var("SHIM_RUNTIME").unwrap_or_default())
        .text(7, &pod.directory().join("state").to_string_lossy());
    pod.options = Writer::any("containerd.runc.v1.Options", &options.done());
    let stdio = Stdio { stdin: String::new(), ..Stdio::fifos(pod.directory(), "init") };
    let (out, err) = (Output::of(&stdio.stdout), Output::of(&stdio.stderr));
    pod.create(0, &stdio);
    pod.start(0, "").unwrap();
    pod.wait(0, "");
    pod.call("Delete", 0, "").unwrap();
    assert_eq!((out.end().as_str(), err.end().as_str()), ("first\nsecond\nthird\n", ""));
}

#[test]
fn a_full_log_that_nobody_reads_stops_nothing() {
    let mut pod = Pod::new(&["sleep", "600"]);
    let container = pod.containers[0].clone();
    let mut log = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(container.bundle.join("log"))
        .unwrap();
    // To the last byte: what is written at once goes in whole or not at all.
    for size in [4096, 1] {
        while log.write(&vec![b'x'; size]).is_ok() {}
    }
    pod.run(0);
    let shim = pod.shim_pid();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(shim), nix::sys::signal::Signal::SIGUSR1).unwrap();
    for _ in 0..20 {
        assert_eq!(pod.state(0, ""), 2);
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(!proc::nul_separated(&format!("/proc/{shim}/cmdline")).is_empty());
}

/// What shims were complained about, and that the tests would notice it in this one.
#[test]
fn each_fault_is_noticed() {
    integration::shim::weakened::each_is_noticed(&[
        (
            "output is lost or its writer dies when containerd is restarted",
            "output_survives_the_restart_of_its_reader",
            "reader",
        ),
        (
            "logging programs of containers that never were stay",
            "a_logging_program_does_not_outlive_what_was_never_started",
            "logger",
        ),
        ("a log that nobody reads stops the shim", "a_full_log_that_nobody_reads_stops_nothing", "log"),
        (
            "a reader that stands still stops the whole pod",
            "a_reader_that_stands_still_holds_up_its_own_stream_only",
            "other-streams",
        ),
        (
            "a process in the background holds the Delete up",
            "a_process_left_in_the_background_does_not_hold_up_delete",
            "drain",
        ),
    ]);
}
