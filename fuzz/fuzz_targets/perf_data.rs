//! A perf.data by others: read whole, as `vmeter import` does.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("perf.data");
    std::fs::write(&path, bytes).unwrap();
    let _ = record::import_perf_data(&path, &place.path().join("recording"));
});
