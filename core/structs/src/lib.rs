//! Data structures that live in a segment: sequential code over nodes and transactions.
//!
//! Uses `vasmem-engine`; used by the Python binding. Each structure can be checked whole.

pub mod array;
pub mod btree;
pub mod check;
pub mod counter;
mod description;
pub mod hashmap;
pub mod keyed;
pub mod lock;
mod owned;
pub mod queue;
pub mod record;
pub mod root;
pub mod salvage;
mod shards;
pub mod typed;

pub use array::Array;
pub use btree::BTree;
pub use counter::Counter;
pub use hashmap::HashMap;
pub use keyed::Keyed;
pub use lock::Lock;
pub use queue::Queue;
pub use root::Root;
pub use typed::TypedMap;
