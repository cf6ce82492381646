//! Leaves that are AWS Lambda functions and have no URL: frames in Invoke's events.
//!
//! The event is the one that a function URL would have made of the same request (payload version 2.0), so that a function answers both
//! alike. See AWS's "Invoke" and "Function URLs: request and response payloads".

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{CONTENT_TYPE, PATH, race::Failure};
use crate::{
    error::{Error, Result},
    settings::{FanoutSettings, Secret},
};

/// Bytes of an event, and of an answer to one: Lambda takes and gives 6 MB. A frame is a quarter shorter, as base64 makes it longer.
pub(super) const INVOKE_BYTES_MAX: usize = 6 << 20;
/// What an address begins with that is a function's name.
const SCHEME: &str = "lambda:";
/// Says that the function failed, in an answer that otherwise says that all is well.
pub(super) const ERROR_HEADER: &str = "x-amz-function-error";

/// The name of the function in `lambda:NAME` and `lambda:NAME:QUALIFIER`, and the qualifier; `None` for every other address.
pub(crate) fn function(leaf: &str) -> Option<(&str, Option<&str>)> {
    let name = leaf.strip_prefix(SCHEME)?;
    let (name, qualifier) = name.split_once(':').map_or((name, None), |(name, qualifier)| (name, Some(qualifier)));
    let sound = |text: &str, max: usize| {
        (1..=max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    // AWS's own limits; `$LATEST` is what no qualifier means.
    (sound(name, 64) && qualifier.is_none_or(|qualifier| sound(qualifier, 128))).then_some((name, qualifier))
}

/// Where functions are invoked.
#[derive(Debug)]
pub(super) struct Invoker {
    /// Without a slash at its end.
    endpoint: String,
    pub(super) region: String,
}

impl Invoker {
    /// # Errors
    /// `Invalid` when neither the settings nor the environment say where.
    pub(super) fn new(settings: &FanoutSettings) -> Result<Self> {
        let variable = |name: &str| std::env::var(name).ok().filter(|region| !region.is_empty());
        let region = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"));
        let region =
            region.ok_or_else(|| Error::Invalid("leaves by Invoke need a region: set AWS_REGION".to_owned()))?;
        let endpoint = settings.lambda_endpoint.as_ref().map(|url| url.0.clone());
        let endpoint = endpoint.unwrap_or_else(|| format!("https://lambda.{region}.amazonaws.com"));
        Ok(Self { endpoint, region })
    }

    /// The address of Invoke for a function.
    pub(super) fn address(&self, (name, qualifier): (&str, Option<&str>)) -> String {
        let qualifier = qualifier.map(|qualifier| format!("?Qualifier={qualifier}")).unwrap_or_default();
        format!("{}/2015-03-31/functions/{name}/invocations{qualifier}", self.endpoint)
    }
}

/// The event that brings a frame.
///
/// # Errors
/// `Refused` when it is longer than Lambda takes.
pub(super) fn event(frame: &[u8], key: Option<&Secret>) -> std::result::Result<Vec<u8>, Failure> {
    let mut headers = json!({"content-type": CONTENT_TYPE});
    if let Some(key) = key {
        headers["api-key"] = json!(key.0);
    }
    let event = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": PATH,
        "rawQueryString": "",
        "headers": headers,
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "cairn",
            "domainName": "cairn.invoke",
            "domainPrefix": "cairn",
            "http": {"method": "POST", "path": PATH, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "cairn"},
            "requestId": "invoke",
            "routeKey": "$default",
            "stage": "$default",
            "time": "01/Jan/1970:00:00:00 +0000",
            "timeEpoch": 0,
        },
        "body": BASE64_STANDARD.encode(frame),
        "isBase64Encoded": true,
    });
    let event = event.to_string().into_bytes();
    if event.len() > INVOKE_BYTES_MAX {
        return Err(Failure::Refused(Error::TooLarge(format!(
            "an event of {} bytes for a leaf, Lambda takes {INVOKE_BYTES_MAX}: ask fewer queries at once, or name leaves by URLs of servers",
            event.len()
        ))));
    }
    Ok(event)
}

/// What the function answered: a status and a body.
pub(super) fn answer(body: &[u8], failed: bool) -> std::result::Result<(u16, Vec<u8>), Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        status_code: u16,
        #[serde(default)]
        body: Option<String>,
        #[serde(default)]
        is_base64_encoded: bool,
    }
    if failed {
        let error: Value = serde_json::from_slice(body).unwrap_or_default();
        let (kind, message) =
            (error["errorType"].as_str().unwrap_or("no type"), error["errorMessage"].as_str().unwrap_or("no message"));
        if kind == "Function.ResponseSizeTooLarge" {
            let why = "the answer of a leaf would be larger than Lambda gives: ask for fewer points, or select payload fields";
            return Err(Failure::Refused(Error::TooLarge(why.to_owned())));
        }
        return Err(Failure::Failed(format!("the function failed: {kind}: {message}")));
    }
    let no_answer = |error: String| Failure::Failed(format!("no answer of an HTTP function: {error}"));
    let answer: Answer = serde_json::from_slice(body).map_err(|error| no_answer(error.to_string()))?;
    let text = answer.body.unwrap_or_default();
    let bytes = if answer.is_base64_encoded {
        BASE64_STANDARD.decode(text).map_err(|error| no_answer(error.to_string()))?
    } else {
        text.into_bytes()
    };
    Ok((answer.status_code, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_have_names_and_perhaps_a_qualifier() {
        assert_eq!(function("lambda:searcher"), Some(("searcher", None)));
        assert_eq!(function("lambda:leaf_1-x:live"), Some(("leaf_1-x", Some("live"))));
        let long = format!("lambda:{}", "x".repeat(65));
        for other in
            ["lambda:", "lambda:a/b", "lambda:a:", "lambda:a:b:c", "lambda:a?b", "http://lambda", long.as_str()]
        {
            assert_eq!(function(other), None, "{other}");
        }
        let invoker = Invoker { endpoint: "http://127.0.0.1:9000".into(), region: "eu-central-1".into() };
        let address = |leaf| invoker.address(function(leaf).unwrap());
        assert_eq!(address("lambda:f"), "http://127.0.0.1:9000/2015-03-31/functions/f/invocations");
        assert_eq!(address("lambda:f:live"), "http://127.0.0.1:9000/2015-03-31/functions/f/invocations?Qualifier=live");
    }

    #[test]
    fn an_event_is_what_a_function_url_makes_and_no_longer_than_lambda_takes() {
        let made = event(b"CRNQ\x02\xff", Some(&Secret("hush".into()))).unwrap();
        let request = lambda_http::request::from_reader(made.as_slice()).unwrap();
        assert_eq!((request.method().as_str(), request.uri().path()), ("POST", PATH));
        let header = |name: &str| request.headers()[name].to_str().unwrap();
        assert_eq!((header("content-type"), header("api-key")), (CONTENT_TYPE, "hush"));
        assert_eq!(request.body().as_ref(), b"CRNQ\x02\xff");

        let fits = (INVOKE_BYTES_MAX - 1_024) / 4 * 3;
        assert!(event(&vec![7; fits], None).is_ok());
        match event(&vec![7; INVOKE_BYTES_MAX / 4 * 3], None) {
            Err(Failure::Refused(Error::TooLarge(why))) => assert!(why.contains("Lambda takes 6291456"), "{why}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn answers_are_told_from_failures() {
        let binary = json!({"statusCode": 200, "body": BASE64_STANDARD.encode([1, 255]), "isBase64Encoded": true, "headers": {}});
        assert_eq!(answer(binary.to_string().as_bytes(), false).unwrap(), (200, vec![1, 255]));
        let text = json!({"statusCode": 400, "body": "{}"});
        assert_eq!(answer(text.to_string().as_bytes(), false).unwrap(), (400, b"{}".to_vec()));
        let failed = |body: &str, failed| answer(body.as_bytes(), failed).unwrap_err();
        let died = failed(r#"{"errorType": "Runtime.ExitError", "errorMessage": "exit status 1"}"#, true);
        assert!(matches!(&died, Failure::Failed(why) if why.contains("Runtime.ExitError: exit status 1")), "{died}");
        let large = failed(r#"{"errorType": "Function.ResponseSizeTooLarge"}"#, true);
        assert!(matches!(&large, Failure::Refused(Error::TooLarge(_))), "{large}");
        for strange in ["", "[]", r#"{"statusCode": 200, "body": "*", "isBase64Encoded": true}"#] {
            assert!(matches!(failed(strange, false), Failure::Failed(_)), "{strange}");
        }
    }
}
