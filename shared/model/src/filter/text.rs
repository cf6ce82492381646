//! Matches of texts: by substring, or by tokens where a text index says what tokens are.

use std::{collections::HashSet, sync::Arc};

use crate::{SnowballLanguage, Stopwords};

/// A match of strings with a text.
#[derive(Clone, Debug, PartialEq)]
pub struct TextMatch {
    /// The text.
    pub text: String,
    /// What of it a string must contain.
    pub want: TextWant,
    /// The text's tokens, once the filter is resolved against a text index of the field; without one, strings are
    /// compared as they are.
    pub tokens: Option<Tokens>,
}

/// What of a text a string must contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextWant {
    /// Every token; without tokens, the text.
    All,
    /// Some token; without tokens, some of the text's words.
    Any,
    /// All tokens, one after the other, as far as both texts have them: words that are no tokens leave no gap. Without tokens, the text.
    Phrase,
}

/// The tokens of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Those of the match, in their order. Without any, nothing matches.
    pub wanted: Vec<String>,
    /// What makes tokens of strings.
    pub analysis: Arc<Analysis>,
}

/// What makes tokens of strings, ready for use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Analysis {
    /// As it was declared.
    pub tokenizer: Tokenizer,
    /// All stop words that it names, as words are before they are stemmed.
    pub stopwords: HashSet<String>,
}

/// What makes tokens of a string: it is cut into words, and each goes through the steps below in this order. See [`TextParams`](crate::TextParams).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokenizer {
    /// Where a word ends.
    pub kind: TokenizerKind,
    /// Whether accents make no difference.
    pub ascii_folding: bool,
    /// Whether case makes no difference.
    pub lowercase: bool,
    /// Words that are no tokens.
    pub stopwords: Option<Stopwords>,
    /// By whose rules words become stems.
    pub stemmer: Option<SnowballLanguage>,
    /// Characters of a token at least.
    pub chars_min: Option<usize>,
    /// Characters of a token at most.
    pub chars_max: Option<usize>,
    /// Whether phrases match; else none does.
    pub phrases: bool,
}

/// Where a word ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenizerKind {
    /// At whatever is no letter or digit.
    #[default]
    Word,
    /// At white space.
    Whitespace,
    /// As `Word`; a string has all beginnings of its words too.
    Prefix,
    /// Where Unicode says that a word ends.
    Multilingual,
}

impl Default for Tokenizer {
    fn default() -> Self {
        Self {
            kind: TokenizerKind::default(),
            ascii_folding: false,
            lowercase: true,
            stopwords: None,
            stemmer: None,
            chars_min: None,
            chars_max: None,
            phrases: false,
        }
    }
}
