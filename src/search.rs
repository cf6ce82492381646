//! `cairn search`: one query from the command line.

use anyhow::Result;
use cairn_model::{
    CollectionName, PointId, SearchParams, Usage,
    limits::{EF_MAX, LIMIT_MAX},
};
use cairn_searcher::{PayloadSelector, Query, Request, ScoredPoint, SearchSettings, Searcher, StoreSettings, View};
use cairn_storage::AsOf;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::args;

/// Columns of payload in the table.
const PAYLOAD_COLUMNS: usize = 100;

/// Find the points nearest to a vector.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cairn search --store ./data --collection digits --vector @queries.npy:3 --limit 5
  cairn search --store s3://bucket/cairn --collection docs --vector '[0.1, 0.2, 0.3]' \\
      --filter '{\"must\": [{\"key\": \"year\", \"range\": {\"gte\": 2020}}]}' --json
  cairn search --store ./data --collection docs --as-of snapshot:before-the-sale --vector @query.json")]
pub(crate) struct Args {
    #[command(flatten)]
    store: StoreSettings,
    #[command(flatten)]
    search: SearchSettings,
    /// The collection
    #[arg(long, value_name = "NAME")]
    collection: CollectionName,
    /// The past of it to search: snapshot:NAME, generation:ULID or time:TIME [default: what it is now]
    #[arg(long, value_name = "PAST")]
    as_of: Option<AsOf>,
    /// The query: a JSON array, @FILE with one, or @FILE.npy:ROW
    #[arg(long, value_name = "JSON|@FILE", allow_hyphen_values = true)]
    vector: String,
    /// The vector's name [default: the unnamed vector]
    #[arg(long, value_name = "NAME")]
    using: Option<String>,
    /// Points to return
    #[arg(long, value_name = "K", default_value_t = 10, value_parser = limit)]
    limit: usize,
    /// Only points that match this filter, in Qdrant's JSON
    #[arg(long, value_name = "JSON")]
    filter: Option<String>,
    /// Width of the search: larger finds more and takes longer
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(EF_MAX)))]
    ef: Option<u32>,
    /// The recall to reach, from 0.5 to 0.999, in place of a width
    #[arg(long, value_name = "RECALL", value_parser = args::recall, conflicts_with = "ef")]
    recall: Option<f32>,
    /// Compare with every point that matches
    #[arg(long)]
    exact: bool,
    /// Print {"points": [{"id", "score", "payload"}], "usage": {...}}
    #[arg(long)]
    json: bool,
}

fn limit(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(limit) if (1..=LIMIT_MAX).contains(&limit) => Ok(limit),
        _ => Err(format!("limit must be from 1 to {LIMIT_MAX}")),
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Answer<'a> {
    points: Vec<Point<'a>>,
    usage: Usage,
}

#[derive(Serialize)]
struct Point<'a> {
    id: PointId,
    score: f32,
    payload: Option<&'a RawValue>,
}

pub(crate) async fn run(args: Args) -> Result<()> {
    let request = Request {
        query: Query::Vector(args::vector(&args.vector)?),
        using: args.using,
        filter: args.filter.as_deref().map(args::filter).transpose()?,
        params: SearchParams { ef: args.ef, exact: args.exact, recall: args.recall, ..SearchParams::default() },
        partial: false,
        limit: args.limit,
        offset: 0,
        score_threshold: None,
        with_payload: PayloadSelector::All,
        with_vector: cairn_searcher::VectorSelector::None,
        cost_max: None,
    };
    let searcher = Searcher::open(&args.store, &args.search).await?;
    let (found, usage) = searcher.query(&View { collection: args.collection, as_of: args.as_of }, &request).await?;
    if args.json {
        let points = found.iter().map(|point| Point {
            id: point.record.id,
            score: point.score,
            payload: point.record.payload.as_deref(),
        });
        println!("{}", serde_json::to_string(&Answer { points: points.collect(), usage })?);
    } else {
        print(&found, &usage);
    }
    Ok(())
}

fn print(found: &[ScoredPoint], usage: &Usage) {
    if found.is_empty() {
        println!("nothing found");
    }
    let ids: Vec<String> = found.iter().map(|point| point.record.id.to_string()).collect();
    let width = ids.iter().map(String::len).max().unwrap_or(0).max(2);
    if !found.is_empty() {
        println!("{:>4}  {:<width$}  {:>10}  payload", "#", "id", "score");
    }
    for (rank, (point, id)) in found.iter().zip(&ids).enumerate() {
        let payload = point.record.payload.as_deref().map_or("", RawValue::get);
        println!("{:>4}  {id:<width$}  {:>10.5}  {}", rank + 1, point.score, shortened(payload));
    }
    println!(
        "{} vectors scored in {} segments; {} GETs in {} waves, {} bytes fetched",
        usage.vectors_scored, usage.segments, usage.gets, usage.waves, usage.store_bytes
    );
}

/// The beginning of a text, on one line.
fn shortened(text: &str) -> String {
    let mut line: String = text.chars().filter(|c| !c.is_control()).take(PAYLOAD_COLUMNS + 1).collect();
    if let Some((end, _)) = line.char_indices().nth(PAYLOAD_COLUMNS) {
        line.truncate(end);
        line.push_str(" ...");
    }
    line
}
