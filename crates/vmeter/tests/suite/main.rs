//! The program's tests but for those in emulated machines (`tests/lab`): one test program, which is
//! linked once and whose tests wait beside each other.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests"
)]

mod accounting;
mod agent;
mod agent_init;
mod agent_install;
mod agent_settings;
mod alignment;
mod attack_agents;
mod attack_files;
mod bench_addresses;
mod bench_cpu;
mod bench_status;
mod bench_tcp;
mod bench_web;
mod browse;
#[path = "../../../study-report/tests/chromium/mod.rs"]
#[allow(dead_code, reason = "the page's own tests use the rest")]
mod chromium;
mod circles;
mod cpu;
mod dependencies;
mod exports;
mod language;
mod layers;
mod log;
#[path = "../processes/mod.rs"]
mod processes;
mod record;
mod record_faults;
#[path = "../servers/mod.rs"]
mod servers;
mod shells;
#[path = "../spinner/mod.rs"]
mod spinner;
mod study;
mod top;
