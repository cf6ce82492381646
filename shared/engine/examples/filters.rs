//! Filtered search on real vectors: for every selectivity and correlation of filter and query, which plan ran, how many
//! of the true neighbours it found, how fast, and how many points it scored.
//!
//! ```text
//! cargo run --release -p cairn-engine --example filters -- DATA_FOLDER [--sets cve,mnist] [--plan clusters] [--recall 0.95] [--json FILE] [--export FOLDER] [--segments FOLDER]
//! ```
//!
//! Filters are ranges of integer payload fields. `random` is a random permutation: a filter that has nothing to do with
//! the query. `near0` to `near7` are the ranks of every point's distance to one of eight anchors, which are queries; each
//! is asked by the queries nearest to it, for the points nearest to the anchor (positive correlation) or farthest from it
//! (negative). `--export` writes fields, filters and true neighbours for measuring other engines on the same, `--segments`
//! keeps the built segments for the next run. Times are a processor's, of the fastest of some rounds.

#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a measurement ends where its surroundings fail"
)]

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

use cairn_engine::{
    Unwatched,
    segment::{Builder, Segment, Strategy},
};
use cairn_model::{Datatype, Distance, Filter, PointId, SearchParams, VectorParams, VectorQuery};
use serde_json::{Value, json};

const K: usize = 10;
const ANCHORS: usize = 8;
const QUERIES_PER_ANCHOR: usize = 25;
const SHARES: [f64; 9] = [0.0001, 0.001, 0.01, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0];
const REPEATS: usize = 3;
const SETS: [(&str, &str, Distance); 4] = [
    ("cve", "cve", Distance::Cosine),
    ("movies", "movies", Distance::Cosine),
    ("products", "products", Distance::Cosine),
    ("mnist", "mnist-784-euclidean", Distance::Euclid),
];

struct Matrix {
    dim: usize,
    datatype: Datatype,
    values: Vec<f32>,
}

impl Matrix {
    /// Reads `NAME.npy` or `NAME.npy.gz` of f32, f16 or u8.
    fn read(folder: &Path, name: &str) -> Self {
        let mut bytes = Vec::new();
        match fs::read(folder.join(format!("{name}.npy"))) {
            Ok(plain) => bytes = plain,
            Err(_) => {
                let packed = fs::File::open(folder.join(format!("{name}.npy.gz"))).unwrap();
                flate2::read::GzDecoder::new(packed).read_to_end(&mut bytes).unwrap();
            }
        }
        let body = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        let header = String::from_utf8_lossy(&bytes[10..body]).into_owned();
        let shape = header.split("'shape': (").nth(1).and_then(|rest| rest.split(')').next()).unwrap();
        let dim = shape.split(',').nth(1).unwrap().trim().parse().unwrap();
        let body = &bytes[body..];
        let (datatype, values) = if header.contains("<f2") {
            let half = |b: &[u8; 2]| half::f16::from_le_bytes(*b).to_f32();
            (Datatype::Float16, body.as_chunks().0.iter().map(half).collect())
        } else if header.contains("|u1") {
            (Datatype::Uint8, body.iter().map(|&x| f32::from(x)).collect())
        } else {
            (Datatype::Float32, body.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
        };
        Self { dim, datatype, values }
    }

    fn rows(&self) -> usize {
        self.values.len() / self.dim
    }

    fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.dim..][..self.dim]
    }
}

fn distance(metric: Distance, a: &[f32], b: &[f32]) -> f32 {
    let kernel = cairn_engine::kernel::get();
    if metric == Distance::Euclid { (kernel.l2_f32)(a, b) } else { -(kernel.dot_f32)(a, b) }
}

/// Position of every item in the order of its key.
fn ranks(keys: &[f32]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..keys.len() as u32).collect();
    order.sort_by(|&a, &b| keys[a as usize].total_cmp(&keys[b as usize]).then(a.cmp(&b)));
    let mut ranks = vec![0; keys.len()];
    order.iter().zip(0..).for_each(|(&item, rank)| ranks[item as usize] = rank);
    ranks
}

fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Seconds that this thread has computed: on a machine that others use too, the wall's clock measures them.
fn seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    #[expect(clippy::cast_precision_loss, reason = "seconds and nanoseconds")]
    let seconds = time.tv_sec as f64 + time.tv_nsec as f64 / 1e9;
    seconds
}

/// One set with its fields, and who asks which of them.
struct Exam {
    segment: Segment,
    queries: Matrix,
    points: usize,
    fields: BTreeMap<String, Vec<u32>>,
    /// Field and the queries that use it.
    correlated: Vec<(String, Vec<usize>)>,
    /// What searches ask for; the segment's default where `None`.
    recall: Option<f32>,
}

impl Exam {
    /// `kept` is a file for the built segment: read if it is there, else written.
    fn new(folder: &Path, metric: Distance, kept: Option<&Path>) -> Self {
        let (base, queries) = (Matrix::read(folder, "base"), Matrix::read(folder, "queries"));
        let points = base.rows();
        let mut state = 7;
        let keys: Vec<f32> = (0..points).map(|_| (random(&mut state) >> 40) as f32).collect();
        let mut fields = BTreeMap::from([("random".to_owned(), ranks(&keys))]);
        let mut correlated = Vec::new();
        for anchor in 0..ANCHORS {
            let anchor_row = queries.row(random(&mut state) as usize % queries.rows());
            let keys: Vec<f32> = (0..points).map(|row| distance(metric, anchor_row, base.row(row))).collect();
            let name = format!("near{anchor}");
            fields.insert(name.clone(), ranks(&keys));
            let near: Vec<f32> =
                (0..queries.rows()).map(|row| distance(metric, anchor_row, queries.row(row))).collect();
            let mut nearest: Vec<usize> = (0..queries.rows()).collect();
            nearest.sort_by(|&a, &b| near[a].total_cmp(&near[b]));
            correlated.push((name, nearest[..QUERIES_PER_ANCHOR].to_vec()));
        }
        if let Some(bytes) = kept.and_then(|path| fs::read(path).ok()) {
            let segment = Segment::open(Arc::new(bytes)).unwrap();
            return Self { segment, queries, points, fields, correlated, recall: None };
        }
        let params = VectorParams { datatype: base.datatype, ..VectorParams::new(base.dim as u32, metric) };
        let mut builder = Builder::new("", params, 42);
        for row in 0..points {
            let payload: Value = fields.iter().map(|(name, ranks)| (name.clone(), json!(ranks[row]))).collect();
            builder.push(PointId::Num(row as u64), base.row(row), payload.as_object()).unwrap();
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let mut bytes = Vec::new();
        builder.write(&pool, &Unwatched, &mut bytes).unwrap();
        if let Some(path) = kept {
            fs::write(path, &bytes).unwrap();
        }
        let segment = Segment::open(Arc::new(bytes)).unwrap();
        Self { segment, queries, points, fields, correlated, recall: None }
    }

    /// The questions of one cell: a query, a field, and the field's values that match.
    fn questions(&self, correlation: &str, share: f64) -> Vec<(usize, &str, std::ops::Range<u32>)> {
        let matching = ((share * self.points as f64).round() as u32).max(1);
        match correlation {
            "none" => {
                let step = self.queries.rows() / (ANCHORS * QUERIES_PER_ANCHOR);
                (0..ANCHORS * QUERIES_PER_ANCHOR).map(|i| (i * step, "random", 0..matching)).collect()
            }
            _ => {
                let range = if correlation == "positive" {
                    0..matching
                } else {
                    self.points as u32 - matching..self.points as u32
                };
                let all = self.correlated.iter().flat_map(|(name, rows)| rows.iter().map(move |&row| (row, name)));
                all.map(|(row, name)| (row, name.as_str(), range.clone())).collect()
            }
        }
    }

    fn query(&self, (row, field, range): &(usize, &str, std::ops::Range<u32>), exact: bool) -> VectorQuery {
        let filter = json!({"must": [{"key": field, "range": {"gte": range.start, "lt": range.end}}]});
        VectorQuery {
            using: String::new(),
            vector: self.queries.row(*row).to_vec(),
            filter: Some(Filter::from_json(&filter).unwrap()),
            k: K,
            params: SearchParams { exact, recall: self.recall, ..SearchParams::default() },
            score_threshold: None,
        }
    }

    fn cell(&self, correlation: &str, share: f64, plan: Option<Strategy>, truths: &mut Vec<Value>) -> Value {
        let questions = self.questions(correlation, share);
        let (mut found, mut wanted, mut scored) = (0, 0, 0);
        let mut plans = BTreeMap::new();
        let mut best = f64::INFINITY;
        let queries: Vec<VectorQuery> = questions.iter().map(|question| self.query(question, false)).collect();
        for (question, query) in questions.iter().zip(&queries) {
            let truth = self.segment.search(&self.query(question, true), &Unwatched).unwrap().hits;
            let worst = truth.last().map_or(f32::INFINITY, |hit| hit.distance);
            let reply = self.segment.search_by(query, plan, &Unwatched).unwrap();
            let bar = worst + 1e-5 * worst.abs();
            found += reply.hits.iter().filter(|hit| hit.distance <= bar).count();
            wanted += truth.len();
            scored += reply.usage.vectors_scored;
            *plans.entry(reply.strategy.name()).or_insert(0) += 1;
            let rows: Vec<u64> = truth
                .iter()
                .map(|hit| match self.segment.id(hit.ordinal).unwrap() {
                    PointId::Num(row) => row,
                    PointId::Uuid(_) => u64::MAX,
                })
                .collect();
            truths.push(json!([question.0, question.1, question.2.start, question.2.end, rows]));
        }
        for _ in 0..REPEATS {
            let start = seconds();
            for query in &queries {
                std::hint::black_box(self.segment.search_by(query, plan, &Unwatched).unwrap());
            }
            best = best.min(seconds() - start);
        }
        let mut filter_s = f64::INFINITY;
        for _ in 0..REPEATS {
            let start = seconds();
            for query in &queries {
                std::hint::black_box(self.segment.count(query.filter.as_ref(), &Unwatched).unwrap());
            }
            filter_s = filter_s.min(seconds() - start);
        }
        let count = queries.len() as f64;
        json!({
            "correlation": correlation, "share": share, "plans": plans, "recall": f64::from(found as u32) / wanted as f64,
            "qps": (count / best).round(), "us": (best / count * 1e7).round() / 10.0,
            "filter_us": (filter_s / count * 1e7).round() / 10.0, "scored": (scored as f64 / count).round(),
        })
    }
}

fn line(set: &str, cell: &Value) -> String {
    let plans: Vec<String> = cell["plans"].as_object().unwrap().iter().map(|(name, n)| format!("{name}:{n}")).collect();
    format!(
        "{set:>9} {:>9} {:>7} {:>7.4} {:>8} {:>8} {:>8} {:>7}  {}",
        cell["correlation"].as_str().unwrap(),
        cell["share"],
        cell["recall"].as_f64().unwrap(),
        cell["qps"].as_f64().unwrap(),
        cell["us"].as_f64().unwrap(),
        cell["filter_us"].as_f64().unwrap(),
        cell["scored"].as_f64().unwrap(),
        plans.join(" ")
    )
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| args.iter().position(|arg| arg == name).map(|at| args[at + 1].clone());
    let data = PathBuf::from(args.first().expect("the folder of the data sets"));
    let sets = option("--sets").unwrap_or_else(|| SETS.map(|(name, ..)| name).join(","));
    let shares: Vec<f64> = option("--shares")
        .map_or_else(|| SHARES.to_vec(), |shares| shares.split(',').map(|share| share.parse().unwrap()).collect());
    let plans: Vec<Option<Strategy>> = option("--plan").map_or_else(
        || vec![None],
        |names| names.split(',').map(|name| Strategy::ALL.into_iter().find(|s| s.name() == name)).collect(),
    );
    let mut report = serde_json::Map::new();
    println!(
        "{:>9} {:>9} {:>7} {:>7} {:>8} {:>8} {:>8} {:>7}  plans",
        "set", "correl.", "share", "recall", "qps", "us", "filt us", "scored"
    );
    for (name, folder, metric) in SETS.into_iter().filter(|(name, ..)| sets.split(',').any(|set| set == *name)) {
        let mut exam = {
            let kept = option("--segments").map(|folder| Path::new(&folder).join(name));
            Exam::new(&data.join(folder), metric, kept.as_deref())
        };
        exam.recall = option("--recall").map(|recall| recall.parse().unwrap());
        let (mut cells, mut truths) = (Vec::new(), Vec::new());
        for correlation in ["none", "positive", "negative"] {
            for &share in &shares {
                for &plan in &plans {
                    let mut questions = Vec::new();
                    let cell = exam.cell(correlation, share, plan, &mut questions);
                    println!("{}", line(name, &cell));
                    truths.push(json!({"correlation": correlation, "share": share, "questions": questions}));
                    cells.push(cell);
                }
            }
        }
        if let Some(folder) = option("--export") {
            let fields = exam.fields.iter().fold(String::new(), |mut text, (field, ranks)| {
                let _ = writeln!(text, "{}", json!([field, ranks]));
                text
            });
            fs::create_dir_all(&folder).unwrap();
            fs::write(Path::new(&folder).join(format!("{name}.fields.jsonl")), fields).unwrap();
            fs::write(Path::new(&folder).join(format!("{name}.questions.json")), json!(truths).to_string()).unwrap();
        }
        report.insert(name.to_owned(), json!(cells));
    }
    if let Some(path) = option("--json") {
        fs::write(path, serde_json::to_string_pretty(&report).unwrap()).unwrap();
    }
}
