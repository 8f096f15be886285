// The floor of the bench: the kernel work that a container takes, in a straight line, and nothing else.
//
// It reads no configuration, keeps no state, checks no path and would not survive a hostile image: it is what is left of a
// runtime when all of that is taken away. What its containers see is compared with what Corten's see (`bench --compare`), so
// that it cannot become faster by leaving something out. The two shapes are those of integration/src/config.rs.
//
//   floor run    SHAPE ROOTFS FILTER CGROUP... -- PROGRAM...        SHAPE: plain or docker; FILTER: struct sock_filter[], or -
//   floor create SHAPE ROOTFS FILTER FIFO CGROUP... -- PROGRAM...   prints the pid; the program waits for a byte in FIFO
//   floor start  FIFO
//   floor delete CGROUP...
//   floor exec   SHAPE PID FILTER CGROUP... -- PROGRAM...
//   floor nothing                                                   what a process costs
//
// CGROUP is a directory to make (exec: to enter), as /sys/fs/cgroup/cpu/parent/name. One of version 2 is the only one.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

// musl's open(2) says twice that a file is closed on execve(2), the second time by a call of its own.
#define open(...) openat(AT_FDCWD, __VA_ARGS__)

// Not from <sys/mount.h>, which disagrees with <linux/mount.h> about names.
extern int mount(const char *, const char *, const char *, unsigned long, const void *);
extern int umount2(const char *, int);
#define MNT_DETACH 2

#define TRY(call) ((long)(call) < 0 ? die(__LINE__, #call) : (void)0)
static void die(int line, const char *call) {
  fprintf(stderr, "floor.c:%d: %s: %m\n", line, call);
  _exit(125);
}

#define MOST 32
static char *cgroups[MOST], **program;
static int cgroup_count, tasks[MOST];
static struct sock_fprog filter;
static struct sock_filter instructions[4096];
static int docker;
static int unified = -1; // the group of version 2

// CGROUP... -- PROGRAM...
static void rest(char **arguments) {
  for (; *arguments && strcmp(*arguments, "--") && cgroup_count < MOST; arguments++) cgroups[cgroup_count++] = *arguments;
  program = *arguments ? arguments + 1 : arguments;
}

static void read_filter(const char *path) {
  if (!strcmp(path, "-")) return;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  TRY(fd);
  ssize_t length = read(fd, instructions, sizeof instructions);
  TRY(length);
  close(fd);
  filter.len = length / sizeof *instructions;
  filter.filter = instructions;
}

static void put(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CLOEXEC);
  TRY(fd);
  TRY(write(fd, text, strlen(text)));
  close(fd);
}

// `file` in a group of version 1.
static const char *in(const char *group, const char *file) {
  static char path[512];
  snprintf(path, sizeof path, "%s/%s", group, file);
  return path;
}

// What a group of the cpuset hierarchy needs before a process may enter it.
static void inherit(const char *group, const char *name) {
  char text[256] = "", above[64];
  snprintf(above, sizeof above, "../%s", name);
  int fd = open(in(group, above), O_RDONLY | O_CLOEXEC);
  TRY(fd);
  TRY(read(fd, text, sizeof text - 1));
  close(fd);
  text[strcspn(text, "\n")] = 0;
  put(in(group, name), text);
}

static const char *const ALLOWED[] = {"c *:* m",   "b *:* m",   "c 1:3 rwm",   "c 1:5 rwm", "c 1:7 rwm",   "c 1:8 rwm",
                                      "c 1:9 rwm", "c 5:0 rwm", "c 136:* rwm", "c 5:2 rwm", "c 10:200 rwm"};
// Docker has it beside those that every container has.
static const char *const CONSOLE = "c 5:1 rwm";
#define COUNT(array) (sizeof array / sizeof *array)

static void device_rules(const char *group) {
  put(in(group, "devices.deny"), "a *:* rwm");
  int fd = open(in(group, "devices.allow"), O_WRONLY | O_CLOEXEC);
  TRY(fd);
  for (size_t i = 0; i < COUNT(ALLOWED); i++) TRY(write(fd, ALLOWED[i], strlen(ALLOWED[i])));
  if (docker) TRY(write(fd, CONSOLE, strlen(CONSOLE)));
  close(fd);
}

// What ALLOWED and the like are in version 2: a program that the kernel asks.
static struct bpf_insn code[256];
static int length;
static void emit(__u8 op, __u8 to, __u8 from, __s16 offset, __s32 value) {
  code[length++] = (struct bpf_insn){.code = op, .dst_reg = to, .src_reg = from, .off = offset, .imm = value};
}

// A rule as devices.allow takes it: "c 1:3 rwm", with * for any number.
static void allow(const char *rule) {
  char type, major[8], minor[8], access[4];
  int first = length, wanted = 0;
  sscanf(rule, "%c %7[^:]:%7s %3s", &type, major, minor, access);
  for (const char *one = access; *one; one++)
    wanted |= *one == 'r' ? BPF_DEVCG_ACC_READ : *one == 'w' ? BPF_DEVCG_ACC_WRITE : BPF_DEVCG_ACC_MKNOD;
  emit(BPF_JMP | BPF_JNE | BPF_K, 2, 0, 0, type == 'c' ? BPF_DEVCG_DEV_CHAR : BPF_DEVCG_DEV_BLOCK);
  if (wanted != 7) {
    emit(BPF_ALU | BPF_MOV | BPF_X, 1, 3, 0, 0);
    emit(BPF_ALU | BPF_AND | BPF_K, 1, 0, 0, ~wanted & 7);
    emit(BPF_JMP | BPF_JNE | BPF_K, 1, 0, 0, 0);
  }
  if (*major != '*') emit(BPF_JMP | BPF_JNE | BPF_K, 4, 0, 0, atoi(major));
  if (*minor != '*') emit(BPF_JMP | BPF_JNE | BPF_K, 5, 0, 0, atoi(minor));
  emit(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 1);
  emit(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
  // Where a test fails, the next rule is asked.
  for (int i = first; i < length; i++)
    if (code[i].code == (BPF_JMP | BPF_JNE | BPF_K)) code[i].off = length - i - 1;
}

static void device_program(int group) {
  emit(BPF_LDX | BPF_MEM | BPF_W, 2, 1, 0, 0);
  emit(BPF_ALU | BPF_AND | BPF_K, 2, 0, 0, 0xffff);
  emit(BPF_LDX | BPF_MEM | BPF_W, 3, 1, 0, 0);
  emit(BPF_ALU | BPF_RSH | BPF_K, 3, 0, 0, 16);
  emit(BPF_LDX | BPF_MEM | BPF_W, 4, 1, 4, 0);
  emit(BPF_LDX | BPF_MEM | BPF_W, 5, 1, 8, 0);
  for (size_t i = 0; i < COUNT(ALLOWED); i++) allow(ALLOWED[i]);
  if (docker) allow(CONSOLE);
  emit(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0);
  emit(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
  union bpf_attr load = {.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE, .insns = (__u64)code, .insn_cnt = length, .license = (__u64) "Apache"};
  int program = syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof load);
  TRY(program);
  union bpf_attr attach = {.target_fd = group, .attach_bpf_fd = program, .attach_type = BPF_CGROUP_DEVICE, .attach_flags = BPF_F_ALLOW_MULTI};
  TRY(syscall(SYS_bpf, BPF_PROG_ATTACH, &attach, sizeof attach));
  close(program);
}

static const char *controller(const char *path) { return path + strlen("/sys/fs/cgroup/"); }
static int is(const char *path, const char *name) {
  size_t length = strlen(name);
  return !strncmp(controller(path), name, length) && controller(path)[length] == '/';
}

// The group of version 2, if that is what the first one is.
static int is_unified(void) {
  struct statfs kind;
  TRY(statfs(cgroups[0], &kind));
  if (kind.f_type == CGROUP2_SUPER_MAGIC) TRY(unified = open(cgroups[0], O_PATH | O_DIRECTORY | O_CLOEXEC));
  return unified >= 0;
}

static void make_cgroups(void) {
  for (int i = 0; i < cgroup_count; i++) {
    TRY(mkdir(cgroups[i], 0755));
    if (!i && is_unified()) return device_program(unified);
    if (is(cgroups[i], "cpuset")) {
      inherit(cgroups[i], "cpuset.cpus");
      inherit(cgroups[i], "cpuset.mems");
    }
    if (is(cgroups[i], "devices")) device_rules(cgroups[i]);
    TRY(tasks[i] = open(in(cgroups[i], "tasks"), O_WRONLY | O_CLOEXEC));
  }
}

static void remove_cgroups(void) {
  for (int i = 0; i < cgroup_count; i++) TRY(rmdir(cgroups[i]));
}

// A single-threaded process moves itself without an RCU grace period.
static void enter_cgroups(void) {
  if (unified >= 0) {
    // It was born there.
    TRY(unshare(CLONE_NEWCGROUP));
    return;
  }
  for (int i = 0; i < cgroup_count; i++) TRY(write(tasks[i], "0", 1));
}

static long clone_into(unsigned long long flags) {
  struct clone_args args = {.flags = flags | CLONE_CLEAR_SIGHAND, .exit_signal = SIGCHLD};
  if (unified >= 0) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = unified;
  }
  long pid = syscall(SYS_clone3, &args, sizeof args);
  TRY(pid);
  return pid;
}

static void loopback_up(void) {
  struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  TRY(fd);
  TRY(ioctl(fd, SIOCSIFFLAGS, &request));
  close(fd);
}

static void session_keyring(void) {
  enum { JOIN = 1, SETPERM = 5 };
  long key = syscall(SYS_keyctl, JOIN, "_ses.floor");
  TRY(key);
  TRY(syscall(SYS_keyctl, SETPERM, key, 0x3f1b0000 | 0x00080000));
}

#define COMMON (MS_NOSUID | MS_NODEV | MS_NOEXEC)

static void set_attributes(const char *path, int flags, unsigned long long set, unsigned long long clear) {
  struct mount_attr attributes = {.attr_set = set, .attr_clr = clear};
  TRY(syscall(SYS_mount_setattr, AT_FDCWD, path, flags, &attributes, sizeof attributes));
}

static void view_of_cgroups(void) {
  char place[256];
  if (unified >= 0) {
    TRY(mount(cgroups[0], "sys/fs/cgroup", 0, MS_BIND, 0));
    TRY(mount(0, "sys/fs/cgroup", 0, MS_BIND | MS_REMOUNT | MS_RDONLY | COMMON | (docker ? 0 : MS_RELATIME), 0));
    return;
  }
  TRY(mount("tmpfs", "sys/fs/cgroup", "tmpfs", COMMON, "mode=755"));
  for (int i = 0; i < cgroup_count; i++) {
    const char *name = controller(cgroups[i]);
    snprintf(place, sizeof place, "sys/fs/cgroup/%.*s", (int)strcspn(name, "/"), name);
    TRY(mkdir(place, 0755));
    TRY(mount(cgroups[i], place, 0, MS_BIND, 0));
  }
  set_attributes("sys/fs/cgroup", AT_RECURSIVE, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC, 0);
}

static void mounts(void) {
  TRY(mount("proc", "proc", "proc", docker ? COMMON : 0, 0));
  TRY(mount("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k"));
  TRY(mkdir("dev/pts", 0755));
  TRY(mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"));
  TRY(mkdir("dev/shm", 0755));
  TRY(mount("shm", "dev/shm", "tmpfs", COMMON, "mode=1777,size=65536k"));
  TRY(mkdir("dev/mqueue", 0755));
  TRY(mount("mqueue", "dev/mqueue", "mqueue", COMMON, 0));
  TRY(mount("sysfs", "sys", "sysfs", COMMON | MS_RDONLY, 0));
  view_of_cgroups();
}

static void devices(void) {
  static const struct { const char *path; int major, minor; } NODES[] = {
      {"dev/null", 1, 3}, {"dev/zero", 1, 5}, {"dev/full", 1, 7}, {"dev/random", 1, 8}, {"dev/urandom", 1, 9}, {"dev/tty", 5, 0}};
  for (size_t i = 0; i < COUNT(NODES); i++)
    TRY(mknod(NODES[i].path, S_IFCHR | 0666, makedev(NODES[i].major, NODES[i].minor)));
  TRY(symlink("/proc/self/fd", "dev/fd"));
  TRY(symlink("/proc/self/fd/0", "dev/stdin"));
  TRY(symlink("/proc/self/fd/1", "dev/stdout"));
  TRY(symlink("/proc/self/fd/2", "dev/stderr"));
  if (!access("/proc/kcore", F_OK)) TRY(symlink("/proc/kcore", "dev/core"));
  TRY(symlink("pts/ptmx", "dev/ptmx"));
}

// A bind is as read-only as the mount that it was made of.
static void read_only_paths(void) {
  static const char *const PATHS[] = {"proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"};
  set_attributes("proc", 0, MOUNT_ATTR_RDONLY, 0);
  for (size_t i = 0; i < COUNT(PATHS); i++)
    if (mount(PATHS[i], PATHS[i], 0, MS_BIND | MS_REC, 0) && errno != ENOENT) TRY(-1);
  set_attributes("proc", 0, 0, MOUNT_ATTR_RDONLY);
}

static void masked_paths(void) {
  static const char *const FILES[] = {"proc/kcore", "proc/keys", "proc/latency_stats", "proc/timer_list", "proc/timer_stats",
                                      "proc/sched_debug"};
  static const char *const DIRECTORIES[] = {"proc/asound", "proc/acpi", "proc/scsi", "sys/firmware"};
  for (size_t i = 0; i < COUNT(FILES); i++)
    if (mount("dev/null", FILES[i], 0, MS_BIND, 0) && errno != ENOENT) TRY(-1);
  const char *covered = 0;
  for (size_t i = 0; i < COUNT(DIRECTORIES); i++) {
    if (covered) {
      if (mount(covered, DIRECTORIES[i], 0, MS_BIND, 0) && errno != ENOENT) TRY(-1);
    } else if (!mount("tmpfs", DIRECTORIES[i], "tmpfs", MS_RDONLY, "nr_inodes=1")) {
      covered = DIRECTORIES[i];
    }
  }
}

static void become(void) {
  // Docker's fourteen; CAP_KILL, CAP_NET_BIND_SERVICE and CAP_AUDIT_WRITE.
  unsigned long long kept = docker ? 0xa80425fb : 0x20000420;
  for (int capability = 0; capability <= CAP_LAST_CAP; capability++)
    if (!(kept >> capability & 1)) prctl(PR_CAPBSET_DROP, capability);
  gid_t groups[] = {0};
  TRY(setgroups(docker ? 1 : 0, groups));
  if (!docker) {
    struct rlimit limit = {1024, 1024};
    TRY(setrlimit(RLIMIT_NOFILE, &limit));
    TRY(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  }
  if (filter.len) TRY(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &filter));
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct sets[2] = {{kept, kept, 0}, {kept >> 32, kept >> 32, 0}};
  TRY(syscall(SYS_capset, &header, sets));
}

static void execute(void) {
  char *environment[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", 0};
  TRY(execve(program[0], program, environment));
}

static void container(const char *rootfs) {
  enter_cgroups();
  TRY(setsid());
  session_keyring();
  loopback_up();
  if (docker) put("/proc/self/oom_score_adj", "0");
  umask(0);
  TRY(mount(0, "/", 0, MS_REC | MS_SLAVE, 0));
  TRY(mount(rootfs, rootfs, 0, MS_BIND | MS_REC, 0));
  TRY(mount(0, rootfs, 0, MS_PRIVATE, 0));
  TRY(chdir(rootfs));
  mounts();
  devices();
  TRY(sethostname("test", 4));
  if (docker) {
    put("proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
    put("proc/sys/net/ipv4/ping_group_range", "0 2147483647");
  }
  read_only_paths();
  masked_paths();
  TRY(syscall(SYS_pivot_root, ".", "."));
  TRY(umount2(".", MNT_DETACH));
  if (!docker) set_attributes("/", 0, MOUNT_ATTR_RDONLY, 0);
  umask(022);
  become();
}

#define NAMESPACES (CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET)

static int wait_for(pid_t pid) {
  int status;
  TRY(waitpid(pid, &status, 0));
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int run(const char *rootfs) {
  make_cgroups();
  long pid = clone_into(NAMESPACES);
  if (!pid) {
    container(rootfs);
    execute();
  }
  int status = wait_for(pid);
  remove_cgroups();
  return status;
}

static int create(const char *rootfs, const char *fifo) {
  int ready[2], start;
  TRY(mkfifo(fifo, 0600));
  TRY(start = open(fifo, O_RDWR | O_CLOEXEC));
  TRY(pipe2(ready, O_CLOEXEC));
  make_cgroups();
  long pid = clone_into(NAMESPACES);
  char byte;
  if (!pid) {
    container(rootfs);
    close(ready[0]);
    TRY(write(ready[1], "r", 1));
    TRY(read(start, &byte, 1));
    execute();
  }
  close(ready[1]);
  if (read(ready[0], &byte, 1) != 1) return 125;
  printf("%ld\n", pid);
  return 0;
}

static int start(const char *fifo) {
  int fd = open(fifo, O_WRONLY | O_CLOEXEC);
  TRY(fd);
  TRY(write(fd, "s", 1));
  // The other end closes when the program runs.
  struct pollfd wanted = {fd, 0, 0};
  TRY(poll(&wanted, 1, -1));
  TRY(unlink(fifo));
  return 0;
}

static int exec(pid_t pid) {
  is_unified();
  for (int i = 0; unified < 0 && i < cgroup_count; i++) TRY(tasks[i] = open(in(cgroups[i], "tasks"), O_WRONLY | O_CLOEXEC));
  int pidfd = syscall(SYS_pidfd_open, pid, 0);
  TRY(pidfd);
  long between = clone_into(0);
  if (!between) {
    if (unified < 0) enter_cgroups();
    TRY(setns(pidfd, NAMESPACES | (unified < 0 ? 0 : CLONE_NEWCGROUP)));
    // The PID namespace is that of the next child.
    long child = clone_into(0);
    if (child) _exit(wait_for(child));
    TRY(setsid());
    session_keyring();
    become();
    execute();
  }
  return wait_for(between);
}

int main(int count, char **arguments) {
  const char *verb = count > 1 ? arguments[1] : "nothing";
  if (!strcmp(verb, "nothing")) return 0;
  if (!strcmp(verb, "start")) return start(arguments[2]);
  if (!strcmp(verb, "delete")) {
    rest(arguments + 2);
    remove_cgroups();
    return 0;
  }
  if (count < 6) return 125;
  docker = !strcmp(arguments[2], "docker");
  read_filter(arguments[4]);
  if (!strcmp(verb, "create")) {
    rest(arguments + 6);
    return create(arguments[3], arguments[5]);
  }
  rest(arguments + 5);
  return !strcmp(verb, "exec") ? exec(atoi(arguments[3])) : run(arguments[3]);
}
