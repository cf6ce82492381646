//! Logs that were ended and opened again while requests of one process are on their way.

use std::sync::Arc;

use cairn_model::{CollectionName, Distance};
use cairn_storage::{Catalog, Collection, Expect, catalog::Fold};
use serde_json::json;
use tokio::time::Instant;

use super::fixture::{Fixture, http_settings, schema};
use crate::settings::SearchSettings;

/// A collection whose log is ended, because it was replaced and gone back to, and the version that is past the end.
async fn ended(catalog: &Catalog) -> (Arc<Collection>, Arc<Collection>) {
    let name = CollectionName::parse("c").unwrap();
    let schema = schema("", Distance::Dot, 1);
    let first = catalog.create(&name, &schema).await.unwrap();
    let second = catalog.begin(&name, &schema);
    catalog.publish(&second, vec![Vec::new()], Expect::Unchanged(Box::new(first))).await.unwrap();
    let back = catalog.rollback(&name, None, None).await.unwrap();
    let folds = vec![Fold { shard: 0, log_position: 1, segments: Vec::new() }];
    let opened = catalog.commit_fold(&back, folds).await.unwrap();
    (Arc::new(back), Arc::new(opened))
}

/// Found by the simulation (seed 1635).
#[tokio::test]
async fn a_request_looks_behind_an_end_that_another_has_gone_past() {
    let fixture = Fixture::empty().await;
    let catalog = Catalog::new(fixture.store.clone());
    let (back, opened) = ended(&catalog).await;
    let (tails, asked) = (fixture.searcher.tails(), Instant::now());
    tails.probe(&fixture.store, &back).await.unwrap();
    // Its logs are known to be ended, so that it asks for nothing.
    let probed = tails.probe(&fixture.store, &back).await.unwrap();

    let other = Fixture::over(fixture.store.clone(), http_settings(), SearchSettings::default());
    let body = json!({"points": [{"id": 1, "vector": [1, 2, 3, 4]}]}).to_string();
    assert_eq!(other.call("PUT", "/collections/c/points?wait=true", body).await.status, 200);
    // Another request of this process has read the version that is past the end.
    tails.position(&opened, Instant::now());
    let seen = tails.see(&catalog, opened, asked, Some(probed), None).await.unwrap();
    assert!(seen.has_writes());
}

#[tokio::test]
async fn the_logs_of_another_generation_are_asked_whatever_was_probed() {
    let fixture = Fixture::empty().await;
    let catalog = Catalog::new(fixture.store.clone());
    let (_, opened) = ended(&catalog).await;
    let probed = fixture.searcher.tails().probe(&fixture.store, &opened).await.unwrap();
    let next = catalog.begin(&opened.doc.name, &opened.doc.schema);
    let before = Box::new(opened.as_ref().clone());
    let again = catalog.publish(&next, vec![Vec::new()], Expect::Unchanged(before)).await.unwrap();
    assert_ne!(again.doc.generation, opened.doc.generation);
    let other = Fixture::over(fixture.store.clone(), http_settings(), SearchSettings::default());
    let body = json!({"points": [{"id": 1, "vector": [1, 2, 3, 4]}]}).to_string();
    let answer = other.call("PUT", "/collections/c/points?wait=true", body).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let newest = Arc::new(catalog.open(&again.doc.name).await.unwrap());
    let seen = fixture.searcher.tails().see(&catalog, newest, Instant::now(), Some(probed), None).await.unwrap();
    assert!(seen.has_writes());
}
