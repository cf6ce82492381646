//! The files of a folder, one after another, as if they were one.

use super::{Batch, Layout, Source};
use crate::{Error, Place, Result};

/// Opens one of the files by its number: only when it is its turn, so that one at a time needs to be on local disk.
pub type Opener = Box<dyn FnMut(usize) -> Result<Box<dyn Source>> + Send>;

/// Files that follow one another. All must look alike: same dimension, same numbers, all with ids or none.
pub struct Chain {
    folder: String,
    files: usize,
    open: Opener,
    /// The file that is read, and its number.
    current: Option<Box<dyn Source>>,
    at: usize,
    layout: Layout,
    has_ids: bool,
    has_payloads: bool,
}

impl Chain {
    /// Opens the first of `files` files; `folder` is what errors call them all.
    ///
    /// # Errors
    /// [`Error::Malformed`] when there is none, and what opening says.
    pub fn open(folder: String, files: usize, mut open: Opener) -> Result<Self> {
        if files == 0 {
            return Err(Error::malformed(&folder, Place::File, "no files in this folder, expected at least one"));
        }
        let first = open(0)?;
        let layout = Layout { rows: None, ..first.layout() };
        let (has_ids, has_payloads) = (first.has_ids(), first.has_payloads());
        Ok(Self { folder, files, open, current: Some(first), at: 0, layout, has_ids, has_payloads })
    }

    fn check(&self, file: &dyn Source) -> Result<()> {
        let Layout { dim, element, .. } = file.layout();
        if (dim, element) != (self.layout.dim, self.layout.element) {
            let (old, new) = (self.layout, file.layout());
            let why = format!(
                "{} dimensions of {:?}, but the files before it have {} of {:?}",
                new.dim, new.element, old.dim, old.element
            );
            return Err(Error::malformed(file.file(), Place::File, why));
        }
        if file.has_ids() != self.has_ids {
            let why = if self.has_ids {
                "no ids, but the files before it have"
            } else {
                "ids, but the files before it have none"
            };
            return Err(Error::malformed(file.file(), Place::File, why));
        }
        Ok(())
    }
}

impl Source for Chain {
    fn file(&self) -> &str {
        &self.folder
    }

    fn layout(&self) -> Layout {
        self.layout
    }

    fn next(&mut self, batch: &mut Batch) -> Result<bool> {
        while self.at < self.files {
            if let Some(current) = &mut self.current
                && current.next(batch)?
            {
                return Ok(true);
            }
            // Closed before the next one is fetched: its place on the disk may be needed.
            self.current = None;
            self.at += 1;
            if self.at < self.files {
                let next = (self.open)(self.at)?;
                self.check(next.as_ref())?;
                self.current = Some(next);
            }
        }
        Ok(false)
    }

    fn has_ids(&self) -> bool {
        self.has_ids
    }

    fn has_payloads(&self) -> bool {
        self.has_payloads
    }

    fn progress(&self) -> (u64, u64) {
        // In thousandths of a file: what is not open yet has no size here.
        let (done, total) = self.current.as_ref().map_or((0, 1), |current| current.progress());
        let share = u64::try_from(u128::from(done) * 1000 / u128::from(total.max(1))).unwrap_or(0);
        (self.at as u64 * 1000 + share.min(1000), self.files as u64 * 1000)
    }
}
