//! Vectors, ids and payloads from files of their own, row by row.

use std::io::BufRead;

use super::{Batch, Layout, Payloads, Source, batch::BATCH_BYTES, ids::Ids};
use crate::{Error, Result};

/// A source of vectors with ids or payloads, or both, from elsewhere.
pub struct Zipped {
    vectors: Box<dyn Source>,
    ids: Option<Box<dyn Ids>>,
    payloads: Option<Payloads<Box<dyn BufRead + Send>>>,
    /// Vectors that were read and not handed out: payloads can be so large that a batch of vectors makes several.
    ahead: Batch,
    taken: usize,
    row: u64,
}

impl Zipped {
    pub(super) fn new(
        vectors: Box<dyn Source>,
        ids: Option<Box<dyn Ids>>,
        payloads: Option<Payloads<Box<dyn BufRead + Send>>>,
    ) -> Self {
        Self { vectors, ids, payloads, ahead: Batch::default(), taken: 0, row: 0 }
    }

    /// Files of different lengths; `right_rows` is what the other file has.
    fn counts(&mut self, right: String, right_rows: u64) -> Error {
        let mut left_rows = self.row + (self.ahead.rows - self.taken) as u64;
        loop {
            match self.vectors.next(&mut self.ahead) {
                Ok(true) => left_rows += self.ahead.rows as u64,
                Ok(false) => break,
                Err(error) => return error,
            }
        }
        Error::Counts { left: self.vectors.file().to_owned(), left_rows, right, right_rows }
    }

    /// After the last vector nothing may be left elsewhere.
    fn check_end(&mut self) -> Result<()> {
        let mut longer = None;
        if let Some(ids) = &mut self.ids {
            let rest = ids.rest()?;
            longer = longer.or((rest > 0).then(|| (ids.file().to_owned(), rest)));
        }
        if let Some(payloads) = &mut self.payloads {
            let rest = payloads.rest()?;
            longer = longer.or((rest > 0).then(|| (payloads.file().to_owned(), rest)));
        }
        match longer {
            None => Ok(()),
            Some((right, rest)) => Err(Error::Counts {
                left: self.vectors.file().to_owned(),
                left_rows: self.row,
                right,
                right_rows: self.row + rest,
            }),
        }
    }
}

impl Source for Zipped {
    fn file(&self) -> &str {
        // Only duplicates are reported under this name, and those come from the ids.
        self.ids.as_ref().map_or(self.vectors.file(), |ids| ids.file())
    }

    fn layout(&self) -> Layout {
        self.vectors.layout()
    }

    fn next(&mut self, batch: &mut Batch) -> Result<bool> {
        batch.clear();
        let dim = self.layout().dim;
        let mut payload_bytes = 0;
        while batch.rows < Batch::rows_for(dim) && payload_bytes < BATCH_BYTES {
            if self.taken == self.ahead.rows {
                self.taken = 0;
                if !self.vectors.next(&mut self.ahead)? {
                    self.check_end()?;
                    break;
                }
            }
            match &mut self.ids {
                None => batch.ids.extend(self.ahead.ids.get(self.taken)),
                Some(ids) => match ids.read()? {
                    Some(id) => batch.ids.push(id),
                    None => {
                        let file = ids.file().to_owned();
                        return Err(self.counts(file, self.row));
                    }
                },
            }
            match &mut self.payloads {
                None => batch.payloads.extend(self.ahead.payloads.get_mut(self.taken).map(std::mem::take)),
                Some(payloads) => match payloads.read()? {
                    Some(payload) => batch.payloads.push(payload),
                    None => {
                        let file = payloads.file().to_owned();
                        return Err(self.counts(file, self.row));
                    }
                },
            }
            payload_bytes += batch.payloads.last().map_or(0, String::len);
            batch.vectors.extend_from_slice(self.ahead.vector(self.taken, dim));
            batch.rows += 1;
            self.taken += 1;
            self.row += 1;
        }
        Ok(batch.rows > 0)
    }

    fn has_ids(&self) -> bool {
        self.ids.is_some() || self.vectors.has_ids()
    }

    fn has_payloads(&self) -> bool {
        self.payloads.is_some() || self.vectors.has_payloads()
    }

    fn progress(&self) -> (u64, u64) {
        self.vectors.progress()
    }
}
