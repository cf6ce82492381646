//! The body of a write, whatever it is: operations that keep every limit, or an error with words in it.

#![no_main]

use cairn_model::{
    CollectionSchema, Comparator, Datatype, Distance, MultivectorConfig, Operation, SparseVectorParams, VectorParams,
};
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

fn read<T: DeserializeOwned>(json: &[u8], operations: impl FnOnce(T) -> Result<Vec<Operation>>) {
    let mut schema = CollectionSchema::single("", VectorParams::new(2, Distance::Dot), 1);
    let bytes = VectorParams { datatype: Datatype::Uint8, ..VectorParams::new(2, Distance::Cosine) };
    let many = Some(MultivectorConfig { comparator: Comparator::MaxSim });
    let many = VectorParams { multivector: many, ..VectorParams::new(2, Distance::Dot) };
    schema.vectors.extend([("text".to_owned(), bytes), ("many".to_owned(), many)]);
    schema.sparse_vectors.insert("words".to_owned(), SparseVectorParams::default());
    let read = parse::<T>(json).and_then(operations);
    let checked = read.and_then(|mut operations| check_operations(&schema, &mut operations).map(|()| operations));
    match checked {
        Ok(operations) => assert!(operations.iter().all(|operation| operation.validate().is_ok())),
        Err(Error::Internal(why)) => panic!("{why}"),
        Err(error) => assert!(!error.public().is_empty()),
    }
}
