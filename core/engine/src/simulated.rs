//! Simulated processes over one memory, for tests and models: a kernel that keeps byte locks, and
//! kills that drop them.

use crate::error::{Holder, Result};
use crate::host::{Host, Patience};
use crate::layout::{GRANULE, Geometry};
use crate::segment::Segment;
use std::collections::HashMap;
use std::sync::Arc;
use vasmem_memory::{Medium, Memory, Plain};

#[cfg(loom)]
use loom::sync::Mutex;
#[cfg(not(loom))]
use std::sync::Mutex;

/// Locks by byte, and the process that holds each.
#[derive(Default)]
struct Locks(HashMap<u32, u32>);

/// A machine: one memory, one table of locks.
#[derive(Clone)]
pub struct Machine {
    /// Its memory.
    pub memory: Arc<Plain>,
    locks: Arc<Mutex<Locks>>,
    geometry: Geometry,
}

/// A process of a [`Machine`], as the engine's host.
pub struct Process {
    locks: Arc<Mutex<Locks>>,
    pid: u32,
}

const RECOVERY: u32 = 1024;
const GROWTH: u32 = 2048;

impl Machine {
    /// A machine with a fresh segment of `heap_bytes`, on a medium of this kind.
    pub fn new(heap_bytes: u64, lanes: u64, lane_bytes: u64, medium: Medium) -> Machine {
        let mut geometry = Geometry::new(heap_bytes, 7, [1; 16]);
        (geometry.lanes, geometry.lane_bytes) = (lanes, lane_bytes);
        geometry.lanes_at = crate::layout::HEADER_BYTES;
        geometry.heap_at = (geometry.lanes_at + lanes * lane_bytes).next_multiple_of(GRANULE);
        geometry.size_limit = geometry.heap_at + heap_bytes;
        geometry.directory_at = geometry.region(0).data_at();
        let memory = Arc::new(Plain::new(geometry.size_limit, medium));
        crate::format::create(&*memory, &geometry, geometry.size_limit, [1, 2]);
        Machine {
            memory,
            locks: Arc::new(Mutex::new(Locks::default())),
            geometry,
        }
    }

    /// A new process that has the segment attached.
    pub fn attach(&self, pid: u32) -> Segment<Arc<Plain>, Process> {
        let host = Process {
            locks: self.locks.clone(),
            pid,
        };
        Segment::new(self.memory.clone(), Some(host), self.geometry)
    }

    /// A new process that has it attached for reading.
    pub fn attach_readonly(&self) -> Segment<Arc<Plain>, Process> {
        Segment::new(self.memory.clone(), None, self.geometry)
    }

    /// What the kernel does when process `pid` dies: its locks are gone.
    pub fn kill(&self, pid: u32) {
        self.locks
            .lock()
            .expect("no test panics with it")
            .0
            .retain(|_, holder| *holder != pid);
    }

    /// The lowest word of the memory, for those who look at it directly.
    pub fn memory(&self) -> &dyn Memory {
        &*self.memory
    }
}

impl Process {
    fn take(&self, byte: u32) -> bool {
        let mut locks = self.locks.lock().expect("no test panics with it");
        match locks.0.get(&byte) {
            Some(_) => false,
            None => {
                locks.0.insert(byte, self.pid);
                true
            }
        }
    }

    fn give_back(&self, byte: u32) {
        self.locks
            .lock()
            .expect("no test panics with it")
            .0
            .remove(&byte);
    }
}

impl Host for Process {
    fn take_life(&self, lane: u16) -> Result<bool> {
        Ok(self.take(u32::from(lane)))
    }
    fn end_life(&self, lane: u16) {
        self.give_back(u32::from(lane));
    }
    fn lives_elsewhere(&self, lane: u16) -> Result<bool> {
        let locks = self.locks.lock().expect("no test panics with it");
        Ok(locks
            .0
            .get(&u32::from(lane))
            .is_some_and(|&holder| holder != self.pid))
    }
    fn take_recovery(&self, lane: u16) -> Result<bool> {
        Ok(self.take(RECOVERY + u32::from(lane)))
    }
    fn end_recovery(&self, lane: u16) {
        self.give_back(RECOVERY + u32::from(lane));
    }
    fn take_growth(&self) -> Result<bool> {
        Ok(self.take(GROWTH))
    }
    fn end_growth(&self) {
        self.give_back(GROWTH);
    }
    fn generation(&self) -> u32 {
        0
    }
    fn pid(&self) -> u32 {
        self.pid
    }
}

/// Never gives up, and always asks whether the holder lives.
pub struct Eager;

impl Patience for Eager {
    fn pause(&mut self, _round: u32, _holder: Holder) -> Result<bool> {
        #[cfg(loom)]
        loom::thread::yield_now();
        #[cfg(not(loom))]
        std::thread::yield_now();
        Ok(true)
    }
}
