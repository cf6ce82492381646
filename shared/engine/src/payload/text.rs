//! Texts: what tokens a string has, and whether it contains those of a match.

use std::borrow::Cow;

use cairn_model::{
    Condition, FieldTest, Filter, Match, Path, TextMatch,
    filter::{TextWant, Tokenizer, TokenizerKind, Tokens},
};
use unicode_segmentation::UnicodeSegmentation;

/// Settles how the texts of a filter are matched: by tokens where `tokenizer_of` knows a text index of the field, else as
/// they are. Fields inside of nested arrays are named by their whole path, such as `a[].b`.
pub fn resolve(filter: &mut Filter, tokenizer_of: &dyn Fn(&Path) -> Option<Tokenizer>) {
    resolve_inside(filter, None, tokenizer_of);
}

fn resolve_inside(filter: &mut Filter, inside: Option<&Path>, tokenizer_of: &dyn Fn(&Path) -> Option<Tokenizer>) {
    let whole = |key: &Path| inside.map_or_else(|| key.clone(), |inside| inside.join(key));
    for condition in filter.conditions_mut() {
        match condition {
            Condition::Field { key, tests } => {
                for test in tests {
                    if let FieldTest::Match(Match::Text(text)) = test {
                        text.tokens = tokenizer_of(&whole(key)).map(|tokenizer| {
                            let wanted = wanted(tokenizer, &text.text);
                            Tokens { wanted, tokenizer }
                        });
                    }
                }
            }
            Condition::Nested { key, filter } => {
                let inside = whole(key);
                resolve_inside(filter, Some(&inside), tokenizer_of);
            }
            Condition::Filter(filter) => resolve_inside(filter, inside, tokenizer_of),
            _ => {}
        }
    }
}

/// Whether `text` contains what is wanted.
pub(super) fn contains(wanted: &TextMatch, text: &str) -> bool {
    let TextMatch { text: part, want, tokens } = wanted;
    match (tokens, want) {
        (None, TextWant::All | TextWant::Phrase) => text.contains(part.as_str()),
        (None, TextWant::Any) => part.split_whitespace().any(|word| text.contains(word)),
        (Some(Tokens { wanted, .. }), _) if wanted.is_empty() => false,
        (Some(Tokens { wanted, tokenizer }), want) => {
            let words: Vec<Cow<'_, str>> = words(*tokenizer, text).collect();
            let is = |word: &Cow<'_, str>, wanted: &String| match tokenizer.kind {
                TokenizerKind::Prefix => word.starts_with(wanted.as_str()),
                _ => word == wanted,
            };
            let has = |wanted: &String| words.iter().any(|word| is(word, wanted));
            match want {
                TextWant::All => wanted.iter().all(has),
                TextWant::Any => wanted.iter().any(has),
                TextWant::Phrase => words
                    .windows(wanted.len())
                    .any(|words| words.iter().zip(wanted).all(|(word, wanted)| is(word, wanted))),
            }
        }
    }
}

/// The tokens of a match. A word that is longer than any beginning that is a token is sought by the longest of those.
fn wanted(tokenizer: Tokenizer, text: &str) -> Vec<String> {
    let shortened = |word: Cow<'_, str>| match (tokenizer.kind, tokenizer.chars_max) {
        (TokenizerKind::Prefix, Some(most)) => word.chars().take(most).collect(),
        _ => word.into_owned(),
    };
    words(tokenizer, text).map(shortened).collect()
}

/// The words of a string that are tokens, or of which beginnings are.
fn words(tokenizer: Tokenizer, text: &str) -> impl Iterator<Item = Cow<'_, str>> {
    let all: Box<dyn Iterator<Item = &str>> = match tokenizer.kind {
        TokenizerKind::Word | TokenizerKind::Prefix => {
            Box::new(text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()))
        }
        TokenizerKind::Whitespace => Box::new(text.split_whitespace()),
        TokenizerKind::Multilingual => Box::new(text.unicode_words()),
    };
    let cased = move |word| if tokenizer.lowercase { Cow::Owned(str::to_lowercase(word)) } else { Cow::Borrowed(word) };
    all.map(cased).filter(move |word| {
        let most = tokenizer.chars_max.filter(|_| tokenizer.kind != TokenizerKind::Prefix);
        let chars = word.chars().count();
        tokenizer.chars_min.is_none_or(|least| chars >= least) && most.is_none_or(|most| chars <= most)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::payload::matches;

    const TEXT: &str = "The quick brown fox, jumped-over 12 Größen";

    fn check(json: serde_json::Value, tokenizer: Option<Tokenizer>, expected: bool) {
        let mut filter = Filter::from_json(&json!({"must": {"key": "t", "match": json}})).unwrap();
        resolve(&mut filter, &|key| tokenizer.filter(|_| *key == Path::key("t")));
        let payload = json!({"t": [1, TEXT]});
        let found = matches(&filter, cairn_model::PointId::Num(1), payload.as_object().unwrap(), &|_| false);
        assert_eq!(found, expected, "{json} by {tokenizer:?}");
    }

    #[test]
    fn without_an_index_texts_are_substrings() {
        check(json!({"text": "ick bro"}), None, true);
        check(json!({"text": "Quick"}), None, false);
        check(json!({"text": ""}), None, true);
        check(json!({"phrase": "jumped-ov"}), None, true);
        check(json!({"phrase": "fox quick"}), None, false);
        check(json!({"text_any": "cat ox,"}), None, true);
        check(json!({"text_any": "cat dog"}), None, false);
        check(json!({"text_any": " "}), None, false);
        check(json!({"prefix": "The q"}), None, true);
        check(json!({"prefix": "the"}), None, false);
        check(json!({"prefix": "quick"}), None, false);
    }

    #[test]
    fn with_one_they_are_tokens() {
        let by = |kind| Some(Tokenizer { kind, ..Tokenizer::default() });
        let word = by(TokenizerKind::Word);
        check(json!({"text": "FOX quick"}), word, true);
        check(json!({"text": "größen over"}), word, true);
        check(json!({"text": "qui"}), word, false);
        check(json!({"text": "fox cat"}), word, false);
        check(json!({"text_any": "fox cat"}), word, true);
        check(json!({"text": ""}), word, false);
        check(json!({"text": "..."}), word, false);
        check(json!({"phrase": "brown Fox jumped"}), word, true);
        check(json!({"phrase": "fox brown"}), word, false);
        check(json!({"prefix": "The"}), word, true);
        let whitespace = by(TokenizerKind::Whitespace);
        check(json!({"text": "fox,"}), whitespace, true);
        check(json!({"text": "fox"}), whitespace, false);
        let prefix = by(TokenizerKind::Prefix);
        check(json!({"text": "qui bro"}), prefix, true);
        check(json!({"text": "uick"}), prefix, false);
        check(json!({"text": "quicker"}), prefix, false);
        let short = Tokenizer { kind: TokenizerKind::Prefix, chars_max: Some(4), chars_min: Some(2), lowercase: true };
        check(json!({"text": "quicker"}), Some(short), true);
        check(json!({"text": "q"}), Some(short), false);
        let long = Tokenizer { chars_min: Some(4), chars_max: Some(5), ..Tokenizer::default() };
        check(json!({"text": "the quick"}), Some(long), true);
        check(json!({"text": "jumped"}), Some(long), false);
        check(json!({"text": "the"}), Some(long), false);
        let cased = Tokenizer { lowercase: false, ..Tokenizer::default() };
        check(json!({"text": "the"}), Some(cased), false);
        check(json!({"text": "The"}), Some(cased), true);
    }

    #[test]
    fn unicode_says_where_words_end() {
        let tokenizer = Tokenizer { kind: TokenizerKind::Multilingual, ..Tokenizer::default() };
        let words = |text| words(tokenizer, text).map(Cow::into_owned).collect::<Vec<_>>();
        assert_eq!(words("Can't stop, 日本 3.5!"), ["can't", "stop", "日", "本", "3.5"]);
    }

    #[test]
    fn fields_of_nested_filters_are_named_whole() {
        let mut filter = Filter::from_json(&json!({
            "should": {"must_not": {"nested": {"key": "a", "filter": {"must": {"key": "b", "match": {"text": "x Y"}}}}}},
        }))
        .unwrap();
        let seen = std::cell::RefCell::new(Vec::new());
        resolve(&mut filter, &|key| {
            seen.borrow_mut().push(key.to_string());
            Some(Tokenizer::default())
        });
        assert_eq!(*seen.borrow(), ["a[].b"]);
        assert!(format!("{filter:?}").contains(r#"wanted: ["x", "y"]"#), "{filter:?}");
    }
}
