//! Exact top-k over segments and shards.

/// Merges lists that are each sorted by `key`, nearest first, into the `k` nearest. `key` gives distance, then the tie-break.
pub fn top_k<T, K: PartialOrd>(lists: Vec<Vec<T>>, k: usize, key: impl Fn(&T) -> K) -> Vec<T> {
    let mut all: Vec<T> = lists.into_iter().flatten().collect();
    all.sort_by(|a, b| key(a).partial_cmp(&key(b)).unwrap_or(std::cmp::Ordering::Equal));
    all.truncate(k);
    all
}
