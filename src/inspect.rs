//! `cairn inspect`: what a store, a collection and a segment hold.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context, Result, bail};
use bytesize::ByteSize;
use cairn_engine::segment::{DenseSize, Description, Segment, ValuesSize};
use cairn_model::{CollectionName, VectorParams};
use cairn_searcher::{SearchSettings, StoreSettings};
use cairn_storage::{Cache, CacheOptions, Catalog, Collection, SegmentEntry, Store};
use serde_json::{Value, json};

use crate::failure::Usage;

/// Show what a store holds: collections, a collection's shards and segments, a segment's sections.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:
  cairn inspect --store ./data
  cairn inspect --store ./data --collection docs
  cairn inspect --store ./data --collection docs 01JABCDEF... --json
  cairn inspect --store s3://bucket/cairn --collection docs --verify")]
pub(crate) struct Args {
    #[command(flatten)]
    store: StoreSettings,
    /// The collection [default: list all]
    #[arg(long, value_name = "NAME")]
    collection: Option<CollectionName>,
    /// A segment's id, or the beginning of one
    #[arg(value_name = "SEGMENT", requires = "collection")]
    segment: Option<String>,
    /// Fetch the segments and check every checksum and reference in them
    #[arg(long, requires = "collection")]
    verify: bool,
    /// Directory for segments fetched from the store
    #[arg(long, env = "CAIRN_CACHE_DIR", value_name = "DIR")]
    cache_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args) -> Result<()> {
    let store = Store::open(&args.store.store, &args.store.options()).await?;
    let catalog = Catalog::new(store.clone());
    let Some(name) = &args.collection else {
        return collections(&catalog, args.json).await;
    };
    let collection = catalog.open(name).await?;
    let reader = || Reader::open(&store, &collection, args.cache_dir.clone());
    match &args.segment {
        None => {
            let verified = if args.verify { Some(reader()?.verify_all().await?) } else { None };
            show_collection(&collection, verified, args.json)
        }
        Some(id) => {
            let (shard, entry) = find(&collection, id)?;
            let segment = reader()?.segment(shard, entry).await?;
            if args.verify {
                segment.verify().with_context(|| format!("segment {}", entry.id))?;
            }
            show_segment(entry, &segment.describe()?, args.verify, args.json)
        }
    }
}

async fn collections(catalog: &Catalog, as_json: bool) -> Result<()> {
    let mut all = Vec::new();
    for name in catalog.list().await? {
        all.push(catalog.open(&name).await?);
    }
    if as_json {
        let all: Vec<Value> = all.iter().map(summary).collect();
        println!("{}", json!({ "collections": all }));
        return Ok(());
    }
    if all.is_empty() {
        println!("no collections");
        return Ok(());
    }
    println!("{:<32} {:>12} {:>7} {:>9} {:>12}  vectors", "collection", "points", "shards", "segments", "bytes");
    for collection in &all {
        let (count, bytes) = segments(collection);
        let (name, points, shards) = (&collection.doc.name, collection.points(), collection.manifests.len());
        let vectors = vectors(collection);
        println!("{name:<32} {points:>12} {shards:>7} {count:>9} {:>12}  {vectors}", ByteSize(bytes).to_string());
    }
    Ok(())
}

fn segments(collection: &Collection) -> (usize, u64) {
    let all = collection.manifests.iter().flat_map(|manifest| &manifest.segments);
    all.fold((0, 0), |(count, bytes), entry| (count + 1, bytes + entry.bytes))
}

fn vectors(collection: &Collection) -> String {
    let named = |(name, params): (&String, &VectorParams)| {
        let name = if name.is_empty() { String::new() } else { format!("{name}: ") };
        let originals = if params.originals { "" } else { ", no originals" };
        format!("{name}{} x {:?}, {:?}{originals}", params.size, params.datatype, params.distance)
    };
    collection.doc.schema.vectors.iter().map(named).collect::<Vec<_>>().join("; ")
}

fn summary(collection: &Collection) -> Value {
    let (count, bytes) = segments(collection);
    json!({
        "name": collection.doc.name,
        "generation": collection.doc.generation,
        "schema": collection.doc.schema,
        "points": collection.points(),
        "segments": count,
        "bytes": bytes,
    })
}

fn show_collection(collection: &Collection, verified: Option<u64>, as_json: bool) -> Result<()> {
    if as_json {
        let mut shown = summary(collection);
        shown["shards"] = collection.manifests.iter().map(serde_json::to_value).collect::<Result<_, _>>()?;
        if let Some(bytes) = verified {
            shown["verified_bytes"] = bytes.into();
        }
        println!("{shown}");
        return Ok(());
    }
    let (count, bytes) = segments(collection);
    println!("collection  {}", collection.doc.name);
    println!("generation  {}", collection.doc.generation);
    println!("vectors     {}", vectors(collection));
    if let Ok((_, params)) = collection.doc.schema.only_vector() {
        let hnsw = &params.hnsw;
        println!(
            "hnsw        m {}, ef_construct {}, full_scan_threshold {} KB, preset {}",
            hnsw.m, hnsw.ef_construct, hnsw.full_scan_threshold, params.preset
        );
    }
    println!("points      {} in {count} segments, {}", collection.points(), ByteSize(bytes));
    for manifest in &collection.manifests {
        println!(
            "shard {}: manifest version {}, log position {}",
            manifest.shard, manifest.version, manifest.log_position
        );
        for entry in &manifest.segments {
            let (id, points, size) = (&entry.id, entry.points, ByteSize(entry.bytes));
            println!("  {id}  {points:>10} points  {:>12}  xxh3 {}", size.to_string(), entry.checksum);
        }
    }
    if let Some(bytes) = verified {
        println!("verified    {} of segments: every checksum and reference is right", ByteSize(bytes));
    }
    Ok(())
}

fn find<'a>(collection: &'a Collection, id: &str) -> Result<(u32, &'a SegmentEntry)> {
    let of_shard = |manifest: &'a Arc<cairn_storage::Manifest>| manifest.segments.iter().map(|e| (manifest.shard, e));
    let all = collection.manifests.iter().flat_map(of_shard);
    let found: Vec<_> = all.filter(|(_, entry)| entry.id.starts_with(&id.to_uppercase())).collect();
    match found[..] {
        [one] => Ok(one),
        [] => bail!(Usage(format!("no segment '{id}' in collection {}", collection.doc.name))),
        _ => bail!(Usage(format!("{} segments begin with '{id}'", found.len()))),
    }
}

fn show_segment(entry: &SegmentEntry, described: &Description, verified: bool, as_json: bool) -> Result<()> {
    if as_json {
        let mut shown = serde_json::to_value(described)?;
        shown["id"] = entry.id.clone().into();
        shown["checksum"] = entry.checksum.clone().into();
        shown["verified"] = verified.into();
        println!("{shown}");
        return Ok(());
    }
    println!("segment           {}", entry.id);
    println!("format            {}", described.format);
    println!("points            {}", described.points);
    println!("bytes             {} ({:.1} per vector)", described.bytes, described.bytes_per_vector);
    described.first.iter().chain(&described.further).for_each(show_vector);
    for ValuesSize { vector, params, rows } in &described.stored {
        let kind = params.map_or("sparse".to_owned(), |params| format!("many x {}, {}", params.size, shown(&params)));
        println!("stored            {}{kind}, of {rows} points", named(vector));
    }
    println!("{:<16}  {:>14}  {:>12}", "section", "bytes", "per vector");
    for section in &described.sections {
        let of = section.vector.as_ref().map_or(String::new(), |vector| format!("  '{}'", vector.escape_debug()));
        println!("{:<16}  {:>14}  {:>12.2}{of}", section.name, section.bytes, section.bytes_per_vector);
    }
    println!("fields            {}", described.fields);
    if verified {
        println!("verified          every checksum and reference is right");
    }
    Ok(())
}

fn show_vector(dense: &DenseSize) {
    let DenseSize { vector, params, rows, codec, clusters, links, bits_per_link } = dense;
    println!("vectors           {}{} x {}, codes: {codec}", named(vector), params.size, shown(params));
    println!(
        "                  of {rows} points in {clusters} clusters, {links} links ({bits_per_link:.2} bits per link)"
    );
}

/// The beginning of what is said about a vector.
fn named(vector: &str) -> String {
    if vector.is_empty() { String::new() } else { format!("{}: ", vector.escape_debug()) }
}

fn shown(params: &VectorParams) -> String {
    format!("{:?}, {:?}", params.datatype, params.distance)
}

/// Reads segments through the local cache, as a searcher does.
struct Reader<'a> {
    store: &'a Store,
    collection: &'a Collection,
    cache: Cache,
}

impl<'a> Reader<'a> {
    fn open(store: &'a Store, collection: &'a Collection, cache_dir: Option<PathBuf>) -> Result<Self> {
        let settings = SearchSettings { cache_dir, ..SearchSettings::default() };
        let options =
            CacheOptions { dir: Some(settings.cache_dir()), bytes_max: settings.cache_bytes(), populate: false };
        Ok(Self { store, collection, cache: Cache::open(options)? })
    }

    async fn segment(&self, shard: u32, entry: &SegmentEntry) -> Result<Segment> {
        let cached = self.cache.segment(self.store, self.collection, shard, entry).await?;
        Segment::open(Arc::new(cached)).with_context(|| format!("segment {}", entry.id))
    }

    /// Verifies every segment and returns their bytes.
    async fn verify_all(&self) -> Result<u64> {
        let mut bytes = 0;
        for manifest in &self.collection.manifests {
            for entry in &manifest.segments {
                let segment = self.segment(manifest.shard, entry).await?;
                segment.verify().with_context(|| format!("segment {} of shard {}", entry.id, manifest.shard))?;
                bytes += entry.bytes;
            }
        }
        Ok(bytes)
    }
}
