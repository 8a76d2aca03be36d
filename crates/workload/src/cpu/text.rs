//! The generated text, mapped as a program's is, and the way into it.

#![allow(unsafe_code, reason = "calling functions that were generated at run time")]

use super::data::Data;
use crate::Error;
use memmap2::{Advice, Mmap, MmapMut};

/// Machine code that can be executed and no longer written.
#[derive(Debug)]
pub(super) struct Text {
    code: Mmap,
}

/// The code of `function::entry`. On x86-64 Linux, C's convention is System V's.
type Entry = unsafe extern "C" fn(target: *const u8, data: *mut u8, state: u64, record: u64) -> u64;

impl Text {
    /// Maps `bytes` of memory, lets `write` fill them and makes them executable.
    pub(super) fn new(bytes: usize, write: impl FnOnce(&mut [u8])) -> Result<Self, Error> {
        if cfg!(not(target_arch = "x86_64")) {
            return Err(Error::Plan("the CPU load is generated for x86-64 only".into()));
        }
        let mut map = MmapMut::map_anon(bytes)
            .map_err(Error::io(format!("cannot allocate {bytes} bytes of text")))?;
        // A program's text is a file, in small pages; old kernels know no large ones.
        let _ = map.advise(Advice::NoHugePage);
        write(&mut map);
        let code = map.make_exec().map_err(Error::io("cannot make the text executable"))?;
        Ok(Self { code })
    }

    /// Calls the function at `target`, with the state and the record to begin with. Both places
    /// are those of a script that was drawn for this text and this data.
    pub(super) fn call(&self, data: &mut Data, target: u64, state: u64, record: u64) -> u64 {
        let data = data.start();
        let target = self.code[target as usize..].as_ptr();
        // SAFETY: the text begins with the code of `function::entry`, which takes these four
        // arguments and keeps the registers that the convention wants kept.
        let entry: Entry = unsafe { std::mem::transmute(self.code.as_ptr()) };
        // SAFETY: `target` is the start of a function that `function::function` wrote and
        // `record` lies in `data`, as the script says. Such a function touches its stack frame
        // and the records of `data` only, calls its like to a bounded depth, and returns.
        unsafe { entry(target, data, state, record) }
    }
}
