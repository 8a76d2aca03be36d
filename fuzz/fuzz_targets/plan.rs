//! A study's plan.
#![no_main]

use libfuzzer_sys::fuzz_target;
use study::Plan;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = Plan::parse(text, "plan.toml");
    }
});
