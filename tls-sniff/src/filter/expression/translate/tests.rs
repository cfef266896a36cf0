use super::*;
use crate::filter::expression::Instruction;

const CONTEXTS: [Context; 3] =
    [Context::Skb, Context::Xdp { load_bytes: true }, Context::Xdp { load_bytes: false }];

fn program(instructions: &[(u16, u8, u8, u32)]) -> Program {
    let instruction = |&(code, jt, jf, k)| Instruction { code, jt, jf, k };
    Program::new(&instructions.iter().map(instruction).collect::<Vec<_>>()).unwrap()
}

/// The verifier's own first check: something leads to each instruction, and nothing leads outside.
fn all_reached(code: &[Encoded]) -> bool {
    let mut reached = vec![false; code.len()];
    let mut next = vec![0];
    while let Some(at) = next.pop() {
        if std::mem::replace(&mut reached[at], true) {
            continue;
        }
        let [opcode, _, low, high, ..] = code[at];
        // All jumps lead forward.
        let target = || at + 1 + usize::try_from(i16::from_le_bytes([low, high])).unwrap();
        match opcode {
            0x95 => {}
            0x05 => next.push(target()),
            0x85 => next.push(at + 1),
            _ if matches!(opcode & 7, 5 | 6) => next.extend([at + 1, target()]),
            _ => next.push(at + 1),
        }
    }
    reached.iter().all(|reached| *reached)
}

#[test]
fn returns_a_constant() {
    let code = program(&[(6, 0, 0, 262_144)]).translate(Context::Skb);
    // r6 = r1; w7 = 0; w8 = 0; w0 = 1; exit
    let expected = [[0xbf, 0x16], [0xb4, 7], [0xb4, 8], [0xb4, 0], [0x95, 0]];
    assert_eq!(code.iter().map(|it| [it[0], it[1]]).collect::<Vec<_>>(), expected);
    assert_eq!(code[3][4], 1);
}

#[test]
fn leaves_no_code_that_nothing_leads_to() {
    let accept = (6, 0, 0, 1);
    let programs = [
        // Division by 0, and loads from where no packet reaches.
        program(&[(0x34, 0, 0, 0), (0x04, 0, 0, 1), accept]),
        program(&[(0xb1, 0, 0, u32::MAX), accept]),
        program(&[(0x50, 0, 0, u32::MAX), accept]),
        program(&[(0x20, 0, 0, 0x8000), accept]),
        // Jumped over.
        program(&[(5, 0, 0, 1), (0x20, 0, 0, 1), accept]),
        program(&[(0x15, 1, 1, 7), (0x20, 0, 0, 1), accept]),
        // A to and fro of shifts and scratch memory.
        program(&[
            (0x6c, 0, 0, 0),
            (2, 0, 0, 3),
            (0x61, 0, 0, 3),
            (0x3c, 0, 0, 0),
            (0x16, 0, 0, 0),
        ]),
    ];
    for program in &programs {
        for context in CONTEXTS {
            let code = program.translate(context);
            assert!(all_reached(&code), "{program:?}, {context:?}");
        }
    }
}

#[test]
fn asks_helpers_only_where_they_are() {
    let program = program(&[(0x20, 0, 0, 10), (0x50, 0, 0, 3), (0x80, 0, 0, 0), (0x16, 0, 0, 0)]);
    let calls = |context| {
        let code = program.translate(context);
        let calls = code.iter().filter(|it| it[0] == 0x85);
        calls.map(|it| i32::from_le_bytes([it[4], it[5], it[6], it[7]])).collect::<Vec<_>>()
    };
    assert_eq!(calls(Context::Skb), [26, 26]);
    assert_eq!(calls(Context::Xdp { load_bytes: true }), [189, 189, 188]);
    assert!(calls(Context::Xdp { load_bytes: false }).is_empty());
}
