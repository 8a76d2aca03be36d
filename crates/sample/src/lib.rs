//! Samples of perf events: which can be had here, opening them, their rings, and decoding what the
//! kernel wrote.
//!
//! A [`Capture`] gives the rings' bytes as they are: while it records nothing is decoded.
//! A [`Decoder`] decodes them, on any machine, by the capture's [`Layout`].

mod build_id;
mod capture;
mod decode;
mod encoding;
mod error;
mod existing;
mod kernel;
mod layout;
mod machine;
mod opening;
mod processor;
mod shape;
mod sysfs;
mod word;

pub use capture::{Capture, Lost, Scope, Wanted};
pub use decode::{Damage, Decode, Decoder, Fault, Unfit};
pub use error::Error;
pub use existing::existing;
pub use layout::Layout;
pub use word::Word;

/// The clock that samples are stamped by: CLOCK_MONOTONIC_RAW, which nobody sets or slews.
#[must_use]
pub fn now() -> model::Nanos {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicRaw);
    let part = |value: i64| u64::try_from(value).unwrap_or_default();
    model::Nanos(part(now.tv_sec) * 1_000_000_000 + part(now.tv_nsec))
}

/// The same, between two readings of the CPU's time stamp counter.
#[must_use]
pub fn stamp() -> model::Stamp {
    let before = kernel::counter();
    let time = now();
    model::Stamp { time, counter: before.zip(kernel::counter()) }
}
