//! Aliases through HTTP, and what they cost.

use cairn_model::Distance;
use cairn_storage::Catalog;
use serde_json::{Value, json};

use super::fixture::{Answer, Fixture, http_settings, points, schema};
use crate::settings::SearchSettings;

async fn fixture() -> Fixture {
    let fixture = Fixture::empty().await;
    fixture.publish("c", &schema("", Distance::Dot, 2), &points(10)).await;
    fixture.publish("d", &schema("", Distance::Dot, 1), &points(4)).await;
    fixture
}

/// Another process over the same store.
fn other(fixture: &Fixture) -> Fixture {
    let settings = SearchSettings { threads: Some(2), ..SearchSettings::default() };
    Fixture::over(fixture.store.clone(), http_settings(), settings)
}

async fn change(fixture: &Fixture, actions: Value) -> Answer {
    fixture.call("POST", "/collections/aliases", json!({"actions": actions}).to_string()).await
}

async fn create(fixture: &Fixture, alias: &str, collection: &str) {
    let action = json!([{"create_alias": {"collection_name": collection, "alias_name": alias}}]);
    let answer = change(fixture, action).await;
    assert_eq!((answer.status, &answer.body["result"]), (200, &json!(true)), "{}", answer.body);
}

async fn count(fixture: &Fixture, name: &str) -> (Value, u64) {
    let answer = fixture.call("POST", &format!("/collections/{name}/points/count"), "{}").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    (answer.body["result"]["count"].clone(), answer.body["usage"]["cairn"]["waves"].as_u64().unwrap())
}

async fn listed(fixture: &Fixture, path: &str) -> Value {
    fixture.call("GET", path, "").await.body["result"]["aliases"].clone()
}

#[tokio::test]
async fn an_alias_is_read_as_its_collection() {
    let fixture = fixture().await;
    create(&fixture, "a", "c").await;
    for (path, body) in [
        ("points", json!({"ids": [0]})),
        ("points/scroll", json!({"limit": 3})),
        ("points/count", json!({"filter": {"must": [{"has_id": [0]}]}})),
        ("points/query", json!({"query": [1, 2, 3, 4]})),
        ("points/query/batch", json!({"searches": [{"query": [1, 2, 3, 4]}]})),
        ("points/search", json!({"vector": [1, 2, 3, 4], "limit": 2})),
        ("points/search/batch", json!({"searches": [{"vector": [1, 2, 3, 4], "limit": 2}]})),
    ] {
        let [own, alias] = ["c", "a"].map(|name| format!("/collections/{name}/{path}"));
        assert_eq!(fixture.post(&alias, body.clone()).await, fixture.post(&own, body).await, "{path}");
    }
    for path in ["", "/exists", "/points/0"] {
        let [own, alias] = ["c", "a"].map(|name| format!("/collections/{name}{path}"));
        let (own, alias) = (fixture.call("GET", &own, "").await, fixture.call("GET", &alias, "").await);
        assert_eq!((alias.status, &alias.body["result"]), (200, &own.body["result"]), "{path}");
    }
    let wrong = json!({"points": [{"id": 1, "vector": [1, 2, 3]}]}).to_string();
    let wrong = fixture.call("PUT", "/collections/a/points", wrong).await;
    assert_eq!(wrong.body["status"]["error"], "Wrong input: Vector dimension error: expected dim: 4, got 3");
    let right = json!({"points": [{"id": 77, "vector": [1, 2, 3, 4]}]}).to_string();
    let written = fixture.call("PUT", "/collections/a/points?wait=true", right).await;
    assert_eq!((written.status, &written.body["result"]["status"]), (200, &json!("completed")), "{}", written.body);
    assert_eq!(count(&fixture, "c").await.0, 11);
    assert_eq!(fixture.call("DELETE", "/collections/a", "").await.body["result"], false, "only by its own name");
}

#[tokio::test]
async fn an_alias_costs_no_wave_once_it_is_known() {
    let fixture = fixture().await;
    create(&fixture, "a", "c").await;
    let fresh = other(&fixture);
    assert_eq!(count(&fresh, "a").await, (json!(10), 3), "no such collection, an alias, the collection");
    assert_eq!(count(&fresh, "a").await, (json!(10), 1));
    assert_eq!(count(&fresh, "c").await, (json!(10), 1));
}

#[tokio::test]
async fn a_switch_by_another_process_is_seen_by_the_next_read() {
    let fixture = fixture().await;
    create(&fixture, "a", "c").await;
    let reader = other(&fixture);
    assert_eq!(count(&reader, "a").await.0, 10);
    create(&fixture, "a", "d").await;
    assert_eq!(count(&reader, "a").await.0, 4);
    // The alias goes, and a collection of its name comes, and goes the same way back.
    change(&fixture, json!([{"delete_alias": {"alias_name": "a"}}])).await;
    let gone = reader.call("POST", "/collections/a/points/count", "{}").await;
    assert_eq!((gone.status, &gone.body["status"]["error"]), (404, &json!("Not found: Collection `a` doesn't exist!")));
    fixture.publish("a", &schema("", Distance::Dot, 1), &points(3)).await;
    assert_eq!(count(&reader, "a").await.0, 3);
    assert_eq!(fixture.call("DELETE", "/collections/a", "").await.body["result"], true);
    create(&fixture, "a", "c").await;
    assert_eq!(count(&reader, "a").await.0, 10);
    let wrong = json!({"points": [{"id": 1, "vector": [1, 2, 3]}]}).to_string();
    assert_eq!(reader.call("PUT", "/collections/a/points", wrong).await.status, 400, "writes see it as well");
    // A writer that knows the alias does not write to what it meant.
    create(&fixture, "a", "d").await;
    let one = json!({"points": [{"id": 78, "vector": [1, 2, 3, 4]}]}).to_string();
    assert_eq!(reader.call("PUT", "/collections/a/points?wait=true", one).await.status, 200);
    assert_eq!((count(&fixture, "c").await.0, count(&fixture, "d").await.0), (json!(10), json!(5)));
}

#[tokio::test]
async fn actions_are_carried_out_together_or_not_at_all() {
    let fixture = fixture().await;
    create(&fixture, "a", "c").await;
    let switch = json!([{"rename_alias": {"old_alias_name": "a", "new_alias_name": "b"}},
        {"create_alias": {"collection_name": "d", "alias_name": "a"}}, {"delete_alias": {"alias_name": "nobody"}}]);
    assert_eq!(change(&fixture, switch).await.status, 200);
    let alias = |alias: &str, collection: &str| json!({"alias_name": alias, "collection_name": collection});
    assert_eq!(listed(&fixture, "/aliases").await, json!([alias("a", "d"), alias("b", "c")]));
    assert_eq!(listed(&fixture, "/collections/c/aliases").await, json!([alias("b", "c")]));
    let drop = json!({"delete_alias": {"alias_name": "a"}});
    for (action, status, message) in [
        (
            json!({"create_alias": {"collection_name": "x", "alias_name": "e"}}),
            404,
            "Not found: Collection `x` doesn't exist!",
        ),
        (
            json!({"create_alias": {"collection_name": "b", "alias_name": "e"}}),
            404,
            "Not found: Collection `b` doesn't exist!",
        ),
        (
            json!({"create_alias": {"collection_name": "c", "alias_name": "d"}}),
            409,
            "Wrong input: Collection `d` already exists!",
        ),
        (
            json!({"rename_alias": {"old_alias_name": "b", "new_alias_name": "c"}}),
            409,
            "Wrong input: Collection `c` already exists!",
        ),
        (
            json!({"rename_alias": {"old_alias_name": "x", "new_alias_name": "y"}}),
            404,
            "Not found: Alias x does not exists!",
        ),
    ] {
        let answer = change(&fixture, json!([drop, action])).await;
        assert_eq!((answer.status, &answer.body["status"]["error"]), (status, &json!(message)), "{action}");
    }
    assert_eq!(listed(&fixture, "/aliases").await.as_array().unwrap().len(), 2, "nothing of what failed was done");
    assert_eq!(change(&fixture, json!([])).await.body["result"], true);
    let body = json!({"vectors": {"size": 4, "distance": "Dot"}}).to_string();
    let created = fixture.call("PUT", "/collections/a", body).await;
    let message = "Wrong input: Can't create collection with name a. Alias with the same name already exists";
    assert_eq!((created.status, &created.body["status"]["error"]), (400, &json!(message)));
}

#[tokio::test]
async fn a_deleted_collection_takes_its_aliases_along() {
    let fixture = fixture().await;
    create(&fixture, "a", "c").await;
    create(&fixture, "b", "d").await;
    assert_eq!(fixture.call("DELETE", "/collections/c", "").await.status, 200);
    assert_eq!(listed(&fixture, "/aliases").await, json!([{"alias_name": "b", "collection_name": "d"}]));
    // Whoever died between both leaves an alias of nothing, which the next deletion takes along.
    create(&fixture, "c2", "d").await;
    Catalog::new(fixture.store.clone()).delete(&cairn_model::CollectionName::parse("d").unwrap()).await.unwrap();
    assert_eq!(fixture.call("POST", "/collections/c2/points/count", "{}").await.status, 404);
    assert_eq!(fixture.call("DELETE", "/collections/d", "").await.body["result"], false);
    assert_eq!(listed(&fixture, "/aliases").await, json!([]));
}
