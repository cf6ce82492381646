//! Which leaf has which segment.
//!
//! Rendezvous hashing: every leaf draws a number for a segment, the highest has it. When a leaf comes or goes, only the segments that
//! it wins or had move, and every root that knows the same leaves agrees without asking.

use std::cmp::Reverse;

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What a leaf draws for a key.
fn draw(leaf: &str, key: &str) -> u64 {
    xxh3_64_with_seed(key.as_bytes(), xxh3_64_with_seed(leaf.as_bytes(), 0))
}

/// The leaf that has a segment, by its place in the list; `None` without leaves. Equal draws go to the lesser name, wherever it stands.
fn owner(leaves: &[&str], segment: &str) -> Option<usize> {
    (0..leaves.len()).max_by_key(|&at| (draw(leaves[at], segment), Reverse(leaves[at])))
}

/// The segments of each leaf that has some.
pub(super) fn groups(leaves: &[&str], segments: &[String]) -> Vec<(usize, Vec<String>)> {
    let mut groups: Vec<Vec<String>> = vec![Vec::new(); leaves.len()];
    for segment in segments {
        if let Some(at) = owner(leaves, segment) {
            groups[at].push(segment.clone());
        }
    }
    groups.into_iter().enumerate().filter(|(_, segments)| !segments.is_empty()).collect()
}

/// In which order leaves are asked for what `first` has: itself, then the others as they draw for its name. The same leaf always
/// stands in for it, so that its cache warms too, and different leaves for different ones.
pub(super) fn order(leaves: &[&str], first: usize) -> Vec<usize> {
    let mut others: Vec<usize> = (0..leaves.len()).filter(|&at| at != first).collect();
    others.sort_by_key(|&at| (Reverse(draw(leaves[at], leaves[first])), leaves[at]));
    std::iter::once(first).chain(others).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn leaves(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("http://10.0.0.{number}:6333")).collect()
    }

    fn owners(leaves: &[String], segments: &[String]) -> HashMap<String, String> {
        let names: Vec<&str> = leaves.iter().map(String::as_str).collect();
        let groups = groups(&names, segments);
        assert!(groups.len() <= leaves.len(), "a leaf has two groups");
        let each = groups.into_iter().flat_map(|(at, segments)| segments.into_iter().map(move |one| (one, at)));
        each.map(|(segment, at)| (segment, leaves[at].clone())).collect()
    }

    #[test]
    fn only_the_segments_of_a_leaf_that_goes_move_and_all_are_spread_evenly() {
        let segments: Vec<String> = (0..4_000).map(|number| format!("01J{number:023}")).collect();
        let all = leaves(8);
        let before = owners(&all, &segments);
        assert_eq!(before.len(), segments.len());
        for leaf in &all {
            let has = before.values().filter(|owner| *owner == leaf).count();
            assert!((400..=600).contains(&has), "{leaf} has {has} of 4000, a fair share is 500");
        }
        let gone = &all[3];
        let mut fewer = all.clone();
        fewer.remove(3);
        fewer.reverse();
        let after = owners(&fewer, &segments);
        for segment in &segments {
            let (was, is) = (&before[segment], &after[segment]);
            assert!(was == is || was == gone, "{segment} moved from {was} to {is}");
            assert_ne!(is, gone);
        }
        let took = |leaf: &String| after.iter().filter(|(s, is)| *is == leaf && before[*s] == *gone).count();
        assert!(fewer.iter().all(|leaf| took(leaf) > 30), "what it had is not spread over the others");
    }

    #[test]
    fn who_stands_in_does_not_depend_on_the_list() {
        let all = leaves(6);
        let names: Vec<&str> = all.iter().map(String::as_str).collect();
        let reversed: Vec<&str> = names.iter().rev().copied().collect();
        let mut seconds = std::collections::HashSet::new();
        for at in 0..names.len() {
            let shown = |list: &[&str], order: Vec<usize>| -> Vec<String> {
                order.into_iter().map(|at| list[at].to_owned()).collect()
            };
            let one = shown(&names, order(&names, at));
            assert_eq!(one, shown(&reversed, order(&reversed, names.len() - 1 - at)));
            assert_eq!((one.len(), one[0].as_str()), (6, names[at]));
            seconds.insert(one[1].clone());
        }
        assert!(seconds.len() > 2, "all have the same stand-in: {seconds:?}");
    }
}
