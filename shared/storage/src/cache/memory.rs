//! Segments in memory, least recently used first to go.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use memmap2::Mmap;
use tokio::sync::OwnedSemaphorePermit;

use super::budget::Budget;

/// Segments in memory, under a budget.
#[derive(Debug)]
pub(super) struct Shelf {
    budget: Budget,
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    by_name: HashMap<String, Book>,
    kept_bytes: u64,
    reserved_bytes: u64,
    /// Counts uses: the smallest is the least recent.
    clock: u64,
}

#[derive(Debug)]
struct Book {
    bytes: Arc<Mmap>,
    used: u64,
}

/// Room for a segment that is being downloaded; given back when dropped.
#[derive(Debug)]
pub(super) struct Room<'a> {
    shelf: &'a Shelf,
    bytes: u64,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Shelf {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self { budget: Budget::new(bytes_max), books: Mutex::default() }
    }

    pub(super) fn bytes_max(&self) -> u64 {
        self.budget.bytes_max()
    }

    pub(super) fn get(&self, name: &str) -> Option<Arc<Mmap>> {
        let mut books = self.lock();
        books.clock += 1;
        let now = books.clock;
        let book = books.by_name.get_mut(name)?;
        book.used = now;
        Some(Arc::clone(&book.bytes))
    }

    /// Makes room for a segment that fits in the budget.
    pub(super) async fn reserve(&self, bytes: u64) -> Room<'_> {
        let permit = self.budget.acquire(bytes).await;
        let mut books = self.lock();
        books.reserved_bytes += bytes;
        while books.kept_bytes + books.reserved_bytes > self.bytes_max() {
            let oldest = books.by_name.iter().min_by_key(|(_, book)| book.used).map(|(name, _)| name.clone());
            let Some(book) = oldest.and_then(|name| books.by_name.remove(&name)) else {
                break;
            };
            books.kept_bytes -= book.bytes.len() as u64;
        }
        drop(books);
        Room { shelf: self, bytes, _permit: permit }
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room<'_> {
    /// Puts the segment on the shelf.
    pub(super) fn keep(self, name: &str, bytes: &Arc<Mmap>) {
        let mut books = self.shelf.lock();
        books.clock += 1;
        let book = Book { bytes: Arc::clone(bytes), used: books.clock };
        books.kept_bytes += bytes.len() as u64;
        if let Some(before) = books.by_name.insert(name.to_owned(), book) {
            books.kept_bytes -= before.bytes.len() as u64;
        }
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.shelf.lock().reserved_bytes -= self.bytes;
    }
}
