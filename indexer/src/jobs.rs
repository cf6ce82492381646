//! The jobs of a collection's life, as events:
//!
//! ```json
//! {"job": "reindex", "collection": "docs", "source": "s3://bucket/points.parquet", "options": {"min_recall": 0.95}}
//! {"job": "rollback", "collection": "docs", "from": "01J..."}
//! {"job": "snapshot", "collection": "docs", "name": "before-the-sale"}
//! {"job": "clone", "collection": "docs", "to": "docs-test"}
//! {"job": "compact", "collection": "docs", "options": {"fold_age_s": 60}}
//! {"job": "doctor", "quick": true}
//! {"job": "gc", "grace": "24h"}
//! ```
//!
//! All take `store`, which defaults to the environment's `CAIRN_STORE`. A key that is not known is refused. An event may come twice,
//! as Lambda's asynchronous invocations do: each job then ends as if it had come once, or says that it is done; which is why a
//! rollback must name where it goes, or from where.

use std::{sync::Arc, time::Duration};

use cairn_model::CollectionName;
use cairn_storage::{
    AsOf, Catalog, Collection, Effort, Finding, Store, StoreOptions,
    catalog::collect::{self, GRACE_MS},
    store::Found,
};
use serde::{Deserialize, Deserializer, de};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    CompactJob, CompactOptions, Error, Progress, ReindexJob, ReindexOptions, Result, compact,
    fold::{fold_all, go_back, open_logs},
    grace::grace,
    reindex,
};

/// A job that is none of `index`'s.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "job", rename_all = "lowercase", deny_unknown_fields)]
pub enum Job {
    /// Builds a collection anew from its source: see [`reindex()`].
    Reindex {
        /// Which collection.
        collection: CollectionName,
        /// URL of the file of vectors.
        source: String,
        /// Where the collection is.
        #[serde(default)]
        store: Option<String>,
        /// The rest.
        #[serde(default)]
        options: ReindexOptions,
    },
    /// Goes back: see [`Catalog::rollback`].
    Rollback {
        /// Which collection.
        collection: CollectionName,
        /// Where it is.
        #[serde(default)]
        store: Option<String>,
        /// The generation to go back to; else the one before `from`.
        #[serde(default)]
        to: Option<String>,
        /// The snapshot to go back to.
        #[serde(default)]
        snapshot: Option<String>,
        /// The generation that is served now; if it is not, nothing is done.
        #[serde(default)]
        from: Option<String>,
    },
    /// Pins what is served: see [`Catalog::create_snapshot`].
    Snapshot {
        /// Which collection.
        collection: CollectionName,
        /// Where it is.
        #[serde(default)]
        store: Option<String>,
        /// The snapshot's name; without it, `auto-` and the generation that it pins, so that a schedule makes one per generation.
        #[serde(default)]
        name: Option<String>,
        /// Deletes the snapshot instead.
        #[serde(default)]
        delete: bool,
    },
    /// Makes a collection from another one: see [`Catalog::clone_collection`].
    Clone {
        /// Which collection.
        collection: CollectionName,
        /// Where it is.
        #[serde(default)]
        store: Option<String>,
        /// The new collection.
        to: CollectionName,
        /// A past of it.
        #[serde(default, deserialize_with = "as_of")]
        as_of: Option<AsOf>,
    },
    /// Moves what was written into segments, and merges segments: see [`compact()`].
    Compact {
        /// Which collection.
        collection: CollectionName,
        /// Where it is.
        #[serde(default)]
        store: Option<String>,
        /// When and how.
        #[serde(default)]
        options: CompactOptions,
    },
    /// Deletes what nothing names: see [`Catalog::collect`].
    Gc {
        /// In which store.
        #[serde(default)]
        store: Option<String>,
        /// In which collections; all when it is empty.
        #[serde(default)]
        collections: Vec<CollectionName>,
        /// How long it must have been garbage, such as `24h`.
        #[serde(default, deserialize_with = "grace")]
        grace: Option<Duration>,
        /// Only report.
        #[serde(default)]
        dry_run: bool,
    },
    /// Examines the store: see [`Store::examine`]. What is wrong stands in the report; the event does not fail.
    Doctor {
        /// Which one.
        #[serde(default)]
        store: Option<String>,
        /// A few seconds instead of half a minute.
        #[serde(default)]
        quick: bool,
    },
}

fn as_of<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<AsOf>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| text.parse().map_err(de::Error::custom)).transpose()
}

impl Job {
    /// Reads an event; `None` when it asks for none of these jobs.
    ///
    /// # Errors
    /// [`Error::Invalid`], naming the key.
    pub fn parse(event: &Value) -> Result<Option<Self>> {
        let known = ["reindex", "rollback", "snapshot", "clone", "compact", "gc", "doctor"];
        if !event["job"].as_str().is_some_and(|job| known.contains(&job)) {
            return Ok(None);
        }
        let job = Self::deserialize(event).map_err(|error| Error::invalid("event", error.to_string()))?;
        if let Self::Rollback { to: None, snapshot: None, from: None, .. } = job {
            let why = "needs to, snapshot or from: an event may come twice, and would go back twice";
            return Err(Error::invalid("rollback", why));
        }
        if let Self::Rollback { to: Some(_), snapshot: Some(_), .. } = job {
            return Err(Error::invalid("rollback", "takes to or snapshot, not both"));
        }
        if let Self::Snapshot { name: None, delete: true, .. } = job {
            return Err(Error::invalid("snapshot", "needs a name to delete it"));
        }
        Ok(Some(job))
    }

    fn store(&self) -> Option<&String> {
        match self {
            Self::Reindex { store, .. }
            | Self::Rollback { store, .. }
            | Self::Snapshot { store, .. }
            | Self::Clone { store, .. }
            | Self::Compact { store, .. }
            | Self::Gc { store, .. }
            | Self::Doctor { store, .. } => store.as_ref(),
        }
    }

    /// Does it; the answer is the report. `default_store` is for events that name none.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn run(
        self,
        default_store: Option<String>,
        progress: Arc<dyn Progress>,
        cancel: CancellationToken,
    ) -> Result<Value> {
        let url = self.store().cloned().or(default_store).ok_or_else(|| {
            Error::invalid("store", "is needed: in the event or in the environment variable CAIRN_STORE")
        })?;
        let store = Store::open(&url, &StoreOptions::default()).await?;
        self.run_in(&store, progress, cancel).await
    }

    /// As [`Job::run`], in this store whatever the event says.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn run_in(self, store: &Store, progress: Arc<dyn Progress>, cancel: CancellationToken) -> Result<Value> {
        tracing::info!(job = ?self, store = store.url(), "starting");
        let catalog = Catalog::new(store.clone());
        match self {
            Self::Reindex { collection, source, options, .. } => {
                let store_options = StoreOptions::default();
                let job = ReindexJob { collection, input: source, options, store_options };
                as_json(reindex(job, store, progress, cancel).await?)
            }
            Self::Rollback { collection, to, snapshot, from, .. } => {
                let to = to.map(AsOf::Generation).or(snapshot.map(AsOf::Snapshot));
                if let Some(AsOf::Generation(to)) = &to {
                    let now = catalog.open(&collection).await?;
                    if now.doc.generation == *to {
                        open_logs(&now, store, progress, cancel).await;
                        return Ok(served(&now));
                    }
                }
                let way = (to.as_ref(), from.as_deref());
                Ok(served(&go_back(&collection, way, store, progress, cancel).await?))
            }
            Self::Snapshot { collection, name: Some(name), delete: true, .. } => {
                let deleted = catalog.delete_snapshot(&collection, &name).await?;
                Ok(json!({"collection": collection, "name": name, "deleted": deleted}))
            }
            Self::Snapshot { collection, name, .. } => {
                fold_all(&collection, store, progress, cancel).await?;
                let name = match name {
                    Some(name) => name,
                    None => {
                        let doc = catalog.open(&collection).await?.doc;
                        format!("auto-{}", if doc.live { &doc.writer } else { &doc.generation })
                    }
                };
                let made = catalog.create_snapshot(&collection, &name, None).await?;
                Ok(json!({"collection": collection, "name": made.name, "generation": made.collection.generation,
                          "created_ms": made.created_ms, "points": made.points, "bytes": made.bytes}))
            }
            Self::Clone { collection, to, as_of, .. } => {
                if as_of.is_none() {
                    fold_all(&collection, store, progress, cancel).await?;
                }
                Ok(served(&catalog.clone_collection(&collection, &to, as_of.as_ref()).await?))
            }
            Self::Compact { collection, options, .. } => {
                let job = CompactJob { collection, options, shared: None };
                as_json(compact(job, store, progress, cancel).await?)
            }
            Self::Gc { collections, grace, dry_run, .. } => {
                let grace_ms = grace.map_or(GRACE_MS, |grace| u64::try_from(grace.as_millis()).unwrap_or(u64::MAX));
                let options = collect::Options { collections, grace_ms, dry_run };
                let watch = |found: &Found, fate| tracing::debug!(key = found.key.as_str(), ?fate, "garbage");
                as_json(catalog.collect(&options, watch).await?)
            }
            Self::Doctor { quick, .. } => {
                let effort = if quick { Effort::QUICK } else { Effort::THOROUGH };
                let watch = |finding: &Finding| tracing::info!(?finding, "examined");
                as_json(store.examine(effort, watch, cancel.cancelled()).await?)
            }
        }
    }
}

fn served(collection: &Collection) -> Value {
    json!({"collection": collection.doc.name, "generation": collection.doc.generation,
           "points": collection.points(), "bytes": collection.bytes(), "since_ms": collection.doc.served_since_ms()})
}

fn as_json(report: impl serde::Serialize) -> Result<Value> {
    serde_json::to_value(report).map_err(|error| Error::invalid("report", error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_become_jobs() {
        let parse = |event: Value| Job::parse(&event).unwrap();
        assert!(parse(json!({"source": "s", "collection": "c"})).is_none());
        assert!(parse(json!({"job": "index", "source": "s", "collection": "c"})).is_none());
        assert!(parse(json!([])).is_none());
        let event = json!({"job": "reindex", "source": "s", "collection": "c", "options": {"min_recall": 0.95}});
        let Some(Job::Reindex { options, store: None, .. }) = parse(event) else { panic!("another job") };
        assert_eq!((options.min_recall, options.min_points_ratio, options.recall_samples), (0.95, 0.9, 200));
        let event = json!({"job": "clone", "collection": "c", "to": "d", "as_of": "snapshot:a b", "store": "x"});
        let Some(Job::Clone { as_of, .. }) = parse(event) else { panic!("another job") };
        assert_eq!(as_of, Some(AsOf::Snapshot("a b".into())));
        let event = json!({"job": "compact", "collection": "c", "options": {"fold_bytes": "1MiB", "force": true}});
        let Some(Job::Compact { options, .. }) = parse(event) else { panic!("another job") };
        assert_eq!((options.force, options.fold_bytes.as_u64(), options.fold_frames), (true, 1 << 20, 256));
        let event = json!({"job": "gc", "grace": "2h"});
        let Some(Job::Gc { grace, collections, dry_run: false, .. }) = parse(event) else { panic!("another job") };
        assert_eq!((grace, collections), (Some(Duration::from_secs(7_200)), vec![]));
        assert!(matches!(parse(json!({"job": "doctor"})), Some(Job::Doctor { quick: false, store: None })));
    }

    #[test]
    fn bad_events_name_the_culprit() {
        for (event, culprit) in [
            (json!({"job": "reindex", "collection": "c"}), "source"),
            (json!({"job": "reindex", "collection": "c", "source": "s", "options": {"m": 8}}), "unknown field `m`"),
            (json!({"job": "reindex", "collection": "../x", "source": "s"}), "/"),
            (json!({"job": "rollback", "collection": "c"}), "an event may come twice"),
            (json!({"job": "rollback", "collection": "c", "to": "a", "snapshot": "b"}), "not both"),
            (json!({"job": "rollback", "collection": "c", "too": "a"}), "too"),
            (json!({"job": "snapshot", "collection": "c", "delete": true}), "needs a name"),
            (json!({"job": "snapshot", "name": "c"}), "collection"),
            (json!({"job": "doctor", "collection": "c"}), "collection"),
            (json!({"job": "gc", "grace": 24}), "expected a string"),
            (json!({"job": "gc", "grace": "soon"}), "such as 24h"),
            (json!({"job": "gc", "collections": ["../x"]}), "/"),
            (json!({"job": "clone", "collection": "c"}), "to"),
            (json!({"job": "compact", "collection": "c", "options": {"fold_age": 1}}), "fold_age"),
            (json!({"job": "clone", "collection": "c", "to": "d", "as_of": "yesterday"}), "unknown past 'yesterday'"),
            (json!({"job": "clone", "collection": "c", "to": "d", "as_of": "time:1969-01-01"}), "unknown past"),
        ] {
            let error = Job::parse(&event).unwrap_err().to_string();
            assert!(error.contains(culprit), "{event}: {error}");
        }
    }
}
