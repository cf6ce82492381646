//! Lists of stop words by language.

use cairn_model::{StopwordLanguage, StopwordSet, Stopwords};

/// Particles, of which a Japanese text has many whatever it is about. NLTK has no list.
const JAPANESE: &[&str] = &[
    "は", "が", "の", "を", "に", "へ", "と", "で", "も", "や", "か", "から", "まで", "より", "など", "ね", "よ", "わ",
    "ので", "のに", "です", "ます", "だ", "た", "て",
];

/// All words that are named, as the lists have them.
pub(super) fn words(stopwords: &Stopwords) -> Vec<&str> {
    match stopwords {
        Stopwords::Language(language) => of_language(*language).to_vec(),
        Stopwords::Set(StopwordSet { languages, custom }) => {
            let mut words: Vec<&str> = custom.iter().flatten().map(String::as_str).collect();
            languages.iter().flatten().for_each(|language| words.extend_from_slice(of_language(*language)));
            words
        }
    }
}

fn of_language(language: StopwordLanguage) -> &'static [&'static str] {
    let code = match language {
        StopwordLanguage::Arabic => "ar",
        StopwordLanguage::Azerbaijani => "az",
        StopwordLanguage::Basque => "eu",
        StopwordLanguage::Bengali => "bn",
        StopwordLanguage::Catalan => "ca",
        StopwordLanguage::Chinese => "zh",
        StopwordLanguage::Danish => "da",
        StopwordLanguage::Dutch => "nl",
        StopwordLanguage::English => "en",
        StopwordLanguage::Finnish => "fi",
        StopwordLanguage::French => "fr",
        StopwordLanguage::German => "de",
        StopwordLanguage::Greek => "el",
        StopwordLanguage::Hebrew => "he",
        StopwordLanguage::Hinglish => "hinglish",
        StopwordLanguage::Hungarian => "hu",
        StopwordLanguage::Indonesian => "id",
        StopwordLanguage::Italian => "it",
        StopwordLanguage::Japanese => return JAPANESE,
        StopwordLanguage::Kazakh => "kk",
        StopwordLanguage::Nepali => "ne",
        StopwordLanguage::Norwegian => "no",
        StopwordLanguage::Portuguese => "pt",
        StopwordLanguage::Romanian => "ro",
        StopwordLanguage::Russian => "ru",
        StopwordLanguage::Slovene => "sl",
        StopwordLanguage::Spanish => "es",
        StopwordLanguage::Swedish => "sv",
        StopwordLanguage::Tajik => "tg",
        StopwordLanguage::Turkish => "tr",
    };
    stop_words::lookup(code).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_has_a_list() {
        for (json, word) in [
            ("arabic", "في"),
            ("azerbaijani", "və"),
            ("basque", "eta"),
            ("bengali", "এবং"),
            ("catalan", "els"),
            ("chinese", "的"),
            ("danish", "og"),
            ("dutch", "het"),
            ("english", "the"),
            ("finnish", "että"),
            ("french", "dans"),
            ("german", "und"),
            ("greek", "και"),
            ("hebrew", "את"),
            ("hinglish", "aur"),
            ("hungarian", "hogy"),
            ("indonesian", "dan"),
            ("italian", "della"),
            ("japanese", "の"),
            ("kazakh", "және"),
            ("nepali", "र"),
            ("norwegian", "ikke"),
            ("portuguese", "não"),
            ("romanian", "pentru"),
            ("russian", "что"),
            ("slovene", "ampak"),
            ("spanish", "pero"),
            ("swedish", "och"),
            ("tajik", "ва"),
            ("turkish", "ve"),
        ] {
            let one: Stopwords = serde_json::from_str(&format!("\"{json}\"")).unwrap();
            let found = words(&one);
            assert!(found.contains(&word) && found.len() > 20, "{json} has {} words", found.len());
        }
    }

    #[test]
    fn lists_come_together() {
        let set: Stopwords = serde_json::from_str(r#"{"languages":["english","german"],"custom":["foo"]}"#).unwrap();
        let found = words(&set);
        assert!(["the", "und", "foo"].iter().all(|word| found.contains(word)));
        let empty: Stopwords = serde_json::from_str("{}").unwrap();
        assert!(words(&empty).is_empty());
    }
}
