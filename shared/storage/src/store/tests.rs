use super::*;
use crate::testing::conformance;

#[tokio::test(flavor = "multi_thread")]
async fn memory_conforms() {
    conformance::check(&Store::open("memory://", &StoreOptions::default()).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_directory_conforms() {
    let dir = tempfile::tempdir().unwrap();
    // Neither has to exist, and spaces and signs are no trouble.
    let path = dir.path().join("new % dir#1").join("sub");
    conformance::check(&Store::open(path.to_str().unwrap(), &StoreOptions::default()).await.unwrap()).await;
}

/// Any other store: `CAIRN_TEST_STORE=s3://bucket/prefix`, with the usual variables of its provider.
#[tokio::test(flavor = "multi_thread")]
async fn the_store_of_the_environment_conforms() {
    let Ok(url) = std::env::var("CAIRN_TEST_STORE") else { return };
    let url = format!("{url}/{}", ulid::Ulid::generate());
    conformance::check(&Store::open(&url, &StoreOptions::default()).await.unwrap()).await;
}
