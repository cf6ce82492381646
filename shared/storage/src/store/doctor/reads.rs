//! Ranges and conditional GETs, of which cold searches and refreshed collections consist.

use std::sync::Arc;

use cairn_model::ErrorKind;

use super::{
    super::{
        Fetched, Meter,
        probe::{PROBE_BYTES_MAX, content},
    },
    Observation,
    ward::{Ward, content as random},
};
use crate::Result;

const OBJECT_BYTES: usize = 100_003;
const WRONG_BYTES: &str = "segments could not be searched where they lie";

pub(super) async fn ranges(ward: &Ward) -> Result<Observation> {
    let (store, key) = (&ward.store, ward.key()?);
    let bytes = random(OBJECT_BYTES, 2);
    store.expect_done(store.put_if_absent(&key, bytes.clone().into()).await?)?;
    let size = OBJECT_BYTES as u64;
    let inside = [0..1, 0..OBJECT_BYTES, 1..64, 4_095..70_001, OBJECT_BYTES - 1..OBJECT_BYTES];
    for range in inside.clone() {
        let (start, end) = (range.start, range.end);
        let found = store.get_range(&key, start as u64..end as u64, size).await?;
        if bytes.get(range) != Some(&found[..]) {
            return Err(ward.lie(&format!("returns other bytes than {start} to {end} of an object"), WRONG_BYTES));
        }
    }
    for range in [size - 10..size + 10, size..size + 1, 2 * size..2 * size + 10] {
        match store.get_part(&key, range).await {
            Err(error) if error.kind == ErrorKind::Corrupt => {}
            Err(error) => return Err(error),
            Ok(_) => return Err(ward.lie("returns bytes past the end of an object", WRONG_BYTES)),
        }
    }
    Ok(Observation::good(format!("{} ranges were exact, and nothing came from past the end", inside.len())))
}

pub(super) async fn conditional_get(ward: &Ward) -> Result<Observation> {
    let (store, key) = (&ward.store, ward.key()?);
    let first = store.expect_done(store.put_if_absent(&key, content("known")).await?)?;
    let meter = Arc::new(Meter::default());
    let metered = store.metered(Arc::clone(&meter));
    let unchanged = matches!(metered.get(&key, Some(&first), PROBE_BYTES_MAX).await?, Fetched::Unchanged);
    let bytes = content("new");
    store.expect_done(store.compare_and_swap(&key, bytes.clone(), &first).await?)?;
    let renewed = store.get(&key, Some(&first), PROBE_BYTES_MAX).await?;
    if !unchanged || !matches!(renewed, Fetched::Found(found) if found.bytes == bytes) {
        let it = "does not tell an object that has changed from one that has not";
        return Err(ward.lie(it, "searchers would go on with collections that were replaced"));
    }
    Ok(match meter.usage().store_bytes {
        0 => Observation::good("what the reader has is not sent again (304)"),
        _ => Observation::notice(
            "this store ignores If-None-Match on GET and sends everything again: right, but each search reads \
             collection.json whole",
        ),
    })
}
