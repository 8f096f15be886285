//! Proof that the attacks are attacks: each test fails when the protection it is about is gone.
//!
//! The runtime without it is Corten with one protection off (a switch that only debug builds have, see its
//! `weak` module), a release of runc or crun that is known to be affected, or a script around Corten that
//! does what another runtime did. Against Corten as it is each of them passes.

use integration::rootfs;
use integration::runtime::{built, runtime};
use integration::skip;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

/// A runtime that is worse than Corten.
enum Worse {
    /// Corten without one protection.
    Without(&'static str),
    /// A program of the host, if it is of this version.
    Known(&'static str, &'static str),
    /// Shell commands before Corten is run; `$bundle` is the bundle.
    Script(&'static str),
}

use Worse::{Known, Script, Without};

const RUNC: Worse = Known("runc", "runc version 1.1.5");
const CRUN: Worse = Known("crun", "crun version 1.8.1");
/// Dies, where it should have said what is wrong.
const CRASHING: Worse = Script("kill -SEGV $$");

/// Every attack, and a runtime on which it succeeds.
const ATTACKS: &[(&str, Worse)] = &[
    ("descriptors::a_container_that_executes_the_runtime_gets_a_sealed_one", Without("seal")),
    ("descriptors::a_created_container_keeps_nothing_of_the_host_open", Without("descriptors")),
    ("descriptors::a_file_that_is_read_is_not_given_away", Without("read-file")),
    ("descriptors::a_neighbour_cannot_overwrite_the_runtime", Without("seal")),
    (
        "descriptors::a_neighbour_finds_nothing_of_the_host_in_a_container_that_joins_it",
        Without("appear-late"),
    ),
    ("descriptors::a_neighbour_finds_nothing_of_the_host_in_an_exec", Without("descriptors")),
    ("descriptors::a_neighbour_without_privilege_sees_no_process_of_the_runtime", Without("dumpable")),
    ("descriptors::a_working_directory_is_never_one_of_the_hosts", Without("cwd")),
    ("descriptors::a_working_directory_of_an_exec_is_never_one_of_the_hosts", CRUN),
    ("descriptors::an_executed_program_has_its_standard_streams_alone", Without("descriptors")),
    ("descriptors::hooks_have_their_standard_streams_alone", Without("descriptors")),
    ("descriptors::the_program_has_its_standard_streams_alone", Without("descriptors")),
    ("host::a_bind_with_a_namespace_below_is_the_right_tree_or_refused", Without("tree")),
    ("host::a_namespace_of_the_host_is_not_one_of_the_containers", Without("own-namespace")),
    ("host::a_process_is_never_put_into_another_containers_cgroup", Without("cgroup")),
    ("host::a_restore_mounts_nothing_that_an_image_asks_for", Script("echo x >> $bundle/host/file")),
    ("host::a_restore_takes_no_names_from_an_image", Without("names")),
    ("host::a_rootless_container_cannot_write_its_users_cgroup", Without("read-only")),
    ("host::a_setting_is_never_written_through_a_link", Without("procfs")),
    ("host::a_setting_is_never_written_to_a_false_proc", Without("procfs")),
    (
        "host::an_annotation_makes_nobody_write_into_the_root",
        Script("echo x >> $bundle/rootfs/.krun_config.json"),
    ),
    ("host::bpf_always_gets_its_full_size", RUNC),
    ("host::the_hosts_mounts_stay_as_they_are", Without("propagation")),
    ("host::the_hosts_mounts_stay_as_they_are_without_a_mount_namespace", RUNC),
    ("host::what_is_read_only_is_so_from_the_first_moment", Without("read-only")),
    ("identity::a_container_that_waits_has_no_more_than_its_program", Without("after-filter")),
    ("identity::a_label_is_applied_or_nothing_starts", Without("label")),
    ("identity::a_process_with_other_capabilities_is_never_dumpable", Without("dumpable")),
    ("identity::an_apparmor_profile_confines_every_program", Without("label")),
    ("identity::an_apparmor_profile_is_not_written_to_a_false_proc", Without("label")),
    ("identity::an_odd_user_is_never_root", RUNC),
    ("identity::every_program_is_as_confined_as_was_asked", Without("no-new-privileges")),
    ("identity::groups_of_the_caller_reach_no_program", Without("groups")),
    ("identity::hooks_have_the_mask_of_the_caller", Without("mask")),
    ("identity::no_capability_is_left_that_cannot_be_taken", RUNC),
    ("identity::no_program_has_the_keyring_of_the_caller", CRUN),
    ("identity::nothing_is_inheritable_that_was_not_asked_for", Without("inheritable")),
    ("input::conditions_without_number", CRASHING),
    ("input::different_entries_without_number", CRASHING),
    ("input::files_that_never_answer_are_refused", CRASHING),
    ("input::id_maps_of_thousands_of_lines", CRASHING),
    ("input::json_that_is_deep", CRASHING),
    ("input::json_that_is_huge", CRASHING),
    ("input::lists_of_every_kind_without_number", CRASHING),
    ("input::mounts_without_number", CRASHING),
    ("input::namespace_paths_of_any_length", CRASHING),
    ("input::variables_without_number", CRASHING),
    ("kernel::a_filter_that_refuses_a_call_weakens_nothing", Without("no-new-privileges")),
    ("kernel::a_kernel_that_does_not_know_a_call_weakens_nothing", Without("no-new-privileges")),
    ("live::a_mask_is_never_what_is_unmounted", Without("links")),
    ("live::a_source_is_never_looked_for_in_the_container", Without("sources")),
    ("live::an_executed_program_has_the_containers_root_without_a_mount_namespace", Without("root")),
    ("live::an_executed_program_never_has_the_hosts_null_device", CRUN),
    ("races::a_destination_that_is_swapped_stays_in_the_root", Without("in-root")),
    ("races::a_dev_that_is_swapped_changes_nothing_outside", Without("in-root")),
    ("races::a_device_that_is_swapped_changes_nothing_outside", Without("node")),
    ("races::a_setting_never_goes_to_a_proc_that_is_swapped", Without("procfs")),
    ("races::a_variable_of_an_executed_program_is_seen_by_nobody_else", Without("arguments")),
    ("races::a_volume_that_another_container_changes_leads_nowhere", Without("in-root")),
    ("races::nothing_is_made_outside_while_names_are_swapped", Without("in-root")),
    ("races::what_is_hidden_stays_hidden_under_another_name", Without("covered")),
    ("rootfs::a_console_is_never_made_through_a_link", Without("console")),
    ("rootfs::a_mask_by_a_way_around_hides_what_it_names", Without("dots")),
    ("rootfs::a_mask_does_not_open_the_kernels_settings", Without("masks")),
    ("rootfs::a_mask_is_never_the_images_own_null_device", Without("masks")),
    ("rootfs::a_mount_of_control_groups_stays_in_the_root", Without("dots")),
    ("rootfs::a_mount_on_a_link_stays_in_the_root", Without("in-root")),
    ("rootfs::a_mount_through_a_link_stays_in_the_root", Without("in-root")),
    ("rootfs::a_terminal_comes_from_a_true_devpts", Without("console")),
    ("rootfs::a_working_directory_through_a_link_stays_in_the_root", Without("in-root")),
    ("rootfs::dev_as_a_link_to_the_host", Without("in-root")),
    ("rootfs::dev_as_a_link_to_the_host_that_is_mounted_on", RUNC),
    ("rootfs::names_of_destinations_may_be_anything", Without("in-root,dots")),
    ("rootfs::names_that_a_runtime_looks_for_may_be_anything", Without("in-root")),
    ("rootfs::proc_and_sys_as_links_are_refused", Without("links")),
    ("rootfs::proc_and_sys_as_links_to_the_host", Without("links")),
    ("rootfs::standard_streams_are_never_the_images_own_null_device", Without("null")),
    ("users::a_keyring_of_somebody_else_is_not_joined", RUNC),
    ("users::a_pid_file_is_never_written_through_a_link", CRUN),
    ("users::what_is_kept_of_a_container_is_for_nobody_else", Without("private")),
];

/// A `/dev` that is not the host's, for a program that may well change it.
const OWN_DEV: &str = "d=$(mktemp -d) && mount -t tmpfs -o mode=755 tmpfs $d && mkdir $d/pts $d/shm \
    && cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /dev/console /dev/ptmx $d \
    && ln -s /proc/self/fd $d/fd && mount --rbind /dev/pts $d/pts && mount --rbind /dev/shm $d/shm \
    && mount --move $d /dev && rmdir $d && exec \"$@\"";

/// A test of this program against another runtime. What that does to the devices of the host, other tests do
/// not see.
fn try_against(test: &str, path: &PathBuf, weakened: &str) -> Output {
    let own = std::env::current_exe().unwrap();
    let mut command = if test.starts_with("rootfs::") || test.starts_with("races::") {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "slave", "sh", "-c", OWN_DEV, "sh"]).arg(own);
        command
    } else {
        Command::new(own)
    };
    command.args(["--exact", test, "--nocapture"]).env("RUNTIME", path).env("CORTEN_WEAKEN", weakened);
    let output = command.output().unwrap();
    // A failure has to be that of the test, not one of what surrounds it.
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("test result: "), "{test}: {output:?}");
    output
}

fn module_of(test: &str) -> &str {
    test.split_once("::").map_or(test, |(module, _)| module)
}

/// The runtime under test under another name: what is attacked is a copy.
fn copy(module: &str) -> PathBuf {
    let path = rootfs::base().join(format!("corten-weakened-{module}"));
    fs::copy(&runtime().path, &path).unwrap();
    path
}

/// A program that does a few things and then is Corten, whose version it tells.
fn script(number: usize, commands: &str) -> PathBuf {
    let path = rootfs::base().join(format!("script-{number}"));
    let real = runtime().path.display();
    let text = format!(
        "#!/bin/sh\nfor word; do [ \"$before\" = --bundle ] && bundle=$word; before=$word; done\n\
         if [ \"$1\" != --version ] && [ -n \"$bundle\" ]; then {commands}; fi\nexec {real} \"$@\"\n"
    );
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Where a program of the host is, if it is the one that is known to be affected.
fn known(name: &str, version: &str) -> Option<PathBuf> {
    let paths = ["/usr/sbin", "/usr/bin"].map(|directory| PathBuf::from(directory).join(name));
    let path = paths.into_iter().find(|path| path.is_file())?;
    let output = Command::new(&path).arg("--version").output().ok()?;
    String::from_utf8_lossy(&output.stdout).starts_with(version).then_some(path)
}

/// How many more times a race that was lost is run.
const RACES: usize = 8;

/// Each attack of a module succeeds on a worse runtime: a test a module, so that they go on beside each other.
macro_rules! proofs {
    ($($module:ident),+) => {
        const MODULES: &[&str] = &[$(stringify!($module)),+];
        $(#[test]
        fn $module() {
            each_succeeds(stringify!($module));
        })+
    };
}

proofs!(descriptors, host, identity, input, kernel, live, races, rootfs, users);

fn each_succeeds(module: &str) {
    if !runtime().is_ours() || std::env::var_os("CORTEN_WEAKEN").is_some() {
        skip!("needs Corten itself");
    }
    let own = copy(module);
    let (mut unnoticed, mut missing) = (Vec::new(), Vec::new());
    // Where only some of them can succeed, such as those that need a security module:
    // `PROOFS=identity::an_apparmor`.
    let wanted = std::env::var("PROOFS").unwrap_or_default();
    assert!(ATTACKS.iter().any(|(test, _)| test.starts_with(&wanted)), "there is no attack {wanted}");
    let is_wanted = |test: &str| module_of(test) == module && test.starts_with(&wanted);
    let attacks: Vec<_> = ATTACKS.iter().enumerate().filter(|(_, (test, _))| is_wanted(test)).collect();
    if attacks.is_empty() {
        skip!("needs an attack that PROOFS={wanted} names");
    }
    for (number, (test, worse)) in attacks {
        let began = std::time::Instant::now();
        let (path, protection) = match worse {
            Without(protection) => (own.clone(), *protection),
            Script(commands) => (script(number, commands), ""),
            Known(name, version) => match known(name, version) {
                Some(path) => (path, ""),
                None => {
                    missing.push(*version);
                    continue;
                }
            },
        };
        // What fails against Corten itself shows nothing.
        let control = try_against(test, &own, "");
        if !control.status.success() {
            unnoticed.push(format!("{test}, which fails with nothing off, too"));
            continue;
        }
        let mut output = try_against(test, &path, protection);
        // A race is not won each time: that it can be won is what is to be shown.
        let tries = if test.starts_with("races::") { RACES } else { 0 };
        for _ in 0..tries {
            if !output.status.success() {
                break;
            }
            output = try_against(test, &path, protection);
        }
        println!("{test}: {:?}", began.elapsed());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if said.contains("skipped:") {
            missing.push(*test);
        } else if output.status.success() {
            unnoticed.push((*test).to_owned());
        }
    }
    assert!(unnoticed.is_empty(), "not noticed by {unnoticed:#?}");
    if !missing.is_empty() {
        skip!("needs, for some of the proofs, {missing:?}");
    }
}

#[test]
fn every_attack_has_a_proof() {
    let output = Command::new(std::env::current_exe().unwrap()).arg("--list").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    // What is no attack: these, the documents and the source.
    let others = ["weakened::", "security::", "inventory::"];
    let attack = |name: &&str| !others.iter().any(|other| name.starts_with(other));
    let all: Vec<&str> = text.lines().filter_map(|line| line.strip_suffix(": test")).filter(attack).collect();
    let proven: Vec<&str> = ATTACKS.iter().map(|(test, _)| *test).collect();
    let without: Vec<&&str> = all.iter().filter(|name| !proven.contains(name)).collect();
    assert!(without.is_empty(), "no proof for {without:#?}");
    let unseen: Vec<&&str> = proven.iter().filter(|name| !MODULES.contains(&module_of(name))).collect();
    assert!(unseen.is_empty(), "no test runs the proofs of {unseen:#?}");
    let gone: Vec<&&str> = proven.iter().filter(|name| !all.contains(name)).collect();
    assert!(gone.is_empty(), "proofs for tests that are not there: {gone:#?}");
}

/// The release builds in the target directory of this test: those against glibc and musl.
fn releases() -> Vec<PathBuf> {
    let own = std::env::current_exe().unwrap();
    let musl = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    let mut folders: Vec<PathBuf> =
        own.ancestors().skip(3).take(2).map(|above| above.join("release")).collect();
    folders.push(own.ancestors().nth(4).unwrap().join(musl).join("release"));
    let programs = ["corten", "containerd-shim-corten-v2"];
    let all = folders.iter().flat_map(|folder| programs.map(|name| folder.join(name)));
    all.filter(|path| path.is_file()).collect()
}

/// A release cannot be weakened: it does not know the name of the switch.
#[test]
fn a_release_has_no_switch() {
    let releases = releases();
    // Where the tests have been told that there is one: see `budget.rs`.
    if std::env::var_os("BUDGET").is_some_and(|value| value == "required") {
        let musl = releases.iter().filter(|path| path.to_string_lossy().contains("-musl/"));
        assert_eq!(musl.count(), 2, "no release builds of corten and the shim against musl: {releases:?}");
    }
    if releases.is_empty() {
        skip!("needs a release build of corten");
    }
    let has = |path: &PathBuf| {
        let (bytes, needle) = (fs::read(path).unwrap(), b"CORTEN_WEAKEN");
        bytes.windows(needle.len()).any(|window| window == needle)
    };
    // That it would be found: these are debug builds.
    assert!(!cfg!(debug_assertions) || has(&built("corten")));
    for path in releases {
        assert!(!has(&path), "{} can be weakened", path.display());
    }
}
