//! Device rules as an eBPF program for cgroup v2 (`BPF_PROG_TYPE_CGROUP_DEVICE`, Linux 4.15).
//!
//! The kernel calls it with the kind, the numbers and the access wanted; it answers 1 to allow. Rules are tried last to
//! first, because the last word counts, and the program ends as soon as every bit of the access is decided.

use super::{Access, Devices, Rule};
use crate::sys::bpf::Instruction;

// Registers: r0 the answer and a scratch, r1 the context, then what is asked for.
const ANSWER: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const WANTED: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

// Operations (Documentation/bpf/standardization/instruction-set.rst).
const LOAD_WORD: u8 = 0x61;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const MOVE: u8 = 0xb4;
const MOVE_REGISTER: u8 = 0xbc;
const JUMP_EQUAL: u8 = 0x15;
const JUMP_NOT_EQUAL: u8 = 0x55;
const EXIT: u8 = 0x95;

/// The program for `rules`; what they do not mention is denied.
pub(in super::super) fn compile(rules: &[Rule]) -> Vec<Instruction> {
    let mut program = vec![
        load(KIND, 0),
        op(MOVE_REGISTER, WANTED, KIND, 0),
        op(AND, KIND, 0, 0xffff),
        op(SHIFT_RIGHT, WANTED, 0, 16),
        load(MAJOR, 4),
        load(MINOR, 8),
    ];
    for rule in rules.iter().rev() {
        if block(rule, &mut program) {
            // Nothing gets past this rule, and the verifier refuses code that cannot be reached.
            return program;
        }
    }
    answer(false, &mut program);
    program
}

/// Whether the rules allow everything, so that a program would be in vain.
pub(in super::super) fn is_open(rules: &[Rule]) -> bool {
    let mut last_words = rules.iter().rev().take_while(|rule| rule.allow);
    last_words.any(|rule| rule.devices == Devices::default() && rule.access == Access::ALL)
}

/// Adds one rule; true when it decides every access to every device.
fn block(rule: &Rule, program: &mut Vec<Instruction>) -> bool {
    let mut to_next = Vec::new();
    let kind = rule.devices.kind.map(|kind| kind as i32);
    for (register, value) in [(KIND, kind), (MAJOR, rule.devices.major), (MINOR, rule.devices.minor)] {
        if let Some(value) = value {
            to_next.push(program.len());
            program.push(op(JUMP_NOT_EQUAL, register, 0, value));
        }
    }
    if rule.access != Access::ALL {
        if rule.allow {
            // Allowed here is decided: go on with what is left, and be done when nothing is.
            program.push(op(AND, WANTED, 0, i32::from(Access::ALL.minus(rule.access).0)));
            to_next.push(program.len());
            program.push(op(JUMP_NOT_EQUAL, WANTED, 0, 0));
        } else {
            // One bit denied is enough.
            program.push(op(MOVE_REGISTER, ANSWER, WANTED, 0));
            program.push(op(AND, ANSWER, 0, i32::from(rule.access.0)));
            to_next.push(program.len());
            program.push(op(JUMP_EQUAL, ANSWER, 0, 0));
        }
    }
    answer(rule.allow, program);
    let end = program.len();
    for jump in &to_next {
        // At most eight instructions further.
        program[*jump].offset = i16::try_from(end - jump - 1).unwrap_or(i16::MAX);
    }
    to_next.is_empty()
}

fn answer(allow: bool, program: &mut Vec<Instruction>) {
    program.push(op(MOVE, ANSWER, 0, i32::from(allow)));
    program.push(op(EXIT, 0, 0, 0));
}

fn load(register: u8, offset: i16) -> Instruction {
    Instruction { code: LOAD_WORD, registers: registers(register, CONTEXT), offset, immediate: 0 }
}

fn op(code: u8, to: u8, from: u8, immediate: i32) -> Instruction {
    Instruction { code, registers: registers(to, from), offset: 0, immediate }
}

/// The two register fields are nibbles, in the order of the machine's bit fields.
const fn registers(to: u8, from: u8) -> u8 {
    if cfg!(target_endian = "big") { to << 4 | from } else { from << 4 | to }
}

#[cfg(test)]
#[allow(clippy::cast_sign_loss, clippy::cast_possible_truncation, reason = "a machine's registers are cast")]
mod tests {
    use super::super::{Kind, always, parse, tests::spec};
    use super::*;

    /// What the kernel would do with the program.
    fn run(program: &[Instruction], kind: Kind, major: u32, minor: u32, access: Access) -> bool {
        let context = [kind as u32 | u32::from(access.0) << 16, major, minor];
        let mut r = [0u64; 6];
        let mut at = 0;
        loop {
            let i = program[at];
            let (to, from) = (usize::from(i.registers & 15), usize::from(i.registers >> 4));
            let immediate = i.immediate as u32;
            let mut jump = false;
            match i.code {
                LOAD_WORD => r[to] = u64::from(context[i.offset as usize / 4]),
                AND => r[to] = u64::from(r[to] as u32 & immediate),
                SHIFT_RIGHT => r[to] = u64::from(r[to] as u32 >> immediate),
                MOVE => r[to] = u64::from(immediate),
                MOVE_REGISTER => r[to] = u64::from(r[from] as u32),
                JUMP_EQUAL => jump = r[to] == i.immediate as u64,
                JUMP_NOT_EQUAL => jump = r[to] != i.immediate as u64,
                EXIT => return r[0] == 1,
                code => panic!("unknown operation {code:#x}"),
            }
            at += 1 + if jump { i.offset as usize } else { 0 };
        }
    }

    /// The meaning of a list of rules, told slowly.
    fn naive(rules: &[Rule], kind: Kind, major: u32, minor: u32, access: Access) -> bool {
        let device = Devices {
            kind: Some(kind),
            major: Some(i32::try_from(major).unwrap()),
            minor: Some(i32::try_from(minor).unwrap()),
        };
        let mut allowed = Access(0);
        for rule in rules.iter().filter(|rule| rule.devices.covers(&device)) {
            allowed = if rule.allow { allowed.plus(rule.access) } else { allowed.minus(rule.access) };
        }
        allowed.contains(access)
    }

    #[test]
    fn a_default_container() {
        let mut rules = parse(&[spec(false, "a *:* rwm"), spec(true, "c 10:229 rw")]).unwrap();
        rules.extend(always(&[]));
        let program = compile(&rules);
        for (kind, major, minor, access, want) in [
            (Kind::Char, 1, 3, Access::ALL, true),
            (Kind::Char, 136, 7, Access::READ, true),
            (Kind::Char, 10, 229, Access::READ, true),
            (Kind::Char, 10, 229, Access::MKNOD, true),
            (Kind::Char, 10, 1, Access::READ, false),
            (Kind::Block, 8, 0, Access::MKNOD, true),
            (Kind::Block, 8, 0, Access::READ, false),
            (Kind::Block, 1, 3, Access::READ, false),
        ] {
            assert_eq!(run(&program, kind, major, minor, access), want, "{kind:?} {major}:{minor} {access}");
        }
    }

    #[test]
    fn bits_are_decided_one_by_one() {
        let rules = parse(&[
            spec(true, "c 5:1 r"),
            spec(true, "c *:* w"),
            spec(false, "c 6:* w"),
            spec(true, "c 6:1 w"),
        ])
        .unwrap();
        let program = compile(&rules);
        let rw = Access::READ.plus(Access::WRITE);
        assert!(run(&program, Kind::Char, 5, 1, rw));
        assert!(!run(&program, Kind::Char, 5, 2, rw));
        assert!(!run(&program, Kind::Char, 6, 2, Access::WRITE));
        assert!(run(&program, Kind::Char, 6, 1, Access::WRITE));
    }

    #[test]
    fn open_rules_need_no_program() {
        let with_defaults = |rules: &[(bool, &str)]| {
            let rules: Vec<_> = rules.iter().map(|(allow, text)| spec(*allow, text)).collect();
            let mut rules = parse(&rules).unwrap();
            rules.extend(always(&[]));
            is_open(&rules)
        };
        assert!(with_defaults(&[(false, "a *:* rwm"), (true, "a *:* rwm")]));
        assert!(!with_defaults(&[(true, "a *:* rwm"), (false, "c 1:11 w")]));
        assert!(!with_defaults(&[(true, "a *:* rw")]));
        assert!(!with_defaults(&[]));
    }

    #[test]
    fn a_rule_for_everything_ends_the_program() {
        let everything = parse(&[spec(true, "c 1:3 r"), spec(true, "a *:* rwm")]).unwrap();
        assert_eq!(compile(&everything).len(), 8);
    }

    /// Any list of rules means the same to the program and to the sentence in the specification.
    #[test]
    fn program_and_meaning_agree() {
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = |below: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % below
        };
        for _ in 0..3000 {
            let rules: Vec<Rule> = (0..random(8))
                .map(|_| Rule {
                    devices: Devices {
                        kind: [None, Some(Kind::Block), Some(Kind::Char)][random(3) as usize],
                        major: [None, Some(1), Some(2)][random(3) as usize],
                        minor: [None, Some(1), Some(2)][random(3) as usize],
                    },
                    access: Access(1 + random(7) as u8),
                    allow: random(2) == 0,
                })
                .collect();
            let program = compile(&rules);
            for kind in [Kind::Block, Kind::Char] {
                for number in 0..9 {
                    for access in 1..8 {
                        let (major, minor, access) = (1 + number / 3, 1 + number % 3, Access(access));
                        assert_eq!(
                            run(&program, kind, major, minor, access),
                            naive(&rules, kind, major, minor, access),
                            "{rules:?} {kind:?} {major}:{minor} {access}"
                        );
                    }
                }
            }
        }
    }
}
