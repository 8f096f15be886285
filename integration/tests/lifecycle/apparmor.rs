//! AppArmor: where the kernel has it, containers are confined; elsewhere nobody is refused who asks for the default.

use std::path::Path;

use integration::skip;

use super::{engine, hold};

const RUN: &str = "docker run --rm --network none";

#[test]
fn apparmor_confines_containers_where_it_is() {
    let Some(engine) = engine() else { return skip::say("needs docker") };
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled");
    if enabled.is_ok_and(|text| text.trim() == "Y") && Path::new("/sbin/apparmor_parser").exists() {
        let show = "busybox cat /proc/self/attr/current";
        let mount = "--cap-add SYS_ADMIN busybox mount -t tmpfs none /mnt";
        let unload = "echo 'profile corten-default { }' | apparmor_parser --remove";
        let confined = "corten-default (enforce)";
        let checks: &[(String, i32, &[&str])] = &[
            (format!("{RUN} {show}"), 0, &[confined]),
            // Also when somebody has unloaded it.
            (format!("{unload} && {RUN} --security-opt apparmor=docker-default {show}"), 0, &[confined]),
            (format!("{RUN} {mount}"), 255, &["Permission denied"]),
            (format!("{RUN} --security-opt apparmor=unconfined {mount}"), 0, &[]),
            (format!("{RUN} --privileged {show}"), 0, &["unconfined"]),
            ("docker run -d --name aa --network none busybox sleep 1000".into(), 0, &[]),
            (
                "docker inspect -f '{{.AppArmorProfile}}' aa; docker info".into(),
                0,
                &["corten-default", "apparmor"],
            ),
            ("docker exec aa cat /proc/self/attr/current".into(), 0, &[confined]),
            ("docker exec --privileged aa cat /proc/self/attr/current".into(), 0, &["unconfined"]),
            ("docker rm -f aa".into(), 0, &[]),
        ];
        return hold(&engine, checks);
    }
    let of = |option: &str| format!("{RUN} --security-opt {option} busybox echo ran");
    let checks: &[(String, i32, &[&str])] = &[
        (of("apparmor=docker-default"), 0, &["ran"]),
        (of("apparmor=unconfined"), 0, &["ran"]),
        (of("label=level:s0:c1"), 0, &["ran"]),
        (of("apparmor=another"), 125, &["process.apparmorProfile: "]),
    ];
    hold(&engine, checks);
    skip::say("that they are confined: needs AppArmor (integration/guest)");
}
