//! `with_payload`, `with_vector` and search parameters.

use std::fmt;

use cairn_model::{Path, SearchParams, limits::EF_MAX};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};

use super::field::Ignored;
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

/// `params` of a query. The ignored ones tune Qdrant's own storage.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Search width.
    pub hnsw_ef: Option<u32>,
    /// Exact search.
    pub exact: Option<bool>,
    /// Ignored: rescoring is always on.
    pub quantization: Ignored,
    /// Ignored: everything is indexed.
    pub indexed_only: Ignored,
    /// Ignored: filters choose their plan by themselves.
    pub acorn: Ignored,
    /// Ignored: there are no sparse vectors.
    pub idf: Ignored,
}

impl Params {
    /// Checks and converts; `at` is the path of the object that has them.
    ///
    /// # Errors
    /// When `hnsw_ef` is out of range.
    pub fn check(&self, at: &str) -> Result<SearchParams> {
        if let Some(ef) = self.hnsw_ef.filter(|ef| !(1..=EF_MAX).contains(ef)) {
            let bound = if ef == 0 { "1 or larger".to_owned() } else { format!("{EF_MAX} or smaller") };
            return Err(Error::body(format!("{at}params.hnsw_ef"), format!("value {ef} invalid, must be {bound}")));
        }
        Ok(SearchParams { ef: self.hnsw_ef, exact: self.exact.unwrap_or(false) })
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
}
