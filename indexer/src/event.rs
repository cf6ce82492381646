//! The event that starts a job inside Lambda.
//!
//! ```json
//! {"source": "s3://bucket/points.parquet", "collection": "docs", "distance": "cosine",
//!  "store": "s3://bucket/cairn", "options": {"shards": 2, "replace": true}}
//! ```
//!
//! `store` defaults to the environment's `CAIRN_STORE`; `options` are [`IndexOptions`], under the flags' names with `_` for `-`.
//! A key that is not known is refused: a misspelled option must not become a default.

use cairn_model::{CollectionName, Distance};
use cairn_storage::StoreOptions;
use serde::{Deserialize, Deserializer, de};

use crate::{Error, IndexJob, IndexOptions, Result};

/// A request to index.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// URL of the file of vectors.
    pub source: String,
    /// Which collection.
    pub collection: CollectionName,
    /// Where it is or will be.
    #[serde(default)]
    pub store: Option<String>,
    /// Metric; needed for a new collection.
    #[serde(default, deserialize_with = "distance")]
    pub distance: Option<Distance>,
    /// The rest.
    #[serde(default)]
    pub options: IndexOptions,
}

fn distance<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<Distance>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| text.parse().map_err(de::Error::custom)).transpose()
}

impl Event {
    /// Reads an event.
    ///
    /// # Errors
    /// [`Error::Invalid`], naming the key.
    pub fn parse(json: serde_json::Value) -> Result<Self> {
        serde_json::from_value(json).map_err(|error| Error::invalid("event", error.to_string()))
    }

    /// The store's URL and the job. `default_store` is for events that name none.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no store.
    pub fn into_job(self, default_store: Option<String>) -> Result<(String, IndexJob)> {
        let store = self.store.or(default_store).ok_or_else(|| {
            Error::invalid("store", "is needed: in the event or in the environment variable CAIRN_STORE")
        })?;
        let job = IndexJob {
            collection: self.collection,
            input: self.source,
            distance: self.distance,
            options: self.options,
            store_options: StoreOptions::default(),
        };
        Ok((store, job))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use bytesize::ByteSize;

    #[test]
    fn an_event_becomes_a_job() {
        let event = json!({
            "source": "s3://b/x.npy", "collection": "c", "distance": "l2", "store": "s3://b/cairn",
            "options": {"shards": 4, "m": 32, "datatype": "f16", "memory": "1GiB", "replace": true, "vector_name": "v",
                        "originals": "none", "preset": "speed"}
        });
        let (store, job) = Event::parse(event).unwrap().into_job(None).unwrap();
        assert_eq!(
            (store.as_str(), job.input.as_str(), job.distance),
            ("s3://b/cairn", "s3://b/x.npy", Some(Distance::Euclid))
        );
        let options = job.options;
        assert_eq!((options.shards, options.m, options.memory), (Some(4), Some(32), Some(ByteSize(1 << 30))));
        assert_eq!(options.datatype, Some(cairn_model::Datatype::Float16));
        assert_eq!((options.originals, options.preset), (Some(false), Some(cairn_model::Preset::Speed)));
        assert!(options.replace);
    }

    #[test]
    fn the_store_defaults_to_the_environment() {
        let event = Event::parse(json!({"source": "s", "collection": "c"})).unwrap();
        assert_eq!(event.clone().into_job(Some("dir".into())).unwrap().0, "dir");
        assert!(event.into_job(None).unwrap_err().to_string().contains("CAIRN_STORE"));
    }

    #[test]
    fn bad_events_name_the_culprit() {
        for (event, culprit) in [
            (json!({"collection": "c"}), "source"),
            (json!({"source": "s", "collection": "../x"}), "/"),
            (json!({"source": "s", "collection": "c", "stoer": "x"}), "stoer"),
            (json!({"source": "s", "collection": "c", "options": {"shard": 1}}), "shard"),
            (json!({"source": "s", "collection": "c", "options": {"datatype": "f64"}}), "f64"),
            (json!({"source": "s", "collection": "c", "options": {"originals": true}}), "expected a string"),
            (json!({"source": "s", "collection": "c", "options": {"originals": "some"}}), "expected keep or none"),
            (json!({"source": "s", "collection": "c", "options": {"preset": "fast"}}), "unknown variant `fast`"),
            (json!({"source": "s", "collection": "c", "options": {"threads": 0}}), "zero"),
            (json!({"source": "s", "collection": "c", "distance": "hamming"}), "hamming"),
            (json!([]), "event"),
        ] {
            let error = Event::parse(event).unwrap_err().to_string();
            assert!(error.contains(culprit), "{error}");
        }
    }
}
