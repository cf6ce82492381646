//! The vectors of an open segment, by name: each is a group of sections of its own, but for the first.

use std::collections::BTreeSet;

use cairn_model::{CollectionSchema, Edition, VectorKind, VectorParams};

use super::{
    dense::{Dense, DenseParts},
    file::File,
    head::{GroupHead, ValuesHead, ValuesKind},
    layout::{MAIN, SectionKind},
    places::Places,
    values::Values,
};
use crate::{Error, Result};

/// What opening made of the heads of all groups.
pub(super) struct Groups {
    /// Rows are ordinals.
    first: Option<DenseParts>,
    /// By number of their group.
    further: Vec<DenseParts>,
    /// With their groups.
    values: Vec<(u16, ValuesHead)>,
}

/// A dense vector, and how its rows are numbered.
#[derive(Clone, Copy)]
pub(super) struct Held<'a> {
    pub(super) dense: Dense<'a>,
    /// `None` for the first vector, whose rows are ordinals.
    pub(super) further: Option<Further<'a>>,
}

/// What a further vector has beside its rows.
#[derive(Clone, Copy)]
pub(super) struct Further<'a> {
    /// Which of the further ones it is, from 0.
    pub(super) at: usize,
    pub(super) places: Places<'a>,
}

impl Groups {
    /// Reads the small sections of all groups.
    ///
    /// # Errors
    /// [`Error::Corrupt`]; [`Error::Absent`] where a small section is not at hand.
    pub(super) fn open(file: &File) -> Result<Self> {
        let mut groups = Self { first: None, further: Vec::new(), values: Vec::new() };
        let numbers: BTreeSet<u16> = file.sections().iter().map(|section| section.group).collect();
        for group in std::iter::once(MAIN).chain(numbers.into_iter().filter(|&group| group != MAIN)) {
            let missing = || Error::corrupt("table", 0, "section head is missing");
            let head = GroupHead::decode(file.checked(group, SectionKind::Head)?.ok_or_else(missing)?)?;
            match head {
                GroupHead::Points if group == MAIN => {}
                GroupHead::Dense(head) if group == MAIN => {
                    groups.first = Some(DenseParts::open(file, group, file.points(), head)?);
                }
                GroupHead::Dense(head) => {
                    let rows = Places::count(file.region(group, SectionKind::Places)?, file.points())?;
                    groups.further.push(DenseParts::open(file, group, rows, head)?);
                }
                GroupHead::Values(head) if group != MAIN => {
                    Values::open(file.region(group, SectionKind::Values)?, head.kind, file.points())?;
                    groups.values.push((group, head));
                }
                _ => return Err(Error::corrupt("head", 6, "not one that this group can have")),
            }
        }
        let count = groups.names().count();
        if groups.names().collect::<BTreeSet<_>>().len() != count {
            return Err(Error::corrupt("head", 32, "two vectors of one name"));
        }
        Ok(groups)
    }

    /// The names of all vectors.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.dense_parts().map(DenseParts::name).chain(self.values.iter().map(|(_, head)| head.name.as_str()))
    }

    /// The dense vectors, the first one first.
    pub(super) fn dense_parts(&self) -> impl Iterator<Item = &DenseParts> {
        self.first.iter().chain(&self.further)
    }

    pub(super) const fn first(&self) -> Option<&DenseParts> {
        self.first.as_ref()
    }

    /// How many dense vectors there are beside the first.
    pub(super) const fn further_len(&self) -> usize {
        self.further.len()
    }

    /// All dense vectors as they are read from `file`, the first one first.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub(super) fn held<'a>(&'a self, file: &'a File) -> impl Iterator<Item = Result<Held<'a>>> {
        let first = self.first.iter().map(|parts| Ok(Held { dense: parts.over(file), further: None }));
        first.chain((0..self.further.len()).map(|at| self.further(file, at)))
    }

    fn further<'a>(&'a self, file: &'a File, at: usize) -> Result<Held<'a>> {
        let parts = &self.further[at];
        let places = Places::open(file.region(parts.group(), SectionKind::Places)?, file.points())?;
        Ok(Held { dense: parts.over(file), further: Some(Further { at, places }) })
    }

    /// A dense vector by name; `None` where no point of the segment has such a vector.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a vector that is not searched, [`Error::Corrupt`].
    pub(super) fn dense<'a>(&'a self, file: &'a File, name: &str) -> Result<Option<Held<'a>>> {
        if let Some(first) = self.first.as_ref().filter(|first| first.name() == name) {
            return Ok(Some(Held { dense: first.over(file), further: None }));
        }
        if let Some(at) = self.further.iter().position(|parts| parts.name() == name) {
            return self.further(file, at).map(Some);
        }
        if self.values.iter().any(|(_, head)| head.name == name) {
            return Err(Error::invalid("using", format!("'{}' is no dense vector", name.escape_debug())));
        }
        Ok(None)
    }

    /// All vectors that are stored and not searched, with their heads.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub(super) fn values<'a>(&'a self, file: &'a File) -> impl Iterator<Item = Result<(&'a ValuesHead, Values<'a>)>> {
        self.values.iter().map(|(group, head)| {
            let section = file.region(*group, SectionKind::Values)?;
            Ok((head, Values::open(section, head.kind, file.points())?))
        })
    }

    /// The name of a group's vector; `None` for a main group without one.
    pub(super) fn name(&self, group: u16) -> Option<&str> {
        let dense = self.dense_parts().find(|parts| parts.group() == group).map(DenseParts::name);
        dense.or_else(|| self.values.iter().find(|(other, _)| *other == group).map(|(_, head)| head.name.as_str()))
    }

    /// How the vectors, which are of this edition of it, contradict a collection's schema, if they do. It may have more of them: points may lack any. Before its
    /// vectors were changed, it has all of them.
    pub(super) fn contradict(&self, schema: &CollectionSchema, edition: Edition) -> Option<String> {
        let counts = |name: &str| schema.editions.is_first() || schema.shows(name, edition);
        let same = |a: &VectorParams, b: &VectorParams| (a.size, a.distance) == (b.size, b.distance);
        let dense = self.dense_parts().filter(|parts| counts(parts.name()));
        let dense = dense.filter_map(|parts| match schema.kind(parts.name()) {
            Some(VectorKind::Dense(wanted)) if same(wanted, &parts.params()) => None,
            wanted => Some(contradiction(parts.name(), &parts.params(), wanted)),
        });
        let values = self.values.iter().filter(|(_, head)| counts(&head.name));
        let values = values.filter_map(|(_, head)| match (head.kind, schema.kind(&head.name)) {
            (ValuesKind::Sparse, Some(VectorKind::Sparse(_))) => None,
            (ValuesKind::Multi(found), Some(VectorKind::Multi(wanted))) if same(wanted, &found) => None,
            (found, wanted) => Some(contradiction(&head.name, &found, wanted)),
        });
        dense.chain(values).next()
    }
}

fn contradiction(name: &str, found: &dyn std::fmt::Debug, wanted: Option<VectorKind<'_>>) -> String {
    format!("vectors '{}' are {found:?}, the collection's are {wanted:?}", name.escape_debug())
}
