//! The event that starts a job inside Lambda.
//!
//! ```json
//! {"source": "s3://bucket/points.parquet", "collection": "docs", "distance": "cosine",
//!  "store": "s3://bucket/cairn", "options": {"shards": 2, "replace": true}}
//! ```
//!
//! `store` defaults to the environment's `CAIRN_STORE`; `options` are [`IndexOptions`], under the flags' names with `_` for `-`.
//! A key that is not known is refused: a misspelled option must not become a default.
//!
//! `job` says which job; without it, it is `index`.
//!
//! | `job` | keys | what |
//! |---|---|---|
//! | `index` | as above | reads, builds, publishes |
//! | `begin` | as above | names a generation and its shards: the first step where each shard is another function's |
//! | `shard` | as above, `generation`, `shard` | builds one of them |
//! | `publish` | `collection`, `generation`, `store` | publishes them all |

use std::sync::Arc;

use cairn_model::{CollectionName, Distance};
use cairn_storage::{Store, StoreOptions};
use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeOwned},
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::{
    Error, IndexJob, IndexOptions, Progress, Result, index,
    shard::{self, Part},
};

/// What `job` may be, for the error.
const JOBS: &str = "index, begin, shard, publish, reindex, rollback, snapshot, clone, compact, gc or doctor";

/// A request for one job.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A whole index job.
    Index(Box<Source>),
    /// The first step of one that many functions do.
    Begin(Box<Source>),
    /// One shard of it.
    Shard(Box<Source>, Part),
    /// Its last step.
    Publish(Publish),
}

/// What to index.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// URL of the file of vectors, or of a folder of them, which ends in `/`.
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

/// What to publish.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// Which collection.
    pub collection: CollectionName,
    /// Where it is or will be.
    #[serde(default)]
    pub store: Option<String>,
    /// The generation that was built.
    pub generation: String,
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
    pub fn parse(mut json: Value) -> Result<Self> {
        let mut take = |key: &str| json.as_object_mut().and_then(|event| event.remove(key));
        let job = match take("job") {
            None => "index".to_owned(),
            Some(Value::String(job)) => job,
            Some(other) => return Err(Error::invalid("job", format!("is {other}, expected a text"))),
        };
        Ok(match job.as_str() {
            "index" => Self::Index(read(json)?),
            "begin" => Self::Begin(read(json)?),
            "shard" => {
                let keys = ["generation", "shard"].into_iter();
                let part: serde_json::Map<_, _> =
                    keys.filter_map(|key| take(key).map(|value| (key.to_owned(), value))).collect();
                Self::Shard(read(json)?, read(part.into())?)
            }
            "publish" => Self::Publish(read(json)?),
            _ => return Err(Error::invalid("job", format!("'{job}' is unknown: expected {JOBS}"))),
        })
    }
}

fn read<T: DeserializeOwned>(json: Value) -> Result<T> {
    serde_json::from_value(json).map_err(|error| Error::invalid("event", error.to_string()))
}

fn store_url(store: Option<String>, default: Option<String>) -> Result<String> {
    store
        .or(default)
        .ok_or_else(|| Error::invalid("store", "is needed: in the event or in the environment variable CAIRN_STORE"))
}

impl Source {
    /// The store's URL and the job. `default_store` is for events that name none.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no store.
    pub fn into_job(self, default_store: Option<String>) -> Result<(String, IndexJob)> {
        let store = store_url(self.store, default_store)?;
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

/// Does what an event asks for; the answer is the report. `default_store` is for events that name none.
///
/// # Errors
/// [`Error`].
pub async fn answer(
    event: Event,
    default_store: Option<String>,
    progress: Arc<dyn Progress>,
    cancel: CancellationToken,
) -> Result<Value> {
    let open = async |url: String| Store::open(&url, &StoreOptions::default()).await;
    match event {
        Event::Index(source) => {
            let (url, job) = source.into_job(default_store)?;
            tracing::info!(collection = %job.collection, source = %job.input, store = %url, "starting");
            as_json(index(job, &open(url).await?, progress, cancel).await?)
        }
        Event::Begin(source) => {
            let (url, job) = source.into_job(default_store)?;
            as_json(shard::begin(&job, &open(url).await?).await?)
        }
        Event::Shard(source, part) => {
            let (url, job) = source.into_job(default_store)?;
            tracing::info!(collection = %job.collection, shard = part.shard, generation = part.generation, "starting");
            as_json(shard::index_shard(job, &part, &open(url).await?, progress, cancel).await?)
        }
        Event::Publish(Publish { collection, store, generation }) => {
            let store = open(store_url(store, default_store)?).await?;
            as_json(shard::publish(&collection, &generation, &store).await?)
        }
    }
}

fn as_json(report: impl serde::Serialize) -> Result<Value> {
    serde_json::to_value(report).map_err(|error| Error::invalid("report", error.to_string()))
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
        let Event::Index(event) = Event::parse(event).unwrap() else { panic!("another job") };
        let (store, job) = event.into_job(None).unwrap();
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
    fn a_job_is_what_it_is_called() {
        let source = json!({"source": "s", "collection": "c", "job": "begin"});
        assert!(matches!(Event::parse(source.clone()), Ok(Event::Begin(_))));
        let mut shard = source;
        for (key, value) in [("job", json!("shard")), ("generation", json!("01J")), ("shard", json!(3))] {
            shard[key] = value;
        }
        let Ok(Event::Shard(_, part)) = Event::parse(shard) else { panic!("another job") };
        assert_eq!(part, Part { generation: "01J".to_owned(), shard: 3 });
        let publish = json!({"job": "publish", "collection": "c", "generation": "01J"});
        assert!(matches!(Event::parse(publish), Ok(Event::Publish(Publish { store: None, .. }))));
    }

    #[test]
    fn the_store_defaults_to_the_environment() {
        let event: Source = read(json!({"source": "s", "collection": "c"})).unwrap();
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
            (json!({"source": "s", "collection": "c", "job": "idnex"}), "idnex"),
            (json!({"source": "s", "collection": "c", "job": 1}), "job"),
            (json!({"source": "s", "collection": "c", "shard": 1}), "shard"),
            (json!({"source": "s", "collection": "c", "job": "shard", "shard": 1}), "generation"),
            (json!({"source": "s", "collection": "c", "job": "shard", "generation": "g"}), "shard"),
            (json!({"collection": "c", "job": "publish"}), "generation"),
            (json!({"collection": "c", "job": "publish", "generation": "g", "source": "s"}), "source"),
        ] {
            let error = Event::parse(event).unwrap_err().to_string();
            assert!(error.contains(culprit), "{error}");
        }
    }
}
