//! The engine of vasmem: node-versioned optimistic transactions with a redo record.
//!
//! Uses `vasmem-memory`; used by the structures and the Python binding. It knows nothing of what a
//! structure keeps in its nodes. Start reading at [`commit`], with `docs/design.md` beside it.

pub mod access;
mod buffers;
pub mod check;
mod commit;
mod deferred;
pub mod directory;
pub mod error;
mod extent;
pub mod format;
pub mod glance;
pub mod heap;
pub mod host;
pub mod lab;
pub mod lanes;
pub mod layout;
pub mod mark;
#[cfg(not(loom))]
pub mod os;
pub mod owner;
pub mod pins;
pub mod record;
pub mod recover;
pub mod salvage;
mod savepoint;
pub mod segment;
#[cfg(any(test, feature = "lab"))]
pub mod simulated;
mod token;
pub mod transaction;
pub mod usage;
mod validation;
pub mod version;
mod writes;

pub use access::{Access, Reading, Seen, View};
pub use check::{Reached, Violation};
pub use error::{Error, Holder, Invariant, Result};
pub use glance::{Glance, Glimpse};
pub use host::{Host, Patience};
pub use layout::{Geometry, Kind};
pub use owner::Owner;
pub use pins::Pin;
pub use salvage::Losses;
pub use savepoint::Savepoint;
pub use segment::Segment;
pub use transaction::{Touched, Transaction};
pub use usage::{KindUsage, Usage};
pub use vasmem_memory::{Memory, Offset};
