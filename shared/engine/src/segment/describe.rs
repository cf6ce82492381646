//! Sizes, for people and for benchmarks.

use cairn_model::VectorParams;
use serde::Serialize;

use super::{CodecKind, Segment};
use crate::Result;

/// What a segment holds and how many bytes each part takes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Description {
    /// Format version.
    pub format: u32,
    /// Points.
    pub points: u32,
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes of the file over points.
    pub bytes_per_vector: f64,
    /// The vector's name.
    pub vector: String,
    /// Its parameters.
    pub params: VectorParams,
    /// `nibbles` or `originals`.
    pub codec: &'static str,
    /// Clusters.
    pub clusters: u32,
    /// Links on all levels.
    pub links: u64,
    /// Bits of the links section over links.
    pub bits_per_link: f64,
    /// Indexed payload fields.
    pub fields: serde_json::Value,
    /// Sections, in file order.
    pub sections: Vec<SectionSize>,
}

/// One section's size.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SectionSize {
    /// Name.
    pub name: &'static str,
    /// Bytes.
    pub bytes: u64,
    /// Bytes over points.
    pub bytes_per_vector: f64,
}

impl Segment {
    /// Describes the segment; reads all links to count them.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`].
    pub fn describe(&self) -> Result<Description> {
        #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
        let per_vector = |bytes: u64| bytes as f64 / f64::from(self.len());
        let links = self.links()?;
        Ok(Description {
            format: self.version(),
            points: self.len(),
            bytes: self.file_bytes(),
            bytes_per_vector: per_vector(self.file_bytes()),
            vector: self.vector_name().to_owned(),
            params: self.params(),
            codec: match self.codec_kind() {
                CodecKind::NibblesOf64 | CodecKind::Nibbles => "nibbles",
                CodecKind::Originals => "originals",
            },
            clusters: self.clusters()?.count(),
            links: links.link_count(),
            bits_per_link: links.bits_per_link(),
            fields: self.fields()?.describe()?,
            sections: self
                .sections()
                .iter()
                .map(|section| SectionSize {
                    name: section.kind.name(),
                    bytes: section.len,
                    bytes_per_vector: per_vector(section.len),
                })
                .collect(),
        })
    }
}
