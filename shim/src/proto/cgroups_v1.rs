//! `io.containerd.cgroups.v1`: written by `proto/generate.py` from the published .proto files. Do not edit.

/// `io.containerd.cgroups.v1.Metrics`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Metrics {
    #[prost(message, repeated, tag = "1")]
    pub hugetlb: Vec<HugetlbStat>,
    #[prost(message, optional, tag = "2")]
    pub pids: Option<PidsStat>,
    #[prost(message, optional, tag = "3")]
    pub cpu: Option<CPUStat>,
    #[prost(message, optional, tag = "4")]
    pub memory: Option<MemoryStat>,
    #[prost(message, optional, tag = "5")]
    pub blkio: Option<BlkIOStat>,
    #[prost(message, optional, tag = "6")]
    pub rdma: Option<RdmaStat>,
    #[prost(message, repeated, tag = "7")]
    pub network: Vec<NetworkStat>,
    #[prost(message, optional, tag = "8")]
    pub cgroup_stats: Option<CgroupStats>,
    #[prost(message, optional, tag = "9")]
    pub memory_oom_control: Option<MemoryOomControl>,
}

/// `io.containerd.cgroups.v1.HugetlbStat`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HugetlbStat {
    #[prost(uint64, tag = "1")]
    pub usage: u64,
    #[prost(uint64, tag = "2")]
    pub max: u64,
    #[prost(uint64, tag = "3")]
    pub failcnt: u64,
    #[prost(string, tag = "4")]
    pub pagesize: String,
}

/// `io.containerd.cgroups.v1.PidsStat`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PidsStat {
    #[prost(uint64, tag = "1")]
    pub current: u64,
    #[prost(uint64, tag = "2")]
    pub limit: u64,
}

/// `io.containerd.cgroups.v1.CPUStat`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CPUStat {
    #[prost(message, optional, tag = "1")]
    pub usage: Option<CPUUsage>,
    #[prost(message, optional, tag = "2")]
    pub throttling: Option<Throttle>,
}

/// `io.containerd.cgroups.v1.CPUUsage`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CPUUsage {
    /// values in nanoseconds
    #[prost(uint64, tag = "1")]
    pub total: u64,
    #[prost(uint64, tag = "2")]
    pub kernel: u64,
    #[prost(uint64, tag = "3")]
    pub user: u64,
    #[prost(uint64, repeated, packed = "true", tag = "4")]
    pub per_cpu: Vec<u64>,
}

/// `io.containerd.cgroups.v1.Throttle`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Throttle {
    #[prost(uint64, tag = "1")]
    pub periods: u64,
    #[prost(uint64, tag = "2")]
    pub throttled_periods: u64,
    #[prost(uint64, tag = "3")]
    pub throttled_time: u64,
}

/// `io.containerd.cgroups.v1.MemoryStat`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MemoryStat {
    #[prost(uint64, tag = "1")]
    pub cache: u64,
    #[prost(uint64, tag = "2")]
    pub rss: u64,
    #[prost(uint64, tag = "3")]
    pub rss_huge: u64,
    #[prost(uint64, tag = "4")]
    pub mapped_file: u64,
    #[prost(uint64, tag = "5")]
    pub dirty: u64,
    #[prost(uint64, tag = "6")]
    pub writeback: u64,
    #[prost(uint64, tag = "7")]
    pub pg_pg_in: u64,
    #[prost(uint64, tag = "8")]
    pub pg_pg_out: u64,
    #[prost(uint64, tag = "9")]
    pub pg_fault: u64,
    #[prost(uint64, tag = "10")]
    pub pg_maj_fault: u64,
    #[prost(uint64, tag = "11")]
    pub inactive_anon: u64,
    #[prost(uint64, tag = "12")]
    pub active_anon: u64,
    #[prost(uint64, tag = "13")]
    pub inactive_file: u64,
    #[prost(uint64, tag = "14")]
    pub active_file: u64,
    #[prost(uint64, tag = "15")]
    pub unevictable: u64,
    #[prost(uint64, tag = "16")]
    pub hierarchical_memory_limit: u64,
    #[prost(uint64, tag = "17")]
    pub hierarchical_swap_limit: u64,
    #[prost(uint64, tag = "18")]
    pub total_cache: u64,
    #[prost(uint64, tag = "19")]
    pub total_rss: u64,
    #[prost(uint64, tag = "20")]
    pub total_rss_huge: u64,
    #[prost(uint64, tag = "21")]
    pub total_mapped_file: u64,
    #[prost(uint64, tag = "22")]
    pub total_dirty: u64,
    #[prost(uint64, tag = "23")]
    pub total_writeback: u64,
    #[prost(uint64, tag = "24")]
    pub total_pg_pg_in: u64,
    #[prost(uint64, tag = "25")]
    pub total_pg_pg_out: u64,
    #[prost(uint64, tag = "26")]
    pub total_pg_fault: u64,
    #[prost(uint64, tag = "27")]
    pub total_pg_maj_fault: u64,
    #[prost(uint64, tag = "28")]
    pub total_inactive_anon: u64,
    #[prost(uint64, tag = "29")]
    pub total_active_anon: u64,
    #[prost(uint64, tag = "30")]
    pub total_inactive_file: u64,
    #[prost(uint64, tag = "31")]
    pub total_active_file: u64,
    #[prost(uint64, tag = "32")]
    pub total_unevictable: u64,
    #[prost(message, optional, tag = "33")]
    pub usage: Option<MemoryEntry>,
    #[prost(message, optional, tag = "34")]
    pub swap: Option<MemoryEntry>,
    #[prost(message, optional, tag = "35")]
    pub kernel: Option<MemoryEntry>,
    #[prost(message, optional, tag = "36")]
    pub kernel_tcp: Option<MemoryEntry>,
}

/// `io.containerd.cgroups.v1.MemoryEntry`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MemoryEntry {
    #[prost(uint64, tag = "1")]
    pub limit: u64,
    #[prost(uint64, tag = "2")]
    pub usage: u64,
    #[prost(uint64, tag = "3")]
    pub max: u64,
    #[prost(uint64, tag = "4")]
    pub failcnt: u64,
}

/// `io.containerd.cgroups.v1.MemoryOomControl`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MemoryOomControl {
    #[prost(uint64, tag = "1")]
    pub oom_kill_disable: u64,
    #[prost(uint64, tag = "2")]
    pub under_oom: u64,
    #[prost(uint64, tag = "3")]
    pub oom_kill: u64,
}

/// `io.containerd.cgroups.v1.BlkIOStat`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BlkIOStat {
    #[prost(message, repeated, tag = "1")]
    pub io_service_bytes_recursive: Vec<BlkIOEntry>,
    #[prost(message, repeated, tag = "2")]
    pub io_serviced_recursive: Vec<BlkIOEntry>,
    #[prost(message, repeated, tag = "3")]
    pub io_queued_recursive: Vec<BlkIOEntry>,
    #[prost(message, repeated, tag = "4")]
    pub io_service_time_recursive: Vec<BlkIOEntry>,
    #[prost(message, repeated, tag = "5")]
    pub io_wait_time_recursive: Vec<BlkIOEntry>,
    #[prost(message, repeated, tag = "6")]
    pub io_merged_recursive: Vec<BlkIOEntry>,
    #[prost(message, repeated, tag = "7")]
    pub io_time_recursive: Vec<BlkIOEntry>,
    #[prost(message, repeated, tag = "8")]
    pub sectors_recursive: Vec<BlkIOEntry>,
}

/// `io.containerd.cgroups.v1.BlkIOEntry`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BlkIOEntry {
    #[prost(string, tag = "1")]
    pub op: String,
    #[prost(string, tag = "2")]
    pub device: String,
    #[prost(uint64, tag = "3")]
    pub major: u64,
    #[prost(uint64, tag = "4")]
    pub minor: u64,
    #[prost(uint64, tag = "5")]
    pub value: u64,
}

/// `io.containerd.cgroups.v1.RdmaStat`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RdmaStat {
    #[prost(message, repeated, tag = "1")]
    pub current: Vec<RdmaEntry>,
    #[prost(message, repeated, tag = "2")]
    pub limit: Vec<RdmaEntry>,
}

/// `io.containerd.cgroups.v1.RdmaEntry`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RdmaEntry {
    #[prost(string, tag = "1")]
    pub device: String,
    #[prost(uint32, tag = "2")]
    pub hca_handles: u32,
    #[prost(uint32, tag = "3")]
    pub hca_objects: u32,
}

/// `io.containerd.cgroups.v1.NetworkStat`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct NetworkStat {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(uint64, tag = "2")]
    pub rx_bytes: u64,
    #[prost(uint64, tag = "3")]
    pub rx_packets: u64,
    #[prost(uint64, tag = "4")]
    pub rx_errors: u64,
    #[prost(uint64, tag = "5")]
    pub rx_dropped: u64,
    #[prost(uint64, tag = "6")]
    pub tx_bytes: u64,
    #[prost(uint64, tag = "7")]
    pub tx_packets: u64,
    #[prost(uint64, tag = "8")]
    pub tx_errors: u64,
    #[prost(uint64, tag = "9")]
    pub tx_dropped: u64,
}

/// CgroupStats exports per-cgroup statistics.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CgroupStats {
    /// number of tasks sleeping
    #[prost(uint64, tag = "1")]
    pub nr_sleeping: u64,
    /// number of tasks running
    #[prost(uint64, tag = "2")]
    pub nr_running: u64,
    /// number of tasks in stopped state
    #[prost(uint64, tag = "3")]
    pub nr_stopped: u64,
    /// number of tasks in uninterruptible state
    #[prost(uint64, tag = "4")]
    pub nr_uninterruptible: u64,
    /// number of tasks waiting on IO
    #[prost(uint64, tag = "5")]
    pub nr_io_wait: u64,
}
