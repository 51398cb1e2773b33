//! A process dies in transactions made at random of all structures, nested ones undone among them:
//! others read all or nothing of each, before and after they recover it, and after a power failure.
#![cfg(feature = "lab")]

mod deaths;

use deaths::{Tx, few};
use proptest::prelude::*;
use std::ops::Bound;
use vasmem_engine::simulated::{Attached, Machine};
use vasmem_engine::{Access, Offset, Result};
use vasmem_memory::Medium;
use vasmem_structs::check::check;
use vasmem_structs::hashmap::Hash;
use vasmem_structs::queue::Take;
use vasmem_structs::typed::{Form, TypedMap};
use vasmem_structs::{Array, BTree, Counter, HashMap, Keyed, Queue, Root};

const KEYS: u8 = 12;
const ROW_BYTES: u64 = 24;

/// One operation; numbers choose keys, lengths and places.
#[derive(Clone, Debug)]
enum Step {
    Put(bool, u8, u16),
    Delete(bool, u8),
    PutTyped(u8, u8),
    DeleteTyped(u8),
    Write(u16, u16),
    Extend(u16),
    Resize(u16),
    /// Another array of that name.
    Replace(u16),
    Enqueue(u16),
    Dequeue,
    Add(i64),
    /// A transaction inside, which is undone or not.
    Inside(Vec<Step>, bool),
}

fn step() -> impl Strategy<Value = Step> {
    let lengths = || prop_oneof![4 => 0..300u16, 1 => Just(9_000u16)];
    let flat = prop_oneof![
        4 => (any::<bool>(), 0..KEYS, lengths()).prop_map(|(tree, key, len)| {
            Step::Put(tree, key, len)
        }),
        2 => (any::<bool>(), 0..KEYS).prop_map(|(tree, key)| Step::Delete(tree, key)),
        2 => (0..KEYS, any::<u8>()).prop_map(|(key, value)| Step::PutTyped(key, value)),
        1 => (0..KEYS).prop_map(Step::DeleteTyped),
        2 => (any::<u16>(), 1..9u16).prop_map(|(from, rows)| Step::Write(from, rows)),
        2 => (1..120u16).prop_map(Step::Extend),
        3 => (0..300u16).prop_map(Step::Resize),
        1 => (0..300u16).prop_map(Step::Replace),
        1 => lengths().prop_map(Step::Enqueue),
        1 => Just(Step::Dequeue),
        1 => (-5..5i64).prop_map(Step::Add),
    ];
    flat.prop_recursive(2, 8, 4, |inner| {
        (prop::collection::vec(inner, 1..4), any::<bool>())
            .prop_map(|(steps, undone)| Step::Inside(steps, undone))
    })
}

#[derive(Clone, Copy)]
struct World {
    directory_at: Offset,
    map: HashMap,
    tree: BTree,
    typed: TypedMap,
    queue: Queue,
    counter: Counter,
}

impl World {
    fn make(tx: &mut Tx<'_>) -> Result<World> {
        let form = Form::new(8, 16).unwrap();
        Array::create(tx, "array", 5, (100, ROW_BYTES), b"rows")?;
        let root: Root = Queue::create(tx, ("queue", 0), 6, 40)?;
        Ok(World {
            directory_at: tx.segment.geometry.directory_at,
            map: HashMap::create(tx, "map", 0, 2)?,
            tree: BTree::create(tx, "tree", 0, 3)?,
            typed: TypedMap::create(tx, "typed", form, b"", 4)?,
            queue: Queue::at(tx, root)?,
            counter: Counter::create(tx, "counter", 7, 1)?.into(),
        })
    }

    fn array<A: Access>(&self, access: &mut A) -> Result<Array> {
        Array::open(access, self.directory_at, "array").map(Option::unwrap)
    }

    fn run(&self, tx: &mut Tx<'_>, step: &Step, content: u8) -> Result<()> {
        let record = &mut Vec::new();
        let bytes = |len: u16| vec![content; usize::from(len)];
        match *step {
            Step::Put(true, key, len) => {
                self.tree.put(tx, &[key], &bytes(len), record).map(|_| ())?
            }
            Step::Put(false, key, len) => {
                self.map.put(tx, &[key], &bytes(len), record).map(|_| ())?
            }
            Step::Delete(true, key) => self.tree.delete(tx, &[key], record).map(|_| ())?,
            Step::Delete(false, key) => self.map.delete(tx, &[key], record).map(|_| ())?,
            Step::PutTyped(key, value) => {
                self.typed.put(tx, &[key; 8], &[value; 16], None).map(|_| ())?;
            }
            Step::DeleteTyped(key) => self.typed.delete(tx, &[key; 8], &mut [0; 16]).map(|_| ())?,
            Step::Write(from, rows) => {
                let array = self.array(tx)?;
                let length = array.len(tx)?;
                let from = (length * u64::from(from)) >> 16;
                let to = (from + u64::from(rows)).min(length);
                let content = vec![content; ((to - from) * ROW_BYTES) as usize];
                let range = from * ROW_BYTES..to * ROW_BYTES;
                array.write(tx, std::slice::from_ref(&range), &content)?;
            }
            Step::Extend(rows) => self.array(tx)?.extend(tx, &bytes(rows * 24)).map(|_| ())?,
            Step::Resize(rows) => self.array(tx)?.resize(tx, rows.into())?,
            Step::Replace(rows) => {
                self.array(tx)?.remove(tx, "array")?;
                let id = u64::from(content) + 100;
                Array::create(tx, "array", id, (rows.into(), ROW_BYTES), b"rows")?;
            }
            Step::Enqueue(len) => self.queue.put(tx, &bytes(len)).map(|_| ())?,
            Step::Dequeue => self.queue.take(tx, Take::AtOnce, record).map(|_| ())?,
            Step::Add(by) => self.counter.renew(tx, |old| Some(old + by)).map(|_| ())?,
            Step::Inside(ref steps, undone) => {
                let before = tx.savepoint();
                self.run_all(tx, steps, content.wrapping_add(90))?;
                if undone {
                    tx.go_back_to(before);
                }
            }
        }
        Ok(())
    }

    fn run_all(&self, tx: &mut Tx<'_>, steps: &[Step], content: u8) -> Result<()> {
        (content..).zip(steps).try_for_each(|(content, step)| self.run(tx, step, content))
    }
}

/// Values by key of map, tree and typed map; rows; items; the number.
type Found = (Vec<Option<Vec<u8>>>, Items, Vec<Option<Vec<u8>>>, Vec<u8>, Vec<Vec<u8>>, i64);
type Items = Vec<(Vec<u8>, Vec<u8>)>;

fn found<A: Access>(world: &World, access: &mut A) -> Result<Found> {
    let record = &mut Vec::new();
    let (mut map, mut typed) = (Vec::new(), Vec::new());
    for key in 0..KEYS {
        map.push(
            Keyed::get(&world.map, access, &[key], record)?.map(|value| record[value].to_vec()),
        );
        let mut value = [0; 16];
        let hash = Hash::of(&[key; 8], access.seed());
        let word = u64::from_le_bytes([key; 8]);
        let there = world.typed.get(access, hash, &[word], &mut value)?;
        typed.push(there.then(|| value.to_vec()));
    }
    let batch = world.tree.scan(access, Bound::Unbounded, false, usize::MAX, true)?;
    let items = (0..batch.len()).filter_map(|i| batch.item(i));
    let tree = items.map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
    let array = world.array(access)?;
    let end = array.len(access)? * ROW_BYTES;
    let mut rows = vec![0; end as usize];
    array.read(access, std::slice::from_ref(&(0..end)), None, &mut rows)?;
    Ok((map, tree, typed, rows, world.queue.items(access)?, world.counter.get(access)?))
}

/// A transaction of these steps, after others that were committed one by one.
#[derive(Debug)]
struct Change {
    before: Vec<Step>,
    steps: Vec<Step>,
}

impl deaths::Change for Change {
    type Subject = World;
    type Found = Found;

    fn name(&self) -> &'static str {
        "a transaction at random"
    }

    fn world(&self, medium: Medium) -> (Machine, Attached, World) {
        let machine = Machine::new(2 << 20, 8, 4096, medium);
        let segment = machine.attach(1);
        let world = segment.write(&mut few(), World::make).unwrap();
        for (content, step) in (1..).zip(&self.before) {
            segment.write(&mut few(), |tx| world.run(tx, step, content)).unwrap();
        }
        (machine, segment, world)
    }

    fn run(&self, world: &World, tx: &mut Tx<'_>) -> Result<()> {
        world.run_all(tx, &self.steps, 50)?;
        // So that something changes.
        world.counter.renew(tx, |old| Some(old + 1000)).map(|_| ())
    }

    fn found<A: Access>(world: &World, access: &mut A) -> Result<Found> {
        found(world, access)
    }

    fn each(&self) -> u32 {
        1
    }
}

fn change() -> impl Strategy<Value = Change> {
    let steps = |most| prop::collection::vec(step(), 1..most);
    (steps(12), steps(8)).prop_map(|(before, steps)| Change { before, steps })
}

/// Another one writes to what the dead one had its hands on.
fn go_on(segment: &Attached, world: &World) {
    let write = |tx: &mut Tx<'_>| {
        let array = world.array(tx)?;
        array.resize(tx, 10)?;
        array.extend(tx, &[b'~'; 240])?;
        world.map.put(tx, &[0], b"~", &mut Vec::new())?;
        world.tree.put(tx, &[0], b"~", &mut Vec::new()).map(|_| ())
    };
    segment.write(&mut few(), write).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn readers_in_the_middle_see_all_or_nothing(change in change()) {
        deaths::readers_in_the_middle_see_all_or_nothing(&change);
    }

    #[test]
    fn survivors_find_all_or_nothing(change in change()) {
        let outcomes = deaths::outcomes(&change);
        deaths::each_death(&change, Medium::Volatile, |machine, world| {
            let seen = deaths::read::<Change>(&machine, &world);
            assert!(outcomes.contains(&seen), "a reader sees half");
            let other = machine.attach(2);
            assert_eq!(check(&other, &mut few()).unwrap(), []);
            let found = deaths::snapshot::<Change>(&other, &world);
            assert!(found == seen, "recovery decides otherwise");
            go_on(&other, &world);
            assert_eq!(check(&other, &mut few()).unwrap(), []);
        });
    }

    #[test]
    fn a_power_failure_leaves_all_or_nothing(change in change()) {
        deaths::a_power_failure_leaves_all_or_nothing(&change, go_on);
    }
}
