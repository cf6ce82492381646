//! Which bytes a filter reads, so that a reader without them can bring them all at once.

use cairn_model::{Condition, Filter};

use super::Holders;
use crate::{
    Result,
    payload::{fields::Fields, ids::Ids},
    source::Region,
};

/// The parts of the fields and ids sections that evaluating `filter` reads, and those that say which points have a vector. Rows, which a few filters
/// read as well, are not among them.
///
/// # Errors
/// `Corrupt`, `Absent`.
pub(crate) fn regions<'a>(
    filter: &Filter,
    fields: &Fields<'a>,
    ids: &Ids<'a>,
    vectors: &'a dyn Holders,
    found: &mut Vec<Region<'a>>,
) -> Result<()> {
    for path in filter.paths() {
        found.extend(fields.needed(&path)?);
    }
    if asks_for_ids(filter) {
        found.push(ids.region());
    }
    asked_vectors(filter, &mut |name| {
        found.extend(vectors.needed(name)?);
        Ok(())
    })
}

/// Calls `visit` with each name that `has_vector` asks for. Elements of arrays have no vectors, so nested filters are not entered.
fn asked_vectors(filter: &Filter, visit: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
    filter.conditions().try_for_each(|condition| match condition {
        Condition::HasVector(name) => visit(name),
        Condition::Filter(filter) => asked_vectors(filter, visit),
        _ => Ok(()),
    })
}

/// Elements of arrays have no ids, so nested filters are not entered.
fn asks_for_ids(filter: &Filter) -> bool {
    filter.conditions().any(|condition| match condition {
        Condition::HasId(_) | Condition::Slice(_) => true,
        Condition::Filter(filter) => asks_for_ids(filter),
        _ => false,
    })
}
