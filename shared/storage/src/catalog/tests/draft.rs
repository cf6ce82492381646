//! A generation that several builders make: faults at every step, and documents that somebody damaged.

use super::*;

const GENERATION: &str = "01J00000000000000000000000";

fn draft(collection: &str) -> Draft {
    Draft {
        format: FORMAT,
        name: name(collection),
        generation: GENERATION.to_owned(),
        schema: schema(2),
        source: "a source".to_owned(),
        before: None,
    }
}

/// One builder, as the indexer is one: joins, looks whether its shard is built, builds it, says so.
async fn build(catalog: &Catalog, shard: u32, seed: u64) -> Result<ShardDraft> {
    let draft = draft("c");
    catalog.join_draft(&draft).await?;
    let generation = draft.generation();
    if let Some(done) = catalog.shard_draft(&generation, shard).await? {
        return Ok(done);
    }
    let mut segments = Vec::new();
    for n in 0..2 {
        let (file, entry) = segment_file(&content(1_000, seed * 10 + n));
        catalog.put_segment(&generation, shard, file.path(), &entry).await?;
        segments.push(entry);
    }
    let rows = 2 * segments.iter().map(|entry| entry.points).sum::<u64>();
    catalog.finish_shard(&generation, ShardDraft { format: FORMAT, shard, rows, checksum: "x".into(), segments }).await
}

/// All builders and the publisher; whoever dies is followed by one that does it again.
async fn all(catalog: &Catalog, seed: u64) -> Result<Collection> {
    build(catalog, 0, seed).await?;
    build(catalog, 1, seed).await?;
    catalog.publish_draft(&name("c"), GENERATION).await
}

#[tokio::test]
async fn a_fault_at_any_step_is_survived_or_repeated() {
    at_every_step(
        (Place::memory, &FAULTS, 8),
        async |_| (),
        async |trial| {
            let healthy = trial.healthy();
            let outcome = all(&trial.faulty, 1).await;
            trial.check(&outcome);
            match read(&healthy, "c").await {
                Ok(whole) => assert_eq!(whole.segments().count(), 4),
                Err(error) => assert!(error.kind == ErrorKind::NotFound && outcome.is_err(), "{error}"),
            }
            // Whoever repeats it builds other segments, and finds what was built.
            let again = all(&healthy, 2).await.unwrap();
            assert_eq!(read(&healthy, "c").await.unwrap().doc, again.doc);
            if let Ok(published) = outcome {
                assert_eq!(published.manifests, again.manifests, "published twice, differently");
            }
        },
    )
    .await;
}

#[tokio::test]
async fn damaged_drafts_are_named_and_strangers_refused() {
    let place = Place::memory();
    let catalog = place.healthy();
    build(&catalog, 0, 1).await.unwrap();
    let generation = draft("c").generation();
    let client = place.client();
    let folder = format!("collections/c/{GENERATION}");
    let cases = [
        ("draft.json", "generation", serde_json::json!("01J00000000000000000000001"), ErrorKind::Corrupt, "belongs to"),
        ("draft.json", "name", "d".into(), ErrorKind::Corrupt, "of 'd'"),
        ("draft.json", "format", 2.into(), ErrorKind::Unsupported, "update Cairn"),
        ("draft.json", "schema", serde_json::json!({"vectors": {}, "shard_count": 0}), ErrorKind::Corrupt, "schema"),
        ("0/draft.json", "shard", 1.into(), ErrorKind::Corrupt, "belongs to shard 1"),
        (
            "0/draft.json",
            "segments",
            serde_json::json!([{"id": "../x", "points": 1, "bytes": 1, "checksum": "0"}]),
            ErrorKind::Corrupt,
            "ULID",
        ),
        ("0/draft.json", "rows", (-1).into(), ErrorKind::Corrupt, "invalid value"),
    ];
    for (file, field, value, kind, sign) in cases {
        let path = Path::from(format!("{folder}/{file}"));
        let sound = client.get(&path).await.unwrap().bytes().await.unwrap();
        let mut document: serde_json::Value = serde_json::from_slice(&sound).unwrap();
        document[field] = value;
        client.put(&path, serde_json::to_vec(&document).unwrap().into()).await.unwrap();
        let error = match file {
            "draft.json" => catalog.draft(&name("c"), GENERATION).await.unwrap_err(),
            _ => catalog.shard_draft(&generation, 0).await.unwrap_err(),
        };
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.what.contains(path.as_ref()) && error.why.contains(sign), "'{sign}' is not in: {error}");
        client.put(&path, sound.into()).await.unwrap();
    }
    assert_eq!(catalog.draft(&name("c"), "../x").await.unwrap_err().kind, ErrorKind::Corrupt);
    let other = Draft { source: "another".to_owned(), ..draft("c") };
    let error = catalog.join_draft(&other).await.unwrap_err();
    assert!(error.kind == ErrorKind::Conflict && error.why.contains("another source"), "{error}");
    let done = ShardDraft { rows: 9, ..catalog.shard_draft(&generation, 0).await.unwrap().unwrap() };
    assert_eq!(catalog.finish_shard(&generation, done).await.unwrap_err().kind, ErrorKind::Conflict);
}
