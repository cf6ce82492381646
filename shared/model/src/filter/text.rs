//! Matches of texts: by substring, or by tokens where a text index says what tokens are.

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
    /// All tokens, one after the other; without tokens, the text.
    Phrase,
}

/// The tokens of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Those of the match, in their order. Without any, nothing matches.
    pub wanted: Vec<String>,
    /// What makes tokens of strings.
    pub tokenizer: Tokenizer,
}

/// What makes tokens of a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tokenizer {
    /// Where a token ends.
    pub kind: TokenizerKind,
    /// Whether case makes no difference.
    pub lowercase: bool,
    /// Characters of a token at least.
    pub chars_min: Option<usize>,
    /// Characters of a token at most.
    pub chars_max: Option<usize>,
}

/// Where a token ends.
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
        Self { kind: TokenizerKind::default(), lowercase: true, chars_min: None, chars_max: None }
    }
}
