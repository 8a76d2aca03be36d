//! The CPU load: many generated functions, called in a seeded order (chapter 5's kernel build).
//!
//! [`run`] starts n processes that do the same fixed work, together, and measures each. The work
//! is generated machine code with the cache footprint of a compiler, or a program. A process
//! becomes such an instance by [`instance`].

mod data;
mod draw;
mod encode;
mod function;
mod generate;
mod instance;
mod load;
mod outcome;
mod plan;
mod program;
mod protocol;
mod run;
mod set;
mod text;

pub use instance::instance;
pub use load::CALLS_PER_PASS;
pub use outcome::{InstanceOutcome, Outcome, SCHEMA, Work};
pub use plan::{Placement, Plan};
pub use run::run;
