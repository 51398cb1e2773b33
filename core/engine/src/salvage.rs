//! What is needed to read on where a segment is damaged: a lenient view, a list of what is lost.
//!
//! Nothing is believed more than elsewhere: bounds, kinds and lengths are checked as ever. But a
//! descriptor that says nothing at all is no contradiction, and what breaks an invariant is noted
//! and passed over. A structure that is read so needs marks of its own by which a record is known.

use crate::check::{VIOLATIONS_MAX, Violation};
use crate::error::{Error, Invariant, Result};
use crate::heap::block_number;
use crate::host::Host;
use crate::layout::{GRANULE, Kind};
use crate::segment::Segment;
use vasmem_memory::{Memory, Offset};

/// Places that could not be read.
#[derive(Default)]
pub struct Losses {
    /// How many.
    pub count: u64,
    /// Which, and why; the first of them if there are very many.
    pub listed: Vec<Violation>,
}

impl Losses {
    /// Notes a place.
    pub fn note(&mut self, invariant: Invariant, at: Offset, text: impl Into<String>) {
        self.count += 1;
        if self.listed.len() < VIOLATIONS_MAX {
            self.listed.push(Violation::new(invariant, at, text));
        }
    }

    /// What was read; if its bytes are broken notes that, as `what`, and returns nothing.
    ///
    /// # Errors
    /// All but `Corrupted`.
    pub fn unless_broken<T>(&mut self, read: Result<T>, what: &str) -> Result<Option<T>> {
        match read {
            Ok(value) => Ok(Some(value)),
            Err(Error::Corrupted { invariant, at }) => {
                self.note(invariant, at, what);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

impl<M: Memory, H: Host> Segment<M, H> {
    /// For reading what is damaged. If the last writer was of another boot, all locks are void, as
    /// they will be after its recovery, and no record of that time is looked at.
    #[must_use]
    pub fn lenient(mut self, is_other_boot: bool) -> Self {
        self.lenient = true;
        if is_other_boot {
            self.set_incarnation(self.incarnation().wrapping_add(1));
        }
        self
    }

    /// Bytes of the data block that starts at `at`; `None` if its descriptor says nothing.
    ///
    /// # Errors
    /// `Corrupted` if no data block starts there.
    pub fn data_block_bytes(&self, at: Offset) -> Result<Option<u64>> {
        self.data(at, 8)?;
        let place = self.geometry.place(at);
        let Some(described) = self.described(place) else { return Ok(None) };
        let kind = described.meta.kind();
        if kind == Kind::FREE {
            return Ok(None);
        }
        let starts = block_number(kind, at - place.granule).is_some();
        if kind.is_node() || !starts {
            return Err(Error::corrupted(Invariant::Descriptor, at));
        }
        if kind != Kind::SPAN {
            return Ok(Some(kind.block_bytes()));
        }
        let bytes = described.meta.granules().saturating_mul(GRANULE);
        self.data(at, bytes)?;
        Ok(Some(bytes))
    }
}
