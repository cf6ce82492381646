//! `cairn demo`: a bundled sample of real data, indexed into a local directory and served.

use std::{fs, net::SocketAddr, path::Path, sync::Arc};

use anyhow::{Context, Result};
use cairn_indexer::{IndexJob, IndexOptions};
use cairn_model::{CollectionName, Distance, ErrorKind, PointId};
use cairn_searcher::{PayloadSelector, Request, Searcher, Server, Settings, View};
use cairn_storage::{Catalog, Store};
use clap::Parser;
use serde::Deserialize;

use crate::progress::{Progress, Signals, stop_signal};

/// See `demo/README.md` for where these come from.
const VECTORS: &[u8] = include_bytes!("../demo/vectors.npy.zst");
const PAYLOAD: &[u8] = include_bytes!("../demo/payload.jsonl.zst");
const QUERY_VECTORS: &[u8] = include_bytes!("../demo/queries.npy");
const QUERIES: &str = include_str!("../demo/queries.jsonl");

const COLLECTION: &str = "vulnerabilities";
/// Questions whose answers are shown.
const SHOWN: [usize; 3] = [4, 24, 40];
const HITS_SHOWN: usize = 3;
/// The body of the curl command, beside the collection's objects.
const QUERY_FILE: &str = "demo-query.json";

/// Index a bundled sample of real data and serve it.
///
/// 3,500 vulnerability reports (CVE records, CC0) with 384-dimensional embeddings go into a local directory, once; then a few searches
/// are shown and the collection is served over Qdrant's HTTP API until Ctrl-C.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cairn demo
  cairn demo --store /tmp/demo --listen 127.0.0.1:7000")]
pub(crate) struct Args {
    /// Where the sample is indexed
    #[arg(long, value_name = "URL", default_value = "./cairn-data")]
    store: String,
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:6333")]
    listen: SocketAddr,
}

/// The settings of a server, all but two of them left to the environment and the defaults.
#[derive(Parser)]
struct Served {
    #[command(flatten)]
    settings: Settings,
}

/// A question of the sample.
#[derive(Deserialize)]
struct Question {
    text: String,
    /// Ids of the points that a person says answer it.
    relevant: Vec<u64>,
}

/// The parts of a payload that are shown.
#[derive(Deserialize)]
struct Report {
    title: String,
    severity: Option<String>,
}

pub(crate) async fn run(args: Args) -> Result<()> {
    let listen = args.listen.to_string();
    let Served { settings } = Served::try_parse_from(["demo", "--store", &args.store, "--listen", &listen])?;
    let store = Store::open(&args.store, &settings.store.options()).await?;
    let name = CollectionName::parse(COLLECTION)?;
    index_once(&store, &name).await?;

    let folder = tempfile::tempdir()?;
    let queries = folder.path().join("queries.npy");
    fs::write(&queries, QUERY_VECTORS)?;
    let searcher = Arc::new(Searcher::open(&settings.store, &settings.search).await?);
    let mut first = None;
    for row in SHOWN {
        let vector = cairn_indexer::source::npy_row(&queries, row as u64)?;
        show(&searcher, &name, row, vector.clone()).await?;
        first.get_or_insert(vector);
    }
    let server = Server::over(Arc::clone(&searcher), settings.http).await?;
    teach(&server, Path::new(&args.store), &first.unwrap_or_default())?;
    Ok(server.run(stop_signal()).await?)
}

/// Indexes the sample unless it is there already.
async fn index_once(store: &Store, name: &CollectionName) -> Result<()> {
    match Catalog::new(store.clone()).open(name).await {
        Ok(there) if there.points() > 0 => {
            println!("Found {} points of collection {name} in {}", there.points(), store.url());
            return Ok(());
        }
        Ok(_) => {}
        Err(error) if error.kind == ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let folder = tempfile::tempdir()?;
    let write = |file: &str, bytes: &[u8]| -> Result<String> {
        let path = folder.path().join(file);
        fs::write(&path, bytes).with_context(|| path.display().to_string())?;
        Ok(path.display().to_string())
    };
    let options = IndexOptions { payload: Some(write("payload.jsonl.zst", PAYLOAD)?), ..IndexOptions::default() };
    let job = IndexJob {
        collection: name.clone(),
        input: write("vectors.npy.zst", VECTORS)?,
        distance: Some(Distance::Cosine),
        options,
        store_options: cairn_storage::StoreOptions::default(),
    };
    let progress = Arc::new(Progress::new(false));
    let shown = Arc::clone(&progress) as Arc<dyn cairn_indexer::Progress>;
    let signals = Signals::listen();
    let report = cairn_indexer::index(job, store, shown, signals.token.clone()).await;
    progress.finish();
    crate::index::print(&report?, store.url());
    Ok(())
}

/// Prints a question and its best answers.
async fn show(searcher: &Searcher, name: &CollectionName, row: usize, vector: Vec<f32>) -> Result<()> {
    let question: Question = serde_json::from_str(QUERIES.lines().nth(row).context("no such question")?)?;
    let request = Request { with_payload: PayloadSelector::All, ..Request::nearest(vector, HITS_SHOWN) };
    let (found, _) = searcher.query(&View::from(name.clone()), &request).await?;
    println!("\n  \"{}\"", question.text);
    for point in found {
        let payload = point.record.payload.as_deref().context("no payload")?;
        let report: Report = serde_json::from_str(payload.get())?;
        let right = matches!(point.record.id, PointId::Num(id) if question.relevant.contains(&id));
        let bar = bar(point.score);
        let severity = report.severity.unwrap_or_default();
        println!(
            "    {bar} {:.3}  {severity:<8} {}{}",
            point.score,
            report.title,
            if right { "  <- the one" } else { "" }
        );
    }
    Ok(())
}

/// A score of 0 to 1 as ten cells.
fn bar(score: f32) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=10")]
    let cells = (score.clamp(0.0, 1.0) * 10.0).round() as usize;
    format!("{}{}", "#".repeat(cells), ".".repeat(10 - cells))
}

/// Prints commands that work as they stand.
fn teach(server: &Server, store: &Path, vector: &[f32]) -> Result<()> {
    let url = format!("http://{}", server.address());
    let body = serde_json::json!({
        "query": vector,
        "filter": {"must": [{"key": "cvss", "range": {"gte": 7.0}}]},
        "limit": 3,
        "with_payload": ["cve", "title", "cvss"],
    });
    // A store that is no directory gets the file where the user is.
    let folder = if store.is_dir() { store } else { Path::new(".") };
    let file = folder.join(QUERY_FILE);
    fs::write(&file, body.to_string()).with_context(|| file.display().to_string())?;
    let file = file.display();
    println!(
        r#"
Serving on {url}; Ctrl-C stops it. Ask it, from another terminal:

  curl -s {url}/collections/{COLLECTION}/points/query -H 'content-type: application/json' -d @{file}

Or in Python (pip install qdrant-client):

  import json
  from qdrant_client import QdrantClient, models
  client = QdrantClient(url="{url}")
  vector = json.load(open("{file}"))["query"]
  severe = models.Filter(must=[models.FieldCondition(key="cvss", range=models.Range(gte=7.0))])
  for hit in client.query_points("{COLLECTION}", query=vector, query_filter=severe, limit=3).points:
      print(round(hit.score, 3), hit.payload["cve"], hit.payload["title"])
"#
    );
    Ok(())
}
