//! `as_of`: which past a read is of, in the URL or in a query's `params`.

use cairn_storage::AsOf;

use crate::{
    error::{Error, Result},
    request::View,
};

/// Reads a past; `field` is where it stood.
///
/// # Errors
/// Names the field, and says what was expected.
pub fn parse_past(field: &str, text: &str) -> Result<AsOf> {
    text.parse().map_err(|why| Error::Invalid(format!("{field}: {why}")))
}

/// What a request reads: the past that its URL names, or its queries do.
///
/// # Errors
/// When they do not agree: an answer is of one version.
pub fn agreed(url: View, queries: &[Option<AsOf>]) -> Result<View> {
    let View { collection, as_of: url } = url;
    let mut all = queries.iter().map(|query| query.as_ref().or(url.as_ref()));
    let as_of = all.next().unwrap_or(url.as_ref());
    if url.as_ref().is_some_and(|url| as_of != Some(url)) || all.any(|other| other != as_of) {
        return Err(Error::Invalid("as_of: a request reads one version, its URL and its queries name several".into()));
    }
    Ok(View { collection, as_of: as_of.cloned() })
}

#[cfg(test)]
mod tests {
    use cairn_model::CollectionName;

    use super::*;

    #[test]
    fn a_request_reads_one_version() {
        let past = |id: &str| Some(AsOf::Generation(id.to_owned()));
        let of = |url: Option<AsOf>, queries: &[Option<AsOf>]| {
            agreed(View { collection: CollectionName::parse("c").unwrap(), as_of: url }, queries)
                .map(|view| view.as_of)
                .map_err(|error| error.to_string())
        };
        assert_eq!(of(None, &[]), Ok(None));
        assert_eq!(of(None, &[None, None]), Ok(None));
        for (url, queries) in
            [(past("a"), vec![]), (past("a"), vec![None, past("a")]), (None, vec![past("a"), past("a")])]
        {
            assert_eq!(of(url, &queries), Ok(past("a")));
        }
        for (url, queries) in [
            (past("a"), vec![past("b")]),
            (past("a"), vec![None, past("b")]),
            (None, vec![None, past("a")]),
            (None, vec![past("a"), None]),
        ] {
            assert!(of(url, &queries).unwrap_err().contains("as_of"));
        }
    }
}
