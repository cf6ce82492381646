//! The store's clock against this machine's.
//!
//! Nothing that Cairn decides depends on clocks of different machines: what is old enough to be collected is told by the store's clock alone.
//! But reads of the past (`time:...`) go by the clocks of those who published.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{super::probe::content, Observation, ward::Ward};
use crate::{Error, Result};

/// Stores tell whole seconds, and this much is nobody's trouble.
const SKEW_MS_GOOD: u64 = 2_000;

pub(super) async fn skew(ward: &Ward) -> Result<Observation> {
    let (store, key) = (&ward.store, ward.key()?);
    let before_ms = now_ms();
    store.expect_done(store.put_if_absent(&key, content("dated")).await?)?;
    let after_ms = now_ms();
    let stat = store.stat(&key).await?;
    let stat = stat.ok_or_else(|| Error::unavailable(store.address(&key), "was written and is gone"))?;
    Ok(judge(stat.modified_ms, before_ms, after_ms))
}

/// An object that was written between two moments of our clock was written at `modified_ms` by the store's.
fn judge(modified_ms: u64, before_ms: u64, after_ms: u64) -> Observation {
    // Whole seconds are rounded down.
    let behind_ms = before_ms.saturating_sub(modified_ms.saturating_add(999));
    let ahead_ms = modified_ms.saturating_sub(after_ms);
    let skew_ms = behind_ms.max(ahead_ms);
    let figure = [("skew_ms", skew_ms as f64 * if behind_ms > 0 { -1.0 } else { 1.0 })];
    if skew_ms <= SKEW_MS_GOOD {
        return Observation::good("the store's clock agrees with this machine's").with(figure);
    }
    let side = if behind_ms > 0 { "behind" } else { "ahead of" };
    let seconds = skew_ms as f64 / 1_000.0;
    Observation::notice(format!(
        "the store's clock is {seconds:.1} s {side} this machine's: reads of the past by time are off by as much, and Amazon S3 \
         refuses requests from 15 minutes on. Set this machine's clock (NTP)"
    ))
    .with(figure)
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{super::Verdict, *};

    #[test]
    fn whole_seconds_are_no_skew_and_minutes_are() {
        for (modified, before, after, skew, verdict) in [
            (5_000, 5_900, 5_950, 0.0, Verdict::Good),
            (5_920, 5_900, 5_950, 0.0, Verdict::Good),
            (3_000, 5_000, 5_100, -1_001.0, Verdict::Good),
            (65_950, 5_900, 5_950, 60_000.0, Verdict::Notice),
            (5_001, 66_000, 67_000, -60_000.0, Verdict::Notice),
        ] {
            let seen = judge(modified, before, after);
            assert_eq!((seen.figures["skew_ms"], seen.verdict), (skew, verdict), "{modified} {before}");
            assert_eq!(seen.found.contains("60.0 s"), verdict == Verdict::Notice, "{}", seen.found);
        }
    }
}
