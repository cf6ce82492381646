//! Reads and listings see what was written and deleted before they began.

use std::collections::BTreeSet;

use futures::future::try_join_all;

use super::{
    super::{
        Fetched, Key, Put,
        probe::{PROBE_BYTES_MAX, content},
    },
    Observation,
    ward::Ward,
};
use crate::Result;

const STALE_READ: &str = "writes that were acknowledged would be missing from answers, and commits be made over others";
const STALE_LIST: &str = "a deletion would overlook the clones that need its objects, and remove their data";

/// Also of what was looked for in vain just before: some stores remember that an object was not there.
pub(super) async fn read_after_write(ward: &Ward) -> Result<Observation> {
    let store = &ward.store;
    for _ in 0..ward.effort.rounds {
        let key = ward.key()?;
        if !matches!(store.get(&key, None, PROBE_BYTES_MAX).await?, Fetched::Absent) {
            return Err(ward.lie("returns an object that nobody wrote", STALE_READ));
        }
        let mut bytes = content("first");
        let mut version = store.expect_done(store.put_if_absent(&key, bytes.clone()).await?)?;
        for step in ["first", "second", "third"] {
            let reads = (0..ward.effort.contenders).map(|_| store.get(&key, None, PROBE_BYTES_MAX));
            for fetched in try_join_all(reads).await? {
                if !matches!(&fetched, Fetched::Found(found) if found.bytes == bytes) {
                    return Err(
                        ward.lie(&format!("does not return the {step} content after it confirmed it"), STALE_READ)
                    );
                }
            }
            bytes = content("next");
            version = store.expect_done(store.compare_and_swap(&key, bytes.clone(), &version).await?)?;
        }
    }
    let (rounds, readers) = (ward.effort.rounds, ward.effort.contenders);
    Ok(Observation::good(format!("{readers} readers at once saw each of {} writes", rounds * 3)))
}

pub(super) async fn read_after_delete(ward: &Ward) -> Result<Observation> {
    let store = &ward.store;
    let key = ward.key()?;
    for _ in 0..ward.effort.rounds {
        let put = store.put_if_absent(&key, content("to be deleted")).await?;
        if let Put::Refused = put {
            return Err(ward.lie("refuses to create what was deleted", STALE_READ));
        }
        store.delete(&key).await?;
        let there = store.head(&key).await?.is_some();
        if there || !matches!(store.get(&key, None, PROBE_BYTES_MAX).await?, Fetched::Absent) {
            return Err(ward.lie("still returns what it has deleted", STALE_READ));
        }
    }
    Ok(Observation::good(format!("{} deleted objects were gone at once, and created anew", ward.effort.rounds)))
}

pub(super) async fn listings(ward: &Ward) -> Result<Observation> {
    let (store, folder) = (&ward.store, ward.subfolder());
    let mut there = BTreeSet::new();
    for round in 0..ward.effort.rounds {
        let inner = folder.join(&format!("folder-{round}"));
        let key = ward.key_in(&inner)?;
        store.expect_done(store.put_if_absent(&key, content("to be listed")).await?)?;
        there.insert(key.as_str().to_owned());
        expect_listed(ward, &folder, &there, "has written").await?;
        if store.list_folders(&folder).await?.len() != there.len() {
            return Err(ward.lie("does not list the folder of an object that it has written", STALE_LIST));
        }
    }
    for key in there.clone() {
        there.remove(&key);
        store.delete(&folder.join(key.strip_prefix(folder.as_str()).unwrap_or(&key).trim_start_matches('/'))).await?;
        expect_listed(ward, &folder, &there, "has deleted").await?;
    }
    Ok(Observation::good(format!("each of {} changes was listed at once", ward.effort.rounds * 2)))
}

async fn expect_listed(ward: &Ward, folder: &Key, there: &BTreeSet<String>, did: &str) -> Result<()> {
    let listed = ward.store.list(folder).await?;
    let listed: BTreeSet<_> = listed.iter().map(|found| found.key.as_str().to_owned()).collect();
    if listed == *there {
        return Ok(());
    }
    let (found, expected) = (listed.len(), there.len());
    Err(ward.lie(&format!("lists {found} objects where there are {expected}, right after it {did} one"), STALE_LIST))
}
