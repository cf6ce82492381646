//! The frame around every answer.

use std::time::Instant;

use cairn_model::Usage;
use serde::Serialize;
use serde_json::json;

/// A good answer. `usage` has Qdrant's own two keys, empty, and Cairn's counters beside them.
#[derive(Debug, Serialize)]
pub struct Envelope<T> {
    /// The answer itself.
    pub result: T,
    /// `ok`.
    pub status: &'static str,
    /// Seconds.
    pub time: f64,
    /// Whether leaves are missing in it, as the request allowed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    /// What it cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageBody>,
}

/// What an answer cost.
#[derive(Debug, Serialize)]
pub struct UsageBody {
    /// Qdrant's hardware counters, which have no counterpart here.
    pub hardware: Option<()>,
    /// Qdrant's inference counters, which have no counterpart here.
    pub inference: Option<()>,
    /// Cairn's own.
    pub cairn: Usage,
}

impl<T: Serialize> Envelope<T> {
    /// The JSON text of an answer that began at `started`.
    ///
    /// # Errors
    /// When `result` cannot be written as JSON.
    pub fn text(result: T, started: Instant, usage: Option<Usage>) -> serde_json::Result<Vec<u8>> {
        let partial = usage.is_some_and(|usage| usage.leaves_failed > 0);
        let usage = usage.map(|cairn| UsageBody { hardware: None, inference: None, cairn });
        serde_json::to_vec(&Self { result, status: "ok", time: started.elapsed().as_secs_f64(), partial, usage })
    }
}

/// The JSON text of an error.
#[must_use]
pub fn error_text(message: &str, started: Instant) -> Vec<u8> {
    json!({"status": {"error": message}, "time": started.elapsed().as_secs_f64()}).to_string().into_bytes()
}
