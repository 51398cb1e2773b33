//! What happened, and whether some serial order explains it.
//!
//! Every transaction writes its own number, and reads each node that it writes. So the final
//! memory leads back through all versions of a node, and reads tell who came before whom.

use std::collections::{HashMap, HashSet};

/// One transaction.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its number, from 1; this is what it writes.
    pub id: u64,
    /// Node and the number found there.
    pub reads: Vec<(usize, u64)>,
    /// Nodes written.
    pub writes: Vec<usize>,
    /// Whether it was acknowledged; one that died may have happened or not.
    pub acked: bool,
}

/// Panics unless some serial order of all acknowledged transactions, and of those that died and
/// took effect, explains what was read and the `last` values of the nodes.
pub fn explain(events: &[Event], last: &[u64]) {
    let by_id: HashMap<u64, &Event> = events.iter().map(|event| (event.id, event)).collect();
    let chains: Vec<Vec<u64>> = (0..last.len()).map(|node| chain(&by_id, node, last)).collect();
    let present = |node: usize, id: u64| chains[node].contains(&id);
    let mut happened = HashSet::new();
    for event in events {
        let there = event.writes.iter().filter(|&&node| present(node, event.id)).count();
        let whole = there == event.writes.len();
        assert!(there == 0 || whole, "half of a transaction is there: {event:?}");
        assert!(whole || !event.acked, "an acknowledged transaction is lost: {event:?}");
        if whole && (event.acked || there > 0) {
            happened.insert(event.id);
        }
    }
    let mut after: HashMap<u64, Vec<u64>> = HashMap::new();
    for event in events.iter().filter(|event| happened.contains(&event.id)) {
        for &(node, read) in &event.reads {
            let place = chains[node].iter().position(|&id| id == read);
            let place = place.unwrap_or_else(|| panic!("dirty read of node {node}: {event:?}"));
            after.entry(read).or_default().push(event.id);
            let next = chains[node].get(place + 1).copied();
            if let Some(next) = next.filter(|&next| next != event.id) {
                after.entry(event.id).or_default().push(next);
            }
        }
    }
    acyclic(&after, events);
}

/// Versions of a node from the first (0) to the last.
fn chain(by_id: &HashMap<u64, &Event>, node: usize, last: &[u64]) -> Vec<u64> {
    let mut chain = vec![last[node]];
    while chain.last() != Some(&0) {
        let id = chain[chain.len() - 1];
        let event = by_id.get(&id).unwrap_or_else(|| panic!("node {node} holds garbage: {id}"));
        let before = event.reads.iter().find(|(read, _)| *read == node);
        let before = before.expect("a node is read before it is written").1;
        assert!(!chain.contains(&before), "node {node} went back to {before}");
        chain.push(before);
    }
    chain.reverse();
    chain
}

fn acyclic(after: &HashMap<u64, Vec<u64>>, events: &[Event]) {
    let mut before: HashMap<u64, usize> = HashMap::new();
    for next in after.values().flatten() {
        *before.entry(*next).or_default() += 1;
    }
    let all: HashSet<u64> = after.keys().chain(after.values().flatten()).copied().collect();
    let mut ready: Vec<u64> = all.iter().copied().filter(|id| !before.contains_key(id)).collect();
    let mut done = 0;
    while let Some(id) = ready.pop() {
        done += 1;
        for next in after.get(&id).into_iter().flatten() {
            let left = before.get_mut(next).expect("it was counted");
            *left -= 1;
            if *left == 0 {
                ready.push(*next);
            }
        }
    }
    assert_eq!(done, all.len(), "no serial order explains {events:#?}");
}
