//! Qdrant's payload indexes, kept as they were declared.
//!
//! Segments index every scalar field anyway, so a declaration makes nothing faster. It says of what type a field is, and is shown again; one of
//! texts says how a filter's texts match.

use std::{collections::BTreeSet, fmt};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, IntoDeserializer as _, MapAccess, Visitor, value::MapAccessDeserializer},
};

use crate::{
    Memory, SchemaError, filter,
    limits::{STOPWORDS_MAX, TOKEN_LEN_MAX},
};

/// A field's index: its type alone, or with parameters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum PayloadIndex {
    /// With every parameter at its default.
    Type(PayloadType),
    /// With parameters.
    Params(PayloadIndexParams),
}

/// Types of payload fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PayloadType {
    /// Strings that are matched whole.
    Keyword,
    /// 64-bit integers.
    Integer,
    /// Numbers.
    Float,
    /// Points on the globe.
    Geo,
    /// Strings that are matched by words.
    Text,
    /// Booleans.
    Bool,
    /// RFC 3339 datetimes.
    Datetime,
    /// UUIDs.
    Uuid,
}

/// Parameters, by type; in JSON an object whose `type` is the type's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum PayloadIndexParams {
    /// Of keywords.
    Keyword(KeywordParams),
    /// Of integers.
    Integer(IntegerParams),
    /// Of numbers.
    Float(RangeParams),
    /// Of places.
    Geo(PlainParams),
    /// Of texts.
    Text(Box<TextParams>),
    /// Of booleans.
    Bool(PlainParams),
    /// Of datetimes.
    Datetime(RangeParams),
    /// Of UUIDs.
    Uuid(UuidParams),
}

/// Makes a struct of parameters: the given ones, and those that all types have.
macro_rules! params {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name {
            $(
                $(#[$field_meta])*
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $field: Option<$kind>,
            )*
            /// Qdrant's older name for `memory: cold`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub on_disk: Option<bool>,
            /// Where the index is kept.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub memory: Option<Memory>,
            /// Whether the graph gets links for this field.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub enable_hnsw: Option<bool>,
        }
    };
}

params! {
    /// Parameters of places and booleans.
    PlainParams {}
}

params! {
    /// Parameters of numbers and datetimes.
    RangeParams {
        /// Whether most requests filter by this field.
        is_principal: bool,
    }
}

params! {
    /// Parameters of UUIDs.
    UuidParams {
        /// Whether the field tells tenants apart.
        is_tenant: bool,
    }
}

params! {
    /// Parameters of keywords.
    KeywordParams {
        /// Whether the field tells tenants apart.
        is_tenant: bool,
        /// Whether prefixes can be matched.
        prefix: bool,
    }
}

params! {
    /// Parameters of integers.
    IntegerParams {
        /// Whether values can be matched; yes, unless it is said.
        lookup: bool,
        /// Whether ranges can be matched; yes, unless it is said.
        range: bool,
        /// Whether most requests filter by this field.
        is_principal: bool,
    }
}

params! {
    /// Parameters of texts: which tokens a string has. A filter's text has tokens by the same rules, and matches strings that have all of them
    /// (`text`), some of them (`text_any`) or all of them in a row (`phrase`); one without a token matches nothing.
    ///
    /// A string is cut into words by `tokenizer`. Then each word goes, in this order, through `ascii_folding`, `lowercase`, `stopwords`, `stemmer`,
    /// `min_token_len` and `max_token_len`; what comes out is a token. A word that one of them leaves out also leaves no gap in a phrase.
    TextParams {
        /// What makes words of a string; `word`, unless it is said.
        tokenizer: Tokenizer,
        /// Shorter tokens are left out: in characters, of the stem where there is a stemmer.
        min_token_len: usize,
        /// Longer tokens are left out, counted likewise; by the `prefix` tokenizer, longer beginnings of words.
        max_token_len: usize,
        /// Whether words are written small, so that case does not matter; they are, unless it is said.
        lowercase: bool,
        /// Whether Latin letters and digits become their nearest ASCII ones, so that accents do not matter: `é` becomes `e`, `ß` becomes `ss`, `ﬁ`
        /// becomes `fi` (Unicode's NFKD without marks, and a table of letters that it does not take apart). Letters of other scripts stay as they
        /// are. Not done, unless it is said.
        ascii_folding: bool,
        /// Whether phrases are matched; if not, as it is unless it is said, no string matches a phrase.
        phrase_matching: bool,
        /// Words that are left out. They are compared as words are by then: folded and written small, if those are. The `prefix` tokenizer leaves
        /// them out of strings, not of a filter's text, where `the` may be on the way to `theory`.
        stopwords: Stopwords,
        /// What makes stems of words, so that their forms do not matter. Snowball's rules are for words that are written small, and longer ones than
        /// 256 bytes stay as they are.
        stemmer: Stemmer,
    }
}

/// What makes words of a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tokenizer {
    /// As `Word`; all beginnings of a word are tokens, of `min_token_len` characters and of more. A filter's words are not cut short, but for
    /// those of more than `max_token_len` characters.
    Prefix,
    /// What stands between white space.
    Whitespace,
    /// What stands between characters that are neither letters nor digits.
    Word,
    /// Words as Unicode has them (UAX #29): `can't` and `3.5` are one. It has no dictionary of languages that write no spaces: each ideograph,
    /// each hiragana and each run of katakana is a word, so that a phrase finds what they make together.
    Multilingual,
}

/// Tokens that are left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a language, or an object with `languages` and `custom`")]
pub enum Stopwords {
    /// Those of a language.
    Language(StopwordLanguage),
    /// Those of several languages, and others.
    Set(StopwordSet),
}

/// Stopwords of several languages, and others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopwordSet {
    /// The languages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub languages: Option<BTreeSet<StopwordLanguage>>,
    /// Others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom: Option<BTreeSet<String>>,
}

/// What makes stems of tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Stemmer {
    /// Snowball's rules for a language. Armenian, for which there are none here, is refused.
    Snowball {
        /// The language.
        language: SnowballLanguage,
    },
    /// Nothing.
    None,
}

/// Makes a list of languages, which are written in lower case.
macro_rules! languages {
    ($(#[$meta:meta])* $name:ident: $($language:ident)*) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        #[allow(missing_docs, reason = "the names of languages say what they are")]
        pub enum $name { $($language,)* }
    };
}

languages! {
    /// Languages with lists of stopwords: NLTK's, of whole words, so that `don't` is left out where the tokenizer keeps it together. Of Japanese,
    /// particles.
    StopwordLanguage:
    Arabic Azerbaijani Basque Bengali Catalan Chinese Danish Dutch English Finnish French German Greek Hebrew Hinglish Hungarian Indonesian
    Italian Japanese Kazakh Nepali Norwegian Portuguese Romanian Russian Slovene Spanish Swedish Tajik Turkish
}

languages! {
    /// Languages with rules of Snowball's.
    SnowballLanguage:
    Arabic Armenian Danish Dutch English Finnish French German Greek Hungarian Italian Norwegian Portuguese Romanian Russian Spanish Swedish
    Tamil Turkish
}

impl PayloadIndex {
    /// The type.
    #[must_use]
    pub const fn payload_type(&self) -> PayloadType {
        match self {
            Self::Type(payload_type) => *payload_type,
            Self::Params(params) => match params {
                PayloadIndexParams::Keyword(_) => PayloadType::Keyword,
                PayloadIndexParams::Integer(_) => PayloadType::Integer,
                PayloadIndexParams::Float(_) => PayloadType::Float,
                PayloadIndexParams::Geo(_) => PayloadType::Geo,
                PayloadIndexParams::Text(_) => PayloadType::Text,
                PayloadIndexParams::Bool(_) => PayloadType::Bool,
                PayloadIndexParams::Datetime(_) => PayloadType::Datetime,
                PayloadIndexParams::Uuid(_) => PayloadType::Uuid,
            },
        }
    }

    /// What makes tokens of a text; `None` for another type.
    #[must_use]
    pub fn tokenizer(&self) -> Option<filter::Tokenizer> {
        match self {
            Self::Type(PayloadType::Text) => Some(filter::Tokenizer::default()),
            Self::Params(PayloadIndexParams::Text(params)) => Some(params.as_ref().into()),
            Self::Type(_) | Self::Params(_) => None,
        }
    }

    /// The parameters, if any were declared.
    #[must_use]
    pub const fn params(&self) -> Option<&PayloadIndexParams> {
        match self {
            Self::Type(_) => None,
            Self::Params(params) => Some(params),
        }
    }

    /// Checks every number; `at` is the path of the setting.
    ///
    /// # Errors
    /// Names the first field that is wrong.
    pub fn validate(&self, at: &str) -> Result<(), SchemaError> {
        let fail = |field: &str, why: String| Err(SchemaError { field: format!("{at}{field}"), why });
        match self.params() {
            Some(PayloadIndexParams::Integer(IntegerParams { lookup: Some(false), range: Some(false), .. })) => {
                fail("", "the 'lookup' and 'range' capabilities can't be both disabled".into())
            }
            Some(PayloadIndexParams::Text(text)) => {
                for (field, value) in [(".min_token_len", text.min_token_len), (".max_token_len", text.max_token_len)] {
                    if let Some(value) = value.filter(|value| *value > TOKEN_LEN_MAX) {
                        return fail(field, format!("value {value} invalid, must be {TOKEN_LEN_MAX} or smaller"));
                    }
                }
                if text.stemmer == Some(Stemmer::Snowball { language: SnowballLanguage::Armenian }) {
                    return fail(
                        ".stemmer.language",
                        "there are no rules for armenian in this version of Cairn".into(),
                    );
                }
                match &text.stopwords {
                    Some(Stopwords::Set(StopwordSet { custom: Some(custom), .. })) if custom.len() > STOPWORDS_MAX => {
                        let why = format!("{} are given, at most {STOPWORDS_MAX} are allowed", custom.len());
                        fail(".stopwords.custom", why)
                    }
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

impl From<&TextParams> for filter::Tokenizer {
    fn from(params: &TextParams) -> Self {
        Self {
            kind: match params.tokenizer.unwrap_or(Tokenizer::Word) {
                Tokenizer::Prefix => filter::TokenizerKind::Prefix,
                Tokenizer::Whitespace => filter::TokenizerKind::Whitespace,
                Tokenizer::Word => filter::TokenizerKind::Word,
                Tokenizer::Multilingual => filter::TokenizerKind::Multilingual,
            },
            ascii_folding: params.ascii_folding.unwrap_or(false),
            lowercase: params.lowercase.unwrap_or(true),
            stopwords: params.stopwords.clone(),
            stemmer: match params.stemmer {
                Some(Stemmer::Snowball { language }) => Some(language),
                Some(Stemmer::None) | None => None,
            },
            chars_min: params.min_token_len,
            chars_max: params.max_token_len,
            phrases: params.phrase_matching.unwrap_or(false),
        }
    }
}

/// By hand, because an untagged enum answers every mistake with the same words.
impl<'de> Deserialize<'de> for PayloadIndex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Declared;
        impl<'de> Visitor<'de> for Declared {
            type Value = PayloadIndex;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a type of payload, or an object with a `type`")
            }
            fn visit_str<E: de::Error>(self, name: &str) -> Result<PayloadIndex, E> {
                PayloadType::deserialize(name.into_deserializer()).map(PayloadIndex::Type)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PayloadIndex, A::Error> {
                PayloadIndexParams::deserialize(MapAccessDeserializer::new(map)).map(PayloadIndex::Params)
            }
        }
        deserializer.deserialize_any(Declared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_reads_as_qdrant_writes_it() {
        for (json, payload_type) in [
            (r#""keyword""#, PayloadType::Keyword),
            (r#""datetime""#, PayloadType::Datetime),
            (r#"{"type":"keyword","is_tenant":true,"prefix":true,"on_disk":true}"#, PayloadType::Keyword),
            (r#"{"type":"integer","lookup":true,"range":false,"is_principal":true}"#, PayloadType::Integer),
            (r#"{"type":"float","is_principal":false}"#, PayloadType::Float),
            (r#"{"type":"geo","memory":"cold"}"#, PayloadType::Geo),
            (r#"{"type":"bool","enable_hnsw":false}"#, PayloadType::Bool),
            (r#"{"type":"datetime"}"#, PayloadType::Datetime),
            (r#"{"type":"uuid","is_tenant":false}"#, PayloadType::Uuid),
            (
                r#"{"type":"text","tokenizer":"multilingual","min_token_len":2,"max_token_len":20,"lowercase":true,"ascii_folding":true,"phrase_matching":true,"stopwords":"english","stemmer":{"type":"snowball","language":"english"}}"#,
                PayloadType::Text,
            ),
            (
                r#"{"type":"text","stopwords":{"languages":["german","spanish"],"custom":["und"]},"stemmer":{"type":"none"}}"#,
                PayloadType::Text,
            ),
        ] {
            let read: PayloadIndex = serde_json::from_str(json).unwrap();
            assert_eq!((serde_json::to_string(&read).unwrap().as_str(), read.payload_type()), (json, payload_type));
            assert_eq!((read.validate(""), read.params().is_some()), (Ok(()), json.starts_with('{')));
        }
    }

    #[test]
    fn every_parameter_of_texts_counts() {
        let read = |json: &str| serde_json::from_str::<PayloadIndex>(json).unwrap().tokenizer();
        let plain = filter::Tokenizer::default();
        assert_eq!(read(r#""keyword""#), None);
        assert_eq!(read(r#""text""#), Some(plain.clone()));
        assert_eq!(read(r#"{"type":"text","stemmer":{"type":"none"},"lowercase":true}"#), Some(plain));
        let all = r#"{"type":"text","tokenizer":"prefix","min_token_len":2,"max_token_len":9,"lowercase":false,"ascii_folding":true,
            "phrase_matching":true,"stopwords":"german","stemmer":{"type":"snowball","language":"greek"}}"#;
        let expected = filter::Tokenizer {
            kind: filter::TokenizerKind::Prefix,
            ascii_folding: true,
            lowercase: false,
            stopwords: Some(Stopwords::Language(StopwordLanguage::German)),
            stemmer: Some(SnowballLanguage::Greek),
            chars_min: Some(2),
            chars_max: Some(9),
            phrases: true,
        };
        assert_eq!(read(all), Some(expected));
    }

    #[test]
    fn mistakes_are_named() {
        for (json, why) in [
            (r#""key""#, "unknown variant `key`, expected one of `keyword`"),
            ("3", "expected a type of payload, or an object with a `type`"),
            (r#"{"lookup":true}"#, "missing field `type`"),
            (r#"{"type":"number"}"#, "unknown variant `number`"),
            (r#"{"type":"integer","lookup":1}"#, "invalid type: integer `1`, expected a boolean"),
            (r#"{"type":"text","tokenizer":"regex"}"#, "unknown variant `regex`"),
            (
                r#"{"type":"text","stopwords":"latin"}"#,
                "expected a language, or an object with `languages` and `custom`",
            ),
        ] {
            let error = serde_json::from_str::<PayloadIndex>(json).unwrap_err().to_string();
            assert!(error.contains(why), "{json}: {error}");
        }
        let custom: Vec<String> = (0..=STOPWORDS_MAX).map(|n| format!("\"{n}\"")).collect();
        let custom = format!(r#"{{"type":"text","stopwords":{{"custom":[{}]}}}}"#, custom.join(","));
        for (json, field) in [
            (r#"{"type":"integer","lookup":false,"range":false}"#, "field_schema"),
            (r#"{"type":"text","max_token_len":1000000}"#, "field_schema.max_token_len"),
            (&custom, "field_schema.stopwords.custom"),
            (r#"{"type":"text","stemmer":{"type":"snowball","language":"armenian"}}"#, "field_schema.stemmer.language"),
        ] {
            let index: PayloadIndex = serde_json::from_str(json).unwrap();
            assert_eq!(index.validate("field_schema").unwrap_err().field, field);
        }
    }
}
