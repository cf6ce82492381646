//! What is counted and listed of a segment of which only some bytes are at hand.

use std::ops::Range;

use cairn_model::{Order, Path};

use super::*;
use crate::segment::Source;

/// A file of which some ranges are at hand.
#[derive(Clone)]
struct Sparse {
    file: Arc<Vec<u8>>,
    at_hand: Vec<Range<u64>>,
}

impl Source for Sparse {
    fn len(&self) -> u64 {
        self.file.len() as u64
    }

    fn bytes(&self, offset: u64, len: u64) -> Option<&[u8]> {
        let end = offset.checked_add(len)?;
        let covers = |range: &Range<u64>| range.start <= offset && end <= range.end;
        let is_at_hand = self.at_hand.iter().any(covers);
        is_at_hand.then(|| &self.file[offset as usize..end as usize])
    }
}

/// Asks again and again, bringing what is missing; the answer and the rounds.
fn far<T>(file: &Arc<Vec<u8>>, ask: impl Fn(&Segment) -> crate::Result<T>) -> (T, usize) {
    let whole = Segment::open(Arc::new(file.to_vec())).unwrap();
    let mut source = Sparse { file: Arc::clone(file), at_hand: whole.head().unwrap().ranges };
    let head = Segment::open(Arc::new(source.clone())).unwrap();
    for round in 0.. {
        match ask(&head.over(Arc::new(source.clone()))) {
            Ok(answer) => return (answer, round),
            Err(Error::Absent(ranges)) => source.at_hand.extend(ranges),
            Err(error) => panic!("{error}"),
        }
    }
    unreachable!()
}

#[test]
fn what_rows_decide_takes_few_rounds() {
    let mut sample = Sample::new(3_000, 40, Datatype::Float32, 4);
    for (i, payload) in sample.payloads.iter_mut().enumerate() {
        payload.insert("text".into(), json!("no index holds this ".repeat(20 + i % 3)));
        payload.insert("parts".into(), json!([{"a": i % 2, "b": i % 3}, {"a": i % 5, "b": 7}]));
    }
    let file = Arc::new(sample.bytes(params(40, Distance::Euclid, Datatype::Float32)));
    let whole = Segment::open(Arc::new(file.to_vec())).unwrap();
    let filters = [
        json!({"must": [{"key": "text", "match": {"text": "this no"}}]}),
        json!({"must": [{"nested": {"key": "parts", "filter": {"must": [
            {"key": "a", "match": {"value": 1}}, {"key": "b", "match": {"value": 2}}]}}}]}),
        json!({"must": [{"slice": {"index": 0, "total": 7}}, {"has_vector": "v"}]}),
    ];
    for filter in filters.map(|filter| Filter::from_json(&filter).unwrap()) {
        let count = |segment: &Segment| segment.count(Some(&filter), &Unwatched);
        let (counted, rounds) = far(&file, count);
        assert_eq!(counted, count(&whole).unwrap());
        assert!(counted > 0 && rounds <= 6, "{counted} in {rounds} rounds: {filter:?}");

        for key in ["n", "parts[0].a"] {
            let order = Order { key: Path::parse(key).unwrap(), descending: true, from: None };
            let list = |segment: &Segment| segment.ordered(&order, Some(&filter), 10, &Unwatched);
            let (listed, rounds) = far(&file, list);
            assert_eq!(listed, list(&whole).unwrap());
            assert!(listed.len() == 10 && rounds <= 9, "{rounds} rounds: {key} {filter:?}");
        }
        for key in ["cat", "text", "parts[1].b"] {
            let key = Path::parse(key).unwrap();
            let facet = |segment: &Segment| segment.facet(&key, Some(&filter), &Unwatched);
            let (counts, rounds) = far(&file, facet);
            assert_eq!(counts, facet(&whole).unwrap());
            assert!(!counts.is_empty() && rounds <= 9, "{rounds} rounds: {key} {filter:?}");
        }
    }
}

#[test]
fn what_the_vectors_of_a_point_take_is_named_at_once() {
    let dense = [
        ("a", params(40, Distance::Euclid, Datatype::Float32)),
        ("b", VectorParams { originals: false, ..params(40, Distance::Cosine, Datatype::Float32) }),
        ("c", params(4, Distance::Manhattan, Datatype::Uint8)),
    ];
    let shares = [("b", 0.5), ("c", 0.5), (several::MULTI, 0.5), (several::SPARSE, 0.5)];
    let model = several::Model::new(several::schema(&dense, true), 2_000, &shares, 3);
    let file = Arc::new(model.bytes());
    let whole = Segment::open(Arc::new(file.to_vec())).unwrap();
    whole.verify().unwrap();
    let mut with_all = 0;
    for ordinal in (0..2_000).step_by(61) {
        let (vectors, rounds) = far(&file, |segment| segment.vectors(ordinal, &|_| true));
        assert_eq!(vectors, whole.vectors(ordinal, &|_| true).unwrap());
        // Where further vectors are comes first, then they.
        assert!(rounds <= 2, "{rounds}");
        assert_eq!(far(&file, |segment| segment.vectors(ordinal, &|name| name == "a")).1, 1);
        with_all += usize::from(vectors.len() == 5);
    }
    assert!(with_all > 0);
    let filter = several::filters()[4].clone();
    let (count, rounds) = far(&file, |segment| segment.count(filter.as_ref(), &Unwatched));
    assert!(count > 0 && count == whole.count(filter.as_ref(), &Unwatched).unwrap() && rounds <= 5, "{rounds}");
}
