//! Reindex, rollback, snapshots and clones, as jobs.

use cairn_model::{ErrorKind, Kind as _};
use cairn_storage::{
    AsOf,
    testing::faults::{Fault, Faults},
};
use object_store::memory::InMemory;
use serde_json::{Value, json};

use super::*;
use crate::{Job, ReindexJob, ReindexOptions, ReindexReport, reindex};

fn again(place: &Place, job: IndexJob, options: ReindexOptions) -> ReindexJob {
    let options = ReindexOptions {
        temp_dir: Some(place.path().join("temporary")),
        memory: Some(ByteSize(64 << 20)),
        threads: std::num::NonZeroUsize::new(2),
        ..options
    };
    ReindexJob { collection: job.collection, input: job.input, options, store_options: job.store_options }
}

async fn run(place: &Place, job: ReindexJob) -> Result<ReindexReport> {
    let done = reindex(job, &place.store, Arc::new(Unwatched), CancellationToken::new()).await;
    place.assert_tidy();
    done
}

/// What the store holds.
async fn keys(place: &Place) -> Vec<String> {
    let found = place.store.list(&cairn_storage::store::Key::collections()).await.unwrap();
    let mut keys: Vec<_> = found.into_iter().map(|found| found.key.as_str().to_owned()).collect();
    keys.sort();
    keys
}

#[tokio::test]
async fn a_reindex_keeps_the_schema_and_the_old_generation() {
    for place in [Place::memory().await, Place::local().await] {
        let mut job = place.job(400, 1);
        (job.options.m, job.options.vector_name) = (Some(9), Some("v".to_owned()));
        let before = place.index(job).await.unwrap();
        let job = again(&place, place.job(370, 2), ReindexOptions::default());
        let ReindexReport { report, gate } = run(&place, job).await.unwrap();
        let gate = gate.unwrap();
        assert_eq!((report.points, &report.schema), (370, &before.schema));
        assert_eq!((gate.points, gate.points_before, gate.samples), (370, 400, 200));
        assert_eq!(gate.generation_before.as_deref(), Some(before.generation.as_str()));
        assert_eq!(gate.points_ratio, Some(370.0 / 400.0));
        assert_eq!(gate.recall, Some(1.0), "so few points are scanned");
        check(&place.points().await, 370, 2);
        let now = place.catalog().rollback(&name(), None, None).await.unwrap();
        assert_eq!(now.doc.generation, before.generation);
        check(&place.points().await, 400, 1);
    }
}

#[tokio::test]
async fn what_does_not_pass_the_gate_is_not_published_and_leaves_nothing() {
    let place = Place::local().await;
    place.index(place.job(400, 1)).await.unwrap();
    let before = keys(&place).await;
    let error = run(&place, again(&place, place.job(300, 2), ReindexOptions::default())).await.unwrap_err();
    assert!(matches!(&error, Error::Refused(figures) if figures.points == 300 && figures.recall.is_none()), "{error}");
    let text = error.to_string();
    assert!(text.contains("a ratio of 0.750, at least 0.9") && text.contains("nothing was published"), "{text}");
    assert_eq!(keys(&place).await, before);

    let few = ReindexOptions { min_points_ratio: 0.7, ..ReindexOptions::default() };
    run(&place, again(&place, place.job(300, 2), few)).await.unwrap();
    check(&place.points().await, 300, 2);

    // Another number of dimensions is another schema; a collection that is not there has none.
    let wide = "{\"id\":1,\"vector\":[1,2,3,4,5,6,7]}\n";
    let anything = || ReindexOptions { min_points_ratio: 0.0, ..ReindexOptions::default() };
    let error = run(&place, again(&place, place.job_of(wide), anything())).await.unwrap_err();
    assert!(error.to_string().contains("created with 6 dimensions"), "{error}");
    let mut job = again(&place, place.job(300, 2), ReindexOptions::default());
    job.collection = CollectionName::parse("nowhere").unwrap();
    assert_eq!(run(&place, job).await.unwrap_err().kind(), ErrorKind::NotFound);
    let bad = ReindexOptions { min_recall: 2.0, ..ReindexOptions::default() };
    assert!(run(&place, again(&place, place.job(300, 2), bad)).await.unwrap_err().to_string().contains("min-recall"));
    check(&place.points().await, 300, 2);
}

/// Points that a sparse graph finds badly: random in many dimensions.
fn scattered(rows: usize) -> String {
    let mut state = 7u64;
    let mut text = String::new();
    for row in 0..rows {
        let vector: Vec<f32> = (0..48)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                f32::from(u16::try_from(state >> 48).unwrap()) / 65_536.0 - 0.5
            })
            .collect();
        writeln!(text, "{{\"id\":{row},\"vector\":{vector:?}}}").unwrap();
    }
    text
}

#[tokio::test]
async fn a_recall_below_the_demanded_is_measured_and_refused() {
    let place = Place::local().await;
    let mut job = place.job_of(&scattered(3_000));
    (job.options.m, job.options.ef_construct, job.options.full_scan_threshold) = (Some(2), Some(4), Some(0));
    (job.distance, job.options.shards) = (Some(Distance::Euclid), Some(2));
    job.options.preset = Some(cairn_model::Preset::Speed);
    place.index(job.clone()).await.unwrap();
    let before = keys(&place).await;

    let demand = |min_recall| ReindexOptions { min_recall, recall_samples: 100, ..ReindexOptions::default() };
    let error = run(&place, again(&place, job.clone(), demand(1.0))).await.unwrap_err();
    let Error::Refused(figures) = &error else { panic!("{error}") };
    let recall = figures.recall.unwrap();
    assert!((0.2..1.0).contains(&recall), "{figures:?}");
    assert!(error.to_string().contains(&format!("recall@10 is {recall:.4} on 100 points")), "{error}");
    assert_eq!(keys(&place).await, before, "what was built is removed");

    let passed = run(&place, again(&place, job.clone(), demand(recall))).await.unwrap();
    assert_eq!(passed.gate.unwrap().recall, Some(recall), "the same seed, the same sample, the same build");
    let unmeasured = ReindexOptions { recall_samples: 0, min_recall: 0.0, ..ReindexOptions::default() };
    assert_eq!(run(&place, again(&place, job, unmeasured)).await.unwrap().gate.unwrap().recall, None);
}

async fn event(place: &Place, event: Value) -> Result<Value> {
    let job = Job::parse(&event)?.expect("a job of ours");
    job.run_in(&place.store, Arc::new(Unwatched), CancellationToken::new()).await
}

#[tokio::test]
async fn events_that_come_twice_do_their_job_once() {
    let place = Place::local().await;
    let first = place.index(place.job(40, 1)).await.unwrap().generation;
    let mut job = place.job(50, 2);
    job.options.replace = true;
    let second = place.index(job.clone()).await.unwrap().generation;

    let snapshot = json!({"job": "snapshot", "collection": "stones"});
    let made = event(&place, snapshot.clone()).await.unwrap();
    assert_eq!((&made["name"], &made["points"]), (&json!(format!("auto-{second}")), &json!(50)));
    assert_eq!(event(&place, snapshot).await.unwrap(), made);

    let back = json!({"job": "rollback", "collection": "stones", "from": second});
    assert_eq!(event(&place, back.clone()).await.unwrap()["generation"], json!(first));
    let error = event(&place, back).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    check(&place.points().await, 40, 1);
    let forth = json!({"job": "rollback", "collection": "stones", "to": second});
    let done = event(&place, forth.clone()).await.unwrap();
    assert_eq!((&done["generation"], &done["points"]), (&json!(second), &json!(50)));
    assert_eq!(event(&place, forth).await.unwrap(), done);

    let clone = json!({"job": "clone", "collection": "stones", "to": "copy", "as_of": format!("generation:{first}")});
    assert_eq!(event(&place, clone.clone()).await.unwrap()["points"], json!(40));
    assert_eq!(event(&place, clone).await.unwrap_err().kind(), ErrorKind::Conflict);

    let remove = json!({"job": "snapshot", "collection": "stones", "name": format!("auto-{second}"), "delete": true});
    assert_eq!(event(&place, remove.clone()).await.unwrap()["deleted"], json!(true));
    assert_eq!(event(&place, remove).await.unwrap()["deleted"], json!(false));

    let again = json!({"job": "reindex", "collection": "stones", "source": job.input,
        "options": {"temp_dir": job.options.temp_dir, "memory": "64MiB", "recall_samples": 10}});
    let report = event(&place, again).await.unwrap();
    assert_eq!((&report["points"], &report["gate"]["samples"]), (&json!(50), &json!(10)));
    assert_eq!(report["gate"]["generation_before"], json!(second));
    place.assert_tidy();
}

/// A reindex that meets a fault at every step of its requests in turn: the old generation or the new one is served, whole, and
/// the job can be run again.
#[tokio::test(flavor = "multi_thread")]
async fn a_reindex_may_die_at_any_step() {
    for fault in [Fault::Busy, Fault::LostReply, Fault::DieBefore, Fault::DieAfter] {
        for step in 0.. {
            let objects = Arc::new(InMemory::new());
            let healthy = Faults::new(Arc::clone(&objects) as _).into_store();
            let place = Place { folder: tempfile::tempdir().unwrap(), store: healthy.clone() };
            place.index(place.job(40, 1)).await.unwrap();
            let job = again(&place, place.job(50, 2), ReindexOptions::default());
            let faults = Faults::new(objects).at(step, fault);
            let steps = faults.steps();
            let store = faults.into_store();
            let outcome = reindex(job.clone(), &store, Arc::new(Unwatched), CancellationToken::new()).await;
            place.assert_tidy();
            let dies = matches!(fault, Fault::DieBefore | Fault::DieAfter);
            assert!(outcome.is_ok() || dies, "{fault:?} at {step}: {outcome:?}");
            let now = place.catalog().open(&name()).await.unwrap();
            if now.points() == 50 {
                check(&place.points().await, 50, 2);
                assert_eq!(now.doc.history.len(), 1, "{fault:?} at {step}");
                let past = AsOf::Generation(now.doc.history[0].generation.clone());
                assert_eq!(place.catalog().open_as_of(&name(), &past).await.unwrap().points(), 40);
            } else {
                assert!(outcome.is_err(), "{fault:?} at {step}");
                check(&place.points().await, 40, 1);
                run(&place, job).await.unwrap();
                check(&place.points().await, 50, 2);
            }
            if steps.count() <= step {
                assert!(step >= 15, "{step} steps");
                break;
            }
        }
    }
}
