//! Typed trees: opening them, and their keys and values as numpy arrays.

use super::{BTree, Tree};
use crate::attached::{Engine, Tx};
use crate::error::Kind as Exception;
use crate::map::{Map, Types};
use crate::reading;
use crate::segment::Segment;
use crate::wait::Detached;
use pyo3::exceptions::{PyKeyError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes};
use std::ops::Bound as Edge;
use vasmem_engine::{Glance, Result};
use vasmem_structs::BTree as Structure;
use vasmem_structs::btree::{Columns, Form, GROUP};
use vasmem_structs::typed::{ENTRY_BYTES_MAX, KEY_BYTES_MAX};

/// Up to so many items are read without letting other threads run, which takes as long.
const QUICK: usize = 1000;

/// Sizes of key and value in bytes, and the description, of a tree that is to be made.
pub(super) type MadeWith = (u64, u64, Vec<u8>);

impl Tree {
    /// Opens the typed tree of that name. `made_with` makes it if there is none; `types_of` gives
    /// the types of Python for a description: key, value, parts of the key.
    pub(super) fn open_typed(
        py: Python<'_>,
        segment: &Bound<'_, Segment>,
        name: String,
        made_with: Option<MadeWith>,
        types_of: &Bound<'_, PyAny>,
    ) -> PyResult<Tree> {
        let attached = segment.get().attached.clone();
        let first = attached.engine.geometry.directory_at;
        let wanted = name.as_str();
        let open = reading!(wanted: &'a str, first: u64; Option<Structure>;
            |access| Structure::open_typed(access, *first, wanted));
        let possible = made_with.as_ref().and_then(|(key_bytes, value_bytes, description)| {
            Form::typed(*key_bytes, *value_bytes).map(|form| (form, description))
        });
        let make = possible.map(|(form, description)| {
            move |tx: &mut Tx<'_>, id| Structure::create_typed(tx, wanted, form, description, id)
        });
        let structure = match (attached.open_or_make(py, open, make)?, made_with) {
            (Some(tree), _) => tree,
            (None, Some((key_bytes, value_bytes, _))) => {
                return Err(Exception::WrongType.error(format!(
                    "keys of {key_bytes} and values of {value_bytes} bytes do not fit into a \
                     typed B-tree: keys have 1 to {KEY_BYTES_MAX} bytes, both together at most \
                     {ENTRY_BYTES_MAX}; use one that is not typed, or an array for the values"
                )));
            }
            (None, None) => return Err(PyKeyError::new_err(name)),
        };
        let description = attached.read(
            py,
            reading!(structure: Structure; Vec<u8>; |access| {
                structure.description(access)
            }),
        )?;
        let form = structure.form;
        let sizes = (form.key_bytes, form.value_bytes);
        let (key, value, parts) = types_of
            .call1((name.as_str(), PyBytes::new(py, &description), sizes))?
            .extract::<(Bound<'_, PyAny>, Bound<'_, PyAny>, Vec<(usize, char)>)>()?;
        let types = Some(Types::new(&key, &value, &parts)?);
        Ok(Map { attached, structure, name, raw: false, types })
    }

    fn types(&self) -> PyResult<&Types> {
        let untyped = || PyTypeError::new_err(format!("B-tree {:?} is not typed", self.name));
        self.types.as_ref().ok_or_else(untyped)
    }

    /// Adds items to `columns`, up to a number of them in all; where to go on.
    fn read_columns(
        &self,
        py: Python<'_>,
        (from, to): (&Edge<Vec<u8>>, &Edge<Vec<u8>>),
        reverse: bool,
        left: usize,
        columns: &mut Columns,
    ) -> PyResult<Option<Edge<Vec<u8>>>> {
        let tree = self.structure;
        let (from, to) = (from.as_ref().map(|key| &key[..]), to.as_ref().map(|key| &key[..]));
        let known = (columns.keys.len(), columns.values.len());
        self.attached.read(
            py,
            reading!(tree: Structure, from: Edge<&'a [u8]>, to: Edge<&'a [u8]>, reverse: bool,
            left: usize, known: (usize, usize), columns: &'a mut Columns;
            Option<Edge<Vec<u8>>>; |access| {
                columns.keys.truncate(known.0);
                columns.values.truncate(known.1);
                tree.scan_inline(access, (*from, *to), *reverse, *left, columns)
            }),
        )
    }

    /// As `read_columns`, to the end, while other threads run.
    fn read_all_columns(
        &self,
        py: Python<'_>,
        (from, to): (Edge<Vec<u8>>, &Edge<Vec<u8>>),
        reverse: bool,
        limit: usize,
        columns: &mut Columns,
    ) -> PyResult<()> {
        let (tree, key_bytes) = (self.structure, self.structure.form.key_bytes as usize);
        let to = to.as_ref().map(|key| &key[..]);
        self.attached.detached(py, |engine, patience| {
            let mut next = Some(from);
            while let Some(from) = next {
                patience.begin()?;
                let from = from.as_ref().map(|key| &key[..]);
                let known = (columns.keys.len(), columns.values.len());
                let left = limit - known.0 / key_bytes;
                let columns = &mut *columns;
                let mut scan = reading!(tree: Structure, from: Edge<&'a [u8]>,
                to: Edge<&'a [u8]>, reverse: bool, left: usize, known: (usize, usize),
                columns: &'a mut Columns; Option<Edge<Vec<u8>>>; |access| {
                    columns.keys.truncate(known.0);
                    columns.values.truncate(known.1);
                    tree.scan_inline(access, (*from, *to), *reverse, *left, columns)
                });
                next = engine.consult(patience, &mut scan)?;
            }
            Ok(())
        })
    }
}

/// Looks up all keys, in groups whose memory is asked for at a time.
fn get_all(
    engine: &Engine,
    patience: &mut Detached,
    tree: Structure,
    keys: &[&[u8]],
    (values, found): (&mut [u8], &mut [u8]),
) -> Result<()> {
    let value_bytes = tree.form.value_bytes as usize;
    for (number, group) in keys.chunks(GROUP).enumerate() {
        patience.begin()?;
        let leaves = tree.ask(&mut Glance::new(engine), group);
        for (i, (&key, leaf)) in group.iter().zip(&leaves).enumerate() {
            let place = number * GROUP + i;
            let value = &mut values[place * value_bytes..][..value_bytes];
            let glance = &mut Glance::new(engine);
            let seen = leaf.as_ref().map(|leaf| tree.get_asked(glance, leaf, key, value));
            found[place] = match seen {
                Some(Ok(there)) => there.into(),
                _ => {
                    let mut get = reading!(tree: Structure, key: &'a [u8], value: &'a mut [u8];
                        bool; |access| tree.get_inline(access, key, value));
                    engine.consult(patience, &mut get)?.into()
                }
            };
            if found[place] == 0 {
                values[place * value_bytes..][..value_bytes].fill(0);
            }
        }
    }
    Ok(())
}

#[pymethods]
impl BTree {
    /// The types of keys and values: two `vasmem.dtypes.Type`.
    #[getter]
    fn types<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        Ok(self.map.types()?.python(py))
    }

    /// Keys from `minimum` to `maximum` and their values, as two numpy arrays in the same order; of
    /// a typed B-tree.
    ///
    /// None is no bound; `inclusive` and `reverse` are as for `irange`. Not more than `limit` items
    /// come if that is given. Each item is as it was at one time.
    #[pyo3(signature = (minimum=None, maximum=None, inclusive=(true, true), reverse=false,
        limit=None))]
    fn items_array<'py>(
        &self,
        py: Python<'py>,
        minimum: Option<Bound<'py, PyAny>>,
        maximum: Option<Bound<'py, PyAny>>,
        inclusive: (bool, bool),
        reverse: bool,
        limit: Option<i64>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        let (map, types) = (&self.map, self.map.types()?);
        let edge = |key: Option<Bound<'py, PyAny>>, included| match key {
            None => Ok(Edge::Unbounded),
            Some(key) => map.edge(&key, included),
        };
        let (low, high) = (edge(minimum, inclusive.0)?, edge(maximum, inclusive.1)?);
        let (begin, end) = if reverse { (high, low) } else { (low, high) };
        let limit = usize::try_from(limit.unwrap_or(i64::MAX)).map_err(|_| {
            let limit = limit.unwrap_or_default();
            PyValueError::new_err(format!("a limit of {limit} items: give 0 or more"))
        })?;
        let (key_bytes, value_bytes) = types.sizes();
        let expected = limit.min(QUICK);
        let mut columns = Columns {
            keys: Vec::with_capacity(expected * key_bytes),
            values: Vec::with_capacity(expected * value_bytes),
            numbers: types.numbers(),
            ..Columns::default()
        };
        if limit <= QUICK || map.attached.is_inside(py)? {
            let mut next = Some(begin);
            while let Some(from) = next {
                let left = limit - columns.keys.len() / key_bytes;
                next = map.read_columns(py, (&from, &end), reverse, left, &mut columns)?;
            }
        } else {
            map.read_all_columns(py, (begin, &end), reverse, limit, &mut columns)?;
        }
        let keys = types.key_array(py, columns.keys)?;
        Ok((keys, types.value_array(py, &columns.values)?))
    }

    /// The values of all keys as an array, and a byte for each: 1 if it is there.
    fn get_all<'py>(
        &self,
        py: Python<'py>,
        keys: &Bound<'py, PyAny>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyByteArray>)> {
        let (map, tree, types) = (&self.map, self.map.structure, self.map.types()?);
        let value_bytes = types.sizes().1;
        map.with_keys(keys, |keys, _| {
            let (mut values, mut found) = (vec![0; keys.len() * value_bytes], vec![0; keys.len()]);
            if map.attached.is_inside(py)? {
                for (i, &key) in keys.iter().enumerate() {
                    let value = &mut values[i * value_bytes..][..value_bytes];
                    let get = reading!(tree: Structure, key: &'a [u8], value: &'a mut [u8]; bool;
                        |access| tree.get_inline(access, key, value));
                    found[i] = map.attached.read(py, get)?.into();
                    if found[i] == 0 {
                        values[i * value_bytes..][..value_bytes].fill(0);
                    }
                }
            } else {
                map.attached.detached(py, |engine, patience| {
                    get_all(engine, patience, tree, keys, (&mut values, &mut found))
                })?;
            }
            Ok((types.value_array(py, &values)?, PyByteArray::new(py, &found)))
        })
    }

    /// Deletes all of these keys, one commit a key; a byte for each: 1 if it was there.
    fn delete_all<'py>(
        &self,
        py: Python<'py>,
        keys: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyByteArray>> {
        let mut found = Vec::new();
        self.map.with_keys(keys, |keys, _| {
            self.map.delete_each(py, keys, |there| found.push(there.into()))
        })?;
        Ok(PyByteArray::new(py, &found))
    }
}
