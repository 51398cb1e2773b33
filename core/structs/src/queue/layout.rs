//! Places in a queue's header, slots and leases. `docs/design.md` draws them.

use super::TABLE_LINES;
use vasmem_engine::layout::{LINE, NODE_WORDS};

/// Places in the header, which is a block of lines.
pub mod header {
    use super::LINE;
    /// In line 0: items that the queue takes.
    pub const SIZE: u64 = 16;
    /// Line of the position of the next item that comes, and how often one was given back.
    pub const TAIL_LINE: u64 = LINE;
    /// Line of the position of the next item that goes.
    pub const HEAD_LINE: u64 = 2 * LINE;
    /// In both: the position.
    pub const POSITION: u64 = 8;
    /// In the tail's: items given back.
    pub const GIVEN_BACK: u64 = 16;
    /// Line of one bit a lease: it is in use.
    pub const LEASED_LINE: u64 = 3 * LINE;
    /// Line that leads to the tables of leases.
    pub const LEASES_LINE: u64 = 4 * LINE;
    /// First of the lines that lead to the tables of slots.
    pub const SLOTS_LINE: u64 = 5 * LINE;
}

/// Leases at a time: the bits of a line.
pub const LEASES_MAX: u64 = NODE_WORDS as u64 * 64;
/// Items that a queue can be made for; 59 lines of seven tables have room for some more.
pub const SIZE_MAX: u64 = 100_000;

/// Places in a slot and in a lease, which has all of them.
pub struct Words {
    pub position: u64,
    pub record: u64,
    pub owner: u64,
}

/// Where they are.
pub const SLOT: Words = Words { position: 8, record: 16, owner: 24 };

/// Where a slot or a lease is: the line of the header and the word in it that lead to its table,
/// and its own line in there.
#[derive(Clone, Copy)]
pub struct Place {
    pub line: u64,
    pub word: u64,
    pub within: u64,
}

impl Place {
    pub fn of_slot(index: u64) -> Place {
        let table = index / TABLE_LINES;
        let (line, word) = (table / NODE_WORDS as u64, table % NODE_WORDS as u64);
        Place {
            line: header::SLOTS_LINE + line * LINE,
            word: 8 + word * 8,
            within: index % TABLE_LINES * LINE,
        }
    }

    pub fn of_lease(index: u64) -> Place {
        Place {
            line: header::LEASES_LINE,
            word: 8 + index / TABLE_LINES * 8,
            within: index % TABLE_LINES * LINE,
        }
    }
}

const _: () = assert!(SIZE_MAX <= (64 - 5) * NODE_WORDS as u64 * TABLE_LINES);
const _: () = assert!(LEASES_MAX <= NODE_WORDS as u64 * TABLE_LINES);
