//! Counters as a scrape and a report show them.

use std::sync::Arc;

use super::*;

fn sample() -> Arc<Telemetry> {
    let telemetry = Telemetry::new([
        Route { method: "POST", path: "/q", writes: false },
        Route { method: "GET", path: "/q", writes: false },
    ]);
    telemetry.begin("POST", Some("/q")).finish(200);
    telemetry.begin("POST", Some("/q")).finish(404);
    telemetry.begin("GET", Some("/made/up/by/a/client")).finish(404);
    telemetry.begin("GET", None).finish(599);
    drop(telemetry.begin("POST", Some("/q")));
    telemetry.searched(Strategy::Graph, Duration::from_millis(2));
    telemetry.used(&Usage { gets: 3, waves: 1, ..Usage::default() });
    telemetry.heat().bytes.store(5_000, Relaxed);
    telemetry.heat().expansions.store(2, Relaxed);
    Arc::new(telemetry)
}

#[test]
fn a_scrape_has_every_counter_and_no_label_of_the_clients() {
    let telemetry = sample();
    let waiting = telemetry.begin("POST", Some("/q"));
    let text = prometheus::render(&telemetry);
    for line in [
        r#"cairn_requests_total{method="POST",endpoint="/q",status="200"} 1"#,
        r#"cairn_requests_total{method="POST",endpoint="/q",status="404"} 1"#,
        r#"cairn_requests_total{method="",endpoint="unmatched",status="404"} 1"#,
        r#"cairn_requests_total{method="",endpoint="unmatched",status="0"} 1"#,
        r#"cairn_request_duration_seconds_count{method="POST",endpoint="/q"} 2"#,
        r#"cairn_segment_search_duration_seconds_bucket{le="0.0025",strategy="graph"} 1"#,
        r#"cairn_segment_search_duration_seconds_bucket{le="0.001",strategy="graph"} 0"#,
        r#"cairn_segment_search_duration_seconds_bucket{le="+Inf",strategy="graph"} 1"#,
        "cairn_requests_in_flight 1",
        "cairn_requests_abandoned_total 1",
        "cairn_store_gets_total 3",
        "cairn_hot_bytes 5000",
        "cairn_hot_segments 0",
        "cairn_hot_expansions_total 2",
        "cairn_hot_drops_total 0",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert!(!text.contains("made"), "{text}");
    drop(waiting);
}

#[test]
fn a_report_has_quantiles() {
    let report = sample().report("0", 2);
    assert_eq!(report["requests"]["rest"]["responses"]["POST /q"]["404"]["count"], 1);
    assert_eq!(report["cairn"]["strategies"]["graph"]["count"], 1);
    let p50 = report["cairn"]["strategies"]["graph"]["p50_us"].as_f64().unwrap();
    assert!((p50 - 2_000.0).abs() < 2_000.0 * 0.016, "{p50}");
    assert_eq!(report["cairn"]["usage"]["gets"], 3);
    assert_eq!((&report["cairn"]["hot"]["bytes"], &report["cairn"]["hot"]["expansions"]), (&5_000.into(), &2.into()));
    assert_eq!(report["cairn"]["requests_in_flight"], 0);
    assert_eq!(report["collections"]["number_of_collections"], 2);
}
