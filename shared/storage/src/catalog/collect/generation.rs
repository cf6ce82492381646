//! One generation: what is there, what is named, what goes.

use cairn_model::CollectionName;
use ulid::Ulid;

use super::{
    super::{
        DOCUMENT_BYTES_MAX,
        documents::{encode, parse},
    },
    Fate, KEPT_MS_MIN, Run,
    garbage::{Garbage, OBJECTS_MAX},
    names::{Folder, Names},
};
use crate::{
    Result,
    store::{Fetched, Found, Key, keys::Piece},
};

/// What is in a generation's folder.
#[derive(Default)]
struct Listing {
    pieces: Vec<(Piece, Found)>,
    foreign: Vec<Found>,
    /// What the collector wrote down, the newest last.
    garbage: Vec<Found>,
}

/// What becomes of it.
#[derive(Default)]
struct Judgement {
    delete: Vec<Found>,
    wait: Vec<Found>,
    young: Vec<Found>,
    named: Vec<Found>,
    garbage: Garbage,
}

impl<W: FnMut(&Found, Fate) + Send> Run<'_, W> {
    pub(super) async fn generation(&mut self, name: &CollectionName, generation: &str) -> Result<()> {
        let key = Key::generation(name, generation)?;
        let mut listing = self.list(&key).await?;
        let before = self.read_garbage(&listing).await?;
        let is_mark = |piece: &Piece| matches!(piece, Piece::CloneMark(_));
        let marks: Vec<_> =
            listing.pieces.iter().filter(|(piece, _)| is_mark(piece)).map(|(_, found)| found.key.clone()).collect();
        let names = Names::read(self.catalog, Folder { name, generation }, &marks).await?;

        let pieces = std::mem::take(&mut listing.pieces);
        let judgement = if names.is_named || !marks.is_empty() {
            self.judge_each(&key, pieces, &names, &before)
        } else {
            self.judge_all(pieces, &before)
        };
        let Judgement { delete, wait, young, named, garbage } = judgement;
        self.keep(std::mem::take(&mut listing.foreign), Fate::Foreign);
        self.keep(named, Fate::Named);
        self.keep(young, Fate::Young);
        self.keep(wait, Fate::Waits);
        self.delete(delete).await?;
        self.write_garbage(name, generation, listing.garbage, &before, garbage).await
    }

    async fn list(&self, folder: &Key) -> Result<Listing> {
        let mut listing = Listing::default();
        for found in self.catalog.store.list(folder).await? {
            match found.key.piece() {
                Some(Piece::Garbage(_)) => listing.garbage.push(found),
                Some(piece) => listing.pieces.push((piece, found)),
                None => listing.foreign.push(found),
            }
        }
        listing.garbage.sort_by_key(|found| (found.modified_ms, found.key.as_str().to_owned()));
        Ok(listing)
    }

    /// What the newest record says. One that cannot be read counts as none: then the grace period begins anew.
    async fn read_garbage(&self, listing: &Listing) -> Result<Garbage> {
        let Some(newest) = listing.garbage.last() else { return Ok(Garbage::default()) };
        let store = &self.catalog.store;
        match store.get(&newest.key, None, DOCUMENT_BYTES_MAX).await? {
            Fetched::Found(object) => match parse::<Garbage>(&store.address(&newest.key), &object.bytes) {
                Ok(garbage) => Ok(garbage.dated(newest.modified_ms)),
                Err(error) => {
                    tracing::warn!(%error, "is replaced");
                    Ok(Garbage::default())
                }
            },
            Fetched::Absent | Fetched::Unchanged => Ok(Garbage::default()),
        }
    }

    /// Nothing names the generation: all of it goes, unless somebody is at it.
    fn judge_all(&self, pieces: Vec<(Piece, Found)>, before: &Garbage) -> Judgement {
        if pieces.is_empty() {
            return Judgement::default();
        }
        let grace_ms = self.options.grace_ms;
        let all = pieces.iter().map(|(_, found)| found.modified_ms);
        let is_idle = all.max().is_none_or(|newest| self.has_aged(newest, grace_ms));
        let since = before.all_since.filter(|_| before.is_all);
        let all = pieces.into_iter().map(|(_, found)| found).collect();
        if !is_idle {
            return Judgement { young: all, ..Judgement::default() };
        }
        if since.is_some_and(|since| self.has_aged(since, grace_ms)) {
            return Judgement { delete: all, ..Judgement::default() };
        }
        let garbage = Garbage { is_all: true, all_since: since, ..Garbage::default() };
        Judgement { wait: all, garbage, ..Judgement::default() }
    }

    /// Something there is named.
    fn judge_each(&self, folder: &Key, pieces: Vec<(Piece, Found)>, names: &Names, before: &Garbage) -> Judgement {
        let mut judgement = Judgement::default();
        for (piece, found) in pieces {
            if names.has(piece) {
                judgement.named.push(found);
                continue;
            }
            let is_over = if let Piece::Log(shard, sequence) = piece {
                if !judgement.garbage.logs.contains_key(&shard) {
                    let is_old = |since| self.has_aged(since, KEPT_MS_MIN);
                    judgement.garbage.add_log(shard, names.floor(shard), before, is_old);
                }
                let since = judgement.garbage.log_since(shard, sequence);
                since.is_some_and(|since| self.has_aged(since, KEPT_MS_MIN))
            } else {
                let rest = found.key.below(folder);
                let since = before.objects.get(rest).copied().flatten();
                let is_over = since.is_some_and(|since| self.has_aged(since, self.options.grace_ms));
                if !is_over && judgement.garbage.objects.len() < OBJECTS_MAX {
                    judgement.garbage.objects.insert(rest.to_owned(), since);
                }
                is_over
            };
            if is_over { judgement.delete.push(found) } else { judgement.wait.push(found) }
        }
        judgement
    }

    /// Writes down what is garbage now, and removes older records. They go last: while one is there, the rest of a generation that was deleted in
    /// part need not wait anew.
    async fn write_garbage(
        &mut self,
        name: &CollectionName,
        generation: &str,
        old: Vec<Found>,
        before: &Garbage,
        garbage: Garbage,
    ) -> Result<()> {
        if garbage == *before && old.len() == usize::from(!garbage.is_empty()) {
            return Ok(());
        }
        if self.options.dry_run {
            return Ok(());
        }
        if !garbage.is_empty() {
            let key = Key::garbage(name, generation, Ulid::generate())?;
            self.catalog.store.put_if_absent(&key, encode(&self.catalog.store.address(&key), &garbage)?).await?;
        }
        for old in old {
            self.catalog.store.delete(&old.key).await?;
        }
        Ok(())
    }
}
