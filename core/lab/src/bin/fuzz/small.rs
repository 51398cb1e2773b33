//! What is done with the counter, the lock and the queues of a mutated segment.

use crate::image::{Attached, Impatient, Underway};
use crate::random::Random;
use vasmem_engine::access::{Access, Reading};
use vasmem_engine::directory::{self, Named};
use vasmem_engine::{Error, Result};
use vasmem_structs::queue::Take;
use vasmem_structs::{Counter, Lock, Queue};

const COUNTER: &str = "counter";
const LOCK: &str = "lock";
/// Names of the queues, with the items that they take.
const QUEUES: [(&str, u64); 2] = [("jobs", 5), ("ring", 300)];
/// Who takes and gives back; the last one made what is there.
const THREADS: [u64; 3] = [1, 2, 7];

/// Makes them: half of the items of a queue are on lease, the lock is taken.
pub fn make(segment: &Attached) -> Result<()> {
    let mut patience = Impatient::default();
    segment.write(&mut patience, |tx| Counter::create(tx, COUNTER, 50, 7).map(|_| ()))?;
    segment.write(&mut patience, |tx| Lock::create(tx, LOCK, 51).map(|_| ()))?;
    let lock = lock(segment)?;
    segment.write(&mut patience, |tx| lock.acquire(tx, THREADS[2]).map(|_| ()))?;
    for (number, (name, size)) in QUEUES.into_iter().enumerate() {
        let id = 52 + number as u64;
        segment.write(&mut patience, |tx| Queue::create(tx, (name, 0), id, size).map(|_| ()))?;
        let queue = queue(segment, name)?;
        for item in 0..size - 1 {
            segment.write(&mut patience, |tx| queue.put(tx, &item_of(item)))?;
        }
        for _ in 0..size / 2 {
            let how = Take::OnLease { thread: THREADS[2] };
            segment.write(&mut patience, |tx| queue.take(tx, how, &mut Vec::new()))?;
        }
    }
    Ok(())
}

/// Changes all of them; not yet committed.
pub fn prepare(segment: &Attached) -> Result<impl Fn(&mut Underway<'_>) -> Result<()> + use<>> {
    let (counter, lock, ring) = (counter(segment)?, lock(segment)?, queue(segment, "ring")?);
    let jobs = queue(segment, "jobs")?;
    Ok(move |tx: &mut Underway<'_>| {
        let how = Take::OnLease { thread: THREADS[0] };
        counter.renew(tx, |number| Some(number + 1))?;
        lock.acquire(tx, THREADS[0])?;
        ring.take(tx, how, &mut Vec::new())?;
        ring.take(tx, Take::AtOnce, &mut Vec::new())?;
        ring.put(tx, &item_of(0))?;
        ring.put(tx, &item_of(1))?;
        jobs.done(tx, THREADS[2], None).map(|_| ())
    })
}

fn named(segment: &Attached, name: &str) -> Result<Named> {
    let at = segment.geometry.directory_at;
    let found = segment.read(&mut Impatient::default(), |peek| directory::find(peek, at, name))?;
    found.ok_or(Error::Removed)
}

fn counter(segment: &Attached) -> Result<Counter> {
    let named = named(segment, COUNTER)?;
    segment.read(&mut Impatient::default(), |peek| Counter::of(peek, &named))
}

fn lock(segment: &Attached) -> Result<Lock> {
    let named = named(segment, LOCK)?;
    segment.read(&mut Impatient::default(), |peek| Lock::of(peek, &named))
}

fn queue(segment: &Attached, name: &str) -> Result<Queue> {
    let named = named(segment, name)?;
    segment.read(&mut Impatient::default(), |peek| Queue::of(peek, &named))
}

/// Items of several sizes, some with a block of their own.
fn item_of(number: u64) -> Vec<u8> {
    vec![number as u8; [0, 9, 700, 6000][number as usize % 4]]
}

/// One operation.
pub fn one(segment: &Attached, random: &mut Random, reads_only: bool) -> Result<()> {
    match random.below(6) {
        0 => one_of_counter(segment, random, reads_only),
        1 => one_of_lock(segment, random, reads_only),
        _ => one_of_queue(segment, random, reads_only),
    }
}

fn one_of_counter(segment: &Attached, random: &mut Random, reads_only: bool) -> Result<()> {
    let counter = counter(segment)?;
    let mut patience = Impatient::default();
    segment.read(&mut patience, |peek| counter.get(peek))?;
    match random.below(8) {
        _ if reads_only => Ok(()),
        0 => {
            let id = random.next();
            segment.write(&mut patience, |tx| counter.remove(tx, COUNTER))?;
            segment.write(&mut patience, |tx| Counter::create(tx, COUNTER, id, 7).map(|_| ()))
        }
        _ => {
            let new = random.next() as i64;
            segment.write(&mut patience, |tx| counter.renew(tx, |_| Some(new)).map(|_| ()))
        }
    }
}

fn one_of_lock(segment: &Attached, random: &mut Random, reads_only: bool) -> Result<()> {
    let lock = lock(segment)?;
    let mut patience = Impatient::default();
    segment.read(&mut patience, |peek| lock.owner(peek))?;
    let thread = random.pick(&THREADS);
    match random.below(8) {
        _ if reads_only => Ok(()),
        0 => {
            let id = random.next();
            segment.write(&mut patience, |tx| lock.remove(tx, LOCK))?;
            segment.write(&mut patience, |tx| Lock::create(tx, LOCK, id).map(|_| ()))
        }
        1..=3 => segment.write(&mut patience, |tx| lock.release(tx, thread).map(|_| ())),
        _ => segment.write(&mut patience, |tx| lock.acquire(tx, thread).map(|_| ())),
    }
}

struct Look<'a>(&'a Queue);

impl Reading<()> for Look<'_> {
    fn run<A: Access>(&mut self, access: &mut A) -> Result<()> {
        self.0.counts(access)?;
        self.0.items(access).map(|_| ())
    }
}

fn one_of_queue(segment: &Attached, random: &mut Random, reads_only: bool) -> Result<()> {
    let (name, size) = random.pick(&QUEUES);
    let queue = queue(segment, name)?;
    let mut patience = Impatient::default();
    match random.below(if reads_only { 1 } else { 12 }) {
        0 => segment.consult(&mut patience, &mut Look(&queue)),
        1 => {
            let id = random.next();
            segment.write(&mut patience, |tx| queue.remove(tx, name))?;
            segment
                .write(&mut patience, |tx| Queue::create(tx, (name, 0), id, size).map(|_| ()))?;
            // A handle of what was removed must notice.
            segment.consult(&mut patience, &mut Look(&queue))
        }
        _ => (0..4).try_for_each(|_| change(segment, &queue, random)),
    }
}

fn change(segment: &Attached, queue: &Queue, random: &mut Random) -> Result<()> {
    let (thread, item) = (random.pick(&THREADS), item_of(random.below(8)));
    let position = random.one_in(2).then(|| random.below(9));
    let what = random.below(8);
    segment.write(&mut Impatient::default(), |tx| match what {
        0..=2 => queue.put(tx, &item).map(|_| ()),
        3 => queue.take(tx, Take::AtOnce, &mut Vec::new()).map(|_| ()),
        4 | 5 => queue.take(tx, Take::OnLease { thread }, &mut Vec::new()).map(|_| ()),
        6 => queue.done(tx, thread, position).map(|_| ()),
        _ => queue.give_back(tx, thread, position).map(|_| ()),
    })
}
