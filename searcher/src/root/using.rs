//! Which vector a query is about, and what is said to one that names none that can be searched.

use cairn_model::{CollectionSchema, Distance, VectorKind, VectorParams};

use crate::error::{Error, Result};

/// The vector that is searched; the unnamed one where a query names none.
///
/// # Errors
/// `Invalid`, in Qdrant's words, for one that is not there; `Unsupported` for one that is stored but not searched.
pub(super) fn searched<'a>(schema: &'a CollectionSchema, using: Option<&str>) -> Result<&'a VectorParams> {
    let using = using.unwrap_or_default();
    let later = |what| Err(Error::Unsupported(format!("searching the {what} `{using}`, which is stored and shown,")));
    match schema.kind(using) {
        Some(VectorKind::Dense(params)) => Ok(params),
        Some(VectorKind::Multi(_)) => later("multivector"),
        Some(VectorKind::Sparse(_)) => later("sparse vector"),
        None => Err(missing(schema, using)),
    }
}

/// The metric by which a query's answers are scored.
///
/// # Errors
/// As [`searched`].
pub(super) fn metric(schema: &CollectionSchema, using: Option<&str>) -> Result<Distance> {
    searched(schema, using).map(|params| params.distance)
}

fn missing(schema: &CollectionSchema, using: &str) -> Error {
    let names: Vec<&str> = schema.kinds().map(|(name, _)| name).collect();
    Error::Invalid(match names.as_slice() {
        [] => "Vectors are not configured in this collection".to_owned(),
        [""] => format!("Vector with name {using} is not configured in this collection"),
        names => {
            let names = names.join(", ");
            match using {
                "" => format!("Collection requires specified vector name in the request, available names: {names}"),
                using => {
                    format!("Vector with name `{using}` is not configured in this collection, available names: {names}")
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cairn_model::{Comparator, MultivectorConfig, SparseVectorParams};

    use super::*;

    #[test]
    fn only_dense_vectors_are_searched_and_the_others_named() {
        let dense = VectorParams::new(4, Distance::Euclid);
        let unnamed = CollectionSchema::single("", dense, 1);
        let named = CollectionSchema::single("a", VectorParams { distance: Distance::Dot, ..dense }, 1);
        let none = CollectionSchema { vectors: BTreeMap::new(), ..unnamed.clone() };
        let mut many = named.clone();
        let multivector = Some(MultivectorConfig { comparator: Comparator::MaxSim });
        many.vectors.insert("m".to_owned(), VectorParams { multivector, ..dense });
        many.vectors.insert("b".to_owned(), dense);
        many.sparse_vectors.insert("s".to_owned(), SparseVectorParams::default());
        let asked = |schema: &CollectionSchema, using| metric(schema, using).map_err(|error| error.to_string());
        for (schema, using, found) in [
            (&unnamed, None, Distance::Euclid),
            (&unnamed, Some(""), Distance::Euclid),
            (&named, Some("a"), Distance::Dot),
            (&many, Some("a"), Distance::Dot),
            (&many, Some("b"), Distance::Euclid),
        ] {
            assert_eq!(asked(schema, using), Ok(found), "{using:?}");
        }
        let later = "which is stored and shown, is not supported yet by this version of Cairn";
        for (schema, using, why) in [
            (&unnamed, Some("x"), "Wrong input: Vector with name x is not configured in this collection"),
            (&none, None, "Wrong input: Vectors are not configured in this collection"),
            (&none, Some("x"), "Wrong input: Vectors are not configured in this collection"),
            (
                &many,
                None,
                "Wrong input: Collection requires specified vector name in the request, available names: a, b, m, s",
            ),
            (
                &named,
                Some("x"),
                "Wrong input: Vector with name `x` is not configured in this collection, available names: a",
            ),
            (&many, Some("m"), &format!("Wrong input: searching the multivector `m`, {later}")),
            (&many, Some("s"), &format!("Wrong input: searching the sparse vector `s`, {later}")),
        ] {
            assert_eq!(asked(schema, using), Err(why.to_owned()), "{using:?}");
        }
    }
}
