//! Vectors that are added to a collection and removed from it while it is written to, by processes that learn of it in their own time.

use serde_json::{Value, json};

use super::fixture::{Fixture, http_settings};
use crate::settings::SearchSettings;

const POINTS: &str = "/collections/c/points";
const VECTOR: &str = "/collections/c/vectors/v";

fn dense(size: u64) -> Value {
    json!({"dense": {"size": size, "distance": "Dot"}})
}

impl Fixture {
    /// Another process over the same store.
    fn beside(&self) -> Self {
        let search = SearchSettings { threads: Some(2), ..SearchSettings::default() };
        Self::over(self.store.clone(), http_settings(), search)
    }

    async fn put_vector(&self, config: Value) -> u16 {
        self.call("PUT", VECTOR, config.to_string()).await.status
    }

    async fn remove_vector(&self) -> u16 {
        self.call("DELETE", VECTOR, "").await.status
    }

    /// Writes a point with this vector, and one of the collection's first. What is said, if it is refused.
    async fn write(&self, id: u64, vector: Value) -> Result<(), String> {
        let body = json!({"points": [{"id": id, "vector": {"first": [1, 2], "v": vector}}]});
        let answer = self.call("PUT", &format!("{POINTS}?wait=true"), body.to_string()).await;
        if answer.status == 200 { Ok(()) } else { Err(answer.body["status"]["error"].to_string()) }
    }

    /// The vectors `v` of all points, by id; null for points without.
    async fn all(&self) -> Value {
        let page = self.post(&format!("{POINTS}/scroll"), json!({"limit": 100, "with_vector": ["v"]})).await;
        page["points"].as_array().unwrap().iter().map(|point| point["vector"]["v"].clone()).collect()
    }

    async fn count(&self, filter: Value) -> Value {
        self.post(&format!("{POINTS}/count"), json!({ "filter": filter })).await["count"].clone()
    }
}

async fn fixture() -> Fixture {
    let fixture = Fixture::empty().await;
    let body = json!({"vectors": {"first": {"size": 2, "distance": "Dot"}, "v": {"size": 2, "distance": "Dot"}},
        "shard_number": 2, "hnsw_config": {"m": 7}});
    assert_eq!(fixture.call("PUT", "/collections/c", body.to_string()).await.status, 200);
    for id in 0..4 {
        fixture.write(id, json!([id, 1])).await.unwrap();
    }
    fixture
}

#[tokio::test]
async fn a_vector_that_is_removed_is_gone_from_everything_and_another_may_have_its_name() {
    let fixture = fixture().await;
    assert_eq!(fixture.count(json!({"must": [{"has_vector": "v"}]})).await, json!(4));
    let removed = fixture.call("DELETE", &format!("{VECTOR}?wait=true"), "").await;
    assert_eq!((removed.status, &removed.body["result"]["status"]), (200, &json!("completed")), "{}", removed.body);
    let info = fixture.call("GET", "/collections/c", "").await.body;
    assert_eq!(info["result"]["config"]["params"]["vectors"], json!({"first": {"size": 2, "distance": "Dot"}}));
    assert_eq!(fixture.count(json!({"must": [{"has_vector": "v"}]})).await, json!(0));
    let refused =
        fixture.call("POST", &format!("{POINTS}/query"), json!({"query": [1, 1], "using": "v"}).to_string()).await;
    assert_eq!(refused.status, 400, "{}", refused.body);
    let page = fixture.post(&format!("{POINTS}/scroll"), json!({"with_vector": true})).await;
    assert_eq!(page["points"][0]["vector"], json!({"first": [1.0, 2.0]}));
    assert!(fixture.write(9, json!([1, 1])).await.unwrap_err().contains("Not existing vector name error: v"));
    assert_eq!(fixture.remove_vector().await, 200, "again is fine");

    assert_eq!(fixture.put_vector(dense(3)).await, 200);
    assert_eq!(fixture.put_vector(dense(3)).await, 200, "it is as it is asked for");
    assert_eq!(fixture.put_vector(dense(2)).await, 400);
    let info = fixture.call("GET", "/collections/c", "").await.body;
    assert_eq!(info["result"]["config"]["params"]["vectors"]["v"], json!({"size": 3, "distance": "Dot"}));
    assert_eq!(fixture.all().await, json!([null, null, null, null]));
    let body = json!({"points": [{"id": 2, "vector": {"v": [5, 6, 7]}}]});
    assert_eq!(fixture.call("PUT", &format!("{POINTS}/vectors?wait=true"), body.to_string()).await.status, 200);
    assert_eq!(fixture.all().await, json!([null, null, [5.0, 6.0, 7.0], null]));
    let found = fixture.post(&format!("{POINTS}/query"), json!({"query": [1, 1, 1], "using": "v", "limit": 9})).await;
    assert_eq!(found["points"].as_array().unwrap().len(), 1);
    assert_eq!((&found["points"][0]["id"], &found["points"][0]["score"]), (&json!(2), &json!(18.0)));
    // A point keeps it whatever else of it changes.
    let body = json!({"points": [2], "payload": {"n": 1}});
    assert_eq!(fixture.call("POST", &format!("{POINTS}/payload?wait=true"), body.to_string()).await.status, 200);
    assert_eq!(fixture.all().await, json!([null, null, [5.0, 6.0, 7.0], null]));
}

#[tokio::test]
async fn who_knows_the_vectors_of_before_learns_it_with_the_next_request() {
    let owner = fixture().await;
    let other = owner.beside();
    assert_eq!(other.all().await.as_array().unwrap().len(), 4);
    // It reads and writes as if nothing had happened: the same name, the same size, and another vector.
    assert_eq!((owner.remove_vector().await, owner.put_vector(dense(2)).await), (200, 200));
    other.write(1, json!([8, 9])).await.unwrap();
    for process in [&owner, &other, &owner.beside()] {
        assert_eq!(process.all().await, json!([null, [8.0, 9.0], null, null]));
    }
    // Of another size.
    assert_eq!((owner.remove_vector().await, owner.put_vector(dense(3)).await), (200, 200));
    other.write(2, json!([1, 2, 3])).await.unwrap();
    let error = other.write(3, json!([1, 2])).await.unwrap_err();
    assert!(error.contains("expected dim: 3, got 2"), "{error}");
    // A write that depends on what is there.
    assert_eq!((owner.remove_vector().await, owner.put_vector(json!({"sparse": {}})).await), (200, 200));
    let body = json!({"points": [2], "payload": {"n": 1}});
    assert_eq!(other.call("POST", &format!("{POINTS}/payload?wait=true"), body.to_string()).await.status, 200);
    assert_eq!(other.all().await, json!([null, null, null, null]));
    let words = json!({"indices": [4], "values": [0.5]});
    other.write(3, words.clone()).await.unwrap();
    for process in [&owner, &other, &owner.beside()] {
        assert_eq!(process.all().await, json!([null, null, null, words]));
    }
    // And who does not know that it is gone.
    assert_eq!(owner.remove_vector().await, 200);
    assert!(other.write(3, words).await.unwrap_err().contains("Not existing vector name error: v"));
}

#[tokio::test]
async fn a_collection_that_was_built_in_bulk_takes_vectors_and_then_writes() {
    let fixture = Fixture::empty().await;
    let schema = super::fixture::schema("first", cairn_model::Distance::Dot, 2);
    fixture.publish("c", &schema, &super::fixture::points(20)).await;
    let other = fixture.beside();
    assert_eq!(other.count(json!({})).await, json!(20));
    assert_eq!(fixture.put_vector(dense(2)).await, 200);
    let body = json!({"points": [{"id": 3, "vector": {"v": [1, 2]}}]});
    assert_eq!(other.call("PUT", &format!("{POINTS}/vectors?wait=true"), body.to_string()).await.status, 200);
    assert_eq!(fixture.count(json!({"must": [{"has_vector": "v"}]})).await, json!(1));
    assert_eq!(fixture.count(json!({"must": [{"has_vector": "first"}]})).await, json!(20));
    let removed = fixture.call("DELETE", "/collections/c/vectors/first", "").await;
    assert_eq!(removed.status, 200, "{}", removed.body);
    assert_eq!(fixture.count(json!({"must": [{"has_vector": "first"}]})).await, json!(0));
    let page = other.post(&format!("{POINTS}/scroll"), json!({"limit": 100, "with_vector": true})).await;
    let with: Vec<&Value> =
        page["points"].as_array().unwrap().iter().filter(|point| point["vector"] != json!({})).collect();
    assert_eq!((with.len(), &with[0]["vector"]), (1, &json!({"v": [1.0, 2.0]})));
}

#[tokio::test]
async fn mistakes_have_the_status_of_bad_requests() {
    let fixture = fixture().await;
    for (path, body, why) in [
        ("/collections/c/vectors/x", json!({}), "Format error in JSON body"),
        ("/collections/c/vectors/x", json!({"dense": {"size": 2}}), "missing field `distance`"),
        ("/collections/c/vectors/first", json!({"sparse": {}}), "Vector first already exists as a dense vector"),
    ] {
        let answer = fixture.call("PUT", path, body.to_string()).await;
        assert_eq!(answer.status, 400, "{path} {body}: {}", answer.body);
        assert!(answer.body["status"]["error"].as_str().unwrap().contains(why), "{path} {body}: {}", answer.body);
    }
    let answer = fixture.call("PUT", "/collections/c/vectors/x", dense(0).to_string()).await;
    assert_eq!(answer.status, 422, "{}", answer.body);
    for method in ["PUT", "DELETE"] {
        let answer = fixture.call(method, "/collections/none/vectors/v", dense(2).to_string()).await;
        assert_eq!(answer.status, 404, "{}", answer.body);
    }
}
