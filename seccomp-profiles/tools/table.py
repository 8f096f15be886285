#!/usr/bin/env python3
"""Generates src/table/data.rs and src/table/data/: every system call name and its number on every architecture.

The numbers come from the kernel's own user headers as Debian packages them and from nothing else:
  linux-libc-dev (sid)             one package with the headers of every architecture, newest kernel
  linux-libc-dev-*-cross (stable)  for what newer kernels dropped: 31-bit s390, and names removed since

Fetch and unpack both without installing anything (an apt configuration of its own for sid), then:
  tools/table.py --sid DIR --stable DIR
where each DIR is what `dpkg -x package.deb DIR` was run into. `--fetch DIR` does all of it inside DIR.
"""

import argparse
import glob
import os
import re
import subprocess
import sys

# The files below src/table/data/, and the columns in each.
FAMILIES = {
    "x86": ("X86_64", "X86", "X32"),
    "arm": ("AARCH64", "ARM"),
    "riscv": ("RISCV64",),
    "loongarch": ("LOONGARCH64",),
    "s390": ("S390X", "S390"),
    "ppc": ("PPC64", "PPC"),
    "mips": ("MIPS64", "MIPS64N32", "MIPS"),
}

# Column, header below usr/lib/linux/uapi in sid's package, header in the stable cross packages, base symbols.
COLUMNS = [
    ("X86_64", "x86/asm/unistd_64.h", "usr/include/x86_64-linux-gnu/asm/unistd_64.h", {}),
    ("X86", "x86/asm/unistd_32.h", "usr/include/x86_64-linux-gnu/asm/unistd_32.h", {}),
    ("X32", "x86/asm/unistd_x32.h", "usr/include/x86_64-linux-gnu/asm/unistd_x32.h", {"__X32_SYSCALL_BIT": 0x40000000}),
    ("AARCH64", "arm64/asm/unistd_64.h", None, {}),
    ("ARM", "arm/asm/unistd-eabi.h", "usr/arm-linux-gnueabihf/include/asm/unistd-eabi.h", {"__NR_SYSCALL_BASE": 0}),
    ("RISCV64", "riscv/asm/unistd_64.h", None, {}),
    ("LOONGARCH64", "loongarch/asm/unistd_64.h", None, {}),
    ("S390X", "s390/asm/unistd_64.h", "usr/s390x-linux-gnu/include/asm/unistd_64.h", {}),
    ("S390", None, "usr/s390x-linux-gnu/include/asm/unistd_32.h", {}),
    ("PPC64", "powerpc/asm/unistd_64.h", "usr/powerpc64le-linux-gnu/include/asm/unistd_64.h", {}),
    ("PPC", "powerpc/asm/unistd_32.h", "usr/powerpc64le-linux-gnu/include/asm/unistd_32.h", {}),
    ("MIPS64", "mips/asm/unistd_n64.h", "usr/mips64-linux-gnuabi64/include/asm/unistd_n64.h", {"__NR_Linux": 5000}),
    ("MIPS64N32", "mips/asm/unistd_n32.h", "usr/mips64-linux-gnuabi64/include/asm/unistd_n32.h", {"__NR_Linux": 6000}),
    ("MIPS", "mips/asm/unistd_o32.h", "usr/mips64-linux-gnuabi64/include/asm/unistd_o32.h", {"__NR_Linux": 4000}),
]
# asm/unistd.h of arm, outside the generated list: the private calls (seccomp knows them without the __ARM_NR_
# prefix) and the generic name of arm_sync_file_range.
ARM_PRIVATE = {"breakpoint": 0xF0001, "cacheflush": 0xF0002, "usr26": 0xF0003, "usr32": 0xF0004, "set_tls": 0xF0005, "get_tls": 0xF0006}
STABLE_PACKAGES = ["linux-libc-dev", "linux-libc-dev-armhf-cross", "linux-libc-dev-s390x-cross",
                   "linux-libc-dev-ppc64el-cross", "linux-libc-dev-mips64-cross"]
SID_PACKAGES = ["linux-libc-dev"]
# Not system calls: bounds and bases.
NOT_CALLS = {"syscalls", "Linux", "Linux_syscalls", "O32_Linux", "O32_Linux_syscalls", "64_Linux", "64_Linux_syscalls",
             "N32_Linux", "N32_Linux_syscalls", "SYSCALL_BASE", "OABI_SYSCALL_BASE", "SYSCALL_MASK", "arch_specific_syscall"}

# Numbers that MIPS never gave to anything.
PLACEHOLDER = re.compile(r"^(reserved|unused)\d+$")

DEFINE = re.compile(r"^#define\s+__NR_(\w+)\s+(.+?)\s*(?:/\*.*)?$")


def number(text, bases):
    """The value of a header's right-hand side: a number or (BASE + number); None for anything else."""
    text = text.strip("() ")
    if "+" in text:
        base, offset = (part.strip() for part in text.split("+", 1))
        return bases[base] + int(offset, 0) if base in bases else None
    try:
        return int(text, 0)
    except ValueError:
        return None


def read_header(path, bases):
    calls = {}
    with open(path) as header:
        for line in header:
            match = DEFINE.match(line)
            if not match or match.group(1) in NOT_CALLS or PLACEHOLDER.match(match.group(1)):
                continue
            value = number(match.group(2), bases)
            if value is None:
                sys.exit(f"{path}: cannot read {line.strip()!r}")
            calls[match.group(1)] = value
    if len(calls) < 200:
        sys.exit(f"{path}: only {len(calls)} calls, not a system call header")
    return calls


def read_columns(sid, stable):
    columns = {}
    for name, new, old, bases in COLUMNS:
        calls = {}
        if old:
            calls.update(read_header(os.path.join(stable, old), bases))
        if new:
            for call, value in read_header(os.path.join(sid, "usr/lib/linux/uapi", new), bases).items():
                if calls.get(call, value) != value:
                    sys.exit(f"{name}: {call} changed its number from {calls[call]} to {value}")
                calls[call] = value
        columns[name] = calls
    arm = columns["ARM"]
    arm.update(ARM_PRIVATE)
    arm["sync_file_range2"] = arm["arm_sync_file_range"]
    return columns


def write_array(out, items):
    """Items separated by commas, as many on a line as fit the project's width."""
    line = "   "
    for item in items:
        if len(line) + len(item) + 2 > 110:
            out.write(line + "\n")
            line = "   "
        line += f" {item},"
    out.write(line + "\n];\n")


def head(out, versions, text):
    out.write(f"//! Generated by tools/table.py from {versions}: do not edit.\n//!\n//! {text}\n\n")


def write(columns, versions, folder):
    names = sorted(set().union(*columns.values()))
    row = {name: index for index, name in enumerate(names)}
    os.makedirs(f"{folder}/data", exist_ok=True)
    with open(f"{folder}/data.rs", "w") as out:
        head(out, versions, "System call names, sorted, and a file with the numbers of each family of architectures.")
        out.writelines(f"mod {family};\n" for family in sorted(FAMILIES))
        out.write("\n")
        for family, members in sorted(FAMILIES.items()):
            items = sorted(members)
            out.write(f"pub(super) use {family}::{items[0] if len(items) == 1 else '{' + ', '.join(items) + '}'};\n")
        out.write(f"\npub(super) static NAMES: [&str; {len(names)}] = [\n")
        write_array(out, (f'"{name}"' for name in names))
    for family, members in FAMILIES.items():
        with open(f"{folder}/data/{family}.rs", "w") as out:
            head(out, versions, "Per architecture the pairs (number, row of the name), sorted by number.")
            for index, column in enumerate(members):
                pairs = sorted((value, row[call]) for call, value in columns[column].items())
                out.write("\n" if index else "")
                out.write(f"pub(in crate::table) static {column}: [(u32, u16); {len(pairs)}] = [\n")
                write_array(out, (f"(0x{value:x}, {at})" if value > 0xFFFF else f"({value}, {at})" for value, at in pairs))


def fetch(folder):
    """Downloads and unpacks both sets of packages below `folder`; returns (sid, stable, versions)."""
    os.makedirs(f"{folder}/apt/state/lists/partial", exist_ok=True)
    os.makedirs(f"{folder}/apt/cache/archives/partial", exist_ok=True)
    with open(f"{folder}/apt/sources.list", "w") as sources:
        sources.write("deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian sid main\n")
    with open(f"{folder}/apt/apt.conf", "w") as config:
        config.write(f'Dir::State "{folder}/apt/state";\nDir::State::status "/var/lib/dpkg/status";\n'
                     f'Dir::Cache "{folder}/apt/cache";\nDir::Etc::sourcelist "{folder}/apt/sources.list";\n'
                     'Dir::Etc::sourceparts "-";\n')
    sid = ["apt-get", "-q", "-c", f"{folder}/apt/apt.conf"]
    subprocess.run([*sid, "update"], check=True, stdout=sys.stderr)
    versions = []
    for kind, command, packages in (("sid", sid, SID_PACKAGES), ("stable", ["apt-get", "-q"], STABLE_PACKAGES)):
        os.makedirs(f"{folder}/{kind}/root", exist_ok=True)
        subprocess.run([*command, "download", *packages], check=True, cwd=f"{folder}/{kind}", stdout=sys.stderr)
        for package in packages:
            deb, = glob.glob(f"{folder}/{kind}/{package}_*.deb")
            subprocess.run(["dpkg", "-x", deb, f"{folder}/{kind}/root"], check=True)
            if package == "linux-libc-dev":
                versions.append(f"linux-libc-dev {os.path.basename(deb).split('_')[1]}")
    return f"{folder}/sid/root", f"{folder}/stable/root", " and ".join(versions)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fetch", metavar="DIR", help="download and unpack the packages below DIR first")
    parser.add_argument("--sid", metavar="DIR")
    parser.add_argument("--stable", metavar="DIR")
    arguments = parser.parse_args()
    if arguments.fetch:
        sid, stable, versions = fetch(os.path.abspath(arguments.fetch))
    elif arguments.sid and arguments.stable:
        sid, stable, versions = arguments.sid, arguments.stable, "linux-libc-dev"
    else:
        parser.error("either --fetch or both --sid and --stable")
    here = os.path.dirname(os.path.abspath(__file__))
    write(read_columns(sid, stable), versions, f"{here}/../src/table")


if __name__ == "__main__":
    main()
