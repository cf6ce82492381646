//! One download however many ask for the same segment.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use crate::Error;

/// Held by the one who downloads. Waiters queue for it: when the leader succeeds they find the segment, when it fails
/// they find its error, and when it is cancelled the first of them takes over.
pub(super) type Flight = tokio::sync::Mutex<Option<Error>>;

/// The downloads in flight, by name.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<HashMap<String, Weak<Flight>>>);

impl Flights {
    pub(super) fn join(&self, name: &str) -> Arc<Flight> {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(name).and_then(Weak::upgrade) {
            return flight;
        }
        // Those whose last caller was cancelled.
        flights.retain(|_, flight| flight.strong_count() > 0);
        let flight = Arc::new(Flight::default());
        flights.insert(name.to_owned(), Arc::downgrade(&flight));
        flight
    }

    /// Ends a flight: who comes later begins a new one, who waits already learns how this one ended.
    pub(super) fn leave(&self, name: &str, flight: &Arc<Flight>) {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if flights.get(name).is_some_and(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(flight))) {
            flights.remove(name);
        }
    }
}
