//! One generated function: runs of plain instructions, branches on data, short loops, calls.
//!
//! Registers: rbx is the data area, r12 the state that every branch looks at, r13 the walk over
//! the records, r14 the record that is worked on, rbp a loop's count; the others are for values.
//! No address ever becomes a value, so that what is executed is the same wherever it lies.

use super::draw::{Draw, Zipf};
use super::encode::{
    Code, Gap, Mem, Op, R8, R12, R13, R14, R15, RAX, RBP, RBX, RCX, RDI, RDX, RSI, RSP, Reg, When,
    Width,
};

/// Bytes of a record of the data area, a cache line. Its first eight lead to the next record.
pub(super) const RECORD: u64 = 64;
/// Bytes of the longest block but a loop, and of a function's end.
const RESERVE: usize = 112;
/// Bytes of the longest loop and of a function's end.
const LOOP_RESERVE: usize = 131;
/// Bytes of the table behind a call through one.
const TABLE: usize = 16;
/// The smallest and largest table of data that is looked up, in binary orders of words.
const LOOKUP: [u64; 2] = [12, 14];
/// Calls that a function has at most, so that the work below one is bounded.
const CALLS: usize = 5;
/// Registers that hold values.
const VALUES: [Reg; 7] = [RAX, RCX, RDX, RSI, RDI, R8, R15];

/// What a function may refer to.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    /// Distances from this function's start to those that it may call.
    pub(super) callees: &'a [i64],
    /// Bytes of the data area.
    pub(super) data: u64,
    /// Which records the fixed addresses of a function lie in.
    pub(super) statics: &'a Zipf,
}

/// Enters the function at rdi with the data area rsi, the state rdx and the record rcx; returns
/// the state. The caller's registers are kept as the System V convention wants.
pub(super) fn entry() -> Vec<u8> {
    const KEPT: [Reg; 6] = [RBX, RBP, R12, R13, R14, R15];
    let mut code = Code::default();
    KEPT.iter().for_each(|reg| code.push(*reg));
    for (to, from) in [(RAX, RDI), (RBX, RSI), (R12, RDX), (R13, RCX), (R14, RCX)] {
        code.register(Width::Quad, Op::Mov, to, from);
    }
    for reg in [RDX, RSI, RDI, R8, R15, RBP] {
        code.register(Width::Double, Op::Xor, reg, reg);
    }
    code.call_register(RAX);
    code.register(Width::Quad, Op::Mov, RAX, R12);
    KEPT.iter().rev().for_each(|reg| code.pop(*reg));
    code.ret();
    code.bytes
}

/// A function of exactly `size` bytes.
pub(super) fn function(draw: &mut Draw, size: usize, around: &Surroundings<'_>) -> Vec<u8> {
    let mut writer = Writer {
        code: Code::default(),
        slots: draw.between(2, 7) as i32,
        statics: (0..draw.between(1, 5))
            .map(|_| (around.statics.rank(draw) * RECORD) as i32)
            .collect(),
        calls: CALLS.min(around.callees.len()),
        tables: Vec::new(),
        draw,
        around,
    };
    writer.begin();
    while writer.len() + RESERVE < size {
        writer.block(size);
    }
    writer.end();
    debug_assert!(writer.code.len() <= size, "{} of {size} bytes", writer.code.len());
    let mut bytes = writer.code.bytes;
    // Between functions lie breakpoints, as with a linker.
    bytes.resize(size, 0xcc);
    bytes
}

struct Writer<'a> {
    code: Code,
    draw: &'a mut Draw,
    around: &'a Surroundings<'a>,
    /// Values on the stack.
    slots: i32,
    /// Offsets of records at fixed places.
    statics: Vec<i32>,
    /// Calls that may still be written.
    calls: usize,
    /// What the calls through tables choose from, and where they refer to their table.
    tables: Vec<(Gap, [i64; TABLE / 4])>,
}

/// What may come next in a function.
#[derive(Debug, Clone, Copy)]
enum Block {
    Plain,
    /// A branch over a few instructions.
    Branch,
    /// A branch over many, which are seldom needed.
    Cold,
    Loop,
    Call,
}

/// Plain instructions, by what they touch.
#[derive(Debug, Clone, Copy)]
enum Step {
    Registers,
    Small,
    StackLoad,
    StackStore,
    RecordLoad,
    RecordStore,
    StaticLoad,
    StaticStore,
    Walk,
    Take,
    Lookup,
    Mix,
}

/// These weights, and those below, give the rates that cachegrind finds in gcc's compiler.
const BLOCKS: [(u64, Block); 5] = [
    (20, Block::Plain),
    (100, Block::Branch),
    (44, Block::Cold),
    (44, Block::Loop),
    (46, Block::Call),
];

const STEPS: [(u64, Step); 12] = [
    (60, Step::Registers),
    (40, Step::Small),
    (80, Step::StackLoad),
    (22, Step::StackStore),
    (56, Step::RecordLoad),
    (14, Step::RecordStore),
    (24, Step::StaticLoad),
    (4, Step::StaticStore),
    (12, Step::Walk),
    (10, Step::Take),
    (9, Step::Lookup),
    (12, Step::Mix),
];

impl Writer<'_> {
    /// Bytes so far, with those that must follow.
    fn len(&self) -> usize {
        self.code.len() + TABLE * self.tables.len()
    }

    fn begin(&mut self) {
        self.code.push(RBP);
        self.code.push(R15);
        self.code.small(Width::Quad, Op::Sub, RSP, (self.slots * 8) as i8);
        // The caller may have left an address in these.
        self.code.register(Width::Quad, Op::Mov, RAX, R12);
        self.code.register(Width::Quad, Op::Mov, RCX, R13);
        for slot in 0..self.slots {
            let value = self.value();
            self.code.store(Width::Quad, stack(slot), value);
        }
        self.mix();
    }

    fn end(&mut self) {
        self.code.small(Width::Quad, Op::Add, RSP, (self.slots * 8) as i8);
        self.code.pop(R15);
        self.code.pop(RBP);
        self.code.ret();
        for (gap, callees) in std::mem::take(&mut self.tables) {
            let table = self.code.len() as i64;
            self.code.land(gap);
            for callee in callees {
                self.code.bytes.extend(((callee - table) as i32).to_le_bytes());
            }
        }
    }

    fn block(&mut self, size: usize) {
        let steps = self.draw.between(0, 3);
        self.steps(steps);
        match self.draw.weighted(&BLOCKS) {
            Some(Block::Branch) => self.branch(),
            Some(Block::Cold) => self.cold(size),
            Some(Block::Loop) if self.len() + LOOP_RESERVE < size => self.repeat(),
            Some(Block::Call) if self.calls > 0 => self.call(),
            _ => {}
        }
    }

    fn steps(&mut self, count: u64) {
        for _ in 0..count {
            self.step();
        }
    }

    /// A branch over one to three instructions. Most go the same way nearly always.
    fn branch(&mut self) {
        let bits = self.draw.weighted(&[(200, 12), (50, 8), (10, 4), (4, 1)]).unwrap_or(1);
        let when = self.direction();
        self.test(bits);
        let jump = self.code.len();
        self.code.jump_short(when, 0);
        let from = self.code.len();
        let steps = self.draw.between(1, 2);
        self.steps(steps);
        // Three of the longest instructions are far below 127 bytes.
        self.code.bytes[jump + 1] = (self.code.len() - from) as u8;
    }

    /// Code that is there for what hardly ever happens, as most of a compiler's is.
    fn cold(&mut self, size: usize) {
        let left = size.saturating_sub(self.len() + 2 * RESERVE) as u64;
        if left < 64 {
            return;
        }
        let end = self.len() + self.draw.between(48, left.min(600)) as usize;
        let bits = self.draw.weighted(&[(180, 11), (60, 8), (16, 4)]).unwrap_or(6);
        self.test(bits);
        let over = self.code.jump(When::NotZero);
        while self.len() < end {
            let steps = self.draw.between(2, 6);
            self.steps(steps);
            if self.draw.chance(160) {
                self.branch();
            } else if self.calls > 0 && self.draw.chance(40) {
                self.call();
            }
        }
        self.code.land(over);
    }

    /// A few rounds over neighbouring words of the stack.
    fn repeat(&mut self) {
        if self.draw.chance(210) {
            let rounds = self.draw.between(1, self.slots as u64);
            self.code.set(RBP, rounds as u32);
        } else {
            // One to a power of two that is at most the number of slots.
            let mask = (1 << self.slots.ilog2()) - 1;
            self.code.register(Width::Double, Op::Mov, RBP, R12);
            self.code.small(Width::Double, Op::And, RBP, mask);
            self.code.small(Width::Double, Op::Add, RBP, 1);
        }
        let from = self.code.len();
        let value = self.value();
        let word = Mem { base: RSP, index: Some((RBP, 3)), disp: -8 };
        self.code.load(Width::Quad, Op::Add, value, word);
        for _ in 0..self.draw.between(0, 2) {
            self.branch();
        }
        self.steps(1);
        self.code.small(Width::Double, Op::Sub, RBP, 1);
        let back = self.code.len() + 2 - from;
        self.code.jump_short(When::NotZero, -(back as i64) as i8);
    }

    fn call(&mut self) {
        self.calls -= 1;
        let guarded = self.draw.chance(100);
        let over = guarded.then(|| {
            let bits = self.draw.weighted(&[(1, 2), (6, 9)]).unwrap_or(1);
            let when = self.direction();
            self.test(bits);
            self.code.jump(when)
        });
        if self.draw.chance(40) {
            self.call_by_table();
        } else {
            let callee = self.callee();
            self.code.call(callee);
        }
        if let Some(over) = over {
            self.code.land(over);
        }
    }

    /// A call of one of four functions, as data wants.
    fn call_by_table(&mut self) {
        let table = self.code.address(RAX);
        let callees = std::array::from_fn(|_| self.callee());
        self.tables.push((table, callees));
        self.code.register(Width::Double, Op::Mov, RCX, R12);
        self.code.small(Width::Double, Op::And, RCX, (TABLE / 4 - 1) as i8);
        self.code.load_signed(RCX, Mem { base: RAX, index: Some((RCX, 2)), disp: 0 });
        self.code.register(Width::Quad, Op::Add, RAX, RCX);
        self.code.call_register(RAX);
    }

    fn callee(&mut self) -> i64 {
        let callees = self.around.callees;
        callees[self.draw.below(callees.len() as u64) as usize]
    }

    /// Sets the flags to zero once in 2^`bits`.
    fn test(&mut self, bits: u32) {
        let lowest = self.draw.below(u64::from(32 - bits));
        self.code.test(R12, ((1_u32 << bits) - 1) << lowest);
    }

    fn direction(&mut self) -> When {
        if self.draw.chance(128) { When::Zero } else { When::NotZero }
    }

    fn mix(&mut self) {
        let by = self.draw.between(5, 59) as u8;
        let value = self.value();
        self.code.register(Width::Quad, Op::Add, R12, value);
        self.code.multiply(R12, 0x2545_f491 | self.draw.bits() as u32 & 0x1a0b_046e);
        self.code.rotate(R12, by);
    }

    fn step(&mut self) {
        let width = if self.draw.chance(128) { Width::Quad } else { Width::Double };
        let value = self.value();
        match self.draw.weighted(&STEPS).unwrap_or(Step::Mix) {
            Step::Registers => {
                let (op, other) = (self.operation(), self.value());
                self.code.register(width, op, value, other);
            }
            Step::Small => {
                let by = self.draw.below(120) as i8;
                self.code.small(width, Op::Add, value, by);
            }
            Step::StackLoad => {
                let op = self.operation();
                let slot = self.slot();
                self.code.load(Width::Quad, op, value, slot);
            }
            Step::StackStore => {
                let slot = self.slot();
                self.code.store(Width::Quad, slot, value);
            }
            Step::RecordLoad => {
                let (op, word) = (self.operation(), self.record());
                self.code.load(width, op, value, word);
            }
            Step::RecordStore => {
                let word = self.record();
                self.code.store(width, word, value);
            }
            Step::StaticLoad => {
                let (op, word) = (self.operation(), self.fixed());
                self.code.load(width, op, value, word);
            }
            Step::StaticStore => {
                let word = self.fixed();
                self.code.store(width, word, value);
            }
            Step::Walk => {
                let next = Mem { base: RBX, index: Some((R13, 0)), disp: 0 };
                self.code.load(Width::Quad, Op::Mov, R13, next);
            }
            Step::Take => self.code.register(Width::Quad, Op::Mov, R14, R13),
            Step::Lookup => self.lookup(value),
            Step::Mix => self.mix(),
        }
    }

    /// A word of a table, at a place that the state gives.
    fn lookup(&mut self, value: Reg) {
        let [smallest, largest] = LOOKUP;
        let order =
            self.draw.between(smallest, largest).min(u64::from((self.around.data / 8).ilog2()));
        self.code.register(Width::Quad, Op::Mov, R15, R12);
        self.code.shift_right(R15, 64 - order as u8);
        let word = Mem { base: RBX, index: Some((R15, 3)), disp: 0 };
        self.code.load(Width::Quad, Op::Mov, value, word);
    }

    fn operation(&mut self) -> Op {
        const OPERATIONS: [(u64, Op); 6] =
            [(6, Op::Mov), (4, Op::Add), (2, Op::Xor), (1, Op::And), (1, Op::Or), (2, Op::Cmp)];
        self.draw.weighted(&OPERATIONS).unwrap_or(Op::Add)
    }

    fn value(&mut self) -> Reg {
        VALUES[self.draw.below(VALUES.len() as u64) as usize]
    }

    fn slot(&mut self) -> Mem {
        stack(self.draw.below(self.slots as u64) as i32)
    }

    /// A word of the record that is worked on; never its first, which leads to the next.
    fn record(&mut self) -> Mem {
        Mem { base: RBX, index: Some((R14, 0)), disp: self.word() }
    }

    /// A word of a record at a fixed place.
    fn fixed(&mut self) -> Mem {
        let record = self.statics[self.draw.below(self.statics.len() as u64) as usize];
        Mem { base: RBX, index: None, disp: record + self.word() }
    }

    fn word(&mut self) -> i32 {
        self.draw.between(1, RECORD / 8 - 1) as i32 * 8
    }
}

fn stack(slot: i32) -> Mem {
    Mem { base: RSP, index: None, disp: slot * 8 }
}
