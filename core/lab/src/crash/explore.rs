//! Crash states of a trace: which exist, which are tried, and what their recovery must find.

use super::contents;
use super::image::{Attached, Event, Image};
use super::workloads::{self, Operation};
use crate::alone::{Alone, Impatient};
use std::cell::Cell;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;
use vasmem_engine::{Error, Segment, format};
use vasmem_faults::random::Random;
use vasmem_faults::{Event as Did, Lines, State};
use vasmem_structs::check::check;

/// How thoroughly the states of one point of a trace are tried.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Up to so many, all of them.
    pub every: f64,
    /// Of more: each line by itself, and so many others.
    pub samples: u64,
    /// Of one state in so many, the crashes during its recovery and the operation after it, too,
    pub nest_one_in: u64,
    /// as long as these are not more, nor more than a quarter of all.
    pub nested: u64,
}

/// Whether a state's recovery is crashed, too.
#[derive(Clone, Copy)]
enum Nests {
    /// Its recovery, and that of a recovery that is killed before each of its drains, while second
    /// crashes are fewer than these; from the first of its drains on, or from any.
    Within(u64, bool),
    /// As the limits say.
    AtRandom,
}

/// How many states there were.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// That a first crash may leave; the same contents count as often as they come about.
    pub exist: f64,
    /// That were drawn,
    pub drawn: u64,
    /// and were not the same as one before: these were recovered and judged.
    pub distinct: u64,
    /// Of these, left by a second crash.
    pub second: u64,
    /// Points of the first trace at which all were drawn,
    pub exhausted: u64,
    /// and all points of it.
    pub points: u64,
}

impl Tally {
    /// Adds another one.
    pub fn add(&mut self, other: &Tally) {
        self.exist += other.exist;
        self.drawn += other.drawn;
        self.distinct += other.distinct;
        self.second += other.second;
        self.exhausted += other.exhausted;
        self.points += other.points;
    }
}

/// A state whose recovery is wrong, made as simple as it goes.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What is wrong.
    pub what: String,
    /// How much of each line was durable, at each crash.
    pub lines: String,
    /// Lines that this names.
    pub named: usize,
    /// Crashes that led there.
    pub crashes: u32,
}

/// Tries the crash states of traces over one image.
pub struct Explorer<'a> {
    image: &'a Image,
    /// For a first and for a second crash.
    limits: [Limits; 2],
    random: Random,
    until: Instant,
    /// Done after a recovery, before the next crash.
    then: (Operation, u64),
    seen: HashSet<u64>,
    /// What the first crash left, while those after it are tried.
    path: Vec<(String, usize)>,
    /// What was tried so far.
    pub tally: Tally,
    /// What was found; a few are enough, and then it ends.
    pub failures: Vec<Failure>,
}

/// Failures after which a search ends.
const FAILURES_MAX: usize = 3;

impl<'a> Explorer<'a> {
    /// Of traces that begin with what `image` has now.
    pub fn new(
        image: &'a Image,
        limits: [Limits; 2],
        seed: u64,
        until: Instant,
        then: (Operation, u64),
    ) -> Explorer<'a> {
        Explorer {
            image,
            limits,
            random: Random::new(seed),
            until,
            then,
            seen: HashSet::new(),
            path: Vec::new(),
            tally: Tally::default(),
            failures: Vec::new(),
        }
    }

    /// Whether it is to end before it has tried all.
    pub fn is_over(&self) -> bool {
        self.failures.len() >= FAILURES_MAX || Instant::now() > self.until
    }

    /// Tries the states that a crash anywhere in `events` may leave; `crashes` were before.
    ///
    /// States are taken just before each drain, and at the end: those of any earlier point since
    /// the last drain are among them, and what an operation promised meanwhile holds for them too.
    pub fn explore(&mut self, events: &[Event], crashes: usize) {
        let begin = self.image.mark();
        let mut lines = Lines::default();
        let mut legal: &[u64] = &[];
        for event in events {
            match event {
                Event::Memory(Did::Fence) => {
                    if lines.is_flushed() {
                        self.point(&lines, legal, crashes);
                        lines.fence(self.image);
                    }
                }
                Event::Memory(did) => lines.follow(self.image, *did),
                Event::Handover => lines.forget_flushes(),
                Event::Allow(next) => legal = next,
            }
        }
        self.point(&lines, legal, crashes);
        self.image.roll_back(begin);
    }

    fn point(&mut self, lines: &Lines, legal: &[u64], crashes: usize) {
        if legal.is_empty() {
            return;
        }
        let (limits, exist) = (self.limits[crashes], lines.states());
        // The most telling ones first, with crashes of their recovery.
        let singles = 2 * lines.all().len();
        let one_in = singles.div_ceil(limits.samples.max(64) as usize).max(1);
        let turn = self.random.below(singles as u64 + 1) as usize;
        let mut telling: Vec<State> = lines.apart().take(2).collect();
        let (later, sooner) = (lines.apart().skip(2 + turn), lines.apart().skip(2).take(turn));
        telling.extend(later.chain(sooner).step_by(one_in));
        let budget = limits.nested / 8;
        let second_max = self.tally.second + budget;
        let each = budget / telling.len() as u64;
        for (index, state) in telling.iter().enumerate() {
            if !self.is_over() {
                let share = if index < 2 { budget / 4 } else { each };
                let nests = Nests::Within(second_max.min(self.tally.second + share), index < 2);
                self.state(lines, state, legal, (crashes, nests));
            }
        }
        let all = exist <= limits.every;
        if crashes == 0 {
            self.tally.exist += exist;
            self.tally.points += 1;
            self.tally.exhausted += u64::from(all);
        }
        if all {
            let mut state = lines.first();
            while !self.is_over() {
                self.state(lines, &state, legal, (crashes, Nests::AtRandom));
                if !lines.advance(&mut state) {
                    break;
                }
            }
            return;
        }
        for state in lines.near(limits.samples) {
            if !self.is_over() {
                self.state(lines, &state, legal, (crashes, Nests::AtRandom));
            }
        }
        for _ in 0..limits.samples {
            if !self.is_over() {
                let state = lines.some(&mut self.random);
                self.state(lines, &state, legal, (crashes, Nests::AtRandom));
            }
        }
    }

    fn state(
        &mut self,
        lines: &Lines,
        state: &State,
        legal: &[u64],
        (crashes, nests): (usize, Nests),
    ) {
        self.tally.drawn += 1;
        let durable = self.image.mark();
        lines.apply(self.image, state);
        let promise = legal.iter().fold(legal.len() as u64, |sum, one| sum.rotate_left(1) ^ one);
        if self.seen.insert(self.image.sum().wrapping_add(promise)) {
            self.tally.distinct += 1;
            self.tally.second += u64::from(crashes > 0);
            if let Some(what) = self.judge(legal) {
                self.image.roll_back(durable);
                self.fail(lines, state, legal, (what, crashes));
            } else if crashes + 1 < self.limits.len() {
                self.nest((lines, state), nests, legal, crashes);
            }
        }
        self.image.roll_back(durable);
    }

    /// Crashes again while the state that the image is in is recovered, and afterwards.
    fn nest(&mut self, left: (&Lines, &State), nests: Nests, legal: &[u64], crashes: usize) {
        let limits = self.limits[crashes];
        let Tally { second, distinct, .. } = self.tally;
        match nests {
            Nests::Within(second_max, from_first) => {
                let any = self.random.pick(&[None, None, Some(0), Some(1), Some(2)]);
                let mut kill = if from_first { None } else { any };
                while self.tally.second < second_max && !self.is_over() {
                    if !self.crash_again(left, legal, crashes, kill) {
                        break;
                    }
                    kill = Some(kill.map_or(0, |drain| drain + 1));
                }
            }
            Nests::AtRandom => {
                let wanted = second < limits.nested.max(distinct / 4);
                if wanted && self.random.one_in(limits.nest_one_in) {
                    let kill = self.random.pick(&[None, None, Some(0), Some(1), Some(2), Some(3)]);
                    self.crash_again(left, legal, crashes, kill);
                }
            }
        }
    }

    /// Recovers the state that the image is in, and looks whether it is right; `None` if it is. The
    /// image stays as it is.
    fn judge(&self, legal: &[u64]) -> Option<String> {
        let before = self.image.mark();
        let wrong = guarded(|| {
            let segment = recover(self.image).map_err(in_words)?;
            let found = contents::digest(&segment).map_err(in_words)?;
            if !legal.contains(&found) {
                let words = contents::words(&segment).map_err(in_words)?;
                return Err(format!("no legal contents: {}", words.join("; ")));
            }
            let broken = check(&segment, &mut Impatient::default()).map_err(in_words)?;
            match broken.first() {
                Some(first) => Err(format!("check: {first:?}, {} in all", broken.len())),
                None => Ok(()),
            }
        });
        self.image.roll_back(before);
        wrong.err()
    }

    /// The state in the image was recovered well: records this, and one operation after it, and
    /// tries the states that a crash meanwhile may leave. The first one to recover may be killed
    /// before some drain, then the next one does it; false if there is no such drain.
    fn crash_again(
        &mut self,
        (lines, state): (&Lines, &State),
        legal: &[u64],
        crashes: usize,
        kill: Option<u32>,
    ) -> bool {
        let before = self.image.mark();
        let recorded = guarded(|| {
            self.image.record();
            self.image.allow(legal);
            if kill.is_some()
                && let Some(recovered) = self.image.until(kill, || recover(self.image).map(|_| ()))
            {
                recovered.map_err(in_words)?;
                return Ok(None);
            }
            let segment = recover(self.image).map_err(in_words)?;
            let mut events = self.image.recorded();
            let found = contents::digest(&segment).map_err(in_words)?;
            // Another process goes on: it waits for nothing that this one has flushed.
            events.push(Event::Handover);
            let segment = attach(self.image).map_err(in_words)?;
            self.image.record();
            let (then, number) = &self.then;
            workloads::run(&segment, then, *number).map_err(in_words)?;
            let more = self.image.recorded();
            let last = contents::digest(&segment).map_err(in_words)?;
            events.push(Event::Allow(vec![found, last]));
            events.extend(more);
            events.push(Event::Allow(vec![last]));
            Ok(Some(events))
        });
        self.image.recorded();
        self.image.roll_back(before);
        if matches!(recorded, Ok(None)) {
            return false;
        }
        self.path.push(lines.describe(state));
        match recorded {
            Ok(events) => self.explore(&events.unwrap_or_default(), crashes + 1),
            Err(what) => self.note(what, crashes as u32 + 1),
        }
        self.path.pop();
        true
    }

    /// Notes a failure: lines that need not be old are made new before, half old ones all old.
    fn fail(
        &mut self,
        lines: &Lines,
        state: &State,
        legal: &[u64],
        (mut what, crashes): (String, usize),
    ) {
        let (mut least, all) = (state.clone(), lines.all());
        let durable = self.image.mark();
        for index in 0..least.len() {
            for kept in [all[index], 0] {
                let is_half = least[index] != 0 && least[index] != all[index];
                if least[index] == kept || !is_half && kept == 0 {
                    continue;
                }
                let mut simpler = least.clone();
                simpler[index] = kept;
                lines.apply(self.image, &simpler);
                let wrong = self.judge(legal);
                self.image.roll_back(durable);
                if let Some(wrong) = wrong {
                    (least, what) = (simpler, wrong);
                }
            }
        }
        self.path.push(lines.describe(&least));
        self.note(what, crashes as u32 + 1);
        self.path.pop();
    }

    fn note(&mut self, what: String, crashes: u32) {
        let lines: Vec<&str> = self.path.iter().map(|(lines, _)| &lines[..]).collect();
        let (lines, named) =
            (lines.join("; then "), self.path.iter().map(|(_, named)| named).sum());
        self.failures.push(Failure { what, lines, named, crashes });
    }
}

fn attach(image: &Image) -> Result<Attached<'_>, Error> {
    let port = image.port();
    let geometry = format::open(&port, image.bytes(), true)?;
    Ok(Segment::new(port, Some(Alone { first: 0 }), geometry))
}

/// The first process after the power failure attaches.
fn recover(image: &Image) -> Result<Attached<'_>, Error> {
    let segment = attach(image)?;
    segment.recover_power_failure()?;
    format::set_boot(&segment.memory, [2, image.sum() | 1]);
    Ok(segment)
}

fn in_words(error: Error) -> String {
    format!("{error:?}")
}

thread_local! {
    /// Whether a panic of this thread is a finding.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// From here on panics that are findings are not told at once as well.
pub fn hush_findings() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !GUARDED.get() {
            usual(panic);
        }
    }));
}

/// What `body` finds wrong, a panic included.
fn guarded<T>(body: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    GUARDED.set(true);
    let done = catch_unwind(AssertUnwindSafe(body));
    GUARDED.set(false);
    match done {
        Ok(done) => done,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
            Err(format!("panic: {}", text.unwrap_or_default()))
        }
    }
}
