//! Payloads, as deep as they may be.

use serde_json::Value;

use crate::limits::PAYLOAD_DEPTH_MAX;

/// A point's payload: a JSON object, as Qdrant stores it.
pub type Payload = serde_json::Map<String, Value>;

/// Whether no value of a payload is nested deeper than [`PAYLOAD_DEPTH_MAX`].
#[must_use]
pub fn is_shallow(payload: &Payload) -> bool {
    payload.values().all(|value| is_shallow_to(value, PAYLOAD_DEPTH_MAX))
}

fn is_shallow_to(value: &Value, depth_max: usize) -> bool {
    match (value, depth_max.checked_sub(1)) {
        (Value::Array(_) | Value::Object(_), None) => false,
        (Value::Array(values), Some(left)) => values.iter().all(|value| is_shallow_to(value, left)),
        (Value::Object(map), Some(left)) => map.values().all(|value| is_shallow_to(value, left)),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn depth_counts_arrays_and_objects() {
        let nested = |depth| {
            (0..depth).fold(json!(1), |inner, at| if at % 2 == 0 { json!([inner]) } else { json!({"a": inner}) })
        };
        for (depth, expected) in [(0, true), (1, true), (PAYLOAD_DEPTH_MAX, true), (PAYLOAD_DEPTH_MAX + 1, false)] {
            let payload = Payload::from_iter([("flat".to_owned(), json!("x")), ("k".to_owned(), nested(depth))]);
            assert_eq!(is_shallow(&payload), expected, "{depth}");
        }
    }
}
