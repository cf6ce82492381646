//! One job on many machines: see `shard`.

use cairn_model::{ErrorKind, Kind as _};
use futures::future::join_all;

use super::*;
use crate::{Part, ShardReport, begin, index_shard, publish};

impl Place {
    async fn shard(&self, job: &IndexJob, generation: &str, shard: u32) -> Result<ShardReport> {
        let part = Part { generation: generation.to_owned(), shard };
        index_shard(job.clone(), &part, &self.store, Arc::new(Unwatched), CancellationToken::new()).await
    }

    async fn generation(&self, job: &IndexJob) -> String {
        begin(job, &self.store).await.unwrap().generation
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T>, kind: ErrorKind, culprit: &str) {
    let error = result.unwrap_err();
    assert!(error.kind() == kind && error.to_string().contains(culprit), "{:?}: {error}", error.kind());
}

#[tokio::test]
async fn shards_that_are_built_apart_hold_what_one_job_would_hold() {
    for place in [Place::memory().await, Place::local().await] {
        let job = place.job(500, 1);
        let begun = begin(&job, &place.store).await.unwrap();
        assert_eq!(begun.shards, [0, 1, 2]);
        let generation = begun.generation;
        let mut points = 0;
        for shard in [2, 0, 1] {
            assert!(!place.catalog().exists(&name()).await.unwrap(), "visible before it is whole");
            let report = place.shard(&job, &generation, shard).await.unwrap();
            assert!(report.built && report.rows == 500 && report.segments == 1, "{report:?}");
            points += report.points;
            let again = place.shard(&job, &generation, shard).await.unwrap();
            assert!(!again.built && again.points == report.points, "{again:?}");
        }
        assert_eq!(points, 500);
        let report = publish(&name(), &generation, &place.store).await.unwrap();
        assert_eq!((report.points, report.segments, report.replaced), (500, 3, false));
        assert_eq!(report.generation, generation);
        check(&place.points().await, 500, 1);
        place.assert_tidy();

        // Late repetitions change nothing.
        let report = publish(&name(), &generation, &place.store).await.unwrap();
        assert_eq!(report.points, 500);
        assert!(!place.shard(&job, &generation, 1).await.unwrap().built);

        // It is a collection like any other.
        let mut job = place.job(90, 2);
        refused(begin(&job, &place.store).await, ErrorKind::Conflict, "--replace");
        let fresh = place.catalog();
        refused(place.shard(&job, "01J00000000000000000000000", 0).await, ErrorKind::Conflict, "--replace");
        job.options.replace = true;
        job.options.shards = None;
        let begun = begin(&job, &place.store).await.unwrap();
        for &shard in &begun.shards {
            place.shard(&job, &begun.generation, shard).await.unwrap();
            assert_eq!(fresh.open(&name()).await.unwrap().points(), 500);
        }
        assert!(publish(&name(), &begun.generation, &place.store).await.unwrap().replaced);
        check(&place.points().await, 90, 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn builders_of_one_shard_at_once_agree() {
    let place = Place::local().await;
    let job = place.job(300, 1);
    let generation = place.generation(&job).await;
    let shards = [0, 0, 1, 2, 1, 0, 2];
    let reports = join_all(shards.map(|shard| place.shard(&job, &generation, shard))).await;
    let points = |of: u32| {
        let mut found = shards.iter().zip(&reports).filter(|(shard, _)| **shard == of);
        let first = found.next().unwrap().1.as_ref().unwrap().points;
        assert!(found.all(|(_, report)| report.as_ref().unwrap().points == first));
        first
    };
    assert_eq!(points(0) + points(1) + points(2), 300);
    let collection = name();
    let publications = join_all((0..4).map(|_| publish(&collection, &generation, &place.store))).await;
    assert!(publications.iter().all(|report| report.as_ref().unwrap().points == 300), "{publications:?}");
    check(&place.points().await, 300, 1);
}

#[tokio::test]
async fn what_is_not_whole_is_not_published() {
    let place = Place::local().await;
    place.index(place.job(40, 7)).await.unwrap();
    let mut job = place.job(200, 1);
    job.options.replace = true;
    let generation = place.generation(&job).await;
    refused(publish(&name(), &generation, &place.store).await, ErrorKind::NotFound, "no shard");
    place.shard(&job, &generation, 1).await.unwrap();
    refused(
        publish(&name(), &generation, &place.store).await,
        ErrorKind::Conflict,
        "2 of 3 shards are not built: 0, 2",
    );
    place.shard(&job, &generation, 0).await.unwrap();
    refused(publish(&name(), &generation, &place.store).await, ErrorKind::Conflict, "1 of 3 shards are not built: 2");
    check(&place.points().await, 40, 7);
    refused(place.shard(&job, &generation, 3).await, ErrorKind::Invalid, "3 is not one of 3 shards");
    refused(place.shard(&job, "01j0", 0).await, ErrorKind::Invalid, "ULID");
    refused(publish(&name(), "../x", &place.store).await, ErrorKind::Invalid, "ULID");
    place.shard(&job, &generation, 2).await.unwrap();
    publish(&name(), &generation, &place.store).await.unwrap();
    check(&place.points().await, 200, 1);
}

#[tokio::test]
async fn builders_that_do_not_agree_are_refused() {
    let place = Place::local().await;
    let job = place.job(200, 1);
    let generation = place.generation(&job).await;
    place.shard(&job, &generation, 0).await.unwrap();
    let mut other = job.clone();
    other.options.m = Some(9);
    refused(place.shard(&other, &generation, 1).await, ErrorKind::Conflict, "another schema");
    other = job.clone();
    other.options.shards = Some(2);
    refused(place.shard(&other, &generation, 1).await, ErrorKind::Conflict, "another schema");

    // More rows: the sizes of the files tell.
    place.job(201, 1);
    refused(place.shard(&job, &generation, 1).await, ErrorKind::Conflict, "another source");
    // Other rows of the same length: only what the builders read tells.
    place.job(200, 1);
    let text = fs::read_to_string(&job.input).unwrap();
    let changed = text.replacen("0.0,", "0.5,", 1);
    assert!(changed != text && changed.len() == text.len());
    fs::write(&job.input, changed).unwrap();
    for shard in [1, 2] {
        place.shard(&job, &generation, shard).await.unwrap();
    }
    refused(publish(&name(), &generation, &place.store).await, ErrorKind::Conflict, "the rows differ");
    assert!(!place.catalog().exists(&name()).await.unwrap());
}

#[tokio::test]
async fn a_collection_that_changes_meanwhile_is_not_overwritten() {
    let place = Place::local().await;
    let mut job = place.job(100, 1);
    job.options.replace = true;
    let late = place.generation(&job).await;
    for shard in 0..3 {
        place.shard(&job, &late, shard).await.unwrap();
    }
    place.index(place.job(30, 2)).await.unwrap();
    place.job(100, 1);
    refused(publish(&name(), &late, &place.store).await, ErrorKind::Conflict, "has changed since");
    refused(place.shard(&job, &late, 0).await, ErrorKind::Conflict, "generation that was served");
    check(&place.points().await, 30, 2);
}

#[tokio::test]
async fn an_id_that_occurs_twice_is_found_by_its_shards_builder() {
    let place = Place::local().await;
    let twice = "{\"id\":5,\"vector\":[1]}\n{\"id\":4,\"vector\":[1]}\n{\"id\":5,\"vector\":[2]}\n";
    let job = place.job_of(twice);
    let generation = place.generation(&job).await;
    let mut found = 0;
    for shard in 0..3 {
        if let Err(error) = place.shard(&job, &generation, shard).await {
            assert!(error.to_string().ends_with("point id 5 occurs twice, in rows 0 and 2"), "{error}");
            found += 1;
        }
    }
    assert_eq!(found, 1);
    refused(publish(&name(), &generation, &place.store).await, ErrorKind::Conflict, "not built");
}

/// A folder of files, as one source.
#[tokio::test]
async fn a_folder_is_read_as_one_file() {
    let place = Place::local().await;
    let mut job = place.job(250, 1);
    let text = fs::read_to_string(&job.input).unwrap();
    let folder = place.path().join("parts of it");
    fs::create_dir(&folder).unwrap();
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    for (number, part) in lines.chunks(60).enumerate() {
        fs::write(folder.join(format!("part-{number}.jsonl")), part.concat()).unwrap();
    }
    fs::write(folder.join("_SUCCESS"), "").unwrap();
    job.input = folder.display().to_string();
    let generation = place.generation(&job).await;
    for shard in 0..3 {
        assert_eq!(place.shard(&job, &generation, shard).await.unwrap().rows, 250);
    }
    publish(&name(), &generation, &place.store).await.unwrap();
    check(&place.points().await, 250, 1);
    place.assert_tidy();

    // Rows without ids are numbered across files; a URL leads to the same folder.
    for (number, rows) in [2, 1, 3].into_iter().enumerate() {
        fs::write(folder.join(format!("part-{number}.jsonl")), "{\"vector\":[1,2]}\n".repeat(rows)).unwrap();
    }
    for number in [3, 4] {
        fs::remove_file(folder.join(format!("part-{number}.jsonl"))).unwrap();
    }
    job.input = format!("file://{}/", folder.display().to_string().replace(' ', "%20"));
    job.options.replace = true;
    place.index(job.clone()).await.unwrap();
    let ids: Vec<_> = place.points().await.into_keys().collect();
    assert_eq!(ids, (0..6).map(PointId::Num).collect::<Vec<_>>());

    fs::write(folder.join("part-1.jsonl"), "{\"vector\":[1,2,3]}").unwrap();
    refused(place.index(job.clone()).await, ErrorKind::Invalid, "part-1.jsonl: file: 3 dimensions");
    fs::write(folder.join("part-1.jsonl"), "{\"id\":1,\"vector\":[1,2]}").unwrap();
    refused(place.index(job.clone()).await, ErrorKind::Invalid, "part-1.jsonl: file: ids");
    fs::write(folder.join("part-1.txt"), "x").unwrap();
    fs::remove_file(folder.join("part-1.jsonl")).unwrap();
    refused(place.index(job.clone()).await, ErrorKind::Invalid, "part-1.txt: file: unknown format");
    job.options.payload = Some("p.jsonl".into());
    refused(place.index(job.clone()).await, ErrorKind::Invalid, "payload: belongs to one file");
    job.options.payload = None;
    job.input = place.path().join("nothing/").display().to_string();
    refused(place.index(job).await, ErrorKind::Invalid, "no files");
}
