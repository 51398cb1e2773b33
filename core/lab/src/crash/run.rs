//! Workloads are recorded, and the crash states of their traces tried, by several threads.

use super::contents;
use super::explore::{Explorer, Failure, Limits, Tally};
use super::image::{Attached, Event, Image, Site};
use super::workloads::{self, Operation, Step, What, Workload};
use crate::alone::{Alone, Impatient};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;
use vasmem_engine::lab::{Action, Point};
use vasmem_engine::layout::{GRANULE, HEADER_BYTES, header};
use vasmem_engine::{Error, Geometry, Result, Segment, format};
use vasmem_memory::{Memory, Ordering};

const LANES: u64 = 4;

/// Enough for the states of small operations, and some of all others.
pub const LIMITS: [Limits; 2] = [
    Limits { every: 65_536.0, samples: 4_000, nest_one_in: 40, nested: 20_000 },
    Limits { every: 256.0, samples: 32, nest_one_in: 1, nested: 0 },
];

/// How a search is to be done.
#[derive(Clone, Copy)]
pub struct Plan {
    /// For a first and for a second crash.
    pub limits: [Limits; 2],
    /// When it ends at the latest.
    pub until: Instant,
    /// A flush or drain that is left out.
    pub omitted: Option<Site>,
}

/// What came of one workload.
pub struct Outcome {
    /// Its name.
    pub name: String,
    /// What was tried.
    pub tally: Tally,
    /// What was found.
    pub failures: Vec<Failure>,
    /// How often each site was passed while anything was recorded.
    pub sites: BTreeMap<Site, u64>,
}

fn geometry(workload: &Workload) -> Geometry {
    let mut geometry = Geometry::new(workload.heap_bytes.1, 7, [1; 16]);
    (geometry.lanes_at, geometry.lanes) = (HEADER_BYTES, LANES);
    geometry.lane_bytes = workload.lane_bytes;
    geometry.heap_at = (HEADER_BYTES + LANES * workload.lane_bytes).next_multiple_of(GRANULE);
    geometry.size_limit = geometry.heap_at + workload.heap_bytes.1;
    geometry.directory_at = geometry.region(0).data_at();
    geometry
}

/// Records `workload`, and tries the crash states of its trace.
///
/// # Errors
/// Those of the structures, without any crash.
pub fn explore(workload: &Workload, seed: u64, plan: &Plan) -> Result<Outcome> {
    let image = Image::new(geometry(workload).size_limit);
    image.omitted.set(plan.omitted);
    let events = record(workload, &image)?;
    let then = vec![Step::Create(What::Map), Step::Put(What::Map, 2, 16)];
    let mut explorer = Explorer::new(&image, plan.limits, seed, plan.until, then);
    explorer.explore(&events, 0);
    let (tally, failures) = (explorer.tally, explorer.failures);
    let sites = image.sites.take();
    Ok(Outcome { name: workload.name.clone(), tally, failures, sites })
}

/// The trace of a workload, with what it allows; the image is as it was when the trace began.
fn record(workload: &Workload, image: &Image) -> Result<Vec<Event>> {
    if !workload.settled {
        image.record();
    }
    let begin = image.mark();
    let segment = create(workload, image);
    for (number, operation) in (1..).zip(&workload.setup) {
        workloads::run(&segment, operation, number)?;
    }
    let mut segment = segment;
    let mut events = image.recorded();
    let (mut begin, mut found) = (begin, contents::digest(&segment)?);
    if workload.settled {
        image.settle();
        begin = image.mark();
        segment = Segment::new(image.port(), Some(Alone { first: 0 }), segment.geometry);
        image.record();
        image.allow(&[found]);
        segment.recover_power_failure()?;
        format::set_boot(&segment.memory, [1, 1]);
        events = image.recorded();
    }
    events.push(Event::Allow(vec![found]));
    if let (Some(point), Some(first)) = (workload.killed, workload.run.first()) {
        let died = kill(image, &segment.geometry, first, point)?;
        (segment, found) = (died.heir, died.found);
        events.extend(died.events);
    }
    if !workload.relay.is_empty() {
        events.extend(relay(workload, image, &segment.geometry, found)?);
        image.roll_back(begin);
        return Ok(events);
    }
    let done = usize::from(workload.killed.is_some());
    for (number, operation) in (100..).zip(&workload.run[done..]) {
        image.record();
        workloads::run(&segment, operation, number)?;
        let more = image.recorded();
        let next = contents::digest(&segment)?;
        events.push(Event::Allow(vec![found, next]));
        events.extend(more);
        events.push(Event::Allow(vec![next]));
        found = next;
    }
    image.roll_back(begin);
    Ok(events)
}

/// A process that was killed, and the next one.
struct Died<'a> {
    events: Vec<Event>,
    heir: Attached<'a>,
    found: u64,
}

/// An operation that ends at `point`, and is finished or undone by another process.
fn kill<'a>(
    image: &'a Image,
    geometry: &Geometry,
    operation: &Operation,
    point: Point,
) -> Result<Died<'a>> {
    let attach = || Segment::new(image.port(), Some(Alone { first: 0 }), *geometry);
    let (begin, number) = (image.mark(), 99);
    let segment = attach();
    let before = contents::digest(&segment)?;
    workloads::run(&segment, operation, number)?;
    let after = contents::digest(&segment)?;
    image.roll_back(begin);

    let segment = attach();
    segment.switches.arm(point, 0, Action::Return);
    image.record();
    image.allow(&[before, after]);
    match workloads::run(&segment, operation, number) {
        Err(Error::Died) => {}
        other => panic!("it should die at {point:?}: {other:?}"),
    }
    image.die();
    let heir = attach();
    heir.exclusively(&mut Impatient::default(), || Ok(()))?;
    let mut events = image.recorded();
    let found = contents::digest(&heir)?;
    events.push(Event::Allow(vec![found]));
    Ok(Died { events, heir, found })
}

/// What several processes do, each believing that all lanes below its own live.
fn relay(
    workload: &Workload,
    image: &Image,
    geometry: &Geometry,
    mut found: u64,
) -> Result<Vec<Event>> {
    let mut events = Vec::new();
    for ((number, operation), &first) in (100..).zip(&workload.run).zip(&workload.relay) {
        let segment = Segment::new(image.port(), Some(Alone { first }), *geometry);
        image.record();
        workloads::run(&segment, operation, number)?;
        let more = image.recorded();
        let next = contents::digest(&segment)?;
        events.push(Event::Allow(vec![found, next]));
        events.extend(more);
        events.push(Event::Allow(vec![next]));
        found = next;
    }
    Ok(events)
}

fn create<'a>(workload: &Workload, image: &'a Image) -> Attached<'a> {
    let (port, geometry) = (image.port(), geometry(workload));
    format::create(&port, &geometry, geometry.heap_at + workload.heap_bytes.0, [1, 1]);
    format::set_home(&port, 1);
    if workload.incarnation != 1 {
        port.store(header::INCARNATION, workload.incarnation, Ordering::Relaxed);
    }
    Segment::new(port, Some(Alone { first: 0 }), geometry)
}

/// Tries each workload once, then random ones from `seed` on if there is one, until it is `enough`
/// or the plan's time is up; `each` is told of every outcome. Returns what all tried together.
pub fn search(
    workloads: &[Workload],
    seed: Option<u64>,
    threads: usize,
    plan: &Plan,
    enough: impl Fn(&Tally) -> bool + Sync,
    each: impl Fn(&Outcome) + Sync,
) -> std::result::Result<Tally, String> {
    let (next, all) = (AtomicUsize::new(0), Mutex::new((Tally::default(), None)));
    let is_enough = || enough(&all.lock().unwrap_or_else(|broken| broken.into_inner()).0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while Instant::now() < plan.until {
                    let index = next.fetch_add(1, Relaxed);
                    let number = seed.map(|seed| seed + index as u64);
                    let workload = match (workloads.get(index), number) {
                        (Some(workload), _) => workload.clone(),
                        (None, Some(number)) if !is_enough() => workloads::random(number),
                        (None, _) => break,
                    };
                    let outcome = explore(&workload, index as u64, plan);
                    let mut all = all.lock().unwrap_or_else(|broken| broken.into_inner());
                    match outcome {
                        Ok(outcome) => {
                            all.0.add(&outcome.tally);
                            each(&outcome);
                        }
                        Err(error) => all.1 = Some(format!("{}: {error:?}", workload.name)),
                    }
                }
            });
        }
    });
    let (tally, error) = all.into_inner().unwrap_or_else(|broken| broken.into_inner());
    error.map_or(Ok(tally), Err)
}
