//! Sizes, for people and for benchmarks.

use cairn_model::VectorParams;
use serde::Serialize;

use super::{
    CodecKind, Segment,
    groups::Held,
    head::{ValuesHead, ValuesKind},
};
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
    /// The first vector, which all points have, if there is one.
    #[serde(flatten)]
    pub first: Option<DenseSize>,
    /// Further dense vectors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub further: Vec<DenseSize>,
    /// Vectors that are stored and not searched.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stored: Vec<ValuesSize>,
    /// Indexed payload fields.
    pub fields: serde_json::Value,
    /// Sections, in file order.
    pub sections: Vec<SectionSize>,
}

/// One dense vector.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DenseSize {
    /// The vector's name.
    pub vector: String,
    /// Its parameters.
    pub params: VectorParams,
    /// Points that have it.
    pub rows: u32,
    /// `nibbles` or `originals`.
    pub codec: &'static str,
    /// Clusters.
    pub clusters: u32,
    /// Links on all levels.
    pub links: u64,
    /// Bits of the links section over links.
    pub bits_per_link: f64,
}

/// One vector that is stored and not searched.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ValuesSize {
    /// The vector's name.
    pub vector: String,
    /// Of a multivector: its parameters, as far as files have them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<VectorParams>,
    /// Points that have it.
    pub rows: u64,
}

/// One section's size.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SectionSize {
    /// Name.
    pub name: &'static str,
    /// The vector that it belongs to, of all but the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vector: Option<String>,
    /// Bytes.
    pub bytes: u64,
    /// Bytes over points.
    pub bytes_per_vector: f64,
}

impl Segment {
    /// Describes the segment; reads all links to count them.
    ///
    /// # Errors
    /// [`crate::Error::Corrupt`], [`crate::Error::Absent`].
    pub fn describe(&self) -> Result<Description> {
        #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
        let per_vector = |bytes: u64| bytes as f64 / f64::from(self.len());
        let (mut first, mut further) = (None, Vec::new());
        for held in self.groups.held(&self.file) {
            let held = held?;
            match held.further {
                None => first = Some(held.describe()?),
                Some(_) => further.push(held.describe()?),
            }
        }
        let stored = self.groups.values(&self.file).map(|values| {
            let (ValuesHead { name, kind }, values) = values?;
            let params = match kind {
                ValuesKind::Multi(params) => Some(*params),
                ValuesKind::Sparse => None,
            };
            Ok(ValuesSize { vector: name.clone(), params, rows: values.count()? })
        });
        let stored = stored.collect::<Result<_>>()?;
        let mut sections = self.file.sections().to_vec();
        sections.sort_unstable_by_key(|section| section.offset);
        let size = |section: &super::layout::Section| SectionSize {
            name: section.kind.name(),
            vector: (section.group != super::layout::MAIN)
                .then(|| self.groups.name(section.group).unwrap_or_default().to_owned()),
            bytes: section.len,
            bytes_per_vector: per_vector(section.len),
        };
        Ok(Description {
            format: self.version(),
            points: self.len(),
            bytes: self.file_bytes(),
            bytes_per_vector: per_vector(self.file_bytes()),
            first,
            further,
            stored,
            fields: self.fields()?.describe()?,
            sections: sections.iter().map(size).collect(),
        })
    }
}

impl Held<'_> {
    fn describe(&self) -> Result<DenseSize> {
        let dense = self.dense;
        let links = dense.links()?;
        Ok(DenseSize {
            vector: dense.name().to_owned(),
            params: dense.params(),
            rows: dense.rows(),
            codec: match dense.codec_kind() {
                CodecKind::NibblesOf64 | CodecKind::Nibbles => "nibbles",
                CodecKind::Originals => "originals",
            },
            clusters: dense.clusters()?.count(),
            links: links.link_count(),
            bits_per_link: links.bits_per_link(),
        })
    }
}
