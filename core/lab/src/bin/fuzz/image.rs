//! The segment that is mutated: built once, and brought back to what it was after every input.

use crate::{arrays, small, sorted, typed};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};
use vasmem_engine::lab::{Action, Point};
use vasmem_engine::layout::{GRANULE, LINE};
use vasmem_engine::{Error, Geometry, Result, Segment, Transaction, format};
pub use vasmem_lab::alone::{Alone, Impatient};
use vasmem_memory::{Access, Mapped, Medium, Memory, Offset, Tap};
use vasmem_structs::{BTree, HashMap};

pub type Attached = Segment<Mapped, Alone>;
pub type Underway<'a> = Transaction<'a, Mapped, Alone>;

/// Names of the maps. The third has large values, the last has none, as a set.
pub const MAPS: [&str; 6] = ["grown", "short", "large", "single", "few", "set"];
/// Names of the B-trees. The second has keys with long beginnings in common, and large values.
pub const TREES: [&str; 3] = ["tree", "long", "root"];
const MAX_BYTES: u64 = 6 << 20;
const SIZE_BYTES: u64 = 1 << 20;
/// Lanes that the image has.
pub const LANES: u64 = 9;

/// Lines that were written since the image was last whole.
#[derive(Default)]
struct Dirty(Mutex<Vec<(Offset, u64)>>);

impl Dirty {
    fn note(&self, at: Offset, bytes: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((at, bytes));
    }
}

impl Tap for Dirty {
    fn store(&self, at: Offset, bytes: &[u8]) {
        self.note(at, bytes.len() as u64);
    }
    fn flush(&self, _: Offset, _: u64) {}
    fn fence(&self) {}
}

/// The segment's file, and what stands in it when it is whole.
pub struct Image {
    file: File,
    editor: Mapped,
    dirty: Arc<Dirty>,
    head: Vec<u8>,
    heap: Vec<u8>,
    pub heap_at: Offset,
    pub end: Offset,
    /// Places that hold something, by what they are.
    pub places: Places,
}

/// Words worth mutating.
#[derive(Default)]
pub struct Places {
    pub header: Vec<Offset>,
    pub lanes: Vec<Offset>,
    pub tables: Vec<Offset>,
    pub nodes: Vec<Offset>,
    /// The same by their kind.
    pub kinds: Vec<Vec<Offset>>,
    pub blocks: Vec<Offset>,
}

fn map(file: BorrowedFd<'_>, bytes: u64, access: Access, medium: Medium) -> Result<Mapped> {
    let mapped = Mapped::map(file, bytes, access, medium);
    mapped.map_err(|error| Error::Os(io::Error::other(error.to_string())))
}

impl Image {
    pub fn build() -> Result<Image> {
        let file: File = memfd_create("fuzz", MemfdFlags::CLOEXEC).map_err(io::Error::from)?.into();
        let geometry = Geometry::new(MAX_BYTES, 0x5eed, [7; 16]);
        let (header, end) = format::first_bytes(&geometry, SIZE_BYTES);
        ftruncate(&file, end).map_err(io::Error::from)?;
        let editor = map(file.as_fd(), geometry.size_limit, Access::ReadWrite, Medium::Volatile)?;
        editor.allocate(0, header)?;
        editor.allocate(geometry.heap_at, end - geometry.heap_at)?;
        format::create(&editor, &geometry, end, [1, 1]);
        let mut image = Image {
            file,
            editor,
            dirty: Arc::default(),
            head: Vec::new(),
            heap: Vec::new(),
            heap_at: geometry.heap_at,
            end,
            places: Places::default(),
        };
        image.populate()?;
        image.keep(&geometry)?;
        Ok(image)
    }

    fn populate(&self) -> Result<()> {
        let segment = self.attach(0, Medium::CacheLine)?;
        let mut maps = Vec::new();
        for (number, name) in MAPS.into_iter().enumerate() {
            let map = segment.write(&mut Impatient::default(), |tx| {
                HashMap::create(tx, name, 0, number as u64 + 1)
            })?;
            maps.push(map);
            let keys = [1500, 40, 12, 1, 5, 60][number];
            for key in 0..keys {
                put(&segment, &map, key, &value(number as u64, key))?;
            }
        }
        for key in 0..30 {
            segment.write(&mut Impatient::default(), |tx| {
                maps[0].delete(tx, &key_bytes(key * 3), &mut Vec::new())
            })?;
        }
        let trees = self.plant(&segment)?;
        arrays::make(&segment)?;
        typed::make(&segment)?;
        sorted::make(&segment)?;
        small::make(&segment)?;
        drop(segment);
        // Each of these dies in a commit of its own map, the last ones in one of trees, of small
        // structures and typed ones, of arrays: the last locks where granules come from.
        self.die(1, Point::Committed, &maps[0], 60)?;
        self.die(2, Point::Validated, &maps[1], 3)?;
        self.die(3, Point::Fenced, &maps[3], 1)?;
        self.die(4, Point::Committed, &maps[4], 2)?;
        self.die_in_tree(5, &trees)?;
        self.die_in_others(6)?;
        expect_death(arrays::die(&self.attach(7, Medium::CacheLine)?))
    }

    fn die_in_others(&self, first: u16) -> Result<()> {
        let segment = self.attach(first, Medium::CacheLine)?;
        let (typed, small) = (typed::prepare(&segment)?, small::prepare(&segment)?);
        let sorted = sorted::prepare(&segment)?;
        let died = segment.write(&mut Impatient::default(), |tx| {
            typed(tx)?;
            sorted(tx)?;
            small(tx)?;
            segment.switches.arm(Point::Committed, 0, Action::Return);
            Ok(())
        });
        expect_death(died)
    }

    fn plant(&self, segment: &Attached) -> Result<Vec<BTree>> {
        let mut trees = Vec::new();
        for (number, name) in TREES.into_iter().enumerate() {
            let tree = segment.write(&mut Impatient::default(), |tx| {
                BTree::create(tx, name, 0, number as u64 + 20)
            })?;
            trees.push(tree);
            for key in 0..[1500, 150, 9][number] {
                let mut bytes = key_bytes(key);
                if number == 1 {
                    bytes.extend([b'x'; 300]);
                    bytes.extend(key_bytes(key));
                }
                let value = if number == 1 { value(2, key % 3) } else { value(0, key) };
                let value = &value[..value.len().min(5000)];
                segment.write(&mut Impatient::default(), |tx| {
                    tree.put(tx, &bytes, value, &mut Vec::new())
                })?;
            }
        }
        Ok(trees)
    }

    /// A writer with lane `first` splits leaves of two trees, and dies when it has committed.
    fn die_in_tree(&self, first: u16, trees: &[BTree]) -> Result<()> {
        let segment = self.attach(first, Medium::CacheLine)?;
        let died = segment.write(&mut Impatient::default(), |tx| {
            for key in 0..70 {
                trees[0].put(tx, &key_bytes(4000 + key), &[b's'; 1200], &mut Vec::new())?;
                trees[2].put(tx, &key_bytes(100 + key), &[b's'; 1200], &mut Vec::new())?;
            }
            // Not before: taking a run is a commit, too.
            segment.switches.arm(Point::Committed, 0, Action::Return);
            Ok(())
        });
        expect_death(died)
    }

    /// A writer with lane `first` overwrites `keys` values in place, adds as many if they are many,
    /// and dies at `point`.
    fn die(&self, first: u16, point: Point, map: &HashMap, keys: u64) -> Result<()> {
        let segment = self.attach(first, Medium::CacheLine)?;
        let died = segment.write(&mut Impatient::default(), |tx| {
            for key in 0..keys {
                let mut record = Vec::new();
                let number = if keys > 10 { key + 100 } else { key };
                if let Some(old) = map.get(tx, &key_bytes(number), &mut record)? {
                    let new = vec![b'd'; old.len()];
                    map.put(tx, &key_bytes(number), &new, &mut record)?;
                }
                if keys > 10 {
                    map.put(tx, &key_bytes(key + 9000), &[b'n'; 90], &mut record)?;
                }
            }
            segment.switches.arm(point, 0, Action::Return);
            Ok(())
        });
        expect_death(died)
    }

    fn keep(&mut self, geometry: &Geometry) -> Result<()> {
        self.end = self.editor.file_size()?;
        self.head = vec![0; geometry.lane(LANES) as usize];
        self.editor.copy_out(0, &mut self.head);
        self.heap = vec![0; (self.end - self.heap_at) as usize];
        self.editor.copy_out(self.heap_at, &mut self.heap);
        self.dirty.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let segment = self.attach(LANES as u16, Medium::Volatile)?;
        let is_used = |at: &Offset| self.editor.load(*at, vasmem_memory::Ordering::Relaxed) != 0;
        let words = |from: Offset, to: Offset| (from..to).step_by(8).filter(is_used);
        let places = &mut self.places;
        places.header.extend((0..256).step_by(8).chain((256..640).step_by(64)));
        for lane in 0..LANES - 1 {
            let at = geometry.lane(lane);
            // The first words of a record say more than the later ones.
            for _ in 0..40 {
                places.lanes.extend([at, at + 8, at + 16, at + 24, at + geometry.lane_bytes - 64]);
                places.lanes.extend(words(at + 32, at + 96));
            }
            places.lanes.extend(words(at + 32, at + geometry.lane_bytes));
        }
        let mut kinds = BTreeMap::<u8, Vec<Offset>>::new();
        let mut granule = geometry.heap_at;
        while granule < self.end {
            let region = geometry.region_of(granule);
            if granule < region.data_at() {
                places.tables.extend(words(granule, (granule + GRANULE).min(self.end)));
            } else if segment.kind_at(granule).is_node() {
                let kind = segment.kind_at(granule).0;
                kinds.entry(kind).or_default().extend(words(granule, granule + GRANULE));
                places.nodes.extend(words(granule, granule + GRANULE));
            } else {
                places.blocks.extend(words(granule, granule + GRANULE));
            }
            granule += GRANULE;
        }
        places.kinds = kinds.into_values().filter(|words| !words.is_empty()).collect();
        Ok(())
    }

    /// Attaches as the only living process; the lanes before `first` have living owners.
    pub fn attach(&self, first: u16, medium: Medium) -> Result<Attached> {
        self.attach_as(Some(Alone { first }), medium)
    }

    /// Attaches, without a host for reading only.
    pub fn attach_as(&self, host: Option<Alone>, medium: Medium) -> Result<Attached> {
        let access = if host.is_some() { Access::ReadWrite } else { Access::ReadOnly };
        let bytes = self.editor.file_size()?;
        let geometry = format::open(&self.editor, bytes, host.is_some())?;
        let memory = map(self.file.as_fd(), geometry.size_limit, access, medium)?;
        memory.tap(Some(self.dirty.clone()));
        let segment = Segment::new(memory, host, geometry);
        segment.backed();
        Ok(segment)
    }

    pub fn load(&self, at: Offset) -> u64 {
        self.editor.load(at & !7, vasmem_memory::Ordering::Relaxed)
    }

    /// Overwrites a word.
    pub fn store(&self, at: Offset, word: u64) {
        self.editor.store(at & !7, word, vasmem_memory::Ordering::Relaxed);
        self.dirty.note(at & !7, 8);
    }

    /// Cuts the file off.
    pub fn truncate(&self, bytes: u64) -> Result<()> {
        Ok(ftruncate(&self.file, bytes).map_err(io::Error::from)?)
    }

    /// Makes everything as it was.
    pub fn restore(&mut self) -> Result<()> {
        let mut dirty =
            std::mem::take(&mut *self.dirty.0.lock().unwrap_or_else(PoisonError::into_inner));
        let bytes = self.editor.file_size()?;
        if bytes != self.end || self.editor.poisoned() {
            ftruncate(&self.file, self.end).map_err(io::Error::from)?;
        }
        if bytes < self.end || self.editor.poisoned() {
            let limit = self.editor.reserved();
            self.editor = map(self.file.as_fd(), limit, Access::ReadWrite, Medium::Volatile)?;
            self.editor.copy_in(0, &self.head);
            self.editor.copy_in(self.heap_at, &self.heap);
        }
        dirty.drain(..).for_each(|(at, bytes)| self.restore_lines(at, bytes));
        Ok(())
    }

    fn restore_lines(&self, at: Offset, bytes: u64) {
        let mut line = at & !(LINE - 1);
        while line < at + bytes && line < self.end {
            let from = |image: &[u8], at: u64| {
                let at = at as usize;
                image.get(at..at + LINE as usize).map(|line| line.try_into().unwrap_or([0; 64]))
            };
            let found = match line >= self.heap_at {
                true => from(&self.heap, line - self.heap_at),
                false => from(&self.head, line),
            };
            self.editor.copy_in(line, &found.unwrap_or([0; 64]));
            line += LINE;
        }
    }
}

fn expect_death(died: Result<()>) -> Result<()> {
    match died {
        Err(Error::Died) => Ok(()),
        Err(error) => Err(error),
        Ok(()) => Err(Error::format("the writer should have died")),
    }
}

pub fn key_bytes(key: u64) -> Vec<u8> {
    format!("key {key}").into_bytes()
}

/// Values of a map: none, short, of several blocks' sizes, or large up to extents.
pub fn value(map: u64, key: u64) -> Vec<u8> {
    let bytes = match (map, key % 4) {
        (2, 0) => 20_000,
        (2, _) => 4_500 + key * 700,
        (0, 0) => 100,
        (0, _) => 8,
        (5, _) => 0,
        _ => 24 + key % 7 * 60,
    };
    vec![key as u8; bytes as usize]
}

pub fn put(segment: &Attached, map: &HashMap, key: u64, value: &[u8]) -> Result<bool> {
    let mut record = Vec::new();
    segment.write(&mut Impatient::default(), |tx| map.put(tx, &key_bytes(key), value, &mut record))
}

impl Image {
    pub fn lane(&self, lane: u16) -> Offset {
        Geometry::new(MAX_BYTES, 0, [0; 16]).lane(u64::from(lane))
    }

    /// Bytes of the entries of a lane's record, if it may be one.
    pub fn entries(&self, lane: u16) -> Option<Vec<u8>> {
        let geometry = Geometry::new(MAX_BYTES, 0, [0; 16]);
        self.editor.raise_limit(self.end);
        let record = vasmem_engine::record::Record::open(&self.editor, &geometry, lane).ok()?;
        Some(record.entry_words().flat_map(u64::to_le_bytes).collect())
    }
}
