//! Every place and bit field of a segment, and nothing else. `docs/design.md` draws them.
//!
//! Invariants: **L1** a node begins with a version word, and is one 64-byte line or, in B-trees and
//! typed maps, larger; **L2** version words stand only in region tables and node extents;
//! **L3** a node extent never changes its kind.

use vasmem_memory::Offset;

/// Bytes of a cache line, and of every node but those of a B-tree.
pub const LINE: u64 = 64;
/// Words of a node of one line behind its version word.
pub const NODE_WORDS: usize = 7;
/// Bytes of a granule, the unit in which extents are handed out.
pub const GRANULE: u64 = 16 << 10;
/// Bytes of region 0; every later region is as large as all before it together.
pub const REGION_MIN: u64 = 1 << 20;
/// Granules that one extent-map node covers.
pub const GRANULES_PER_MAP: u64 = 256;
/// Bytes of a B-tree's node.
pub const TREE_NODE_BYTES: u64 = 1024;
/// Bytes of a large leaf of a typed B-tree.
pub const TREE_LEAF_BYTES: u64 = 4096;
/// First bytes of a segment: a non-text byte first, line ends that a text transfer would spoil.
pub const MAGIC: u64 = u64::from_le_bytes(*b"\x89VASM\r\n\x1a");
/// Layout version; another major number is another layout.
pub const FORMAT_MAJOR: u64 = 1;
/// Additions that old readers may ignore.
pub const FORMAT_MINOR: u64 = 0;
/// Largest `max_size`: offsets have 48 bits.
pub const SIZE_MAX: u64 = 1 << 47;

/// Feature that writers must know: blocks may be pinned.
pub const FEATURE_PINS: u64 = 1;

/// Places in the header (page 0). The part before `CHECKSUM` never changes and stands again at
/// [`HEADER_MIRROR`]; each mutable word has a line of its own.
pub mod header {
    use super::Offset;
    /// Magic number.
    pub const MAGIC: Offset = 0;
    /// Format: major in the low 32 bits, minor above.
    pub const FORMAT: Offset = 8;
    /// Feature gates: unknown bit set, refuse.
    pub const INCOMPATIBLE: Offset = 16;
    /// Feature gates: unknown bit set, attach only for reading.
    pub const READ_COMPATIBLE: Offset = 24;
    /// 16 bytes.
    pub const UUID: Offset = 32;
    /// Seed of the key hash.
    pub const SEED: Offset = 48;
    /// End of the offset space.
    pub const SIZE_LIMIT: Offset = 56;
    /// Geometry of the lane table.
    pub const LANES_AT: Offset = 64;
    /// Bytes of a lane.
    pub const LANE_BYTES: Offset = 72;
    /// Number of lanes.
    pub const LANES: Offset = 80;
    /// Start of region 0.
    pub const HEAP_AT: Offset = 88;
    /// First line of the root directory.
    pub const DIRECTORY_AT: Offset = 96;
    /// Checksum of all words before it.
    pub const CHECKSUM: Offset = 248;
    /// End of the bytes that are backed; only grows.
    pub const BACKED: Offset = 256;
    /// Incarnation (64 bits here, its low 13 bits in version words).
    pub const INCARNATION: Offset = 320;
    /// Boot id of the last writer, two words.
    pub const BOOT: Offset = 384;
    /// Writer token: 0, or lane + 1.
    pub const TOKEN: Offset = 448;
    /// Bit 0: pins may exist; above, how often some lane got its first pin.
    pub const PINS: Offset = 456;
    /// Number of lanes that were ever claimed.
    pub const LANES_USED: Offset = 512;
    /// Counter with which fresh version words start.
    pub const FLOOR: Offset = 576;
    /// Whether the medium holds all, see [`crate::mark`]; 0 where it keeps no mark.
    pub const MARK: Offset = 640;
    /// Number of the file that the segment is in; 0 if it was made before that was noted.
    pub const HOME: Offset = 704;
    /// End of what the header uses.
    pub const END: Offset = 768;
}
/// Copy of the unchanging part of the header.
pub const HEADER_MIRROR: Offset = 4096;
/// Bytes of both header pages.
pub const HEADER_BYTES: u64 = 8192;

/// Places in a lane, from its start.
pub mod lane {
    use super::Offset;
    /// State word, see [`crate::record::State`].
    pub const STATE: Offset = 0;
    /// Sum over the whole record.
    pub const SUM: Offset = 8;
    /// Numbers of nodes, words and fills.
    pub const COUNTS: Offset = 16;
    /// Offset of the continuation, or 0.
    pub const CONTINUATION: Offset = 24;
    /// First entry of the record.
    pub const ENTRIES: Offset = 32;
    /// From the end of the lane: its own line of words that are not part of the record.
    pub const TAIL: Offset = 64;
    /// In the tail: pid of the owner, 0 when free; only names the owner in messages.
    pub const PID: Offset = 0;
    /// In the tail: start of the continuation block that the lane keeps, and its bytes.
    pub const KEPT: Offset = 8;
    /// In the tail: bytes of that block.
    pub const KEPT_BYTES: Offset = 16;
    /// In the tail: slots with pins that stand where entries would; 0 in a lane without pins.
    pub const PINNED: Offset = 24;
    /// In the tail: first cell of the list of blocks that were freed while they were pinned.
    pub const DEFERRED: Offset = 32;
    /// In the tail: how often the lane was claimed.
    pub const CLAIMS: Offset = 40;
}

/// What a granule is. Data kinds are block classes; node kinds never change again (L3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Kind(pub u8);

impl Kind {
    /// Nothing; the extent map decides whether it may be taken.
    pub const FREE: Kind = Kind(0);
    /// First granule of a data extent; its length stands in the descriptor.
    pub const SPAN: Kind = Kind(63);
    /// Root directory.
    pub const DIRECTORY: Kind = Kind(64);
    /// Header and count shards of a hash map.
    pub const HASH_HEADER: Kind = Kind(65);
    /// Directory page of a hash map.
    pub const HASH_DIRECTORY: Kind = Kind(66);
    /// Table of buckets.
    pub const HASH_TABLE: Kind = Kind(67);
    /// First, small table of a hash map.
    pub const HASH_TABLE_SMALL: Kind = Kind(68);
    /// Out-of-line value.
    pub const VALUE: Kind = Kind(69);
    /// Header and count shards of a B-tree.
    pub const TREE_HEADER: Kind = Kind(70);
    /// Node of a B-tree.
    pub const TREE_NODE: Kind = Kind(71);
    /// Header and stripes of an array.
    pub const ARRAY: Kind = Kind(72);
    /// Counter.
    pub const COUNTER: Kind = Kind(73);
    /// Lock.
    pub const LOCK: Kind = Kind(74);
    /// Header of a queue.
    pub const QUEUE_HEADER: Kind = Kind(75);
    /// Slots of a queue, or places for its leases.
    pub const QUEUE_TABLE: Kind = Kind(76);
    /// Large leaf of a typed B-tree; small ones are of kind `TREE_NODE`.
    pub const TREE_LEAF: Kind = Kind(77);
    /// What the root directory calls a typed B-tree; its header is that of a B-tree.
    pub const TYPED_TREE: Kind = Kind(78);
    /// What the root directory calls a typed hash map; its header is that of a hash map.
    pub const TYPED: Kind = Kind(79);
    /// Tables of typed hash maps, by the bytes of a node: 64, 128, 256, 512, 1024.
    pub const TYPED_TABLES: [Kind; 5] = [Kind(80), Kind(81), Kind(82), Kind(83), Kind(84)];
    /// All node kinds, for those who walk them.
    pub const NODES: [Kind; 19] = [
        Kind::DIRECTORY,
        Kind::HASH_HEADER,
        Kind::HASH_DIRECTORY,
        Kind::HASH_TABLE,
        Kind::HASH_TABLE_SMALL,
        Kind::VALUE,
        Kind::TREE_HEADER,
        Kind::TREE_NODE,
        Kind::ARRAY,
        Kind::COUNTER,
        Kind::LOCK,
        Kind::QUEUE_HEADER,
        Kind::QUEUE_TABLE,
        Kind::TREE_LEAF,
        Kind::TYPED_TABLES[0],
        Kind::TYPED_TABLES[1],
        Kind::TYPED_TABLES[2],
        Kind::TYPED_TABLES[3],
        Kind::TYPED_TABLES[4],
    ];

    /// Whether the granule holds version words.
    #[inline]
    pub fn is_node(self) -> bool {
        self.0 >= 64
    }

    /// Bytes of one block in a granule of this kind; 0 if it is not divided into blocks.
    #[inline]
    pub fn block_bytes(self) -> u64 {
        match self.0 {
            1..=CLASSES => u64::from(CLASS_BYTES[self.0 as usize - 1]),
            64 | 65 | 68 | 75 => 4096,
            66 | 67 | 76 | 80..=84 => GRANULE,
            69 | 73 | 74 => LINE,
            70 => 2048,
            71 => TREE_NODE_BYTES,
            77 => TREE_LEAF_BYTES,
            72 => 1024,
            _ => 0,
        }
    }

    /// Bytes from one version word of a node extent to the next.
    #[inline(always)]
    pub fn node_bytes(self) -> u64 {
        match self.0 {
            71 => TREE_NODE_BYTES,
            77 => TREE_LEAF_BYTES,
            80..=84 => LINE << (self.0 - 80),
            _ => LINE,
        }
    }

    /// Blocks in a granule of this kind.
    #[inline]
    pub fn blocks(self) -> u64 {
        match self.block_bytes() {
            0 => 0,
            bytes => (GRANULE / bytes).min(BITMAP_WORDS as u64 * 64),
        }
    }

    /// The smallest block class for `bytes`, or `None` where a data extent is needed.
    #[inline]
    pub fn for_bytes(bytes: u64) -> Option<Kind> {
        if bytes > u64::from(CLASS_BYTES[CLASS_BYTES.len() - 1]) {
            return None;
        }
        let class = CLASS_OF_16[(bytes as usize).div_ceil(16)];
        Some(Kind(class))
    }
}

const CLASSES: u8 = CLASS_BYTES.len() as u8;
/// Block sizes of the data kinds `Kind(1)`..: steps of at most a quarter, whole parts of a granule
/// where blocks are large.
pub const CLASS_BYTES: [u16; 28] = [
    32, 48, 64, 80, 96, 112, 128, 144, 160, 192, 224, 256, 320, 384, 448, 512, 640, 768, 896, 1024,
    1360, 1632, 2048, 2336, 2720, 4096, 5456, 8192,
];
/// Class for a length in units of 16 bytes.
const CLASS_OF_16: [u8; 513] = class_table();

const fn class_table() -> [u8; 513] {
    let mut table = [0; 513];
    let (mut class, mut i) = (0, 0);
    while i < table.len() {
        while (CLASS_BYTES[class] as usize) < i * 16 {
            class += 1;
        }
        table[i] = class as u8 + 1;
        i += 1;
    }
    table
}

/// Places in a granule's descriptor, a node.
pub mod descriptor {
    /// Word of kind, owner and length.
    pub const META: u64 = 8;
    /// First bitmap word.
    pub const BITMAP: u64 = 16;
}
/// Bitmap words of a descriptor.
pub const BITMAP_WORDS: usize = 6;

/// Word `META` of a descriptor: kind 8 | owner lane + 1, 16 | granules 40.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Meta(pub u64);

impl Meta {
    /// Puts the three together; `granules` counts a data extent's length and is 1 elsewhere.
    pub fn new(kind: Kind, owner: u16, granules: u64) -> Meta {
        Meta(u64::from(kind.0) | u64::from(owner) << 8 | granules << 24)
    }
    /// What the granule is.
    #[inline]
    pub fn kind(self) -> Kind {
        Kind(self.0 as u8)
    }
    /// Lane + 1 that prefers to allocate here, 0 for none: a hint that spares contention.
    #[inline]
    pub fn owner(self) -> u16 {
        (self.0 >> 8) as u16
    }
    /// Length in granules.
    #[inline]
    pub fn granules(self) -> u64 {
        self.0 >> 24
    }
}

/// Sizes and places that are fixed when a segment is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Start of the lane table.
    pub lanes_at: Offset,
    /// Bytes of a lane.
    pub lane_bytes: u64,
    /// Number of lanes.
    pub lanes: u64,
    /// Start of region 0.
    pub heap_at: Offset,
    /// End of the offset space.
    pub size_limit: Offset,
    /// First line of the root directory.
    pub directory_at: Offset,
    /// Seed of the key hash.
    pub seed: u64,
    /// Identity of the segment.
    pub uuid: [u8; 16],
    /// Features that writers must know and readers need not.
    pub features: u64,
}

/// Where one granule's descriptor and map bit stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// First byte of the granule.
    pub granule: Offset,
    /// Its descriptor.
    pub descriptor: Offset,
    /// The extent-map node that has its bit.
    pub map: Offset,
    /// Word of that node.
    pub map_word: Offset,
    /// Bit in that word.
    pub map_bit: u32,
}

/// A region: its table (extent maps, descriptors), then granules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// First byte.
    pub at: Offset,
    /// Bytes, table included.
    pub bytes: u64,
}

impl Region {
    /// Granules, those of the table included.
    pub fn granules(self) -> u64 {
        self.bytes / GRANULE
    }
    /// Extent-map nodes.
    pub fn maps(self) -> u64 {
        self.granules().div_ceil(GRANULES_PER_MAP)
    }
    /// Granules that the table itself takes.
    pub fn table_granules(self) -> u64 {
        ((self.maps() + self.granules()) * LINE).div_ceil(GRANULE)
    }
    /// First byte behind the table.
    pub fn data_at(self) -> Offset {
        self.at + self.table_granules() * GRANULE
    }
    /// First byte behind the region.
    pub fn end(self) -> Offset {
        self.at + self.bytes
    }
    /// Where granule number `index` of this region is described.
    pub fn place(self, index: u64) -> Place {
        let map = self.at + index / GRANULES_PER_MAP * LINE;
        Place {
            granule: self.at + index * GRANULE,
            descriptor: self.at + (self.maps() + index) * LINE,
            map,
            map_word: map + 8 + index % GRANULES_PER_MAP / 64 * 8,
            map_bit: (index % 64) as u32,
        }
    }
}

impl Geometry {
    /// The usual geometry for a segment of at most `max_bytes` of heap.
    pub fn new(max_bytes: u64, seed: u64, uuid: [u8; 16]) -> Geometry {
        let (lane_bytes, lanes) = (16 << 10, 1023);
        let heap_at = lane_bytes * (lanes + 1);
        let mut geometry = Geometry {
            lanes_at: lane_bytes,
            lane_bytes,
            lanes,
            heap_at,
            size_limit: heap_at + max_bytes,
            directory_at: 0,
            seed,
            uuid,
            features: FEATURE_PINS,
        };
        geometry.directory_at = geometry.region(0).data_at();
        geometry
    }

    /// Whether writers of this segment know of pins.
    pub fn has_pins(&self) -> bool {
        self.features & FEATURE_PINS != 0
    }

    /// Start of lane `index`.
    #[inline]
    pub fn lane(&self, index: u64) -> Offset {
        self.lanes_at + index * self.lane_bytes
    }

    /// Words that a record's entries may take in the lane itself.
    #[inline]
    pub fn inline_words(&self) -> u64 {
        (self.lane_bytes - lane::ENTRIES - lane::TAIL) / 8
    }

    /// Region number `index`.
    pub fn region(&self, index: u32) -> Region {
        match index {
            0 => Region { at: self.heap_at, bytes: REGION_MIN },
            _ => {
                let bytes = REGION_MIN << (index - 1);
                Region { at: self.heap_at + bytes, bytes }
            }
        }
    }

    /// The region that holds `at`, which lies in the heap.
    #[inline]
    pub fn region_of(&self, at: Offset) -> Region {
        let unit = (at - self.heap_at) / REGION_MIN;
        self.region(u64::BITS - unit.leading_zeros())
    }

    /// Where the granule that holds `at` is described; `at` lies in the heap.
    #[inline]
    pub fn place(&self, at: Offset) -> Place {
        let region = self.region_of(at);
        region.place((at - region.at) / GRANULE)
    }

    /// Whether `at` lies in the heap's offset space.
    #[inline]
    pub fn in_heap(&self, at: Offset) -> bool {
        at >= self.heap_at && at < self.size_limit
    }
}

const _: () = assert!(header::END <= HEADER_MIRROR);
const _: () = assert!(header::CHECKSUM + 8 <= header::BACKED);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_holds_what_it_is_chosen_for() {
        for bytes in 0..=8192 {
            let kind = Kind::for_bytes(bytes).unwrap();
            assert!(kind.block_bytes() >= bytes && kind.block_bytes().is_multiple_of(16));
            assert!(kind.0 == 1 || u64::from(CLASS_BYTES[kind.0 as usize - 2]) < bytes);
            assert!(kind.blocks() * kind.block_bytes() <= GRANULE);
        }
        assert_eq!(Kind::for_bytes(8193), None);
    }

    #[test]
    fn regions_tile_the_heap_and_know_their_granules() {
        let geometry = Geometry::new(1 << 40, 0, [0; 16]);
        let mut end = geometry.heap_at;
        for index in 0..20 {
            let region = geometry.region(index);
            assert_eq!(region.at, end);
            end = region.end();
            for at in [region.at, region.data_at(), region.end() - 1] {
                assert_eq!(geometry.region_of(at), region);
                let place = geometry.place(at);
                assert!(place.granule <= at && at < place.granule + GRANULE);
                assert!(place.descriptor + LINE <= region.data_at());
                assert!(place.map < region.at + region.maps() * LINE);
            }
        }
    }
}
