//! Reading what is left of a damaged typed map, one node at a time.
//!
//! A key is believed if its hash fits the table's index and the node, and if zeros fill its last
//! word. Less tells of it than of the key of a record, and nothing of its value.

use super::TypedMap;
use super::layout::{OVERFLOWED, node};
use crate::hashmap::{Hash, Piece, Salvage};
use vasmem_engine::{Access, Host, Invariant, Memory, Patience, Result};

/// A key and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

impl TypedMap {
    /// Numbers of the nodes of a table that have entries.
    pub fn nodes(&self) -> std::ops::Range<u64> {
        1..self.form.nodes()
    }

    /// The entries of one node of the table that was entered.
    ///
    /// # Errors
    /// Those of waiting.
    pub fn save<M: Memory, H: Host>(
        &self,
        salvage: &mut Salvage<'_, M, H>,
        patience: &mut dyn Patience,
        piece: &Piece,
        number: u64,
    ) -> Result<Vec<Entry>> {
        let (form, at) = (self.form, self.form.node(piece.entry.table(), number));
        let read = salvage.segment.read(patience, |access| {
            let view = access.pass(None, at, form.kind)?;
            let used = access.word(&view, at + node::USED);
            let mut entries = Vec::new();
            for entry in (0..form.entries).filter(|entry| used & 1 << entry != 0) {
                let mut key = vec![0; form.key_words() as usize * 8];
                let mut value = vec![0; form.value_bytes as usize];
                access.bytes(&view, at + form.entry(entry), &mut key);
                access.bytes(&view, self.value_at(at, entry), &mut value);
                entries.push((key, value));
            }
            access.check(&view)?;
            Ok((used, entries))
        });
        let what = "a node of a typed map, with its keys";
        let Some((used, entries)) = salvage.losses.unless_broken(read, what)? else {
            return Ok(Vec::new());
        };
        if used & !form.all() & !OVERFLOWED != 0 {
            salvage.losses.note(Invariant::MapRecord, at, "it uses entries that it has not");
        }
        let mut saved = Vec::new();
        for (mut key, value) in entries {
            let filler = key.split_off(form.key_bytes as usize);
            let hash = Hash::of(&key, salvage.segment.geometry.seed);
            let fits = piece.may_hold(hash) && self.may_stand(hash, number);
            if !fits || filler.iter().any(|&byte| byte != 0) {
                salvage.losses.note(Invariant::MapRecord, at, "a key that does not belong here");
            } else if !salvage.keys.insert(key.clone()) {
                salvage.losses.note(Invariant::MapUnique, at, "a key that stands twice");
            } else {
                saved.push((key, value));
            }
        }
        Ok(saved)
    }

    /// Whether a key may stand in that node of its table, whatever its home says of the stash.
    fn may_stand(&self, hash: Hash, number: u64) -> bool {
        let home = self.form.home(hash);
        let mut stash = (0..self.form.window()).map(|step| self.form.stash(hash, step));
        number == home || number == home + 1 || stash.any(|stash| stash == number)
    }
}
