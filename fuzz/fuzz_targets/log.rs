//! A log object, whatever it is: what can be read can be written and read again. So that the checksum does not keep everything out, it is also
//! made right, over bodies that are compressed and that are not.

#![no_main]

use cairn_storage::log::{Frame, HEADER_BYTES};
use libfuzzer_sys::fuzz_target;
use xxhash_rust::xxh3::xxh3_64;

fn read(object: &[u8]) {
    if let Ok(frame) = Frame::decode(object) {
        let again = frame.encode().expect("what was read can be written");
        let again = Frame::decode(&again).expect("what was written can be read");
        assert_eq!((again.sequence, again.parts), (frame.sequence, frame.parts));
    }
}

fn sealed(mut object: Vec<u8>) -> Vec<u8> {
    let checksum = xxh3_64(&object[16..]).to_le_bytes();
    object[8..16].copy_from_slice(&checksum);
    object
}

fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    if bytes.len() < HEADER_BYTES {
        return;
    }
    let mut object = bytes.to_vec();
    let stored = u32::try_from(bytes.len() - HEADER_BYTES).expect("inputs are short").to_le_bytes();
    object[..8].copy_from_slice(b"CRNLOG\x01\x00");
    object[60..64].copy_from_slice(&stored);
    read(&sealed(object.clone()));
    object[49] = 0;
    object[56..60].copy_from_slice(&stored);
    read(&sealed(object));
});
