//! The persist-mutation score: every flush and every drain of the engine is left out, one at a
//! time, and the crash states must show it; or it stands in a list of those that nothing rests on.

use super::explore::Limits;
use super::image::Site;
use super::run::{Plan, explore};
use super::workloads::Workload;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// To find the sites that there are.
const GLANCE: [Limits; 2] = [
    Limits { every: 16.0, samples: 4, nest_one_in: 20, nested: 100 },
    Limits { every: 8.0, samples: 2, nest_one_in: 1, nested: 0 },
];
/// To find what misses one: all workloads at a glance, then all of them thoroughly.
pub const SEARCHES: [[Limits; 2]; 3] = [
    [
        Limits { every: 16.0, samples: 16, nest_one_in: 20, nested: 400 },
        Limits { every: 8.0, samples: 2, nest_one_in: 1, nested: 0 },
    ],
    [
        Limits { every: 64.0, samples: 64, nest_one_in: 20, nested: 8_000 },
        Limits { every: 16.0, samples: 4, nest_one_in: 1, nested: 0 },
    ],
    [
        Limits { every: 4096.0, samples: 1000, nest_one_in: 10, nested: 60_000 },
        Limits { every: 256.0, samples: 64, nest_one_in: 1, nested: 0 },
    ],
];
const ENGINE: &str = "core/engine/src";

/// A call in the source that makes something durable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// File of the engine.
    pub file: String,
    /// Function that it is in.
    pub function: String,
    /// The call.
    pub text: String,
    /// Its line, from 1.
    pub line: u32,
}

/// Calls that may be left out, by file, function and a part of the text, with the reason.
const REDUNDANT: &[(&str, &str, &str, &str)] = &[];
/// By function, words in the names of workloads that are searched closely before all others.
const LEADS: &[(&str, &str)] = &[("find_granules", "growth for"), ("flush_idle", "twin")];
/// A call that nobody noticed in so long is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// What leaving a call out leads to.
pub enum Verdict {
    /// A workload fails, after so many distinct states.
    Caught(String, u64),
    /// It stands in the list, for this reason.
    Redundant(&'static str),
    /// Nobody noticed; whether any workload came by.
    Missed(bool),
}

/// All calls that flush or drain in the sources of the engine.
///
/// # Errors
/// If the sources are not there.
pub fn calls() -> Result<Vec<Call>, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/src");
    let told = |error: std::io::Error| format!("{ENGINE}: {error}");
    let mut all = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(told)? {
        let path = entry.map_err(told)?.path();
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !file.ends_with(".rs") || file == "simulated.rs" {
            continue;
        }
        let (text, mut function) = (std::fs::read_to_string(&path).map_err(told)?, String::new());
        for (line, words) in (1..).zip(text.lines()) {
            if let Some((_, rest)) = words.split_once("fn ") {
                function = rest.split(['(', '<']).next().unwrap_or_default().to_owned();
            }
            let is_call = ["memory.flush(", ".drain();", "self.persist(", ".copy_in_flushed("];
            if is_call.iter().any(|call| words.contains(call)) && function != "persist" {
                let (file, text) = (file.clone(), words.trim().trim_end_matches(';').to_owned());
                all.push(Call { file, function: function.clone(), text, line });
            }
        }
    }
    all.sort();
    Ok(all)
}

/// Leaves each call out in turn, of functions with `only` in their names; `each` is told of every
/// verdict. Returns how many nobody noticed.
///
/// # Errors
/// If a workload does not run at all, or the sources are not there.
pub fn score(
    workloads: &[Workload],
    only: &str,
    threads: usize,
    each: impl Fn(&Call, &Verdict) + Sync,
) -> Result<u32, String> {
    let mut calls = calls()?;
    calls.retain(|call| call.function.contains(only));
    let sites = sites(workloads)?;
    let (next, missed) = (AtomicUsize::new(0), Mutex::new(0));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(call) = calls.get(next.fetch_add(1, Relaxed)) {
                    let place = sites.get(&(call.file.clone(), call.line));
                    let verdict = judge(call, place, workloads);
                    let mut missed = missed.lock().unwrap_or_else(|broken| broken.into_inner());
                    *missed += u32::from(matches!(verdict, Verdict::Missed(_)));
                    each(call, &verdict);
                }
            });
        }
    });
    Ok(missed.into_inner().unwrap_or_else(|broken| broken.into_inner()))
}

/// A site, and the workloads that came by, by file and line.
type Sites = BTreeMap<(String, u32), (Site, Vec<usize>)>;

fn sites(workloads: &[Workload]) -> Result<Sites, String> {
    let mut sites = Sites::new();
    for (index, workload) in workloads.iter().enumerate() {
        let until = Instant::now() + Duration::from_secs(60);
        let outcome = explore(workload, 1, &Plan { limits: GLANCE, until, omitted: None });
        let outcome = outcome.map_err(|error| format!("{}: {error:?}", workload.name))?;
        for &site in outcome.sites.keys().filter(|site| site.file().contains(ENGINE)) {
            let file = site.file().rsplit('/').next().unwrap_or_default().to_owned();
            sites.entry((file, site.line())).or_insert((site, Vec::new())).1.push(index);
        }
    }
    Ok(sites)
}

fn judge(call: &Call, place: Option<&(Site, Vec<usize>)>, workloads: &[Workload]) -> Verdict {
    let listed = REDUNDANT.iter().find(|(file, function, text, _)| {
        call.file == *file && call.function == *function && call.text.contains(text)
    });
    if let Some((_, _, _, reason)) = listed {
        return Verdict::Redundant(reason);
    }
    let Some((site, passing)) = place else { return Verdict::Missed(false) };
    let (mut states, until) = (0, Instant::now() + PATIENCE);
    let leads = LEADS.iter().find(|(function, _)| call.function == *function);
    let leading =
        |index: &&usize| leads.is_some_and(|lead| workloads[**index].name.contains(lead.1));
    let each = |index| SEARCHES.iter().map(move |limits| (limits, index));
    let first = passing.iter().filter(leading).flat_map(each);
    let then = SEARCHES.iter().flat_map(|limits| passing.iter().map(move |index| (limits, index)));
    for (limits, &index) in first.chain(then) {
        let plan = Plan { limits: *limits, until, omitted: Some(site) };
        let name = workloads[index].name.clone();
        match explore(&workloads[index], 1, &plan) {
            Ok(outcome) => {
                states += outcome.tally.distinct;
                if !outcome.failures.is_empty() {
                    return Verdict::Caught(name, states);
                }
            }
            Err(_) => return Verdict::Caught(name, states),
        }
    }
    Verdict::Missed(true)
}
