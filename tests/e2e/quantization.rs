//! Codes and originals as a user meets them: Qdrant's quantization settings, what a search says about codes, collections
//! without originals, and `cairn bench` over all of it.

use std::fs;

use serde_json::{Value, json};

use crate::fixture::{Corpus, Index, Metric, Place, Program, Serve, write_npy};

const DIM: usize = 48;

#[test]
fn qdrants_settings_are_kept_and_shown_and_said_to_be_served_by_one_codec() {
    let place = Place::local();
    let server = place.serve(&Serve::default());
    let configs = [
        json!({"scalar": {"type": "int8", "quantile": 0.99, "always_ram": true}}),
        json!({"product": {"compression": "x16"}}),
        json!({"binary": {"encoding": "one_and_half_bits", "query_encoding": "scalar4bits"}}),
        json!({"turbo": {"bits": "bits2", "memory": "pinned"}}),
    ];
    for config in &configs {
        let schema = json!({"vectors": {"size": 64, "distance": "Dot"}, "quantization_config": config});
        server.put("/collections/whole", &schema).ok();
        let vectors = json!({"stone": {"size": 64, "distance": "Dot", "quantization_config": config}});
        server.put("/collections/single", &json!({ "vectors": vectors })).ok();
        let whole = server.get("/collections/whole").ok();
        assert_eq!(whole.result()["config"]["quantization_config"], *config);
        let single = server.get("/collections/single").ok();
        assert_eq!(single.result()["config"]["params"]["vectors"]["stone"]["quantization_config"], *config);
        assert_eq!(single.result()["config"]["quantization_config"], Value::Null);
        for info in [&whole, &single] {
            let warning = info.result()["warnings"][0]["message"].as_str().unwrap();
            assert!(warning.contains("8-bit code"), "{warning}");
        }
        for name in ["whole", "single"] {
            server.delete(&format!("/collections/{name}")).ok();
        }
    }
    let disabled = json!({"vectors": {"size": 4, "distance": "Dot"}, "quantization_config": "Disabled"});
    server.put("/collections/whole", &disabled).ok();
    let info = server.get("/collections/whole").ok();
    assert_eq!((&info.result()["config"]["quantization_config"], info.result().get("warnings")), (&Value::Null, None));
}

#[test]
fn settings_that_are_none_are_refused() {
    let place = Place::local();
    let server = place.serve(&Serve::default());
    for (config, status, culprit) in [
        (json!({"scalar": {"type": "int4"}}), 400, "int4"),
        (json!({"scalar": {}}), 400, "type"),
        (json!({"scalar": {"type": "int8", "quantile": 1.5}}), 422, "quantization_config.scalar.quantile: value 1.5"),
        (json!({"product": {"compression": "x5"}}), 400, "x5"),
        (json!({"binary": {"bits": 1}}), 400, "bits"),
        (json!({"turbo": {"bits": "bits8"}}), 400, "bits8"),
        (json!({"octal": {}}), 400, "octal"),
        (json!("Enabled"), 400, "Enabled"),
        (json!(7), 400, "7"),
    ] {
        let schema = json!({"vectors": {"size": 64, "distance": "Dot"}, "quantization_config": config});
        server.put("/collections/new", &schema).refused(status, &[culprit]);
        let inner = json!({"vectors": {"size": 64, "distance": "Dot", "quantization_config": config}});
        server.put("/collections/new", &inner).refused(status, &[culprit]);
    }
    for (cairn, status, culprit) in [
        (json!({"originals": "none"}), 400, "none"),
        (json!({"preset": "fast"}), 400, "fast"),
        (json!({"pre": 1}), 400, "pre"),
    ] {
        let schema = json!({"vectors": {"size": 64, "distance": "Dot", "cairn": cairn}});
        server.put("/collections/new", &schema).refused(status, &[culprit]);
    }
    let none = json!({"originals": false});
    for (size, distance) in [(31, "Dot"), (64, "Manhattan")] {
        let schema = json!({"vectors": {"size": size, "distance": distance, "cairn": none}});
        server.put("/collections/new", &schema).refused(422, &["vectors.originals", "at least 32 dimensions"]);
    }
    assert!(place.keys().is_empty(), "{:?}", place.keys());
}

#[test]
fn a_search_says_how_codes_are_used() {
    let place = Place::local();
    let corpus = Corpus::new(900, DIM, "first");
    let more = ["--full-scan-threshold", "1"];
    place.index(&corpus, &Index { metric: Metric::Euclid, shards: 1, more: &more, ..Index::default() });
    let server = place.serve(&Serve::default());
    let ask = |query: &[f32], params: Value| server.query("stones", &json!({"query": query, "params": params})).ok();
    let scores = |points: &[Value]| points.iter().map(|point| point["score"].as_f64().unwrap()).collect::<Vec<_>>();
    let mut estimates = 0;
    for query in &corpus.queries {
        let usual = ask(query, json!({}));
        let ignored = ask(query, json!({"quantization": {"ignore": true}}));
        assert_eq!(usual.points(), ignored.points());
        let more = ask(query, json!({"quantization": {"rescore": true, "oversampling": 10.0}}));
        assert!(more.usage("vectors_scored") > usual.usage("vectors_scored"));
        let coded = ask(query, json!({"quantization": {"rescore": false}, "indexed_only": true}));
        // Of a pool that is not narrow, the best by their codes are looked at once more.
        let wide = ask(query, json!({"hnsw_ef": 64}));
        let wide_coded = ask(query, json!({"hnsw_ef": 64, "quantization": {"rescore": false}}));
        assert!(wide_coded.usage("vectors_scored") < wide.usage("vectors_scored"));
        for (estimate, score) in scores(coded.points()).iter().zip(scores(usual.points())) {
            assert!((estimate - score).abs() < 0.05 * score.max(1.0), "{estimate} for {score}");
            estimates += usize::from(*estimate != score);
        }
        let recall = ask(query, json!({"recall": 0.9}));
        assert_eq!(recall.points().len(), 10);
    }
    assert!(estimates > 0, "without rescoring scores are those of the codes");
    let query = &corpus.queries[0];
    for (params, status, culprit) in [
        (json!({"quantization": {"oversampling": 0.99}}), 422, "quantization.oversampling: value 0.99 invalid"),
        (json!({"quantization": {"oversampling": 1e30}}), 422, "oversampling"),
        (json!({"quantization": {"oversampling": "two"}}), 400, "two"),
        (json!({"quantization": {"rescoring": true}}), 400, "rescoring"),
        (json!({"quantization": 7}), 400, "integer `7`"),
        (json!({"recall": 1}), 422, "recall: value 1.0 invalid, must be from 0.5 to 0.999"),
        (json!({"recall": "high"}), 400, "high"),
        (json!({"indexed_only": 1}), 400, "integer `1`"),
    ] {
        server.query("stones", &json!({"query": query, "params": params})).refused(status, &[culprit]);
    }
}

#[test]
fn collections_without_originals_are_answered_from_codes() {
    let place = Place::local();
    let corpus = Corpus::new(900, DIM, "first");
    let more = ["--originals", "none", "--preset", "recall"];
    place.index(&corpus, &Index { metric: Metric::Dot, shards: 1, more: &more, ..Index::default() });
    let server = place.serve(&Serve::default());
    let info = server.get("/collections/stones").ok();
    let own = &info.result()["cairn"]["vectors"][""];
    assert_eq!((&own["originals"], &own["preset"]), (&json!(false), &json!("recall")));
    let (mut found, mut wanted) = (0, 0);
    for query in &corpus.queries {
        let ranked = corpus.ranked(Metric::Dot, query, |_| true);
        for params in [json!({}), json!({"exact": true}), json!({"quantization": {"rescore": true}})] {
            let reply = server.query("stones", &json!({"query": query, "params": params})).ok();
            assert_eq!(reply.points().len(), 10);
            let near = |point: &&Value| ranked[..10].iter().any(|(id, _)| *id == point["id"]);
            found += reply.points().iter().filter(near).count();
            wanted += 10;
        }
    }
    assert!(found * 100 >= wanted * 93, "recall {found} of {wanted}");
    // Vectors come back as near as 8 bits get.
    let asked: Vec<&Value> = corpus.points.iter().step_by(97).map(|point| &point.id).collect();
    let reply = server.post("/collections/stones/points", &json!({"ids": asked, "with_vector": true})).ok();
    for point in reply.result().as_array().unwrap() {
        let shown: Vec<f32> = serde_json::from_value(point["vector"].clone()).unwrap();
        let stored = &corpus.point(&point["id"]).vector;
        let length = stored.iter().map(|x| x * x).sum::<f32>().sqrt();
        let off = shown.iter().zip(stored).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt();
        assert!(off <= 0.02 * length, "off by {off} of {length}");
    }

    let manhattan = Index { collection: "other", metric: Metric::Manhattan, more: &more, ..Index::default() };
    place.index_program(&corpus, &manhattan).run().refused(&["originals", "at least 32 dimensions"]);
    let typo = Index { collection: "other", more: &["--preset", "fast"], ..Index::default() };
    place.index_program(&corpus, &typo).run().refused(&["--preset", "fast", "balanced"]);
    assert!(place.keys().iter().all(|key| !key.contains("other")), "{:?}", place.keys());
}

#[test]
fn bench_measures_recall_targets_codes_and_memory() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = Corpus::new(1_500, DIM, "first");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let vectors: Vec<Vec<f32>> = corpus.points.iter().map(|point| point.vector.clone()).collect();
    write_npy(folder.path().join("base.npy").as_path(), &vectors);
    write_npy(folder.path().join("queries.npy").as_path(), &corpus.queries);
    let (base, queries) = (path("base.npy"), path("queries.npy"));
    let bench = |more: &[&str]| {
        let all = ["bench", "--base", &base, "--queries", &queries, "--distance", "euclid", "--repeat", "1"];
        Program::cairn().args(all).args(more.iter().copied()).run()
    };
    let report = |more: &[&str]| -> Value {
        let finished = bench(&[more, &["--json", "--full-scan-threshold", "1"]].concat()).ok();
        serde_json::from_str(&finished.stdout).unwrap()
    };
    let usual = report(&["--ef", "20,400", "--recall-target", "0.9"]);
    assert_eq!(
        (&usual["tier"], &usual["originals"], &usual["preset"]),
        (&json!("warm"), &json!(true), &json!("balanced"))
    );
    assert!(usual["build_peak_bytes"].as_u64().is_none_or(|bytes| bytes > 1 << 20), "{usual}");
    let runs = usual["runs"].as_array().unwrap();
    let widths: Vec<(&Value, &Value)> = runs.iter().map(|run| (&run["ef"], &run["recall_target"])).collect();
    assert_eq!(widths[..2], [(&json!(20), &Value::Null), (&json!(400), &Value::Null)]);
    assert!((widths[2].1.as_f64().unwrap() - 0.9).abs() < 1e-6 && widths[2].0.is_null());
    assert!(runs[1]["recall"].as_f64().unwrap() > 0.97, "{usual}");
    for run in runs {
        let [p50, p90, p99] = ["p50_us", "p90_us", "p99_us"].map(|name| run[name].as_f64().unwrap());
        assert!(0.0 < p50 && p50 <= p90 && p90 <= p99, "{run}");
    }

    let coded = report(&["--ef", "400", "--rescore", "false", "--batch", "7", "--threads", "2"]);
    let more = report(&["--ef", "400", "--oversampling", "10"]);
    let figure = |report: &Value, name: &str| report["runs"][0][name].as_f64().unwrap();
    assert!(figure(&coded, "distances") < figure(&more, "distances"), "{coded} {more}");
    // Hits of codes are judged by their true distances.
    assert!((0.8..=1.0).contains(&figure(&coded, "recall")), "{coded}");

    let none = report(&["--ef", "400", "--originals", "none", "--preset", "speed"]);
    assert!(figure(&none, "recall") > 0.9, "{none}");

    let warm = report(&["--ef", "400"]);
    let hot = report(&["--ef", "400", "--tier", "hot"]);
    assert_eq!((&hot["tier"], &hot["runs"][0]["strategy"]), (&json!("hot"), &json!("hot")));
    assert_eq!((&warm["hot_bytes_per_vector"], &warm["expand_s"]), (&Value::Null, &Value::Null));
    assert_eq!(hot["bytes"], warm["bytes"], "nothing on disk changes");
    // Sixteen neighbours' one-bit codes at least beside a point's own 8-bit code.
    assert!(hot["hot_bytes_per_vector"].as_f64().unwrap() > (16 * DIM / 8 + DIM) as f64, "{hot}");
    assert!(hot["expand_s"].as_f64().unwrap() > 0.0 && figure(&hot, "recall") > 0.97, "{hot}");

    let shown = bench(&["--tier", "hot", "--recall-target", "0.95"]).ok().stdout;
    assert!(shown.contains("@0.95") && shown.contains("p90 us") && shown.contains("expanded in"), "{shown}");
    for (more, culprit) in [
        (["--tier", "lukewarm"], "cold"),
        (["--originals", "some"], "keep or none"),
        (["--recall-target", "2"], "0.5 to 0.999"),
        (["--oversampling", "0"], "from 1 to"),
        (["--filter", "{\"mast\": []}"], "mast"),
    ] {
        bench(&more).refused(&[culprit]);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "bench leaves nothing behind");
}
