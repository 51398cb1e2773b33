//! Reading what is left of a damaged map, one bucket at a time.
//!
//! What leads to a table is believed as little as possible: every entry of every directory page is
//! followed, whatever the depths say. A record is known by its key, whose hash must fit the table's
//! index, the bucket and the tag; nothing else could be taken for it. Its value has no such mark.

use super::HashMap as Map;
use super::layout::{Entry, Hash, KEY_BYTES_MAX, PAGES_MAX, PER_LINE, PER_PAGE, Slot, header};
use super::lookup::Bucket;
use super::verify::may_stand;
use crate::record::RECORD_BYTES_MAX;
use crate::salvage::{Saved, save};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering::Relaxed;
use vasmem_engine::directory::Named;
use vasmem_engine::layout::{Kind, LINE};
use vasmem_engine::{
    Access, Error, Host, Invariant, Losses, Memory, Offset, Patience, Result, Segment,
};

/// The salvage of one map.
pub struct Salvage<'a, M, H> {
    pub(crate) segment: &'a Segment<M, H>,
    map: Map,
    /// What its tables are, if not what their entries tell.
    tables: Option<Kind>,
    /// Keys as its counts say; `None` if they cannot be read.
    pub counted: Option<u64>,
    /// What could not be read.
    pub losses: Losses,
    /// Keys of the table that is being read.
    pub(crate) keys: HashSet<Vec<u8>>,
}

/// A table, as the directory entry at `index` has it.
#[derive(Clone, Copy)]
pub struct Piece {
    index: u64,
    pub(crate) entry: Entry,
    /// Whether the table names the same index.
    agrees: bool,
}

/// Which tables the directories of all maps lead to. One that several entries lead to belongs to
/// the one whose index it names; if that is so of several, to none that could be told.
#[derive(Default)]
pub struct Claims(HashMap<Offset, Claimants>);

#[derive(Default)]
struct Claimants {
    all: u32,
    agreeing: u32,
}

impl Claims {
    fn add(&mut self, piece: &Piece) {
        let claimants = self.0.entry(piece.entry.table()).or_default();
        claimants.all += 1;
        claimants.agreeing += u32::from(piece.agrees);
    }

    fn grants(&self, piece: &Piece) -> bool {
        let claimants = self.0.get(&piece.entry.table());
        claimants.is_some_and(|c| c.all == 1 || piece.agrees && c.agreeing == 1)
    }
}

impl Piece {
    /// Lines with slots.
    pub fn lines(&self) -> std::ops::Range<u64> {
        1..self.entry.shape().lines
    }

    /// Whether a key may stand in this table, as far as the place of its entry tells: an entry at
    /// `index` has at least as many bits of depth.
    pub(crate) fn may_hold(&self, hash: Hash) -> bool {
        let bits = u64::BITS - self.index.leading_zeros();
        hash.index() & ((1 << bits) - 1) == self.index
    }
}

impl<'a, M: Memory, H: Host> Salvage<'a, M, H> {
    /// Begins with the map that `named` leads to; `tables` is what its tables are, if not what
    /// their entries tell.
    ///
    /// # Errors
    /// `Corrupted` if its header is broken, or of a map with other flags; those of waiting.
    pub fn begin(
        segment: &'a Segment<M, H>,
        patience: &mut dyn Patience,
        named: &Named,
        tables: Option<Kind>,
    ) -> Result<Self> {
        let map = segment.read(patience, |access| {
            let map = Map::at(access, named.node)?;
            let (view, words) = map.header(access)?;
            match words[header::FLAGS as usize / 8] == u64::from(named.flags) {
                true => Ok(map),
                false => Err(access.broken(&view, Invariant::Directory, named.node)),
            }
        })?;
        let mut losses = Losses::default();
        let counted = segment.read(patience, |access| map.len(access));
        let counted = losses.unless_broken(counted, "the counts of a map")?;
        Ok(Salvage { segment, map, tables, counted, losses, keys: HashSet::new() })
    }

    /// All tables that the directory leads to.
    ///
    /// # Errors
    /// `Removed`; those of waiting.
    pub fn pieces(
        &mut self,
        patience: &mut dyn Patience,
        claims: &mut Claims,
    ) -> Result<Vec<Piece>> {
        let (map, segment) = (self.map, self.segment);
        let mut entries = Vec::new();
        let mut pages = HashSet::new();
        for number in 0..PAGES_MAX {
            let page = segment.read(patience, |access| {
                let head = map.header(access)?;
                let (leads, page) = map.page(access, &head, number)?;
                access.check(&leads)?;
                Ok((page, head.1[header::ONLY as usize / 8]))
            });
            let what = "a line that leads to pages of a map's directory";
            let Some((page, only)) = self.losses.unless_broken(page, what)? else { continue };
            if page != 0 {
                let once = pages.insert(page);
                self.read_page(patience, number, page, once, &mut entries)?;
            } else if number == 0 {
                entries.push((0, Entry(only)));
            }
        }
        let mut pieces = Vec::new();
        for (index, entry) in entries {
            let kind = self.tables.unwrap_or(entry.shape().kind);
            let is_table = segment.node(entry.table(), kind);
            if self.losses.unless_broken(is_table, "a table of a map")?.is_some() {
                let agrees = segment.memory.load(entry.table() + 8, Relaxed) == index;
                pieces.push(Piece { index, entry, agrees });
            }
        }
        pieces.iter().for_each(|piece| claims.add(piece));
        Ok(pieces)
    }

    /// Those tables that belong to this map, once all maps have told theirs.
    pub fn settle(&mut self, mut pieces: Vec<Piece>, claims: &Claims) -> Vec<Piece> {
        pieces.retain(|piece| {
            let granted = claims.grants(piece);
            if !granted {
                let text = "a table that another entry of a directory leads to, too";
                self.losses.note(Invariant::HashDirectory, piece.entry.table(), text);
            }
            granted
        });
        let parts = pieces.iter().map(|piece| 0.5f64.powi(piece.entry.depth() as i32));
        let covered: f64 = parts.sum();
        if covered < 1.0 {
            let text = format!("the tables that are left cover {covered} of all keys");
            self.losses.note(Invariant::HashDirectory, self.map.node, text);
        }
        pieces
    }

    fn read_page(
        &mut self,
        patience: &mut dyn Patience,
        number: u64,
        page: Offset,
        once: bool,
        entries: &mut Vec<(u64, Entry)>,
    ) -> Result<()> {
        let segment = self.segment;
        let is_page = match segment.node(page, Kind::HASH_DIRECTORY) {
            Ok(()) if !once => Err(Error::corrupted(Invariant::HashDirectory, page)),
            is_page => is_page,
        };
        if self.losses.unless_broken(is_page, "a page of a map's directory")?.is_none() {
            return Ok(());
        }
        for line in 0..PER_PAGE / PER_LINE {
            let words = segment.read(patience, |access| {
                let view = access.pass(None, page + line * LINE, Kind::HASH_DIRECTORY)?;
                let words = access.line_words(&view);
                access.check(&view)?;
                Ok(words)
            });
            let what = "a line of a map's directory, seven tables";
            let Some(words) = self.losses.unless_broken(words, what)? else { continue };
            let first = number * PER_PAGE + line * PER_LINE;
            let there = (first..).zip(words[1..].iter()).filter(|&(_, &word)| word != 0);
            entries.extend(there.map(|(index, &word)| (index, Entry(word))));
        }
        Ok(())
    }

    /// Begins to read another table.
    pub fn enter(&mut self) {
        self.keys.clear();
    }

    /// The records of one bucket of the table that was entered.
    ///
    /// # Errors
    /// Those of waiting.
    pub fn bucket(
        &mut self,
        patience: &mut dyn Patience,
        piece: &Piece,
        line: u64,
        taken: &mut HashSet<Offset>,
    ) -> Result<Vec<Saved>> {
        let node = piece.entry.table() + line * LINE;
        let (shape, seed) = (piece.entry.shape(), self.segment.geometry.seed);
        let fits = |slot: Slot| {
            move |key: &[u8]| {
                let hash = Hash::of(key, seed);
                key.len() as u64 <= KEY_BYTES_MAX
                    && slot.has(hash)
                    && piece.may_hold(hash)
                    && may_stand(shape, hash, line, true)
            }
        };
        let read = self.segment.read(patience, |access| {
            let view = access.pass(None, node, shape.kind)?;
            let bucket = Bucket { view, words: access.line_words(&view) };
            let mut records = Vec::new();
            for (_, slot) in bucket.slots().filter(|(_, slot)| slot.record() != 0) {
                let at = slot.record();
                match save(self.segment, access, (&view, at), RECORD_BYTES_MAX, fits(slot), taken) {
                    Err(Error::Conflict) => return Err(Error::Conflict),
                    record => records.push((at, record)),
                }
            }
            access.check(&view)?;
            Ok(records)
        });
        let records = self.losses.unless_broken(read, "a bucket, up to seven keys")?;
        let mut saved = Vec::new();
        for (at, record) in records.into_iter().flatten() {
            let Some(record) = self.losses.unless_broken(record, "a key and its value")? else {
                continue;
            };
            if !self.keys.insert(record.key.clone()) {
                self.losses.note(Invariant::MapUnique, at, "a key that stands twice");
            } else if record.block.is_some_and(|block| !taken.insert(block)) {
                self.losses.note(Invariant::Reachable, at, "a value that two keys lead to");
            } else {
                saved.push(record);
            }
        }
        Ok(saved)
    }
}
