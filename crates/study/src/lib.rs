//! The case study: from a plan, over runs on machines, to figures that can be believed.

pub mod figure;
