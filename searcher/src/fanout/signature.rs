//! Signatures (SigV4) for leaves behind function URLs of AWS Lambda that ask for IAM.

use std::{fmt, sync::Arc};

use axum::http::{HeaderMap, Request, header};
use bytes::Bytes;
use object_store::{
    aws::{AmazonS3Builder, AwsAuthorizer, AwsCredentialProvider},
    client::HttpRequestBody,
};

use crate::error::{Error, Result};

/// What signs: the credentials that the store's client would take, from the environment or the function's role.
pub(super) struct Signer(AwsCredentialProvider);

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").finish_non_exhaustive()
    }
}

/// The region of a function URL: `https://ID.lambda-url.REGION.on.aws`. `None` for every other address.
pub(super) fn region(url: &str) -> Option<&str> {
    let host = url.strip_prefix("https://")?.split(['/', ':']).next()?;
    let (_, region) = host.strip_suffix(".on.aws")?.split_once(".lambda-url.")?;
    (!region.is_empty() && !region.contains('.')).then_some(region)
}

impl Signer {
    /// # Errors
    /// When the environment contradicts itself.
    pub(super) fn from_env() -> Result<Self> {
        // The bucket is never asked for anything: only its client knows all the places where credentials may be.
        let client = AmazonS3Builder::from_env().with_bucket_name("unused").build();
        let client = client.map_err(|error| Error::Internal(format!("no credentials for leaves: {error}")))?;
        Ok(Self(Arc::clone(client.credentials())))
    }

    /// The headers that make a body for `url` a signed request.
    ///
    /// # Errors
    /// When there are no credentials.
    pub(super) async fn headers(
        &self,
        url: &str,
        region: &str,
        (content_type, body): (&str, Bytes),
    ) -> std::result::Result<HeaderMap, object_store::Error> {
        let generic = |source| object_store::Error::Generic { store: "leaf", source };
        let credential = self.0.get_credential().await?;
        let request = Request::post(url).header(header::CONTENT_TYPE, content_type);
        let mut request = request.body(HttpRequestBody::from(body)).map_err(|error| generic(Box::new(error)))?;
        AwsAuthorizer::new(&credential, "lambda", region).try_authorize(&mut request, None)?;
        Ok(std::mem::take(request.headers_mut()))
    }
}

#[cfg(test)]
mod tests {
    use object_store::{StaticCredentialProvider, aws::AwsCredential};

    use super::*;

    #[test]
    fn function_urls_have_a_region() {
        assert_eq!(region("https://abc123.lambda-url.eu-central-1.on.aws"), Some("eu-central-1"));
        assert_eq!(region("https://abc123.lambda-url.eu-central-1.on.aws/x"), Some("eu-central-1"));
        for other in [
            "http://abc.lambda-url.eu-central-1.on.aws",
            "https://lambda-url.on.aws",
            "https://a.lambda-url.b.on.aws.example",
            "https://example/a.lambda-url.b.on.aws",
            "http://127.0.0.1:6333",
        ] {
            assert_eq!(region(other), None, "{other}");
        }
    }

    #[tokio::test]
    async fn a_request_is_signed_with_its_body() {
        let (key_id, secret_key, token) = ("AKID".to_owned(), "hush".to_owned(), Some("tok".to_owned()));
        let signer = Signer(Arc::new(StaticCredentialProvider::new(AwsCredential { key_id, secret_key, token })));
        let url = "https://abc123.lambda-url.eu-central-1.on.aws/internal/v1/search";
        let sign = async |frame: &'static [u8]| {
            signer.headers(url, "eu-central-1", (super::super::CONTENT_TYPE, frame.into())).await.unwrap()
        };
        let headers = sign(b"frame").await;
        let value = |name: &str| headers[name].to_str().unwrap();
        let authorization = value("authorization");
        assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKID/"), "{authorization}");
        assert!(authorization.contains("/eu-central-1/lambda/aws4_request"), "{authorization}");
        for signed in ["host", "content-type", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token"] {
            assert!(authorization.contains(signed), "{signed}: {authorization}");
        }
        assert_eq!(value("x-amz-security-token"), "tok");
        // SHA-256 of "frame", by another program.
        assert_eq!(value("x-amz-content-sha256"), "9dff50df08c635815f4b19da10f756605a34a79a48d4ba48712782502975a70e");
        assert!(!format!("{headers:?}{signer:?}").contains("hush"));
        assert_ne!(sign(b"other").await["x-amz-content-sha256"], headers["x-amz-content-sha256"]);
    }
}
