//! The fast engine against a slow one: which stores a crash may leave, found by trying every set of
//! them against the definition of each model.

use std::collections::BTreeSet;
use vasmem_faults::random::Random;
use vasmem_faults::{Choice, Contents, Event, Lines, Model, State};

const TRACES: u64 = 100_000;
const MODELS: [Model; 4] = [Model::FenceOnly, Model::Eadr, Model::Px86, Model::Words];
const WORDS: [u64; 4] = [0, 8, 64, 72];

/// What the four words hold.
type Outcome = [u64; 4];

/// A store of a trace.
struct Write {
    /// Its place in the trace.
    index: usize,
    at: u64,
    value: u64,
    /// Whether it waits for its word alone, not for its line.
    past: bool,
}

/// Whether a store at `at`, event number `index`, is durable before event number `end`.
fn is_durable(model: Model, trace: &[Event], index: usize, at: u64, end: usize) -> bool {
    let mut flushed = matches!(model, Model::Eadr | Model::FenceOnly);
    for event in &trace[index + 1..end] {
        match *event {
            Event::Flush(line, len) if (line..line + len).contains(&at) => flushed = true,
            Event::Fence if flushed => return true,
            _ => {}
        }
    }
    false
}

/// The stores that change something. One past the caches does even if it repeats a store that is
/// not durable yet, since it does not wait for the others of its line.
fn writes(model: Model, trace: &[Event]) -> Vec<Write> {
    let mut writes: Vec<Write> = Vec::new();
    for (index, &event) in trace.iter().enumerate() {
        let (at, value, streams) = match event {
            Event::Store(at, value) => (at, value, false),
            Event::Stream(at, value) => (at, value, model == Model::Px86),
            Event::Flush(..) | Event::Fence => continue,
        };
        let mut pending = writes
            .iter()
            .filter(|write| write.at == at)
            .filter(|write| !is_durable(model, trace, write.index, at, index))
            .peekable();
        let stored = pending.peek().is_some();
        let after_stream = pending.any(|write| write.past);
        let newest = writes.iter().rev().find(|write| write.at == at).map_or(0, |it| it.value);
        if newest != value || (streams && stored && !after_stream) {
            writes.push(Write { index, at, value, past: streams || after_stream });
        }
    }
    writes
}

/// Whether `second` cannot persist without `first`, which was stored before it.
fn waits(model: Model, first: &Write, second: &Write) -> bool {
    match model {
        Model::Eadr | Model::FenceOnly => true,
        Model::Words => first.at == second.at,
        Model::Px86 if first.past || second.past => {
            first.past && second.past && first.at == second.at
        }
        Model::Px86 => first.at / 64 == second.at / 64,
    }
}

/// What a crash at the end may leave, and how many sets of stores do.
fn naive(model: Model, trace: &[Event]) -> (BTreeSet<Outcome>, usize) {
    let writes = writes(model, trace);
    let (mut outcomes, mut count) = (BTreeSet::new(), 0);
    for set in 0_u32..1 << writes.len() {
        let has = |number: usize| set >> number & 1 == 1;
        let legal = writes.iter().enumerate().all(|(number, write)| {
            if !has(number) {
                let end = trace.len();
                return model != Model::FenceOnly
                    && !is_durable(model, trace, write.index, write.at, end);
            }
            (0..number).all(|before| has(before) || !waits(model, &writes[before], write))
        });
        if !legal {
            continue;
        }
        count += 1;
        outcomes.insert(WORDS.map(|at| {
            let mut kept = (0..writes.len()).filter(|&it| writes[it].at == at && has(it));
            kept.next_back().map_or(0, |newest| writes[newest].value)
        }));
    }
    (outcomes, count)
}

fn outcome(lines: &Lines, contents: &Contents, state: &State) -> Outcome {
    let before = contents.mark();
    lines.apply(contents, state);
    let outcome = WORDS.map(|at| contents.get(at));
    contents.roll_back(before);
    outcome
}

/// The trace of a seed: 0 to 8 events.
fn trace(seed: u64) -> Vec<Event> {
    let mut random = Random::new(seed);
    let events = random.below(9);
    (0..events)
        .map(|_| {
            let (at, value) = (random.pick(&WORDS), random.below(3));
            match random.below(8) {
                0..4 => Event::Store(at, value),
                4 => Event::Stream(at, value),
                5..7 => Event::Flush(at & !63, 64),
                _ => Event::Fence,
            }
        })
        .collect()
}

/// What is wrong with the engine on the trace of a seed.
fn compare(seed: u64) -> Result<(), String> {
    let trace = trace(seed);
    let mut smaller = BTreeSet::new();
    for model in MODELS {
        let (contents, mut lines) = (Contents::new(128), Lines::new(model));
        trace.iter().for_each(|&event| lines.follow(&contents, event));
        let mut random = Random::new(seed);
        let states = lines.choose(Choice::All, &mut random);
        let fast: BTreeSet<Outcome> =
            states.iter().map(|state| outcome(&lines, &contents, state)).collect();
        let (slow, count) = naive(model, &trace);
        let wrong = |what: &str| Err(format!("{model:?}: {what}: {trace:?}: {fast:?}, {slow:?}"));
        if fast != slow {
            return wrong("the outcomes differ");
        }
        if states.len() != count || lines.states() != count as f64 {
            return wrong("the states are not as many as the product says");
        }
        if !smaller.is_subset(&fast) {
            return wrong("an outcome of the stricter model is missing");
        }
        let near = Choice::Near { distance: 2, most: 1000 };
        let mut near = lines.choose(near, &mut random);
        near.extend(lines.near(1000));
        if !near.iter().all(|state| states.contains(state)) {
            return wrong("a near state is none");
        }
        smaller = fast;
    }
    Ok(())
}

#[test]
fn the_engine_agrees_with_the_definition() {
    let only = std::env::var("REFERENCE_SEED").ok().map(|seed| seed.parse().expect("a number"));
    for seed in only.map_or(0..TRACES, |seed| seed..seed + 1) {
        if let Err(wrong) = compare(seed) {
            panic!("REFERENCE_SEED={seed} cargo test -p vasmem-faults --test reference # {wrong}");
        }
    }
}
