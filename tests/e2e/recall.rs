//! Recall on real data: the sample in `demo/` always, the full sets where `CAIRN_DATA` names their folder.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::fixture::{Index, Matrix, Metric, Place, Program, Serve, Server, read_plain};

const K: usize = 10;

/// A hit counts when it scores as well as the true k-th: the sets hold duplicates, and what is stored of f16 vectors that are
/// normalised again is rounded again.
const TIE: f64 = 1e-4;

fn index(place: &Place, metric: Metric, input: &Path, payload: Option<&Path>) -> Server {
    let collection = Index::default().collection;
    let mut program =
        Program::cairn().env(place.env()).args(["index", "--store", place.url(), "--collection", collection]);
    program = program.args(["--distance", metric.flag(), "--input", &input.display().to_string()]);
    if let Some(payload) = payload {
        program = program.args(["--payload", &payload.display().to_string()]);
    }
    program.run().ok();
    place.serve(&Serve::default())
}

/// A collection under examination, with its vectors and questions at hand.
struct Exam {
    server: Server,
    base: Matrix<f32>,
    queries: Matrix<f32>,
    metric: Metric,
}

impl Exam {
    /// The scores of a query's hits, best first, and their ids.
    fn hits(&self, query: &[f32], filter: Option<&Value>, params: &Value) -> (Vec<f64>, Vec<u64>) {
        let mut body = json!({"query": query, "limit": K, "params": params});
        if let Some(filter) = filter {
            body["filter"] = filter.clone();
        }
        let reply = self.server.query("stones", &body).ok();
        let scores = reply.points().iter().map(|point| point["score"].as_f64().unwrap()).collect();
        (scores, reply.points().iter().map(|point| point["id"].as_u64().unwrap()).collect())
    }

    /// The share of the first `asked` questions' true neighbours that is found. `truth` gives the best rows of a question.
    fn recall(&self, asked: usize, params: &Value, filter: Option<&Value>, truth: &dyn Fn(usize) -> Vec<usize>) -> f64 {
        let (mut found, mut wanted) = (0, 0);
        for row in 0..asked {
            let query = self.queries.row(row);
            let truth = truth(row);
            let score = |point: usize| self.metric.score(query, self.base.row(point));
            let Some(&last) = truth.get(..K.min(truth.len())).and_then(<[usize]>::last) else { continue };
            let bar = score(last);
            let as_good = |got: f64| if self.metric.ascending() { got <= bar + TIE } else { got >= bar - TIE };
            let (scores, ids) = self.hits(query, filter, params);
            assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "a point was returned twice");
            for (id, reported) in ids.iter().zip(&scores) {
                let own = score(usize::try_from(*id).unwrap());
                assert!((own - reported).abs() < 2e-3 * own.abs().max(1.0), "point {id} scores {own}, not {reported}");
                found += usize::from(as_good(own));
            }
            wanted += K.min(truth.len());
        }
        assert!(wanted > 0, "no question had an answer");
        found as f64 / wanted as f64
    }
}

/// What was found wanting: every figure is printed, and all that miss their floor are named at the end.
#[derive(Default)]
struct Floors(Vec<String>);

impl Floors {
    fn check(&mut self, what: &str, recall: f64, floor: f64) {
        let line = format!("{what}: recall@{K} {recall:.4}, floor {floor}");
        eprintln!("{line}");
        if recall < floor {
            self.0.push(line);
        }
    }

    #[track_caller]
    fn hold(self) {
        assert!(self.0.is_empty(), "below the floor:\n{}", self.0.join("\n"));
    }
}

/// The cosine of every query and every point.
fn cosines(queries: &Matrix<f32>, base: &Matrix<f32>) -> Vec<Vec<f64>> {
    let normalised = |matrix: &Matrix<f32>| -> Vec<Vec<f64>> {
        let unit = |row: &[f32]| -> Vec<f64> {
            let norm = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
            row.iter().map(|&x| f64::from(x) / norm).collect()
        };
        (0..matrix.rows()).map(|row| unit(matrix.row(row))).collect()
    };
    let (queries, base) = (normalised(queries), normalised(base));
    // This program is not optimised: indexing costs half of what iterators do.
    let dot = |a: &[f64], b: &[f64]| {
        let (mut sum, mut at) = (0.0, 0);
        while at < a.len() {
            sum += a[at] * b[at];
            at += 1;
        }
        sum
    };
    queries.iter().map(|query| base.iter().map(|point| dot(query, point)).collect()).collect()
}

/// The best rows by exhaustive search, given every row's score.
fn best(scores: &[f64], metric: Metric, keep: &dyn Fn(usize) -> bool) -> Vec<usize> {
    let mut rows: Vec<usize> = (0..scores.len()).filter(|&row| keep(row)).collect();
    let order = |a: &usize, b: &usize| scores[*a].total_cmp(&scores[*b]);
    rows.sort_by(|a, b| if metric.ascending() { order(a, b) } else { order(b, a) });
    rows.truncate(K);
    rows
}

#[test]
fn the_sample_reaches_its_floors() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo");
    let (vectors, docs) = (folder.join("vectors.npy.zst"), folder.join("payload.jsonl.zst"));
    let base = Matrix::read(&vectors);
    let place = Place::local();
    let server = index(&place, Metric::Cosine, &vectors, Some(&docs));
    assert_eq!(server.count("stones"), base.rows() as u64);

    let asked = 100;
    let queries = questions(&base, &Matrix::read(&folder.join("queries.npy")), asked);
    let exam = Exam { server, base, queries, metric: Metric::Cosine };
    let scores = cosines(&exam.queries, &exam.base);
    let ask = |params: Value, filter: Option<&Value>, keep: &dyn Fn(usize) -> bool| {
        let truth = |row: usize| best(&scores[row], exam.metric, keep);
        exam.recall(asked, &params, filter, &truth)
    };
    let mut floors = Floors::default();
    for (params, floor) in [(json!({"exact": true}), 1.0), (json!({}), 0.98), (json!({"hnsw_ef": 400}), 0.995)] {
        floors.check(&params.to_string(), ask(params.clone(), None, &|_| true), floor);
    }

    let payloads = json_lines(&docs);
    let field = |row: usize, name: &str| payloads[row][name].clone();
    let critical = json!({"must": [{"key": "severity", "match": {"value": "CRITICAL"}}]});
    let severe = json!({"must": [{"key": "cvss", "range": {"gte": 7.0}}]});
    let unscored = json!({"must": [{"is_empty": {"key": "cvss"}}]});
    let keeps: [(&Value, &dyn Fn(usize) -> bool); 3] = [
        (&critical, &|row| field(row, "severity") == "CRITICAL"),
        (&severe, &|row| field(row, "cvss").as_f64().is_some_and(|cvss| cvss >= 7.0)),
        (&unscored, &|row| field(row, "cvss").is_null()),
    ];
    for (filter, keep) in keeps {
        assert!((0..exam.base.rows()).any(keep), "{filter} matches nothing");
        for (params, floor) in [(json!({"exact": true}), 1.0), (json!({}), 0.95)] {
            floors.check(&format!("{filter} {params}"), ask(params.clone(), Some(filter), keep), floor);
        }
    }
    floors.hold();
}

/// `count` questions: the sample's own, then sums of two points each, which lie near stored points and are none.
fn questions(base: &Matrix<f32>, own: &Matrix<f32>, count: usize) -> Matrix<f32> {
    let pick = |n: usize| base.row((n * 7_919 + 13) % base.rows());
    let between = (own.rows()..count).flat_map(|n| {
        let (a, b) = (pick(n), pick(n + 1));
        a.iter().zip(b).map(|(x, y)| 0.8 * x + 0.2 * y).collect::<Vec<f32>>()
    });
    Matrix { columns: base.columns, values: own.values.iter().copied().chain(between).collect() }
}

fn json_lines(path: &Path) -> Vec<Value> {
    let text = read_plain(path);
    let lines = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

/// Search parameters, how many questions, and the floor of the recall without a filter; `floor` is that of default settings.
fn unfiltered(floor: f64) -> [(Value, usize, f64); 3] {
    [(json!({"exact": true}), 20, 1.0), (json!({}), 500, floor), (json!({"hnsw_ef": 800}), 500, 0.995)]
}

fn full(set: &str) -> PathBuf {
    let data = std::env::var("CAIRN_DATA").expect("CAIRN_DATA names the folder of the full data sets");
    Path::new(&data).join(set)
}

#[test]
#[ignore = "needs CAIRN_DATA: run tests/run"]
fn full_data_mnist_reaches_its_floors() {
    let folder = full("mnist-784-euclidean");
    let (base, queries) = (Matrix::read(&folder.join("base.npy.gz")), Matrix::read(&folder.join("queries.npy.gz")));
    let truth = Matrix::read_rows(&folder.join("gt100.npy"));
    let place = Place::local();
    let server = index(&place, Metric::Euclid, &folder.join("base.npy.gz"), None);
    let exam = Exam { server, base, queries, metric: Metric::Euclid };
    let truth = |row: usize| truth.row(row)[..K].iter().map(|&id| id as usize).collect();
    let mut floors = Floors::default();
    for (params, asked, floor) in unfiltered(0.98) {
        floors.check(&params.to_string(), exam.recall(asked, &params, None, &truth), floor);
    }
    floors.hold();
}

#[test]
#[ignore = "needs CAIRN_DATA: run tests/run"]
fn full_data_cve_reaches_its_floors() {
    full_text_set("cve", Metric::Cosine, 0.98);
}

#[test]
#[ignore = "needs CAIRN_DATA: run tests/run"]
fn full_data_movies_reaches_its_floors() {
    full_text_set("movies", Metric::Dot, 0.97);
}

#[test]
#[ignore = "needs CAIRN_DATA: run tests/run"]
fn full_data_products_reaches_its_floors() {
    full_text_set("products", Metric::Dot, 0.98);
}

/// A set of embeddings with filters: recall with and without them.
fn full_text_set(set: &str, metric: Metric, floor: f64) {
    let folder = full(set);
    let (base, queries) = (Matrix::read(&folder.join("base.npy")), Matrix::read(&folder.join("queries.npy")));
    let truth = Matrix::read_rows(&folder.join("gt100.npy"));
    let place = Place::local();
    let server = index(&place, metric, &folder.join("base.npy"), Some(&folder.join("docs.jsonl.zst")));
    let exam = Exam { server, base, queries, metric };
    let plain = |row: usize| truth.row(row)[..K].iter().map(|&id| id as usize).collect();
    let mut floors = Floors::default();
    for (params, asked, floor) in unfiltered(floor) {
        floors.check(&params.to_string(), exam.recall(asked, &params, None, &plain), floor);
    }

    let truth = Matrix::read_rows(&folder.join("filtered_gt100.npy"));
    let filters: Vec<Value> = serde_json::from_slice(&read_plain(&folder.join("filters.json"))).unwrap();
    let per_filter = truth.rows() / filters.len();
    for (at, described) in filters.iter().enumerate() {
        let filter = qdrant_filter(&described["filter"]);
        let matching = described["matching_docs"].as_u64().unwrap();
        let counted =
            exam.server.post("/collections/stones/points/count", &json!({"filter": filter, "exact": true})).ok();
        assert_eq!(counted.result()["count"], matching, "{set}: {}", described["name"]);
        let rows = |row: usize| {
            let rows = truth.row(at * per_filter + row)[..K].iter();
            rows.filter(|&&id| id >= 0).map(|&id| id as usize).collect::<Vec<usize>>()
        };
        for (params, asked, floor) in [(json!({"exact": true}), 10, 1.0), (json!({}), per_filter, 0.95)] {
            let got = exam.recall(asked, &params, Some(&filter), &rows);
            floors.check(&format!("{} {params}", described["name"]), got, floor);
        }
    }
    floors.hold();
}

/// The data sets' own filter language, as Qdrant's.
fn qdrant_filter(node: &Value) -> Value {
    for (word, clause) in [("and", "must"), ("or", "should")] {
        if let Some(parts) = node.get(word) {
            return json!({clause: parts.as_array().unwrap().iter().map(qdrant_filter).collect::<Vec<_>>()});
        }
    }
    if let Some(part) = node.get("not") {
        return json!({"must_not": [qdrant_filter(part)]});
    }
    let (key, value) = (&node["field"], &node["value"]);
    let condition = match node["op"].as_str().unwrap() {
        "eq" if value.is_f64() => json!({"key": key, "range": {"gte": value, "lte": value}}),
        "eq" | "contains" => json!({"key": key, "match": {"value": value}}),
        "in" | "contains_any" => json!({"key": key, "match": {"any": value}}),
        "is_null" => json!({"is_empty": {"key": key}}),
        op @ ("gt" | "gte" | "lt" | "lte") => json!({"key": key, "range": {op: value}}),
        other => panic!("filter operation {other}"),
    };
    json!({"must": [condition]})
}
