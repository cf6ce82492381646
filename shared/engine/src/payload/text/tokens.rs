//! The tokens of a string. See [`cairn_model::TextParams`] for what each parameter does.

use std::{borrow::Cow, collections::HashSet};

use cairn_model::filter::{Analysis, Tokenizer, TokenizerKind};
use unicode_segmentation::UnicodeSegmentation;

use super::{fold::fold, stem::stem, stopwords};

/// A tokenizer with all words that it leaves out.
pub(super) fn analysis(tokenizer: Tokenizer) -> Analysis {
    let as_words_are = |word| cased(&tokenizer, Cow::Borrowed(word)).into_owned();
    let stopwords: HashSet<String> = tokenizer.stopwords.iter().flat_map(stopwords::words).map(as_words_are).collect();
    Analysis { tokenizer, stopwords }
}

/// The tokens of a string in their order. By [`TokenizerKind::Prefix`] those of which every beginning is one.
pub(super) fn tokens<'a>(analysis: &'a Analysis, text: &'a str) -> impl Iterator<Item = Cow<'a, str>> {
    let Analysis { tokenizer, stopwords } = analysis;
    let kept = words(tokenizer, text).filter(|word| !stopwords.contains(word.as_ref()));
    // A longer word's beginnings are tokens as far as they may be.
    let chars_max = tokenizer.chars_max.filter(|_| tokenizer.kind != TokenizerKind::Prefix);
    stemmed(tokenizer, kept).filter(move |token| chars_max.is_none_or(|most| token.chars().count() <= most))
}

/// The tokens of a filter's text. By [`TokenizerKind::Prefix`] a word is not done yet: it may be on its way from a stop word to
/// another, and is sought by its longest beginning that is a token.
pub(super) fn wanted(analysis: &Analysis, text: &str) -> Vec<String> {
    let tokenizer = &analysis.tokenizer;
    if tokenizer.kind != TokenizerKind::Prefix {
        return tokens(analysis, text).map(Cow::into_owned).collect();
    }
    let shortened = |token: Cow<'_, str>| match tokenizer.chars_max {
        Some(most) => token.chars().take(most).collect(),
        None => token.into_owned(),
    };
    let shortened = stemmed(tokenizer, words(tokenizer, text)).map(shortened);
    shortened.filter(|token| is_long_enough(tokenizer, token)).collect()
}

/// The words of a string, folded and written small if they should be.
fn words<'a>(tokenizer: &'a Tokenizer, text: &'a str) -> impl Iterator<Item = Cow<'a, str>> {
    let all: Box<dyn Iterator<Item = &str>> = match tokenizer.kind {
        TokenizerKind::Word | TokenizerKind::Prefix => {
            Box::new(text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()))
        }
        TokenizerKind::Whitespace => Box::new(text.split_whitespace()),
        TokenizerKind::Multilingual => Box::new(text.unicode_words()),
    };
    all.map(|word| cased(tokenizer, Cow::Borrowed(word)))
}

fn cased<'a>(tokenizer: &Tokenizer, word: Cow<'a, str>) -> Cow<'a, str> {
    // In this order, because letters without a small form may become letters that have one: `ℝ` becomes `R`.
    let word = if tokenizer.ascii_folding { fold(word) } else { word };
    if tokenizer.lowercase && word.chars().any(|c| !c.is_ascii_lowercase() && !c.is_ascii_digit()) {
        Cow::Owned(word.to_lowercase())
    } else {
        word
    }
}

/// Stems, or the words themselves, that are not too short.
fn stemmed<'a>(
    tokenizer: &'a Tokenizer,
    words: impl Iterator<Item = Cow<'a, str>>,
) -> impl Iterator<Item = Cow<'a, str>> {
    let stems = words.map(|word| match tokenizer.stemmer {
        Some(language) => stem(language, word),
        None => word,
    });
    stems.filter(|token| is_long_enough(tokenizer, token))
}

fn is_long_enough(tokenizer: &Tokenizer, token: &str) -> bool {
    let chars_min = tokenizer.chars_min.unwrap_or_default();
    !token.is_empty() && token.chars().count() >= chars_min
}

#[cfg(test)]
mod tests {
    use cairn_model::{PayloadIndex, SnowballLanguage};

    use super::*;

    /// What an index with these parameters makes of a string, and of a filter's text.
    fn check(params: &str, text: &str, expected: &str, expected_wanted: &str) {
        let json = format!(r#"{{"type":"text"{params}}}"#);
        let index: PayloadIndex = serde_json::from_str(&json).unwrap();
        index.validate("").unwrap();
        let analysis = analysis(index.tokenizer().unwrap());
        let found: Vec<_> = tokens(&analysis, text).collect();
        assert_eq!(found.join(" "), expected, "tokens of {text} by {params}");
        assert_eq!(wanted(&analysis, text).join(" "), expected_wanted, "wanted of {text} by {params}");
    }

    fn both(params: &str, text: &str, expected: &str) {
        check(params, text, expected, expected);
    }

    const STEM: &str = r#","stemmer":{"type":"snowball","language":"english"}"#;

    #[test]
    fn every_parameter_does_what_it_says() {
        both("", "The quick Brown-fox, 12!", "the quick brown fox 12");
        both(r#","tokenizer":"whitespace""#, "The quick Brown-fox, 12!", "the quick brown-fox, 12!");
        both(r#","tokenizer":"multilingual""#, "Can't stop, 日本の 3.5!", "can't stop 日 本 の 3.5");
        both(r#","lowercase":false"#, "The ÉTÉ", "The ÉTÉ");
        both(r#","ascii_folding":true"#, "Crème BRÛLÉE, Straße", "creme brulee strasse");
        both(r#","ascii_folding":true,"lowercase":false"#, "Crème BRÛLÉE", "Creme BRULEE");
        both("", "Crème", "crème");
        both(r#","min_token_len":3"#, "a of the größe", "the größe");
        both(r#","max_token_len":5"#, "the größe larger", "the größe");
        both(r#","stopwords":"english""#, "The end of the world", "end world");
        both(r#","stopwords":{"custom":["World"]}"#, "The end of the world", "the end of the");
        both(r#","stopwords":{"languages":["german"],"custom":["fox"]}"#, "Der fox und the", "the");
        both(STEM, "Running runs fairly easily", "run run fair easili");
        both(r#","stemmer":{"type":"none"}"#, "Running", "running");
        both(r#","phrase_matching":true"#, "a b", "a b");
    }

    #[test]
    fn steps_come_one_after_the_other() {
        // Stop words are compared as words are by then, and before they are stems.
        both(r#","stopwords":{"custom":["für"]},"ascii_folding":true"#, "FÜR fur für", "");
        both(r#","stopwords":{"custom":["für"]}"#, "FÜR fur", "fur");
        both(r#","stopwords":{"custom":["The"]},"lowercase":false"#, "The the THE", "the THE");
        let stop = |word: &str| format!(r#"{STEM},"stopwords":{{"custom":["{word}"]}}"#);
        both(&stop("run"), "running run", "run");
        both(&stop("running"), "running run", "run");
        // Lengths are those of stems.
        both(&format!(r#"{STEM},"max_token_len":3"#), "running jumping", "run");
        both(&format!(r#"{STEM},"min_token_len":4"#), "running jumping", "jump");
        // Letters that get a small form by folding.
        both(r#","ascii_folding":true,"tokenizer":"whitespace""#, "ℝ Ⅷ ẞ", "r viii ss");
        // A word of nothing that is left.
        both(r#","ascii_folding":true,"tokenizer":"whitespace","min_token_len":0"#, "\u{301} a", "\u{301} a");
    }

    #[test]
    fn a_word_of_a_filter_may_be_a_beginning() {
        let prefix = r#","tokenizer":"prefix""#;
        let with = |more: &str| format!("{prefix},{more}");
        check(prefix, "Hello, world", "hello world", "hello world");
        check(&with(r#""max_token_len":4"#), "Hello, old", "hello old", "hell old");
        check(&with(r#""min_token_len":4"#), "Hello, old", "hello", "hello");
        check(&with(r#""max_token_len":0"#), "Hello", "hello", "");
        check(&with(r#""stopwords":"english""#), "the theory", "theory", "the theory");
        check(&with(&STEM[1..]), "running", "run", "run");
    }

    #[test]
    fn a_letter_that_is_longer_in_small_is_one_word_still() {
        let tokenizer = Tokenizer { stemmer: Some(SnowballLanguage::Turkish), ..Tokenizer::default() };
        let analysis = analysis(tokenizer);
        assert_eq!(tokens(&analysis, "İ").count(), 1);
    }
}
