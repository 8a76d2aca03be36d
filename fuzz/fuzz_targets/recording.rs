//! A recording by others: its head, and a stream of chunks that were not closed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use record::Recording;

fuzz_target!(|bytes: &[u8]| {
    // The head up to the first zero, the stream behind it.
    let (head, stream) = match bytes.iter().position(|byte| *byte == 0) {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &[][..]),
    };
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("recording.json"), head).unwrap();
    std::fs::write(place.path().join("stream-0.raw"), stream).unwrap();
    let Ok(recording) = Recording::open(place.path()) else { return };
    for number in 0..recording.streams().len() {
        if let Ok(records) = recording.records(number) {
            records.for_each(drop);
        }
    }
});
