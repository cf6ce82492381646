//! Stems of words, by Snowball's rules.

use std::borrow::Cow;

use cairn_model::SnowballLanguage;
use rust_stemmers::{Algorithm, Stemmer};

/// Longer ones are no words, and the rules take time that grows with the square of it.
const BYTES_MAX: usize = 256;

/// The stem of a word. The rules expect lower case.
pub(super) fn stem(language: SnowballLanguage, word: Cow<'_, str>) -> Cow<'_, str> {
    let Some(algorithm) = algorithm(language).filter(|_| word.len() <= BYTES_MAX) else { return word };
    let stemmer = Stemmer::create(algorithm);
    match word {
        Cow::Borrowed(word) => stemmer.stem(word),
        Cow::Owned(word) => Cow::Owned(stemmer.stem(&word).into_owned()),
    }
}

const fn algorithm(language: SnowballLanguage) -> Option<Algorithm> {
    Some(match language {
        SnowballLanguage::Arabic => Algorithm::Arabic,
        // Refused where an index is declared.
        SnowballLanguage::Armenian => return None,
        SnowballLanguage::Danish => Algorithm::Danish,
        SnowballLanguage::Dutch => Algorithm::Dutch,
        SnowballLanguage::English => Algorithm::English,
        SnowballLanguage::Finnish => Algorithm::Finnish,
        SnowballLanguage::French => Algorithm::French,
        SnowballLanguage::German => Algorithm::German,
        SnowballLanguage::Greek => Algorithm::Greek,
        SnowballLanguage::Hungarian => Algorithm::Hungarian,
        SnowballLanguage::Italian => Algorithm::Italian,
        SnowballLanguage::Norwegian => Algorithm::Norwegian,
        SnowballLanguage::Portuguese => Algorithm::Portuguese,
        SnowballLanguage::Romanian => Algorithm::Romanian,
        SnowballLanguage::Russian => Algorithm::Russian,
        SnowballLanguage::Spanish => Algorithm::Spanish,
        SnowballLanguage::Swedish => Algorithm::Swedish,
        SnowballLanguage::Tamil => Algorithm::Tamil,
        SnowballLanguage::Turkish => Algorithm::Turkish,
    })
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};

    use super::*;

    const LANGUAGES: [SnowballLanguage; 19] = [
        SnowballLanguage::Arabic,
        SnowballLanguage::Armenian,
        SnowballLanguage::Danish,
        SnowballLanguage::Dutch,
        SnowballLanguage::English,
        SnowballLanguage::Finnish,
        SnowballLanguage::French,
        SnowballLanguage::German,
        SnowballLanguage::Greek,
        SnowballLanguage::Hungarian,
        SnowballLanguage::Italian,
        SnowballLanguage::Norwegian,
        SnowballLanguage::Portuguese,
        SnowballLanguage::Romanian,
        SnowballLanguage::Russian,
        SnowballLanguage::Spanish,
        SnowballLanguage::Swedish,
        SnowballLanguage::Tamil,
        SnowballLanguage::Turkish,
    ];

    #[test]
    fn forms_of_a_word_have_one_stem() {
        use SnowballLanguage::{
            Arabic, Danish, Dutch, English, Finnish, French, German, Greek, Hungarian, Italian, Norwegian, Portuguese,
            Romanian, Russian, Spanish, Swedish, Tamil, Turkish,
        };
        for (language, one, other) in [
            (Arabic, "كتاب", "الكتاب"),
            (Danish, "huse", "husene"),
            (Dutch, "fiets", "fietsen"),
            (English, "running", "runs"),
            (Finnish, "talossa", "talosta"),
            (French, "continuer", "continuait"),
            (German, "häuser", "hauses"),
            (Greek, "δρόμος", "δρόμοι"),
            (Hungarian, "házak", "házakat"),
            (Italian, "gatto", "gatti"),
            (Norwegian, "hus", "huset"),
            (Portuguese, "livros", "livro"),
            (Romanian, "copil", "copilului"),
            (Russian, "книга", "книгами"),
            (Spanish, "libros", "libro"),
            (Swedish, "bilar", "bilarna"),
            (Tamil, "மரம்", "மரங்கள்"),
            (Turkish, "kitap", "kitaplar"),
        ] {
            assert_eq!(stem(language, one.into()), stem(language, other.into()), "{language:?}");
        }
        assert_ne!(stem(German, "running".into()), "run");
    }

    proptest! {
        /// No text, however odd, is too much for the rules.
        #[test]
        fn every_word_has_a_stem(language in select(&LANGUAGES[..]), word in "\\PC{0,24}|[a-zäöüßéèçñ']{0,24}|[α-ώ]{0,12}|[а-я]{0,12}|[ء-ي]{0,12}|[அ-்]{0,12}") {
            let _ = stem(language, Cow::Borrowed(&word));
        }
    }

    #[test]
    fn what_is_too_long_for_a_word_stays() {
        let long = "running".repeat(BYTES_MAX);
        assert_eq!(stem(SnowballLanguage::English, Cow::Borrowed(&long)), long);
    }
}
