//! A kernel's own symbols: the text of /proc/kallsyms, a guest's too.

use super::{Function, Reason, function};
use std::ops::Range;
use std::sync::Arc;

/// Bytes that are read; a kernel's with many modules has 20 MB.
pub(super) const BYTES: usize = 64 << 20;
/// Symbols that are read.
const SYMBOLS: usize = 1 << 21;
/// No function goes on for more bytes.
const LONGEST_FUNCTION: u64 = 1 << 20;

/// A kernel's symbols.
#[derive(Debug)]
pub(super) struct Kallsyms {
    text: Arc<[u8]>,
    /// In the order of addresses, each once.
    symbols: Vec<Symbol>,
}

#[derive(Debug, Clone, Copy)]
struct Symbol {
    start: u64,
    /// Code, and not data that only bounds it; 0 is the best of those at one address.
    rank: u8,
    is_code: bool,
    /// Where its line goes on with the name.
    name: u32,
}

impl Kallsyms {
    /// Reads the text: `ffffffff81000000 T _text` and, of modules, `[module]`. Lines that are
    /// not like that are passed over.
    ///
    /// # Errors
    /// There are too many, none, or none with an address.
    pub(super) fn parse(text: Arc<[u8]>) -> Result<Self, Reason> {
        if text.len() > BYTES {
            return Err(Reason::TooLarge(format!("{} bytes of kernel symbols", text.len())));
        }
        let (mut symbols, mut hidden, mut begin) = (Vec::new(), false, 0);
        for line in text.split(|&byte| byte == b'\n') {
            if let Some(symbol) = parse_line(line, begin) {
                hidden |= symbol.start == 0;
                symbols.push(symbol);
            }
            begin += line.len() + 1;
            if symbols.len() > SYMBOLS {
                return Err(Reason::TooLarge(format!("more than {SYMBOLS} kernel symbols")));
            }
        }
        if symbols.iter().all(|symbol| symbol.start == 0) {
            return Err(if hidden { Reason::Hidden } else { Reason::NoKallsyms("empty".into()) });
        }
        symbols.sort_by_key(|symbol| (symbol.start, symbol.rank));
        symbols.dedup_by_key(|symbol| symbol.start);
        Ok(Self { text, symbols })
    }

    /// The function at an address.
    pub(super) fn find(&self, address: u64) -> Option<Function> {
        let after = self.symbols.partition_point(|symbol| symbol.start <= address);
        let symbol = self.symbols.get(after.checked_sub(1)?)?;
        if !symbol.is_code || address - symbol.start >= LONGEST_FUNCTION {
            return None;
        }
        let (name, module) = self.name(symbol.name)?;
        Some(function(&self.text[name], module.map(|module| &self.text[module])))
    }

    /// The name and the module whose line goes on from `begin`.
    fn name(&self, begin: u32) -> Option<(Range<usize>, Option<Range<usize>>)> {
        let begin = begin as usize;
        let rest = self.text.get(begin..)?;
        let line = rest.split(|&byte| byte == b'\n').next()?;
        let space = |byte: &u8| byte.is_ascii_whitespace();
        let end = line.iter().position(space).unwrap_or(line.len());
        let open = line.iter().skip(end).position(|&byte| byte == b'[').map(|at| at + end + 1);
        let module = open.and_then(|open| {
            let close = line.iter().skip(open).position(|&byte| byte == b']')?;
            Some(begin + open..begin + open + close)
        });
        (end > 0).then_some((begin..begin + end, module))
    }
}

fn parse_line(line: &[u8], begin: usize) -> Option<Symbol> {
    let digits = line.iter().position(|&byte| byte == b' ')?;
    let address = std::str::from_utf8(line.get(..digits)?).ok()?;
    let start = u64::from_str_radix(address, 16).ok()?;
    let &[kind, b' '] = line.get(digits + 1..digits + 3)? else { return None };
    let rank = match kind {
        b'T' => 0,
        b'W' => 1,
        b't' => 2,
        b'w' => 3,
        _ => 4,
    };
    let name = u32::try_from(begin + digits + 3).ok()?;
    Some(Symbol { start, rank, is_code: rank < 4, name })
}
