//! Fields of Qdrant's that this version reads without acting on them.

use serde::{Deserialize, Deserializer, de::IgnoredAny};
use serde_json::Value;

use crate::error::{Error, Result};

/// A field that cannot change an answer here: any value is accepted.
pub type Ignored = Option<IgnoredAny>;

/// A field that would change the answer: accepted only while it says nothing (`null`, `[]`, `{}`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Later {
    given: bool,
}

impl<'de> Deserialize<'de> for Later {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let given = match Value::deserialize(deserializer)? {
            Value::Null => false,
            Value::Array(items) => !items.is_empty(),
            Value::Object(map) => !map.is_empty(),
            _ => true,
        };
        Ok(Self { given })
    }
}

impl Later {
    /// Refuses the request when the field was given.
    ///
    /// # Errors
    /// `Unsupported`, naming the field.
    pub fn refuse(self, field: &str) -> Result<()> {
        if self.given { Err(Error::Unsupported(format!("`{field}`"))) } else { Ok(()) }
    }
}
