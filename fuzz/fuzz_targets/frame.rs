//! Frames of an agent's connection, as agent and controller take them: whatever the bytes are, a message or
//! an error.
#![no_main]

use agent::{Decoder, LARGEST, Reply, Request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut requests = Decoder::default();
    requests.push(bytes);
    while let Ok(Some(request)) = requests.message::<Request>(Request::LONGEST) {
        // What was understood is written as a frame that is understood as the same.
        let mut again = Decoder::default();
        again.push(&agent::encode(&request).unwrap());
        assert_eq!(again.message::<Request>(LARGEST), Ok(Some(request)));
    }
    let mut replies = Decoder::default();
    replies.push(bytes);
    while let Ok(Some(_)) = replies.message::<Reply>(LARGEST) {}
});
