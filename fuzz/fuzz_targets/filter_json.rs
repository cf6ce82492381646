//! A filter's JSON, whatever it is: a filter or an error that says where. A filter can be asked, whether its values make sense or not.

#![no_main]

use std::sync::LazyLock;

use cairn_engine::payload::{matches, resolve};
use cairn_model::{Filter, Payload, PointId, filter::Tokenizer};
use libfuzzer_sys::fuzz_target;

static PAYLOAD: LazyLock<Payload> = LazyLock::new(|| {
    let text = r#"{"a": {"b": [{"c": "x"}, {"c": ["y", 2, null]}], "lon": 8.5, "lat": 47}, "t": "Some text, 2024-01-01",
        "at": "2024-01-01T00:00:00Z", "n": [1, 2.5, -3], "flag": true, "places": [{"lon": 180, "lat": -90}, {"lon": 0, "lat": 0}]}"#;
    serde_json::from_str(text).unwrap_or_default()
});

fuzz_target!(|bytes: &[u8]| {
    let Ok(json) = serde_json::from_slice(bytes) else { return };
    let mut filter = match Filter::from_json(&json) {
        Ok(filter) => filter,
        Err(error) => {
            assert!(error.at.starts_with("filter"), "{error}");
            assert!(!error.why.is_empty());
            return;
        }
    };
    if let Err(error) = filter.check() {
        assert!(error.at.starts_with("filter"), "{error}");
    }
    let ask = |filter: &Filter| matches(filter, PointId::Num(7), &PAYLOAD, &|name| name == "image");
    ask(&filter);
    resolve(&mut filter, &|_| Some(Tokenizer::default()));
    ask(&filter);
    assert!(filter.paths().iter().all(|path| !path.steps().is_empty()));
});
