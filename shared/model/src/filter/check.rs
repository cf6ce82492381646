//! What is a filter by its form and still makes no sense: values out of their ranges.

use super::{Condition, Filter, FilterError, Slice};

impl Filter {
    /// Checks that every number is in its range and every condition says something.
    ///
    /// # Errors
    /// Names the field at fault, from the filter's root.
    pub fn check(&self) -> Result<(), FilterError> {
        check(self, "filter")
    }
}

fn check(filter: &Filter, at: &str) -> Result<(), FilterError> {
    let min_should = filter.min_should.as_ref();
    if min_should.is_some_and(|min_should| min_should.min_count == 0) {
        return fail(format!("{at}.min_should.min_count"), "value 0 invalid, must be 1 or larger".to_owned());
    }
    let least = min_should.map(|min_should| &min_should.conditions);
    let clauses =
        [("must", Some(&filter.must)), ("should", Some(&filter.should)), ("must_not", Some(&filter.must_not))];
    for (name, conditions) in clauses.into_iter().chain([("min_should.conditions", least)]) {
        for (i, one) in conditions.into_iter().flatten().enumerate() {
            condition(one, &format!("{at}.{name}[{i}]"))?;
        }
    }
    Ok(())
}

fn condition(condition: &Condition, at: &str) -> Result<(), FilterError> {
    match condition {
        Condition::Field { tests, .. } if tests.is_empty() => {
            fail(at.to_owned(), "At least one field condition must be specified".to_owned())
        }
        Condition::Slice(Slice { total: 0, .. }) => {
            fail(format!("{at}.slice.total"), "value 0 invalid, must be 1 or larger".to_owned())
        }
        Condition::Slice(Slice { index, total }) if index >= total => {
            fail(format!("{at}.slice.index"), format!("value {index} invalid, must be smaller than total {total}"))
        }
        Condition::Nested { filter, .. } => check(filter, &format!("{at}.nested.filter")),
        Condition::Filter(filter) => check(filter, at),
        _ => Ok(()),
    }
}

fn fail(at: String, why: String) -> Result<(), FilterError> {
    Err(FilterError { at, why })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_out_of_range_are_named() {
        let check = |json| Filter::from_json(&json).unwrap().check();
        for (json, at, why) in [
            (
                json!({"min_should": {"conditions": [], "min_count": 0}}),
                "filter.min_should.min_count",
                "value 0 invalid",
            ),
            (json!({"must": {"key": "a"}}), "filter.must[0]", "At least one field condition"),
            (json!({"must": {"slice": {"index": 0, "total": 0}}}), "filter.must[0].slice.total", "value 0 invalid"),
            (
                json!({"should": [{"must_not": {"slice": {"index": 4, "total": 4}}}]}),
                "filter.should[0].must_not[0].slice.index",
                "smaller than total 4",
            ),
            (
                json!({"must": {"nested": {"key": "a", "filter": {"must": {"key": "b"}}}}}),
                "filter.must[0].nested.filter.must[0]",
                "At least one",
            ),
        ] {
            let error = check(json.clone()).unwrap_err();
            assert_eq!(error.at, at, "{json}");
            assert!(error.why.contains(why), "{json}: {error}");
        }
        assert_eq!(
            check(json!({"must": [{"slice": {"index": 3, "total": 4}}, {"key": "a", "is_null": true}]})),
            Ok(())
        );
    }
}
