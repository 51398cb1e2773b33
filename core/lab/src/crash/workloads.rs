//! What is done to a segment while it is recorded.

use super::image::{Attached, Port};
use super::others::{self, Act, Other};
use crate::alone::{Alone, Impatient};
use crate::random::Random;
use vasmem_engine::lab::Point;
use vasmem_engine::layout::GRANULE;
use vasmem_engine::{Result, Transaction};
use vasmem_structs::{Array, BTree, HashMap};

type Tx<'t, 'a> = Transaction<'t, Port<'a>, Alone>;

/// Bytes of a row.
const ROW_BYTES: u64 = 8;
/// A value or row begins with it, then the same byte goes on.
const FIRST_KEYS: [u64; 3] = [1, 2, 3];

/// The structures of a workload's segment, one of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A hash map called "map".
    Map,
    /// A hash map called "twin", whose items have the same bytes.
    Twin,
    /// A B-tree called "tree".
    Tree,
    /// An array called "array".
    Array,
}

use What::{Array as Rows, Map, Tree, Twin};

/// A change of one structure; of one that is not there, it changes nothing.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Makes it, if it is not there.
    Create(What),
    /// Removes it.
    Remove(What),
    /// A value of so many bytes under a key of a map or tree.
    Put(What, u64, usize),
    /// Removes a key.
    Delete(What, u64),
    /// So many rows more of the array.
    Extend(usize),
    /// The array's rows from here on change, so many.
    Write(u64, u64),
    /// The array has so many rows from now on.
    Resize(u64),
    /// A change of a structure of fixed shape.
    Other(Other, Act),
}

use Step::{Create, Delete, Extend, Put, Remove, Resize, Write};

/// One transaction.
pub type Operation = Vec<Step>;

/// Where a process is killed.
#[derive(Clone, Copy, Debug)]
pub enum Kill {
    /// At a step of the protocol.
    At(Point),
    /// Just before its drain of this number, from 0; nobody waits for what it flushed last.
    BeforeDrain(u32),
}

/// One transaction, and who does it.
#[derive(Clone, Debug, Default)]
pub struct Turn {
    /// What it does.
    pub operation: Operation,
    /// A new process does it, for which all lanes below this one live elsewhere; otherwise the
    /// same as before.
    pub lane: Option<u16>,
    /// Whether another thread of that process claims the lane.
    pub is_handed: bool,
    /// Where it is killed, and then each that recovers its lane, before a drain: the next one
    /// finishes the work.
    pub killed: Option<Kill>,
    /// As said there.
    pub heirs: Vec<u32>,
}

/// A segment, what is done to it first, and what is done while crashes are looked for.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Its name; the same workload comes of the same name.
    pub name: String,
    /// Bytes of the heap at first, and at most.
    pub heap_bytes: (u64, u64),
    /// Bytes of a lane: the least ones make records go on in a block.
    pub lane_bytes: u64,
    /// The incarnation at first.
    pub incarnation: u64,
    /// Done before.
    pub setup: Vec<Operation>,
    /// Whether the power failed once since, and spared everything.
    pub settled: bool,
    /// What a process was at that died with its locks before the power failed.
    pub abandoned: Operation,
    /// Done while it is recorded.
    pub run: Vec<Turn>,
    /// Done after a recovery, before the next crash, with the number that its values come of.
    pub then: (Operation, u64),
}

impl Workload {
    /// What it is about: the structure, several at once, or what came by chance.
    pub fn group(name: &str) -> &str {
        match name.split_once(": ") {
            Some((structure, _)) => structure,
            None if name.starts_with("random ") => "random",
            None if name.starts_with("a kill ") => "kill",
            None => "whole segment",
        }
    }

    /// A plain one.
    pub fn named(name: &str, setup: Vec<Operation>, run: Vec<Operation>) -> Workload {
        Workload {
            name: name.into(),
            heap_bytes: (24 * GRANULE, 24 * GRANULE),
            lane_bytes: 4096,
            incarnation: 1,
            setup,
            settled: true,
            abandoned: Vec::new(),
            run: run.into_iter().map(|operation| Turn { operation, ..Turn::default() }).collect(),
            then: (vec![Create(Map), Put(Map, 2, 16)], 0xabcd),
        }
    }
}

fn some_keys(what: What) -> Vec<Operation> {
    let mut setup = vec![vec![Create(what)]];
    setup.extend(FIRST_KEYS.map(|key| vec![Put(what, key, 24)]));
    setup
}

fn many_keys(what: What, keys: u64) -> Vec<Operation> {
    let mut setup = vec![vec![Create(what)]];
    setup.extend((0..keys).map(|key| vec![Put(what, key * 10, 24)]));
    setup
}

fn rows(rows: usize) -> Vec<Operation> {
    vec![vec![Create(Rows)], vec![Extend(rows)]]
}

/// Every kind of change at least once.
pub fn all() -> Vec<Workload> {
    let mut all = relays();
    for what in [Map, Tree] {
        let of = |text: &str| format!("{}: {text}", name(what));
        let mut add = |text: &str, setup, run| all.push(Workload::named(&of(text), setup, run));
        add("insert", some_keys(what), vec![vec![Put(what, 4, 24)]]);
        add("overwrite in place", some_keys(what), vec![vec![Put(what, 2, 20)]]);
        add("replace by a longer one", some_keys(what), vec![vec![Put(what, 2, 300)]]);
        add("replace by a large one", some_keys(what), vec![vec![Put(what, 2, 5000)]]);
        add("delete", some_keys(what), vec![vec![Delete(what, 3)]]);
        add("insert twice", some_keys(what), vec![vec![Put(what, 4, 24)], vec![Put(what, 5, 24)]]);
        add(
            "delete and insert again",
            some_keys(what),
            vec![vec![Delete(what, 3)], vec![Put(what, 3, 24)], vec![Delete(what, 2)]],
        );
        add("create", vec![], vec![vec![Create(what)]]);
        add("remove", some_keys(what), vec![vec![Remove(what)]]);
        add(
            "remove and create again",
            some_keys(what),
            vec![vec![Remove(what)], vec![Create(what)], vec![Put(what, 1, 24)]],
        );
        let much = (0..24).map(|key| Put(what, 1000 + key, 40)).collect();
        add("a record that goes on in a block", some_keys(what), vec![much, vec![Put(what, 9, 8)]]);
        all.last_mut().expect("it was just added").lane_bytes = 1024;
    }
    all.push(Workload::named(
        "tree: split of a leaf",
        many_keys(Tree, 58),
        vec![vec![Put(Tree, 5, 24)]],
    ));
    let joins = (0..40).map(|key| vec![Delete(Tree, key * 10)]).collect();
    all.push(Workload::named("tree: joins", many_keys(Tree, 70), joins));
    let splits = (0..150).map(|key| Put(Map, 1000 + key, 8)).collect();
    all.push(Workload::named("map: splits", many_keys(Map, 200), vec![splits]));
    for (text, before, run) in [
        ("array: write a row", 100, vec![vec![Write(5, 1)]]),
        ("array: write many rows", 3000, vec![vec![Write(500, 1200)]]),
        ("array: append", 3, vec![vec![Extend(2)], vec![Extend(1)]]),
        ("array: append and move", 21, vec![vec![Extend(400)]]),
        ("array: cut and lengthen", 900, vec![vec![Resize(40)], vec![Resize(60)]]),
        ("array: cut and append at once", 200, vec![vec![Resize(190), Extend(5)]]),
        ("array: cut, append and cut again", 60, vec![vec![Resize(50), Extend(8), Resize(55)]]),
        ("array: remove", 20, vec![vec![Remove(Rows)], vec![Create(Rows)]]),
    ] {
        all.push(Workload::named(text, rows(before), run));
    }
    all.extend(others::all());
    all.push(Workload::named(
        "set: add, discard, add again",
        [1, 2, 3].iter().fold(vec![vec![Create(Map)]], |mut setup, &key| {
            setup.push(vec![Put(Map, key, 0)]);
            setup
        }),
        vec![vec![Put(Map, 4, 0)], vec![Delete(Map, 2)], vec![Put(Map, 2, 0)]],
    ));
    all.extend(whole_segments());
    all.extend(kills());
    all
}

/// Steps of a commit.
const KILLS: [Point; 9] = [
    Point::Prepared,
    Point::Locked,
    Point::Validated,
    Point::Filled,
    Point::Fenced,
    Point::Committed,
    Point::Applied,
    Point::Persisted,
    Point::Unlocked,
];

/// A process is killed, another one finishes or undoes what it did, and goes on.
fn kills() -> Vec<Workload> {
    let mut setup = some_keys(Map);
    setup.extend(some_keys(Tree));
    let both = vec![Put(Map, 2, 20), Put(Tree, 9, 300)];
    let again = Turn { operation: vec![Put(Map, 2, 12)], ..Turn::default() };
    let of = |name: &str, setup: &[Operation], killed: Turn, next: &Turn| Workload {
        run: vec![killed, next.clone()],
        ..Workload::named(&format!("a kill {name}"), setup.to_vec(), vec![])
    };
    let mut all = Vec::new();
    for point in KILLS {
        let killed =
            Turn { operation: both.clone(), killed: Some(Kill::At(point)), ..Turn::default() };
        all.push(of(&format!("at {point:?}, then another process"), &setup, killed, &again));
    }
    for (first, heir) in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)] {
        let killed = Turn {
            operation: both.clone(),
            killed: Some(Kill::At(KILLS[6])),
            heirs: vec![first + 1, heir + 1],
            ..Turn::default()
        };
        let name = format!("at {:?}, of heirs before drains {first} and {heir}", KILLS[6]);
        all.push(of(&name, &setup, killed, &again));
    }
    let large = vec![Put(Tree, 9, 300), Put(Map, 2, 5000)];
    let more = (0..24).map(|key| Put(Map, 1000 + key, 40)).collect::<Operation>();
    for drain in 0..5 {
        for (what, operation, lane_bytes) in
            [("of two", &both, 4096), ("of a large one", &large, 4096), ("of many", &more, 1024)]
        {
            let killed = Turn {
                operation: operation.clone(),
                lane: Some(1),
                killed: Some(Kill::BeforeDrain(drain)),
                ..Turn::default()
            };
            let next = Turn { operation: both.clone(), lane: Some(1), ..Turn::default() };
            let mut all_of = of(&format!("before drain {drain} {what}"), &setup, killed, &next);
            all_of.lane_bytes = lane_bytes;
            all.push(all_of);
        }
        let turn = |killed| Turn { operation: vec![Extend(8_000)], killed, ..Turn::default() };
        let killed = turn(Some(Kill::BeforeDrain(drain)));
        let name = format!("before drain {drain} of growth");
        let mut growth = of(&name, &rows(1000), killed, &turn(None));
        growth.heap_bytes = (7 * GRANULE, 4 << 20);
        all.push(growth);
    }
    all
}

/// The record of lane 0 is still there when lane 1 changes the same node, whose version and words
/// stand in different lines, and dies; so do those that finish its work, before some drain; and
/// then lane 1 writes its next record.
fn lagging() -> Vec<Workload> {
    let of = |operation, lane| Turn { operation, lane: Some(lane), ..Turn::default() };
    let mut setup = some_keys(Map);
    setup.extend(many_keys(Tree, 20));
    let one = |drain| {
        let killed = Some(Kill::At(Point::Committed));
        let run = vec![
            of(vec![Put(Tree, 140, 20)], 1),
            of(vec![Put(Tree, 150, 20)], 0),
            Turn { killed, heirs: vec![drain], ..of(vec![Put(Tree, 150, 18)], 1) },
            of(vec![Put(Map, 1, 20)], 1),
        ];
        let name = format!("a kill of an heir before drain {drain}, over an older record");
        Workload { run, ..Workload::named(&name, setup.clone(), vec![]) }
    };
    (0..5).map(one).collect()
}

/// Processes that change the same nodes one after the other, in any order of their lanes: the
/// record of each is still there.
fn relays() -> Vec<Workload> {
    let mut setup = some_keys(Map);
    setup.extend([vec![Create(Tree)], vec![Put(Tree, 2, 40)]]);
    let of = |name: String, run: Vec<(u16, Operation)>| Workload {
        run: run
            .into_iter()
            .map(|(lane, operation)| Turn { operation, lane: Some(lane), ..Turn::default() })
            .collect(),
        ..Workload::named(&name, setup.clone(), vec![])
    };
    let one = vec![Put(Map, 2, 20)];
    let both = vec![Put(Map, 2, 20), Put(Tree, 2, 36)];
    let mut all = Vec::new();
    for lanes in [[1, 0], [0, 1]] {
        let name = format!("relay: lane {} before lane {}", lanes[0], lanes[1]);
        all.push(of(name, vec![(lanes[0], one.clone()), (lanes[1], both.clone())]));
    }
    let thrice = vec![(2, one.clone()), (1, both.clone()), (0, vec![Put(Tree, 2, 33)])];
    all.push(of("relay: three lanes, the last one first".into(), thrice));
    let mut handed = of("relay: a thread claims a lane for another".into(), vec![(1, both)]);
    handed.run[0].is_handed = true;
    all.push(handed);
    all.extend(lagging());
    // What lane 1 leaves undone must not come true when lane 0 puts the same bytes at its place.
    let item = |what| vec![Put(what, 9, 24)];
    let mut twins = of("relay: the same bytes for a twin".into(), vec![(1, item(Map))]);
    twins.setup.push(vec![Create(Twin)]);
    twins.then = (item(Twin), 100);
    all.push(twins);
    all
}

/// Several structures at once, growth, a fresh segment, incarnations that start over.
fn whole_segments() -> Vec<Workload> {
    let mut setup = some_keys(Map);
    setup.extend(some_keys(Tree));
    setup.extend(rows(8));
    let both = vec![Put(Map, 2, 20), Put(Tree, 2, 20), Write(1, 2)];
    let more = vec![Put(Map, 4, 30), Delete(Tree, 1), Extend(3)];
    let mut several = Workload::named("transaction over three", setup.clone(), vec![both.clone()]);
    let again = Workload::named("two transactions over three", setup.clone(), vec![both, more]);
    let mut fresh = Workload::named("a fresh segment", vec![], vec![vec![Create(Map)]]);
    fresh.settled = false;
    let mut unsettled = again.clone();
    unsettled.name = "unsettled transactions over three".into();
    unsettled.settled = false;
    let mut growth = Workload::named("growth", rows(1000), vec![vec![Extend(8_000)]]);
    growth.heap_bytes = (7 * GRANULE, 4 << 20);
    let mut first_map = Workload::named("growth for a map", vec![], vec![vec![Create(Map)]]);
    first_map.heap_bytes = (2 * GRANULE, 4 << 20);
    let mut wrap =
        Workload::named("incarnations start over", some_keys(Map), vec![vec![Put(Map, 1, 8)]]);
    (wrap.incarnation, several.incarnation) = (0x1ffe, 7);
    let mut locks = wrap.clone();
    locks.name = "incarnations start over, and locks are left".into();
    (locks.incarnation, locks.abandoned) = (0x1fff, vec![Put(Map, 2, 20)]);
    vec![several, again, unsettled, fresh, first_map, growth, wrap, locks]
}

/// One that follows from a seed.
pub fn random(seed: u64) -> Workload {
    let mut random = Random::new(seed);
    let mut setup: Vec<Operation> = vec![vec![Create(Map), Create(Tree)]];
    setup.extend(rows(random.pick(&[0, 5, 60])));
    setup.extend((0..random.below(6)).map(|_| some_operation(&mut random)));
    let run = (0..1 + random.below(3)).map(|_| some_operation(&mut random)).collect();
    let mut workload = Workload::named(&format!("random {seed}"), setup, run);
    workload.settled = !random.one_in(3);
    workload.lane_bytes = random.pick(&[1024, 4096, 4096]);
    workload
}

fn some_operation(random: &mut Random) -> Operation {
    (0..random.pick(&[1, 1, 1, 2, 3])).map(|_| some_step(random)).collect()
}

fn some_step(random: &mut Random) -> Step {
    let (what, key) = (random.pick(&[Map, Tree]), random.below(5));
    match random.below(20) {
        0..=7 => Put(what, key, random.pick(&[0, 8, 24, 24, 60, 300, 600, 5000])),
        8..=10 => Delete(what, key),
        11 => Extend(1 + random.below(40) as usize),
        12 => Write(random.below(4), 1 + random.below(9)),
        13 => Resize(random.below(60)),
        14 => Remove(random.pick(&[Map, Tree, Rows])),
        16.. => others::some(random),
        _ => Create(random.pick(&[Map, Tree, Rows])),
    }
}

fn name(what: What) -> &'static str {
    match what {
        Map => "map",
        Twin => "twin",
        Tree => "tree",
        Rows => "array",
    }
}

/// Does one operation as a transaction; `number` makes its values differ from all others.
///
/// # Errors
/// Those of the structures.
pub fn run(segment: &Attached<'_>, operation: &Operation, number: u64) -> Result<()> {
    segment.write(&mut Impatient::default(), |tx| {
        operation.iter().try_for_each(|step| one(tx, *step, number))
    })
}

fn one(tx: &mut Tx<'_, '_>, step: Step, number: u64) -> Result<()> {
    let at = tx.segment.geometry.directory_at;
    let bytes = |len: usize| {
        let mut bytes = vec![number as u8; len];
        bytes.iter_mut().step_by(3).zip(number.to_le_bytes()).for_each(|(to, from)| *to = from);
        bytes
    };
    match step {
        Create(what) | Remove(what) | Put(what, ..) | Delete(what, _) => match what {
            Map | Twin => change_map(tx, at, (what, step), &bytes),
            Tree => change_tree(tx, at, step, &bytes),
            Rows => change_rows(tx, at, step, &bytes),
        },
        Extend(_) | Write(..) | Resize(_) => change_rows(tx, at, step, &bytes),
        Step::Other(other, act) => others::change(tx, other, act, number),
    }
}

fn key_bytes(key: u64) -> Vec<u8> {
    format!("key {key}").into_bytes()
}

/// Makes bytes of some length.
type Bytes<'a> = &'a dyn Fn(usize) -> Vec<u8>;

fn change_map(
    tx: &mut Tx<'_, '_>,
    at: u64,
    (what, step): (What, Step),
    bytes: Bytes<'_>,
) -> Result<()> {
    let record = &mut Vec::new();
    match (step, HashMap::open(tx, at, name(what))?) {
        (Create(_), None) => HashMap::create(tx, name(what), 0, 7).map(|_| ()),
        (Remove(_), Some((map, _))) => map.remove(tx, name(what)),
        (Put(_, key, len), Some((map, _))) => {
            map.put(tx, &key_bytes(key), &bytes(len), record).map(|_| ())
        }
        (Delete(_, key), Some((map, _))) => map.delete(tx, &key_bytes(key), record).map(|_| ()),
        _ => Ok(()),
    }
}

fn change_tree(tx: &mut Tx<'_, '_>, at: u64, step: Step, bytes: Bytes<'_>) -> Result<()> {
    let record = &mut Vec::new();
    match (step, BTree::open(tx, at, name(Tree))?) {
        (Create(_), None) => BTree::create(tx, name(Tree), 0, 8).map(|_| ()),
        (Remove(_), Some((tree, _))) => tree.remove(tx, name(Tree)),
        (Put(_, key, len), Some((tree, _))) => {
            tree.put(tx, &key_bytes(key), &bytes(len), record).map(|_| ())
        }
        (Delete(_, key), Some((tree, _))) => tree.delete(tx, &key_bytes(key), record).map(|_| ()),
        _ => Ok(()),
    }
}

fn change_rows(tx: &mut Tx<'_, '_>, at: u64, step: Step, bytes: Bytes<'_>) -> Result<()> {
    match (step, Array::open(tx, at, name(Rows))?) {
        (Create(_), None) => Array::create(tx, name(Rows), 9, (2, ROW_BYTES), b"rows").map(|_| ()),
        (Remove(_), Some(array)) => array.remove(tx, name(Rows)),
        (Extend(rows), Some(array)) => {
            array.extend(tx, &bytes(rows * ROW_BYTES as usize)).map(|_| ())
        }
        (Write(first, count), Some(array)) => {
            let range = first * ROW_BYTES..(first + count) * ROW_BYTES;
            let new = bytes((count * ROW_BYTES) as usize);
            // False, and nothing is changed, where there are not so many rows.
            array.write(tx, std::slice::from_ref(&range), &new).map(|_| ())
        }
        (Resize(rows), Some(array)) => array.resize(tx, rows),
        _ => Ok(()),
    }
}
