//! Examines a store: whether it keeps every promise that Cairn rests on, and how fast it is.
//!
//! Each check writes objects of its own below `.cairn-probe/`, and all are removed in the end, also when a check fails or somebody stops
//! the examination. A store that answers what it must not is unsafe; one that does not answer is unknown.
//!
//! | file | what it checks |
//! |---|---|
//! | `conditions` | put-if-absent and compare-and-swap, one after another and in races |
//! | `consistency` | reads and listings after writes and deletions |
//! | `reads` | ranges, conditional GET |
//! | `transfer` | uploads in parts, latency, bandwidth |
//! | `clock` | the store's clock against ours |
//! | `ward` | the objects of one examination |

mod clock;
mod conditions;
mod consistency;
mod reads;
#[cfg(test)]
mod tests;
mod transfer;
mod ward;

use std::collections::BTreeMap;

use cairn_model::ErrorKind;
use serde::Serialize;

use super::Store;
use crate::{Error, Result};
use ward::Ward;

/// How much is tried.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Races of each kind, one after another.
    pub races: u32,
    /// Writers of one race, and readers after one write.
    pub contenders: u32,
    /// Repetitions of what is tried one after another.
    pub rounds: u32,
    /// Requests of each kind whose latency is measured.
    pub samples: u32,
    /// Size of the object that is uploaded in parts, and read for bandwidth: more than 8 MiB.
    pub large_bytes: usize,
}

impl Effort {
    /// A few seconds on a store that is near.
    pub const QUICK: Self = Self { races: 3, contenders: 8, rounds: 4, samples: 10, large_bytes: 9 << 20 };
    /// About half a minute on S3.
    pub const THOROUGH: Self = Self { races: 10, contenders: 16, rounds: 16, samples: 100, large_bytes: 33 << 20 };
}

/// What is checked, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// An object is created once.
    PutIfAbsent,
    /// An object is replaced only by who knows its version.
    CompareAndSwap,
    /// Of many who create one object at once, one wins.
    CreationRaces,
    /// Of many who replace one object at once, one wins.
    SwapRaces,
    /// What was written is read.
    ReadAfterWrite,
    /// What was deleted is gone, and can be created anew.
    ReadAfterDelete,
    /// Listings show what is there, and nothing else.
    Listings,
    /// Ranges bring exactly these bytes, and none past the end.
    Ranges,
    /// What the reader has is not sent again.
    ConditionalGet,
    /// A file that is uploaded in parts is whole.
    Multipart,
    /// The store's clock and ours.
    Clock,
    /// Small objects.
    Latency,
    /// Large objects.
    Bandwidth,
}

impl Check {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::PutIfAbsent,
        Self::CompareAndSwap,
        Self::CreationRaces,
        Self::SwapRaces,
        Self::ReadAfterWrite,
        Self::ReadAfterDelete,
        Self::Listings,
        Self::Ranges,
        Self::ConditionalGet,
        Self::Multipart,
        Self::Clock,
        Self::Latency,
        Self::Bandwidth,
    ];

    /// Its name, for tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PutIfAbsent => "put-if-absent",
            Self::CompareAndSwap => "compare-and-swap",
            Self::CreationRaces => "put-if-absent in races",
            Self::SwapRaces => "compare-and-swap in races",
            Self::ReadAfterWrite => "read after write",
            Self::ReadAfterDelete => "read after delete",
            Self::Listings => "listings",
            Self::Ranges => "range reads",
            Self::ConditionalGet => "conditional GET",
            Self::Multipart => "upload in parts",
            Self::Clock => "clock",
            Self::Latency => "latency",
            Self::Bandwidth => "bandwidth",
        }
    }
}

/// What a check, or all of them, amount to; the worst comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As Cairn needs it.
    Good,
    /// Safe, but slower, dearer or less convenient than it could be.
    Notice,
    /// The store did not answer, so nothing is known.
    Unknown,
    /// Cairn would lose data here.
    Unsafe,
}

impl Verdict {
    /// As text.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Notice => "notice",
            Self::Unknown => "unknown",
            Self::Unsafe => "UNSAFE",
        }
    }
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// Which one.
    pub check: Check,
    /// What it amounts to.
    pub verdict: Verdict,
    /// What was seen; and what to do, unless it is good.
    pub found: String,
    /// What was measured, by name and unit.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub figures: BTreeMap<&'static str, f64>,
}

/// A whole examination.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Diagnosis {
    /// The store's URL.
    pub store: String,
    /// The worst of all verdicts.
    pub verdict: Verdict,
    /// One per check, in the order of [`Check::ALL`].
    pub findings: Vec<Finding>,
}

impl Diagnosis {
    /// Whether Cairn may be trusted with data here.
    ///
    /// # Errors
    /// `Unsupported` names what is unsafe, `Unavailable` what is not known.
    pub fn require_safe(&self) -> Result<()> {
        let (kind, what) = match self.verdict {
            Verdict::Good | Verdict::Notice => return Ok(()),
            Verdict::Unknown => (ErrorKind::Unavailable, "not all could be examined"),
            Verdict::Unsafe => (ErrorKind::Unsupported, "this store is not safe for Cairn"),
        };
        let bad = self.findings.iter().filter(|finding| finding.verdict == self.verdict);
        let bad: Vec<_> = bad.map(|finding| finding.check.name()).collect();
        Err(Error::new(kind, &self.store, format!("{what}: {}", bad.join(", "))))
    }
}

/// What a check saw when nothing was wrong.
struct Observation {
    verdict: Verdict,
    found: String,
    figures: BTreeMap<&'static str, f64>,
}

impl Observation {
    fn good(found: impl Into<String>) -> Self {
        Self { verdict: Verdict::Good, found: found.into(), figures: BTreeMap::new() }
    }

    fn notice(found: impl Into<String>) -> Self {
        Self { verdict: Verdict::Notice, ..Self::good(found) }
    }

    fn with<const N: usize>(self, figures: [(&'static str, f64); N]) -> Self {
        Self { figures: figures.into(), ..self }
    }
}

impl Store {
    /// Examines this store. `watch` sees every finding as it is made; when `stop` is ready, the examination ends after the requests
    /// that are on their way. Either way what it wrote is removed.
    ///
    /// # Errors
    /// `Unavailable` when the store does not answer at all, or nothing can be written; `Cancelled` when it was stopped.
    pub async fn examine(
        &self,
        effort: Effort,
        watch: impl FnMut(&Finding) + Send,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<Diagnosis> {
        self.ping().await?;
        let ward = Ward::new(self.clone(), effort);
        // No request is abandoned: one that is on its way would arrive after everything was removed.
        let stopped = async {
            stop.await;
            ward.stop();
            std::future::pending::<Result<Vec<Finding>>>().await
        };
        let findings = tokio::select! {
            biased;
            never = stopped => never,
            findings = findings(&ward, watch) => findings,
        };
        ward.clean().await;
        let findings = findings?;
        let verdict = findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Unknown);
        Ok(Diagnosis { store: self.url().to_owned(), verdict, findings })
    }
}

async fn findings(ward: &Ward, mut watch: impl FnMut(&Finding) + Send) -> Result<Vec<Finding>> {
    let mut findings = Vec::with_capacity(Check::ALL.len());
    for check in Check::ALL {
        // A store in memory never waits: this lets whoever wants to stop us.
        tokio::task::yield_now().await;
        ward.go_on()?;
        let seen = match carry_out(ward, check).await {
            Err(error) if error.kind == ErrorKind::Cancelled => return Err(error),
            // Where the very first object cannot be written, there is nothing to examine.
            Err(error) if error.kind == ErrorKind::Unavailable && findings.is_empty() => return Err(error),
            Err(error) => complaint(&error),
            Ok(seen) => seen,
        };
        let finding = Finding { check, verdict: seen.verdict, found: seen.found, figures: seen.figures };
        watch(&finding);
        findings.push(finding);
    }
    Ok(findings)
}

async fn carry_out(ward: &Ward, check: Check) -> Result<Observation> {
    match check {
        Check::PutIfAbsent => conditions::put_if_absent(ward).await,
        Check::CompareAndSwap => conditions::compare_and_swap(ward).await,
        Check::CreationRaces => conditions::creation_races(ward).await,
        Check::SwapRaces => conditions::swap_races(ward).await,
        Check::ReadAfterWrite => consistency::read_after_write(ward).await,
        Check::ReadAfterDelete => consistency::read_after_delete(ward).await,
        Check::Listings => consistency::listings(ward).await,
        Check::Ranges => reads::ranges(ward).await,
        Check::ConditionalGet => reads::conditional_get(ward).await,
        Check::Multipart => transfer::multipart(ward).await,
        Check::Clock => clock::skew(ward).await,
        Check::Latency => transfer::latency(ward).await,
        Check::Bandwidth => transfer::bandwidth(ward).await,
    }
}

/// An answer that must not be is a lie; no answer says nothing.
fn complaint(error: &Error) -> Observation {
    let verdict = match error.kind {
        ErrorKind::Unavailable | ErrorKind::Full => Verdict::Unknown,
        _ => Verdict::Unsafe,
    };
    Observation { verdict, ..Observation::good(error.why.clone()) }
}
