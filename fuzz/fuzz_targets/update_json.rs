//! The body of a write, whatever it is: operations that keep every limit, or an error with words in it.

#![no_main]

use cairn_model::{CollectionSchema, Distance, Operation, VectorParams};
use cairn_searcher::{
    Error, Result,
    api::{
        parse,
        update::{DeletePayload, DeleteVectors, PointsSelector, SetPayload, UpdateBatch, UpdateVectors, UpsertRequest},
    },
    check::check_operations,
};
use libfuzzer_sys::fuzz_target;
use serde::de::DeserializeOwned;

fuzz_target!(|bytes: &[u8]| {
    read(bytes, UpsertRequest::operations);
    read(bytes, PointsSelector::delete);
    read(bytes, SetPayload::set);
    read(bytes, DeletePayload::operations);
    read(bytes, UpdateVectors::operations);
    read(bytes, DeleteVectors::operations);
    read(bytes, |batch: UpdateBatch| batch.operations().map(|(operations, _)| operations));
});

fn read<T: DeserializeOwned>(bytes: &[u8], operations: impl FnOnce(T) -> Result<Vec<Operation>>) {
    let schema = CollectionSchema::single("", VectorParams::new(2, Distance::Dot), 1);
    let read = parse::<T>(bytes).and_then(operations);
    let checked = read.and_then(|operations| check_operations(&schema, &operations).map(|()| operations));
    match checked {
        Ok(operations) => assert!(operations.iter().all(|operation| operation.validate().is_ok())),
        Err(Error::Internal(why)) => panic!("{why}"),
        Err(error) => assert!(!error.public().is_empty()),
    }
}
