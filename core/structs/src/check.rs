//! The check of a whole segment: every structure, then the heap.

use crate::{Array, BTree, Counter, HashMap, Lock, Queue, TypedMap};
use vasmem_engine::access::Peek;
use vasmem_engine::check::Violation;
use vasmem_engine::layout::Kind;
use vasmem_engine::{Error, Host, Invariant, Memory, Patience, Reached, Result, Segment};

/// Walks everything and returns what breaks which invariant; nothing when all is well.
///
/// With write access it keeps other writers out meanwhile, and recovers dead lanes first. A
/// read-only attachment can only look at what stands still: it raises `Conflict` otherwise.
///
/// # Errors
/// `Timeout` and `Interrupted` while waiting for writers.
pub fn check<M: Memory, H: Host>(
    segment: &Segment<M, H>,
    patience: &mut dyn Patience,
) -> Result<Vec<Violation>> {
    if segment.host.is_some() {
        segment.exclusively(patience, || walk(segment))
    } else {
        walk(segment)
    }
}

fn walk<M: Memory, H: Host>(segment: &Segment<M, H>) -> Result<Vec<Violation>> {
    let mut reached = Reached::default();
    match reach(segment, &mut reached) {
        Ok(()) => Ok(segment.check_heap(reached)),
        Err(Error::Corrupted { invariant, at }) => {
            reached.broken(invariant, at, format!("{invariant:?} does not hold here"));
            segment.check_mapping(&mut reached);
            Ok(reached.violations)
        }
        Err(error) => Err(error),
    }
}

fn reach<M: Memory, H: Host>(segment: &Segment<M, H>, reached: &mut Reached) -> Result<()> {
    let mut peek = Peek::new(segment);
    for named in segment.reach_directory(&mut peek, reached)? {
        match named.kind {
            Kind::HASH_HEADER => HashMap::of(&mut peek, &named)?.reach(&mut peek, reached)?,
            Kind::LOCK => Lock::of(&mut peek, &named)?.reach(&mut peek, reached)?,
            Kind::QUEUE_HEADER => Queue::of(&mut peek, &named)?.reach(&mut peek, reached)?,
            Kind::COUNTER => Counter::of(&mut peek, &named)?.reach(&mut peek, reached)?,
            Kind::TYPED => TypedMap::of(&mut peek, &named)?.reach(&mut peek, reached)?,
            Kind::TREE_HEADER | Kind::TYPED_TREE => {
                BTree::of(&mut peek, &named)?.reach(&mut peek, reached)?
            }
            Kind::ARRAY => Array::of(&mut peek, &named)?.reach(segment, &mut peek, reached)?,
            kind => {
                let text =
                    format!("{:?} is of kind {}, which no structure has", named.name, kind.0);
                reached.broken(Invariant::Directory, named.node, text);
            }
        }
    }
    Ok(())
}
