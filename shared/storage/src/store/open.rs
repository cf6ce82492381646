//! From a URL to a client.

use std::{path::PathBuf, sync::Arc, time::Duration};

use cairn_model::ErrorKind;
use object_store::{
    ClientConfigKey, ObjectStore, RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut},
    azure::{AzureConfigKey, MicrosoftAzureBuilder},
    gcp::{GoogleCloudStorageBuilder, GoogleConfigKey},
    memory::InMemory,
    path::Path,
};
use url::Url;

use super::{StoreOptions, local::LocalStore, retry::Retry};
use crate::{Error, Result};

/// Longest time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What a URL leads to.
pub(super) struct Opened {
    pub(super) objects: Arc<dyn ObjectStore>,
    pub(super) root: Path,
    /// The URL in its usual spelling.
    pub(super) url: String,
}

fn invalid(url: &str, why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Invalid, format!("store '{url}'"), why)
}

/// Parses `url` and builds its client. Sends nothing.
pub(super) fn open(url: &str, options: &StoreOptions, retry: &Retry) -> Result<Opened> {
    if url.trim().is_empty() {
        return Err(invalid(url, "is empty: name a directory or a URL such as s3://bucket/prefix"));
    }
    let Some((scheme, _)) = url.split_once("://") else {
        return local(url, PathBuf::from(url));
    };
    let parsed = Url::parse(url).map_err(|error| invalid(url, error))?;
    if !parsed.username().is_empty() || parsed.password().is_some() {
        let shown = format!("{scheme}://...@{}", parsed.host_str().unwrap_or_default());
        return Err(invalid(&shown, "must not contain keys: pass them as options or environment variables"));
    }
    if parsed.query().is_some() || parsed.fragment().is_some() {
        return Err(invalid(url, "must not contain '?' or '#'"));
    }
    if scheme == "file" {
        let path = parsed.to_file_path().map_err(|()| invalid(url, "is no path on this machine"))?;
        return local(url, path);
    }
    let root = Path::from_url_path(parsed.path()).map_err(|error| invalid(url, error))?;
    let objects: Arc<dyn ObjectStore> = match scheme {
        "memory" => Arc::new(InMemory::new()),
        _ if parsed.host_str().is_none_or(str::is_empty) => return Err(invalid(url, "names no bucket")),
        "s3" | "s3a" => Arc::new(s3(&parsed, options, retry).map_err(|error| invalid(url, error))?),
        "gs" => Arc::new(gcs(&parsed, options, retry).map_err(|error| invalid(url, error))?),
        "az" | "azure" | "abfs" | "abfss" => {
            Arc::new(azure(&parsed, options, retry).map_err(|error| invalid(url, error))?)
        }
        _ => {
            return Err(invalid(url, format!("unknown scheme '{scheme}': expected s3, gs, az, file or memory")));
        }
    };
    let host = parsed.host_str().unwrap_or_default();
    let slash = if root.as_ref().is_empty() { "" } else { "/" };
    Ok(Opened { objects, url: format!("{scheme}://{host}{slash}{root}"), root })
}

fn local(url: &str, path: PathBuf) -> Result<Opened> {
    let path = std::path::absolute(&path).map_err(|error| invalid(url, error))?;
    if path.exists() && !path.is_dir() {
        return Err(invalid(url, "is a file: a store is a directory"));
    }
    let root = Path::from_absolute_path(&path).map_err(|error| invalid(url, error))?;
    Ok(Opened { url: path.display().to_string(), objects: Arc::new(LocalStore::new(path)), root })
}

/// The clients' own retries stay off: `retry` is the one place for them.
fn no_retries(retry: &Retry) -> RetryConfig {
    RetryConfig { max_retries: 0, retry_timeout: retry.timeout, ..RetryConfig::default() }
}

fn seconds(duration: Duration) -> String {
    format!("{} ms", duration.as_millis())
}

fn timeouts(retry: &Retry) -> [(ClientConfigKey, String); 2] {
    [
        (ClientConfigKey::Timeout, seconds(retry.attempt_timeout())),
        (ClientConfigKey::ConnectTimeout, seconds(CONNECT_TIMEOUT.min(retry.attempt_timeout()))),
    ]
}

fn s3(url: &Url, options: &StoreOptions, retry: &Retry) -> object_store::Result<impl ObjectStore> {
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(url.host_str().unwrap_or_default())
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        // One request per object: bulk deletion is not part of what every S3-compatible store knows.
        .with_disable_bulk_delete(true)
        .with_retry(no_retries(retry));
    for (key, value) in timeouts(retry) {
        builder = builder.with_config(AmazonS3ConfigKey::Client(key), value);
    }
    let given = [
        (AmazonS3ConfigKey::Endpoint, &options.endpoint),
        (AmazonS3ConfigKey::S3Endpoint, &options.endpoint),
        (AmazonS3ConfigKey::Region, &options.region),
        (AmazonS3ConfigKey::AccessKeyId, &options.access_key_id),
        (AmazonS3ConfigKey::SecretAccessKey, &options.secret_access_key),
    ];
    for (key, value) in given {
        if let Some(value) = value {
            builder = builder.with_config(key, value);
        }
    }
    let endpoint = builder
        .get_config_value(&AmazonS3ConfigKey::S3Endpoint)
        .or_else(|| builder.get_config_value(&AmazonS3ConfigKey::Endpoint));
    if endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")) {
        builder = builder.with_config(AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp), "true");
    }
    builder.build()
}

fn gcs(url: &Url, options: &StoreOptions, retry: &Retry) -> object_store::Result<impl ObjectStore> {
    let mut builder = GoogleCloudStorageBuilder::from_env()
        .with_bucket_name(url.host_str().unwrap_or_default())
        .with_retry(no_retries(retry));
    for (key, value) in timeouts(retry) {
        builder = builder.with_config(GoogleConfigKey::Client(key), value);
    }
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_base_url(endpoint).with_config(
            GoogleConfigKey::Client(ClientConfigKey::AllowHttp),
            endpoint.starts_with("http://").to_string(),
        );
    }
    builder.build()
}

fn azure(url: &Url, options: &StoreOptions, retry: &Retry) -> object_store::Result<impl ObjectStore> {
    let mut builder = MicrosoftAzureBuilder::from_env().with_url(url.as_str()).with_retry(no_retries(retry));
    for (key, value) in timeouts(retry) {
        builder = builder.with_config(AzureConfigKey::Client(key), value);
    }
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_allow_http(endpoint.starts_with("http://")).with_endpoint(endpoint.clone());
    }
    if let Some(key) = &options.access_key_id {
        builder = builder.with_account(key.clone());
    }
    if let Some(secret) = &options.secret_access_key {
        builder = builder.with_access_key(secret.clone());
    }
    builder.build()
}
