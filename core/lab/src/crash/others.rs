//! Structures of fixed shape: typed maps and trees, queues, locks, counters.

use super::image::Port;
use super::workloads::{Operation, Step, Workload};
use crate::alone::Alone;
use crate::random::Random;
use vasmem_engine::{Result, Transaction, directory};
use vasmem_structs::queue::Take;
use vasmem_structs::{BTree, Counter, Lock, Queue, Root, TypedMap, btree, typed};

type Tx<'t, 'a> = Transaction<'t, Port<'a>, Alone>;

const KEY_BYTES: u64 = 12;
const VALUE_BYTES: u64 = 20;
/// Items that the queue takes.
const QUEUE_ITEMS: u64 = 5;
/// The only thread there is.
const THREAD: u64 = 1;

/// The structures, one of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    /// A typed hash map.
    TypedMap,
    /// A typed B-tree.
    TypedTree,
    /// A queue of five items.
    Queue,
    /// A lock.
    Lock,
    /// A counter.
    Counter,
}

/// What is done to one.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// Makes it, if it is not there.
    Create,
    /// Removes it.
    Remove,
    /// A value under this key; an item of so many bytes; added to the counter.
    Put(u64),
    /// Removes a key; takes an item at once.
    Take(u64),
    /// Takes an item on lease; acquires the lock.
    Claim,
    /// Is done with the item; releases the lock.
    Done,
    /// Gives the item back.
    GiveBack,
}

use Act::{Claim, Create, Done, GiveBack, Put, Remove};

impl Other {
    fn name(self) -> &'static str {
        match self {
            Other::TypedMap => "typed map",
            Other::TypedTree => "typed tree",
            Other::Queue => "queue",
            Other::Lock => "lock",
            Other::Counter => "counter",
        }
    }
}

/// Does it, if the structure is there, or is not when it is to be made.
///
/// # Errors
/// Those of the structures.
pub fn change(tx: &mut Tx<'_, '_>, other: Other, act: Act, number: u64) -> Result<()> {
    let (at, name) = (tx.segment.geometry.directory_at, other.name());
    match (act, directory::find(tx, at, name)?) {
        (Create, None) => create(tx, other),
        (Create, Some(_)) | (_, None) => Ok(()),
        (act, Some(named)) => match other {
            Other::TypedMap => {
                let found = TypedMap::of(tx, &named)?;
                change_map(tx, &found, act, number)
            }
            Other::TypedTree => {
                let found = BTree::of(tx, &named)?;
                change_tree(tx, &found, act, number)
            }
            Other::Queue => {
                let found = Queue::of(tx, &named)?;
                change_queue(tx, &found, act, number)
            }
            Other::Lock => {
                let lock = Lock::of(tx, &named)?;
                match act {
                    Remove => lock.remove(tx, name),
                    Claim => lock.acquire(tx, THREAD).map(|_| ()),
                    _ => lock.release(tx, THREAD).map(|_| ()),
                }
            }
            Other::Counter => {
                let counter = Counter::of(tx, &named)?;
                match act {
                    Remove => counter.remove(tx, name),
                    _ => counter.renew(tx, |old| Some(old + number as i64)).map(|_| ()),
                }
            }
        },
    }
}

fn create(tx: &mut Tx<'_, '_>, other: Other) -> Result<()> {
    let name = other.name();
    match other {
        Other::TypedMap => {
            let form = typed::Form::new(KEY_BYTES, VALUE_BYTES).expect("a form that fits");
            TypedMap::create(tx, name, form, b"types", 11).map(|_| ())
        }
        Other::TypedTree => {
            let form = btree::Form::typed(KEY_BYTES, VALUE_BYTES).expect("a form that fits");
            BTree::create_typed(tx, name, form, b"types", 12).map(|_| ())
        }
        Other::Queue => Queue::create(tx, (name, 0), 13, QUEUE_ITEMS).map(|_: Root| ()),
        Other::Lock => Lock::create(tx, name, 14).map(|_| ()),
        Other::Counter => Counter::create(tx, name, 15, -1).map(|_| ()),
    }
}

fn key_bytes(key: u64) -> Vec<u8> {
    format!("key {key:08}").into_bytes()
}

fn value_bytes(number: u64) -> Vec<u8> {
    format!("value of {number:011}").into_bytes()
}

fn change_map(tx: &mut Tx<'_, '_>, map: &TypedMap, act: Act, number: u64) -> Result<()> {
    match act {
        Remove => map.remove(tx, Other::TypedMap.name()),
        Put(key) => map.put(tx, &key_bytes(key), &value_bytes(number), None).map(|_| ()),
        Act::Take(key) => {
            let mut old = [0; VALUE_BYTES as usize];
            map.delete(tx, &key_bytes(key), &mut old).map(|_| ())
        }
        _ => Ok(()),
    }
}

fn change_tree(tx: &mut Tx<'_, '_>, tree: &BTree, act: Act, number: u64) -> Result<()> {
    let record = &mut Vec::new();
    match act {
        Remove => tree.remove(tx, Other::TypedTree.name()),
        Put(key) => tree.put(tx, &key_bytes(key), &value_bytes(number), record).map(|_| ()),
        Act::Take(key) => tree.delete(tx, &key_bytes(key), record).map(|_| ()),
        _ => Ok(()),
    }
}

fn change_queue(tx: &mut Tx<'_, '_>, queue: &Queue, act: Act, number: u64) -> Result<()> {
    let buffer = &mut Vec::new();
    match act {
        Create => Ok(()),
        Remove => queue.remove(tx, Other::Queue.name()),
        Put(len) => queue.put(tx, &vec![number as u8; len as usize]).map(|_| ()),
        Act::Take(_) => queue.take(tx, Take::AtOnce, buffer).map(|_| ()),
        Claim => queue.take(tx, Take::OnLease { thread: THREAD }, buffer).map(|_| ()),
        Done => queue.done(tx, THREAD, None).map(|_| ()),
        GiveBack => queue.give_back(tx, THREAD, None).map(|_| ()),
    }
}

/// Each kind of change of each at least once.
pub fn all() -> Vec<Workload> {
    let mut all = Vec::new();
    let mut add = |other: Other, text: &str, before: &[Act], run: &[Act]| {
        let each = |act: &Act| -> Operation { vec![Step::Other(other, *act)] };
        let setup = [Create].iter().chain(before).map(each).collect();
        let name = format!("{}: {text}", other.name());
        all.push(Workload::named(&name, setup, run.iter().map(each).collect()));
    };
    let take = Act::Take;
    for other in [Other::TypedMap, Other::TypedTree] {
        let some = [1, 2, 3].map(Put);
        add(other, "insert", &some, &[Put(4)]);
        add(other, "overwrite", &some, &[Put(2)]);
        add(other, "delete", &some, &[take(3)]);
        add(other, "delete and insert again", &some, &[take(3), Put(3), take(2)]);
        add(other, "remove and create again", &some, &[Remove, Create, Put(1)]);
        let many: Vec<Act> = (0..90).map(|key| Put(key * 10)).collect();
        let more: Vec<Act> = (0..40).map(|key| Put(key * 10 + 5)).collect();
        add(other, "many inserts", &many, &more);
        let fewer: Vec<Act> = (0..80).map(|key| take(key * 10)).collect();
        add(other, "many deletes", &many, &fewer);
    }
    let items = [Put(24), Put(5000), Put(8)];
    let queue = Other::Queue;
    add(queue, "put", &items, &[Put(30), Put(30), Put(30)]);
    add(queue, "put a large item", &items, &[Put(5000)]);
    add(queue, "take", &items, &[take(0), take(0)]);
    add(queue, "claim and be done", &items, &[Claim, Claim, Done, Done]);
    add(queue, "claim and give back", &items, &[Claim, GiveBack, Claim, Done]);
    add(
        queue,
        "claimed before the power failed",
        &[Put(24), Put(8), Claim],
        &[Claim, Put(9), Done],
    );
    add(queue, "around the ring", &items, &[take(0), Put(7), Put(7), Put(7), take(0), Put(7)]);
    add(queue, "remove and create again", &items, &[Claim, Remove, Create, Put(1)]);
    let lock = Other::Lock;
    add(lock, "acquire and release", &[], &[Claim, Done, Claim]);
    add(lock, "acquired before the power failed", &[Claim], &[Claim, Done]);
    add(lock, "remove and create again", &[Claim], &[Remove, Create, Claim]);
    add(Other::Counter, "add", &[Put(0)], &[Put(0), Put(0), Put(0)]);
    add(Other::Counter, "remove and create again", &[Put(0)], &[Remove, Create, Put(0)]);
    all
}

/// One of them; mostly of a structure that is there.
pub fn some(random: &mut Random) -> Step {
    let other = random.pick(&[
        Other::TypedMap,
        Other::TypedTree,
        Other::Queue,
        Other::Lock,
        Other::Counter,
    ]);
    let key = random.below(5);
    let acts = [Create, Create, Remove, Put(key), Put(key), Act::Take(key), Claim, Done, GiveBack];
    Step::Other(other, random.pick(&acts))
}
