//! Writes that share a put, bounds, and what a tail costs.

use std::{sync::atomic::AtomicBool, time::Duration};

use cairn_model::{ErrorKind, Kind as _};
use futures::future::join_all;

use super::*;
use crate::{
    Meter,
    testing::faults::{Fault, Steps},
};

fn slow(options: LogOptions) -> (Arc<InMemory>, Log, Arc<At>, Steps) {
    let (objects, position) = (Arc::new(InMemory::new()), Arc::new(At::default()));
    let faults =
        Faults::new(Arc::clone(&objects) as Arc<dyn ObjectStore>).always(Fault::Delay(Duration::from_millis(30)));
    let steps = faults.steps();
    let log = Log::new(faults.into_store(), place(0), Arc::clone(&position) as Arc<dyn Position>, options);
    (objects, log, position, steps)
}

#[tokio::test(start_paused = true)]
async fn writes_share_puts_in_the_order_in_which_they_came() {
    let (objects, log, _, steps) = slow(LogOptions { batch_parts: 40, ..options(1) });
    log.append(write(0)).await.unwrap();
    let before = steps.count();
    let all: Vec<_> = join_all((1..=100).map(|number| log.append(write(number)))).await;
    let places: Vec<_> = all.into_iter().map(std::result::Result::unwrap).collect();
    assert!(places.is_sorted_by(|a, b| a < b), "{places:?}");
    assert_eq!((steps.count() - before, log.counters().puts), (3, 4), "40, 40 and 20 writes");
    let found = found(&objects).await;
    assert_eq!(found[1..], (1..=100).zip(places).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn batches_are_bounded_in_bytes_and_one_larger_write_goes_alone() {
    let bytes = write(0).bytes();
    let (_, log, _, _) = slow(LogOptions { batch_bytes: bytes * 2, ..options(1) });
    log.append(write(0)).await.unwrap();
    let large = Part::new(vec![Change::Remove((0..9).map(PointId::Num).collect())]).unwrap();
    let parts = [write(1), write(2), large, write(3)];
    let places = join_all(parts.map(|part| log.append(part))).await;
    let sequences: Vec<_> = places.into_iter().map(|at| at.unwrap().sequence).collect();
    assert_eq!(sequences, [1, 1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_takes_no_write_along() {
    let (objects, log, _, _) = slow(options(1));
    log.append(write(0)).await.unwrap();
    let (mut first, second) = (Box::pin(log.append(write(1))), log.append(write(2)));
    assert!(futures::poll!(&mut first).is_pending());
    let ((), second) = tokio::join!(
        async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            drop(first);
        },
        second
    );
    second.unwrap();
    drop(log.submit(write(3)).await.unwrap());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let numbers: Vec<_> = found(&objects).await.into_iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, [0, 1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_nobody_hears_is_counted() {
    let (_, log, _, steps) = slow(options(1));
    log.append(write(0)).await.unwrap();
    steps.set_always(Some(Fault::Busy));
    drop(log.submit(write(1)).await.unwrap());
    let heard = log.append(write(2)).await.unwrap_err();
    assert!(matches!(heard, AppendError::Unknown(_)), "{heard}");
    let counters = log.counters();
    assert_eq!((counters.appended, counters.failed, counters.failed_unheard), (1, 2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_full_tail_refuses_until_it_is_folded() {
    let bytes = write(0).bytes() as u64;
    for bound in
        [LogOptions { tail_frames_max: 3, ..options(1) }, LogOptions { tail_bytes_max: 3 * bytes + 1, ..options(1) }]
    {
        let (_, log, position, _) = slow(bound);
        for number in 0..3 {
            log.append(write(number)).await.unwrap();
        }
        let error = log.append(write(3)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(
            matches!(&error, AppendError::Full { retry_after, .. } if *retry_after == Duration::from_secs(1)),
            "{error}"
        );
        assert!(error.to_string().ends_with("try again in 1 s"), "{error}");
        let conditional = log.append_computed(0, |_| async { Ok(Some(write(3))) }).await;
        assert!(matches!(conditional, Err(AppendError::Full { .. })), "{conditional:?}");
        // Nobody has to tell it: a writer that waited as it was told asks the manifest itself.
        position.0.store(2, SeqCst);
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        assert_eq!(log.append(write(3)).await.unwrap().sequence, 3);
        assert_eq!((log.tail().first(), log.tail().bytes()), (2, 2 * bytes));
        // An end finds room in any case.
        let _ = log.append(write(4)).await;
        log.end().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn too_many_waiting_bytes_are_refused() {
    let bytes = write(0).bytes();
    let (_, log, _, _) = slow(LogOptions { queue_bytes_max: bytes * 2, ..options(1) });
    let outcomes = join_all((0..4).map(|number| log.append(write(number)))).await;
    let refused = outcomes.iter().filter(|outcome| matches!(outcome, Err(AppendError::Full { .. }))).count();
    assert!((1..=2).contains(&refused), "{outcomes:?}");
}

#[tokio::test]
async fn an_unchanged_tail_costs_one_request_and_a_long_one_few_waves() {
    let (objects, position) = (Arc::new(InMemory::new()), Arc::new(At::default()));
    let writer = log_over(&objects, &position, 1);
    for number in 0..200 {
        writer.append(write(number)).await.unwrap();
    }
    let meter = Arc::new(Meter::default());
    let store = Faults::new(Arc::clone(&objects) as Arc<dyn ObjectStore>).into_store().metered(Arc::clone(&meter));
    let reader = Log::new(store, place(0), Arc::clone(&position) as Arc<dyn Position>, options(2));
    let tail = reader.refresh().await.unwrap();
    assert_eq!((tail.first(), tail.next()), (0, 200));
    let first = meter.usage();
    assert!(first.gets <= 200 + 16, "{first:?}");
    assert_eq!(reader.refresh().await.unwrap(), tail);
    assert_eq!(meter.usage().gets - first.gets, 1);
    writer.append(write(200)).await.unwrap();
    assert_eq!(reader.refresh().await.unwrap().next(), 201);
    assert_eq!(tail.next(), 200, "a view does not change");
}

#[tokio::test]
async fn tails_and_manifests_that_do_not_fit_say_so() {
    let (objects, position) = (Arc::new(InMemory::new()), Arc::new(At::default()));
    let log = log_over(&objects, &position, 1);
    for number in 0..5 {
        log.append(write(number)).await.unwrap();
    }
    let asked = Instant::now();
    log.fold(at(2), asked);
    let tail = log.tail();
    assert_eq!(tail.since(1), Err(Apart::OldManifest));
    assert_eq!(tail.since(2).unwrap().len(), 3);
    assert_eq!(tail.since(5).unwrap(), []);
    assert_eq!(tail.since(6), Err(Apart::OldTail));
    log.fold(at(1), asked);
    assert_eq!(log.tail().first(), 2, "old news");
    let other = log_over(&objects, &position, 2);
    other.fold(at(4), asked);
    assert_eq!(other.tail().since(5), Err(Apart::OldTail));
    assert_eq!(other.refresh().await.unwrap().since(4).unwrap().len(), 1);
}

#[tokio::test]
async fn an_object_at_the_wrong_place_or_damaged_is_named() {
    let (objects, position) = (Arc::new(InMemory::new()), Arc::new(At::default()));
    let log = log_over(&objects, &position, 1);
    log.append(write(0)).await.unwrap();
    let store = Faults::new(Arc::clone(&objects) as Arc<dyn ObjectStore>).into_store();
    let copied = log.fetch(&log.inner.store, 0).await.unwrap().unwrap();
    store.put_if_absent(&place(0).key(1).unwrap(), copied).await.unwrap();
    let error = log.refresh().await.unwrap_err();
    assert!(error.kind == ErrorKind::Corrupt && error.what.contains("/0/log/00000000000000000001.log"), "{error}");
    assert!(matches!(log.append(write(1)).await, Err(AppendError::Failed(error)) if error.kind == ErrorKind::Corrupt));
}

#[tokio::test]
async fn a_store_that_ignores_conditions_takes_no_write() {
    let faults = Faults::new(Arc::new(InMemory::new()));
    let ignores = crate::testing::faults::Ignores { absent: true, matches: true };
    let log = Log::new(faults.ignoring(ignores).into_store(), place(0), Arc::<At>::default(), options(1));
    let error = log.append(write(0)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_conditional_write_is_computed_again_when_somebody_was_first() {
    let (objects, log, position, _) = slow(options(1));
    log.append(write(0)).await.unwrap();
    let (other, is_first) = (log_over(&objects, &position, 2), AtomicBool::new(true));
    let lengths = Mutex::new(Vec::new());
    let outcome = log.append_computed(0, |tail| {
        lengths.lock().unwrap().push(tail.frames().len());
        let (other, is_first) = (other.clone(), is_first.swap(false, SeqCst));
        async move {
            if is_first {
                other.append(write(1)).await.unwrap();
            }
            Ok(Some(write(2)))
        }
    });
    assert_eq!(outcome.await, Ok(Outcome::Appended(Appended { sequence: 2, part: 0 })));
    assert_eq!(*lengths.lock().unwrap(), [1, 2]);
    let unneeded = log.append_computed(0, |_| async { Ok(None) }).await.unwrap();
    assert!(matches!(unneeded, Outcome::Unneeded(tail) if tail.next() == 3));
    let failed = log.append_computed(0, |_| async { Err(crate::Error::new(ErrorKind::Invalid, "w", "no")) }).await;
    assert!(matches!(failed, Err(AppendError::Failed(error)) if error.kind == ErrorKind::Invalid));
}

#[tokio::test]
async fn a_process_has_one_log_of_a_shard_and_a_new_writer_for_each() {
    let store = Faults::new(Arc::new(InMemory::new())).into_store();
    let logs = Logs::new(store, LogOptions::default());
    let open = |shard| logs.get(&place(shard), || Arc::<At>::default());
    open(0).append(write(0)).await.unwrap();
    open(1).append(write(1)).await.unwrap();
    assert_eq!((open(0).tail().next(), logs.tail_bytes()), (1, 2 * write(0).bytes() as u64));
    let old = open(0);
    logs.retain(|place| place.shard == 1);
    assert_eq!((open(0).tail().next(), open(1).tail().next()), (0, 1), "forgotten, and kept");
    open(0).append(write(2)).await.unwrap();
    let tail = open(0).refresh().await.unwrap();
    assert_ne!(tail.frames()[0].writer, tail.frames()[1].writer);
    // Who still has the old one is no stranger to the new one.
    assert_eq!(old.append(write(3)).await.unwrap().sequence, 2);
}
