//! How a command fails: one line `error: ...` with all causes, a hint where there is something to do, and an exit code.
//!
//! | code | meaning |
//! |---|---|
//! | 1 | it failed |
//! | 2 | it was asked wrongly |
//! | 3 | a new generation was not good enough to be published |
//! | 130 | somebody stopped it |

use cairn_model::{ErrorKind, Kind};

/// A wrong argument that was noticed after parsing.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// The exit code.
pub(crate) fn code(error: &anyhow::Error) -> u8 {
    if error.is::<Usage>() {
        return 2;
    }
    if let Some(cairn_indexer::Error::Refused(_)) = error.downcast_ref() {
        return 3;
    }
    match kind(error) {
        Some(ErrorKind::Cancelled) => 130,
        _ => 1,
    }
}

/// What to print.
pub(crate) fn message(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        // Many errors quote their cause; saying it twice helps nobody.
        if !text.contains(&cause) {
            text = if text.is_empty() { cause } else { format!("{text}: {cause}") };
        }
    }
    let text = text.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    match hint(error) {
        Some(hint) => format!("error: {text}\nhint: {hint}"),
        None => format!("error: {text}"),
    }
}

/// The kind of the first cause that has one.
fn kind(error: &anyhow::Error) -> Option<ErrorKind> {
    error.chain().find_map(|cause| {
        None.or_else(|| cause.downcast_ref::<cairn_indexer::Error>().map(Kind::kind))
            .or_else(|| cause.downcast_ref::<cairn_searcher::Error>().map(Kind::kind))
            .or_else(|| cause.downcast_ref::<cairn_storage::Error>().map(Kind::kind))
            .or_else(|| cause.downcast_ref::<cairn_engine::Error>().map(Kind::kind))
    })
}

fn hint(error: &anyhow::Error) -> Option<&'static str> {
    match error.downcast_ref() {
        Some(cairn_indexer::Error::Occupied { .. }) => return None,
        Some(cairn_indexer::Error::Refused(_)) => {
            return Some("what is served is as it was; see `cairn reindex --help`");
        }
        _ => {}
    }
    match kind(error)? {
        ErrorKind::NotFound => Some("`cairn inspect --store URL` lists the collections of a store"),
        ErrorKind::Conflict => Some("somebody else changed the collection meanwhile: run the command again"),
        ErrorKind::Unavailable => {
            Some("check the store's URL, --s3-endpoint, keys and region, or the disk's space, and try again")
        }
        ErrorKind::Full => Some("give the disk more space, and try again"),
        ErrorKind::Corrupt => {
            Some("`cairn inspect --verify` finds damaged segments; index the collection again with --replace")
        }
        ErrorKind::Unsupported => {
            Some("this needs a newer version of Cairn, or a store that honours conditional writes")
        }
        ErrorKind::Invalid | ErrorKind::Cancelled | ErrorKind::TooLarge => None,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn causes_are_said_once_and_on_one_line() {
        let disk = cairn_indexer::Error::Disk {
            path: "/tmp/x".into(),
            source: std::io::Error::new(std::io::ErrorKind::StorageFull, "no space\nleft"),
        };
        let error = anyhow::Error::from(disk).context("indexing docs");
        let text = message(&error);
        assert!(text.starts_with("error: indexing docs: /tmp/x: no space left\nhint: "), "{text}");
        assert_eq!(code(&error), 1);
    }

    #[test]
    fn codes_tell_failure_misuse_and_stopping_apart() {
        assert_eq!(code(&Usage("--vector".into()).into()), 2);
        assert_eq!(code(&cairn_indexer::Error::Cancelled.into()), 130);
        let missing = Err::<(), _>(std::io::Error::other("x")).context("y").unwrap_err();
        assert_eq!(code(&missing), 1);
    }
}
