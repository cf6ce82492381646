//! Texts: what tokens a string has, and whether it contains those of a match.

mod fold;
#[cfg(test)]
mod random;
mod stem;
mod stopwords;
mod tokens;

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use cairn_model::{
    Condition, FieldTest, Filter, Match, Path, TextMatch,
    filter::{Analysis, TextWant, Tokenizer, TokenizerKind, Tokens},
};

/// Settles how the texts of a filter are matched: by tokens where `tokenizer_of` knows a text index of the field, else as
/// they are. Fields inside of nested arrays are named by their whole path, such as `a[].b`.
pub fn resolve(filter: &mut Filter, tokenizer_of: &dyn Fn(&Path) -> Option<Tokenizer>) {
    Resolution { tokenizer_of, known: HashMap::new() }.resolve(filter, None);
}

struct Resolution<'a> {
    tokenizer_of: &'a dyn Fn(&Path) -> Option<Tokenizer>,
    /// By field: stop words are made ready once, however many texts a filter has.
    known: HashMap<Path, Option<Arc<Analysis>>>,
}

impl Resolution<'_> {
    fn resolve(&mut self, filter: &mut Filter, inside: Option<&Path>) {
        let whole = |key: &Path| inside.map_or_else(|| key.clone(), |inside| inside.join(key));
        for condition in filter.conditions_mut() {
            match condition {
                Condition::Field { key, tests } => {
                    for test in tests {
                        if let FieldTest::Match(Match::Text(text)) = test {
                            text.tokens = self.analysis_of(whole(key)).map(|analysis| {
                                let wanted = tokens::wanted(&analysis, &text.text);
                                Tokens { wanted, analysis }
                            });
                        }
                    }
                }
                Condition::Nested { key, filter } => {
                    let inside = whole(key);
                    self.resolve(filter, Some(&inside));
                }
                Condition::Filter(filter) => self.resolve(filter, inside),
                _ => {}
            }
        }
    }

    fn analysis_of(&mut self, field: Path) -> Option<Arc<Analysis>> {
        let tokenizer_of = self.tokenizer_of;
        let made = |field: &Path| tokenizer_of(field).map(|tokenizer| Arc::new(tokens::analysis(tokenizer)));
        match self.known.get(&field) {
            Some(known) => known.clone(),
            None => self.known.entry(field.clone()).or_insert_with(|| made(&field)).clone(),
        }
    }
}

/// Whether `text` contains what is wanted.
pub(super) fn contains(wanted: &TextMatch, text: &str) -> bool {
    let TextMatch { text: part, want, tokens } = wanted;
    match (tokens, want) {
        (None, TextWant::All | TextWant::Phrase) => text.contains(part.as_str()),
        (None, TextWant::Any) => part.split_whitespace().any(|word| text.contains(word)),
        (Some(tokens), want) => contains_tokens(tokens, *want, text),
    }
}

fn contains_tokens(Tokens { wanted, analysis }: &Tokens, want: TextWant, text: &str) -> bool {
    let tokenizer = &analysis.tokenizer;
    if wanted.is_empty() || (want == TextWant::Phrase && !tokenizer.phrases) {
        return false;
    }
    let is = |token: &Cow<'_, str>, wanted: &String| match tokenizer.kind {
        TokenizerKind::Prefix => token.starts_with(wanted.as_str()),
        _ => token == wanted,
    };
    let mut tokens = tokens::tokens(analysis, text);
    match want {
        TextWant::Any => tokens.any(|token| wanted.iter().any(|wanted| is(&token, wanted))),
        TextWant::All => {
            let tokens: Vec<Cow<'_, str>> = tokens.collect();
            wanted.iter().all(|wanted| tokens.iter().any(|token| is(token, wanted)))
        }
        TextWant::Phrase => {
            let tokens: Vec<Cow<'_, str>> = tokens.collect();
            let mut runs = tokens.windows(wanted.len());
            runs.any(|run| run.iter().zip(wanted).all(|(token, wanted)| is(token, wanted)))
        }
    }
}

#[cfg(test)]
mod tests {
    use cairn_model::SnowballLanguage;
    use serde_json::json;

    use super::*;
    use crate::payload::matches;

    const TEXT: &str = "The quick brown fox, jumped-over 12 Größen";

    fn check(json: serde_json::Value, tokenizer: Option<&Tokenizer>, expected: bool) {
        let mut filter = Filter::from_json(&json!({"must": {"key": "t", "match": json}})).unwrap();
        resolve(&mut filter, &|key| tokenizer.cloned().filter(|_| *key == Path::key("t")));
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
        let by = |kind| Tokenizer { kind, phrases: true, ..Tokenizer::default() };
        let word = Some(&by(TokenizerKind::Word));
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
        let whitespace = Some(&by(TokenizerKind::Whitespace));
        check(json!({"text": "fox,"}), whitespace, true);
        check(json!({"text": "fox"}), whitespace, false);
        let prefix = Some(&by(TokenizerKind::Prefix));
        check(json!({"text": "qui bro"}), prefix, true);
        check(json!({"text": "uick"}), prefix, false);
        check(json!({"text": "quicker"}), prefix, false);
        check(json!({"phrase": "bro fo"}), prefix, true);
        let short = Some(&Tokenizer { chars_max: Some(4), chars_min: Some(2), ..by(TokenizerKind::Prefix) });
        check(json!({"text": "quicker"}), short, true);
        check(json!({"text": "q"}), short, false);
        let long = Some(&Tokenizer { chars_min: Some(4), chars_max: Some(5), ..Tokenizer::default() });
        check(json!({"text": "the quick"}), long, true);
        check(json!({"text": "jumped"}), long, false);
        check(json!({"text": "the"}), long, false);
        let cased = Some(&Tokenizer { lowercase: false, ..Tokenizer::default() });
        check(json!({"text": "the"}), cased, false);
        check(json!({"text": "The"}), cased, true);
    }

    #[test]
    fn words_of_one_stem_are_one_and_stop_words_are_none() {
        let words = serde_json::from_str("\"english\"").unwrap();
        let english = Tokenizer {
            stemmer: Some(SnowballLanguage::English),
            stopwords: Some(words),
            ascii_folding: true,
            phrases: true,
            ..Tokenizer::default()
        };
        let stems = Some(&english);
        check(json!({"text": "jumping foxes"}), stems, true);
        check(json!({"text": "GROSSEN"}), stems, true);
        check(json!({"text": "the"}), stems, false);
        check(json!({"text": "the fox and the quick"}), stems, true);
        check(json!({"text_any": "the over cat"}), stems, false);
        // `over` is no token: what stands around it stands together.
        check(json!({"phrase": "foxes jumping 12"}), stems, true);
        check(json!({"phrase": "jumped over the 12 großen"}), stems, true);
        check(json!({"phrase": "brown jumped"}), stems, false);
        let stopless = Tokenizer { stopwords: None, ..english.clone() };
        check(json!({"phrase": "jumped 12"}), Some(&stopless), false);
        check(json!({"phrase": "jumps over"}), Some(&stopless), true);
    }

    #[test]
    fn phrases_match_where_the_index_has_them() {
        let without = Tokenizer::default();
        check(json!({"phrase": "brown fox"}), Some(&without), false);
        check(json!({"phrase": "fox"}), Some(&without), false);
        check(json!({"text": "brown fox"}), Some(&without), true);
        check(json!({"phrase": "brown fox"}), Some(&Tokenizer { phrases: true, ..without }), true);
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
        // One field is asked for once.
        let text = |text: &str| json!({"key": "b", "match": {"text": text}});
        let mut filter = Filter::from_json(&json!({"must": [text("x"), text("y")], "should": [text("z")]})).unwrap();
        let asked = std::cell::Cell::new(0);
        resolve(&mut filter, &|_| {
            asked.set(asked.get() + 1);
            Some(Tokenizer::default())
        });
        assert_eq!(asked.get(), 1);
    }
}
