//! The x86-64 instructions that generated functions consist of, encoded: baseline ones only.

/// A general register, by its number in the encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reg(pub(super) u8);

pub(super) const RAX: Reg = Reg(0);
pub(super) const RCX: Reg = Reg(1);
pub(super) const RDX: Reg = Reg(2);
pub(super) const RBX: Reg = Reg(3);
pub(super) const RSP: Reg = Reg(4);
pub(super) const RBP: Reg = Reg(5);
pub(super) const RSI: Reg = Reg(6);
pub(super) const RDI: Reg = Reg(7);
pub(super) const R8: Reg = Reg(8);
pub(super) const R12: Reg = Reg(12);
pub(super) const R13: Reg = Reg(13);
pub(super) const R14: Reg = Reg(14);
pub(super) const R15: Reg = Reg(15);

/// `[base + index * 2^scale + disp]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mem {
    pub(super) base: Reg,
    pub(super) index: Option<(Reg, u8)>,
    pub(super) disp: i32,
}

/// What is done between a register and a register or memory; the opcode of `reg, r/m`.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub(super) enum Op {
    Add = 0x03,
    Or = 0x0b,
    And = 0x23,
    Sub = 0x2b,
    Xor = 0x33,
    Cmp = 0x3b,
    Mov = 0x8b,
    Lea = 0x8d,
}

/// The opcode of a store; `add [mem], reg` would make a chain through memory.
const STORE: u8 = 0x89;

/// When a conditional jump is taken.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub(super) enum When {
    Zero = 4,
    NotZero = 5,
}

/// Width of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    Double,
    Quad,
}

/// A place in the code whose distance is filled in later.
#[derive(Debug)]
#[must_use]
pub(super) struct Gap(usize);

/// Encoded instructions.
#[derive(Debug, Default)]
pub(super) struct Code {
    pub(super) bytes: Vec<u8>,
}

impl Code {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn push(&mut self, reg: Reg) {
        self.prefix(Width::Double, Reg(0), Reg(0), reg);
        self.bytes.push(0x50 | (reg.0 & 7));
    }

    pub(super) fn pop(&mut self, reg: Reg) {
        self.prefix(Width::Double, Reg(0), Reg(0), reg);
        self.bytes.push(0x58 | (reg.0 & 7));
    }

    pub(super) fn ret(&mut self) {
        self.bytes.push(0xc3);
    }

    /// `reg = reg op other`.
    pub(super) fn register(&mut self, width: Width, op: Op, reg: Reg, other: Reg) {
        self.prefix(width, reg, Reg(0), other);
        self.bytes.push(op as u8);
        self.direct(reg.0, other);
    }

    /// `reg = reg op [mem]`.
    pub(super) fn load(&mut self, width: Width, op: Op, reg: Reg, mem: Mem) {
        self.memory(width, op as u8, reg, mem);
    }

    /// `[mem] = reg`.
    pub(super) fn store(&mut self, width: Width, mem: Mem, reg: Reg) {
        self.memory(width, STORE, reg, mem);
    }

    /// `reg = imm`, the upper half zero.
    pub(super) fn set(&mut self, reg: Reg, imm: u32) {
        self.prefix(Width::Double, Reg(0), Reg(0), reg);
        self.bytes.push(0xb8 | (reg.0 & 7));
        self.imm32(imm);
    }

    /// `reg = reg op imm` for a small constant.
    pub(super) fn small(&mut self, width: Width, op: Op, reg: Reg, imm: i8) {
        self.prefix(width, Reg(0), Reg(0), reg);
        self.bytes.push(0x83);
        // The immediate group numbers the operations as the opcodes of `reg, r/m` do.
        self.direct(op as u8 >> 3, reg);
        self.bytes.extend(imm.to_le_bytes());
    }

    /// `reg = reg * imm`.
    pub(super) fn multiply(&mut self, reg: Reg, imm: u32) {
        self.prefix(Width::Quad, reg, Reg(0), reg);
        self.bytes.push(0x69);
        self.direct(reg.0, reg);
        self.imm32(imm);
    }

    /// Rotates to the right.
    pub(super) fn rotate(&mut self, reg: Reg, by: u8) {
        self.shift(1, reg, by);
    }

    /// Shifts to the right, zeros coming in.
    pub(super) fn shift_right(&mut self, reg: Reg, by: u8) {
        self.shift(5, reg, by);
    }

    /// Sets the flags of `reg & mask`, of the lower half.
    pub(super) fn test(&mut self, reg: Reg, mask: u32) {
        self.prefix(Width::Double, Reg(0), Reg(0), reg);
        self.bytes.push(0xf7);
        self.direct(0, reg);
        self.imm32(mask);
    }

    /// A conditional jump to a place that is at most 127 bytes away.
    pub(super) fn jump_short(&mut self, when: When, distance: i8) {
        self.bytes.push(0x70 | when as u8);
        self.bytes.extend(distance.to_le_bytes());
    }

    /// A conditional jump forward, to where [`Code::land`] is called.
    pub(super) fn jump(&mut self, when: When) -> Gap {
        self.bytes.extend([0x0f, 0x80 | when as u8]);
        self.gap()
    }

    /// Lets an earlier jump come here.
    pub(super) fn land(&mut self, Gap(at): Gap) {
        self.fill(at, self.bytes.len() as i64 - (at as i64 + 4));
    }

    /// Calls the function that begins `distance` bytes after the start of this code.
    pub(super) fn call(&mut self, distance: i64) {
        self.bytes.push(0xe8);
        let Gap(at) = self.gap();
        self.fill(at, distance - (at as i64 + 4));
    }

    /// `reg` = the address of where [`Code::land`] is called.
    pub(super) fn address(&mut self, reg: Reg) -> Gap {
        self.prefix(Width::Quad, reg, Reg(0), Reg(0));
        self.bytes.extend([Op::Lea as u8, ((reg.0 & 7) << 3) | 5]);
        self.gap()
    }

    /// `reg` = the signed 32-bit number at `mem`.
    pub(super) fn load_signed(&mut self, reg: Reg, mem: Mem) {
        self.memory(Width::Quad, 0x63, reg, mem);
    }

    /// Calls the function at the address in `reg`.
    pub(super) fn call_register(&mut self, reg: Reg) {
        self.prefix(Width::Double, Reg(0), Reg(0), reg);
        self.bytes.push(0xff);
        self.direct(2, reg);
    }

    fn shift(&mut self, kind: u8, reg: Reg, by: u8) {
        self.prefix(Width::Quad, Reg(0), Reg(0), reg);
        self.bytes.push(0xc1);
        self.direct(kind, reg);
        self.bytes.push(by & 63);
    }

    fn memory(&mut self, width: Width, opcode: u8, reg: Reg, mem: Mem) {
        let (index, scale) = mem.index.unwrap_or((RSP, 0));
        self.prefix(width, reg, index, mem.base);
        self.bytes.push(opcode);
        let short = i8::try_from(mem.disp);
        let mode = if short.is_ok() { 0x44 } else { 0x84 };
        self.bytes.push(mode | ((reg.0 & 7) << 3));
        self.bytes.push((scale << 6) | ((index.0 & 7) << 3) | (mem.base.0 & 7));
        match short {
            Ok(disp) => self.bytes.extend(disp.to_le_bytes()),
            Err(_) => self.bytes.extend(mem.disp.to_le_bytes()),
        }
    }

    /// The REX prefix, where one is needed.
    fn prefix(&mut self, width: Width, reg: Reg, index: Reg, base: Reg) {
        let bits = (u8::from(width == Width::Quad) << 3)
            | ((reg.0 >> 3) << 2)
            | ((index.0 >> 3) << 1)
            | (base.0 >> 3);
        if bits != 0 {
            self.bytes.push(0x40 | bits);
        }
    }

    fn direct(&mut self, reg: u8, other: Reg) {
        self.bytes.push(0xc0 | ((reg & 7) << 3) | (other.0 & 7));
    }

    fn imm32(&mut self, imm: u32) {
        self.bytes.extend(imm.to_le_bytes());
    }

    fn gap(&mut self) -> Gap {
        let at = self.bytes.len();
        self.bytes.extend([0; 4]);
        Gap(at)
    }

    /// The text is at most 1 GiB (`Plan::check`), so every distance fits.
    fn fill(&mut self, at: usize, distance: i64) {
        self.bytes[at..at + 4].copy_from_slice(&(distance as i32).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(write: impl FnOnce(&mut Code)) -> Vec<u8> {
        let mut code = Code::default();
        write(&mut code);
        code.bytes
    }

    /// The expected bytes are GNU as's, with the longer forms asked for where it has two.
    #[test]
    fn instructions_are_those_of_an_assembler() {
        let plain = Mem { base: RBX, index: None, disp: 8 };
        let far = Mem { base: RBX, index: Some((R14, 3)), disp: 0x1234 };
        let stack = Mem { base: RSP, index: None, disp: 16 };
        type Write = fn(&mut Code, [Mem; 3]);
        let cases: [(Write, &[u8]); 16] = [
            (|c, _| c.push(R15), &[0x41, 0x57]),
            (|c, _| c.pop(RBP), &[0x5d]),
            (|c, _| c.register(Width::Quad, Op::Mov, RAX, R12), &[0x49, 0x8b, 0xc4]),
            (|c, _| c.register(Width::Double, Op::Xor, RSI, RSI), &[0x33, 0xf6]),
            (|c, m| c.load(Width::Quad, Op::Add, R12, m[0]), &[0x4c, 0x03, 0x64, 0x23, 8]),
            (
                |c, m| c.load(Width::Quad, Op::Mov, RDX, m[1]),
                &[0x4a, 0x8b, 0x94, 0xf3, 0x34, 0x12, 0, 0],
            ),
            (|c, m| c.store(Width::Double, m[2], R8), &[0x44, 0x89, 0x44, 0x24, 16]),
            (|c, _| c.set(R14, 1), &[0x41, 0xbe, 1, 0, 0, 0]),
            (|c, _| c.small(Width::Quad, Op::Sub, RSP, 24), &[0x48, 0x83, 0xec, 24]),
            (|c, _| c.small(Width::Double, Op::And, RBP, 7), &[0x83, 0xe5, 7]),
            (|c, _| c.multiply(R12, 5), &[0x4d, 0x69, 0xe4, 5, 0, 0, 0]),
            (|c, _| c.rotate(R12, 23), &[0x49, 0xc1, 0xcc, 23]),
            (|c, _| c.test(R12, 0x100), &[0x41, 0xf7, 0xc4, 0, 1, 0, 0]),
            (|c, _| c.jump_short(When::NotZero, -4), &[0x75, 0xfc]),
            (|c, _| c.call_register(RAX), &[0xff, 0xd0]),
            (|c, _| c.call(0), &[0xe8, 0xfb, 0xff, 0xff, 0xff]),
        ];
        for (write, bytes) in cases {
            assert_eq!(code(|code| write(code, [plain, far, stack])), bytes);
        }
    }
}
