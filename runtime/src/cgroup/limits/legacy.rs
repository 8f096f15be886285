//! The table of cgroup v1: each field of `linux.resources` and the file that it goes to
//! (Documentation/admin-guide/cgroup-v1).

use super::super::error::Result;
use super::unified::{check_page_size, check_weight, rdma};
use super::{Missing, Setting, Shape, invalid};
use crate::spec::{BlockIo, Cpu, Memory, Resources};

/// The writes for those controllers that `wanted` accepts. `update` says that the cgroup may hold other values already,
/// so that even a default must be written.
///
/// # Errors
/// Values out of range.
pub(in super::super) fn table(
    resources: &Resources,
    update: bool,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<Vec<Setting>> {
    let mut settings = Vec::new();
    if let Some(cpu) = &resources.cpu {
        if wanted("cpuset") {
            cpuset(cpu, &mut settings);
        }
        if wanted("cpu") {
            cpu_times(cpu, &mut settings);
        }
    }
    if let Some(memory) = resources.memory.as_ref().filter(|_| wanted("memory")) {
        memory_limits(memory, update, &mut settings)?;
    }
    if let Some(limit) = resources.pids.as_ref().and_then(|pids| pids.limit).filter(|_| wanted("pids")) {
        let value = if limit < 0 { "max".to_owned() } else { limit.to_string() };
        settings.push(Setting::new("linux.resources.pids.limit", limit, "pids", "pids.max", value));
    }
    if let Some(io) = resources.block_io.as_ref().filter(|_| wanted("blkio")) {
        blkio(io, &mut settings)?;
    }
    if wanted("hugetlb") {
        hugetlb(resources, &mut settings)?;
    }
    network(resources, wanted, &mut settings);
    if wanted("rdma") {
        rdma(resources, &mut settings)?;
    }
    Ok(settings)
}

fn cpuset(cpu: &Cpu, settings: &mut Vec<Setting>) {
    for (field, value, file) in [
        ("linux.resources.cpu.cpus", &cpu.cpus, "cpuset.cpus"),
        ("linux.resources.cpu.mems", &cpu.mems, "cpuset.mems"),
    ] {
        if !value.is_empty() {
            settings.push(Setting::new(field, value, "cpuset", file, value.as_str()));
        }
    }
}

fn cpu_times(cpu: &Cpu, settings: &mut Vec<Setting>) {
    if let Some(shares) = cpu.shares.filter(|shares| *shares != 0) {
        settings.push(
            Setting::new("linux.resources.cpu.shares", shares, "cpu", "cpu.shares", shares.to_string())
                .shape(Shape::Clamped),
        );
    }
    let number = |value: Option<u64>| value.filter(|value| *value != 0).map(|value| value.to_string());
    let signed = |value: Option<i64>| value.filter(|value| *value != 0).map(|value| value.to_string());
    for (field, value, file, group) in [
        ("linux.resources.cpu.period", number(cpu.period), "cpu.cfs_period_us", "cfs"),
        ("linux.resources.cpu.burst", cpu.burst.map(|burst| burst.to_string()), "cpu.cfs_burst_us", "cfs"),
        ("linux.resources.cpu.quota", signed(cpu.quota), "cpu.cfs_quota_us", "cfs"),
        ("linux.resources.cpu.idle", cpu.idle.map(|idle| idle.to_string()), "cpu.idle", "idle"),
        ("linux.resources.cpu.realtimePeriod", number(cpu.realtime_period), "cpu.rt_period_us", "rt"),
        ("linux.resources.cpu.realtimeRuntime", signed(cpu.realtime_runtime), "cpu.rt_runtime_us", "rt"),
    ] {
        if let Some(value) = value {
            settings.push(Setting::new(field, &value, "cpu", file, value.clone()).group(group));
        }
    }
}

fn memory_limits(memory: &Memory, update: bool, settings: &mut Vec<Setting>) -> Result<()> {
    let limit = memory.limit.filter(|limit| *limit != 0);
    let mut swap = memory.swap.filter(|swap| *swap != 0);
    let mut swap_missing = Missing::Refuse;
    if limit == Some(-1) && swap.is_none() {
        // Unlimited memory without a word on swap means unlimited both.
        swap = Some(-1);
        swap_missing = Missing::Ignore;
    }
    for (field, value, file, missing) in [
        ("linux.resources.memory.limit", limit, "memory.limit_in_bytes", Missing::Refuse),
        ("linux.resources.memory.swap", swap, "memory.memsw.limit_in_bytes", swap_missing),
    ] {
        if let Some(value) = value {
            settings.push(
                Setting::new(field, value, "memory", file, value.to_string())
                    .missing(missing)
                    .group("memory"),
            );
        }
    }
    let other = |value: Option<i64>| value.filter(|value| *value != 0).map(|value| value.to_string());
    let flag = |value: Option<bool>| value.map(|value| u8::from(value).to_string());
    // The kernel ignores the limit on kernel memory since 5.16 and has no file for it since 6.12; a cgroup without
    // hierarchy is not possible since 5.11.
    for (field, value, file, missing) in [
        ("reservation", other(memory.reservation), "memory.soft_limit_in_bytes", Missing::Refuse),
        ("kernel", other(memory.kernel), "memory.kmem.limit_in_bytes", Missing::Ignore),
        ("kernelTCP", other(memory.kernel_tcp), "memory.kmem.tcp.limit_in_bytes", Missing::Ignore),
        ("useHierarchy", flag(memory.use_hierarchy), "memory.use_hierarchy", Missing::Ignore),
    ] {
        if let Some(value) = value {
            let field = format!("linux.resources.memory.{field}");
            settings.push(Setting::new(field, &value, "memory", file, value.clone()).missing(missing));
        }
    }
    if let Some(disable) = memory.disable_oom_killer.filter(|disable| *disable || update) {
        let (field, value) = ("linux.resources.memory.disableOOMKiller", u8::from(disable).to_string());
        settings.push(
            Setting::new(field, disable, "memory", "memory.oom_control", value)
                .shape(Shape::Named("oom_kill_disable")),
        );
    }
    if let Some(swappiness) = memory.swappiness {
        let field = "linux.resources.memory.swappiness";
        if swappiness > 100 {
            return Err(invalid(field, swappiness, "expected 0 to 100"));
        }
        settings.push(Setting::new(field, swappiness, "memory", "memory.swappiness", swappiness.to_string()));
    }
    Ok(())
}

fn blkio(io: &BlockIo, settings: &mut Vec<Setting>) -> Result<()> {
    let weighted =
        |field: String, asked: String, file: &'static str, bfq: &'static str, value: String, shape: Shape| {
            Setting::new(field.clone(), &asked, "blkio", file, value.clone())
                .shape(shape.clone())
                .otherwise(Setting::new(field, asked, "blkio", bfq, value).shape(shape))
        };
    if let Some(weight) = io.weight.filter(|weight| *weight != 0) {
        let field = "linux.resources.blockIO.weight".to_owned();
        check_weight(&field, weight)?;
        let value = weight.to_string();
        settings.push(weighted(field, value.clone(), "blkio.weight", "blkio.bfq.weight", value, Shape::Flat));
    }
    if let Some(weight) = io.leaf_weight.filter(|weight| *weight != 0) {
        let field = "linux.resources.blockIO.leafWeight";
        check_weight(field, weight)?;
        settings.push(Setting::new(field, weight, "blkio", "blkio.leaf_weight", weight.to_string()));
    }
    for (index, device) in io.weight_device.iter().enumerate() {
        let key = format!("{}:{}", device.major, device.minor);
        let shape = Shape::Keyed { key: key.clone(), absent: "0" };
        if let Some(weight) = device.weight.filter(|weight| *weight != 0) {
            let field = format!("linux.resources.blockIO.weightDevice[{index}].weight");
            check_weight(&field, weight)?;
            let value = format!("{key} {weight}");
            let (file, bfq) = ("blkio.weight_device", "blkio.bfq.weight_device");
            settings.push(weighted(field, value.clone(), file, bfq, value, shape.clone()));
        }
        if let Some(weight) = device.leaf_weight.filter(|weight| *weight != 0) {
            let field = format!("linux.resources.blockIO.weightDevice[{index}].leafWeight");
            check_weight(&field, weight)?;
            let value = format!("{key} {weight}");
            settings.push(
                Setting::new(field, &value, "blkio", "blkio.leaf_weight_device", value.clone()).shape(shape),
            );
        }
    }
    for (name, devices, file) in [
        ("throttleReadBpsDevice", &io.throttle_read_bps_device, "blkio.throttle.read_bps_device"),
        ("throttleWriteBpsDevice", &io.throttle_write_bps_device, "blkio.throttle.write_bps_device"),
        ("throttleReadIOPSDevice", &io.throttle_read_iops_device, "blkio.throttle.read_iops_device"),
        ("throttleWriteIOPSDevice", &io.throttle_write_iops_device, "blkio.throttle.write_iops_device"),
    ] {
        for (index, device) in devices.iter().enumerate() {
            let field = format!("linux.resources.blockIO.{name}[{index}]");
            let key = format!("{}:{}", device.major, device.minor);
            let value = format!("{key} {}", device.rate);
            let shape = Shape::Keyed { key, absent: "0" };
            settings.push(Setting::new(field, &value, "blkio", file, value.clone()).shape(shape));
        }
    }
    Ok(())
}

fn hugetlb(resources: &Resources, settings: &mut Vec<Setting>) -> Result<()> {
    for (index, page) in resources.hugepage_limits.iter().enumerate() {
        let field = format!("linux.resources.hugepageLimits[{index}]");
        check_page_size(&field, &page.page_size)?;
        let asked = format!("{} {}", page.page_size, page.limit);
        for (suffix, missing) in
            [("limit_in_bytes", Missing::Refuse), ("rsvd.limit_in_bytes", Missing::Ignore)]
        {
            let file = format!("hugetlb.{}.{suffix}", page.page_size);
            settings.push(
                Setting::new(field.clone(), &asked, "hugetlb", file, page.limit.to_string()).missing(missing),
            );
        }
    }
    Ok(())
}

fn network(resources: &Resources, wanted: &dyn Fn(&str) -> bool, settings: &mut Vec<Setting>) {
    let Some(network) = &resources.network else { return };
    if let Some(class) = network.class_id.filter(|class| *class != 0 && wanted("net_cls")) {
        settings.push(Setting::new(
            "linux.resources.network.classID",
            class,
            "net_cls",
            "net_cls.classid",
            class.to_string(),
        ));
    }
    if wanted("net_prio") {
        for (index, interface) in network.priorities.iter().enumerate() {
            let field = format!("linux.resources.network.priorities[{index}]");
            let value = format!("{} {}", interface.name, interface.priority);
            let shape = Shape::Keyed { key: interface.name.clone(), absent: "0" };
            settings.push(
                Setting::new(field, &value, "net_prio", "net_prio.ifpriomap", value.clone()).shape(shape),
            );
        }
    }
}
