//! What the documents of a store name: it must be there, and nothing else may be there for ever.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cairn_model::CollectionName;

use super::super::{AsOf, Catalog, Collection, CollectionDoc};
use crate::store::Key;

/// Every past and the present of a collection, as one reads them.
async fn all_of(catalog: &Catalog, name: &CollectionName) -> Vec<Collection> {
    let newest = catalog.open(name).await.unwrap();
    let mut all = Vec::new();
    for served in &newest.doc.history {
        all.push(catalog.open_as_of(name, &AsOf::Generation(served.generation.clone())).await.unwrap());
        all.push(catalog.pinned(newest.doc.of(served.clone())).await.unwrap());
    }
    for snapshot in catalog.list_snapshots(name).await.unwrap() {
        let mut pinned = catalog.open_as_of(name, &AsOf::Snapshot(snapshot.name)).await.unwrap();
        // Of a snapshot only the segments are gone on from.
        Arc::make_mut(&mut pinned.doc).live = false;
        all.push(pinned);
    }
    all.push(newest);
    all
}

fn folder_key(doc: &CollectionDoc, shard: u32) -> String {
    format!("{}/{shard}/log/", Key::generation(&doc.name, &doc.generation).unwrap().as_str())
}

/// Every key that documents name, but for logs; and by folder of a log, from which number on it is read.
pub(in crate::catalog) async fn named(catalog: &Catalog) -> (BTreeSet<String>, BTreeMap<String, u64>) {
    let (mut keys, mut logs) = (BTreeSet::new(), BTreeMap::new());
    let mut add = |key: Key| keys.insert(key.as_str().to_owned());
    for name in catalog.list().await.unwrap() {
        add(Key::collection(&name));
        for snapshot in catalog.list_snapshots(&name).await.unwrap() {
            add(Key::snapshot(&name, &snapshot.name).unwrap());
        }
        for collection in all_of(catalog, &name).await {
            let doc = &collection.doc;
            // A generation of a collection that begins with its own snapshot needs no mark.
            if let Some(origin) = doc.origin.as_ref().filter(|origin| origin.collection != doc.name) {
                add(Key::clone_mark(&origin.collection, &origin.generation, &doc.generation).unwrap());
            }
            for manifest in &collection.manifests {
                add(doc.manifest_key(manifest.shard).unwrap());
                if doc.live {
                    let floor = logs.entry(folder_key(doc, manifest.shard)).or_insert(u64::MAX);
                    *floor = manifest.log_position.min(*floor);
                }
            }
            for (shard, entry) in collection.segments() {
                add(collection.segment_key(shard, entry).unwrap());
                if let Some(head) = &entry.head {
                    add(collection.heads_key(entry, head).unwrap());
                }
            }
        }
    }
    (keys, logs)
}

/// The numbers in each log's folder.
pub(in crate::catalog) fn log_objects(keys: &[String]) -> BTreeMap<String, BTreeSet<u64>> {
    let mut logs: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for key in keys {
        if let Some(at) = key.find("/log/") {
            let (folder, file) = key.split_at(at + 5);
            logs.entry(folder.to_owned()).or_default().insert(file.trim_end_matches(".log").parse().unwrap());
        }
    }
    logs
}

/// Those of `keys` that no document names.
pub(in crate::catalog) async fn unnamed(catalog: &Catalog, keys: Vec<String>) -> Vec<String> {
    let (named, logs) = named(catalog).await;
    let is_read = |key: &str| {
        key.split_once("/log/").is_some_and(|(folder, file)| {
            let number: u64 = file.trim_end_matches(".log").parse().unwrap();
            logs.get(&format!("{folder}/log/")).is_some_and(|floor| *floor <= number)
        })
    };
    keys.into_iter().filter(|key| !named.contains(key) && !is_read(key)).collect()
}
