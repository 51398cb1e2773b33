//! Races inside of what the system is asked for: a host that lets others act just before it.
#![cfg(all(feature = "lab", not(loom)))]

mod common;
use common::*;
use std::sync::Mutex;
use vasmem_engine::{Host, Segment};

type Meddler = Mutex<Option<Box<dyn FnOnce() + Send>>>;

/// A process whose calls to the system come late.
struct Late {
    inner: Process,
    before_recovery: Meddler,
    before_end: Meddler,
}

impl Late {
    fn attach(world: &World, pid: u32) -> Arc<Segment<Port, Late>> {
        let host = Late {
            inner: world.machine.process(pid),
            before_recovery: Mutex::default(),
            before_end: Mutex::default(),
        };
        let machine = &world.machine;
        Arc::new(Segment::new(machine.port(), Some(host), machine.geometry))
    }
}

fn meddle(meddler: &Meddler) {
    let act = meddler.lock().unwrap().take();
    if let Some(act) = act {
        act();
    }
}

impl Host for Late {
    fn take_life(&self, lane: u16) -> Result<bool> {
        self.inner.take_life(lane)
    }
    fn end_life(&self, lane: u16) {
        meddle(&self.before_end);
        self.inner.end_life(lane);
    }
    fn lives_elsewhere(&self, lane: u16) -> Result<bool> {
        self.inner.lives_elsewhere(lane)
    }
    fn take_recovery(&self, lane: u16) -> Result<bool> {
        meddle(&self.before_recovery);
        self.inner.take_recovery(lane)
    }
    fn end_recovery(&self, lane: u16) {
        self.inner.end_recovery(lane);
    }
    fn take_growth(&self) -> Result<bool> {
        self.inner.take_growth()
    }
    fn end_growth(&self) {
        self.inner.end_growth();
    }
    fn generation(&self) -> u32 {
        self.inner.generation()
    }
    fn pid(&self) -> u32 {
        self.inner.pid()
    }
}

/// E6: between the look at a dead owner and the recovery lock another one recovers the lane, claims
/// it and has locks of its own there.
#[test]
fn e6_death_is_looked_at_under_the_recovery_lock() {
    let world = World::new();
    let one = world.writer(1);
    let [a, b, ..] = world.nodes;
    die_at(&one, Point::Validated, 0);
    assert!(set_all(&one, &[a, b], 5).is_err());
    world.machine.kill(1);
    let late = Late::attach(&world, 2);
    let newcomer = world.attach(3);
    let third = newcomer.clone();
    let act = move || {
        // It stops in the middle, alive.
        die_at(&third, Point::Validated, 0);
        assert!(set_all(&third, &[a], 6).is_err());
    };
    *late.host.as_ref().unwrap().before_recovery.lock().unwrap() = Some(Box::new(act));
    assert!(!late.recover_dead(0).unwrap(), "its owner lives");
    assert!(newcomer.lanes.is_own(0));
    assert_eq!(world.word(a) & 1, 1, "the lock of a live lane is undone");
    assert_listed(&world);
}

/// E7: while one thread gives a lane back, another one of the process looks for a lane.
#[test]
fn e7_a_lane_that_is_given_back_is_not_claimed_before_its_life_ended() {
    let world = World::new();
    let late = Late::attach(&world, 1);
    let lane = late.claim().unwrap().unwrap();
    let (thread, claimed) = (late.clone(), Arc::new(Mutex::new(None)));
    let kept = claimed.clone();
    let act = move || *kept.lock().unwrap() = thread.claim().unwrap();
    *late.host.as_ref().unwrap().before_end.lock().unwrap() = Some(Box::new(act));
    late.release(&lane);
    let claimed = claimed.lock().unwrap().take().unwrap();
    let other = world.machine.process(2);
    assert!(other.lives_elsewhere(claimed.id).unwrap(), "claimed, and nobody's");
    assert!(!world.attach(2).recover_dead(claimed.id).unwrap());
}
