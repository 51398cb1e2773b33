//! Walking all of a typed map: its check, and its removal.

use super::TypedMap;
use super::layout::{OVERFLOWED, header};
use crate::hashmap::{Hash, Table};
use std::collections::HashSet;
use vasmem_engine::{Access, Host, Invariant, Memory, Reached, Result, Seen, Transaction};

impl TypedMap {
    /// Places for entries in all tables.
    ///
    /// # Errors
    /// As `description`.
    pub fn slots<A: Access>(&self, access: &mut A) -> Result<u64> {
        let tables = self.map.tables(access)?.len() as u64;
        Ok(tables * (self.form.nodes() - 1) * self.form.entries)
    }

    /// Walks the whole map while nobody writes: notes its blocks, and what breaks an invariant.
    ///
    /// # Errors
    /// `Corrupted` where it cannot go on.
    pub fn reach<A: Access>(&self, access: &mut A, reached: &mut Reached) -> Result<()> {
        self.description(access)?;
        let (_, words) = self.map.header(access)?;
        reached.block(words[header::DESCRIPTION as usize / 8]);
        let tables = self.map.reach_directory(access, reached)?;
        let mut keys = HashSet::new();
        for table in &tables {
            for number in 1..self.form.nodes() {
                self.reach_node(access, table, number, &mut keys, reached)?;
            }
        }
        self.map.compare_count(access, keys.len() as u64, reached)
    }

    fn reach_node<A: Access>(
        &self,
        access: &mut A,
        table: &Table<A::View>,
        number: u64,
        keys: &mut HashSet<Vec<u8>>,
        reached: &mut Reached,
    ) -> Result<()> {
        let seen = self.node(access, table, number)?;
        let at = seen.view.node();
        if seen.used & !self.form.all() & !OVERFLOWED != 0 {
            reached.broken(Invariant::MapRecord, at, "it uses entries that it has not");
        }
        for entry in (0..self.form.entries).filter(|entry| seen.used & 1 << entry != 0) {
            let mut key = vec![0; self.form.key_bytes as usize];
            access.bytes(&seen.view, at + self.form.entry(entry), &mut key);
            let hash = Hash::of(&key, access.seed());
            let home = self.form.home(hash);
            let told = self.node(access, table, home)?.used & OVERFLOWED != 0;
            let stashed = (0..self.form.window()).any(|step| self.form.stash(hash, step) == number);
            let stands = number == home || number == home + 1 || told && stashed;
            let depth = table.entry.depth();
            if !stands || hash.index() & ((1 << depth) - 1) != table.index {
                let text = format!("entry {entry} does not belong into node {number} of its table");
                reached.broken(Invariant::MapRecord, at, text);
            }
            if !keys.insert(key) {
                reached.broken(Invariant::MapUnique, at, format!("entry {entry} stands twice"));
            }
        }
        Ok(())
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
        for table in self.map.tables(tx)? {
            for number in 0..self.form.nodes() {
                let seen = self.node(tx, &table, number)?;
                tx.free_node(&seen.view);
            }
            tx.free(table.entry.table())?;
        }
        let (_, words) = self.map.header(tx)?;
        tx.free(words[header::DESCRIPTION as usize / 8])?;
        self.map.remove_directory(tx, name)
    }
}
