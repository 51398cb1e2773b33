//! What the heap's space is used for, by its descriptors: figures for people.
//!
//! Each descriptor is read consistently, the heap as a whole is not: while others write, a figure
//! is that of some moment during the walk. Nothing read here is believed beyond its range.

use crate::host::Host;
use crate::layout::{GRANULE, Kind};
use crate::segment::Segment;
use std::collections::BTreeMap;
use vasmem_memory::Memory;

/// Space of one kind of granule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KindUsage {
    /// Granules of this kind; a data extent counts all of its own.
    pub granules: u64,
    /// Blocks that they are divided into; an extent is one block.
    pub blocks: u64,
    /// Blocks in use.
    pub blocks_used: u64,
    /// Bytes of the blocks in use.
    pub used_bytes: u64,
}

/// Space of the whole heap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// By number of the kind, only those that there are.
    pub kinds: BTreeMap<u8, KindUsage>,
    /// Granules that region tables take.
    pub table_granules: u64,
    /// Granules that nobody uses.
    pub free_granules: u64,
    /// Granules of the largest free piece: what a data extent can be without growth.
    pub free_granules_max: u64,
}

impl Usage {
    fn add(&mut self, kind: Kind, granules: u64, blocks: u64, used: u64, block_bytes: u64) {
        let sum = self.kinds.entry(kind.0).or_default();
        sum.granules += granules;
        sum.blocks += blocks;
        sum.blocks_used += used;
        sum.used_bytes += used * block_bytes;
    }
}

impl<M: Memory, H: Host> Segment<M, H> {
    /// Walks all descriptors. Takes no lock and waits for nobody.
    pub fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        let backed = self.backed();
        let mut at = self.geometry.heap_at;
        while at < backed {
            let region = self.geometry.region_of(at);
            let end = region.granules().min((backed - region.at) / GRANULE);
            let mut index = region.table_granules();
            usage.table_granules += index.min(end);
            let mut free = 0;
            while index < end {
                let described = self.described(region.place(index));
                let meta = described.map(|found| found.meta);
                let kind = meta.map_or(Kind::FREE, |meta| meta.kind());
                let used = described.map_or(0, |found| found.blocks_used());
                let mut granules = 1;
                match kind {
                    Kind::FREE => free += 1,
                    Kind::SPAN => {
                        let told = meta.map_or(1, |meta| meta.granules());
                        granules = told.clamp(1, end - index);
                        usage.add(kind, granules, 1, 1, granules * GRANULE);
                    }
                    _ => {
                        let blocks = kind.blocks();
                        usage.add(kind, 1, blocks, used.min(blocks), kind.block_bytes());
                    }
                }
                // Pieces do not cross regions: the table of the next one stands between.
                if kind != Kind::FREE || index + granules >= end {
                    usage.free_granules += free;
                    usage.free_granules_max = usage.free_granules_max.max(free);
                    free = 0;
                }
                index += granules;
            }
            at = region.end();
        }
        usage
    }
}
