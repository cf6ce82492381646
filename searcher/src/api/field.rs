//! Fields of Qdrant's that this version reads without acting on them.

use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny},
};
use serde_json::{Map, Value};

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

/// `strict_mode_config`: limits that are heeded only where `enabled` says so, which is not supported yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StrictMode {
    enabled: bool,
}

impl<'de> Deserialize<'de> for StrictMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let config = Option::<Map<String, Value>>::deserialize(deserializer)?;
        match config.as_ref().and_then(|config| config.get("enabled")) {
            None | Some(Value::Null) => Ok(Self::default()),
            Some(Value::Bool(enabled)) => Ok(Self { enabled: *enabled }),
            Some(other) => Err(de::Error::custom(format_args!("strict_mode_config.enabled: {other} is not a boolean"))),
        }
    }
}

impl StrictMode {
    /// Refuses the request where it is enabled.
    ///
    /// # Errors
    /// `Unsupported`.
    pub fn refuse(self) -> Result<()> {
        if self.enabled { Err(Error::Unsupported("`strict_mode_config`".to_owned())) } else { Ok(()) }
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
