//! Aliases under races, lost replies and deaths.

use super::*;
use crate::catalog::{AliasMap, Aliases};

fn set(alias: &str, target: &str) -> impl FnMut(&mut AliasMap) -> Result<bool> {
    let (alias, target) = (name(alias), name(target));
    move |map| Ok(map.insert(alias.clone(), target.clone()).as_ref() != Some(&target))
}

async fn map(catalog: &Catalog) -> Vec<(String, String)> {
    let aliases = catalog.aliases(&Aliases::default()).await.unwrap();
    aliases.map.iter().map(|(alias, target)| (alias.to_string(), target.to_string())).collect()
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(alias, target)| ((*alias).to_owned(), (*target).to_owned())).collect()
}

#[tokio::test]
async fn aliases_change_together_and_are_read_by_one_conditional_request() {
    for place in [Place::memory(), Place::directory()] {
        let catalog = place.healthy();
        let none = catalog.aliases(&Aliases::default()).await.unwrap();
        assert!(none.map.is_empty());
        catalog.drop_aliases(&name("c")).await.unwrap();
        let first = catalog.change_aliases(set("a", "c")).await.unwrap();
        catalog.change_aliases(set("b", "d")).await.unwrap();
        let known = catalog.aliases(&first).await.unwrap();
        assert_eq!(map(&catalog).await, pairs(&[("a", "c"), ("b", "d")]));
        let meter = Arc::new(Meter::default());
        let metered = Catalog::new(catalog.store().metered(Arc::clone(&meter)));
        let again = metered.aliases(&known).await.unwrap();
        assert!(Arc::ptr_eq(&again.map, &known.map), "unchanged");
        assert_eq!((meter.usage().gets, meter.usage().store_bytes), (1, 0));
        let refused = catalog.change_aliases(|map| {
            map.clear();
            Err::<bool, _>(Error::new(ErrorKind::Invalid, "aliases", "no"))
        });
        assert_eq!(refused.await.unwrap_err().kind, ErrorKind::Invalid);
        catalog.change_aliases(|map| Ok::<_, Error>(map.remove(&name("x")).is_some())).await.unwrap();
        assert_eq!(map(&catalog).await, pairs(&[("a", "c"), ("b", "d")]));
        catalog.drop_aliases(&name("c")).await.unwrap();
        assert_eq!(map(&catalog).await, pairs(&[("b", "d")]));
    }
}

#[tokio::test]
async fn nobodys_change_is_lost_in_a_race() {
    let place = Place::memory();
    let changes = (0..8).map(|n| {
        let catalog = place.healthy();
        async move {
            // Who is overtaken too often says so, and comes again.
            loop {
                match catalog.change_aliases(set(&format!("alias{n}"), &format!("target{n}"))).await {
                    Err(error) if error.kind == ErrorKind::Conflict => {}
                    done => return done.map(|_| ()),
                }
            }
        }
    });
    futures::future::try_join_all(changes).await.unwrap();
    assert_eq!(map(&place.healthy()).await.len(), 8);
}

#[tokio::test]
async fn a_fault_at_any_step_leaves_all_of_a_change_or_nothing() {
    let prepare = async |catalog: &Catalog| drop(catalog.change_aliases(set("a", "old")).await.unwrap());
    at_every_step((Place::memory, &FAULTS, 2), prepare, async |trial| {
        let changing = trial.faulty.change_aliases(|map| {
            map.insert(name("a"), name("new"));
            Ok::<_, Error>(map.insert(name("b"), name("new")).is_none())
        });
        let outcome = changing.await;
        trial.check(&outcome);
        let after = map(&trial.healthy()).await;
        let (before, done) = (pairs(&[("a", "old")]), pairs(&[("a", "new"), ("b", "new")]));
        match outcome {
            Ok(aliases) => assert_eq!((after, aliases.map.len()), (done, 2)),
            Err(_) => assert!(after == before || after == done, "{after:?}"),
        }
    })
    .await;
}

#[tokio::test]
async fn aliases_have_a_limit_and_damage_is_named() {
    let place = Place::memory();
    let catalog = place.healthy();
    let many = catalog.change_aliases(|map| {
        map.extend((0..=cairn_model::limits::ALIASES_MAX).map(|n| (name(&format!("a{n}")), name("c"))));
        Ok::<_, Error>(true)
    });
    let error = many.await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::TooLarge);
    assert!(error.to_string().contains("at most 10000"), "{error}");
    assert!(map(&catalog).await.is_empty());
    for (content, kind) in [
        (r#"{"format": 9}"#, ErrorKind::Unsupported),
        ("{", ErrorKind::Corrupt),
        (r#"{"format": 1, "writer": "w", "aliases": {"a/b": "c"}}"#, ErrorKind::Corrupt),
    ] {
        place.client().put(&Path::from("aliases.json"), content.into()).await.unwrap();
        let error = catalog.aliases(&Aliases::default()).await.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.what.contains("aliases.json"), "{error}");
    }
}
