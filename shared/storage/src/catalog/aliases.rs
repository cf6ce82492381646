//! Other names of collections: `aliases.json`, one document for all of them, so that several change in one compare-and-swap.
//!
//! An alias names a collection, never another alias. That no alias is called as a collection is looked up before either is made; of two that
//! are made at the same moment, neither sees the other.

use std::{collections::BTreeMap, sync::Arc};

use cairn_model::{CollectionName, ErrorKind, limits::ALIASES_MAX};
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::{
    Catalog, FORMAT,
    commit::COMMITS_MAX,
    documents::{encode, parse},
    open::Known,
};
use crate::{
    Error, Result,
    store::{Key, Put, Version},
};

/// Collections by alias.
pub type AliasMap = BTreeMap<CollectionName, CollectionName>;

/// `aliases.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct AliasesDoc {
    /// Format version, 1.
    format: u32,
    /// Who wrote this version: tells a lost reply from a lost race.
    writer: String,
    /// Collections by alias.
    aliases: AliasMap,
}

/// All aliases of a store, as they were when they were read.
#[derive(Clone, Debug, Default)]
pub struct Aliases {
    /// Collections by alias.
    pub map: Arc<AliasMap>,
    /// `None` while there is no document.
    version: Option<Version>,
}

impl Catalog {
    /// All aliases, by one GET, which is conditional where `known` was read before.
    ///
    /// # Errors
    /// `Corrupt` or `Unsupported` when the document cannot be read, `Unavailable`.
    pub async fn aliases(&self, known: &Aliases) -> Result<Aliases> {
        let read = self.read(&Key::aliases(), known.version.as_ref(), parse::<AliasesDoc>).await?;
        Ok(match read {
            Known::Absent => Aliases::default(),
            Known::Unchanged => known.clone(),
            Known::New((doc, version)) => Aliases { map: Arc::new(doc.aliases.clone()), version: Some(version) },
        })
    }

    /// Changes aliases: `change` is shown all of them, as often as others come first, and says whether there is something to do.
    ///
    /// # Errors
    /// What `change` says; `TooLarge` for more than [`ALIASES_MAX`]; `Conflict` when others come first again and again; `Unavailable`: then
    /// they were changed or not.
    pub async fn change_aliases<E: From<Error>>(
        &self,
        mut change: impl FnMut(&mut AliasMap) -> std::result::Result<bool, E>,
    ) -> std::result::Result<Aliases, E> {
        self.store.require_safe().await?;
        let key = Key::aliases();
        let address = self.store.address(&key);
        let mut known = Aliases::default();
        for _ in 0..COMMITS_MAX {
            known = self.aliases(&known).await?;
            let mut map = known.map.as_ref().clone();
            if !change(&mut map)? {
                return Ok(known);
            }
            if map.len() > ALIASES_MAX {
                let why = format!("would be {}, at most {ALIASES_MAX} are allowed", map.len());
                return Err(Error::new(ErrorKind::TooLarge, "aliases", why).into());
            }
            let doc = AliasesDoc { format: FORMAT, writer: Ulid::generate().to_string(), aliases: map };
            let content = encode(&address, &doc)?;
            let put = match &known.version {
                None => self.store.put_if_absent(&key, content).await?,
                Some(version) => self.store.compare_and_swap(&key, content, version).await?,
            };
            if let Put::Done(version) = put {
                return Ok(Aliases { map: Arc::new(doc.aliases), version: Some(version) });
            }
        }
        Err(Error::new(ErrorKind::Conflict, address, "was replaced again and again: retry").into())
    }

    /// Removes the aliases of a collection that was deleted; costs one GET where there are none.
    ///
    /// # Errors
    /// As [`Catalog::change_aliases`].
    pub async fn drop_aliases(&self, collection: &CollectionName) -> Result<()> {
        let change = |map: &mut AliasMap| {
            let before = map.len();
            map.retain(|_, target| target != collection);
            Ok::<_, Error>(map.len() < before)
        };
        let known = self.aliases(&Aliases::default()).await?;
        if known.map.values().any(|target| target == collection) {
            self.change_aliases(change).await?;
        }
        Ok(())
    }
}
