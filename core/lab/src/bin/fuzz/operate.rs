//! What is done with a mutated segment: everything that a program could.

use crate::image::{Alone, Attached, Image, Impatient, LANES, MAPS, key_bytes, value};
use crate::random::Random;
use crate::{arrays, small, sorted, trees, typed};
use vasmem_engine::access::{Access, Reading};
use vasmem_engine::{Error, Result, directory};
use vasmem_memory::Medium;
use vasmem_structs::HashMap;
use vasmem_structs::check::check;
use vasmem_structs::hashmap::{Cursor, GROUP, Hash};
use vasmem_structs::record::Expected;

/// Tables that an iteration visits at most: a map may claim to have millions.
const SCANS_MAX: u32 = 64;

/// Counts errors by kind.
pub type Note<'a> = &'a mut dyn FnMut(&Error);

/// Attaches in a way that follows from the seed, and uses the segment.
pub fn run(image: &Image, random: &mut Random, note: Note<'_>) -> Result<()> {
    let medium = random.pick(&[Medium::Volatile, Medium::Volatile, Medium::CacheLine]);
    // Usually all owners are dead; else somebody is waited for in vain.
    let first = if random.one_in(6) { random.below(LANES) as u16 } else { 0 };
    let host = (!random.one_in(5)).then_some(Alone { first });
    let reads_only = host.is_none();
    let segment = image.attach_as(host, medium)?;
    let mut tell = |done: Result<()>| {
        if let Err(error) = done {
            note(&error);
        }
    };
    if !reads_only {
        match random.below(4) {
            0 => tell(segment.recover_power_failure()),
            1 => (0..LANES as u16).for_each(|lane| tell(segment.recover_dead(lane).map(|_| ()))),
            _ => {}
        }
    }
    let cut = random.one_in(400).then(|| random.below(image.end));
    for step in 0..8 {
        if let (4, Some(bytes)) = (step, cut) {
            image.truncate(bytes)?;
        }
        tell(one(&segment, random, reads_only));
    }
    Ok(())
}

/// Recovers records by both rules, and looks at what came of it.
pub fn recover(image: &Image, random: &mut Random, note: Note<'_>) -> Result<()> {
    let medium = random.pick(&[Medium::Volatile, Medium::CacheLine]);
    let segment = image.attach_as(Some(Alone { first: 0 }), medium)?;
    let mut tell = |done: Result<()>| {
        if let Err(error) = done {
            note(&error);
        }
    };
    for _ in 0..2 {
        match random.below(3) {
            0 => tell(segment.recover_power_failure()),
            1 => (0..LANES as u16).for_each(|lane| tell(segment.recover_dead(lane).map(|_| ()))),
            _ => tell(segment.claim().map(|_| ())),
        }
    }
    for _ in 0..4 {
        tell(one(&segment, random, false));
    }
    Ok(())
}

fn open(segment: &Attached, name: &str) -> Result<HashMap> {
    let at = segment.geometry.directory_at;
    let found = segment.read(&mut Impatient::default(), |peek| HashMap::open(peek, at, name))?;
    found.map(|(map, _)| map).ok_or(Error::Removed)
}

/// One operation.
fn one(segment: &Attached, random: &mut Random, reads_only: bool) -> Result<()> {
    match random.below(14) {
        0..=2 => return trees::one(segment, random, reads_only),
        3 | 4 => return arrays::one(segment, random, reads_only),
        5 | 6 => return typed::one(segment, random, reads_only),
        12 | 13 => return sorted::one(segment, random, reads_only),
        7 | 8 => return small::one(segment, random, reads_only),
        _ => {}
    }
    let name = random.pick(&MAPS);
    match random.below(if reads_only { 8 } else { 20 }) {
        0 => look_around(segment, random),
        1 => all_reads(segment, &open(segment, name)?, random),
        2 => iterate(segment, &open(segment, name)?, random),
        3..=7 => reads(segment, &open(segment, name)?, random),
        8 => remove(segment, name, random),
        9..=12 => transaction(segment, &open(segment, name)?, random),
        _ => writes(segment, &open(segment, name)?, random),
    }
}

fn look_around(segment: &Attached, random: &mut Random) -> Result<()> {
    let at = segment.geometry.directory_at;
    let mut patience = Impatient::default();
    segment.used_bytes();
    (0..segment.lanes_used() as u16).for_each(|lane| _ = segment.owner_pid(lane));
    if random.one_in(3) {
        check(segment, &mut patience)?;
    }
    segment.read(&mut patience, |peek| directory::list(peek, at))?;
    Ok(())
}

struct Get<'a>(&'a HashMap, &'a [u8]);

impl Reading<()> for Get<'_> {
    fn run<A: Access>(&mut self, access: &mut A) -> Result<()> {
        let mut record = Vec::new();
        self.0.get(access, self.1, &mut record)?;
        self.0.contains(access, self.1, &mut record)?;
        self.0.is_empty(access).map(|_| ())
    }
}

fn some_key(random: &mut Random) -> Vec<u8> {
    let end = random.pick(&[2, 12, 60, 1600]);
    key_bytes(random.below(end))
}

fn reads(segment: &Attached, map: &HashMap, random: &mut Random) -> Result<()> {
    for _ in 0..4 {
        let key = some_key(random);
        segment.consult(&mut Impatient::default(), &mut Get(map, &key))?;
    }
    Ok(())
}

/// Reads a batch of keys.
fn all_reads(segment: &Attached, map: &HashMap, random: &mut Random) -> Result<()> {
    let keys: Vec<_> = (0..GROUP).map(|_| some_key(random)).collect();
    let seed = segment.geometry.seed;
    let hashes: Vec<_> = keys.iter().map(|key| Hash::of(key, seed)).collect();
    let mut glance = vasmem_engine::Glance::new(segment);
    let mut record = Vec::new();
    for (key, foreseen) in keys.iter().zip(map.foresee(&mut glance, &hashes)) {
        if let Some(foreseen) = foreseen {
            map.get_foreseen(&mut glance, &foreseen, key, &mut record);
        }
    }
    Ok(())
}

fn iterate(segment: &Attached, map: &HashMap, random: &mut Random) -> Result<()> {
    let mut cursor = Cursor::default();
    let values = random.one_in(2);
    for _ in 0..SCANS_MAX {
        if cursor.is_done() {
            break;
        }
        (_, cursor) =
            segment.read(&mut Impatient::default(), |peek| map.scan(peek, cursor, values))?;
    }
    segment.read(&mut Impatient::default(), |peek| map.len(peek)).map(|_| ())
}

fn writes(segment: &Attached, map: &HashMap, random: &mut Random) -> Result<()> {
    for _ in 0..3 {
        change(segment, map, random)?;
    }
    Ok(())
}

fn change(segment: &Attached, map: &HashMap, random: &mut Random) -> Result<()> {
    let (key, what, number) = (some_key(random), random.below(6), random.below(40));
    let new = value(random.below(6), number);
    let mut record = Vec::new();
    let mut patience = Impatient::default();
    let mut lane = segment.lane(&mut patience)?;
    segment.write_on(&mut lane, &mut patience, |tx| {
        let hash = Hash::of(&key, segment.geometry.seed);
        let foreseen = match tx.glance() {
            Some(mut glance) if what >= 4 => map.foresee(&mut glance, &[hash])[0],
            _ => None,
        };
        let foreseen = foreseen.as_ref();
        match what {
            0 => map.delete(tx, &key, &mut record).map(|_| ()),
            1 => map.put_if(tx, &key, Expected::Absent, &new, &mut record).map(|_| ()),
            2 => map.put_if(tx, &key, Expected::Value(&new), &new, &mut record).map(|_| ()),
            4 => map.put_foreseen(tx, hash, foreseen, (&key, &new), &mut record).map(|_| ()),
            5 => map.delete_foreseen(tx, hash, foreseen, &key, &mut record).map(|_| ()),
            _ => map.put(tx, &key, &new, &mut record).map(|_| ()),
        }
    })
}

/// Many changes at once; sometimes enough for a record that goes on in a block, and for splits.
fn transaction(segment: &Attached, map: &HashMap, random: &mut Random) -> Result<()> {
    let count = random.pick(&[2, 5, 8, 120]);
    let from = random.below(1600);
    let new = value(random.below(4), random.below(8));
    let other = open(segment, random.pick(&MAPS))?;
    let mut record = Vec::new();
    segment.write(&mut Impatient::default(), |tx| {
        for number in from..from + count {
            let key = key_bytes(number);
            match number % 4 {
                0 => map.delete(tx, &key, &mut record).map(|_| ())?,
                1 => other.get(tx, &key, &mut record).map(|_| ())?,
                _ => map.put(tx, &key, &new[..new.len().min(600)], &mut record).map(|_| ())?,
            }
        }
        map.len(tx).map(|_| ())
    })
}

fn remove(segment: &Attached, name: &str, random: &mut Random) -> Result<()> {
    let map = open(segment, name)?;
    segment.write(&mut Impatient::default(), |tx| map.remove(tx, name))?;
    let id = random.next();
    segment.write(&mut Impatient::default(), |tx| HashMap::create(tx, name, 0, id))?;
    // A handle of what was removed must notice.
    reads(segment, &map, random)
}
