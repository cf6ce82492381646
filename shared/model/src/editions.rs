//! Vectors that were added to a collection, or removed from it, while it held points.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{CollectionSchema, SchemaError, SparseVectorParams, VectorParams};

/// How often the vectors of a generation had been changed: 0 while it has those with which it was made.
pub type Edition = u16;

/// Which of a schema's vectors were added when.
///
/// What was written stays written: logs and segments go on holding vectors that were removed, and a later vector may have the name of one of them. So each
/// object of a log and each segment says of which edition of the schema it is, and holds a vector of the schema only if that was there by then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Editions {
    /// The schema's own edition.
    pub newest: Edition,
    /// Those in which vectors were added that were not there from the beginning.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub added: BTreeMap<String, Edition>,
}

impl Editions {
    /// Whether the vectors are those of the beginning.
    #[must_use]
    pub const fn is_first(&self) -> bool {
        self.newest == 0
    }

    pub(crate) fn validate(&self, has: impl Fn(&str) -> bool) -> Result<(), SchemaError> {
        let newest = self.newest;
        match self.added.iter().find(|(name, edition)| !has(name) || !(1..=newest).contains(*edition)) {
            None => Ok(()),
            Some((name, edition)) => Err(SchemaError {
                field: format!("editions.added.{name}"),
                why: format!("no vector of the schema, or {edition} is no edition from 1 to {newest}"),
            }),
        }
    }
}

impl CollectionSchema {
    /// Whether what was written under an edition of this schema, as a vector of this name, is the vector that now has it.
    #[must_use]
    pub fn shows(&self, name: &str, edition: Edition) -> bool {
        self.kind(name).is_some() && self.editions.added.get(name).is_none_or(|added| *added <= edition)
    }

    /// Adds a vector that is not sparse; no point has it.
    ///
    /// # Errors
    /// When the schema was changed too often. That there is no vector of this name is for the caller to know.
    pub fn add_vector(&mut self, name: &str, params: VectorParams) -> Result<(), SchemaError> {
        self.added(name)?;
        self.vectors.insert(name.to_owned(), params);
        Ok(())
    }

    /// Adds a sparse vector; no point has it.
    ///
    /// # Errors
    /// As [`CollectionSchema::add_vector`].
    pub fn add_sparse_vector(&mut self, name: &str, params: SparseVectorParams) -> Result<(), SchemaError> {
        self.added(name)?;
        self.sparse_vectors.insert(name.to_owned(), params);
        Ok(())
    }

    /// Removes a vector of any kind, from all points; false where there is none of this name.
    ///
    /// # Errors
    /// As [`CollectionSchema::add_vector`].
    pub fn remove_vector(&mut self, name: &str) -> Result<bool, SchemaError> {
        if self.kind(name).is_none() {
            return Ok(false);
        }
        self.next_edition()?;
        self.vectors.remove(name);
        self.sparse_vectors.remove(name);
        self.vector_quantization.remove(name);
        self.declared.vectors.remove(name);
        self.editions.added.remove(name);
        Ok(true)
    }

    fn added(&mut self, name: &str) -> Result<(), SchemaError> {
        let edition = self.next_edition()?;
        self.editions.added.insert(name.to_owned(), edition);
        Ok(())
    }

    fn next_edition(&mut self) -> Result<Edition, SchemaError> {
        self.editions.newest = self.editions.newest.checked_add(1).ok_or_else(|| SchemaError {
            field: "vectors".to_owned(),
            why: format!("were changed {} times, which is as often as it can be: reindex the collection", Edition::MAX),
        })?;
        Ok(self.editions.newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Distance;

    fn schema() -> CollectionSchema {
        let mut schema = CollectionSchema::single("a", VectorParams::new(4, Distance::Dot), 1);
        schema.vectors.insert("b".to_owned(), VectorParams::new(4, Distance::Dot));
        schema
    }

    #[test]
    fn a_vector_is_what_was_written_since_it_is_there() {
        let mut now = schema();
        assert!(now.shows("a", 0) && now.shows("b", 0) && !now.shows("c", 0));
        assert_eq!(now.remove_vector("a"), Ok(true));
        assert_eq!(now.remove_vector("a"), Ok(false));
        assert!(!now.shows("a", 0) && now.shows("b", 0) && now.editions.newest == 1);
        now.add_sparse_vector("a", SparseVectorParams::default()).unwrap();
        now.add_vector("c", VectorParams::new(8, Distance::Cosine)).unwrap();
        assert_eq!(now.validate(), Ok(()));
        for (name, since) in [("a", 2), ("b", 0), ("c", 3)] {
            assert!((0..=3).all(|edition| now.shows(name, edition) == (edition >= since)), "{name}");
        }
        assert_eq!(now.remove_vector("a"), Ok(true));
        now.add_vector("a", VectorParams::new(2, Distance::Dot)).unwrap();
        assert!(!now.shows("a", 4) && now.shows("a", 5));
        let text = serde_json::to_string(&now).unwrap();
        assert_eq!(serde_json::from_str::<CollectionSchema>(&text).unwrap(), now);
        assert!(!serde_json::to_string(&schema()).unwrap().contains("editions"));
    }

    #[test]
    fn nothing_is_left_of_what_is_removed() {
        let mut now = schema();
        let quantization = serde_json::from_str(r#"{"scalar": {"type": "int8"}}"#).unwrap();
        now.vector_quantization.insert("a".to_owned(), quantization);
        now.declared
            .vectors
            .insert("a".to_owned(), crate::VectorSettings { on_disk: Some(true), ..Default::default() });
        now.remove_vector("a").unwrap();
        assert!(now.vector_quantization.is_empty() && now.declared.vectors.is_empty());
        assert!(now.kinds().map(|(name, _)| name).eq(["b"]));
    }

    #[test]
    fn editions_are_of_vectors_that_there_are_and_end() {
        let mut wrong = schema();
        for (name, edition, newest, is_right) in
            [("a", 1, 1, true), ("a", 2, 1, false), ("a", 0, 1, false), ("x", 1, 1, false)]
        {
            wrong.editions = Editions { newest, added: BTreeMap::from([(name.to_owned(), edition)]) };
            assert_eq!(wrong.validate().is_ok(), is_right, "{name} {edition}");
        }
        wrong.editions = Editions { newest: Edition::MAX, added: BTreeMap::new() };
        let before = wrong.clone();
        assert!(wrong.remove_vector("a").unwrap_err().why.contains("reindex"));
        assert_eq!(wrong, before);
    }
}
