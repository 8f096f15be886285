//! The table of cgroup v2: each field of `linux.resources` and the file that it goes to
//! (Documentation/admin-guide/cgroup-v2.rst).

use super::super::error::Result;
use super::convert::{cpu_weight, io_weight, swap_max};
use super::{Missing, Setting, Shape, invalid};
use crate::spec::{BlockIo, Cpu, Memory, Resources, ThrottleDevice, WeightDevice};

/// The prefix of fields that are file names themselves.
pub(in super::super) const FIELD: &str = "linux.resources.unified";

/// What holds now, for limits of an update that are computed from two fields of which only one is given. At create
/// time nothing does.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(in super::super) struct Now {
    /// memory.max in bytes, -1 for none; 0 when it is not known.
    pub(in super::super) memory: i64,
    /// memory.max plus memory.swap.max where both are limited; 0 otherwise.
    pub(in super::super) memory_swap: i64,
    /// The first word of cpu.max, as v1 writes it: -1 for none.
    pub(in super::super) quota: Option<i64>,
}

/// What to write, in order, and what this hierarchy has no way to do (for a warning).
#[derive(Debug, Default)]
pub(in super::super) struct Table {
    /// The writes.
    pub(in super::super) settings: Vec<Setting>,
    /// What was asked for and is left out, in words.
    pub(in super::super) ignored: Vec<String>,
}

/// The writes for those controllers that `wanted` accepts.
///
/// # Errors
/// Values that contradict one another, or that nothing on v2 could honour.
pub(in super::super) fn table(
    resources: &Resources,
    now: &Now,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<Table> {
    let mut table = Table::default();
    if let Some(limit) = resources.pids.as_ref().and_then(|pids| pids.limit).filter(|_| wanted("pids")) {
        let value = if limit < 0 { "max".to_owned() } else { limit.to_string() };
        table.add(Setting::new("linux.resources.pids.limit", limit, "pids", "pids.max", value));
    }
    if let Some(memory) = resources.memory.as_ref().filter(|_| wanted("memory")) {
        table.memory(memory, now)?;
    }
    if let Some(io) = resources.block_io.as_ref().filter(|_| wanted("io")) {
        table.io(io)?;
    }
    if let Some(cpu) = resources.cpu.as_ref() {
        if wanted("cpu") {
            table.cpu(cpu, now)?;
        }
        if wanted("cpuset") {
            table.cpuset(cpu);
        }
    }
    if wanted("hugetlb") {
        table.hugetlb(resources)?;
    }
    if wanted("rdma") {
        rdma(resources, &mut table.settings)?;
    }
    if let Some(network) = &resources.network {
        refuse("network.classID", network.class_id.filter(|id| *id != 0 && wanted("net_cls")), "net_cls")?;
        let first = network.priorities.first().filter(|_| wanted("net_prio"));
        refuse("network.priorities[0]", first.map(|one| &one.name), "net_prio")?;
    }
    table.files(resources)?;
    Ok(table)
}

impl Table {
    fn add(&mut self, setting: Setting) {
        self.settings.push(setting);
    }

    fn memory(&mut self, memory: &Memory, now: &Now) -> Result<()> {
        let limit = memory.limit.unwrap_or(0);
        let given = memory.swap.unwrap_or(0);
        // The total that was asked for earlier stays when the limit moves below it.
        let total = if given == 0 && limit > 0 { now.memory_swap } else { given };
        let asked = if given == 0 { limit } else { given };
        if let Some(swap) = swap_max(total, if limit == 0 { now.memory } else { limit })? {
            let value = bytes("linux.resources.memory.swap", swap)?;
            // Without swap accounting there is no swap to limit, and none to forbid.
            let missing =
                if matches!(value.as_str(), "max" | "0") { Missing::Ignore } else { Missing::Refuse };
            self.add(
                Setting::new("linux.resources.memory.swap", asked, "memory", "memory.swap.max", value)
                    .missing(missing),
            );
        }
        for (field, value, file) in [
            ("linux.resources.memory.limit", memory.limit, "memory.max"),
            ("linux.resources.memory.reservation", memory.reservation, "memory.low"),
        ] {
            if let Some(value) = value.filter(|value| *value != 0) {
                self.add(Setting::new(field, value, "memory", file, bytes(field, value)?));
            }
        }
        refuse("memory.swappiness", memory.swappiness, "memory.swappiness")?;
        refuse(
            "memory.disableOOMKiller",
            memory.disable_oom_killer.filter(|disable| *disable),
            "memory.oom_control",
        )?;
        refuse(
            "memory.useHierarchy",
            memory.use_hierarchy.filter(|hierarchy| !hierarchy),
            "memory.use_hierarchy",
        )?;
        for (field, value) in [("kernel", memory.kernel), ("kernelTCP", memory.kernel_tcp)] {
            if value.is_some_and(|value| value != 0) {
                // The specification advises against them, and runtimes have ignored them for years.
                self.ignored.push(format!(
                    "linux.resources.memory.{field} is ignored: cgroup v2 counts kernel memory with the rest"
                ));
            }
        }
        Ok(())
    }

    fn cpu(&mut self, cpu: &Cpu, now: &Now) -> Result<()> {
        let runtime = cpu.realtime_runtime.filter(|runtime| *runtime != 0);
        refuse("cpu.realtimeRuntime", runtime, "cpu.rt_runtime_us")?;
        let period = cpu.realtime_period.filter(|period| *period != 0);
        refuse("cpu.realtimePeriod", period, "cpu.rt_period_us")?;
        if let Some(idle) = cpu.idle {
            self.add(Setting::new("linux.resources.cpu.idle", idle, "cpu", "cpu.idle", idle.to_string()));
        }
        if let Some(shares) = cpu.shares.filter(|shares| *shares != 0) {
            // The kernel refuses a weight while the group is idle.
            if cpu.idle == Some(1) {
                self.ignored.push(
                    "unable to apply both cpu.shares and cpu.idle, ignoring linux.resources.cpu.shares"
                        .to_owned(),
                );
            } else {
                let weight = cpu_weight(shares).to_string();
                self.add(Setting::new("linux.resources.cpu.shares", shares, "cpu", "cpu.weight", weight));
            }
        }
        if let Some(burst) = cpu.burst {
            self.add(
                Setting::new("linux.resources.cpu.burst", burst, "cpu", "cpu.max.burst", burst.to_string())
                    .group("cpu.max"),
            );
        }
        self.settings.extend(quota(cpu, now));
        Ok(())
    }

    fn cpuset(&mut self, cpu: &Cpu) {
        for (field, value, file) in [
            ("linux.resources.cpu.cpus", &cpu.cpus, "cpuset.cpus"),
            ("linux.resources.cpu.mems", &cpu.mems, "cpuset.mems"),
        ] {
            if !value.is_empty() {
                self.add(Setting::new(field, value, "cpuset", file, value.as_str()));
            }
        }
    }

    fn io(&mut self, io: &BlockIo) -> Result<()> {
        if let Some(weight) = io.weight.filter(|weight| *weight != 0) {
            check_weight("linux.resources.blockIO.weight", weight)?;
            let field = "linux.resources.blockIO.weight";
            let converted = Setting::new(field, weight, "io", "io.weight", io_weight(weight).to_string())
                .shape(keyed("default"));
            self.add(
                Setting::new(field, weight, "io", "io.bfq.weight", weight.to_string())
                    .shape(keyed("default"))
                    .otherwise(converted),
            );
        }
        for (index, device) in io.weight_device.iter().enumerate() {
            self.weight_device(index, device)?;
        }
        refuse("blockIO.leafWeight", io.leaf_weight.filter(|weight| *weight != 0), "blkio.leaf_weight")?;
        for (name, devices, key) in [
            ("throttleReadBpsDevice", &io.throttle_read_bps_device, "rbps"),
            ("throttleWriteBpsDevice", &io.throttle_write_bps_device, "wbps"),
            ("throttleReadIOPSDevice", &io.throttle_read_iops_device, "riops"),
            ("throttleWriteIOPSDevice", &io.throttle_write_iops_device, "wiops"),
        ] {
            for (index, ThrottleDevice { major, minor, rate }) in devices.iter().enumerate() {
                // v1 takes 0 for "no limit", v2 refuses it.
                let limit = if *rate == 0 { "max".to_owned() } else { rate.to_string() };
                let field = format!("linux.resources.blockIO.{name}[{index}]");
                let device = format!("{major}:{minor}");
                let value = format!("{device} {key}={limit}");
                self.add(
                    Setting::new(field, format!("{device} {rate}"), "io", "io.max", value)
                        .shape(Shape::Keyed { key: device, absent: "rbps=max wbps=max riops=max wiops=max" }),
                );
            }
        }
        Ok(())
    }

    fn weight_device(&mut self, index: usize, device: &WeightDevice) -> Result<()> {
        let field = format!("linux.resources.blockIO.weightDevice[{index}]");
        let leaf = format!("blockIO.weightDevice[{index}].leafWeight");
        refuse(&leaf, device.leaf_weight.filter(|weight| *weight != 0), "blkio.leaf_weight_device")?;
        let Some(weight) = device.weight.filter(|weight| *weight != 0) else { return Ok(()) };
        check_weight(&field, weight)?;
        let key = format!("{}:{}", device.major, device.minor);
        let asked = format!("{key} {weight}");
        let converted =
            Setting::new(field.clone(), &asked, "io", "io.weight", format!("{key} {}", io_weight(weight)))
                .shape(keyed(&key));
        self.add(
            Setting::new(field, &asked, "io", "io.bfq.weight", asked.clone())
                .shape(keyed(&key))
                .otherwise(converted),
        );
        Ok(())
    }

    fn hugetlb(&mut self, resources: &Resources) -> Result<()> {
        for (index, page) in resources.hugepage_limits.iter().enumerate() {
            let field = format!("linux.resources.hugepageLimits[{index}]");
            check_page_size(&field, &page.page_size)?;
            let asked = format!("{} {}", page.page_size, page.limit);
            for (suffix, missing) in [("max", Missing::Refuse), ("rsvd.max", Missing::Ignore)] {
                let file = format!("hugetlb.{}.{suffix}", page.page_size);
                self.add(
                    Setting::new(field.clone(), &asked, "hugetlb", file, page.limit.to_string())
                        .missing(missing),
                );
            }
        }
        Ok(())
    }

    /// `linux.resources.unified`: file names and what to write into them, line by line.
    fn files(&mut self, resources: &Resources) -> Result<()> {
        for (file, value) in &resources.unified {
            let field = format!("{FIELD}[{file:?}]");
            let controller = match file.split_once('.') {
                Some((controller, _)) if !controller.is_empty() && !file.contains('/') => {
                    controller.to_owned()
                }
                _ => {
                    return Err(invalid(
                        field,
                        value,
                        "expected a file name of the form CONTROLLER.PARAMETER",
                    ));
                }
            };
            if matches!(file.as_str(), "cgroup.procs" | "cgroup.threads") {
                return Err(invalid(field, value, "moves processes of the host, and is no limit"));
            }
            for line in value.lines().filter(|line| !line.is_empty()) {
                let shape = match line.split_once(' ') {
                    // `8:0 rbps=1`, `default 50`, `mlx5_0 hca_handle=2` change the line of their key.
                    Some((key, rest)) if key == "default" || key.contains(':') || rest.contains('=') => {
                        Shape::Keyed { key: key.to_owned(), absent: absent_value(file) }
                    }
                    _ => Shape::Flat,
                };
                self.add(
                    Setting::new(field.clone(), line, controller.clone(), file.clone(), line).shape(shape),
                );
            }
        }
        Ok(())
    }
}

/// Refuses a field that only v1 has a file for: the specification asks for an error where a value is not supported.
fn refuse<T: ToString>(field: &str, value: Option<T>, v1: &str) -> Result<()> {
    match value {
        None => Ok(()),
        Some(value) => {
            let why = format!("cgroup v2 has nothing like {v1} of v1");
            Err(invalid(format!("linux.resources.{field}"), value, why))
        }
    }
}

/// The write for quota and period.
fn quota(cpu: &Cpu, now: &Now) -> Option<Setting> {
    let quota = cpu.quota.filter(|quota| *quota != 0);
    let period = cpu.period.filter(|period| *period != 0);
    let first = match quota.or(now.quota) {
        Some(quota) if quota > 0 => quota.to_string(),
        _ => "max".to_owned(),
    };
    let (field, asked, value) = match (quota, period) {
        (None, None) => return None,
        // Without a period the kernel keeps the one it has, 100000 µs in a new cgroup.
        (Some(quota), None) => ("linux.resources.cpu.quota", quota.to_string(), first),
        (None, Some(period)) => {
            ("linux.resources.cpu.period", period.to_string(), format!("{first} {period}"))
        }
        (Some(quota), Some(period)) => (
            "linux.resources.cpu.quota",
            format!("{quota} with period {period}"),
            format!("{first} {period}"),
        ),
    };
    Some(Setting::new(field, asked, "cpu", "cpu.max", value).group("cpu.max"))
}

/// What a key without a line means in a keyed file.
fn absent_value(file: &str) -> &'static str {
    match file {
        "io.max" => "rbps=max wbps=max riops=max wiops=max",
        "rdma.max" => "hca_handle=max hca_object=max",
        "io.latency" => "target=0",
        _ => "default",
    }
}

fn keyed(key: &str) -> Shape {
    Shape::Keyed { key: key.to_owned(), absent: "default" }
}

/// `linux.resources.rdma`: the same on v1 and v2.
pub(super) fn rdma(resources: &Resources, settings: &mut Vec<Setting>) -> Result<()> {
    for (device, limits) in &resources.rdma {
        let field = format!("linux.resources.rdma[{device:?}]");
        if device.is_empty() || device.contains(char::is_whitespace) {
            return Err(invalid(field, device, "expected the name of a device"));
        }
        let mut value = device.clone();
        for (name, limit) in [("hca_handle", limits.hca_handles), ("hca_object", limits.hca_objects)] {
            if let Some(limit) = limit {
                value = format!("{value} {name}={limit}");
            }
        }
        let shape = Shape::Keyed { key: device.clone(), absent: "hca_handle=max hca_object=max" };
        settings.push(Setting::new(field, &value, "rdma", "rdma.max", value.clone()).shape(shape));
    }
    Ok(())
}

/// A number of bytes; -1 is no limit.
fn bytes(field: &str, value: i64) -> Result<String> {
    match value {
        -1 => Ok("max".to_owned()),
        value if value < 0 => Err(invalid(field, value, "expected a number of bytes, or -1 for no limit")),
        value => Ok(value.to_string()),
    }
}

/// The range of `blkio.weight`.
pub(super) fn check_weight(field: &str, weight: u16) -> Result<()> {
    match weight {
        10..=1000 => Ok(()),
        _ => Err(invalid(field, weight, "expected 10 to 1000")),
    }
}

/// The size becomes part of a file name.
pub(super) fn check_page_size(field: &str, size: &str) -> Result<()> {
    let digits = size.trim_end_matches("KB").trim_end_matches("MB").trim_end_matches("GB");
    if digits.len() == size.len() || digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(invalid(format!("{field}.pageSize"), size, "expected a size such as 64KB, 2MB or 1GB"));
    }
    Ok(())
}
