//! Bodies of requests that read points: the first byte says which, the rest is its JSON. What is read is checked, and an error says
//! something.

#![no_main]

use cairn_searcher::{
    Error, Result,
    api::{
        facet::FacetRequest,
        parse,
        points::{CountRequest, PointRequest, ScrollRequest},
        query::{QueryBatch, QueryRequest, SearchRequest},
    },
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, body)) = bytes.split_first() else { return };
    let read: Result<()> = match kind % 7 {
        0 => parse::<ScrollRequest>(body).and_then(ScrollRequest::check).map(drop),
        1 => parse::<FacetRequest>(body).and_then(FacetRequest::check).map(drop),
        2 => parse::<CountRequest>(body).and_then(CountRequest::check).map(drop),
        3 => parse::<PointRequest>(body).and_then(PointRequest::check).map(drop),
        4 => parse::<QueryRequest>(body).and_then(|asked| asked.past("").and_then(|_| asked.check(""))).map(drop),
        5 => parse::<QueryBatch>(body).and_then(|asked| asked.pasts().and_then(|_| asked.check())).map(drop),
        _ => parse::<SearchRequest>(body).and_then(|asked| asked.check("")).map(drop),
    };
    match read {
        Ok(()) => {}
        Err(error @ (Error::Invalid(_) | Error::Format(_) | Error::Validation { .. } | Error::Unsupported(_))) => {
            assert!(!error.public().is_empty());
        }
        Err(error) => panic!("{error:?}"),
    }
});
