//! A program as text, with what its constants mean.

use crate::program::{Instruction, action, offset, op};
use crate::{Arch, table};
use std::fmt::Write;

/// One line an instruction: position, operation, operands with absolute positions for jumps, and what they
/// mean.
///
/// ```text
///    3  load  [0]                      ; number
///    4  jeq   142 ? 6 : 5              ; reboot
///    5  ret   0x7fff0000               ; SCMP_ACT_ALLOW
///    6  ret   0x00050001               ; SCMP_ACT_ERRNO(1)
/// ```
pub fn disassemble(program: &[Instruction]) -> String {
    let mut known = vec![None; program.len()];
    if let Some(first) = known.first_mut() {
        *first = Some(Known { loaded: None, arch: None });
    }
    let mut text = String::new();
    for (at, instruction) in program.iter().enumerate() {
        let here = known[at].unwrap_or_default();
        let (operation, meaning) = describe(at, instruction, here);
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{at:4}  {operation:<30} {}",
            if meaning.is_empty() { meaning } else { format!("; {meaning}") }
        );
        for (next, there) in successors(at, instruction, here) {
            if let Some(slot) = known.get_mut(next) {
                *slot = Some(slot.map_or(there, |before| before.and(there)));
            }
        }
    }
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// What is certain when an instruction runs, on whatever way it was reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Known {
    /// Offset of the loaded word.
    loaded: Option<u32>,
    /// `seccomp_data.arch`.
    arch: Option<u32>,
}

impl Known {
    fn and(self, other: Self) -> Self {
        Self {
            loaded: self.loaded.filter(|_| self.loaded == other.loaded),
            arch: self.arch.filter(|_| self.arch == other.arch),
        }
    }
}

fn successors(at: usize, instruction: &Instruction, here: Known) -> Vec<(usize, Known)> {
    let after = |distance: usize| at + 1 + distance;
    match instruction.code {
        op::RETURN => Vec::new(),
        op::LOAD => vec![(after(0), Known { loaded: Some(instruction.k), ..here })],
        op::JUMP => vec![(after(instruction.k as usize), here)],
        op::JUMP_EQUAL | op::JUMP_GREATER | op::JUMP_GREATER_EQUAL | op::JUMP_SET => {
            let is_arch = instruction.code == op::JUMP_EQUAL && here.loaded == Some(offset::ARCH);
            let yes = if is_arch { Known { arch: Some(instruction.k), ..here } } else { here };
            vec![(after(instruction.jt.into()), yes), (after(instruction.jf.into()), here)]
        }
        _ => vec![(after(0), here)],
    }
}

fn describe(at: usize, instruction: &Instruction, here: Known) -> (String, String) {
    let k = instruction.k;
    let jump = |name: &str, operand: String| {
        let (yes, no) = (at + 1 + usize::from(instruction.jt), at + 1 + usize::from(instruction.jf));
        format!("{name:<5} {operand} ? {yes} : {no}")
    };
    let comparison = |name: &str| (jump(name, operand(k, here)), meaning(k, here));
    match instruction.code {
        op::RETURN => (format!("ret   {k:#010x}"), action::describe(k)),
        op::LOAD => (format!("load  [{k}]"), word(k, here.arch)),
        op::AND => (format!("and   {k:#x}"), String::new()),
        op::JUMP => (format!("jump  {}", at + 1 + k as usize), String::new()),
        op::JUMP_EQUAL => comparison("jeq"),
        op::JUMP_GREATER => comparison("jgt"),
        op::JUMP_GREATER_EQUAL => comparison("jge"),
        op::JUMP_SET => (jump("jset", format!("{k:#x}")), String::new()),
        code => (
            format!("{code:#06x} {k:#x}, {}, {}", instruction.jt, instruction.jf),
            "unknown operation".into(),
        ),
    }
}

fn operand(k: u32, here: Known) -> String {
    match here.loaded {
        Some(offset::NUMBER) if !table::is_x32(k) => k.to_string(),
        _ => format!("{k:#x}"),
    }
}

fn meaning(k: u32, here: Known) -> String {
    match here.loaded {
        Some(offset::ARCH) => Arch::from_audit(k, 0).map(Arch::oci_name).unwrap_or_default(),
        Some(offset::NUMBER) => {
            let arch = here.arch.and_then(|audit| Arch::from_audit(audit, k));
            arch.and_then(|arch| table::name(arch, k)).unwrap_or_default().to_owned()
        }
        _ => String::new(),
    }
}

/// The meaning of an offset into `struct seccomp_data`.
fn word(at: u32, arch: Option<u32>) -> String {
    match at {
        offset::NUMBER => "number".into(),
        offset::ARCH => "architecture".into(),
        _ if at < offset::ARGS => "instruction pointer".into(),
        _ => {
            let index = (at - offset::ARGS) / 8;
            let little = arch
                .and_then(|audit| Arch::from_audit(audit, 0))
                .map(|arch| arch.endian() == crate::Endian::Little);
            let half = match (little, at.is_multiple_of(8)) {
                (Some(little), first) if little == first => "lower half",
                (Some(_), _) => "upper half",
                (None, true) => "first half",
                (None, false) => "second half",
            };
            format!("args[{index}], {half}")
        }
    }
}
