//! Conditional puts: the basis of every commit and of every write to a log.

use futures::future::try_join_all;

use super::{
    super::{Object, Put, probe::content},
    Observation,
    ward::Ward,
};
use crate::Result;

pub(super) async fn put_if_absent(ward: &Ward) -> Result<Observation> {
    ward.store.try_put_if_absent(&ward.key()?).await?;
    Ok(Observation::good("an object is created once"))
}

pub(super) async fn compare_and_swap(ward: &Ward) -> Result<Observation> {
    let (store, key) = (&ward.store, ward.key()?);
    let first = store.expect_done(store.put_if_absent(&key, content("to be replaced")).await?)?;
    let last = store.try_compare_and_swap(&key, &first).await?;
    store.try_read_back(&key, &last).await?;
    Ok(Observation::good("only who knows an object's version replaces it"))
}

pub(super) async fn creation_races(ward: &Ward) -> Result<Observation> {
    for round in 0..ward.effort.races {
        let key = ward.key()?;
        let race = (0..ward.effort.contenders).map(|contender| {
            let bytes = content(&format!("race {round}, contender {contender}"));
            let key = &key;
            async move { Ok((ward.store.put_if_absent(key, bytes.clone()).await?, bytes)) }
        });
        let winner = winner(ward, try_join_all(race).await?, "creates")?;
        ward.store.try_read_back(&key, &winner).await?;
    }
    Ok(won(ward, "creators"))
}

pub(super) async fn swap_races(ward: &Ward) -> Result<Observation> {
    let (store, key) = (&ward.store, ward.key()?);
    let mut version = store.expect_done(store.put_if_absent(&key, content("to be raced for")).await?)?;
    for round in 0..ward.effort.races {
        let race = (0..ward.effort.contenders).map(|contender| {
            let bytes = content(&format!("race {round}, contender {contender}"));
            let (key, version) = (&key, &version);
            async move { Ok((store.compare_and_swap(key, bytes.clone(), version).await?, bytes)) }
        });
        let winner = winner(ward, try_join_all(race).await?, "replaces")?;
        store.try_read_back(&key, &winner).await?;
        version = winner.version;
    }
    Ok(won(ward, "writers"))
}

/// The one whose put was done.
fn winner(ward: &Ward, finished: Vec<(Put, bytes::Bytes)>, does: &str) -> Result<Object> {
    let contenders = finished.len();
    let mut winners = finished.into_iter().filter_map(|(put, bytes)| match put {
        Put::Done(version) => Some(Object { bytes, version }),
        Put::Refused => None,
    });
    match (winners.next(), winners.count()) {
        (Some(winner), 0) => Ok(winner),
        (Some(_), others) => {
            let it =
                format!("tells {} of {contenders} who raced that theirs is the put that {does} the object", others + 1);
            Err(ward.store.unsafe_because(&it))
        }
        (None, _) => Err(ward.store.unsafe_because(&format!("refused all {contenders} who raced, and one must win"))),
    }
}

fn won(ward: &Ward, who: &str) -> Observation {
    let (races, contenders) = (ward.effort.races, ward.effort.contenders);
    Observation::good(format!("one of {contenders} {who} won, {races} times of {races}"))
}
