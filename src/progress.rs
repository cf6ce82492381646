//! Progress of long work: a bar on a terminal, a line every few seconds elsewhere, both on standard error.

use std::{
    io::IsTerminal,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use cairn_engine::{Phase, Watch};
use cairn_indexer::Stage;
use indicatif::{ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;

/// How often a bar moves, and how often a line is written.
const BAR_EVERY: Duration = Duration::from_millis(100);
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Shows progress. Cheap to call: most calls only look at the clock.
pub(crate) struct Progress {
    look: Look,
    started: Instant,
    /// Milliseconds since the start before which nothing is shown, unless the stage changes.
    next_ms: AtomicU64,
    /// The stage that is shown, as a number.
    stage: AtomicU64,
}

enum Look {
    Quiet,
    Bar(Mutex<ProgressBar>),
    Lines,
}

impl Progress {
    /// Nothing is shown when `quiet`.
    pub(crate) fn new(quiet: bool) -> Self {
        let look = match (quiet, std::io::stderr().is_terminal()) {
            (true, _) => Look::Quiet,
            (false, true) => Look::Bar(Mutex::new(ProgressBar::hidden())),
            (false, false) => Look::Lines,
        };
        Self { look, started: Instant::now(), next_ms: AtomicU64::new(0), stage: AtomicU64::new(u64::MAX) }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        if let Look::Bar(bar) = &self.look {
            bar.lock().unwrap_or_else(PoisonError::into_inner).finish_and_clear();
        }
    }

    fn show(&self, stage: Stage, done: u64, total: u64) {
        let every = match self.look {
            Look::Quiet => return,
            Look::Bar(_) => BAR_EVERY,
            Look::Lines => LINE_EVERY,
        };
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let next = self.next_ms.load(Relaxed);
        let code = code(stage);
        let changed = self.stage.swap(code, Relaxed) != code;
        if !changed && now < next {
            return;
        }
        // One thread shows it; a stage that changes on a terminal is shown at once.
        let after = now + u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
        if self.next_ms.compare_exchange(next, after, Relaxed, Relaxed).is_err() {
            return;
        }
        match &self.look {
            Look::Quiet => {}
            Look::Lines => {
                if now >= next {
                    tracing::info!("{}: {}%", name(stage), percent(done, total));
                }
            }
            Look::Bar(bar) => {
                let mut bar = bar.lock().unwrap_or_else(PoisonError::into_inner);
                if bar.is_hidden() {
                    *bar = ProgressBar::new(total).with_style(style());
                }
                bar.set_length(total);
                bar.set_position(done.min(total));
                bar.set_message(name(stage));
            }
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{msg:<32} [{bar:40}] {percent:>3}% {elapsed_precise}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

fn percent(done: u64, total: u64) -> u64 {
    (done.min(total) * 100).checked_div(total).unwrap_or(100)
}

fn code(stage: Stage) -> u64 {
    match stage {
        Stage::Fetch => 0,
        Stage::Read => 1,
        Stage::Upload => 2,
        Stage::Build { number, phase, .. } => 3 + u64::from(number) * 8 + phase as u64,
    }
}

fn name(stage: Stage) -> String {
    match stage {
        Stage::Fetch => "fetching the source".into(),
        Stage::Read => "reading the source".into(),
        Stage::Upload => "uploading segments".into(),
        Stage::Build { number: 0, phase, .. } => work(phase).into(),
        Stage::Build { shard, number, phase } => format!("segment {number} (shard {shard}): {}", work(phase)),
    }
}

fn work(phase: Phase) -> &'static str {
    match phase {
        Phase::Cluster => "clustering",
        Phase::Encode => "encoding",
        Phase::Graph => "linking",
        Phase::Calibrate => "measuring recall",
        Phase::Payload => "payload",
        Phase::Write => "writing",
    }
}

impl cairn_indexer::Progress for Progress {
    fn progress(&self, stage: Stage, done: u64, total: u64) {
        self.show(stage, done, total);
    }
}

/// A segment that is built outside a job.
impl Watch for Progress {
    fn progress(&self, phase: Phase, done: u64, total: u64) {
        self.show(Stage::Build { shard: 0, number: 0, phase }, done, total);
    }
}

/// While it lives, Ctrl-C and SIGTERM cancel its token, and a second one ends the process at once.
pub(crate) struct Signals {
    pub(crate) token: CancellationToken,
    listener: tokio::task::JoinHandle<()>,
}

impl Signals {
    /// For what publishes in the end.
    pub(crate) fn listen() -> Self {
        Self::announce("nothing will be published")
    }

    /// When it stops, this is what becomes of the work.
    pub(crate) fn announce(outcome: &'static str) -> Self {
        let token = CancellationToken::new();
        let cancel = token.clone();
        let listener = tokio::spawn(async move {
            stop_signal().await;
            eprintln!("stopping: {outcome} (Ctrl-C again to end at once)");
            cancel.cancel();
            stop_signal().await;
            std::process::exit(130);
        });
        Self { token, listener }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// Ready at Ctrl-C or SIGTERM.
pub(crate) async fn stop_signal() {
    let interrupt = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! {
        () = interrupt => {}
        () = terminate => {}
    }
}
