//! The lab finds nothing in the structures as they are, and every flush that is left out of a put.

use std::time::{Duration, Instant};
use vasmem_lab::crash::explore::Limits;
use vasmem_lab::crash::run::{Outcome, Plan, explore};
use vasmem_lab::crash::workloads::{self, Workload};

const LIMITS: [Limits; 2] = [
    Limits { every: 512.0, samples: 200, nest_one_in: 10, nested: 600 },
    Limits { every: 64.0, samples: 16, nest_one_in: 1, nested: 0 },
];

fn named(name: &str) -> Workload {
    workloads::all().into_iter().find(|workload| workload.name == name).expect("its name")
}

fn plan() -> Plan {
    Plan { limits: LIMITS, until: Instant::now() + Duration::from_secs(600), omitted: None }
}

fn tried(workload: &Workload, plan: &Plan) -> Outcome {
    explore(workload, 1, plan).expect("it runs without a crash")
}

#[test]
fn the_structures_as_they_are_survive() {
    for name in ["map: insert", "tree: delete", "array: append", "growth"] {
        let workload = named(name);
        let outcome = tried(&workload, &plan());
        assert!(outcome.failures.is_empty(), "{}: {:?}", outcome.name, outcome.failures);
        assert!(outcome.tally.distinct > 100 && outcome.tally.second > 50, "{}", outcome.name);
    }
}

#[test]
fn a_put_without_one_of_its_flushes_or_drains_does_not() {
    let put = named("map: insert");
    let commit: Vec<_> = tried(&put, &plan()).sites.into_keys().collect();
    let commit = commit.into_iter().filter(|site| site.file().ends_with("commit.rs"));
    let mut found = 0;
    for site in commit {
        let outcome = tried(&put, &Plan { omitted: Some(site), ..plan() });
        found += usize::from(!outcome.failures.is_empty());
    }
    // Record, fill, version lines and words; both drains.
    assert!(found >= 4, "only {found} of them were noticed");
}

#[test]
fn the_same_seed_tries_the_same_states() {
    let workload = workloads::random(3);
    let [one, other] = [(); 2].map(|()| tried(&workload, &plan()).tally);
    assert_eq!((one.drawn, one.distinct, one.second), (other.drawn, other.distinct, other.second));
}
