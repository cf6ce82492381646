//! The command line.

mod args;
mod bench;
mod beside;
mod clone;
mod compact;
mod demo;
mod doctor;
mod failure;
mod gc;
mod index;
mod inspect;
mod progress;
mod reindex;
mod rollback;
mod search;
mod serve;
mod snapshot;

use std::{io::IsTerminal, process::ExitCode};

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Vector search whose only state is objects in a bucket.
#[derive(Parser, Debug)]
#[command(
    name = "cairn",
    version,
    after_help = "Start here:
  cairn demo                      index a sample of real data and serve it
  cairn index --help              load your own vectors
  cairn serve --store URL         answer Qdrant's HTTP API

A store's URL is a local directory, file://, memory://, s3://bucket/prefix, gs:// or az://; --store defaults to CAIRN_STORE.
S3 takes the usual AWS variables; MinIO, LocalStack and others need --s3-endpoint."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// What to log on standard error: a level, or directives such as cairn_searcher=debug
    #[arg(long, global = true, env = "CAIRN_LOG", value_name = "FILTER")]
    log: Option<String>,
}

#[derive(Subcommand, Debug)]
enum Command {
    Demo(demo::Args),
    Serve(serve::Args),
    Index(index::Args),
    Reindex(reindex::Args),
    Rollback(rollback::Args),
    Snapshot(snapshot::Args),
    Clone(clone::Args),
    Compact(compact::Args),
    Search(search::Args),
    Inspect(inspect::Args),
    Doctor(doctor::Args),
    Gc(gc::Args),
    Bench(bench::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Command::Index(_) | Command::Compact(_) = cli.command {
        cairn_indexer::give_memory_back();
    }
    start_log(&cli);
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", failure::message(&error));
            ExitCode::from(failure::code(&error))
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match command {
            Command::Demo(args) => demo::run(args).await,
            Command::Serve(args) => serve::run(args).await,
            Command::Index(args) => index::run(args).await,
            Command::Reindex(args) => reindex::run(args).await,
            Command::Rollback(args) => rollback::run(args).await,
            Command::Snapshot(args) => snapshot::run(args).await,
            Command::Clone(args) => clone::run(args).await,
            Command::Compact(args) => compact::run(args).await,
            Command::Search(args) => search::run(args).await,
            Command::Inspect(args) => inspect::run(args).await,
            Command::Doctor(args) => doctor::run(args).await,
            Command::Gc(args) => gc::run(args).await,
            Command::Bench(args) => bench::run(&args).await,
        }
    })
}

fn start_log(cli: &Cli) {
    // Where bars are drawn, lines would tear them.
    let default = match cli.command {
        Command::Serve(_) => "info",
        Command::Index(_) | Command::Reindex(_) | Command::Gc(_) | Command::Bench(_)
            if !std::io::stderr().is_terminal() =>
        {
            "info"
        }
        _ => "warn",
    };
    let filter = EnvFilter::builder().parse_lossy(cli.log.as_deref().unwrap_or(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_every_help_teaches() {
        Cli::command().debug_assert();
        for command in Cli::command().get_subcommands_mut() {
            let name = command.get_name().to_owned();
            let help = command.render_long_help().to_string();
            assert!(help.contains("xamples:"), "{name} shows no examples");
        }
    }

    #[test]
    fn the_documented_commands_parse() {
        for line in [
            "cairn demo",
            "cairn index --store d --collection c --input f.npy --ids i --payload p.jsonl --distance cosine --shards 2 \
             --vector-name v --m 8 --ef-construct 50 --originals none --preset recall",
            "cairn index --store d --collection c --input f.npy --shards 2 --begin",
            "cairn index --store d --collection c --input f/ --only-shard 1/2 --generation 01J",
            "cairn index --store d --collection c --publish 01J --json",
            "cairn serve --store d --listen 127.0.0.1:0 --cache-dir x --cache-bytes 1GB --hot-bytes 2GB --api-key k",
            "cairn search --store d --collection c --vector [1,-2] --limit 3 --filter {} --ef 9 --exact --cache-dir x --json",
            "cairn search --store d --collection c --vector [1] --recall 0.95",
            "cairn search --store d --collection c --vector [1] --as-of time:2026-11-24T18:30:00Z",
            "cairn reindex --store d --collection c --input f --min-points-ratio 0.5 --min-recall 0.8 --recall-samples 50 --json",
            "cairn rollback --store d --collection c",
            "cairn rollback --store d --collection c --list --json",
            "cairn rollback --store d --collection c --to 01J --from 01K",
            "cairn rollback --store d --collection c --as-of snapshot:s",
            "cairn snapshot create s --store d --collection c --as-of time:2026-11-24",
            "cairn snapshot list --store d --collection c --json",
            "cairn snapshot delete s --store d --collection c",
            "cairn clone c d --store d --as-of generation:01J",
            "cairn compact --store d c d --force --json",
            "cairn compact --store d --all --watch 30 --fold-bytes 1MiB --fold-frames 8 --fold-points 9 --fold-age-s 60",
            "cairn inspect --store d --json",
            "cairn inspect --store d --collection c 01J --verify",
            "cairn gc --store d --dry-run --grace 36h c d --json",
            "cairn doctor --store s3://b/c --s3-endpoint http://localhost:9000 --quick --json",
            "cairn bench --base b --queries q --truth t --distance dot --ef 10,20 --threads 1 --k 10 --json",
            "cairn bench --base b --queries q --distance dot --recall-target 0.9,0.95 --tier warm --originals none \
             --preset speed --rescore false --oversampling 2 --batch 32",
        ] {
            Cli::try_parse_from(line.split_whitespace()).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        for line in [
            "cairn",
            "cairn index --store d --collection ../x --input f",
            "cairn index --store d --collection c",
            "cairn index --store d --collection c --input f --only-shard 1/2",
            "cairn index --store d --collection c --input f --generation 01J",
            "cairn index --store d --collection c --input f --only-shard 2/2 --generation 01J",
            "cairn index --store d --collection c --input f --publish 01J",
            "cairn search --store d --collection c --vector [1] --limit 0",
            "cairn search --store d --collection c --vector [1] --recall 1",
            "cairn search --store d --collection c --vector [1] --as-of monday",
            "cairn search --store d --collection c --vector [1] --recall 0.9 --ef 9",
            "cairn inspect --store d 01J",
            "cairn doctor",
            "cairn gc --store d --grace soon",
            "cairn gc --store d ../x",
            "cairn reindex --store d --collection c",
            "cairn reindex --store d --collection c --input f --m 8",
            "cairn rollback --store d --collection c --to 01J --as-of snapshot:s",
            "cairn rollback --store d --collection c --list --to 01J",
            "cairn snapshot create --store d --collection c",
            "cairn snapshot --store d --collection c",
            "cairn clone c --store d",
            "cairn compact --store d",
            "cairn compact --store d c --all",
            "cairn compact --store d c --watch 0",
            "cairn clone c d --store d --as-of yesterday",
        ] {
            assert!(Cli::try_parse_from(line.split_whitespace()).is_err(), "{line}");
        }
    }
}
