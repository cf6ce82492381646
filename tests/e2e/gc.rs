//! `cairn gc` beside a server, over what builders, deletions and clones leave behind.

use serde_json::Value;

use crate::fixture::{Corpus, Index, Place, Serve, on_every_lasting_store};

on_every_lasting_store!(what_is_garbage_is_written_down_and_what_is_served_stays);

fn what_is_garbage_is_written_down_and_what_is_served_stays(place: &Place) {
    let [first, second] = [(200, "first"), (250, "second")].map(|(n, edition)| Corpus::new(n, 12, edition));
    place.index(&first, &Index::default());
    place.index(&second, &Index { replace: true, ..Index::default() });
    let server = place.serve(&Serve::default());
    let gc = |more: &[&str]| place.cairn("gc", more);
    let report =
        |more: &[&str]| -> Value { serde_json::from_str(&gc(&[&["--json"], more].concat()).ok().stdout).unwrap() };
    let counted = |report: &Value, fate: &str| report[fate]["objects"].as_u64().unwrap();
    let before = place.keys();
    let all = report(&[]);
    assert_eq!((counted(&all, "deleted"), counted(&all, "waiting"), counted(&all, "young")), (0, 0, 0), "{all}");
    assert_eq!((all["collections"].as_u64(), all["generations"].as_u64()), (Some(1), Some(2)));
    assert_eq!(place.keys(), before, "all is named by the history");

    // A file that nothing names, in the generation that is served: it is noted, and noted once.
    let segment = place.segments().pop().unwrap();
    let (folder, _) = segment.rsplit_once('/').unwrap();
    let lost = format!("{folder}/01J00000000000000000000000.seg");
    place.overwrite(&lost, b"lost".to_vec());
    place.overwrite("collections/stones/readme.txt", b"mine".to_vec());
    let seen = report(&["--dry-run"]);
    assert_eq!((counted(&seen, "waiting"), place.keys().len()), (1, before.len() + 2), "{seen}");
    for _ in 0..2 {
        let seen = report(&["stones"]);
        assert_eq!((counted(&seen, "deleted"), counted(&seen, "waiting")), (0, 1), "{seen}");
        assert_eq!(place.keys().iter().filter(|key| key.contains("/garbage/")).count(), 1);
    }
    let text = gc(&["--grace", "15min"]).ok().stdout;
    assert!(text.contains("Deleted: 0 objects") && text.contains("stay: 1 objects, 4 B (garbage"), "{text}");
    gc(&["--grace", "5min"]).refused(&["grace period", "at least"]);
    gc(&["--grace", "never"]).refused(&["--grace", "such as 24h"]);

    assert_eq!(server.count("stones"), 250);
    server.delete("/collections/stones").ok();
    let left = report(&[]);
    assert_eq!((counted(&left, "deleted"), counted(&left, "named")), (0, 0), "{left}");
}
