//! ASCII folding: Latin letters and digits as the nearest ones of ASCII.

use std::borrow::Cow;

use unicode_normalization::char::decompose_compatible;

/// A word with every Latin letter and digit in ASCII: without accents, ligatures in letters, full-width and circled ones as plain ones.
/// What has no such form, letters of other scripts and signs, stays as it is.
pub(super) fn fold(word: Cow<'_, str>) -> Cow<'_, str> {
    if word.is_ascii() {
        return word;
    }
    let mut folded = String::with_capacity(word.len());
    let mut part = String::new();
    for c in word.chars() {
        // An accent that is a character of its own goes where the letter is one that would have lost it.
        if is_accent(c) && folded.ends_with(|letter: char| letter.is_ascii_alphanumeric()) {
            continue;
        }
        part.clear();
        decompose_compatible(c, |c| match plain(c) {
            Some(letters) => part.push_str(letters),
            None if is_accent(c) => {}
            None => part.push(c),
        });
        if !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            folded.push_str(&part);
        } else {
            folded.push(c);
        }
    }
    Cow::Owned(folded)
}

/// Marks above, below and through a letter.
const fn is_accent(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}')
}

/// Latin letters that are not made of an ASCII one and marks.
const fn plain(c: char) -> Option<&'static str> {
    Some(match c {
        'Æ' => "AE",
        'æ' => "ae",
        'Œ' => "OE",
        'œ' => "oe",
        'ẞ' => "SS",
        'ß' => "ss",
        'Þ' => "TH",
        'þ' => "th",
        'Ə' => "A",
        'ə' => "a",
        'Ɓ' => "B",
        'ɓ' => "b",
        'Đ' | 'Ð' | 'Ɖ' | 'Ɗ' => "D",
        'đ' | 'ð' | 'ɖ' | 'ɗ' => "d",
        'Ɛ' => "E",
        'ɛ' => "e",
        'Ħ' => "H",
        'ħ' => "h",
        'ı' => "i",
        'Ƙ' => "K",
        'ƙ' => "k",
        'Ł' => "L",
        'ł' => "l",
        'Ŋ' => "N",
        'ŋ' => "n",
        'Ø' | 'Ɔ' => "O",
        'ø' | 'ɔ' => "o",
        'Ŧ' => "T",
        'ŧ' => "t",
        'Ƴ' => "Y",
        'ƴ' => "y",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn latin_becomes_ascii_and_nothing_else() {
        for (word, expected) in [
            ("ação", "acao"),
            ("Zürich", "Zurich"),
            ("Straße", "Strasse"),
            ("ŁÓDŹ", "LODZ"),
            ("smørrebrød", "smorrebrod"),
            ("ǿ", "o"),
            ("Ærø", "AEro"),
            ("tiếng", "tieng"),
            ("İstanbul", "Istanbul"),
            ("e\u{301}te\u{301}", "ete"),
            ("ﬁle", "file"),
            ("Ｔｏｋｙｏ２", "Tokyo2"),
            ("x²", "x2"),
            ("ℝ", "R"),
            // Other scripts, marks of theirs and signs.
            ("άλφα", "άλφα"),
            ("йод", "йод"),
            ("が", "が"),
            ("हिन्दी", "हिन्दी"),
            ("日本", "日本"),
            ("½", "½"),
            ("a…b", "a…b"),
            ("α\u{301}", "α\u{301}"),
            ("", ""),
        ] {
            assert_eq!(fold(word.into()), expected, "{word}");
        }
    }

    proptest! {
        #[test]
        fn folding_twice_is_folding_once(word in "\\PC{0,12}") {
            let once = fold(Cow::Borrowed(&word)).into_owned();
            prop_assert_eq!(fold(Cow::Borrowed(&once)), once.as_str());
        }
    }
}
