//! Segments in memory, least recently used first to go.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::OwnedSemaphorePermit;

use super::{
    budget::Budget,
    eviction::{GivenUp, Mapping},
};

/// Segments in memory, under a budget.
#[derive(Debug)]
pub(super) struct Shelf {
    budget: Budget,
    pub(super) given_up: GivenUp,
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
    bytes: Arc<Mapping>,
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
        Self { budget: Budget::new(bytes_max), given_up: GivenUp::default(), books: Mutex::default() }
    }

    pub(super) fn bytes_max(&self) -> u64 {
        self.budget.bytes_max()
    }

    pub(super) fn get(&self, name: &str) -> Option<Arc<Mapping>> {
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
        let mut gone = Vec::new();
        while books.kept_bytes + books.reserved_bytes > self.bytes_max() {
            let oldest = books.by_name.iter().min_by_key(|(_, book)| book.used).map(|(name, _)| name.clone());
            let Some((name, book)) = oldest.and_then(|name| books.by_name.remove_entry(&name)) else {
                break;
            };
            books.kept_bytes -= book.bytes.len() as u64;
            gone.push((name, book.bytes));
        }
        drop(books);
        gone.into_iter().for_each(|(name, bytes)| self.given_up.give_up(&name, bytes));
        Room { shelf: self, bytes, _permit: permit }
    }

    /// Bytes of segments that may be here at once now.
    pub(super) fn room_bytes(&self) -> u64 {
        let taken = self.lock().reserved_bytes.saturating_add(self.given_up.held_bytes());
        self.bytes_max().saturating_sub(taken)
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room<'_> {
    /// Puts the segment on the shelf.
    pub(super) fn keep(self, name: &str, bytes: &Arc<Mapping>) {
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
