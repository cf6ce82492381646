//! Text sources, whatever they are: points, payloads, ids.

#![no_main]

use cairn_indexer::source::{Batch, IdLines, Input, Jsonl, Payloads, Source as _};
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(mut source) = Jsonl::new(Input::new("fuzz.jsonl", bytes)) {
        let dim = source.layout().dim;
        let mut batch = Batch::default();
        while let Ok(true) = source.next(&mut batch) {
            assert!(batch.vector(0, dim).iter().all(|x| x.is_finite()));
        }
    }
    let mut payloads = Payloads::new(Input::new("fuzz.jsonl", bytes));
    while let Ok(Some(payload)) = payloads.read() {
        // JSON by its grammar; a number may still be too large for any type, which the segment's builder refuses.
        assert!(payload.is_empty() || serde_json::from_str::<&RawValue>(&payload).is_ok());
    }
    let mut ids = IdLines::new(Input::new("fuzz.ids", bytes));
    while let Ok(Some(_)) = ids.read() {}
});
