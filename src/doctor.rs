//! `cairn doctor`: is this store safe, and how fast is it?

use anyhow::Result;
use cairn_searcher::StoreSettings;
use cairn_storage::{Diagnosis, Effort, Finding, Store, Verdict};

use crate::progress::Signals;

/// Examine a store: whether it keeps the promises that Cairn rests on, and how fast it is.
///
/// Tries conditional puts, alone and in races, reads and listings right after writes and deletions, ranges, uploads in parts and the store's
/// clock, and measures latency and bandwidth. It writes below .cairn-probe/ only, and removes all of it. An unsafe store, and one that did not
/// answer everything, end it with an exit code other than 0.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cairn doctor --store ./data
  cairn doctor --store s3://bucket/cairn --quick
  cairn doctor --store s3://bucket/cairn --s3-endpoint http://localhost:9000 --json")]
pub(crate) struct Args {
    #[command(flatten)]
    store: StoreSettings,
    /// A few seconds instead of half a minute
    #[arg(long)]
    quick: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args) -> Result<()> {
    let signals = Signals::announce("what was written is removed");
    let store = Store::open(&args.store.store, &args.store.options()).await?;
    let effort = if args.quick { Effort::QUICK } else { Effort::THOROUGH };
    if !args.json {
        println!("{:<26} {:<8} found", "check", "verdict");
    }
    let watch = |finding: &Finding| {
        if !args.json {
            println!("{:<26} {:<8} {}", finding.check.name(), finding.verdict.name(), finding.found);
        }
    };
    let diagnosis = store.examine(effort, watch, signals.token.cancelled()).await?;
    if args.json {
        println!("{}", serde_json::to_string(&diagnosis)?);
    } else {
        conclude(&diagnosis);
    }
    Ok(diagnosis.require_safe()?)
}

fn conclude(Diagnosis { store, verdict, .. }: &Diagnosis) {
    let sentence = match verdict {
        Verdict::Good => "is safe for Cairn",
        Verdict::Notice => "is safe for Cairn; see what it says above",
        Verdict::Unknown => "could not be examined completely",
        Verdict::Unsafe => "is NOT safe for Cairn: it would lose data",
    };
    println!("\n{store} {sentence}");
}
