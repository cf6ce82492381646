//! `with_payload`, `with_vector` and search parameters.

use std::fmt;

use cairn_model::{
    Path, QuantizationSearch, SearchParams, SegmentPlan,
    limits::{EF_MAX, OVERSAMPLING_MAX, RECALL_MAX, RECALL_MIN},
};
use cairn_storage::AsOf;
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};

use super::{field::Ignored, past::parse_past};
use crate::{
    error::{Error, Result},
    select::{PayloadSelector, VectorSelector},
};

/// Paths of one selector, at most.
const PATHS_MAX: usize = 1_024;

/// `with_payload`: a boolean, a list of paths, or `{"include": [..]}` or `{"exclude": [..]}`.
#[derive(Clone, Debug, PartialEq)]
pub struct WithPayload(pub PayloadSelector);

/// `with_vector`: a boolean or a list of names.
#[derive(Clone, Debug, PartialEq)]
pub struct WithVector(pub VectorSelector);

struct Paths(Vec<Path>);

/// One path, or a list of them.
impl<'de> Deserialize<'de> for Paths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Paths;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of payload paths")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> std::result::Result<Paths, E> {
                Path::parse(text).map(|path| Paths(vec![path])).map_err(E::custom)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Paths, A::Error> {
                let mut paths = Vec::new();
                while let Some(path) = seq.next_element()? {
                    paths.push(path);
                    if paths.len() > PATHS_MAX {
                        return Err(de::Error::custom(format_args!("at most {PATHS_MAX} paths can be selected")));
                    }
                }
                Ok(Paths(paths))
            }
        }
        deserializer.deserialize_any(List)
    }
}

impl<'de> Deserialize<'de> for WithPayload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Selector;
        impl<'de> Visitor<'de> for Selector {
            type Value = PayloadSelector;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a boolean, a list of payload paths, or an object with `include` or `exclude`")
            }
            fn visit_bool<E: de::Error>(self, all: bool) -> std::result::Result<PayloadSelector, E> {
                Ok(if all { PayloadSelector::All } else { PayloadSelector::None })
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> std::result::Result<PayloadSelector, A::Error> {
                Paths::deserialize(de::value::SeqAccessDeserializer::new(seq)).map(|p| PayloadSelector::Include(p.0))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<PayloadSelector, A::Error> {
                let selector = match map.next_key::<String>()?.as_deref() {
                    Some("include") => PayloadSelector::Include(map.next_value::<Paths>()?.0),
                    Some("exclude") => PayloadSelector::Exclude(map.next_value::<Paths>()?.0),
                    Some(key) => return Err(de::Error::unknown_field(key, &["include", "exclude"])),
                    None => return Err(de::Error::missing_field("include")),
                };
                match map.next_key::<String>()? {
                    None => Ok(selector),
                    Some(key) => Err(de::Error::custom(format_args!(
                        "unexpected field `{key}`, expected either `include` or `exclude` alone"
                    ))),
                }
            }
        }
        deserializer.deserialize_any(Selector).map(Self)
    }
}

impl<'de> Deserialize<'de> for WithVector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Selector;
        impl<'de> Visitor<'de> for Selector {
            type Value = VectorSelector;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a boolean or a list of vector names")
            }
            fn visit_bool<E: de::Error>(self, all: bool) -> std::result::Result<VectorSelector, E> {
                Ok(if all { VectorSelector::All } else { VectorSelector::None })
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<VectorSelector, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = seq.next_element()? {
                    names.push(name);
                    if names.len() > PATHS_MAX {
                        return Err(de::Error::custom(format_args!("at most {PATHS_MAX} names can be selected")));
                    }
                }
                Ok(VectorSelector::Names(names))
            }
        }
        deserializer.deserialize_any(Selector).map(Self)
    }
}

/// `params` of a query: Qdrant's, of which the ignored ones tune its own storage, and Cairn's `recall`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Search width.
    pub hnsw_ef: Option<u32>,
    /// Exact search.
    pub exact: Option<bool>,
    /// Cairn's own: the recall@k that is wanted, in place of a width.
    pub recall: Option<f32>,
    /// Cairn's own: dollars that the query may be estimated to cost; one that would cost more is refused.
    pub max_cost: Option<f64>,
    /// Cairn's own: how segments that are not on local disk are read: `auto`, `ranges` or `whole`.
    pub plan: SegmentPlan,
    /// Cairn's own: whether an answer without some of the leaves is better than none.
    pub partial: bool,
    /// Cairn's own: which past of the collection is searched.
    pub as_of: Option<String>,
    /// How codes are used.
    pub quantization: Option<QuantizationParams>,
    /// Leave out what is not indexed.
    pub indexed_only: bool,
    /// Ignored: filters choose their plan by themselves.
    pub acorn: Ignored,
    /// Ignored: sparse vectors are not searched yet.
    pub idf: Ignored,
}

/// `params.quantization` of a query.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QuantizationParams {
    /// Score by the originals alone.
    pub ignore: bool,
    /// Whether the originals settle the order of the best.
    pub rescore: Option<bool>,
    /// Candidates that are rescored per hit.
    pub oversampling: Option<f64>,
}

impl QuantizationParams {
    fn check(self, at: &str) -> Result<QuantizationSearch> {
        let wrong = |value: f64, bound: String| {
            Error::body(
                format!("{at}params.quantization.oversampling"),
                format!("value {value:?} invalid, must be {bound}"),
            )
        };
        let max = f64::from(OVERSAMPLING_MAX);
        match self.oversampling {
            Some(value) if value < 1.0 => return Err(wrong(value, "1.0 or larger".into())),
            Some(value) if value > max => return Err(wrong(value, format!("{max:?} or smaller"))),
            _ => {}
        }
        #[expect(clippy::cast_possible_truncation, reason = "a factor of at most 1000 needs no more digits")]
        let oversampling = self.oversampling.map(|value| value as f32);
        Ok(QuantizationSearch { ignore: self.ignore, rescore: self.rescore, oversampling })
    }
}

impl Params {
    /// The past that is searched; `at` is the path of the object that has them.
    ///
    /// # Errors
    /// When it is none.
    pub fn past(&self, at: &str) -> Result<Option<AsOf>> {
        self.as_of.as_deref().map(|text| parse_past(&format!("{at}params.as_of"), text)).transpose()
    }

    /// `max_cost` in billionths of a dollar.
    ///
    /// # Errors
    /// When it is no price.
    pub fn cost_max(&self, at: &str) -> Result<Option<u64>> {
        let Some(dollars) = self.max_cost else { return Ok(None) };
        if !(dollars.is_finite() && dollars >= 0.0) {
            return Err(Error::body(
                format!("{at}params.max_cost"),
                format!("value {dollars:?} invalid, must be 0.0 or larger"),
            ));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        Ok(Some((dollars * 1e9).round() as u64))
    }

    /// Checks and converts; `at` is the path of the object that has them.
    ///
    /// # Errors
    /// When `hnsw_ef`, `recall` or `quantization.oversampling` is out of range.
    pub fn check(&self, at: &str) -> Result<SearchParams> {
        if let Some(ef) = self.hnsw_ef.filter(|ef| !(1..=EF_MAX).contains(ef)) {
            let bound = if ef == 0 { "1 or larger".to_owned() } else { format!("{EF_MAX} or smaller") };
            return Err(Error::body(format!("{at}params.hnsw_ef"), format!("value {ef} invalid, must be {bound}")));
        }
        if let Some(recall) = self.recall.filter(|recall| !(RECALL_MIN..=RECALL_MAX).contains(recall)) {
            let why = format!("value {recall:?} invalid, must be from {RECALL_MIN:?} to {RECALL_MAX:?}");
            return Err(Error::body(format!("{at}params.recall"), why));
        }
        Ok(SearchParams {
            ef: self.hnsw_ef,
            exact: self.exact.unwrap_or(false),
            recall: self.recall,
            quantization: self.quantization.unwrap_or_default().check(at)?,
            indexed_only: self.indexed_only,
            plan: self.plan,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_have_qdrants_forms() {
        let payload = |json: &str| serde_json::from_str::<WithPayload>(json).map(|w| w.0).map_err(|e| e.to_string());
        let path = |text: &str| Path::parse(text).unwrap();
        assert_eq!(payload("true"), Ok(PayloadSelector::All));
        assert_eq!(payload("false"), Ok(PayloadSelector::None));
        assert_eq!(payload(r#"["a.b"]"#), Ok(PayloadSelector::Include(vec![path("a.b")])));
        assert_eq!(payload(r#"{"exclude": ["a", "b[]"]}"#), Ok(PayloadSelector::Exclude(vec![path("a"), path("b[]")])));
        for (json, culprit) in [
            (r#"{"only": []}"#, "unknown field `only`"),
            (r#"{"include": [], "exclude": []}"#, "unexpected field `exclude`"),
            (r#"["a..b"]"#, "invalid payload path 'a..b' at byte 2"),
            ("3", "invalid type: integer `3`"),
            ("{}", "missing field `include`"),
        ] {
            assert!(payload(json).unwrap_err().contains(culprit), "{json}: {:?}", payload(json));
        }
        let vector = |json: &str| serde_json::from_str::<WithVector>(json).map(|w| w.0).map_err(|e| e.to_string());
        assert_eq!(vector(r#"["x"]"#), Ok(VectorSelector::Names(vec!["x".into()])));
        assert!(vector("{}").is_err());
    }
    #[test]
    fn search_parameters_are_checked_and_passed_on() {
        let params = |json: &str| {
            let read = serde_json::from_str::<Params>(json).map_err(|error| error.to_string())?;
            read.check("searches[1].").map_err(|error| error.to_string())
        };
        assert_eq!(params("{}"), Ok(SearchParams::default()));
        assert_eq!(params(r#"{"quantization": null}"#), Ok(SearchParams::default()));
        let full = r#"{"hnsw_ef": 64, "recall": 0.95, "indexed_only": true,
            "quantization": {"ignore": true, "rescore": false, "oversampling": 2.5}}"#;
        let quantization = QuantizationSearch { ignore: true, rescore: Some(false), oversampling: Some(2.5) };
        let wanted = SearchParams {
            ef: Some(64),
            exact: false,
            recall: Some(0.95),
            quantization,
            indexed_only: true,
            plan: SegmentPlan::Auto,
        };
        assert_eq!(params(full), Ok(wanted));
        for (json, why) in [
            (r#"{"recall": 1.0}"#, "searches[1].params.recall: value 1.0 invalid, must be from 0.5 to 0.999"),
            (r#"{"recall": 0.25}"#, "value 0.25 invalid"),
            (
                r#"{"quantization": {"oversampling": 0.5}}"#,
                "[searches[1].params.quantization.oversampling: value 0.5 invalid, must be 1.0 or larger]",
            ),
            (r#"{"quantization": {"oversampling": 1e9}}"#, "1000.0 or smaller"),
            (r#"{"quantization": {"oversample": 2}}"#, "unknown field `oversample`"),
            (r#"{"quantization": {"rescore": 1}}"#, "invalid type: integer `1`"),
            (r#"{"quantization": true}"#, "invalid type: boolean `true`"),
            (r#"{"indexed_only": "yes"}"#, "invalid type: string"),
        ] {
            let error = params(json).unwrap_err();
            assert!(error.contains(why), "{json}: {error}");
        }
    }
}
