//! What the collector did.

use serde::{Serialize, Serializer};

use crate::Error;

/// What becomes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It was garbage for the grace period, and is deleted.
    Deleted,
    /// It is garbage, and not for long enough.
    Waits,
    /// Nothing names its generation, in which something was put a while ago: it may be being built.
    Young,
    /// A document names it, or a clone may.
    Named,
    /// It is no object of Cairn's.
    Foreign,
}

/// So many of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// How many.
    pub objects: u64,
    /// How large they are together.
    pub bytes: u64,
}

/// One run of the collector.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Collections that were looked at, deleted ones with something left included.
    pub collections: u64,
    /// Generations of theirs.
    pub generations: u64,
    /// See [`Fate::Deleted`]; what would be, in a dry run.
    pub deleted: Tally,
    /// See [`Fate::Waits`].
    pub waiting: Tally,
    /// See [`Fate::Young`].
    pub young: Tally,
    /// See [`Fate::Named`].
    pub named: Tally,
    /// See [`Fate::Foreign`].
    pub foreign: Tally,
    /// Why generations were left alone: whose documents could not be read.
    #[serde(serialize_with = "as_texts")]
    pub skipped: Vec<Error>,
}

fn as_texts<S: Serializer>(errors: &[Error], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(errors.iter().map(ToString::to_string))
}

impl Report {
    pub(super) fn count(&mut self, bytes: u64, fate: Fate) {
        let tally = match fate {
            Fate::Deleted => &mut self.deleted,
            Fate::Waits => &mut self.waiting,
            Fate::Young => &mut self.young,
            Fate::Named => &mut self.named,
            Fate::Foreign => &mut self.foreign,
        };
        tally.objects += 1;
        tally.bytes = tally.bytes.saturating_add(bytes);
    }
}
