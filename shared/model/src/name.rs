//! Names that become parts of object keys.

use serde::{Deserialize, Serialize};

use crate::limits::NAME_BYTES_MAX;

/// A collection's name, checked so that it can be one segment of an object key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CollectionName(String);

/// Why a name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name is empty.
    #[error("collection name cannot be empty")]
    Empty,
    /// The name is too long.
    #[error("collection name is {bytes} bytes long, at most {NAME_BYTES_MAX} are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// A character that has a meaning in paths, or cannot be shown.
    #[error("collection name cannot contain \"{0}\" char", .character.escape_default())]
    Character {
        /// The first one found.
        character: char,
    },
    /// `.` or `..`.
    #[error("collection name cannot be \"{0}\"")]
    Dots(String),
}

impl CollectionName {
    /// Checks a name. The forbidden characters are Qdrant's, and `%`, which object keys escape with.
    ///
    /// # Errors
    /// Says which rule the name breaks.
    pub fn parse(name: impl Into<String>) -> Result<Self, NameError> {
        let name = name.into();
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if name.len() > NAME_BYTES_MAX {
            return Err(NameError::TooLong { bytes: name.len() });
        }
        let forbidden =
            |c: char| c.is_control() || matches!(c, '<' | '>' | ':' | '"' | '/' | '\\' | '|' | '?' | '*' | '%');
        if let Some(character) = name.chars().find(|&c| forbidden(c)) {
            return Err(NameError::Character { character });
        }
        if name == "." || name == ".." {
            return Err(NameError::Dots(name));
        }
        Ok(Self(name))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for CollectionName {
    type Error = NameError;
    fn try_from(name: String) -> Result<Self, NameError> {
        Self::parse(name)
    }
}

impl From<CollectionName> for String {
    fn from(name: CollectionName) -> Self {
        name.0
    }
}

impl std::str::FromStr for CollectionName {
    type Err = NameError;
    fn from_str(name: &str) -> Result<Self, NameError> {
        Self::parse(name)
    }
}

impl std::fmt::Display for CollectionName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_leave_their_folder_are_refused() {
        for bad in ["", ".", "..", "a/b", "../x", "a\\b", "a\0b", "a%2Fb", "a?b"] {
            assert!(CollectionName::parse(bad).is_err(), "{bad:?}");
        }
        assert!(CollectionName::parse("x".repeat(256)).is_err());
        for good in ["a", "...", "midlib-1", "größe", "a b"] {
            assert_eq!(CollectionName::parse(good).unwrap().as_str(), good);
        }
    }
}
