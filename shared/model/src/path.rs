//! Payload paths: `a`, `a.b`, `a[].b`, `a[0]`, `"a key.with dots".b`.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Payload, limits::PATH_BYTES_MAX};

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Into an object.
    Key(String),
    /// Into every element of an array: `[]`.
    Each,
    /// Into one element of an array: `[3]`.
    Index(usize),
}

/// A parsed payload path; begins with a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Path(Vec<Step>);

/// A text that is no path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid payload path '{path}' at byte {at}: {why}")]
pub struct PathError {
    /// The text.
    pub path: String,
    /// Where it goes wrong.
    pub at: usize,
    /// How.
    pub why: &'static str,
}

impl Path {
    /// Parses a path.
    ///
    /// # Errors
    /// Names the byte at which the text stops being a path.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let fail = |at, why| Err(PathError { path: text.chars().take(PATH_BYTES_MAX).collect(), at, why });
        if text.len() > PATH_BYTES_MAX {
            return fail(PATH_BYTES_MAX, "too long");
        }
        let mut steps = Vec::new();
        let mut at = 0;
        loop {
            let rest = &text[at..];
            if let Some(quoted) = rest.strip_prefix('"') {
                let Some(end) = quoted.find('"') else { return fail(at, "unclosed quote") };
                steps.push(Step::Key(quoted[..end].to_owned()));
                at += end + 2;
            } else {
                let end = rest.find(['.', '[', ']', '"']).unwrap_or(rest.len());
                if end == 0 {
                    return fail(at, "expected a key");
                }
                steps.push(Step::Key(rest[..end].to_owned()));
                at += end;
            }
            while text[at..].starts_with('[') {
                let Some(end) = text[at..].find(']') else { return fail(at, "unclosed bracket") };
                let inside = &text[at + 1..at + end];
                if inside.is_empty() {
                    steps.push(Step::Each);
                } else if let Ok(index) = inside.parse() {
                    steps.push(Step::Index(index));
                } else {
                    return fail(at + 1, "expected an index or nothing between brackets");
                }
                at += end + 1;
            }
            match text[at..].chars().next() {
                None => return Ok(Self(steps)),
                Some('.') => at += 1,
                Some(_) => return fail(at, "expected '.', '[' or the end"),
            }
        }
    }

    /// A path of one key, taken as it is.
    #[must_use]
    pub fn key(key: impl Into<String>) -> Self {
        Self(vec![Step::Key(key.into())])
    }

    /// This path and one step more.
    #[must_use]
    pub fn then(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// This path and then all of another one, which begins where this one ends.
    #[must_use]
    pub fn join(&self, rest: &Self) -> Self {
        Self(self.0.iter().chain(&rest.0).cloned().collect())
    }

    /// This path into every element of the array that is there, if it does not end so already.
    #[must_use]
    pub fn each(self) -> Self {
        if self.0.last() == Some(&Step::Each) { self } else { self.then(Step::Each) }
    }

    /// The steps; the first is a key.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// All values of `payload` at this path. An array at the end is one value; `[]` enters it.
    #[must_use]
    pub fn values<'a>(&self, payload: &'a Payload) -> Vec<&'a Value> {
        let Some((Step::Key(first), rest)) = self.0.split_first() else { return Vec::new() };
        let mut values: Vec<&Value> = payload.get(first).into_iter().collect();
        for step in rest {
            values = match step {
                Step::Key(key) => values.into_iter().filter_map(|v| v.as_object()?.get(key)).collect(),
                Step::Index(index) => values.into_iter().filter_map(|v| v.as_array()?.get(*index)).collect(),
                Step::Each => values.into_iter().filter_map(Value::as_array).flatten().collect(),
            };
        }
        values
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) => {
                    let dot = if i > 0 { "." } else { "" };
                    if key.is_empty() || key.contains(['.', '[', ']']) {
                        write!(f, "{dot}\"{key}\"")?;
                    } else {
                        write!(f, "{dot}{key}")?;
                    }
                }
                Step::Each => f.write_str("[]")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

impl TryFrom<String> for Path {
    type Error = PathError;
    fn try_from(text: String) -> Result<Self, PathError> {
        Self::parse(&text)
    }
}

impl From<Path> for String {
    fn from(path: Path) -> Self {
        path.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_parse_and_print() {
        for text in ["a", "a.b", "a[].b", "a[0][].b.c", "\"a.b\".c", "größe.x"] {
            assert_eq!(Path::parse(text).unwrap().to_string(), text);
        }
        for (text, at) in [("", 0), (".a", 0), ("a.", 2), ("a[", 1), ("a[x]", 2), ("a]b", 1), ("\"a", 0), ("a[0]b", 4)]
        {
            assert_eq!(Path::parse(text).unwrap_err().at, at, "{text}");
        }
    }

    #[test]
    fn paths_are_joined() {
        let path = |text: &str| Path::parse(text).unwrap();
        assert_eq!(path("a").each().join(&path("b.c")), path("a[].b.c"));
        assert_eq!(path("a[]").each(), path("a[]"));
    }

    #[test]
    fn values_are_found_as_qdrant_finds_them() {
        let payload = serde_json::json!({"a": {"b": 1}, "l": [{"x": 1}, {"x": [2, 3]}, 4], "t": ["p", "q"]});
        let payload = payload.as_object().unwrap();
        let at = |path: &str| serde_json::to_string(&Path::parse(path).unwrap().values(payload)).unwrap();
        assert_eq!(at("a.b"), "[1]");
        assert_eq!(at("l.x"), "[]");
        assert_eq!(at("l[].x"), "[1,[2,3]]");
        assert_eq!(at("l[1].x"), "[[2,3]]");
        assert_eq!(at("t"), r#"[["p","q"]]"#);
        assert_eq!(at("t[]"), r#"["p","q"]"#);
        assert_eq!(at("nope.b"), "[]");
    }
}
