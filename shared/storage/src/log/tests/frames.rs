use cairn_model::{
    ErrorKind, Payload, Point, Vector, Vectors,
    limits::{IDS_MAX, LOG_BODY_BYTES_MAX, PAYLOAD_BYTES_MAX},
};
use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

use super::*;

fn id() -> impl Strategy<Value = PointId> {
    prop_oneof![
        any::<u64>().prop_map(PointId::Num),
        any::<u128>().prop_map(|n| PointId::Uuid(uuid::Uuid::from_u128(n)))
    ]
}

fn value() -> impl Strategy<Value = f32> {
    any::<f32>().prop_filter("finite", |value| value.is_finite())
}

fn vector() -> impl Strategy<Value = Vector> {
    let sparse = proptest::collection::btree_map(any::<u32>(), value(), 0..6).prop_map(|entries| {
        let (indices, values) = entries.into_iter().unzip();
        Vector::Sparse { indices, values }
    });
    let multi = (1..4_u32, 1..4_usize).prop_flat_map(|(dim, rows)| {
        vec(value(), dim as usize * rows).prop_map(move |values| Vector::Multi { dim, values })
    });
    prop_oneof![vec(value(), 1..9).prop_map(Vector::Dense), multi, sparse]
}

fn vectors() -> impl Strategy<Value = Vectors> {
    proptest::collection::btree_map("[a-z]{0,3}", vector(), 0..4)
}

fn payload() -> impl Strategy<Value = Payload> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec(("\\PC{0,4}", inner), 0..4).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    });
    vec(("\\PC{0,6}", value), 0..4).prop_map(|pairs| pairs.into_iter().collect())
}

fn change() -> impl Strategy<Value = Change> {
    let point = (id(), vectors(), payload()).prop_map(|(id, vectors, payload)| Point { id, vectors, payload });
    prop_oneof![vec(point, 0..4).prop_map(Change::Put), vec(id(), 0..5).prop_map(Change::Remove)]
}

prop_compose! {
    fn frame()(
        sequence in any::<u64>(), writer in any::<u128>(), nonce in any::<u64>(),
        parts in vec(vec(change(), 1..4), 0..4),
    ) -> (Frame, bytes::Bytes) {
        let parts: Vec<_> = parts.into_iter().map(|changes| Part::new(changes).unwrap()).collect();
        let frame = Frame::of(sequence, Ulid(writer), nonce, &parts);
        let object = frame.encode_parts(&parts).unwrap();
        (frame, object)
    }
}

/// The same object with its checksum made right again.
fn sealed(mut object: Vec<u8>) -> Vec<u8> {
    let checksum = xxh3_64(&object[16..]).to_le_bytes();
    object[8..16].copy_from_slice(&checksum);
    object
}

proptest! {
    #[test]
    fn frames_come_back((frame, object) in frame()) {
        prop_assert_eq!(Frame::decode(&object), Ok(frame.clone()));
        prop_assert_eq!(frame.encode().unwrap(), object);
    }

    #[test]
    fn no_changed_byte_goes_unnoticed((_, object) in frame(), at in any::<prop::sample::Index>(), bits in 1..=255_u8) {
        let mut damaged = object.to_vec();
        damaged[at.index(object.len())] ^= bits;
        prop_assert!(Frame::decode(&damaged).is_err());
        let cut = at.index(object.len());
        prop_assert!(Frame::decode(&object[..cut]).is_err());
        let longer = [&object[..], &[bits]].concat();
        prop_assert!(Frame::decode(&longer).is_err());
    }

    /// Below the checksum and the compression, damage is an error or another frame, and no panic.
    #[test]
    fn what_is_damaged_on_purpose_is_refused_or_read(
        (frame, object) in frame(), at in any::<prop::sample::Index>(), bits in 1..=255_u8, raw in any::<bool>(),
    ) {
        let mut damaged = object.to_vec();
        if raw {
            let body: Vec<u8> = frame.parts.iter().flat_map(|part| super::super::body::encode(part).unwrap()).collect();
            damaged.truncate(HEADER_BYTES);
            damaged[49] = 0;
            damaged[60..64].copy_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
            damaged.extend(body);
            prop_assert_eq!(Frame::decode(&sealed(damaged.clone())), Ok(frame));
        }
        let at = 16 + at.index(damaged.len() - 16);
        damaged[at] ^= bits;
        if let Ok(read) = Frame::decode(&sealed(damaged)) {
            // A number may be written shorter than the damage left it, so the lengths may differ.
            let again = Frame::decode(&read.encode().unwrap()).unwrap();
            prop_assert_eq!(&again, &Frame { body_bytes: again.body_bytes, ..read });
        }
    }

    #[test]
    fn noise_is_no_frame(noise in vec(any::<u8>(), 0..200)) {
        let mut object = b"CRNLOG\x01\x00\0\0\0\0\0\0\0\0".to_vec();
        object.extend(&noise);
        prop_assert!(Frame::decode(&noise).is_err());
        prop_assert!(Frame::decode(&sealed(object)).is_err());
    }
}

/// `FORMAT.md` by hand: what was written once must be read for ever.
#[test]
fn the_format_is_as_documented() {
    let body = [
        &[2, 0, 0, 0][..],
        &[1, 1, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 3, 0],
        &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0x80, 0x3f],
        &[1, 0, b'm', 1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0x40],
        &[1, 0, b's', 2, 1, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0xbf],
        &[7, 0, 0, 0],
        br#"{"a":1}"#,
        &[2, 2, 0, 0, 0, 1],
        &[0xaa; 16],
        &[0, 6, 0, 0, 0, 0, 0, 0, 1],
    ]
    .concat();
    let stored = u8::try_from(body.len()).unwrap();
    let header = [
        &b"CRNLOG\x01\x00"[..],
        &[0; 8],
        &[3, 0, 0, 0, 0, 0, 0, 0],
        &[7; 16],
        &[4, 0, 0, 0, 0, 0, 0, 0],
        &[0, 0, 0, 0, 1, 0, 0, 0, stored, 0, 0, 0, stored, 0, 0, 0],
    ]
    .concat();
    let vectors = Vectors::from([
        (String::new(), Vector::Dense(vec![1.0])),
        ("m".to_owned(), Vector::Multi { dim: 1, values: vec![2.0] }),
        ("s".to_owned(), Vector::Sparse { indices: vec![9], values: vec![-0.5] }),
    ]);
    let payload = json!({"a": 1}).as_object().unwrap().clone();
    let point = Point { id: PointId::Num(5), vectors, payload };
    let uuid = PointId::Uuid(uuid::Uuid::from_bytes([0xaa; 16]));
    let changes = [Change::Put(vec![point]), Change::Remove(vec![uuid, PointId::Num(6 + (1 << 56))])];
    let object = sealed([header, body.clone()].concat());
    let frame = Frame {
        edition: 0,
        sequence: 3,
        writer: Ulid(u128::from_le_bytes([7; 16])),
        nonce: 4,
        body_bytes: body.len() as u64,
        parts: vec![changes.into()],
    };
    assert_eq!(Frame::decode(&object), Ok(frame.clone()));
    assert_eq!(super::super::body::encode(&frame.parts[0]), Ok(body));
    let end = Frame { body_bytes: 0, parts: vec![], ..frame };
    let object = end.encode().unwrap();
    assert_eq!((object.len(), object[48], Frame::decode(&object)), (HEADER_BYTES, 1, Ok(end)));
}

#[test]
fn newer_versions_say_update() {
    let mut object = write_object();
    object[6] = 2;
    let error = Frame::decode(&object).unwrap_err();
    assert_eq!(error, FrameError::Version(2));
    assert_eq!(error.of("x".to_owned()).kind, ErrorKind::Unsupported);
    assert_eq!(Frame::decode(b"{}").unwrap_err().of("x".to_owned()).kind, ErrorKind::Corrupt);
}

#[test]
fn only_kinds_that_are_documented_are_read() {
    // A put and a removal of nothing, a kind that is none, and one that is cut off.
    let read = |change: &[u8]| Frame::decode(&with_body(&[&[1, 0, 0, 0], change].concat()));
    assert_eq!(*read(&[1, 0, 0, 0, 0]).unwrap().parts[0], [Change::Put(vec![])]);
    assert_eq!(*read(&[2, 0, 0, 0, 0]).unwrap().parts[0], [Change::Remove(vec![])]);
    for kind in (0..=255).filter(|kind| ![1, 2].contains(kind)) {
        let error = read(&[kind, 0, 0, 0, 0]).unwrap_err();
        assert_eq!(error.to_string(), format!("change: kind {kind} is unknown"));
    }
    assert_eq!(read(&[2, 0, 0, 0]).unwrap_err(), FrameError::Short("changes"));
    assert_eq!(read(&[2, 0, 0, 0, 0, 0]).unwrap_err().to_string(), "body: 1 bytes too many");
}

fn write_object() -> Vec<u8> {
    let parts = [write(1)];
    Frame::of(0, Ulid(1), 0, &parts).encode_parts(&parts).unwrap().to_vec()
}

/// An object of one part with this body, uncompressed.
fn with_body(body: &[u8]) -> Vec<u8> {
    let mut object = write_object();
    object.truncate(HEADER_BYTES);
    object[49] = 0;
    let length = u32::try_from(body.len()).unwrap().to_le_bytes();
    object[56..60].copy_from_slice(&length);
    object[60..64].copy_from_slice(&length);
    object.extend(body);
    sealed(object)
}

#[test]
fn numbers_that_lie_take_no_memory() {
    // Points, ids, words and bytes that are not there, and parts.
    for body in [
        &[1, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0][..],
        &[1, 0, 0, 0, 2, 0, 0, 1, 0, 0, 0, 0],
        &[1, 0, 0, 0, 2, 0xff, 0xff, 0xff, 0xff],
        &[1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0xff, 0xff, 0, 0],
        &[1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 3, 0],
        &[0xff, 0xff, 0xff, 0xff],
        &[0, 0, 0, 0],
    ] {
        let error = Frame::decode(&with_body(body)).unwrap_err();
        assert!(matches!(error, FrameError::Short(_) | FrameError::Field { .. }), "{error}");
    }
    // A body that is larger than its header says, in little space.
    let bomb = zstd::bulk::compress(&vec![0; 256 << 20], 1).unwrap();
    for said in [1_000, LOG_BODY_BYTES_MAX, LOG_BODY_BYTES_MAX + 1] {
        let mut object = write_object();
        object.truncate(HEADER_BYTES);
        object[49] = 1;
        object[56..60].copy_from_slice(&u32::try_from(said).unwrap().to_le_bytes());
        object[60..64].copy_from_slice(&u32::try_from(bomb.len()).unwrap().to_le_bytes());
        object.extend(&bomb);
        assert!(matches!(Frame::decode(&sealed(object)), Err(FrameError::Field { field: "body", .. })), "{said}");
    }
}

#[test]
fn what_no_reader_could_read_is_not_written() {
    let payload = |value: Value| -> Payload { [("a".to_owned(), value)].into_iter().collect() };
    let put =
        |payload| Part::new(vec![Change::Put(vec![Point { id: PointId::Num(1), vectors: Vectors::new(), payload }])]);
    let deep = |depth| (0..depth).fold(json!(1), |inner, _| json!([inner]));
    let parts = [put(payload(deep(119))).unwrap()];
    let object = Frame::of(0, Ulid(1), 0, &parts).encode_parts(&parts).unwrap();
    assert!(Frame::decode(&object).is_ok());
    assert_eq!(put(payload(deep(121))).unwrap_err().kind, ErrorKind::Invalid);
    assert_eq!(put(payload(json!("x".repeat(PAYLOAD_BYTES_MAX)))).unwrap_err().kind, ErrorKind::Invalid);
    assert_eq!(Part::new(vec![]).unwrap_err().kind, ErrorKind::Invalid);
    let many = vec![Change::Remove(vec![]); 1_001];
    assert!(Part::new(many).unwrap_err().why.contains("1000 are allowed"));
    let ids = vec![Change::Remove(vec![PointId::Num(1); IDS_MAX + 1])];
    assert!(Part::new(ids).unwrap_err().why.contains("100000 are allowed"));
    let point = |id| Point {
        id: PointId::Num(id),
        vectors: [(String::new(), Vector::Dense(vec![0.5; 60_000]))].into(),
        payload: Payload::default(),
    };
    let error = Part::new(vec![Change::Put((0..300).map(point).collect())]).unwrap_err();
    assert!(error.kind == ErrorKind::TooLarge && error.why.contains("fewer points"), "{error}");
}
