//! The case study: from a plan, over runs on machines, to figures that can be believed.

mod beside;
mod conduct;
mod error;
mod export;
pub mod figure;
mod figures;
mod fleet;
mod measures;
pub mod plan;
mod plans;
mod preview;
mod record;
mod remarks;
mod results;
mod run;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod samples;
mod sampling;
mod schedule;
mod store;
mod symbols;

pub use conduct::{Finish, Study, StudyError, Watch};
pub use export::export;
pub use fleet::{Answer, FleetError, Means, Station};
pub use measures::{LAYERS, Measures};
pub use plan::{FigureKind, Plan, PlanError};
pub use plans::{Listed, PLANS};
pub use preview::Preview;
pub use record::{Counters, Data, Ending, Function, Record, Sampled};
pub use results::report;
pub use schedule::{Run, Treatment, describe, schedule};
pub use store::{Store, StoreError};
