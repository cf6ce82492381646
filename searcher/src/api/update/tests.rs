use cairn_model::{Point, UpdateMode, Vector, Vectors};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::*;
use crate::api::parse;

fn read<T: DeserializeOwned, R>(json: &str, check: impl FnOnce(T) -> Result<R>) -> std::result::Result<R, String> {
    parse::<T>(json.as_bytes()).and_then(check).map_err(|error| error.to_string())
}

fn upsert(json: &str) -> std::result::Result<Operations, String> {
    read(json, UpsertRequest::operations)
}

fn point(id: u64, vectors: &[(&str, &[f32])], payload: serde_json::Value) -> Point {
    let vectors = vectors.iter().map(|(name, values)| ((*name).to_owned(), Vector::Dense(values.to_vec())));
    let payload = payload.as_object().cloned().unwrap_or_default();
    Point { id: PointId::Num(id), vectors: vectors.collect(), payload }
}

const FILTER: &str = r#"{"must": [{"key": "a", "match": {"value": 1}}]}"#;

#[test]
fn lists_and_columns_say_the_same() {
    let points = vec![point(1, &[("", &[1.0, 2.0])], json!({"a": 1})), point(2, &[("", &[3.0, 4.0])], json!(null))];
    let wanted = Ok(vec![Operation::Upsert { points, mode: UpdateMode::Upsert, filter: None }]);
    let list = r#"{"points": [{"id": 1, "vector": [1, 2], "payload": {"a": 1}, "stranger": 1}, {"id": 2, "vector": {"": [3, 4]}, "payload": null}]}"#;
    assert_eq!(upsert(list), wanted);
    for columns in [
        r#"{"batch": {"ids": [1, 2], "vectors": [[1, 2], [3, 4]], "payloads": [{"a": 1}, null]}}"#,
        r#"{"batch": {"ids": [1, 2], "vectors": {"": [[1, 2], [3, 4]]}, "payloads": [{"a": 1}, {}]}, "shard_key": "x", "update_mode": "upsert"}"#,
    ] {
        assert_eq!(upsert(columns), wanted, "{columns}");
    }
    let several = upsert(r#"{"batch": {"ids": [7], "vectors": {"a": [[1]], "b": [[2, 3]]}}}"#);
    let points = vec![point(7, &[("a", &[1.0]), ("b", &[2.0, 3.0])], json!({}))];
    assert_eq!(several, Ok(vec![Operation::Upsert { points, mode: UpdateMode::Upsert, filter: None }]));
}

#[test]
fn an_upsert_has_a_mode_and_a_filter() {
    for (name, mode) in [
        ("upsert", UpdateMode::Upsert),
        ("insert_only", UpdateMode::InsertOnly),
        ("update_only", UpdateMode::UpdateOnly),
    ] {
        let json = format!(
            r#"{{"points": [{{"id": 1, "vector": {{}}}}], "update_mode": "{name}", "update_filter": {FILTER}}}"#
        );
        let found = upsert(&json).unwrap();
        let [Operation::Upsert { mode: read, filter: Some(filter), .. }] = found.as_slice() else {
            panic!("{found:?}");
        };
        assert_eq!((*read, filter), (mode, &serde_json::from_str(FILTER).unwrap()));
        assert_eq!(filter.must.len(), 1);
    }
}

#[test]
fn ids_are_numbers_and_uuids_in_all_spellings() {
    let text = "936da01f-9abd-4d9d-80c7-02af85c822a8";
    for spelling in [text, "936DA01F9ABD4d9d80C702AF85C822A8", "urn:uuid:936da01f-9abd-4d9d-80c7-02af85c822a8"] {
        let found = read(&format!(r#"{{"points": [18446744073709551615, "{spelling}"]}}"#), PointsSelector::delete);
        let ids = vec![PointId::Num(u64::MAX), text.parse().unwrap()];
        assert_eq!(found, Ok(vec![Operation::Delete(Selection::Ids(ids))]), "{spelling}");
    }
}

#[test]
fn every_kind_of_operation_is_read_alone_and_in_a_batch() {
    let (ids, payload) = (r#""points": [1]"#, r#""payload": {"a": {"b": 2}}"#);
    let bodies = [
        ("upsert", format!(r#"{{"points": [{{"id": 1, "vector": [1]}}], "update_filter": {FILTER}}}"#)),
        ("delete", format!("{{{ids}}}")),
        ("delete", format!(r#"{{"filter": {FILTER}}}"#)),
        ("set_payload", format!(r#"{{{payload}, {ids}, "key": "x.y"}}"#)),
        ("overwrite_payload", format!(r#"{{{payload}, "filter": {FILTER}}}"#)),
        ("delete_payload", format!(r#"{{"keys": ["a", "b[].c"], {ids}}}"#)),
        ("clear_payload", format!("{{{ids}}}")),
        ("update_vectors", r#"{"points": [{"id": 1, "vector": {"a": [1]}}]}"#.to_owned()),
        ("delete_vectors", format!(r#"{{"vector": ["a"], {ids}}}"#)),
    ];
    let alone = |kind: &str, body: &str| match kind {
        "upsert" => upsert(body),
        "delete" => read(body, PointsSelector::delete),
        "set_payload" => read(body, SetPayload::set),
        "overwrite_payload" => read(body, SetPayload::overwrite),
        "delete_payload" => read(body, DeletePayload::operations),
        "clear_payload" => read(body, PointsSelector::clear_payload),
        "update_vectors" => read(body, UpdateVectors::operations),
        _ => read(body, DeleteVectors::operations),
    };
    let one: Vec<_> = bodies.iter().flat_map(|(kind, body)| alone(kind, body).unwrap()).collect();
    let selection = || Selection::Ids(vec![PointId::Num(1)]);
    let payload = json!({"a": {"b": 2}}).as_object().cloned().unwrap();
    let key = |text: &str| Path::parse(text).unwrap();
    assert_eq!(one[3], Operation::SetPayload { selection: selection(), payload, key: Some(key("x.y")) });
    assert!(matches!(&one[4], Operation::OverwritePayload { selection: Selection::Filter(_), key: None, .. }));
    assert_eq!(one[5], Operation::DeletePayload { selection: selection(), keys: vec![key("a"), key("b[].c")] });
    assert_eq!(one[6], Operation::ClearPayload(selection()));
    let vectors = Vectors::from([("a".to_owned(), Vector::Dense(vec![1.0]))]);
    assert_eq!(one[7], Operation::UpdateVectors { points: vec![(PointId::Num(1), vectors)], filter: None });
    assert_eq!(one[8], Operation::DeleteVectors { selection: selection(), names: vec!["a".into()] });

    let batch: Vec<_> = bodies.iter().map(|(kind, body)| format!(r#"{{"{kind}": {body}}}"#)).collect();
    let batch = format!(r#"{{"operations": [{}]}}"#, batch.join(","));
    assert_eq!(read(&batch, UpdateBatch::operations), Ok((one, bodies.len())));
    assert_eq!(read(r#"{"operations": []}"#, UpdateBatch::operations), Ok((vec![], 0)));
}

#[test]
fn ids_win_over_a_filter_but_where_vectors_are_deleted() {
    let both = format!(r#""points": [1], "filter": {FILTER}"#);
    let ids = Selection::Ids(vec![PointId::Num(1)]);
    assert_eq!(read(&format!("{{{both}}}"), PointsSelector::delete), Ok(vec![Operation::Delete(ids.clone())]));
    let names = || vec!["a".to_owned()];
    let deleted = read(&format!(r#"{{"vector": ["a"], {both}}}"#), DeleteVectors::operations).unwrap();
    assert!(matches!(&deleted[0], Operation::DeleteVectors { selection: Selection::Filter(_), .. }));
    assert_eq!(deleted[1..], [Operation::DeleteVectors { selection: ids, names: names() }]);
    let batch = format!(r#"{{"operations": [{{"delete_vectors": {{"vector": ["a"], {both}}}}}]}}"#);
    assert_eq!(read(&batch, UpdateBatch::operations), Ok((deleted, 1)), "one result for one operation");
}

#[test]
fn mistakes_have_qdrants_words() {
    let format = "Format error in JSON body: ";
    let neither = format!("{format}Either list of point ids or filter must be provided");
    let empty = "Bad request: Empty update request".to_owned();
    let validation = |why: &str| format!("Validation error in JSON body: [{why}]");
    for (json, message) in [
        ("{}", format!("{format}missing field `points` or `batch`")),
        (
            r#"{"points": [], "batch": {"ids": [], "vectors": []}}"#,
            format!("{format}`points` and `batch` are given, expected one"),
        ),
        (r#"{"points": []}"#, empty.clone()),
        (r#"{"batch": {"ids": [], "vectors": []}}"#, empty.clone()),
        (
            r#"{"batch": {"ids": [1, 2], "vectors": [[1]]}}"#,
            validation("batch.batch: number of ids and vectors must be equal (2 != 1)"),
        ),
        (
            r#"{"batch": {"ids": [1], "vectors": {"a": [[1]], "b": []}}}"#,
            validation("batch.batch: number of ids and vectors must be equal (1 != 0)"),
        ),
        (
            r#"{"batch": {"ids": [1], "vectors": [[1]], "payloads": []}}"#,
            validation("batch.batch: number of ids and payloads must be equal (1 != 0)"),
        ),
        (r#"{"points": [{"id": 1}]}"#, format!("{format}missing field `vector` at line 1 column 21")),
        (
            r#"{"points": [{"id": -1, "vector": [1]}]}"#,
            format!(
                "{format}invalid type: integer `-1`, expected a point ID: an unsigned integer or a UUID at line 1 column 21"
            ),
        ),
        (
            r#"{"points": [{"id": 1, "vector": [1], "payload": 3}]}"#,
            format!("{format}invalid type: integer `3`, expected a map at line 1 column 49"),
        ),
        (
            r#"{"points": [], "update_mode": "replace"}"#,
            format!(
                "{format}unknown variant `replace`, expected one of `upsert`, `insert_only`, `update_only` at line 1 column 39"
            ),
        ),
        (
            r#"{"points": [], "update_filter": {"mast": []}}"#,
            format!(
                "{format}filter.mast: unknown field, expected must, should, must_not or min_should at line 1 column 45"
            ),
        ),
    ] {
        assert_eq!(upsert(json), Err(message), "{json}");
    }
    assert_eq!(read("{}", PointsSelector::delete), Err(neither.clone()));
    assert_eq!(read(r#"{"points": []}"#, PointsSelector::clear_payload), Err(empty.clone()));
    assert_eq!(read(r#"{"payload": {}}"#, SetPayload::set), Err(neither.clone()));
    assert_eq!(read(r#"{"payload": {}, "points": []}"#, SetPayload::overwrite), Err(empty));
    assert_eq!(read(r#"{"keys": ["a"]}"#, DeletePayload::operations), Err(neither));
    let error = read(r#"{"keys": ["a..b"], "points": [1]}"#, DeletePayload::operations).unwrap_err();
    assert!(error.starts_with("Format error in JSON body: invalid payload path 'a..b' at byte 2"), "{error}");
    let none = read(r#"{"vector": ["a"]}"#, DeleteVectors::operations);
    assert_eq!(none, Err("Bad request: No filter or points provided".into()));
    let none = read(r#"{"vector": [], "points": [1]}"#, DeleteVectors::operations);
    assert_eq!(none, Err(validation("vector: must specify vector names to delete")));
    let none = read(r#"{"points": []}"#, UpdateVectors::operations);
    assert_eq!(none, Err(validation("points: must specify points to update")));
}

#[test]
fn a_batchs_mistakes_are_named() {
    let batch = |operations: &str| read(&format!(r#"{{"operations": [{operations}]}}"#), UpdateBatch::operations);
    for operation in ["{}", r#"{"destroy": {}}"#, r#"{"delete": {"points": [1]}, "clear_payload": {"points": [1]}}"#] {
        let error = batch(operation).unwrap_err();
        assert!(error.starts_with("Format error in JSON body: an operation is an object of one field"), "{error}");
    }
    assert_eq!(batch(r#"{"delete": {"points": []}}"#), Err("Bad request: Empty update request".into()));
    let many = vec![r#"{"delete": {"points": [1]}}"#; OPERATIONS_MAX + 1].join(",");
    let message = "Validation error in JSON body: [operations: 1001 operations are given, at most 1000 are allowed]";
    assert_eq!(batch(&many), Err(message.into()));
}

#[test]
fn results_are_written_as_qdrant_does() {
    let body =
        |operation_id, status| serde_json::to_string(&UpdateBody::from(UpdateResult { operation_id, status })).unwrap();
    assert_eq!(body(Some(3), UpdateStatus::Completed), r#"{"operation_id":3,"status":"completed"}"#);
    assert_eq!(body(None, UpdateStatus::Acknowledged), r#"{"status":"acknowledged"}"#);
}
