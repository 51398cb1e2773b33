//! Walking all of a map: its check, and its removal.

use super::HashMap;
use super::layout::{Hash, PAGES_MAX, PER_PAGE, Shape, WINDOW, header};
use super::lookup::Table;
use crate::record::{self, HEAD_BYTES};
use crate::root::free_lines;
use std::collections::HashSet;
use vasmem_engine::layout::{Kind, NODE_WORDS};
use vasmem_engine::{
    Access, Error, Host, Invariant, Memory, Offset, Reached, Result, Touched, Transaction,
};

impl HashMap {
    /// Offsets of all directory pages.
    fn pages<A: Access>(&self, access: &mut A) -> Result<Vec<Offset>> {
        let head = self.header(access)?;
        let mut pages = Vec::new();
        let mut seen = HashSet::new();
        for number in 0..PAGES_MAX {
            let (leads, page) = self.page(access, &head, number)?;
            access.check(&leads)?;
            if page != 0 {
                if !seen.insert(page) {
                    return Err(access.broken(&leads, Invariant::HashDirectory, page));
                }
                pages.push(page);
            }
        }
        Ok(pages)
    }

    /// All tables, each once.
    pub(crate) fn tables<A: Access>(&self, access: &mut A) -> Result<Vec<Table<A::View>>> {
        let first = self.table(access, 0)?;
        let mut tables = Vec::new();
        let mut seen = HashSet::new();
        for index in 0..1u64 << first.depth {
            if index >= PAGES_MAX * PER_PAGE {
                break;
            }
            let table = self.table(access, index)?;
            access.check(&table.parent)?;
            if table.index == index {
                // A few pages could lead to any number of tables otherwise.
                if !seen.insert(table.entry.table()) {
                    let (parent, at) = (&table.parent, table.entry_at);
                    return Err(access.broken(parent, Invariant::HashDirectory, at));
                }
                tables.push(table);
            }
        }
        Ok(tables)
    }

    /// Slots for keys in all tables; those that split meanwhile count with their old or new ones.
    ///
    /// # Errors
    /// As `get`.
    pub fn slots<A: Access>(&self, access: &mut A) -> Result<u64> {
        let lines = self.tables(access)?.into_iter().map(|table| table.entry.shape().lines - 1);
        Ok(lines.sum::<u64>() * NODE_WORDS as u64)
    }

    /// Walks the whole map while nobody writes: notes its blocks, and what breaks an invariant.
    ///
    /// # Errors
    /// `Corrupted` where it cannot go on.
    pub fn reach<A: Access>(&self, access: &mut A, reached: &mut Reached) -> Result<()> {
        let mut keys = HashSet::new();
        for table in self.reach_directory(access, reached)? {
            for line in 1..table.entry.shape().lines {
                self.reach_bucket(access, &table, line, &mut keys, reached)?;
            }
        }
        self.compare_count(access, keys.len() as u64, reached)
    }

    /// Notes header, pages and tables, which it returns.
    pub(crate) fn reach_directory<A: Access>(
        &self,
        access: &mut A,
        reached: &mut Reached,
    ) -> Result<Vec<Table<A::View>>> {
        reached.block(self.node);
        for page in self.pages(access)? {
            reached.block(page);
        }
        let mut covered = 0.0;
        let tables = self.tables(access)?;
        for table in &tables {
            reached.block(table.entry.table());
            covered += 0.5f64.powi(table.entry.depth() as i32);
        }
        if covered != 1.0 {
            let text = format!("the tables cover {covered} of all keys");
            reached.broken(Invariant::HashDirectory, self.node, text);
        }
        Ok(tables)
    }

    /// Compares the count with the number of keys that are there.
    pub(crate) fn compare_count<A: Access>(
        &self,
        access: &mut A,
        keys: u64,
        reached: &mut Reached,
    ) -> Result<()> {
        let counted = self.len(access)?;
        if counted != keys {
            let text = format!("counts say {counted} keys, {keys} are there");
            reached.broken(Invariant::MapCount, self.node, text);
        }
        Ok(())
    }

    fn reach_bucket<A: Access>(
        &self,
        access: &mut A,
        table: &Table<A::View>,
        line: u64,
        keys: &mut HashSet<Vec<u8>>,
        reached: &mut Reached,
    ) -> Result<()> {
        let bucket = self.bucket(access, table, line)?;
        let mut record = Vec::new();
        for (_, slot) in bucket.slots().filter(|(_, slot)| slot.record() != 0) {
            let at = slot.record();
            reached.block(at);
            let head = match self.read_record(access, &bucket.view, at, &mut record) {
                Err(Error::Corrupted { invariant, at }) => {
                    reached.broken(invariant, at, "a record's lengths are impossible");
                    continue;
                }
                head => head?,
            };
            let key = &record[HEAD_BYTES as usize..(HEAD_BYTES + head.key_bytes()) as usize];
            let hash = Hash::of(key, access.seed());
            let home_says = self.home_says_overflowed(access, table, hash)?;
            let depth = table.entry.depth();
            let here = hash.index() & ((1 << depth) - 1) == table.index
                && slot.has(hash)
                && may_stand(table.entry.shape(), hash, line, home_says);
            if !here {
                let text = format!("the record does not belong into line {line} of its table");
                reached.broken(Invariant::MapRecord, at, text);
            }
            if !keys.insert(key.to_vec()) {
                reached.broken(Invariant::MapUnique, at, "its key stands twice");
            }
            if let Some(node) = record::large_node(&record, head) {
                let (_, data, _) = record::large(access, &bucket.view, node)?;
                reached.block(node);
                reached.block(data);
            }
        }
        Ok(())
    }

    fn home_says_overflowed<A: Access>(
        &self,
        access: &mut A,
        table: &Table<A::View>,
        hash: Hash,
    ) -> Result<bool> {
        let home = self.bucket(access, table, table.entry.shape().home(hash))?;
        Ok(home.is_overflowed())
    }

    /// Frees all of the map and its name, in one transaction.
    ///
    /// # Errors
    /// `TooLarge` if the map has more nodes than one transaction can list.
    pub fn remove<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        name: &str,
    ) -> Result<()> {
        for table in self.tables(tx)? {
            let shape = table.entry.shape();
            for line in 0..shape.lines {
                let bucket = self.bucket(tx, &table, line)?;
                let records = bucket.slots().map(|(_, slot)| slot.record());
                for record in records.filter(|&at| at != 0 && line != 0) {
                    self.remove_record(tx, &bucket.view, record)?;
                }
                tx.free_node(&bucket.view);
            }
            tx.free(table.entry.table())?;
        }
        self.remove_directory(tx, name)
    }

    /// Frees pages and header, and takes the name away.
    ///
    /// # Errors
    /// As `remove`.
    pub(crate) fn remove_directory<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        name: &str,
    ) -> Result<()> {
        for page in self.pages(tx)? {
            free_lines(tx, page, Kind::HASH_DIRECTORY)?;
        }
        // A handle that is still around must notice, whatever stands here later.
        let (head, _) = self.header(tx)?;
        let head = tx.decide(&head)?;
        tx.write(&head, self.node + header::ID, !self.id);
        free_lines(tx, self.node, Kind::HASH_HEADER)?;
        tx.leave(name)?;
        Ok(())
    }

    fn remove_record<M: Memory, H: Host>(
        &self,
        tx: &mut Transaction<'_, M, H>,
        view: &Touched,
        at: Offset,
    ) -> Result<()> {
        let mut record = Vec::new();
        let head = self.read_record(tx, view, at, &mut record)?;
        record::free(tx, view, at, record::large_node(&record, head))
    }
}

/// M2.
pub(super) fn may_stand(shape: &Shape, hash: Hash, line: u64, overflowed: bool) -> bool {
    let home = shape.home(hash);
    let stashed = (0..WINDOW).any(|step| shape.stash(hash, step) == line);
    line == home || line == home + 1 || overflowed && stashed
}
