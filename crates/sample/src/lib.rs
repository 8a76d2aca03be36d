//! Samples of perf events: probing and opening them, rings, decoding what the kernel wrote.

mod decode;
mod layout;
mod shape;

pub use decode::{Damage, Decode, Decoder, Fault, Unfit};
pub use layout::Layout;
