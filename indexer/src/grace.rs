//! How long something must have been garbage before it is deleted, as people write it.

use std::time::Duration;

use serde::{Deserialize as _, Deserializer, de};

/// Reads a time such as `24h`, `90min` or `2days 6h`.
///
/// # Errors
/// What is wrong with it.
pub fn parse_grace(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("'{}': {error}: expected a time such as 24h", text.escape_debug()))
}

pub(crate) fn grace<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| parse_grace(&text).map_err(de::Error::custom)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, seconds) in [("24h", 86_400), ("90min", 5_400), ("1day 30m", 88_200), ("900s", 900)] {
            assert_eq!(parse_grace(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "24", "a day", "-1h", "99999999999999999999h"] {
            assert!(parse_grace(bad).unwrap_err().contains("such as 24h"), "{bad}");
        }
    }
}
