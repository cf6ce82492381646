//! Points that go to their shards by nearness.

use cairn_engine::{cluster::Region, seed::SplitMix64};
use cairn_model::Partition;

use super::*;
use crate::{Part, ReindexJob, ReindexOptions, begin, index_shard, publish, reindex};

const DIM: usize = 6;
const CENTRES: usize = 4;

/// Points in four places, in no order.
fn points(rows: usize) -> String {
    let line = |row: usize| {
        let centre = row * 7 % CENTRES;
        let near = |d: usize| if d == centre { 10.0 } else { (row * (d + 3) % 17) as f32 / 17.0 };
        let vector: Vec<f32> = (0..DIM).map(near).collect();
        format!("{{\"id\":{row},\"vector\":{vector:?},\"payload\":{{\"centre\":{centre}}}}}\n")
    };
    (0..rows).map(line).collect()
}

fn job(place: &Place, rows: usize) -> IndexJob {
    let mut job = place.job_of(&points(rows));
    job.distance = Some(Distance::Cosine);
    job.options.partition = Some(Partition::Space);
    job.options.shards = Some(4);
    job
}

/// Of each shard the ids and the region.
async fn shards(place: &Place) -> Vec<(Vec<PointId>, Option<Vec<u8>>)> {
    let collection = place.catalog().open(&name()).await.unwrap();
    let all = place.points().await;
    let cache = Cache::open(CacheOptions { dir: None, bytes_max: 1 << 30, populate: false }).unwrap();
    let mut shards = Vec::new();
    for (shard, entry) in collection.segments() {
        let bytes = cache.segment(&place.store, &collection, shard, entry).await.unwrap();
        let segment = Segment::open(Arc::new(bytes)).unwrap();
        let mut ids: Vec<PointId> = (0..segment.len()).map(|ordinal| segment.id(ordinal).unwrap()).collect();
        ids.sort();
        assert!(ids.iter().all(|id| all.contains_key(id)));
        shards.push((ids, entry.region.clone()));
    }
    shards
}

#[tokio::test]
async fn near_points_share_a_shard_whoever_builds_it() {
    let place = Place::local().await;
    let report = place.index(job(&place, 400)).await.unwrap();
    assert_eq!((report.points, report.segments, report.schema.partition), (400, 4, Partition::Space));
    let whole = shards(&place).await;
    for (ids, region) in &whole {
        let centres: std::collections::BTreeSet<u64> =
            ids.iter().map(|id| if let PointId::Num(row) = id { row * 7 % CENTRES as u64 } else { 9 }).collect();
        assert_eq!((ids.len(), centres.len()), (100, 1), "each place is a shard");
        assert!(Region::decode(region.as_ref().unwrap(), DIM).unwrap().is_some());
    }

    // A shard each, on machines with other numbers of threads.
    let apart = Place::local().await;
    let begun = begin(&job(&apart, 400), &apart.store).await.unwrap();
    for shard in [3, 0, 1, 2] {
        let mut job = job(&apart, 400);
        job.options.threads = std::num::NonZeroUsize::new(1 + shard as usize);
        let part = Part { generation: begun.generation.clone(), shard };
        let report =
            index_shard(job, &part, &apart.store, Arc::new(Unwatched), CancellationToken::new()).await.unwrap();
        assert_eq!((report.points, report.rows), (100, 400));
    }
    publish(&name(), &begun.generation, &apart.store).await.unwrap();
    assert_eq!(shards(&apart).await, whole);
    apart.assert_tidy();
}

/// Points without any order in space.
fn scattered(rows: u32, dim: u32) -> String {
    let mut random = SplitMix64::new(5);
    let mut line = |row: u32| {
        let vector: Vec<f64> = (0..dim).map(|_| random.unit() - 0.5).collect();
        format!("{{\"id\":{row},\"vector\":{vector:?}}}\n")
    };
    (0..rows).map(&mut line).collect()
}

#[tokio::test]
async fn builders_that_deal_otherwise_are_not_published_together() {
    let place = Place::local().await;
    let mut job = place.job_of(&scattered(2_000, 6));
    job.distance = Some(Distance::Cosine);
    job.options.partition = Some(Partition::Space);
    job.options.shards = Some(2);
    for other in [0, 1] {
        let begun = begin(&job, &place.store).await.unwrap();
        for shard in 0..2 {
            // The sample is of a thousand rows: another seed takes others, and learns other shards from them.
            job.options.seed = u64::from(shard * other);
            let part = Part { generation: begun.generation.clone(), shard };
            index_shard(job.clone(), &part, &place.store, Arc::new(Unwatched), CancellationToken::new()).await.unwrap();
        }
        let published = publish(&name(), &begun.generation, &place.store).await;
        assert_eq!(published.is_ok(), other == 0);
        assert!(published.err().is_none_or(|error| error.to_string().contains("or the rows differ")));
        job.options.replace = true;
    }
}

#[tokio::test]
async fn a_reindex_keeps_the_partition_and_its_gate_counts_what_is_left_out() {
    let place = Place::local().await;
    place.index(job(&place, 400)).await.unwrap();
    let again = |min_recall| ReindexJob {
        collection: name(),
        input: place.path().join("source.jsonl").display().to_string(),
        options: ReindexOptions {
            min_recall,
            temp_dir: Some(place.path().join("temporary")),
            ..ReindexOptions::default()
        },
        store_options: StoreOptions::default(),
    };
    let run = |job| reindex(job, &place.store, Arc::new(Unwatched), CancellationToken::new());
    let done = run(again(0.9)).await.unwrap();
    assert_eq!(done.report.schema.partition, Partition::Space);
    assert!(done.gate.unwrap().recall.unwrap() > 0.9);
    let before = place.catalog().open(&name()).await.unwrap().doc.generation.clone();

    // A search that leaves out half of what is near nothing in particular finds about as few.
    let mut job = place.job_of(&scattered(2_000, 48));
    job.distance = Some(Distance::Cosine);
    job.options.replace = true;
    job.options.partition = Some(Partition::Space);
    job.options.shards = Some(16);
    place.index(job).await.unwrap();
    let refused = run(again(0.95)).await.unwrap_err();
    assert!(refused.to_string().contains("recall"), "{refused}");
    assert_ne!(place.catalog().open(&name()).await.unwrap().doc.generation, before);
}

#[tokio::test]
async fn what_cannot_be_partitioned_by_space_is_refused_and_repeated_ids_are_found() {
    let place = Place::local().await;
    let refused = |error: Error, culprit: &str| assert!(error.to_string().contains(culprit), "{error}");
    let mut dot = job(&place, 40);
    dot.distance = Some(Distance::Dot);
    refused(place.index(dot).await.unwrap_err(), "Cosine and Euclid");
    refused(place.index(job(&place, 3)).await.unwrap_err(), "4 shards by space need at least as many points");
    // In different places, and so for different builders.
    let twice = format!("{}{}", points(40), "{\"id\":7,\"vector\":[0,0,0,0,0,1]}\n");
    let mut job = place.job_of(&twice);
    job.distance = Some(Distance::Cosine);
    job.options.partition = Some(Partition::Space);
    refused(place.index(job.clone()).await.unwrap_err(), "7 occurs twice");
    let begun = begin(&job, &place.store).await.unwrap();
    for shard in 0..3 {
        let part = Part { generation: begun.generation.clone(), shard };
        let built = index_shard(job.clone(), &part, &place.store, Arc::new(Unwatched), CancellationToken::new()).await;
        refused(built.unwrap_err(), "7 occurs twice");
    }
    assert!(!place.catalog().exists(&name()).await.unwrap());
}
