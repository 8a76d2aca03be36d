//! Samples of perf events: probing and opening them, rings, decoding what the kernel wrote.

mod layout;

pub use layout::Layout;
