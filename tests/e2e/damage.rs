//! Segments that are not what was written, in the store and in the cache: found out, named, never served.

use std::fs;

use serde_json::{Value, json};

use crate::fixture::{Corpus, Index, Place, Random, Serve, eventually, files_below, on_every_lasting_store};

on_every_lasting_store!(a_damaged_segment_in_the_store_is_named, a_missing_object_is_named);

fn indexed(place: &Place) -> Corpus {
    let corpus = Corpus::new(400, 16, "first");
    place.index(&corpus, &Index { shards: 1, ..Index::default() });
    place.index(&corpus, &Index { collection: "whole", shards: 1, ..Index::default() });
    corpus
}

/// The key of the only segment of `stones`.
fn segment(place: &Place) -> String {
    let mut keys = place.segments();
    keys.retain(|key| key.contains("stones"));
    assert_eq!(keys.len(), 1, "{keys:?}");
    keys.remove(0)
}

fn ulid(key: &str) -> &str {
    key.rsplit('/').next().unwrap().trim_end_matches(".seg")
}

fn a_damaged_segment_in_the_store_is_named(place: &Place) {
    let corpus = indexed(place);
    let key = segment(place);
    let good = place.read(&key);
    let body = json!({"query": corpus.queries[0], "params": {"exact": true}});
    let mut random = Random(7);
    let mut damages: Vec<(String, Vec<u8>)> = [0, 1, good.len() / 2, good.len() - 1]
        .into_iter()
        .map(|keep| (format!("cut to {keep} bytes"), good[..keep].to_vec()))
        .collect();
    damages.push(("one byte longer".into(), [&good[..], b"x"].concat()));
    for _ in 0..6 {
        let (at, bit) = (random.below(good.len()), random.below(8));
        let mut bytes = good.clone();
        bytes[at] ^= 1 << bit;
        damages.push((format!("bit {bit} of byte {at} flipped"), bytes));
    }
    for (damage, bytes) in damages {
        eprintln!("{damage}");
        place.overwrite(&key, bytes);
        let server = place.serve(&Serve::default());
        let reply = server.query("stones", &body);
        assert!(matches!(reply.status, 500 | 503), "{damage}: {} {}", reply.status, reply.body);
        assert!(reply.message().contains(ulid(&key)), "{damage}: the segment is not named: {}", reply.message());
        assert_eq!(server.query("whole", &body).ok().points().len(), 10, "{damage}: another collection suffers");
        // Nothing damaged stays behind in the cache: once the store is mended, so are the answers.
        place.overwrite(&key, good.clone());
        assert_eq!(server.query("stones", &body).ok().points().len(), 10, "{damage}");
    }
}

fn a_missing_object_is_named(place: &Place) {
    let corpus = indexed(place);
    let body = json!({"query": corpus.queries[0]});
    let key = segment(place);
    place.remove(&key);
    let server = place.serve(&Serve::default());
    let reply = server.query("stones", &body);
    assert!(reply.status >= 500, "a hole in the store is no fault of the request's: {} {}", reply.status, reply.body);
    // A client may be reading a generation that was just replaced, so it is told to try again; the operator is told what is missing.
    eventually("the log names the segment", || server.output().contains(ulid(&key)).then_some(()));

    let keys = place.keys();
    let named = |end: &str| keys.iter().find(|key| key.contains("stones") && key.ends_with(end)).unwrap();
    let (doc, manifest) = (named("collection.json"), named("manifest.json"));
    let damage = |key: &str| {
        let good = place.read(key);
        for bad in [&b"{"[..], b"[]", b"", &good[..good.len() / 2]] {
            place.overwrite(key, bad.to_vec());
            let reply = place.serve(&Serve::default()).query("stones", &body);
            assert!(reply.status >= 500, "{} {}", reply.status, reply.body);
            assert!(reply.message().contains(key.rsplit('/').next().unwrap()), "{}", reply.message());
        }
        place.overwrite(key, good);
    };
    damage(doc);
    // Manifests are read where none stand in collection.json.
    let mut without: Value = serde_json::from_slice(&place.read(doc)).unwrap();
    without.as_object_mut().unwrap().remove("manifests").unwrap();
    place.overwrite(doc, serde_json::to_vec(&without).unwrap());
    damage(manifest);
}

#[test]
fn a_damaged_file_in_the_cache_is_found_out() {
    let place = Place::local();
    let corpus = indexed(&place);
    let cache_dir = place.folder().join("kept");
    let options = Serve { cache_dir: Some(&cache_dir), ..Serve::default() };
    let server = place.serve(&options);
    let body = json!({"query": corpus.queries[0], "limit": 400, "with_payload": true, "params": {"exact": true}});
    let expected = server.query("stones", &body).ok().result().clone();
    drop(server);
    let ulid = ulid(&segment(&place)).to_owned();
    let size = place.read(&segment(&place)).len() as u64;
    let cached = || -> Vec<_> {
        let files = files_below(&cache_dir).into_iter();
        files.filter(|file| fs::metadata(file).is_ok_and(|meta| meta.len() == size)).collect()
    };
    let mut random = Random(11);
    for round in 0..8 {
        let files = cached();
        assert!(!files.is_empty(), "no cached segment among {:?}", files_below(&cache_dir));
        for file in &files {
            let mut bytes = fs::read(file).unwrap();
            let at = random.below(bytes.len());
            if round % 4 == 0 {
                bytes.truncate(at)
            } else {
                bytes[at] ^= 1 << random.below(8)
            }
            // As another process would: a new file under the old name, so that no mapping shrinks.
            let aside = place.folder().join("aside");
            fs::write(&aside, bytes).unwrap();
            fs::rename(&aside, file).unwrap();
        }
        let reply = place.serve(&options).query("stones", &body);
        if reply.status == 200 {
            assert_eq!(reply.result(), &expected, "round {round}: a damaged cache gave another answer");
        } else {
            assert!(reply.status >= 500, "{} {}", reply.status, reply.body);
            assert!(reply.message().contains(&ulid), "{}", reply.message());
        }
        // It heals: what is found damaged is dropped and fetched again.
        assert_eq!(place.serve(&options).query("stones", &body).ok().result(), &expected, "round {round}");
    }
}

#[test]
fn inspect_names_a_damaged_segment() {
    let place = Place::local();
    indexed(&place);
    let key = segment(&place);
    let whole = place.cairn("inspect", &["--collection", "stones", "--json"]).ok();
    let described: Value = serde_json::from_str(&whole.stdout).unwrap();
    assert!(described.to_string().contains(ulid(&key)), "{described}");
    place.cairn("inspect", &["--collection", "stones", ulid(&key)]).ok();
    let good = place.read(&key);
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 4;
    for (name, bytes) in [("cut", good[..100].to_vec()), ("flipped", flipped)] {
        place.overwrite(&key, bytes);
        let fresh = place.folder().join(name).display().to_string();
        let args = ["--collection", "stones", ulid(&key), "--verify", "--cache-dir", &fresh];
        place.cairn("inspect", &args).refused(&[ulid(&key)]);
    }
}
