#!/usr/bin/env python3
"""Writes src/proto/*.rs, prost structs, from the .proto files beside this script.

    ./generate.py            writes the modules
    ./generate.py --check    exits 1 when a checked-in module differs from what would be written

Reads the subset of proto3 that these files use: messages, enums, scalar, repeated, optional and map fields. The
.proto files are containerd's, copied unchanged from containerd/api v1.12.0, cgroups v3.1.3 and ttrpc v1.2.7, with
two exceptions named in README.md.
"""

import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
OUT = HERE.parent / "src" / "proto"

# Package -> Rust module. Files of one package become one module.
MODULES = {
    "ttrpc": "ttrpc",
    "google.rpc": "rpc",
    "google.protobuf": "well_known",
    "containerd.types": "types",
    "containerd.v1.types": "task_types",
    "containerd.task.v3": "task",
    "containerd.events": "events",
    "containerd.services.events.ttrpc.v1": "forward",
    "containerd.runc.v1": "runc_options",
    "containerd.linux.runc": "linux_runc",
    "runtimeoptions.v1": "runtime_options",
    "containerd.runtime.bootstrap.v1": "bootstrap",
    "io.containerd.cgroups.v1": "cgroups_v1",
    "io.containerd.cgroups.v2": "cgroups_v2",
}

# Messages that the files declare and the shim never sees.
UNUSED = {
    "ttrpc.StringList", "containerd.types.ActiveMount", "containerd.types.ActivationInfo",
    "containerd.types.MountCapabilities", "containerd.types.RuntimeRequest", "containerd.v1.types.Process",
    "containerd.task.v3.ExecProcessResponse",
}

SCALARS = {
    "string": "String", "bytes": "Vec<u8>", "bool": "bool", "int32": "i32", "int64": "i64",
    "uint32": "u32", "uint64": "u64", "double": "f64",
}

FIELD = re.compile(
    r"(?P<label>repeated |optional )?(?P<type>map<\s*\w+\s*,\s*[\w.]+\s*>|[\w.]+) (?P<name>\w+)\s*=\s*(?P<tag>\d+)")
KEYWORDS = {"type"}


def parse(path):
    """Yields (package, kind, name, doc, entries) for every message and enum of one file."""
    text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S)
    package, block, doc, skip = None, None, [], 0
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith("//"):
            doc.append(line[2:].strip())
            continue
        code = line.split("//")[0].strip()
        if not code:
            if not line:
                doc = []
            continue
        if skip:
            skip += code.count("{") - code.count("}")
            doc = []
        elif match := re.match(r"package ([\w.]+);", code):
            package = match[1]
        elif code.startswith("service "):
            skip = 1
        elif match := re.match(r"(message|enum) (\w+) \{(\})?", code):
            block = (match[1], match[2], doc, [])
            doc = []
            if match[3]:
                yield (package, *block)
                block = None
        elif code == "}" and block:
            yield (package, *block)
            block, doc = None, []
        elif block and block[0] == "enum" and (match := re.match(r"(\w+) = (-?\d+);", code)):
            block[3].append((match[1], int(match[2]), doc))
            doc = []
        elif block and block[0] == "message" and (match := FIELD.match(code)):
            trailing = line.split("//", 1)[1].strip() if "//" in line else None
            block[3].append(((match["label"] or "").strip(), match["type"], match["name"], int(match["tag"]),
                             doc or ([trailing] if trailing else [])))
            doc = []


def reference(name, package, known):
    """The Rust path of a message or enum type as seen from `package`."""
    full = name if name in known else f"{package}.{name}"
    owner, _, short = full.rpartition(".")
    return known[full], short if owner == package else f"super::{MODULES[owner]}::{short}"


def field(entry, package, known):
    label, kind, name, tag, doc = entry
    rust = f"r#{name}" if name in KEYWORDS else name
    lines = [f"    /// {text}".rstrip() for text in doc]
    if kind.startswith("map<"):
        key, value = (part.strip() for part in kind[4:-1].split(","))
        lines += [f'    #[prost(btree_map = "{key}, {value}", tag = "{tag}")]',
                  f"    pub {rust}: BTreeMap<{SCALARS[key]}, {SCALARS[value]}>,"]
        return lines
    if kind in SCALARS:
        attribute = 'bytes = "vec"' if kind == "bytes" else kind
        rust_type = SCALARS[kind]
    else:
        what, path = reference(kind, package, known)
        if what == "enum":
            attribute, rust_type = f'enumeration = "{path}"', "i32"
        else:
            attribute, rust_type = "message", path
            label = label or "optional"
    if label == "repeated":
        packed = ', packed = "true"' if kind in SCALARS and kind not in ("string", "bytes") else ""
        attribute, rust_type = f"{attribute}, repeated{packed}", f"Vec<{rust_type}>"
    elif label == "optional":
        attribute, rust_type = f"{attribute}, optional", f"Option<{rust_type}>"
    return lines + [f'    #[prost({attribute}, tag = "{tag}")]', f"    pub {rust}: {rust_type},"]


def camel(name, prefix):
    """LOG_LEVEL_WARN of LogLevel -> Warn."""
    stem = re.sub(r"(?<!^)(?=[A-Z])", "_", prefix).upper() + "_"
    return "".join(part.capitalize() for part in name.removeprefix(stem).split("_"))


def module(package, blocks, known):
    lines = [f"//! `{package}`: written by `proto/generate.py` from the published .proto files. Do not edit.", ""]
    body = []
    for kind, name, doc, entries in blocks:
        body += ["", *[f"/// {text}".rstrip() for text in doc or [f"`{package}.{name}`."]]]
        if kind == "enum":
            body += ["#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]", "#[repr(i32)]",
                     f"pub enum {name} {{"]
            for value, number, value_doc in entries:
                body += [*[f"    /// {text}" for text in value_doc], f"    {camel(value, name)} = {number},"]
        else:
            body += ["#[derive(Clone, PartialEq, prost::Message)]", f"pub struct {name} {{"]
            for entry in entries:
                body += field(entry, package, known)
        body.append("}")
    if any("BTreeMap" in line for line in body):
        lines += ["use std::collections::BTreeMap;", ""]
    return "\n".join([*lines, *body[1:]]) + "\n"


def main():
    packages, known = {}, {}
    for path in sorted(HERE.glob("*.proto")):
        for package, kind, name, doc, entries in parse(path):
            if f"{package}.{name}" in UNUSED:
                continue
            known[f"{package}.{name}"] = kind
            packages.setdefault(package, []).append((kind, name, doc, entries))
    index = ["//! The messages of containerd's shim protocol. Written by `proto/generate.py`; do not edit.",
             "#![allow(missing_docs)]",
             "// The comments are those of the .proto files, which know nothing of HTML.",
             "#![allow(rustdoc::invalid_html_tags, rustdoc::bare_urls)]", ""]
    files = {"mod.rs": "\n".join(index + [f"pub mod {MODULES[p]};" for p in sorted(packages, key=MODULES.get)]) + "\n"}
    for package, blocks in packages.items():
        files[MODULES[package] + ".rs"] = module(package, blocks, known)
    stale = False
    for name, text in files.items():
        text = subprocess.run(["rustfmt", "--edition", "2024", "--config", "max_width=110,use_small_heuristics=Max"],
                              input=text, capture_output=True, text=True, check=True).stdout
        path = OUT / name
        if "--check" in sys.argv:
            stale |= not path.exists() or path.read_text() != text
        else:
            path.write_text(text)
    sys.exit(1 if stale else 0)


if __name__ == "__main__":
    main()
