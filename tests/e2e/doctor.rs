//! `cairn doctor` on real stores, and what it leaves there.

use serde_json::Value;

use crate::fixture::{Place, Program, on_every_store};

on_every_store!(a_healthy_store_is_called_safe);

mod lasting {
    use super::an_examination_leaves_nothing;
    use crate::fixture::on_every_lasting_store;
    on_every_lasting_store!(an_examination_leaves_nothing);
}

fn a_healthy_store_is_called_safe(place: &Place) {
    let table = place.cairn("doctor", &["--quick"]).ok().stdout;
    for check in ["put-if-absent in races", "compare-and-swap in races", "listings", "upload in parts", "bandwidth"] {
        assert!(table.lines().any(|line| line.starts_with(check) && line.contains(" good ")), "{check}:\n{table}");
    }
    assert!(table.contains("is safe for Cairn"), "{table}");

    let diagnosis = place.cairn("doctor", &["--quick", "--json"]).ok().stdout;
    let diagnosis: Value = serde_json::from_str(&diagnosis).unwrap();
    let findings = diagnosis["findings"].as_array().unwrap();
    assert_eq!((findings.len(), &diagnosis["store"]), (13, &Value::from(place.url())), "{diagnosis}");
    let figure = |name: &str| findings.iter().find_map(|finding| finding["figures"][name].as_f64()).unwrap();
    assert!(figure("get_p50_ms") <= figure("get_p99_ms") && figure("several_connections_mb_s") > 0.0, "{diagnosis}");
}

fn an_examination_leaves_nothing(place: &Place) {
    place.cairn("doctor", &["--quick"]).ok();
    let left = || place.keys().into_iter().filter(|key| key.contains("cairn-probe")).collect::<Vec<_>>();
    assert_eq!(left(), [""; 0]);

    // Stopped on the way, after it has begun to write.
    let mut program = Program::cairn().env(place.env()).args(["doctor", "--store", place.url()]);
    program.0.env("CAIRN_LOG", "warn");
    let mut running = program.spawn(&place.folder().join("doctor.log"));
    crate::fixture::eventually("it writes", || (!left().is_empty()).then_some(()));
    let process = rustix::process::Pid::from_raw(running.id().try_into().unwrap()).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
    let code = crate::fixture::eventually("it ends", || running.ended());
    assert_eq!(code, Some(130), "{}", running.output());
    assert!(running.output().contains("what was written is removed"), "{}", running.output());
    assert_eq!(left(), [""; 0]);
}

#[test]
fn what_cannot_be_examined_is_an_error() {
    let place = Place::local();
    let file = place.folder().join("a file");
    std::fs::write(&file, "").unwrap();
    let doctor = |store: &str, more: &[&str]| {
        Program::cairn().args(["doctor", "--store", store]).args(more.iter().copied()).run()
    };
    doctor(&file.display().to_string(), &[]).refused(&["is a file"]);
    let nobody = ["--s3-endpoint", "http://127.0.0.1:1", "--s3-access-key-id", "a", "--s3-secret-access-key", "b"];
    let more = [&nobody[..], &["--store-timeout-ms", "300", "--json"]].concat();
    let silent = doctor("s3://bucket", &more).refused(&["s3://bucket", "hint: check the store's URL"]);
    assert_eq!((silent.code, silent.stdout.as_str()), (Some(1), ""));
}
