//! Seeded defects of the engine that only a crash shows: each is found by the states that it
//! leaves, and what was done is made as short as it goes.

use super::explore::Failure;
use super::persists::SEARCHES;
use super::run::{Plan, explore};
use super::workloads::{Operation, Workload};
use std::time::{Duration, Instant};
use vasmem_engine::lab::Mutation;

/// The defects, what the model checker's study of the protocol calls each, and words in the names
/// of the workloads in which it is looked for.
pub const DEFECTS: &[(Mutation, &str, &str)] = &[
    (Mutation::RecordNotDrained, "drop fence 1", ""),
    (Mutation::RecordNotFlushed, "no flush of the record", ""),
    (Mutation::FillsNotFlushed, "E2: no flush of what is published", ""),
    (Mutation::HomeNotDrained, "drop fence 2", ""),
    (Mutation::HomeNotFlushed, "no flush of home lines; E3: version line not flushed", ""),
    (Mutation::UnlockBeforeDurable, "unlock before fence 2", ""),
    (Mutation::RecoveryNotGated, "no version gate", ""),
    (Mutation::SumIgnored, "no checksum", ""),
    (Mutation::SumWithoutFills, "E2, R2: checksum without unpublished bytes", ""),
    (Mutation::NotBumped, "E7, R7: no incarnation bump", ""),
    (Mutation::BumpNotDurable, "E7, R7: bump not fenced", ""),
    (Mutation::StateDecides, "E1, R1: state word decides", ""),
    (Mutation::RedoneNotDurable, "E4, R4: recovery without fence c", ""),
    (Mutation::TargetsNotDurable, "E4, R4: recovery without fence d", ""),
    (Mutation::IdleNotDurable, "E5, R5: recovery without fence e", "twin"),
    (Mutation::LocksNotSwept, "argued (c): incarnation bits wrap", "locks are left"),
    (Mutation::BackedNotDurable, "not in it: growth", "growth for"),
];

/// A workload that fails.
pub struct Found {
    /// It.
    pub workload: Workload,
    /// How.
    pub failure: Failure,
    /// Distinct states until then.
    pub states: u64,
}

impl Found {
    /// What happens in it: steps of operations, lines that are not as the others, and crashes.
    pub fn events(&self) -> usize {
        let Workload { setup, abandoned, run, then, .. } = &self.workload;
        let nested = if self.failure.crashes > 1 { then.0.len() } else { 0 };
        let setup: usize = setup.iter().map(Vec::len).sum();
        let run: usize = run.iter().map(|turn| turn.operation.len() + turn.heirs.len()).sum();
        let done = setup + abandoned.len() + run + nested;
        done + self.failure.named + self.failure.crashes as usize
    }
}

/// Looks for a workload that fails, until `until`. A defect may be switched on in this process.
///
/// # Errors
/// If a workload does not even run.
pub fn find(workloads: &[Workload], until: Instant) -> Result<Option<Found>, String> {
    let mut states = 0;
    for limits in SEARCHES {
        for workload in workloads {
            let outcome = explore(workload, 1, &Plan { limits, until, omitted: None });
            let outcome = outcome.map_err(|error| format!("{}: {error:?}", workload.name))?;
            states += outcome.tally.distinct;
            if let Some(failure) = outcome.failures.into_iter().min_by_key(|one| one.named) {
                return Ok(Some(Found { workload: workload.clone(), failure, states }));
            }
        }
    }
    Ok(None)
}

/// Leaves out what can be left out, so that it still fails; ends at `until` at the latest.
pub fn shrink(mut found: Found, until: Instant) -> Found {
    let mut is_done = false;
    while !is_done {
        is_done = true;
        for simpler in simpler(&found.workload) {
            let Some(failure) = fails(&simpler, until) else { continue };
            let shorter = Found { workload: simpler, failure, states: found.states };
            if shorter.events() < found.events() {
                (found, is_done) = (shorter, false);
                break;
            }
        }
    }
    found
}

/// How a workload fails, if it does so soon.
fn fails(workload: &Workload, until: Instant) -> Option<Failure> {
    let soon = until.min(Instant::now() + Duration::from_secs(1));
    SEARCHES[..2].iter().find_map(|&limits| {
        let outcome = explore(workload, 1, &Plan { limits, until: soon, omitted: None }).ok()?;
        outcome.failures.into_iter().min_by_key(|one| one.named)
    })
}

/// The workload without one of its steps, for each of them.
fn simpler(workload: &Workload) -> Vec<Workload> {
    let mut all = Vec::new();
    for index in 0..workload.setup.len() {
        all.extend(shorter(&workload.setup[index]).map(|operation| {
            let mut simpler = workload.clone();
            simpler.setup[index] = operation;
            simpler.setup.retain(|operation| !operation.is_empty());
            simpler
        }));
    }
    for index in 0..workload.run.len() {
        all.extend(shorter(&workload.run[index].operation).map(|operation| {
            let mut simpler = workload.clone();
            simpler.run[index].operation = operation;
            simpler.run.retain(|turn| !turn.operation.is_empty());
            simpler
        }));
    }
    all.extend(shorter(&workload.then.0).map(|operation| {
        let mut simpler = workload.clone();
        simpler.then.0 = operation;
        simpler
    }));
    all
}

/// The operation without a half of it, a quarter, ... and without each step.
fn shorter(operation: &Operation) -> impl Iterator<Item = Operation> + use<'_> {
    let sizes =
        std::iter::successors(Some(operation.len()), |&size| (size > 1).then_some(size / 2));
    sizes.filter(|&size| size > 0).flat_map(move |size| {
        (0..operation.len()).step_by(size).map(move |from| {
            let end = (from + size).min(operation.len());
            [&operation[..from], &operation[end..]].concat()
        })
    })
}
