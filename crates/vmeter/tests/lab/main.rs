//! The tests in emulated machines: real Xen and real KVM.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

#[path = "../../../study-report/tests/chromium/mod.rs"]
#[allow(dead_code, reason = "the page's own tests use the rest")]
mod chromium;
mod kvm;
#[path = "../machine/mod.rs"]
mod machine;
#[path = "../processes/mod.rs"]
mod processes;
mod recording;
#[path = "../spinner/mod.rs"]
mod spinner;
mod study;
mod xen;
