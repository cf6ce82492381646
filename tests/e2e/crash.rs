//! kill -9 of the indexer: the version before stays served, whole, and running it again succeeds.

use std::{thread, time::Duration};

use serde_json::json;

use crate::fixture::{Corpus, Index, Place, Random, Serve, Server, on_every_lasting_store};

on_every_lasting_store!(killed_anywhere_the_indexer_leaves_the_old_version, killed_at_first_it_leaves_nothing);

const POINTS: [u64; 2] = [400, 700];

/// The served generation: 0 or 1; its count and its payloads agree.
///
/// The last request of a killed indexer may still be on its way: where the count changes meanwhile, it is asked again.
#[track_caller]
fn generation(server: &Server, corpus: &Corpus) -> usize {
    let body = json!({"query": corpus.queries[0], "limit": 50, "with_payload": true, "params": {"exact": true}});
    let (count, reply) = loop {
        let count = server.count("stones");
        let reply = server.query("stones", &body).ok();
        if server.count("stones") == count {
            break (count, reply);
        }
    };
    let at = POINTS.iter().position(|&points| points == count);
    let at = at.unwrap_or_else(|| panic!("half a generation is served: {count} points"));
    let edition = ["first", "second"][at];
    assert!(reply.points().iter().all(|point| point["payload"]["edition"] == edition), "not all are {edition}");
    assert_eq!(reply.points().len(), 50);
    at
}

/// The generation that all servers agree on, one that was running and one that starts now.
#[track_caller]
fn agreed(place: &Place, server: &Server, corpus: &Corpus) -> usize {
    let fresh = generation(&place.serve(&Serve::default()), corpus);
    let now = generation(server, corpus);
    // The one that was asked first may have been asked before the commit arrived, never after it.
    assert!(now >= fresh, "a server that was running is behind one that starts now");
    if now != fresh {
        assert_eq!(generation(&place.serve(&Serve::default()), corpus), now, "a server that starts now is behind");
    }
    now
}

/// Starts the indexer and kills it as soon as the store has `objects` more objects than before, then a moment later.
/// Whether it ended by itself before that.
fn kill_at(place: &Place, corpus: &Corpus, options: &Index<'_>, objects: usize, moment: Duration) -> bool {
    let before = place.keys().len();
    let mut indexer = place.index_program(corpus, options).spawn(&place.folder().join("killed.log"));
    loop {
        if let Some(code) = indexer.ended() {
            assert_eq!(code, Some(0), "{}", indexer.output());
            return true;
        }
        if place.keys().len() >= before + objects {
            thread::sleep(moment);
            indexer.kill();
            return false;
        }
    }
}

fn killed_anywhere_the_indexer_leaves_the_old_version(place: &Place) {
    let [first, second] = [(400, "first"), (700, "second")].map(|(count, edition)| Corpus::new(count, 12, edition));
    let options = Index { shards: 3, replace: true, ..Index::default() };
    place.index(&first, &Index { replace: false, ..options.clone() });
    let server = place.serve(&Serve::default());
    assert_eq!(generation(&server, &first), 0);

    let mut random = Random(42);
    let mut killed = 0;
    // A generation of three shards is some seven objects: the kills fall before, between and after each of them.
    for round in 0..12 {
        let moment = Duration::from_micros(random.below(4_000) as u64);
        let ended = kill_at(place, &second, &options, round % 8, moment);
        killed += usize::from(!ended);
        let now = agreed(place, &server, &first);
        assert!(!ended || now == 1, "the indexer ended well but its generation is not served");
        if now == 1 {
            // It was past the commit: go back to the first generation, over all the garbage.
            place.index(&first, &options);
            assert_eq!(generation(&server, &first), 0);
        }
    }
    assert!(killed > 0, "the indexer was never killed in time");
    place.index(&second, &options);
    assert_eq!(generation(&server, &first), 1);
}

fn killed_at_first_it_leaves_nothing(place: &Place) {
    let corpus = Corpus::new(400, 12, "first");
    let options = Index { shards: 2, ..Index::default() };
    let server = place.serve(&Serve::default());
    for objects in 0..3 {
        if kill_at(place, &corpus, &options, objects, Duration::ZERO) {
            break;
        }
        // Either it was not published and the name is free, or the kill came after the last step.
        let reply = server.get("/collections/stones");
        if reply.status == 200 {
            assert_eq!(generation(&server, &corpus), 0);
            return;
        }
        reply.refused(404, &["stones"]);
        assert_eq!(server.get("/collections").ok().result()["collections"], json!([]));
    }
    if server.get("/collections/stones").status == 404 {
        place.index(&corpus, &options);
    }
    assert_eq!(generation(&server, &corpus), 0);
}
