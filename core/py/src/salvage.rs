//! `_core.Damaged`: what can still be read of a damaged segment, copied into a sound one.

use crate::attached::Engine;
use crate::error::Kind as Exception;
use crate::raise::exception;
use crate::salvage_small::is_small;
use crate::segment::{MAX_SIZE_MAX, RAW, SET, Segment, kind_name, map, random_id};
use crate::wait::Detached;
use crate::{key, value};
use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::collections::{HashMap, HashSet};
use std::os::fd::AsFd;
use vasmem_engine::directory::{self, Named};
use vasmem_engine::layout::HEADER_BYTES;
use vasmem_engine::os::{OsHost, boot_id};
use vasmem_engine::{
    Error, Invariant, Kind, Losses, Offset, Result, Segment as EngineSegment, Violation, format,
};
use vasmem_memory::{Access, Mapped, Memory};
use vasmem_structs::btree::Salvage as TreeSalvage;
use vasmem_structs::hashmap::{Claims, HashMap as Map, Piece, Salvage};
use vasmem_structs::salvage::Saved;
use vasmem_structs::{Array, BTree, Keyed, TypedMap};

/// What breaks an invariant: its number, place, text.
type Reason = (u16, String, String);
/// Places lost, and the reasons.
type Lost = (u64, Vec<Reason>);
/// Name, kind, entries copied, and what of them was lost.
type Copied = (String, &'static str, u64, Lost);

/// A typed map and the description of its types.
type Typed = (TypedMap, Vec<u8>);

/// A map that can be read and the tables that it claims.
struct Readable<'a> {
    salvage: Salvage<'a, Mapped, OsHost>,
    typed: Option<Typed>,
    pieces: Vec<Piece>,
}

/// The same, or what is lost.
type Begun<'a> = std::result::Result<Readable<'a>, Losses>;

/// Bytes of rows that are copied at a time.
const ARRAY_BYTES: u64 = 1 << 20;
/// Seconds to wait where others write.
const TIMEOUT_S: f64 = 10.0;

/// A segment of which only the header is sound for certain. It is never written.
#[pyclass(frozen, module = "vasmem._core")]
pub struct Damaged {
    pub(crate) engine: Engine,
    name: String,
}

impl Damaged {
    fn raise(&self, error: Error, raised: Option<PyErr>) -> PyErr {
        exception(&self.name, Some(&self.engine), error, raised)
    }

    /// Runs `body` while other threads run. Bytes that somebody cut off meanwhile read as zeros:
    /// what was read is nothing then.
    pub(crate) fn detached<T: Send>(
        &self,
        py: Python<'_>,
        body: impl FnOnce(&mut Detached) -> Result<T> + Send,
    ) -> PyResult<T> {
        let mut waiter = Detached::new(TIMEOUT_S);
        let done = py.detach(|| {
            let value = body(&mut waiter)?;
            match Memory::poisoned(&self.engine.memory) {
                true => Err(Error::corrupted(Invariant::Mapping, 0)),
                false => Ok(value),
            }
        });
        done.map_err(|error| self.raise(error, waiter.raised.take()))
    }

    /// Begins with each map, and tells which tables it claims; a map whose header is broken has
    /// only losses.
    fn begin<'a>(
        &'a self,
        py: Python<'_>,
        names: Vec<Named>,
        claims: &mut Claims,
        described: &Bound<'_, PyAny>,
    ) -> PyResult<Vec<(Named, Begun<'a>)>> {
        let mut begun: Vec<(Named, Begun<'a>)> = Vec::new();
        let mut owners: HashMap<Offset, usize> = HashMap::new();
        for named in names {
            let mut losses = Losses::default();
            if ![Kind::HASH_HEADER, Kind::TYPED].contains(&named.kind) {
                let text = format!("a structure of kind {}, not known here", named.kind.0);
                losses.note(Invariant::Directory, named.node, text);
                begun.push((named, Err(losses)));
                continue;
            }
            let salvage = self.detached(py, |waiter| {
                let what = "the whole map: its header is not readable";
                let typed = match named.kind == Kind::TYPED {
                    true => self.typed(waiter, &named).map(Some),
                    false => Ok(None),
                };
                let Some(typed) = losses.unless_broken(typed, what)? else { return Ok(None) };
                let tables = typed.as_ref().map(|(map, _)| map.form.kind);
                let salvage = Salvage::begin(&self.engine, waiter, &named, tables);
                Ok(losses.unless_broken(salvage, what)?.map(|salvage| (salvage, typed)))
            })?;
            let Some((mut salvage, typed)) = salvage else {
                begun.push((named, Err(losses)));
                continue;
            };
            if let Some((map, description)) = &typed {
                let sizes = (map.form.key_bytes, map.form.value_bytes);
                let structure = (&named, format!("hash map {:?}", named.name));
                if !is_described(described, structure, description, sizes, &mut losses)? {
                    begun.push((named, Err(losses)));
                    continue;
                }
            }
            if let Some(&first) = owners.get(&named.node) {
                let text = "this map has two names; it is copied under the first";
                losses.note(Invariant::Reachable, named.node, text);
                if let (_, Ok(map)) = &mut begun[first] {
                    map.salvage.losses.note(Invariant::Reachable, named.node, text);
                }
                begun.push((named, Err(losses)));
                continue;
            }
            owners.insert(named.node, begun.len());
            let pieces = self.detached(py, |waiter| salvage.pieces(waiter, claims))?;
            begun.push((named, Ok(Readable { salvage, typed, pieces })));
        }
        Ok(begun)
    }

    fn typed(&self, waiter: &mut Detached, named: &Named) -> Result<Typed> {
        self.engine.read(waiter, |access| {
            let map = TypedMap::of(access, named)?;
            Ok((map, map.description(access)?))
        })
    }

    /// As `copy_map`, of a typed map.
    fn copy_typed(
        &self,
        py: Python<'_>,
        named: &Named,
        (salvage, pieces): (&mut Salvage<'_, Mapped, OsHost>, Vec<Piece>),
        (map, description): &Typed,
        target: &Segment,
    ) -> PyResult<u64> {
        let id = random_id()?;
        let attached = &target.attached;
        let new = attached
            .write(py, |tx| TypedMap::create(tx, &named.name, map.form, description, id))?;
        for piece in pieces {
            py.check_signals()?;
            salvage.enter();
            for number in map.nodes() {
                let saved =
                    self.detached(py, |waiter| map.save(salvage, waiter, &piece, number))?;
                attached.detached(py, |engine, waiter| {
                    saved.iter().try_for_each(|(key, value)| {
                        waiter.begin()?;
                        engine.write(waiter, |tx| new.put(tx, key, value, None))?;
                        Ok(())
                    })
                })?;
            }
        }
        let copied = attached.detached(py, |engine, waiter| engine.read(waiter, |a| new.len(a)))?;
        compare(named, copied, salvage.counted, &mut salvage.losses);
        Ok(copied)
    }

    /// Makes the map and copies its entries; tells how many there are.
    fn copy_map(
        &self,
        py: Python<'_>,
        named: &Named,
        (salvage, pieces): (&mut Salvage<'_, Mapped, OsHost>, Vec<Piece>),
        target: &Segment,
        taken: &mut HashSet<Offset>,
    ) -> PyResult<u64> {
        let map: Map = make(py, named, target)?;
        for piece in pieces {
            py.check_signals()?;
            salvage.enter();
            for line in piece.lines() {
                let saved =
                    self.detached(py, |waiter| salvage.bucket(waiter, &piece, line, taken))?;
                put(py, named, &map, target, (saved, &mut salvage.losses))?;
            }
        }
        counted(py, named, &map, target, (salvage.counted, &mut salvage.losses))
    }

    /// As `copy_map`, of the rows of an array, of which nothing says whether they are good.
    fn copy_array(
        &self,
        py: Python<'_>,
        named: &Named,
        target: &Segment,
        nodes: &mut HashSet<Offset>,
    ) -> PyResult<(u64, Losses)> {
        let mut losses = Losses::default();
        let engine = &self.engine;
        let found = self.detached(py, |waiter| {
            let found = engine.read(waiter, |access| {
                let array = Array::of(access, named)?;
                Ok((array, array.len(access)?, array.description(access)?))
            });
            losses.unless_broken(found, "the whole array: its header is not readable")
        })?;
        let Some((array, length, description)) = found else { return Ok((0, losses)) };
        if !nodes.insert(named.node) {
            let text = "this array has two names; it is copied under the first";
            losses.note(Invariant::Reachable, named.node, text);
            return Ok((0, losses));
        }
        let (id, width) = (random_id()?, array.row_bytes());
        let new = target
            .attached
            .write(py, |tx| Array::create(tx, &named.name, id, (0, width), &description))?;
        let step = (ARRAY_BYTES / width).max(1);
        for first in (0..length).step_by(step as usize) {
            py.check_signals()?;
            let range = first * width..(first + step).min(length) * width;
            let mut rows = vec![0; (range.end - range.start) as usize];
            let ranges = std::slice::from_ref(&range);
            let read = self.detached(py, |waiter| {
                let read =
                    engine.read(waiter, |access| array.read(access, ranges, None, &mut rows));
                losses.unless_broken(read, "the rows from here on")
            })?;
            if read != Some(true) {
                return Ok((first, losses));
            }
            target.attached.write(py, |tx| new.extend(tx, &rows).map(|_| ()))?;
        }
        Ok((length, losses))
    }

    /// As `copy_map`, of a tree; `nodes` has those of other trees.
    fn copy_tree(
        &self,
        named: &Named,
        target: &Segment,
        nodes: &mut HashSet<Offset>,
        taken: &mut HashSet<Offset>,
        described: &Bound<'_, PyAny>,
    ) -> PyResult<(u64, Losses)> {
        let py = described.py();
        let mut losses = Losses::default();
        let salvage = self.detached(py, |waiter| {
            let salvage = TreeSalvage::begin(&self.engine, waiter, named);
            losses.unless_broken(salvage, "the whole tree: its header is not readable")
        })?;
        let Some(mut salvage) = salvage else { return Ok((0, losses)) };
        if let Some((form, description)) = &salvage.typed {
            let sizes = (form.key_bytes.into(), form.value_bytes.into());
            let structure = (named, format!("B-tree {:?}", named.name));
            if !is_described(described, structure, description, sizes, &mut losses)? {
                return Ok((0, losses));
            }
        }
        if !nodes.insert(named.node) {
            let text = "this tree has two names; it is copied under the first";
            losses.note(Invariant::Reachable, named.node, text);
            return Ok((0, losses));
        }
        let tree: BTree = match &salvage.typed {
            None => make(py, named, target)?,
            Some((form, description)) => {
                let id = random_id()?;
                target
                    .attached
                    .write(py, |tx| BTree::create_typed(tx, &named.name, *form, description, id))?
            }
        };
        // What a typed tree holds is bytes.
        let flags = if salvage.typed.is_some() { RAW } else { named.flags };
        let read_as = Named { flags, ..named.clone() };
        loop {
            py.check_signals()?;
            let saved = self.detached(py, |waiter| salvage.next(waiter, nodes, taken))?;
            let Some(saved) = saved else { break };
            put(py, &read_as, &tree, target, (saved, &mut salvage.losses))?;
        }
        let read = (salvage.counted, &mut salvage.losses);
        let copied = counted(py, named, &tree, target, read)?;
        Ok((copied, salvage.losses))
    }
}

/// Makes an empty structure of that name and kind.
fn make<S: Keyed>(py: Python<'_>, named: &Named, target: &Segment) -> PyResult<S> {
    let id = random_id()?;
    target.attached.write(py, |tx| S::create(tx, &named.name, named.flags, id))
}

/// Puts those records that can be decoded.
fn put<S: Keyed>(
    py: Python<'_>,
    named: &Named,
    structure: &S,
    target: &Segment,
    (saved, losses): (Vec<Saved>, &mut Losses),
) -> PyResult<()> {
    let good = match named.flags & RAW != 0 {
        true => saved,
        false => decodable(py, saved, named.flags, losses)?,
    };
    target.attached.detached(py, |engine, waiter| {
        let mut record = Vec::new();
        good.iter().try_for_each(|Saved { key, value, .. }| {
            waiter.begin()?;
            engine.write(waiter, |tx| structure.put(tx, key, value, &mut record))?;
            Ok(())
        })
    })
}

/// How many keys there are, which should be as many as were counted.
fn counted<S: Keyed>(
    py: Python<'_>,
    named: &Named,
    structure: &S,
    target: &Segment,
    (counted, losses): (Option<u64>, &mut Losses),
) -> PyResult<u64> {
    let copied = target
        .attached
        .detached(py, |engine, waiter| engine.read(waiter, |access| structure.len(access)))?;
    compare(named, copied, counted, losses);
    Ok(copied)
}

/// Whether Python knows the types that a typed structure says it has; if not, all of it is lost.
fn is_described(
    described: &Bound<'_, PyAny>,
    (named, what): (&Named, String),
    description: &[u8],
    sizes: (u64, u64),
    losses: &mut Losses,
) -> PyResult<bool> {
    let py = described.py();
    match described.call1((what, PyBytes::new(py, description), sizes)) {
        Ok(_) => Ok(true),
        Err(error) if error.is_instance(py, Exception::SegmentCorrupted.class(py)?) => {
            losses.note(Invariant::Directory, named.node, error.value(py).to_string());
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

fn compare(named: &Named, copied: u64, counted: Option<u64>, losses: &mut Losses) {
    if let Some(counted) = counted.filter(|&counted| counted != copied) {
        let text = format!("the counts say {counted} keys, {copied} were copied");
        losses.note(Invariant::MapCount, named.node, text);
    }
}

/// Those records of an encoded map whose key and value can be decoded.
fn decodable(
    py: Python<'_>,
    saved: Vec<Saved>,
    flags: u8,
    losses: &mut Losses,
) -> PyResult<Vec<Saved>> {
    let corrupted = Exception::SegmentCorrupted.class(py)?;
    let mut good = Vec::with_capacity(saved.len());
    for record in saved {
        let decoded = key::decode(py, &record.key).and_then(|_| match flags & SET != 0 {
            true => Ok(()),
            false => value::decode(py, &record.value).map(|_| ()),
        });
        match decoded {
            Err(error) if error.is_instance(py, corrupted) => {
                losses.note(Invariant::MapRecord, record.at, error.value(py).to_string());
            }
            // A value of a package that is not here is not damaged for that.
            Err(error) if !error.is_instance_of::<PyImportError>(py) => return Err(error),
            _ => good.push(record),
        }
    }
    Ok(good)
}

fn told(losses: Losses) -> Lost {
    let reason = |v: Violation| (v.invariant as u16, format!("offset {}", v.at), v.text);
    (losses.count, losses.listed.into_iter().map(reason).collect())
}

#[pymethods]
impl Damaged {
    #[new]
    #[pyo3(signature = (fd, *, name))]
    fn new(fd: i32, name: String) -> PyResult<Damaged> {
        let fd = crate::descriptor::duplicate(fd).map_err(PyErr::from)?;
        let raise = |error| exception(&name, None, error, None);
        let probe = map(fd.as_fd(), HEADER_BYTES, Access::ReadOnly)?;
        let geometry = format::open_damaged(&probe, probe.file_size()?).map_err(raise)?;
        let memory = map(fd.as_fd(), geometry.size_limit, Access::ReadOnly)?;
        memory.raise_limit(geometry.size_limit);
        let is_other_boot = format::is_other_boot(&memory, boot_id().map_err(raise)?);
        let engine = EngineSegment::new(memory, None, geometry).lenient(is_other_boot);
        Ok(Damaged { engine, name })
    }

    #[getter]
    fn max_size(&self) -> u64 {
        let geometry = &self.engine.geometry;
        (geometry.size_limit - geometry.heap_at).min(MAX_SIZE_MAX)
    }

    /// Copies into an empty segment all that can be read: a row for each structure, and what was
    /// lost of the root directory. `described` raises SegmentCorrupted for damaged descriptions of
    /// types.
    fn copy_to(
        &self,
        py: Python<'_>,
        target: &Segment,
        described: &Bound<'_, PyAny>,
    ) -> PyResult<(Vec<Copied>, Lost)> {
        let mut lost = Losses::default();
        let names =
            self.detached(py, |waiter| directory::salvage(&self.engine, waiter, &mut lost))?;
        let mut claims = Claims::default();
        let mut taken = HashSet::new();
        let mut rows = Vec::new();
        let is_array = |named: &Named| named.kind == Kind::ARRAY;
        let (arrays, others): (Vec<_>, Vec<_>) = names.into_iter().partition(is_array);
        let is_tree = |named: &Named| [Kind::TREE_HEADER, Kind::TYPED_TREE].contains(&named.kind);
        let (trees, others): (Vec<_>, Vec<_>) = others.into_iter().partition(is_tree);
        let (small, others): (Vec<_>, Vec<_>) = others.into_iter().partition(is_small);
        for (named, begun) in self.begin(py, others, &mut claims, described)? {
            let (copied, losses) = match begun {
                Ok(Readable { mut salvage, typed, pieces }) => {
                    let pieces = salvage.settle(pieces, &claims);
                    let source = (&mut salvage, pieces);
                    let copied = match typed {
                        Some(typed) => self.copy_typed(py, &named, source, &typed, target)?,
                        None => self.copy_map(py, &named, source, target, &mut taken)?,
                    };
                    (copied, salvage.losses)
                }
                Err(losses) => (0, losses),
            };
            let kind = kind_name(named.kind, named.flags);
            rows.push((named.name, kind, copied, told(losses)));
        }
        let mut nodes = HashSet::new();
        for named in trees {
            let (copied, losses) =
                self.copy_tree(&named, target, &mut nodes, &mut taken, described)?;
            let kind = kind_name(named.kind, named.flags);
            rows.push((named.name, kind, copied, told(losses)));
        }
        for named in small {
            let (copied, losses) = self.copy_small(py, &named, target, &mut taken)?;
            let kind = kind_name(named.kind, named.flags);
            rows.push((named.name, kind, copied, told(losses)));
        }
        for named in arrays {
            let (copied, losses) = self.copy_array(py, &named, target, &mut nodes)?;
            let kind = kind_name(named.kind, named.flags);
            rows.push((named.name, kind, copied, told(losses)));
        }
        Ok((rows, told(lost)))
    }
}
