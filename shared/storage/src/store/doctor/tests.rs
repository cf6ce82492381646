mod liar;

use std::{future::pending, sync::Arc, time::Duration};

use futures::TryStreamExt as _;
use object_store::{ObjectStore, memory::InMemory};
use tokio::sync::Notify;

use super::{Check::*, *};
use crate::{
    StoreOptions,
    store::Retry,
    testing::faults::{Fault, Faults, Ignores},
};
use liar::{Liar, Lie};

const LITTLE: Effort = Effort { races: 2, contenders: 4, rounds: 2, samples: 2, large_bytes: 9 << 20 };

async fn examined(store: &Store) -> Diagnosis {
    let mut seen = Vec::new();
    let diagnosis = store.examine(LITTLE, |finding| seen.push(finding.check), pending()).await.unwrap();
    assert_eq!(seen, Check::ALL);
    assert_eq!(diagnosis.findings.iter().map(|finding| finding.check).collect::<Vec<_>>(), seen);
    diagnosis
}

fn by(diagnosis: &Diagnosis, verdict: Verdict) -> Vec<Check> {
    diagnosis.findings.iter().filter(|finding| finding.verdict == verdict).map(|finding| finding.check).collect()
}

async fn left(objects: &InMemory) -> Vec<String> {
    objects.list(None).map_ok(|meta| meta.location.to_string()).try_collect().await.unwrap()
}

#[track_caller]
fn assert_good(diagnosis: &Diagnosis) {
    // A slow machine is no fault of the store's.
    let bad: Vec<_> =
        diagnosis.findings.iter().filter(|one| one.verdict != Verdict::Good && one.check != Latency).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    diagnosis.require_safe().unwrap();
    let figures = diagnosis.findings.iter().flat_map(|finding| &finding.figures);
    assert!(figures.clone().count() >= 7 && figures.clone().all(|(_, value)| value.is_finite()));
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_and_a_local_directory_are_good_and_left_as_they_were() {
    assert_good(&examined(&Store::open("memory://", &StoreOptions::default()).await.unwrap()).await);
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("new");
    let store = Store::open(root.to_str().unwrap(), &StoreOptions::default()).await.unwrap();
    assert_good(&examined(&store).await);
    let left: Vec<_> = std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [".cairn-lock"], "a store's own lock is all that stays");
}

/// Any other store: `CAIRN_TEST_STORE=s3://bucket/prefix`, with the usual variables of its provider.
#[tokio::test(flavor = "multi_thread")]
async fn the_store_of_the_environment_is_good() {
    let Ok(url) = std::env::var("CAIRN_TEST_STORE") else { return };
    let store = Store::open(&format!("{url}/{}", ulid::Ulid::generate()), &StoreOptions::default()).await.unwrap();
    assert_good(&examined(&store).await);
    assert_eq!(store.list(&crate::store::Key::probes()).await.unwrap().len(), 0);
}

#[tokio::test]
async fn every_lie_is_found_by_whoever_looks_for_it() {
    for (lie, found_by) in [
        (Lie::SlowCreation, &[CreationRaces] as &[_]),
        (Lie::SlowSwap, &[SwapRaces]),
        (Lie::StaleListing, &[Listings]),
        (Lie::RemembersAbsence, &[ReadAfterWrite]),
        (Lie::Undead, &[ReadAfterDelete]),
        (Lie::WrongRange, &[Ranges, Multipart, Bandwidth]),
        (Lie::Padded, &[Ranges]),
        (Lie::DamagedUpload, &[Multipart, Bandwidth]),
        (Lie::StaleRead, &[ReadAfterWrite, ConditionalGet]),
    ] {
        let objects = Arc::new(InMemory::new());
        let store = Store::over(
            Arc::new(Liar::new(Arc::clone(&objects), lie)),
            "lying://store",
            Retry::new(Duration::from_secs(20), 1),
        );
        let diagnosis = examined(&store).await;
        assert_eq!(
            (by(&diagnosis, Verdict::Unsafe), diagnosis.verdict),
            (found_by.to_vec(), Verdict::Unsafe),
            "{lie:?}"
        );
        for finding in diagnosis.findings.iter().filter(|finding| finding.verdict == Verdict::Unsafe) {
            assert!(finding.found.contains("this store") && finding.found.contains("Use a store"), "{finding:?}");
        }
        let error = diagnosis.require_safe().unwrap_err();
        assert_eq!((error.kind, error.what.as_str()), (ErrorKind::Unsupported, "lying://store"));
        assert!(error.why.contains(found_by[0].name()), "{error}");
        assert_eq!(left(&objects).await, [""; 0], "{lie:?}");
    }
}

#[tokio::test]
async fn ignored_conditions_are_found() {
    for (absent, matches, found_by) in [
        (true, false, &[PutIfAbsent, CreationRaces] as &[_]),
        (false, true, &[CompareAndSwap, SwapRaces]),
        (true, true, &[PutIfAbsent, CompareAndSwap, CreationRaces, SwapRaces]),
    ] {
        let objects = Arc::new(InMemory::new());
        let store = Faults::new(Arc::clone(&objects) as _).ignoring(Ignores { absent, matches }).into_store();
        let diagnosis = examined(&store).await;
        assert_eq!(by(&diagnosis, Verdict::Unsafe), found_by);
        // The same words as those of whoever refuses to write here.
        assert_eq!(diagnosis.findings[usize::from(!absent)].found, store.probe().await.unwrap_err().why);
        assert_eq!(left(&objects).await, [""; 0]);
    }
}

#[tokio::test]
async fn what_is_only_dearer_or_odd_is_safe() {
    for (lie, found_by, sign) in
        [(Lie::SendsAgain, ConditionalGet, "sends everything again"), (Lie::FastClock, Clock, "ahead of")]
    {
        let liar = Liar::new(Arc::default(), lie);
        let store = Store::over(Arc::new(liar), "lying://store", Retry::new(Duration::from_secs(20), 1));
        let diagnosis = examined(&store).await;
        assert_eq!((by(&diagnosis, Verdict::Notice), diagnosis.verdict), (vec![found_by], Verdict::Notice));
        assert!(diagnosis.findings.iter().any(|finding| finding.found.contains(sign)));
        diagnosis.require_safe().unwrap();
    }
}

#[tokio::test]
async fn a_lost_reply_is_no_lie_and_leaves_nothing() {
    let honest = Faults::new(Arc::new(InMemory::new()));
    let steps = honest.steps();
    examined(&honest.into_store()).await;
    for step in (1..steps.count()).step_by(29) {
        let objects = Arc::new(InMemory::new());
        let store = Faults::new(Arc::clone(&objects) as _).at(step, Fault::LostReply).into_store();
        assert_good(&examined(&store).await);
        assert_eq!(left(&objects).await, [""; 0], "step {step}");
    }
}

#[tokio::test]
async fn silence_is_no_verdict() {
    let store = Faults::new(Arc::new(InMemory::new())).always(Fault::Busy).into_store();
    let error = store.examine(LITTLE, |_| (), pending()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);

    // It falls silent on the way.
    let faults = Faults::new(Arc::new(InMemory::new()));
    let (steps, store) = (faults.steps(), faults.into_store());
    let silence = |finding: &Finding| {
        if finding.check == Listings {
            steps.set_always(Some(Fault::Busy));
        }
    };
    let diagnosis = store.examine(LITTLE, silence, pending()).await.unwrap();
    assert_eq!(by(&diagnosis, Verdict::Unknown), Check::ALL[7..]);
    assert_eq!(
        (diagnosis.verdict, diagnosis.require_safe().unwrap_err().kind),
        (Verdict::Unknown, ErrorKind::Unavailable)
    );
}

#[tokio::test]
async fn whoever_stops_it_finds_nothing_left() {
    for last in [PutIfAbsent, SwapRaces, Listings, Multipart, Latency] {
        let objects = Arc::new(InMemory::new());
        let store = Faults::new(Arc::clone(&objects) as _).into_store();
        let stop = Notify::new();
        let watch = |finding: &Finding| {
            if finding.check == last {
                stop.notify_one();
            }
        };
        let error = store.examine(LITTLE, watch, stop.notified()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Cancelled);
        assert_eq!(left(&objects).await, [""; 0], "{last:?}");
    }
}

#[test]
fn a_diagnosis_is_told_as_json() {
    let finding = Finding {
        check: CreationRaces,
        verdict: Verdict::Unsafe,
        found: "two won".to_owned(),
        figures: [("skew_ms", 1.5)].into(),
    };
    let diagnosis = Diagnosis { store: "s3://b".to_owned(), verdict: Verdict::Unsafe, findings: vec![finding] };
    let json = serde_json::json!({"store": "s3://b", "verdict": "unsafe", "findings": [
        {"check": "creation-races", "verdict": "unsafe", "found": "two won", "figures": {"skew_ms": 1.5}}]});
    assert_eq!(serde_json::to_value(&diagnosis).unwrap(), json);
}
