//! What a store's error means: whether to try again, and what to tell the caller.

use std::{error::Error as StdError, io, time::Duration};

use cairn_model::ErrorKind;
use object_store::client::{HttpError, HttpErrorKind};

use super::retry::Failure;
use crate::Error;

/// An answer that is neither success nor failure: the request must be repeated.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Again(pub(super) String);

impl From<Again> for object_store::Error {
    fn from(again: Again) -> Self {
        Self::Generic { store: "Cairn", source: Box::new(again) }
    }
}

fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn StdError + 'static)| (*error).source())
}

/// The HTTP status that made a client give up. `object_store` keeps that type to itself, so its text must do;
/// a test holds on to it.
fn http_status(error: &object_store::Error) -> Option<u16> {
    chain(error).find_map(|error| {
        let text = error.to_string();
        let (_, rest) = text.split_once("non-2xx status code: ")?;
        rest.get(..3)?.parse().ok()
    })
}

/// Whether the same request may succeed a moment later.
pub(super) fn is_transient(error: &object_store::Error) -> bool {
    let object_store::Error::Generic { .. } = error else {
        return false;
    };
    if has_no_credentials(error) {
        return false;
    }
    if let Some(status) = http_status(error) {
        return matches!(status, 408 | 409 | 429 | 500 | 502..=599);
    }
    chain(error).any(|error| {
        if error.is::<Again>() {
            return true;
        }
        if let Some(error) = error.downcast_ref::<HttpError>() {
            return !matches!(error.kind(), HttpErrorKind::Unknown);
        }
        error.downcast_ref::<io::Error>().is_some_and(|error| {
            use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, TimedOut, UnexpectedEof, WouldBlock};
            matches!(
                error.kind(),
                ConnectionAborted | ConnectionReset | Interrupted | TimedOut | UnexpectedEof | WouldBlock
            )
        })
    })
}

/// The last resort for credentials is a machine's metadata service; where there is none, there were no keys at all.
fn has_no_credentials(error: &object_store::Error) -> bool {
    http_status(error).is_none() && chain(error).any(|error| error.to_string().contains("169.254.169.254"))
}

/// Whether "not found" means the whole bucket.
pub(super) fn is_bucket_missing(error: &object_store::Error) -> bool {
    let text = error.to_string();
    ["NoSuchBucket", "The specified bucket does not exist", "ContainerNotFound"].iter().any(|sign| text.contains(sign))
}

/// The error that a caller sees about `what`.
pub(super) fn explain(what: String, failure: Failure, timeout: Duration) -> Error {
    let Failure { error, attempts, elapsed } = failure;
    let effort = format!("{attempts} attempt(s) in {} ms", elapsed.as_millis());
    let Some(error) = error else {
        let why = format!(
            "no answer after {effort} (limit {} ms): check that the store can be reached, then retry",
            timeout.as_millis()
        );
        return Error::unavailable(what, why);
    };
    explain_answer(what, &error, &effort)
}

fn explain_answer(what: String, error: &object_store::Error, effort: &str) -> Error {
    use object_store::Error as E;
    let text = brief(error);
    if is_bucket_missing(error) {
        return Error::unavailable(
            what,
            format!("the bucket does not exist: create it, or correct the store's URL ({text})"),
        );
    }
    match error {
        E::NotFound { .. } => Error::new(ErrorKind::NotFound, what, format!("does not exist ({text})")),
        E::AlreadyExists { .. } | E::Precondition { .. } | E::NotModified { .. } => {
            Error::new(ErrorKind::Conflict, what, text)
        }
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => Error::unavailable(
            what,
            format!(
                "access denied: check the keys and that they may read, write, list and delete here \
                 (S3 also says this about a missing object when listing is not allowed) ({text})"
            ),
        ),
        E::NotImplemented { .. } | E::NotSupported { .. } => Error::new(ErrorKind::Unsupported, what, text),
        E::InvalidPath { .. } | E::UnknownConfigurationKey { .. } => Error::new(ErrorKind::Invalid, what, text),
        error if has_no_credentials(error) => Error::unavailable(
            what,
            format!(
                "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (shared credential files are not \
                 read), or give the machine a role ({text})"
            ),
        ),
        error => match chain(error).find_map(|error| error.downcast_ref::<io::Error>()).map(io::Error::kind) {
            Some(io::ErrorKind::InvalidFilename) => {
                Error::new(ErrorKind::Invalid, what, format!("the name is too long for this file system ({text})"))
            }
            Some(io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) => {
                Error::unavailable(what, format!("the directory cannot be written: check its permissions ({text})"))
            }
            Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                Error::unavailable(what, format!("the disk is full: make room ({text})"))
            }
            _ => Error::unavailable(what, format!("{text} ({effort})")),
        },
    }
}

/// One line, not a page of XML.
fn brief(error: &object_store::Error) -> String {
    const CHARS_MAX: usize = 400;
    let line = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(CHARS_MAX) {
        Some((at, _)) => format!("{}...", line.get(..at).unwrap_or_default()),
        None => line,
    }
}
