//! What the tests of simulated processes share: nodes to write, pairs of words that show tearing.
#![allow(dead_code, unused_imports)]

pub mod history;

pub use std::sync::Arc;
pub use vasmem_engine::access::Peek;
pub use vasmem_engine::lab::{Action, Mutation, Point};
pub use vasmem_engine::record::{Phase, Record};
pub use vasmem_engine::simulated::{Attached, Bounded, Calm, Eager, Machine, Port, Process};
pub use vasmem_engine::version::Version;
pub use vasmem_engine::{Access, Error, Kind, Offset, Reached, Result, Seen, Touched, Transaction};
pub use vasmem_memory::{Medium, Memory, Ordering};

/// Kind of the nodes that tests use.
pub const KIND: Kind = Kind::VALUE;
/// Granule of region 0 in which they stand: table, directory, then this one.
pub const GRANULE_OF_NODES: u64 = 2;
/// A transaction of a simulated process.
pub type Tx<'a> = Transaction<'a, Port, Process>;

/// A machine with nodes, and what its tests name.
#[derive(Clone)]
pub struct World {
    pub machine: Machine,
    pub nodes: [Offset; 4],
}

impl World {
    /// Four nodes whose pairs are (0, 0); heap of `granules`.
    pub fn sized(granules: u64, lanes: u64, medium: Medium) -> World {
        let machine = Machine::new(granules << 14, lanes, 1024, medium);
        let first = machine.node_extent(GRANULE_OF_NODES, KIND);
        let nodes = std::array::from_fn(|i| first + i as u64 * 64);
        World { machine, nodes }
    }

    pub fn new() -> World {
        World::sized(4, 4, Medium::Volatile)
    }

    pub fn on(medium: Medium) -> World {
        World::sized(4, 4, medium)
    }

    pub fn attach(&self, pid: u32) -> Arc<Attached> {
        Arc::new(self.machine.attach(pid))
    }

    /// A process that has its lane already: `lanes_used` moves before the test begins.
    pub fn writer(&self, pid: u32) -> Arc<Attached> {
        let segment = self.attach(pid);
        drop(segment.lane(&mut few()).unwrap());
        segment
    }

    pub fn word(&self, at: Offset) -> u64 {
        self.machine.port().load(at, Ordering::Acquire)
    }
}

/// Enough pauses for any wait that ends.
pub fn few() -> Bounded {
    Bounded(200)
}

/// Reads the pair of `node` in a transaction, as a deciding read.
pub fn pair(tx: &mut Tx<'_>, node: Offset) -> Result<(Touched, u64)> {
    let view = tx.read(None, node, KIND)?;
    let value = both(tx, &view)?;
    Ok((view, value))
}

/// The pair under a view; panics if it is torn though the view holds.
pub fn both<A: Access>(access: &A, view: &A::View) -> Result<u64> {
    let first = access.word(view, view.node() + 8);
    let second = access.word(view, view.node() + 16);
    access.check(view)?;
    assert_eq!(first, second, "a torn node");
    Ok(first)
}

/// Writes the pair of a node.
pub fn put(tx: &mut Tx<'_>, view: &Touched, value: u64) {
    tx.write(view, view.node() + 8, value);
    tx.write(view, view.node() + 16, value);
}

/// One attempt: writes `value` to all of `nodes`, whatever they hold.
pub fn set_all(segment: &Attached, nodes: &[Offset], value: u64) -> Result<()> {
    segment.write(&mut few(), |tx| {
        for &node in nodes {
            let (view, _) = pair(tx, node)?;
            put(tx, &view, value);
        }
        Ok(())
    })
}

/// A plain read of one node.
pub fn get(segment: &Attached, node: Offset) -> Result<u64> {
    segment.read(&mut few(), |peek| {
        let view = peek.read(None, node, KIND)?;
        both(peek, &view)
    })
}

/// Runs `what` in the middle of the operations of `segment`, the `nth` time (from 0) that it
/// reaches `point`. Replaces what was there.
pub fn at(segment: &Attached, point: Point, nth: u32, what: impl FnOnce() + Send + 'static) {
    let (mut left, mut what) = (nth, Some(what));
    segment.switches.watch(move |reached| {
        if reached == point
            && left == 0
            && let Some(what) = what.take()
        {
            what();
        }
        left = left.saturating_sub(u32::from(reached == point));
    });
}

/// Dies at the `nth` time (from 0) that `point` is reached.
pub fn die_at(segment: &Attached, point: Point, nth: u32) {
    segment.switches.arm(point, nth, Action::Return);
}

/// Every locked line that can be a node is listed by a record of its owner that is not idle.
pub fn assert_listed(world: &World) {
    let (geometry, port) = (world.machine.geometry, world.machine.port());
    port.raise_limit(port.load(vasmem_engine::layout::header::BACKED, Ordering::Acquire));
    let incarnation = port.load(vasmem_engine::layout::header::INCARNATION, Ordering::Acquire);
    let table = geometry.heap_at..geometry.heap_at + 8 * 64;
    let nodes = world.nodes[0]..world.nodes[0] + 8 * 64;
    for node in table.step_by(64).chain(nodes.step_by(64)) {
        let version = Version(port.load(node, Ordering::Acquire));
        if !version.is_locked(incarnation) {
            continue;
        }
        let state = Record::state(&port, &geometry, version.lane());
        assert!(state.phase() != Some(Phase::Idle), "{node:#x}: locked by an idle lane");
        let record = Record::open(&port, &geometry, version.lane()).unwrap();
        assert!(record.find(node).is_some(), "{node:#x}: locked and not listed");
    }
}

/// Compares the heap with what the directory, the pre-made nodes and `blocks` reach.
pub fn check(world: &World, segment: &Attached, blocks: &[Offset]) {
    let mut reached = Reached::default();
    for block in 0..KIND.blocks() {
        reached.block(world.nodes[0] + block * KIND.block_bytes());
    }
    blocks.iter().for_each(|&block| reached.block(block));
    segment.read(&mut few(), |peek| segment.reach_directory(peek, &mut reached)).unwrap();
    let broken = segment.check_heap(reached);
    assert!(broken.is_empty(), "{broken:#?}");
}

/// Numbers that look random, the same for the same seed (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// Writes `value` to all of `nodes` under the token, on a lane apart from the pool.
pub fn set_under_token(segment: &Attached, nodes: &[Offset], value: u64) -> Result<()> {
    let mut lane = segment.claim()?.expect("a free lane");
    let mut patience = few();
    segment.take_token(&mut lane, &mut patience)?;
    let mut tx = Transaction::resume(segment, &mut lane, &mut patience);
    for &node in nodes {
        let (view, _) = pair(&mut tx, node)?;
        put(&mut tx, &view, value);
    }
    tx.commit()?;
    segment.drop_token(&mut lane)?;
    segment.release(&lane);
    Ok(())
}
