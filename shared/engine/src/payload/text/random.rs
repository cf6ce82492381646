//! Any text under any parameters: against tokens that are made one by one, and against the indexes of a segment.

use cairn_model::{
    Payload, PointId, SnowballLanguage, StopwordLanguage, StopwordSet, Stopwords,
    filter::{Tokenizer, TokenizerKind},
};
use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::json;

use super::*;
use crate::{
    Unwatched,
    payload::{allowed, matches, samples::Sections},
};

fn tokenizer() -> impl Strategy<Value = Tokenizer> {
    let kind = select(vec![
        TokenizerKind::Word,
        TokenizerKind::Whitespace,
        TokenizerKind::Prefix,
        TokenizerKind::Multilingual,
    ]);
    let languages = vec(select(vec![StopwordLanguage::English, StopwordLanguage::German]), 1..3);
    let custom = vec(select(vec!["Fox", "run", "für", "e", "THE"]), 0..3);
    let set = (option::of(languages), option::of(custom)).prop_map(|(languages, custom)| {
        let custom = custom.map(|words| words.into_iter().map(str::to_owned).collect());
        Stopwords::Set(StopwordSet { languages: languages.map(|all| all.into_iter().collect()), custom })
    });
    let stopwords = prop_oneof![Just(Stopwords::Language(StopwordLanguage::English)), set];
    let stemmer = select(vec![SnowballLanguage::English, SnowballLanguage::German]);
    let flags = (any::<bool>(), any::<bool>(), prop::bool::weighted(0.8));
    let parts =
        (kind, flags, option::of(stopwords), option::of(stemmer), option::of(0..4_usize), option::of(0..7_usize));
    parts.prop_map(|(kind, flags, stopwords, stemmer, chars_min, chars_max)| {
        let (ascii_folding, lowercase, phrases) = flags;
        Tokenizer { kind, ascii_folding, lowercase, stopwords, stemmer, chars_min, chars_max, phrases }
    })
}

fn text() -> impl Strategy<Value = String> {
    let words = vec![
        "the",
        "The",
        "fox",
        "Foxes",
        "foxes",
        "run",
        "running",
        "RUNS",
        "für",
        "fur",
        "FÜR",
        "größe",
        "Grosse",
        "e",
        "don't",
        "日本",
        "x",
        "ℝ",
        "re\u{301}sume\u{301}",
        "théorie",
        "theory",
    ];
    let word = prop_oneof![12 => select(words).prop_map(str::to_owned), 1 => "\\PC{0,4}"];
    let between = select(vec![" ", " ", "-", ", "]);
    vec((word, between), 0..7)
        .prop_map(|parts| parts.into_iter().flat_map(|(word, gap)| [word, gap.to_owned()]).collect())
}

fn wanted_text() -> impl Strategy<Value = String> {
    prop_oneof![2 => text(), 1 => select(vec!["th", "ru", "the fox", "fo", "running fox", "grö"]).prop_map(str::to_owned)]
}

fn want() -> impl Strategy<Value = TextWant> {
    select(vec![TextWant::All, TextWant::Any, TextWant::Phrase])
}

/// Every word, as it is before it is looked up among stop words.
fn naive_words(tokenizer: &Tokenizer, text: &str) -> Vec<String> {
    use unicode_segmentation::UnicodeSegmentation as _;
    let words: Vec<&str> = match tokenizer.kind {
        TokenizerKind::Whitespace => text.split(char::is_whitespace).collect(),
        TokenizerKind::Multilingual => text.unicode_words().collect(),
        TokenizerKind::Word | TokenizerKind::Prefix => text.split(|c: char| !c.is_alphanumeric()).collect(),
    };
    words.into_iter().filter(|word| !word.is_empty()).map(|word| naive_form(tokenizer, word)).collect()
}

fn naive_form(tokenizer: &Tokenizer, word: &str) -> String {
    let mut word = word.to_owned();
    if tokenizer.ascii_folding {
        word = fold::fold(word.into()).into_owned();
    }
    if tokenizer.lowercase {
        word = word.to_lowercase();
    }
    word
}

fn naive_stem(tokenizer: &Tokenizer, word: String) -> String {
    tokenizer.stemmer.map_or(word.clone(), |language| stem::stem(language, word.into()).into_owned())
}

/// All tokens of each word of a string: one, or by prefixes as many as it has beginnings.
fn naive_tokens(tokenizer: &Tokenizer, text: &str) -> Vec<Vec<String>> {
    let stopwords = tokenizer.stopwords.iter().flat_map(stopwords::words);
    let stopwords: Vec<String> = stopwords.map(|word| naive_form(tokenizer, word)).collect();
    let words = naive_words(tokenizer, text).into_iter().filter(|word| !stopwords.contains(word));
    let lengths = tokenizer.chars_min.unwrap_or(0).max(1)..=tokenizer.chars_max.unwrap_or(usize::MAX);
    let tokens = words.map(|word| {
        let letters: Vec<char> = naive_stem(tokenizer, word).chars().collect();
        let from = if tokenizer.kind == TokenizerKind::Prefix { 0 } else { letters.len() };
        (from..=letters.len()).filter(|len| lengths.contains(len)).map(|len| letters[..len].iter().collect()).collect()
    });
    tokens.filter(|tokens: &Vec<String>| !tokens.is_empty()).collect()
}

fn naive_wanted(tokenizer: &Tokenizer, text: &str) -> Vec<String> {
    if tokenizer.kind != TokenizerKind::Prefix {
        return naive_tokens(tokenizer, text).into_iter().flatten().collect();
    }
    let unstopped = Tokenizer { stopwords: None, ..tokenizer.clone() };
    naive_tokens(&unstopped, text).into_iter().filter_map(|beginnings| beginnings.into_iter().last()).collect()
}

fn naive_contains(tokenizer: &Tokenizer, (want, part): (TextWant, &str), text: &str) -> bool {
    let (tokens, wanted) = (naive_tokens(tokenizer, text), naive_wanted(tokenizer, part));
    match want {
        _ if wanted.is_empty() => false,
        TextWant::Any => wanted.iter().any(|wanted| tokens.concat().contains(wanted)),
        TextWant::All => wanted.iter().all(|wanted| tokens.concat().contains(wanted)),
        TextWant::Phrase => {
            let starts = 0..=tokens.len().saturating_sub(wanted.len());
            tokenizer.phrases
                && tokens.len() >= wanted.len()
                && starts
                    .into_iter()
                    .any(|start| wanted.iter().enumerate().all(|(i, wanted)| tokens[start + i].contains(wanted)))
        }
    }
}

/// A filter of one field, settled.
fn filter(tokenizer: &Tokenizer, want: TextWant, part: &str) -> Filter {
    let field = match want {
        TextWant::All => "text",
        TextWant::Any => "text_any",
        TextWant::Phrase => "phrase",
    };
    let mut filter = Filter::from_json(&json!({"must": {"key": "t", "match": {field: part}}})).unwrap();
    resolve(&mut filter, &|_| Some(tokenizer.clone()));
    filter
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn strings_contain_what_they_should(tokenizer in tokenizer(), want in want(), part in wanted_text(), text in text()) {
        let payload = json!({"t": text});
        let found = matches(&filter(&tokenizer, want, &part), PointId::Num(1), payload.as_object().unwrap(), &|_| false);
        prop_assert_eq!(found, naive_contains(&tokenizer, (want, &part), &text));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Strings of an index, in arrays and alone, and those that are too long for one.
    #[test]
    fn segments_find_what_matches(
        tokenizer in tokenizer(), wants in vec((want(), wanted_text()), 1..5), texts in vec(vec((text(), 0..9_usize), 0..3), 1..12),
    ) {
        let string = |(text, kind): &(String, usize)| if *kind == 0 { format!("{text} {}", "filler ".repeat(60)) } else { text.clone() };
        let point = |(number, texts): (u64, &Vec<(String, usize)>)| {
            let mut texts: Vec<String> = texts.iter().map(string).collect();
            let value = if texts.len() == 1 { json!(texts.remove(0)) } else { json!(texts) };
            (PointId::Num(number), Payload::from_iter([("t".to_owned(), value)]))
        };
        let points: Vec<_> = (0..).zip(&texts).map(point).collect();
        let sections = Sections::new(&points, 4);
        let view = sections.view().unwrap();
        for (want, part) in wants {
            let filter = filter(&tokenizer, want, &part);
            let passes = |(id, payload): &(PointId, Payload)| matches(&filter, *id, payload, &|_| false);
            let expected = (0..).zip(&points).filter(|(_, point)| passes(point)).map(|(ordinal, _)| ordinal).collect();
            prop_assert_eq!(allowed(&filter, &view, &Unwatched).unwrap(), expected, "{:#?}", filter);
        }
    }
}
