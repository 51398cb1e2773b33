//! What the lab's programs share: a host without other processes, numbers from a seed, and the
//! crash states of persistent memory.

pub mod alone;
pub mod crash;
pub use vasmem_faults::random;
