//! A filter's JSON, whatever it is: a filter or an error that says where.

#![no_main]

use cairn_model::Filter;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(json) = serde_json::from_slice(bytes) else { return };
    if let Err(error) = Filter::from_json(&json) {
        assert!(error.at.starts_with("filter"), "{error}");
        assert!(!error.why.is_empty());
    }
});
