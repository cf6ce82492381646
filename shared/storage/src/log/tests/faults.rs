//! Every step with a fault before it, after it, and with its reply lost.

use std::time::Duration;

use cairn_model::ErrorKind;

use super::*;
use crate::testing::faults::{Fault, Steps};

const FAULTS: [Fault; 4] = [Fault::Busy, Fault::LostReply, Fault::DieBefore, Fault::DieAfter];

/// A log of one earlier write by somebody else, and a second log over faults.
async fn scene(fault: Option<(u64, Fault)>) -> (Arc<InMemory>, Log, Steps) {
    let objects = Arc::new(InMemory::new());
    log_over(&objects, &Arc::default(), 1).append(write(1)).await.unwrap();
    let mut faults = Faults::new(Arc::clone(&objects) as Arc<dyn ObjectStore>);
    if let Some((step, fault)) = fault {
        faults = faults.at(step, fault);
    }
    let steps = faults.steps();
    let log = Log::new(faults.into_store(), place(0), Arc::<At>::default(), options(2));
    (objects, log, steps)
}

fn is_survivable(fault: Fault) -> bool {
    matches!(fault, Fault::Busy | Fault::LostReply)
}

/// What the log must have after the outcome of write 2.
async fn check(objects: &Arc<InMemory>, outcome: Result<Appended, AppendError>, why: &str) {
    let found = found(objects).await;
    let copies: Vec<_> = found.iter().filter(|(number, _)| *number == 2).map(|(_, at)| *at).collect();
    assert_eq!(found[0], (1, Appended { sequence: 0, part: 0 }), "{why}");
    match outcome {
        Ok(at) => assert_eq!(copies, [at], "{why}"),
        Err(AppendError::Unknown(_)) => assert!(copies.len() <= 1, "{why}: {copies:?}"),
        Err(error) => assert_eq!(copies, [], "{why}: {error}"),
    }
}

type Result<T, E> = std::result::Result<T, E>;

#[tokio::test(start_paused = true)]
async fn an_append_with_a_fault_at_any_step() {
    let (_, log, steps) = scene(None).await;
    log.append(write(2)).await.unwrap();
    let count = steps.count();
    assert!(count >= 7, "the probe, one object, its end, and the put: {count}");
    for step in 0..count {
        for fault in FAULTS {
            let why = format!("{fault:?} at step {step} of {count}");
            let (objects, log, _) = scene(Some((step, fault))).await;
            let outcome = log.append(write(2)).await;
            assert!(outcome.is_ok() || !is_survivable(fault), "{why}: {outcome:?}");
            check(&objects, outcome, &why).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_race_with_a_fault_at_any_step() {
    let race = |fault| async move {
        let (objects, log, steps) = scene(fault).await;
        if log.refresh().await.is_err() {
            return (objects, None, steps);
        }
        log_over(&objects, &Arc::default(), 3).append(write(3)).await.unwrap();
        let outcome = log.append(write(2)).await;
        (objects, Some(outcome), steps)
    };
    let (_, outcome, steps) = race(None).await;
    assert_eq!(outcome, Some(Ok(Appended { sequence: 2, part: 0 })));
    let count = steps.count();
    for step in 0..count {
        for fault in FAULTS {
            let why = format!("{fault:?} at step {step} of {count}");
            let (objects, outcome, _) = race(Some((step, fault))).await;
            if let Some(outcome) = outcome {
                assert!(outcome.is_ok() || !is_survivable(fault), "{why}: {outcome:?}");
                check(&objects, outcome, &why).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_conditional_write_with_a_fault_at_any_step() {
    let compute = |tail: Arc<Tail>| async move {
        let seen = tail.frames().len();
        Ok((seen < 2).then(|| write(2)))
    };
    let (_, log, steps) = scene(None).await;
    log.append_computed(0, compute).await.unwrap();
    let count = steps.count();
    for step in 0..count {
        for fault in FAULTS {
            let why = format!("{fault:?} at step {step} of {count}");
            let (objects, log, _) = scene(Some((step, fault))).await;
            let outcome = log.append_computed(0, compute).await;
            assert!(outcome.is_ok() || !is_survivable(fault), "{why}: {outcome:?}");
            let outcome = outcome.map(|outcome| match outcome {
                Outcome::Appended(at) => at,
                Outcome::Unneeded(_) => panic!("{why}: nobody else wrote"),
            });
            check(&objects, outcome, &why).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_with_a_fault_at_any_step() {
    let (_, log, steps) = scene(None).await;
    log.end().await.unwrap();
    let count = steps.count();
    for step in 0..count {
        for fault in FAULTS {
            let why = format!("{fault:?} at step {step} of {count}");
            let (objects, log, _) = scene(Some((step, fault))).await;
            let outcome = log.end().await;
            assert!(outcome.is_ok() || !is_survivable(fault), "{why}: {outcome:?}");
            let other = log_over(&objects, &Arc::default(), 3);
            let after = other.append(write(3)).await;
            match outcome {
                Ok(tail) => {
                    assert!(tail.is_ended(), "{why}");
                    assert_eq!(after, Err(AppendError::Ended), "{why}");
                }
                Err(AppendError::Unknown(_)) => {}
                Err(error) => assert!(after.is_ok(), "{why}: {error}, {after:?}"),
            }
            // Whatever happened, it can be ended, and ended again, by anybody.
            other.end().await.unwrap();
            assert_eq!(other.end().await.unwrap().frames().iter().filter(|frame| frame.is_end()).count(), 1, "{why}");
        }
    }
}

/// A put that nobody heard of for ever arrives while the next write is made: both have a place of their own.
#[tokio::test(start_paused = true)]
async fn a_put_that_arrives_late_is_found_and_not_overwritten() {
    for late_s in [1, 15, 25, 60] {
        let (objects, log, steps) = scene(None).await;
        log.refresh().await.unwrap();
        log.append(write(2)).await.unwrap();
        steps.set_always(Some(Fault::Late(Duration::from_secs(late_s))));
        let unknown = log.append(write(3)).await;
        steps.set_always(None);
        let next = log.append(write(4)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(100)).await;
        let found = found(&objects).await;
        let copies = |wanted| found.iter().filter(|(number, _)| *number == wanted).count();
        assert!(
            matches!(&unknown, Err(AppendError::Unknown(error)) if error.kind == ErrorKind::Unavailable),
            "{unknown:?}"
        );
        assert!(copies(3) <= 1 && copies(4) == 1 && found.contains(&(4, next)), "{late_s} s: {found:?}");
    }
}

/// A writer that sleeps while its place is folded and collected must not believe that it wrote.
#[tokio::test(start_paused = true)]
async fn a_writer_that_slept_past_the_collector_is_not_acknowledged() {
    struct Sleepy(At, AtomicU64);
    #[async_trait]
    impl Position for Sleepy {
        async fn standing(&self) -> Result<Standing, Error> {
            let position = self.0.0.load(SeqCst);
            tokio::time::sleep(Duration::from_secs(self.1.swap(0, SeqCst))).await;
            Ok(Standing { position, edition: 0 })
        }
    }
    use crate::Error;

    let objects = Arc::new(InMemory::new());
    let position = Arc::new(Sleepy(At::default(), AtomicU64::new(3_600)));
    let store = Faults::new(Arc::clone(&objects) as Arc<dyn ObjectStore>).into_store();
    let sleeper = Log::new(store.clone(), place(0), Arc::clone(&position) as Arc<dyn Position>, options(2));
    let asleep = tokio::spawn(async move { sleeper.append(write(2)).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let other = log_over(&objects, &Arc::default(), 1);
    for _ in 0..3 {
        other.append(write(1)).await.unwrap();
    }
    position.0.0.store(3, SeqCst);
    for sequence in 0..3 {
        store.delete(&place(0).key(sequence).unwrap()).await.unwrap();
    }
    let outcome = asleep.await.unwrap();
    assert!(matches!(&outcome, Err(AppendError::Unknown(error)) if error.why.contains("too late")), "{outcome:?}");
}

/// The same while its put is on its way: that a neighbour in the process has learnt where the manifest is now proves nothing.
#[tokio::test(start_paused = true)]
async fn a_put_that_slept_past_the_collector_is_not_acknowledged() {
    let objects = Arc::new(InMemory::new());
    let faults = Faults::new(Arc::clone(&objects) as Arc<dyn ObjectStore>);
    let (steps, hour) = (faults.steps(), Duration::from_secs(3_600));
    let patient = Store::over(Arc::new(faults), "faulty://store", crate::store::Retry::new(hour * 10, 1));
    let position = Arc::new(At::default());
    let sleeper = Log::new(patient.clone(), place(0), Arc::clone(&position) as Arc<dyn Position>, options(2));
    patient.require_safe().await.unwrap();
    sleeper.refresh().await.unwrap();
    steps.set_always(Some(Fault::Delay(hour)));
    let asleep = tokio::spawn({
        let sleeper = sleeper.clone();
        async move { sleeper.append(write(2)).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let other = log_over(&objects, &Arc::default(), 1);
    for _ in 0..3 {
        other.append(write(1)).await.unwrap();
    }
    position.0.store(3, SeqCst);
    let store = Faults::new(Arc::clone(&objects) as Arc<dyn ObjectStore>).into_store();
    for sequence in 0..3 {
        store.delete(&place(0).key(sequence).unwrap()).await.unwrap();
    }
    tokio::time::sleep(hour - Duration::from_secs(10)).await;
    sleeper.fold(at(3), Instant::now());
    let outcome = asleep.await.unwrap();
    assert!(matches!(&outcome, Err(AppendError::Unknown(error)) if error.why.contains("too late")), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn shards_of_a_spread_are_told_apart() {
    let objects = Arc::new(InMemory::new());
    let healthy = Faults::new(Arc::clone(&objects) as Arc<dyn ObjectStore>).into_store();
    let faults = Faults::new(Arc::clone(&objects) as Arc<dyn ObjectStore>);
    let (steps, sick) = (faults.steps(), faults.into_store());
    let log = |store: &Store, shard| Log::new(store.clone(), place(shard), Arc::<At>::default(), options(shard.into()));
    let logs = [log(&healthy, 0), log(&sick, 1), log(&healthy, 2)];
    let spread = |first| {
        let parts = (first..).zip(&logs).map(|(number, log)| (log.clone(), write(number)));
        append_all(parts.collect())
    };
    let whole = spread(10).await;
    assert!(whole.is_whole() && whole.durable().eq([0, 1, 2]), "{whole}");
    assert_eq!(whole.to_string(), "durable in shards 0, 1, 2");
    steps.set_always(Some(Fault::LostReply));
    let torn = spread(20).await;
    steps.set_always(None);
    assert_eq!(torn.to_string(), "durable in shards 0, 2; not known of shards 1");
    assert!(matches!(torn.failure(), Some(AppendError::Unknown(_))));
    // Where it is known beforehand that one refuses, none is touched.
    logs[2].end().await.unwrap();
    let (before, refused) = (logs[0].refresh().await.unwrap(), spread(30).await);
    assert_eq!(refused.to_string(), "not written to shards 0, 1, 2");
    assert_eq!(refused.failure(), Some(&AppendError::Ended));
    assert_eq!(logs[0].refresh().await.unwrap(), before);
}
