//! Files in parts, and how fast objects come and go.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use futures::future::try_join_all;

use super::{
    super::{
        Fetched,
        probe::{PROBE_BYTES_MAX, content},
        upload::PART_BYTES_MIN,
    },
    Observation,
    ward::{Large, Ward},
};
use crate::{Error, Result};

/// Reads at once when bandwidth is measured.
const CONNECTIONS: usize = 8;
/// Bytes of one of them.
const PART_BYTES: usize = 1 << 20;
/// Bytes on either side of where two parts of an upload meet.
const SEAM_BYTES: usize = 64 << 10;
/// From this median on, waiting for the store is most of what a cold query does.
const GET_MS_NOTICE: f64 = 250.0;

/// Cairn names what it uploads by ULIDs and checks it afterwards: it needs no condition on the upload itself.
pub(super) async fn multipart(ward: &Ward) -> Result<Observation> {
    let Large { key, content, upload_s } = ward.large().await?;
    let found = ward.store.stat(key).await?.map(|stat| stat.bytes);
    // At both ends and around the seams of its parts; the rest is compared when bandwidth is measured.
    let seams =
        (0..=content.len()).step_by(usize::try_from(PART_BYTES_MIN).unwrap_or(usize::MAX)).chain([content.len()]);
    let mut whole = found == Some(content.len() as u64);
    for range in seams.map(|seam| seam.saturating_sub(SEAM_BYTES)..content.len().min(seam + SEAM_BYTES)) {
        let asked = range.start as u64..range.end as u64;
        whole &= content.get(range) == Some(&ward.store.get_range(key, asked, content.len() as u64).await?[..]);
    }
    if !whole {
        return Err(ward.lie("changes a file that is uploaded in parts", "segments would be damaged"));
    }
    let rate = megabytes(content.len()) / upload_s.max(f64::EPSILON);
    let found = format!("{:.0} MB arrived as they were sent, {rate:.0} MB/s", megabytes(content.len()));
    Ok(Observation::good(found).with([("upload_mb_s", rate)]))
}

pub(super) async fn latency(ward: &Ward) -> Result<Observation> {
    let store = &ward.store;
    let (mut puts, mut gets) = (Vec::new(), Vec::new());
    for _ in 0..ward.effort.samples {
        let key = ward.key()?;
        let started = Instant::now();
        store.expect_done(store.put_if_absent(&key, content("small")).await?)?;
        puts.push(started.elapsed());
        let started = Instant::now();
        if !matches!(store.get(&key, None, PROBE_BYTES_MAX).await?, Fetched::Found(_)) {
            return Err(Error::unavailable(store.address(&key), "was written and is gone"));
        }
        gets.push(started.elapsed());
    }
    let [get_p50, get_p99] = [0.5, 0.99].map(|part| percentile(&mut gets, part));
    let [put_p50, put_p99] = [0.5, 0.99].map(|part| percentile(&mut puts, part));
    let samples = ward.effort.samples;
    let measured = format!(
        "GET {get_p50:.1} ms, p99 {get_p99:.1}; PUT {put_p50:.1} ms, p99 {put_p99:.1} ({samples} of 1 KB each)"
    );
    let figures = [("get_p50_ms", get_p50), ("get_p99_ms", get_p99), ("put_p50_ms", put_p50), ("put_p99_ms", put_p99)];
    Ok(if get_p50 < GET_MS_NOTICE {
        Observation::good(measured)
    } else {
        let advice = "a cold query waits for up to four GETs in turn. Run Cairn in the store's region";
        Observation::notice(format!("{measured}: {advice}"))
    }
    .with(figures))
}

pub(super) async fn bandwidth(ward: &Ward) -> Result<Observation> {
    let Large { key, content, .. } = ward.large().await?;
    let parts: Vec<Range<usize>> =
        (0..content.len()).step_by(PART_BYTES).map(|start| start..content.len().min(start + PART_BYTES)).collect();
    let read = async |parts: Vec<Range<usize>>| {
        let started = Instant::now();
        for range in &parts {
            let asked = range.start as u64..range.end as u64;
            let found = ward.store.get_range(key, asked, content.len() as u64).await?;
            if content.get(range.clone()) != Some(&found[..]) {
                return Err(ward.lie("returns other bytes than those of a range", "segments would be damaged"));
            }
        }
        Ok(started.elapsed())
    };
    let alone = read(parts.clone()).await?;
    let lanes = (0..CONNECTIONS).map(|lane| parts.iter().skip(lane).step_by(CONNECTIONS).cloned().collect());
    let started = Instant::now();
    try_join_all(lanes.map(read)).await?;
    let rate = |elapsed: Duration| megabytes(content.len()) / elapsed.as_secs_f64().max(f64::EPSILON);
    let (one, many) = (rate(alone), rate(started.elapsed()));
    Ok(Observation::good(format!("{one:.0} MB/s by one connection, {many:.0} MB/s by {CONNECTIONS}"))
        .with([("one_connection_mb_s", one), ("several_connections_mb_s", many)]))
}

fn megabytes(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}

/// In milliseconds: the sample that this part of all do not exceed.
fn percentile(samples: &mut [Duration], part: f64) -> f64 {
    samples.sort_unstable();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a small count")]
    let rank = (samples.len() as f64 * part).ceil() as usize;
    samples.get(rank.saturating_sub(1)).map_or(0.0, |sample| sample.as_secs_f64() * 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let mut samples: Vec<_> = (1..=100).rev().map(Duration::from_millis).collect();
        let found = [0.0, 0.5, 0.99, 1.0].map(|part| percentile(&mut samples, part));
        assert_eq!(found.map(|ms| ms.round()), [1.0, 50.0, 99.0, 100.0]);
        assert_eq!(percentile(&mut [], 0.5).to_bits(), 0.0f64.to_bits());
    }
}
