//! Bytes of a ring, as a guest's agent sends them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sample::{Decoder, Layout};

/// PERF_SAMPLE_IDENTIFIER, IP, TID, TIME, CPU and PERIOD (include/uapi/linux/perf_event.h).
const SAMPLE_TYPE: u64 = 1 << 16 | 1 | 1 << 1 | 1 << 2 | 1 << 7 | 1 << 8;

fuzz_target!(|bytes: &[u8]| {
    let ids = vec![(7, 0), (8, 1)];
    let layout = Layout { sample_type: SAMPLE_TYPE, ids, periods: vec![1000, 2000] };
    let decoder = Decoder::new(&layout).unwrap();
    let mut decode = decoder.decode(bytes);
    let mut before = 0;
    while decode.next().is_some() {
        assert!(decode.offset() > before && decode.offset() <= bytes.len());
        before = decode.offset();
    }
});
