//! Workloads are recorded, and the crash states of their traces tried, by several threads.

use super::contents;
use super::explore::{Explorer, Failure, Limits, Tally};
use super::image::{Attached, Event, Image, Site};
use super::workloads::{self, Kill, Turn, Workload};
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
    let then = workload.then.clone();
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
        abandon(workload, &segment)?;
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
    for (number, turn) in (100..).zip(&workload.run) {
        if let Some(first) = turn.lane {
            segment = Segment::new(image.port(), Some(Alone { first }), segment.geometry);
            events.push(Event::Handover);
        }
        if let Some(kill) = turn.killed {
            (segment, found) = killed(image, turn, (kill, number), segment.geometry, &mut events)?;
            continue;
        }
        image.record();
        if turn.is_handed {
            drop(segment.lane(&mut Impatient::default())?);
            image.hand_over();
        }
        workloads::run(&segment, &turn.operation, number)?;
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

/// A process dies with its locks in the middle of what was to be abandoned; and the incarnation
/// becomes what it is to be.
fn abandon(workload: &Workload, segment: &Attached<'_>) -> Result<()> {
    if !workload.abandoned.is_empty() {
        segment.switches.arm(Point::Locked, 1, Action::Return);
        match workloads::run(segment, &workload.abandoned, 98) {
            // One that needs no lock cannot die with it.
            Ok(()) => return Err(Error::Conflict),
            Err(Error::Died) => {}
            Err(error) => return Err(error),
        }
    }
    if workload.incarnation != 1 {
        segment.memory.store(header::INCARNATION, workload.incarnation, Ordering::Relaxed);
    }
    Ok(())
}

/// An operation whose process is killed, and that another one finishes or undoes; returns that one,
/// and what is there then.
fn killed<'a>(
    image: &'a Image,
    turn: &Turn,
    (kill, number): (Kill, u64),
    geometry: Geometry,
    events: &mut Vec<Event>,
) -> Result<(Attached<'a>, u64)> {
    let attach = |first| Segment::new(image.port(), Some(Alone { first }), geometry);
    let (begin, lane) = (image.mark(), turn.lane.unwrap_or(0));
    let segment = attach(lane);
    let before = contents::digest(&segment)?;
    workloads::run(&segment, &turn.operation, number)?;
    let after = contents::digest(&segment)?;
    image.roll_back(begin);

    let segment = attach(lane);
    image.record();
    image.allow(&[before, after]);
    let drain = match kill {
        Kill::At(point) => {
            segment.switches.arm(point, 0, Action::Return);
            None
        }
        Kill::BeforeDrain(drain) => Some(drain),
    };
    match image.until(drain, || workloads::run(&segment, &turn.operation, number)) {
        // It may have fewer drains.
        None | Some(Err(Error::Died) | Ok(())) => {}
        Some(Err(error)) => return Err(error),
    }
    let finish = |heir: &Attached<'_>| heir.exclusively(&mut Impatient::default(), || Ok(()));
    for &drain in &turn.heirs {
        image.until(Some(drain), || finish(&attach(0))).unwrap_or(Ok(()))?;
    }
    let heir = attach(0);
    finish(&heir)?;
    events.extend(image.recorded());
    let found = contents::digest(&heir)?;
    events.push(Event::Allow(vec![found]));
    Ok((heir, found))
}

fn create<'a>(workload: &Workload, image: &'a Image) -> Attached<'a> {
    let (port, geometry) = (image.port(), geometry(workload));
    format::create(&port, &geometry, geometry.heap_at + workload.heap_bytes.0, [1, 1]);
    format::set_home(&port, 1);
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
