//! Which bytes a filter reads, so that a reader without them can bring them all at once.

use cairn_model::{Condition, Filter};

use crate::{
    Result,
    payload::{fields::Fields, ids::Ids},
    source::Region,
};

/// The parts of the fields and ids sections that evaluating `filter` reads. Rows, which a few filters read as well, are not among them.
///
/// # Errors
/// `Corrupt`, `Absent`.
pub(crate) fn regions<'a>(
    filter: &Filter,
    fields: &Fields<'a>,
    ids: &Ids<'a>,
    found: &mut Vec<Region<'a>>,
) -> Result<()> {
    for path in filter.paths() {
        found.extend(fields.needed(&path)?);
    }
    if asks_for_ids(filter) {
        found.push(ids.region());
    }
    Ok(())
}

/// Elements of arrays have no ids, so nested filters are not entered.
fn asks_for_ids(filter: &Filter) -> bool {
    filter.conditions().any(|condition| match condition {
        Condition::HasId(_) | Condition::Slice(_) => true,
        Condition::Filter(filter) => asks_for_ids(filter),
        _ => false,
    })
}
