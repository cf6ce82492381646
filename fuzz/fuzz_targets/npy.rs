//! A `.npy` of vectors and one of ids, whatever they are.

#![no_main]

use cairn_indexer::source::{Batch, Input, Npy, NpyIds, Source as _};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(mut source) = Npy::new(Input::new("fuzz.npy", bytes)) {
        let dim = source.layout().dim;
        let mut batch = Batch::default();
        while let Ok(true) = source.next(&mut batch) {
            assert!(batch.vector(0, dim).iter().all(|x| x.is_finite()));
        }
    }
    if let Ok(mut ids) = NpyIds::new(Input::new("fuzz.npy", bytes)) {
        while let Ok(Some(_)) = ids.read() {}
    }
});
