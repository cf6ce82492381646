//! A frame between root and leaf, whatever it is: what can be read can be written and read again.

#![no_main]

use cairn_searcher::fanout::{Ask, Part};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(ask) = Ask::decode(bytes) {
        let again = ask.encode().map(|frame| Ask::decode(&frame));
        assert_eq!(again, Ok(Ok(ask)));
    }
    for queries in [0, 1, 2] {
        if let Ok(part) = Part::decode(bytes, queries) {
            let frame = part.encode().expect("no larger than what was read");
            assert_eq!(format!("{:?}", Part::decode(&frame, queries)), format!("{:?}", Ok::<_, ()>(part)));
        }
    }
});
