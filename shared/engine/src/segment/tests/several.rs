//! Points with any number of vectors, of which they may lack any, against a naive model of the same points.

use std::collections::BTreeMap;

use cairn_model::{CollectionSchema, Comparator, MultivectorConfig, SparseVectorParams, Vector, VectorKind, Vectors};
use proptest::strategy::Strategy as _;
use roaring::RoaringBitmap;

use super::*;
use crate::segment::{Along, Stored, ToStored, unit};

pub(super) const MULTI: &str = "many";
pub(super) const SPARSE: &str = "words";

/// Points as they were written, and their collection's schema.
pub(super) struct Model {
    pub(super) schema: CollectionSchema,
    pub(super) points: Vec<(PointId, Vectors, Payload)>,
}

/// The share of points that have each vector of a schema, by name.
pub(super) type Shares<'a> = &'a [(&'a str, f64)];

impl Model {
    /// `count` points of a few values each, so that many are at the same distance of one another.
    pub(super) fn new(schema: CollectionSchema, count: usize, shares: Shares<'_>, seed: u64) -> Self {
        let mut random = SplitMix64::new(seed);
        let mut points = Vec::new();
        for i in 0..count {
            let mut vectors = Vectors::new();
            for (name, kind) in schema.kinds() {
                let share = shares.iter().find(|(known, _)| *known == name).map_or(1.0, |(_, share)| *share);
                if random.unit() < share {
                    vectors.insert(name.to_owned(), vector(kind, &mut random));
                }
            }
            let payload = json!({"n": i, "half": i % 2 == 0, "deep": [[i % 3]]});
            points.push((id(i), vectors, payload.as_object().unwrap().clone()));
        }
        Self { schema, points }
    }

    pub(super) fn builder(&self) -> Builder {
        let mut builder = Builder::of(&self.schema, 42);
        for (id, vectors, payload) in &self.points {
            builder.push_point(*id, vectors, Some(payload)).unwrap();
        }
        assert!(builder.bytes() > 0 && builder.len() == self.points.len());
        builder
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        written(self.builder())
    }

    pub(super) fn segment(&self) -> Segment {
        Segment::open(Arc::new(self.bytes())).unwrap()
    }

    /// A point's vectors as a segment gives them back.
    fn stored(&self, vectors: &Vectors) -> Vectors {
        let stored = |(name, vector): (&String, &Vector)| {
            (name.clone(), Stored::new(vector, self.schema.kind(name).unwrap()).unwrap().widened())
        };
        vectors.iter().map(stored).collect()
    }

    /// The nearest points by a look at all of them.
    pub(super) fn nearest(&self, query: &VectorQuery, segment: &Segment) -> Vec<Hit> {
        let Some(VectorKind::Dense(&params)) = self.schema.kind(&query.using) else { panic!("{}", query.using) };
        let unit = if params.datatype == Datatype::Uint8 { None } else { unit(&query.vector, params.distance) };
        let scorer = ToStored::new(params, unit.as_deref().unwrap_or(&query.vector));
        let mut hits = Vec::new();
        for (id, vectors, payload) in &self.points {
            let passes = |filter: &Filter| payload::matches(filter, *id, payload, &|name| vectors.contains_key(name));
            let counts = segment.ordinal(*id).unwrap();
            if let (Some(ordinal), Some(vector)) = (counts, vectors.get(&query.using))
                && query.filter.as_ref().is_none_or(passes)
            {
                let stored = Stored::new(vector, params.kind()).unwrap();
                let distance = scorer.distance(stored.row().unwrap());
                hits.push(Hit { ordinal, distance });
            }
        }
        hits.sort_by(|a, b| a.distance.total_cmp(&b.distance).then(a.ordinal.cmp(&b.ordinal)));
        hits.truncate(query.k);
        hits
    }

    pub(super) fn dense(&self) -> Vec<(String, VectorParams)> {
        let dense =
            |(name, params): (&String, &VectorParams)| params.multivector.is_none().then(|| (name.clone(), *params));
        self.schema.vectors.iter().filter_map(dense).collect()
    }

    /// Everything that was written comes back, of the points that count.
    pub(super) fn check_reads(&self, segment: &Segment) {
        for (id, vectors, payload) in &self.points {
            let Some(ordinal) = segment.ordinal(*id).unwrap() else { continue };
            let stored = self.stored(vectors);
            assert_eq!(segment.vectors(ordinal, &|_| true).unwrap(), stored);
            for name in ["a", "b", MULTI] {
                let some = segment.vectors(ordinal, &|known| known == name).unwrap();
                assert_eq!(some.get(name), stored.get(name));
                assert!(some.len() <= 1);
            }
            assert_eq!(serde_json::from_str::<Payload>(&segment.payload(ordinal).unwrap()).unwrap(), *payload);
        }
    }
}

pub(super) fn written(builder: Builder) -> Vec<u8> {
    let mut bytes = Vec::new();
    builder.write(&pool(), &Unwatched, &mut bytes).unwrap();
    bytes
}

fn id(i: usize) -> PointId {
    let number = (i as u64 * 7_919) % 100_003;
    if i.is_multiple_of(3) {
        PointId::Uuid(uuid::Uuid::from_u128(u128::from(number) << 64))
    } else {
        PointId::Num(number)
    }
}

fn vector(kind: VectorKind<'_>, random: &mut SplitMix64) -> Vector {
    let mut values = |count: u32| (0..count).map(|_| random.below(4) as f32).collect::<Vec<_>>();
    match kind {
        VectorKind::Dense(params) => Vector::Dense(values(params.size)),
        VectorKind::Multi(params) => {
            let values = values(params.size * 2);
            Vector::Multi {
                dim: params.size,
                values: values[..params.size as usize * (1 + values[0] as usize % 2)].to_vec(),
            }
        }
        VectorKind::Sparse(_) => {
            let values = values(4);
            let count = values[0] as usize;
            Vector::Sparse {
                indices: (0..count as u32).map(|i| i * 1_000_000).collect(),
                values: values[..count].to_vec(),
            }
        }
    }
}

pub(super) fn schema(dense: &[(&str, VectorParams)], others: bool) -> CollectionSchema {
    let mut schema = CollectionSchema::single("", params(1, Distance::Dot, Datatype::Float32), 1);
    schema.vectors = dense.iter().map(|(name, params)| ((*name).to_owned(), *params)).collect();
    if others {
        let multivector = Some(MultivectorConfig { comparator: Comparator::MaxSim });
        let many = VectorParams { multivector, ..params(3, Distance::Cosine, Datatype::Float16) };
        schema.vectors.insert(MULTI.to_owned(), many);
        schema.sparse_vectors = BTreeMap::from([(SPARSE.to_owned(), SparseVectorParams::default())]);
    }
    schema
}

pub(super) fn filters() -> Vec<Option<Filter>> {
    let parse = |filter: serde_json::Value| Some(Filter::from_json(&filter).unwrap());
    vec![
        None,
        parse(json!({"must": [{"key": "half", "match": {"value": true}}]})),
        parse(json!({"must": [{"has_vector": "a"}]})),
        parse(json!({"must_not": [{"has_vector": "b"}, {"key": "n", "range": {"lt": 3}}]})),
        parse(json!({"should": [{"has_vector": MULTI}, {"must": [{"has_vector": SPARSE}]}, {"has_vector": "nobody"}]})),
        // Only rows tell these.
        parse(json!({"must": [{"key": "deep[][]", "match": {"value": 1}}, {"has_vector": "a"}]})),
        parse(json!({"must": [{"has_id": [7_919, 15_838, 31_676]}]})),
        parse(json!({"must": [{"key": "n", "range": {"lt": 0}}]})),
    ]
}

pub(super) fn asking(name: &str, vector: Vec<f32>, filter: Option<Filter>, exact: bool) -> VectorQuery {
    VectorQuery { using: name.to_owned(), ..query(&vector, 7, exact, filter) }
}

fn any_params() -> impl proptest::strategy::Strategy<Value = VectorParams> {
    let distance = prop::sample::select(Distance::ALL.to_vec());
    let datatype = prop::sample::select(vec![Datatype::Float32, Datatype::Float16, Datatype::Uint8]);
    (prop::sample::select(vec![1u32, 5, 33, 40]), distance, datatype)
        .prop_map(|(size, distance, datatype)| params(size, distance, datatype))
}

fn any_share() -> impl proptest::strategy::Strategy<Value = f64> {
    prop::sample::select(vec![1.0, 0.6, 0.1, 0.0])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_vector_answers_as_a_look_at_all_points(
        dense in prop::collection::vec((any_params(), any_share()), 0..4), others in prop::option::of((any_share(), any_share())),
        count in 1usize..150, seed: u64, dead_share in prop::sample::select(vec![0.0, 0.02, 0.5, 1.0]),
    ) {
        let names = ["a", "b", "c"];
        let named: Vec<(&str, VectorParams)> = names.iter().zip(&dense).map(|(name, (params, _))| (*name, *params)).collect();
        let mut shares: Vec<(&str, f64)> = names.iter().zip(&dense).map(|(name, (_, share))| (*name, *share)).collect();
        if let Some((many, words)) = others {
            shares.extend([(MULTI, many), (SPARSE, words)]);
        }
        let model = Model::new(schema(&named, others.is_some()), count, &shares, seed);
        let whole = model.segment();
        whole.verify().unwrap();
        whole.describe().unwrap();
        prop_assert_eq!(whole.contradicts(&model.schema, 0), None);
        model.check_reads(&whole);
        let mut random = SplitMix64::new(seed ^ 1);
        let dead: RoaringBitmap = (0..whole.len()).filter(|_| random.unit() < dead_share).collect();
        let segment = whole.without(Arc::new(dead));
        check_filters(&model, &segment);
        let mut asked = Vec::new();
        for (name, params) in model.dense() {
            for filter in filters() {
                let vector = (0..params.size).map(|_| random.below(4) as f32).collect();
                let query = asking(&name, vector, filter, true);
                let expected = model.nearest(&query, &segment);
                prop_assert_eq!(&segment.search(&query, &Unwatched).unwrap().hits, &expected, "{:?}", &query);
                prop_assert_eq!(&segment.search_ranges(&query, Along::default(), &Unwatched).unwrap().hits, &expected);
                for plan in [None].into_iter().chain(Strategy::ALL.map(Some)) {
                    let mut query = query.clone();
                    query.params.exact = false;
                    let hits = segment.search_by(&query, plan, &Unwatched).unwrap().hits;
                    prop_assert_eq!(hits.len(), expected.len(), "{:?}", plan);
                    prop_assert!(hits.is_sorted_by(|a, b| (a.distance, a.ordinal) < (b.distance, b.ordinal)));
                    let all = model.nearest(&VectorQuery { k: usize::MAX, ..query.clone() }, &segment);
                    prop_assert!(hits.iter().all(|hit| all.contains(hit)));
                }
                asked.push((query, expected));
            }
        }
        // In one batch, names and filters mixed, each twice.
        let queries: Vec<VectorQuery> = asked.iter().chain(&asked).map(|(query, _)| query.clone()).collect();
        let found = segment.search_batch(&queries, None, &Unwatched).unwrap();
        for (found, (_, expected)) in found.iter().zip(asked.iter().chain(&asked)) {
            prop_assert_eq!(&found.hits, expected);
        }
        check_copy(&model, &segment);
    }
}

/// Filters count what the model counts.
fn check_filters(model: &Model, segment: &Segment) {
    for filter in filters().into_iter().flatten() {
        let counts = |(id, vectors, payload): &&(PointId, Vectors, Payload)| {
            segment.ordinal(*id).unwrap().is_some()
                && payload::matches(&filter, *id, payload, &|name| vectors.contains_key(name))
        };
        let expected = model.points.iter().filter(counts).count() as u64;
        assert_eq!(segment.count(Some(&filter), &Unwatched).unwrap(), expected, "{filter:?}");
    }
}

/// A segment of what another gives back has the same points.
fn check_copy(model: &Model, segment: &Segment) {
    let mut builder = Builder::of(&model.schema, 7);
    segment.each(|id, vectors, payload| builder.push_stored(id, vectors, payload)).unwrap();
    if builder.is_empty() {
        return;
    }
    let copy = Segment::open(Arc::new(written(builder))).unwrap();
    copy.verify().unwrap();
    assert_eq!(copy.len(), segment.live_len());
    for (id, _, _) in &model.points {
        let (Some(there), Some(here)) = (segment.ordinal(*id).unwrap(), copy.ordinal(*id).unwrap()) else {
            assert!(segment.ordinal(*id).unwrap().is_none() && copy.ordinal(*id).unwrap().is_none());
            continue;
        };
        assert_eq!(segment.vectors(there, &|_| true).unwrap(), copy.vectors(here, &|_| true).unwrap());
        assert_eq!(segment.payload(there).unwrap(), copy.payload(here).unwrap());
    }
}

#[test]
fn a_name_that_no_point_has_finds_nothing_and_one_that_is_not_searched_is_refused() {
    let dense =
        [("a", params(4, Distance::Dot, Datatype::Float32)), ("b", params(40, Distance::Euclid, Datatype::Float32))];
    let model = Model::new(schema(&dense, true), 50, &[("b", 0.0)], 3);
    let segment = model.segment();
    assert_eq!(segment.dense().map(|(name, _)| name).collect::<Vec<_>>(), ["a"]);
    let (nobody, refused) = (asking("b", vec![0.0; 40], None, false), asking(MULTI, vec![0.0; 3], None, false));
    let found = segment.search_batch(&[nobody.clone(), nobody.clone()], None, &Unwatched).unwrap();
    let ranges = segment.search_ranges(&nobody, Along::default(), &Unwatched).unwrap();
    for found in found.iter().chain([&segment.search(&nobody, &Unwatched).unwrap(), &ranges]) {
        assert_eq!((found.hits.len(), found.strategy), (0, Strategy::Nothing));
    }
    for error in [
        segment.search(&refused, &Unwatched).unwrap_err(),
        segment.search_batch(&[nobody, refused.clone()], None, &Unwatched).unwrap_err(),
        segment.search_ranges(&refused, Along::default(), &Unwatched).unwrap_err(),
    ] {
        assert!(matches!(error, Error::Invalid { field: "using", .. }), "{error}");
    }
    let short = asking("a", vec![0.0; 3], None, true);
    assert!(matches!(segment.search(&short, &Unwatched), Err(Error::Invalid { field: "vector", .. })));
}

#[test]
fn a_point_is_added_whole_or_not_at_all() {
    let dense = [("a", params(2, Distance::Dot, Datatype::Float32)), ("b", params(3, Distance::Dot, Datatype::Uint8))];
    let model = Model::new(schema(&dense, true), 20, &[], 3);
    let mut builder = model.builder();
    let before = builder.bytes();
    let good = Vector::Dense(vec![1.0, 2.0]);
    for (name, bad) in [
        ("b", Vector::Dense(vec![1.0, 2.0, 0.5])),
        ("b", good.clone()),
        ("b", Vector::Multi { dim: 3, values: vec![1.0; 3] }),
        (MULTI, Vector::Multi { dim: 3, values: vec![1.0, f32::NAN, 0.0] }),
        (SPARSE, Vector::Sparse { indices: vec![3, 3], values: vec![1.0, 1.0] }),
        (SPARSE, good.clone()),
        ("nobody", good.clone()),
    ] {
        let sparse = Vector::Sparse { indices: vec![1], values: vec![1.0] };
        let vectors =
            [("a", good.clone()), (SPARSE, sparse), (name, bad)].map(|(name, vector)| (name.to_owned(), vector));
        let error = builder.push_point(PointId::Num(1), &vectors.into(), None).unwrap_err();
        assert!(matches!(error, Error::Invalid { field: "vector", .. }), "{error}");
        assert_eq!((builder.bytes(), builder.len()), (before, 20));
    }
    assert!(written(builder) == model.bytes());
}

#[test]
fn a_schema_must_have_what_the_segment_has() {
    let dense =
        [("a", params(4, Distance::Dot, Datatype::Float32)), ("b", params(40, Distance::Euclid, Datatype::Float32))];
    let model = Model::new(schema(&dense, true), 30, &[("b", 0.5), (SPARSE, 0.5)], 3);
    let segment = model.segment();
    let mut more = model.schema.clone();
    more.vectors.insert("c".into(), params(9, Distance::Dot, Datatype::Float32));
    assert_eq!(segment.contradicts(&more, 0), None);
    type Change = fn(&mut CollectionSchema);
    let changes: [(&str, Change); 6] = [
        ("a", |schema| schema.vectors.retain(|name, _| name != "a")),
        ("b", |schema| schema.vectors.get_mut("b").unwrap().size = 41),
        ("b", |schema| schema.vectors.get_mut("b").unwrap().distance = Distance::Dot),
        (MULTI, |schema| schema.vectors.get_mut(MULTI).unwrap().multivector = None),
        (MULTI, |schema| schema.vectors.get_mut(MULTI).unwrap().size = 4),
        (SPARSE, |schema| schema.sparse_vectors.clear()),
    ];
    for (name, change) in changes {
        let mut other = model.schema.clone();
        change(&mut other);
        assert!(segment.contradicts(&other, 0).unwrap().contains(&format!("'{name}'")));
    }
}

#[test]
fn vectors_that_are_not_shown_are_as_if_no_point_had_them() {
    let dense =
        [("a", params(4, Distance::Dot, Datatype::Float32)), ("b", params(40, Distance::Euclid, Datatype::Float32))];
    let model = Model::new(schema(&dense, true), 60, &[("b", 0.7), (MULTI, 0.5), (SPARSE, 0.5)], 3);
    let segment = model.segment();
    for name in ["a", "b", MULTI, SPARSE] {
        let mut schema = model.schema.clone();
        assert!(schema.remove_vector(name).unwrap());
        let points = model.points.iter().cloned().map(|(id, mut vectors, payload)| {
            vectors.remove(name);
            (id, vectors, payload)
        });
        let mut fewer = Model { schema, points: points.collect() };
        // Another vector of that name makes no difference.
        for _ in 0..2 {
            assert_eq!(segment.contradicts(&fewer.schema, 0), None);
            let shown = segment.showing(&fewer.schema, 0);
            assert!(!shown.shows(name) && shown.shows("x"));
            fewer.check_reads(&shown);
            check_copy(&fewer, &shown);
            for (using, params) in fewer.dense() {
                let has = Filter::from_json(&json!({"must": [{"has_vector": name}]})).unwrap();
                let lacks = Filter::from_json(&json!({"must_not": [{"has_vector": name}]})).unwrap();
                assert_eq!(shown.count(Some(&has), &Unwatched).unwrap(), 0, "{name}");
                assert_eq!(shown.count(Some(&lacks), &Unwatched).unwrap(), 60, "{name}");
                for filter in [None, Some(lacks)] {
                    let query = asking(&using, vec![1.0; params.size as usize], filter, true);
                    let nearest = if using == name { Vec::new() } else { fewer.nearest(&query, &shown) };
                    let batch = shown.search_batch(std::slice::from_ref(&query), None, &Unwatched).unwrap().remove(0);
                    let ranges = shown.search_ranges(&query, Along::default(), &Unwatched).unwrap();
                    for found in [batch, ranges, shown.search(&query, &Unwatched).unwrap()] {
                        assert_eq!(found.hits, nearest, "{name}, {using}");
                    }
                }
            }
            fewer.schema.add_vector(name, params(6, Distance::Cosine, Datatype::Float32)).unwrap();
        }
        let newest = fewer.schema.editions.newest;
        assert!(segment.contradicts(&fewer.schema, newest).is_some(), "it would be of the new one");
    }
}

#[test]
fn half_of_the_points_are_searched_as_well_as_all() {
    let coded = |distance| params(48, distance, Datatype::Float32);
    for (distance, strategy) in [(Distance::Cosine, Strategy::Graph), (Distance::Manhattan, Strategy::Graph)] {
        let (base, sample) =
            (Sample::new(4_000, 16, Datatype::Float32, 3), Sample::new(4_000, 48, Datatype::Float32, 5));
        let mut builder = Builder::of(
            &schema(&[("a", params(16, Distance::Euclid, Datatype::Float32)), ("b", coded(distance))], false),
            1,
        );
        for i in 0..4_000 {
            let mut vectors = Vectors::from([("a".to_owned(), Vector::Dense(base.vectors[i].clone()))]);
            if i % 2 == 1 {
                vectors.insert("b".to_owned(), Vector::Dense(sample.vectors[i].clone()));
            }
            builder.push_point(sample.ids[i], &vectors, Some(&sample.payloads[i])).unwrap();
        }
        let segment = Segment::open(Arc::new(written(builder))).unwrap();
        segment.verify().unwrap();
        let dead = segment.without(Arc::new((0..4_000).step_by(40).collect()));
        let filter =
            Filter::from_json(&json!({"must": [{"key": "cat", "match": {"any": ["c1", "c2", "c3"]}}]})).unwrap();
        for (segment, filter) in [(&segment, None), (&segment, Some(filter)), (&dead, None)] {
            let (mut sum, mut scored) = (0.0, 0);
            for vector in sample.vectors.iter().step_by(100) {
                let asked = asking("b", vector.clone(), filter.clone(), true);
                let truth = segment.search(&asked, &Unwatched).unwrap().hits;
                let mut asked = asked;
                asked.params.exact = false;
                let found = segment.search(&asked, &Unwatched).unwrap();
                assert!(filter.is_some() || found.strategy == strategy, "{:?}", found.strategy);
                assert!(found.hits.iter().all(|hit| segment.dead().is_none_or(|dead| !dead.contains(hit.ordinal))));
                sum += recall(&found.hits, &truth) / 40.0;
                scored += found.usage.vectors_scored / 40;
            }
            assert!(sum >= 0.97, "{distance:?} {filter:?}: {sum}");
            assert!(scored < 1_500, "{distance:?} {filter:?}: {scored} of 2,000");
        }
    }
}

#[test]
fn points_at_one_distance_come_by_ordinal_whatever_the_order_of_rows() {
    let dense = [
        ("a", params(8, Distance::Euclid, Datatype::Float32)),
        ("b", params(3, Distance::Euclid, Datatype::Uint8)),
        ("c", params(40, Distance::Dot, Datatype::Float32)),
    ];
    let model = Model::new(schema(&dense, false), 3_000, &[("b", 0.8), ("c", 0.8)], 11);
    let segment = model.segment();
    segment.verify().unwrap();
    for (name, params) in [dense[1], dense[2]] {
        let held = segment.groups.dense(&segment.file, name).unwrap().unwrap();
        let places = held.further.unwrap().places;
        let ordinals: Vec<u32> = (0..held.dense.rows()).map(|row| places.ordinal(row).unwrap()).collect();
        assert!(
            held.dense.clusters().unwrap().count() > 1 && !ordinals.is_sorted(),
            "rows are in an order of their own"
        );
        for asked in [0.0, 1.0, 2.5] {
            for filter in filters() {
                let mut query = asking(name, vec![asked; params.size as usize], filter, true);
                let expected = model.nearest(&query, &segment);
                assert_eq!(segment.search(&query, &Unwatched).unwrap().hits, expected);
                assert_eq!(segment.search_ranges(&query, Along::default(), &Unwatched).unwrap().hits, expected);
                // What is found without a look at all of them is in the same order.
                query.params.exact = false;
                for plan in Strategy::ALL {
                    let hits = segment.search_by(&query, Some(plan), &Unwatched).unwrap().hits;
                    assert!(hits.is_sorted_by(|a, b| (a.distance, a.ordinal) < (b.distance, b.ordinal)), "{plan:?}");
                }
            }
        }
    }
}
