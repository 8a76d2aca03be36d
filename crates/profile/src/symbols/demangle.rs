//! Demangling of names that a stranger may have made: what is written is bounded.

use super::LONGEST;
use std::fmt::{self, Write};

/// Depth of nested parts.
const DEEPEST: u32 = 64;

/// Text that refuses more than it has room for.
#[derive(Default)]
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > LONGEST {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

/// The name as it was in the source, of Rust and C++; any other, and any that would be longer
/// than is kept, as it is.
pub(super) fn demangle(name: &str) -> String {
    if let Ok(rust) = rustc_demangle::try_demangle(name) {
        let mut text = Bounded::default();
        if write!(text, "{rust:#}").is_ok() {
            return text.0;
        }
    } else if name.starts_with("_Z") {
        let limits = cpp_demangle::ParseOptions::default().recursion_limit(DEEPEST);
        let options = cpp_demangle::DemangleOptions::new().recursion_limit(DEEPEST);
        let mut text = Bounded::default();
        if let Ok(symbol) = cpp_demangle::Symbol::new_with_options(name, &limits)
            && symbol.structured_demangle(&mut text, &options).is_ok()
        {
            return text.0;
        }
    }
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_in_the_source() {
        assert_eq!(
            demangle("_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE"),
            "core::fmt::Write::write_fmt"
        );
        assert_eq!(demangle("_ZN3foo3barEi"), "foo::bar(int)");
        assert_eq!(demangle("tcp_recvmsg"), "tcp_recvmsg");
        assert_eq!(demangle("_Znonsense"), "_Znonsense");
    }

    #[test]
    fn a_name_that_would_grow_without_end_stays_as_it_is() {
        // Each part refers to the one before twice.
        let mut name = String::from("_Z1fSt4pairIiiE");
        for part in 0..14 {
            let of = char::from(b'A' + part - u8::from(part > 0));
            let of = if part == 0 { "S_".into() } else { format!("S{}_", of) };
            name.push_str(&format!("St4pairI{of}{of}E"));
        }
        assert!(demangle(&name).len() <= LONGEST);
    }
}
