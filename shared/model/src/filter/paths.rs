//! Which parts of a payload a filter asks about.

use std::collections::BTreeSet;

use super::{Condition, FieldTest, Filter, Match};
use crate::{Path, Step};

impl Filter {
    /// All paths of payload fields whose values decide whether the filter holds.
    #[must_use]
    pub fn paths(&self) -> BTreeSet<Path> {
        let mut paths = BTreeSet::new();
        add(self, None, &mut paths);
        paths
    }

    /// All conditions of its clauses, those that are filters not entered.
    pub fn conditions(&self) -> impl Iterator<Item = &Condition> {
        let least = self.min_should.iter().flat_map(|min_should| &min_should.conditions);
        [&self.must, &self.should, &self.must_not].into_iter().flatten().chain(least)
    }

    /// Whether any of its conditions matches texts, those of filters inside it included.
    #[must_use]
    pub fn matches_texts(&self) -> bool {
        self.conditions().any(|condition| match condition {
            Condition::Field { tests, .. } => tests.iter().any(|test| matches!(test, FieldTest::Match(Match::Text(_)))),
            Condition::Filter(filter) | Condition::Nested { filter, .. } => filter.matches_texts(),
            _ => false,
        })
    }

    /// The same, to be changed.
    pub fn conditions_mut(&mut self) -> impl Iterator<Item = &mut Condition> {
        let least = self.min_should.iter_mut().flat_map(|min_should| &mut min_should.conditions);
        [&mut self.must, &mut self.should, &mut self.must_not].into_iter().flatten().chain(least)
    }
}

/// `inside` is the array whose elements the filter is about.
fn add(filter: &Filter, inside: Option<&Path>, paths: &mut BTreeSet<Path>) {
    let whole = |key: &Path| inside.map_or_else(|| key.clone(), |inside| inside.join(key));
    for condition in filter.conditions() {
        match condition {
            Condition::Field { key, tests } => {
                let key = whole(key);
                if tests.iter().any(|test| matches!(test, FieldTest::Geo(_))) {
                    paths.extend(key.places().into_iter().flatten());
                }
                paths.insert(key);
            }
            Condition::IsEmpty(key) | Condition::IsNull(key) => {
                paths.insert(whole(key));
            }
            Condition::Nested { key, filter } => {
                let key = whole(key);
                add(filter, Some(&key), paths);
                paths.insert(key);
            }
            Condition::Filter(filter) => add(filter, inside, paths),
            Condition::HasId(_) | Condition::HasVector(_) | Condition::Slice(_) => {}
        }
    }
}

impl Path {
    /// Where the longitude and the latitude of a place at this path are, and those of places in an array at it.
    #[must_use]
    pub fn places(&self) -> [[Self; 2]; 2] {
        [self.clone(), self.then(Step::Each)].map(|place| ["lon", "lat"].map(|name| place.then(Step::Key(name.into()))))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_path_is_named_once_and_whole() {
        let filter = Filter::from_json(&json!({
            "must": [{"key": "a", "match": {"value": 1}}, {"has_id": [1]}, {"must": [{"is_null": {"key": "a"}}]}],
            "should": {"nested": {"key": "n", "filter": {
                "must": [{"key": "x.y", "match": {"text": "t"}}, {"nested": {"key": "m[]", "filter": {"must_not": {"is_empty": {"key": "z"}}}}}],
            }}},
            "must_not": {"key": "g", "geo_radius": {"center": {"lon": 0, "lat": 0}, "radius": 1}},
            "min_should": {"conditions": [{"key": "b", "is_null": false}], "min_count": 1},
        }))
        .unwrap();
        let paths: Vec<String> = filter.paths().into_iter().map(String::from).collect();
        let mut expected =
            ["a", "n[]", "n[].x.y", "n[].m[]", "n[].m[].z", "g", "g.lon", "g.lat", "g[].lon", "g[].lat", "b"];
        let mut found = paths;
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected);
    }
}
