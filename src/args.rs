//! Values on the command line that several subcommands read.

use std::path::Path;

use anyhow::{Context, Result};
use cairn_model::{
    Datatype, Filter,
    limits::{RECALL_MAX, RECALL_MIN},
};

use crate::failure::Usage;

/// A number format.
pub(crate) fn datatype(text: &str) -> Result<Datatype, String> {
    cairn_indexer::parse_datatype(text)
}

/// A recall to ask for.
pub(crate) fn recall(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(recall) if (RECALL_MIN..=RECALL_MAX).contains(&recall) => Ok(recall),
        _ => Err(format!("expected a recall from {RECALL_MIN} to {RECALL_MAX}")),
    }
}

/// A filter, in Qdrant's JSON.
pub(crate) fn filter(text: &str) -> Result<Filter> {
    serde_json::from_str(text).map_err(|error| Usage(format!("--filter: {error}")).into())
}

/// A vector: a JSON array, `@FILE` with one, or `@FILE.npy:ROW` (the first row without `:ROW`).
pub(crate) fn vector(text: &str) -> Result<Vec<f32>> {
    let wrong = |from: &str, error: serde_json::Error| {
        Usage(format!("--vector{from}: {error}: expected a JSON array of numbers, @FILE.json or @FILE.npy:ROW"))
    };
    let Some(file) = text.strip_prefix('@') else {
        return Ok(serde_json::from_str(text).map_err(|error| wrong("", error))?);
    };
    let (path, row) = match file.rsplit_once(':') {
        Some((path, row)) if !row.is_empty() && row.bytes().all(|b| b.is_ascii_digit()) => (path, row.parse()?),
        _ => (file, 0),
    };
    let bare = path.strip_suffix(".gz").or_else(|| path.strip_suffix(".zst")).unwrap_or(path);
    if bare.ends_with(".npy") {
        return Ok(cairn_indexer::source::npy_row(Path::new(path), row)?);
    }
    let text = std::fs::read_to_string(file).with_context(|| format!("--vector: {file}"))?;
    Ok(serde_json::from_str(&text).map_err(|error| wrong(&format!(" {file}"), error))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_come_from_text_and_from_files() {
        assert_eq!(vector("[1, 2.5, -3e-2]").unwrap(), [1.0, 2.5, -0.03]);
        let dir = tempfile::tempdir().unwrap();
        let json = dir.path().join("a.json");
        std::fs::write(&json, "[4, 5]\n").unwrap();
        assert_eq!(vector(&format!("@{}", json.display())).unwrap(), [4.0, 5.0]);

        let npy = dir.path().join("b.npy");
        let mut bytes = b"\x93NUMPY\x01\x00\x38\x00{'descr': '|u1', 'fortran_order': False, 'shape': (2,3)}".to_vec();
        bytes.extend([1, 2, 3, 4, 5, 6]);
        std::fs::write(&npy, bytes).unwrap();
        assert_eq!(vector(&format!("@{}", npy.display())).unwrap(), [1.0, 2.0, 3.0]);
        assert_eq!(vector(&format!("@{}:1", npy.display())).unwrap(), [4.0, 5.0, 6.0]);
        assert!(vector(&format!("@{}:2", npy.display())).unwrap_err().to_string().contains("only 2 rows"));

        for bad in ["", "pebble", "[1, \"x\"]", "{}", "@/nowhere.json", "[1"] {
            assert!(format!("{:#}", vector(bad).unwrap_err()).contains("--vector"), "{bad}");
        }
    }

    #[test]
    fn filters_name_what_they_do_not_know() {
        assert!(filter(r#"{"must":[{"key":"a","match":{"value":1}}]}"#).is_ok());
        assert!(filter(r#"{"mast":[]}"#).unwrap_err().to_string().contains("mast"));
    }
}
