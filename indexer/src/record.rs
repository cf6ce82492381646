//! One row in the spool:
//!
//! ```text
//! 0       kind of id, 0: integer, 1: UUID
//! 1..17   id: little-endian integer and zeros, or the UUID's bytes
//! 17..21  bytes of payload, u32
//! 21..    payload as JSON text, then the vector's elements in the source's own number format
//! ```

use std::io::{self, Read};

use cairn_model::{PointId, limits::PAYLOAD_BYTES_MAX};
use uuid::Uuid;

use crate::source::Element;

const HEADER_BYTES: usize = 21;

/// Replaces `record` with the encoded row. `vector` came from a source of `element`s, so that narrowing loses nothing.
pub(crate) fn encode(id: PointId, vector: &[f32], element: Element, payload: &str, record: &mut Vec<u8>) {
    record.clear();
    record.extend_from_slice(&encode_id(id));
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    record.extend_from_slice(&length.to_le_bytes());
    record.extend_from_slice(payload.as_bytes());
    match element {
        Element::F32 => record.extend(vector.iter().flat_map(|x| x.to_le_bytes())),
        Element::F16 => record.extend(vector.iter().flat_map(|&x| half::f16::from_f32(x).to_le_bytes())),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the element was widened from a byte"
        )]
        Element::U8 => record.extend(vector.iter().map(|&x| x as u8)),
    }
}

/// An id in 17 bytes.
pub(crate) fn encode_id(id: PointId) -> [u8; 17] {
    let mut bytes = [0; 17];
    match id {
        PointId::Num(number) => bytes[1..9].copy_from_slice(&number.to_le_bytes()),
        PointId::Uuid(uuid) => {
            bytes[0] = 1;
            bytes[1..].copy_from_slice(uuid.as_bytes());
        }
    }
    bytes
}

/// The id in 17 bytes.
pub(crate) fn decode_id(bytes: &[u8; 17]) -> PointId {
    let [kind, rest @ ..] = bytes;
    if *kind == 1 {
        return PointId::Uuid(Uuid::from_bytes(*rest));
    }
    let mut number = [0; 8];
    number.copy_from_slice(&rest[..8]);
    PointId::Num(u64::from_le_bytes(number))
}

/// Rows of one lane of the spool.
pub(crate) struct Records<R> {
    reader: R,
    element: Element,
    bytes: Vec<u8>,
    /// The current row's vector, widened.
    pub(crate) vector: Vec<f32>,
    /// The current row's payload.
    pub(crate) payload: String,
}

impl<R: Read> Records<R> {
    pub(crate) fn new(reader: R, dim: usize, element: Element) -> Self {
        let bytes = vec![0; dim * element.bytes()];
        Self { reader, element, bytes, vector: Vec::with_capacity(dim), payload: String::new() }
    }

    /// Reads the next row and returns its id.
    ///
    /// # Errors
    /// What the reader says; `InvalidData` when these are no rows.
    pub(crate) fn read(&mut self) -> io::Result<PointId> {
        let mut header = [0; HEADER_BYTES];
        self.reader.read_exact(&mut header)?;
        let (id, length) = header.split_first_chunk::<17>().ok_or(io::ErrorKind::InvalidData)?;
        let length: [u8; 4] = length.try_into().map_err(|_| io::ErrorKind::InvalidData)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > PAYLOAD_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut payload = std::mem::take(&mut self.payload).into_bytes();
        payload.resize(length, 0);
        self.reader.read_exact(&mut payload)?;
        self.payload = String::from_utf8(payload).map_err(|_| io::ErrorKind::InvalidData)?;
        self.reader.read_exact(&mut self.bytes)?;
        self.vector.clear();
        self.element.widen(&self.bytes, &mut self.vector);
        Ok(decode_id(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_they_went_in() {
        let uuid = PointId::Uuid(Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef));
        for (element, vector) in [
            (Element::F32, vec![0.1f32, -3.5e37, f32::MIN_POSITIVE]),
            (Element::F16, vec![0.5, -65_504.0, 6e-8]),
            (Element::U8, vec![0.0, 255.0, 7.0]),
        ] {
            let vector: Vec<f32> = match element {
                Element::F16 => vector.iter().map(|&x| half::f16::from_f32(x).to_f32()).collect(),
                _ => vector,
            };
            let (mut lane, mut record) = (Vec::new(), Vec::new());
            for (id, payload) in [(PointId::Num(u64::MAX), ""), (uuid, "{\"a\":\"ö\"}")] {
                encode(id, &vector, element, payload, &mut record);
                assert_eq!(record.len(), HEADER_BYTES + 3 * element.bytes() + payload.len());
                lane.extend_from_slice(&record);
            }
            let mut rows = Records::new(lane.as_slice(), 3, element);
            for (id, payload) in [(PointId::Num(u64::MAX), ""), (uuid, "{\"a\":\"ö\"}")] {
                assert_eq!(rows.read().unwrap(), id);
                assert_eq!((rows.vector.as_slice(), rows.payload.as_str()), (vector.as_slice(), payload));
            }
            assert!(rows.read().is_err());
        }
    }
}
