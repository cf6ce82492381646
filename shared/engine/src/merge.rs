//! Exact top-k over segments and shards.

/// Merges answers into the `k` best. `key` gives what is compared, smallest first: distance, then what breaks ties.
///
/// The result is what one segment holding all candidates would have answered: nothing is cut before it is compared.
/// Lists need not be sorted; keys that cannot be compared (NaN) count as equal.
pub fn top_k<T, K: PartialOrd>(lists: impl IntoIterator<Item = Vec<T>>, k: usize, key: impl Fn(&T) -> K) -> Vec<T> {
    let mut all: Vec<T> = lists.into_iter().flatten().collect();
    let order = |a: &T, b: &T| key(a).partial_cmp(&key(b)).unwrap_or(std::cmp::Ordering::Equal);
    if k == 0 {
        return Vec::new();
    }
    if all.len() > k {
        all.select_nth_unstable_by(k - 1, order);
        all.truncate(k);
    }
    all.sort_by(order);
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::top_k;

    proptest! {
        #[test]
        fn merging_equals_sorting_everything(lists in prop::collection::vec(prop::collection::vec(0u32..50, 0..20), 0..6), k in 0usize..30) {
            let mut all: Vec<u32> = lists.concat();
            all.sort_unstable();
            all.truncate(k);
            prop_assert_eq!(top_k(lists, k, |&x| x), all);
        }
    }
}
