//! Frames over HTTP.

use std::{fmt, time::Duration};

use bytes::{Bytes, BytesMut};
use futures::{FutureExt as _, future::BoxFuture};
use reqwest::{StatusCode, header};

use super::{
    CONTENT_TYPE, PART_BYTES_MAX, PATH,
    invoke::{ERROR_HEADER, INVOKE_BYTES_MAX, Invoker, answer, event, function},
    race::Failure,
    signature::{Signer, region},
};
use crate::{
    error::{Error, Result},
    settings::{FanoutSettings, Secret},
};

/// A leaf that does not even take a connection within this time is given up. It answers from a network nearby.
const CONNECT: Duration = Duration::from_secs(1);
/// Bytes of an error's body that are read.
const ERROR_BYTES_MAX: usize = 64 << 10;

type Sent<'a> = BoxFuture<'a, std::result::Result<Bytes, Failure>>;

/// Brings a frame to a leaf and its answer back. Dropping what is returned stops the leaf.
pub(super) trait Transport: fmt::Debug + Send + Sync {
    fn send<'a>(&'a self, url: &'a str, frame: Bytes) -> Sent<'a>;
}

/// By HTTP's POST.
#[derive(Debug)]
pub(super) struct Http {
    client: reqwest::Client,
    key: Option<Secret>,
    /// Where leaves are functions.
    signer: Option<Signer>,
    /// Where they have no URL.
    invoker: Option<Invoker>,
}

impl Http {
    pub(super) fn new(settings: &FanoutSettings) -> Result<Self> {
        let invoked = settings.leaves.iter().any(|leaf| function(&leaf.0).is_some());
        let functions = invoked || settings.leaves.iter().any(|leaf| region(&leaf.0).is_some());
        // Who they are, a sub-root learns later; what they need is there then, or they fail.
        let signer = if functions || settings.sub_root { Some(Signer::from_env()?) } else { None };
        let invoker = if invoked { Some(Invoker::new(settings)?) } else { Invoker::new(settings).ok() };
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            // A key goes to the leaf that was named, and to nobody whom it names.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| Error::Internal(format!("no HTTP client: {error}")))?;
        Ok(Self { client, key: settings.leaf_api_key.clone(), signer, invoker })
    }

    async fn invoke(&self, name: (&str, Option<&str>), frame: Bytes) -> std::result::Result<Bytes, Failure> {
        let (Some(signer), Some(invoker)) = (&self.signer, &self.invoker) else {
            return Err(Failure::Failed("no region or credentials to invoke functions with".to_owned()));
        };
        let failed = |error: reqwest::Error| Failure::Failed(chain(&error));
        let event: Bytes = event(&frame, self.key.as_ref())?.into();
        let address = invoker.address(name);
        let signed = signer.headers(&address, &invoker.region, ("application/json", event.clone())).await;
        let headers = signed.map_err(|error| Failure::Failed(chain(&error)))?;
        let response = self.client.post(&address).headers(headers).body(event).send().await.map_err(failed)?;
        let (status, function_error) = (response.status(), response.headers().contains_key(ERROR_HEADER));
        if status != StatusCode::OK {
            let body = bounded(response, ERROR_BYTES_MAX).await?;
            let body = String::from_utf8_lossy(&body);
            return Err(Failure::Failed(format!("Invoke: status {status}: {}", body.escape_debug())));
        }
        // A little more than Lambda gives, as its own bound is not to the byte.
        let body = bounded(response, INVOKE_BYTES_MAX * 2).await?;
        match answer(&body, function_error)? {
            (200, frame) => Ok(frame.into()),
            (status, body) => Err(refusal(status, &body)),
        }
    }

    async fn exchange(&self, url: &str, frame: Bytes) -> std::result::Result<Bytes, Failure> {
        if let Some(name) = function(url) {
            return self.invoke(name, frame).await;
        }
        let failed = |error: reqwest::Error| Failure::Failed(chain(&error));
        let address = format!("{url}{PATH}");
        let mut request = self.client.post(&address).header(header::CONTENT_TYPE, CONTENT_TYPE);
        if let (Some(signer), Some(region)) = (&self.signer, region(url)) {
            let signed = signer.headers(&address, region, (CONTENT_TYPE, frame.clone())).await;
            // These replace the content's type, which they have too.
            request = request.headers(signed.map_err(|error| Failure::Failed(chain(&error)))?);
        }
        if let Some(key) = &self.key {
            request = request.header("api-key", &key.0);
        }
        let response = request.body(frame).send().await.map_err(failed)?;
        let status = response.status();
        if status == StatusCode::OK {
            return bounded(response, PART_BYTES_MAX).await;
        }
        let body = bounded(response, ERROR_BYTES_MAX).await?;
        Err(refusal(status.as_u16(), &body))
    }
}

impl Transport for Http {
    fn send<'a>(&'a self, url: &'a str, frame: Bytes) -> Sent<'a> {
        self.exchange(url, frame).boxed()
    }
}

async fn bounded(mut response: reqwest::Response, limit: usize) -> std::result::Result<Bytes, Failure> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| Failure::Failed(chain(&error)))? {
        if body.len() + chunk.len() > limit {
            return Err(Failure::Failed(format!("an answer of more than {limit} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// What a status and an error's envelope mean: the request's own fault, or this leaf's.
fn refusal(status: u16, body: &[u8]) -> Failure {
    let envelope: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let message = envelope["status"]["error"].as_str().unwrap_or("no message");
    let said = |prefix: &str| message.strip_prefix(prefix).unwrap_or(message).to_owned();
    match status {
        400 => Failure::Refused(Error::Invalid(said("Wrong input: "))),
        413 => Failure::Refused(Error::TooLarge(said("Payload error: "))),
        _ => Failure::Failed(format!("status {status}: {message}")),
    }
}

/// An error with its causes: the outermost says only that sending failed.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fault_is_the_requests_or_the_leafs() {
        let body = |message: &str| serde_json::json!({"status": {"error": message}, "time": 0.0}).to_string();
        let refused = refusal(400, body("Wrong input: filter: no").as_bytes());
        assert!(matches!(&refused, Failure::Refused(Error::Invalid(why)) if why == "filter: no"), "{refused}");
        let refused = refusal(413, body("Payload error: too much").as_bytes());
        assert!(matches!(&refused, Failure::Refused(Error::TooLarge(why)) if why == "too much"), "{refused}");
        for status in [301, 401, 403, 404, 408, 429, 500, 501, 502, 503, 504] {
            let failed = refusal(status, b"<html>");
            assert!(matches!(&failed, Failure::Failed(why) if why.contains(&status.to_string())), "{failed}");
        }
    }
}
