//! What is done with the typed maps of a mutated segment.

use crate::image::{Attached, Impatient, Underway};
use crate::random::Random;
use vasmem_engine::access::{Access, Reading};
use vasmem_engine::{Error, Glance, Result};
use vasmem_structs::TypedMap;
use vasmem_structs::hashmap::{Cursor, Hash};
use vasmem_structs::record::Expected;
use vasmem_structs::typed::{Form, GROUP, words};

/// Names of the maps, with bytes of their keys and values, and how many keys there are.
const MAPS: [(&str, u64, u64, u64); 3] =
    [("ids", 8, 8, 1800), ("wide", 20, 200, 60), ("flags", 2, 1, 5)];
/// Tables that an iteration visits at most.
const SCANS_MAX: u32 = 64;

/// Makes the maps.
pub fn make(segment: &Attached) -> Result<()> {
    for (number, (name, .., keys)) in MAPS.into_iter().enumerate() {
        let map = create(segment, name, number as u64 + 40)?;
        for key in 0..keys {
            segment.write(&mut Impatient::default(), |tx| {
                map.put(tx, &key_of(&map, key), &value_of(&map, key), None)
            })?;
        }
    }
    Ok(())
}

fn create(segment: &Attached, name: &str, id: u64) -> Result<TypedMap> {
    let shape = MAPS.into_iter().find(|(one, ..)| *one == name);
    let form = shape.and_then(|(_, key_bytes, value_bytes, _)| Form::new(key_bytes, value_bytes));
    let form = form.ok_or(Error::Removed)?;
    segment.write(&mut Impatient::default(), |tx| {
        TypedMap::create(tx, name, form, b"('<u8', '<f8')", id)
    })
}

/// Puts some keys, and deletes some; not yet committed. No table is split.
pub fn prepare(segment: &Attached) -> Result<impl Fn(&mut Underway<'_>) -> Result<()> + use<>> {
    let map = open(segment, "ids")?;
    Ok(move |tx: &mut Underway<'_>| {
        for key in 0..9 {
            map.put(tx, &key_of(&map, 5000 + key), &value_of(&map, key), None)?;
            map.delete(tx, &key_of(&map, key), &mut value_of(&map, 0))?;
        }
        Ok(())
    })
}

fn open(segment: &Attached, name: &str) -> Result<TypedMap> {
    let at = segment.geometry.directory_at;
    let found = segment.read(&mut Impatient::default(), |peek| TypedMap::open(peek, at, name))?;
    found.ok_or(Error::Removed)
}

fn bytes_of(number: u64, bytes: u64) -> Vec<u8> {
    number.to_le_bytes().into_iter().cycle().take(bytes as usize).collect()
}

fn key_of(map: &TypedMap, key: u64) -> Vec<u8> {
    bytes_of(key, map.form.key_bytes)
}

fn value_of(map: &TypedMap, number: u64) -> Vec<u8> {
    bytes_of(number, map.form.value_bytes)
}

fn some_key(map: &TypedMap, random: &mut Random) -> Vec<u8> {
    let end = random.pick(&[2, 12, 60, 2000]);
    key_of(map, random.below(end))
}

/// One operation.
pub fn one(segment: &Attached, random: &mut Random, reads_only: bool) -> Result<()> {
    let (name, ..) = random.pick(&MAPS);
    let map = open(segment, name)?;
    match random.below(if reads_only { 6 } else { 14 }) {
        0 => iterate(segment, &map),
        1 => batch(segment, &map, random),
        2..=5 => reads(segment, &map, random),
        6 => {
            segment.write(&mut Impatient::default(), |tx| map.remove(tx, name))?;
            create(segment, name, random.next())?;
            // A handle of what was removed must notice.
            reads(segment, &map, random)
        }
        7 | 8 => transaction(segment, &map, random),
        _ => (0..3).try_for_each(|_| change(segment, &map, random)),
    }
}

struct Get<'a>(&'a TypedMap, &'a [u8]);

impl Reading<()> for Get<'_> {
    fn run<A: Access>(&mut self, access: &mut A) -> Result<()> {
        let Get(map, key) = *self;
        let hash = Hash::of(key, access.seed());
        map.get(access, hash, &words(key).collect::<Vec<_>>(), &mut value_of(map, 0))?;
        map.description(access)?;
        map.is_empty(access)?;
        map.slots(access).map(|_| ())
    }
}

fn reads(segment: &Attached, map: &TypedMap, random: &mut Random) -> Result<()> {
    for _ in 0..4 {
        let key = some_key(map, random);
        segment.consult(&mut Impatient::default(), &mut Get(map, &key))?;
    }
    Ok(())
}

/// Reads a batch of keys.
fn batch(segment: &Attached, map: &TypedMap, random: &mut Random) -> Result<()> {
    let keys: Vec<_> = (0..GROUP).map(|_| some_key(map, random)).collect();
    let hashes: Vec<_> = keys.iter().map(|key| Hash::of(key, segment.geometry.seed)).collect();
    let mut glance = Glance::new(segment);
    let tables = map.ask(&mut glance, &hashes);
    for ((key, &hash), table) in keys.iter().zip(&hashes).zip(tables) {
        let (key, mut value) = (words(key).collect::<Vec<_>>(), value_of(map, 0));
        if let Some(table) = table {
            // Nothing is known if it fails: the key is then looked up as any.
            let _ = map.get_asked(&mut glance, &table, hash, &key, &mut value);
        }
    }
    Ok(())
}

fn iterate(segment: &Attached, map: &TypedMap) -> Result<()> {
    let mut cursor = Cursor::default();
    for _ in 0..SCANS_MAX {
        if cursor.is_done() {
            break;
        }
        (.., cursor) = segment.read(&mut Impatient::default(), |peek| map.scan(peek, cursor))?;
    }
    Ok(())
}

fn change(segment: &Attached, map: &TypedMap, random: &mut Random) -> Result<()> {
    let (key, what) = (some_key(map, random), random.below(5));
    let new = value_of(map, random.below(40));
    segment.write(&mut Impatient::default(), |tx| match what {
        0 | 1 => map.delete(tx, &key, &mut new.clone()).map(|_| ()),
        2 => map.put(tx, &key, &new, Some(Expected::Absent)).map(|_| ()),
        3 => map.put(tx, &key, &new, Some(Expected::Value(&new))).map(|_| ()),
        _ => map.put(tx, &key, &new, None).map(|_| ()),
    })
}

/// Many changes at once, enough for splits.
fn transaction(segment: &Attached, map: &TypedMap, random: &mut Random) -> Result<()> {
    let (from, count) = (random.below(2000), random.pick(&[3, 20, 200]));
    let grows = random.one_in(2);
    segment.write(&mut Impatient::default(), |tx| {
        for number in from..from + count {
            let key = key_of(map, number);
            match grows {
                true => map.put(tx, &key, &value_of(map, number), None).map(|_| ())?,
                false => map.delete(tx, &key, &mut value_of(map, 0)).map(|_| ())?,
            }
        }
        map.scan(tx, Cursor::default())?;
        map.len(tx).map(|_| ())
    })
}
