//! What gives way when memory gets short, and in which order: on real segments, with a machine whose memory the test decides.

use std::{fs, path::Path, sync::Arc};

use bytesize::ByteSize;
use cairn_model::{CollectionName, PointId, SegmentPlan};
use cairn_searcher::{
    HotBytes, PayloadSelector, Request, SearchSettings, Searcher, VectorSelector, View, pressure::Held,
};
use cairn_storage::{Cache, CacheOptions, Store, StoreOptions, machine::Memory};
use tokio::runtime::Runtime;

use crate::fixture::{Corpus, Index, Place, eventually};

const MEMORY_BYTES: u64 = 16 << 30;
/// A sixteenth of it.
const RESERVE_BYTES: u64 = 1 << 30;

struct Machine<'a> {
    root: &'a Path,
    runtime: Runtime,
    searcher: Searcher,
    view: View,
}

impl Machine<'_> {
    fn set_free(root: &Path, bytes: u64) {
        fs::create_dir_all(root.join("proc")).unwrap();
        fs::write(root.join("proc/meminfo"), format!("MemAvailable: {} kB\n", bytes >> 10)).unwrap();
    }

    fn query(&self, vector: &[f32], plan: SegmentPlan) -> Vec<PointId> {
        let mut request = Request::nearest(vector.to_vec(), 10);
        request.params.plan = plan;
        let (found, _) = self.runtime.block_on(self.searcher.query(&self.view, &request)).unwrap();
        found.iter().map(|point| point.record.id).collect()
    }

    /// A request that reads mapped files only.
    fn look(&self) {
        let (payload, vector) = (PayloadSelector::None, VectorSelector::None);
        let reading = self.searcher.retrieve(&self.view, vec![PointId::Num(1)], payload, vector);
        assert_eq!(self.runtime.block_on(reading).unwrap().0.len(), 1);
    }

    /// What is held once something has given way to a lack of so many bytes.
    fn short_of(&self, bytes: u64) -> Held {
        let before = self.searcher.held();
        Self::set_free(self.root, RESERVE_BYTES - (bytes.div_ceil(1 << 10) << 10));
        let after = eventually("something gives way", || {
            self.look();
            Some(self.searcher.held()).filter(|held| *held != before)
        });
        Self::set_free(self.root, MEMORY_BYTES);
        after
    }
}

#[test]
fn hot_copies_go_before_pools_and_ranges_and_heads_go_last() {
    let (place, root) = (Place::local(), tempfile::tempdir().unwrap());
    // Each of two segments is above Qdrant's threshold for graphs: walks take memory that is used again.
    let corpus = Corpus::new(11_000, 512, "first");
    place.index(&corpus, &Index::default());
    Machine::set_free(root.path(), MEMORY_BYTES);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let settings = SearchSettings {
        hot_bytes: HotBytes::AtMost(ByteSize(1 << 30)),
        heads_bytes: Some(ByteSize(64 << 20)),
        ranges_bytes: Some(ByteSize(64 << 20)),
        ..SearchSettings::default()
    };
    let store = runtime.block_on(Store::open(place.url(), &StoreOptions::default())).unwrap();
    let options = CacheOptions { dir: Some(place.folder().join("cache")), bytes_max: 1 << 30, populate: false };
    let cache = Arc::new(Cache::open(options).unwrap());
    let searcher = Searcher::within(store, cache, &settings, Memory::under(root.path(), None)).unwrap();
    let view = View::from(CollectionName::parse("stones").unwrap());
    let machine = Machine { root: root.path(), runtime, searcher, view };

    let query = &corpus.queries[0];
    let far = machine.query(query, SegmentPlan::Ranges);
    eventually("both segments are hot", || {
        machine.query(query, SegmentPlan::Whole);
        (machine.searcher.telemetry().heat().segments.load(std::sync::atomic::Ordering::Relaxed) == 2).then_some(())
    });
    let full = machine.searcher.held();
    assert!(full.hot_bytes > 0 && full.idle_bytes > 0 && full.ranges_bytes > 0 && full.heads_bytes > 0, "{full:?}");

    let one = machine.short_of(1);
    assert!(one.hot_bytes > 0 && one.hot_bytes < full.hot_bytes, "{one:?}");
    assert_eq!(one, Held { hot_bytes: one.hot_bytes, ..full });
    let cold = machine.short_of(one.hot_bytes - (1 << 10));
    assert_eq!(cold, Held { hot_bytes: 0, ..full });
    let pools = machine.short_of(1);
    assert_eq!(pools, Held { hot_bytes: 0, idle_bytes: 0, ..full });
    let ranges = machine.short_of(1);
    assert!(ranges.ranges_bytes < full.ranges_bytes, "{ranges:?}");
    assert_eq!(ranges, Held { ranges_bytes: ranges.ranges_bytes, ..pools });
    let heads = machine.short_of(ranges.ranges_bytes + 1);
    assert!(heads.heads_bytes > 0 && heads.heads_bytes < full.heads_bytes, "{heads:?}");
    assert_eq!(heads, Held { heads_bytes: heads.heads_bytes, ..Held::default() });
    assert_eq!(machine.short_of(1 << 29), Held::default());

    assert_eq!(machine.query(query, SegmentPlan::Ranges), far, "all is read again");
    assert_eq!(machine.searcher.held().heads_bytes, full.heads_bytes);
}
