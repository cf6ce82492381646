//! Writers on real threads.

use std::{collections::BTreeMap, time::Duration};

use futures::future::join_all;

use super::*;
use crate::testing::{conformance, faults::Fault};

/// A process whose store delays some requests and loses the replies of others.
fn unreliable(objects: &Arc<InMemory>, seed: u64, writer: u64) -> Log {
    let mut faults = Faults::new(Arc::clone(objects) as Arc<dyn ObjectStore>);
    for step in 0..400 {
        let dice = xxhash_rust::xxh3::xxh3_64(&[seed, writer, step].map(u64::to_le_bytes).concat());
        let fault = match dice % 9 {
            0 => Fault::LostReply,
            1 => Fault::Delay(Duration::from_millis(dice >> 8 & 3)),
            _ => continue,
        };
        faults = faults.at(step, fault);
    }
    let options = LogOptions { attempts_max: 1_000, ..options(writer) };
    Log::new(faults.into_store(), place(0), Arc::<At>::default(), options)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_append_of_racing_writers_is_found_once_and_in_real_order() {
    for seed in 0..6_u64 {
        let objects = Arc::new(InMemory::new());
        let clock = Arc::new(AtomicU64::new(0));
        let logs: Vec<_> = (0..4_u64).map(|writer| unreliable(&objects, seed, writer)).collect();
        // Two of the four processes have two tasks each.
        let tasks = (0..6_u64).zip(logs.iter().cycle()).map(|(task, log)| {
            let log = log.clone();
            let clock = Arc::clone(&clock);
            tokio::spawn(async move {
                let mut done = Vec::new();
                for round in 0..12 {
                    let number = task * 1_000 + round;
                    let began = clock.fetch_add(1, SeqCst);
                    let at = log.append(write(number)).await.expect("lost replies and delays are survived");
                    done.push((number, at, began, clock.fetch_add(1, SeqCst)));
                }
                done
            })
        });
        let tasks: Vec<_> = tasks.collect();
        let done: Vec<_> = join_all(tasks).await.into_iter().flat_map(|task| task.expect("no panic")).collect();
        let found: BTreeMap<_, _> = found(&objects).await.into_iter().map(|(number, at)| (at, number)).collect();
        let acknowledged: BTreeMap<_, _> = done.iter().map(|(number, at, ..)| (*at, *number)).collect();
        assert_eq!(found, acknowledged, "seed {seed}");
        assert_eq!(found.len(), 72, "seed {seed}");
        for (_, a, _, a_ended) in &done {
            for (_, b, b_began, _) in &done {
                assert!(a_ended > b_began || a < b, "seed {seed}: {a:?} ended before {b:?} began");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_and_a_local_directory_conform() {
    let dir = tempfile::tempdir().unwrap();
    for url in ["memory://", dir.path().to_str().unwrap()] {
        conformance::log(&Store::open(url, &crate::StoreOptions::default()).await.unwrap()).await;
    }
}

/// Found by the simulation (seed 8): a reader that had seen the end took it for the end of what the manifest opened again.
#[tokio::test(start_paused = true)]
async fn a_log_that_is_opened_again_is_read_on_behind_its_end() {
    let (objects, position) = (Arc::default(), Arc::<At>::default());
    let (reader, writer) = (log_over(&objects, &position, 1), log_over(&objects, &position, 2));
    writer.append(write(1)).await.unwrap();
    writer.end().await.unwrap();
    assert_eq!(reader.refresh().await.unwrap().since(1).unwrap().len(), 1, "the end itself");
    position.0.store(2, SeqCst);
    writer.fold(at(2), Instant::now());
    writer.append(write(2)).await.unwrap();
    let tail = reader.refresh().await.unwrap();
    assert_eq!(tail.since(2), Err(Apart::OldTail));
    reader.fold(at(2), Instant::now());
    assert_eq!(number(&reader.refresh().await.unwrap().since(2).unwrap()[0].parts[0]), 2);
}

/// Found by the simulation (seed 1635): a reader's look had ended at an end, another task of its process folded the log past it, and what was left was
/// taken for all that there is.
#[tokio::test(start_paused = true)]
async fn what_was_read_before_an_end_was_passed_fits_nothing_behind_it() {
    let (objects, position) = (Arc::default(), Arc::<At>::default());
    let (reader, writer) = (log_over(&objects, &position, 1), log_over(&objects, &position, 2));
    writer.end().await.unwrap();
    let own = reader.refresh().await.unwrap();
    let looked = reader.refresh().await.unwrap();
    assert!(own == looked && looked.is_ended());
    position.0.store(1, SeqCst);
    for log in [&reader, &writer] {
        log.fold(at(1), Instant::now());
    }
    writer.append(write(2)).await.unwrap();
    assert_eq!(reader.tail().since(1), Ok(&[] as &[_]), "nobody looked");
    assert_eq!(looked.since(1), Err(Apart::OldTail));
    assert_eq!(reader.refresh().await.unwrap().since(1).unwrap().len(), 1);
}
