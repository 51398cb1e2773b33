//! Pins: blocks that a process looks at where they are, without a copy.
//!
//! **P1** a pinner names the block in a slot of its lane, then looks, with a full fence in between,
//! that unlocked nodes still lead to it; whoever frees or overwrites a block locks the node that
//! leads to it, then looks at the pins. One of the two sees the other. **P2** a pinned block is not
//! overwritten, and when it is freed it goes to the deferred list of the lane that freed it, with
//! the record that unlinks it. **P3** pins end with their lane.
//!
//! A lane that has pins makes no transactions: its slots stand where entries of a record would.

use crate::access::Reading;
use crate::error::{Error, Holder, Result};
use crate::glance::Glance;
use crate::host::{Host, Patience};
use crate::lab::{Mutation, Point, mutated};
use crate::lanes::{Lane, try_lock};
use crate::layout::{header, lane};
use crate::segment::Segment;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release, SeqCst};
use std::sync::{Mutex, PoisonError};
use vasmem_memory::{Memory, Offset};

/// Lanes that one process may have for pins.
const LANES: usize = 8;

/// A lane with pins.
struct Board {
    lane: Lane,
    /// Slots that were ever used, and those of them that are free again.
    used: u64,
    free: Vec<u64>,
}

impl Board {
    fn is_empty(&self) -> bool {
        self.free.len() as u64 == self.used
    }
}

/// The pins of this process.
#[derive(Default)]
pub struct Pins {
    boards: [Mutex<Option<Box<Board>>>; LANES],
}

/// A pinned block; it is unpinned by [`Segment::unpin`].
#[derive(Debug)]
pub struct Pin {
    board: usize,
    slot: u64,
    /// Forks before it was made: a child has none of its parent's pins.
    generation: u32,
}

impl<M: Memory, H: Host> Segment<M, H> {
    /// Pins the block that `find` leads to, and returns the pin with what `find` says at that time.
    /// `None` if there is no such block, or no place for one more pin.
    ///
    /// # Errors
    /// Those of `find`; `Timeout` and `Interrupted` while waiting for a writer.
    pub fn pin<T>(
        &self,
        patience: &mut dyn Patience,
        find: &mut impl Reading<Option<(Offset, T)>>,
    ) -> Result<Option<(Pin, T)>> {
        let mut round = 0;
        loop {
            self.wait_without_token(0, patience)?;
            let Some((at, _)) = self.consult(patience, find)? else { return Ok(None) };
            let Some(pin) = self.post(at)? else { return Ok(None) };
            self.memory.fence(SeqCst);
            self.switches.hit(Point::Pinned)?;
            let free = self.memory.load(header::TOKEN, Acquire) == 0;
            if free && mutated(Mutation::PinNotLookedAtAgain) {
                return Ok(find.run(&mut Glance::new(self))?.map(|(_, found)| (pin, found)));
            }
            match find.run(&mut Glance::new(self)) {
                Ok(Some((now, found))) if free && now == at => return Ok(Some((pin, found))),
                Ok(_) | Err(Error::Conflict) => self.unpin(&pin, true),
                Err(error) => {
                    self.unpin(&pin, true);
                    return Err(error);
                }
            }
            if patience.pause(round, Holder::Conflicts)? {
                self.recover_all_dead()?;
            }
            round += 1;
        }
    }

    /// Takes a pin back. `keep` says whether its lane stays for the next one.
    pub fn unpin(&self, pin: &Pin, keep: bool) {
        let Ok(host) = self.host() else { return };
        if pin.generation != host.generation() {
            return;
        }
        let mut place = self.pins.boards[pin.board].lock().unwrap_or_else(PoisonError::into_inner);
        let Some(board) = place.as_mut() else { return };
        let _writing = self.memory.writing();
        self.memory.store(slot_at(&board.lane, pin.slot), 0, Release);
        board.free.push(pin.slot);
        if board.is_empty() {
            self.memory.store(self.tail(board.lane.id) + lane::PINNED, 0, Release);
            (board.used, board.free) = (0, Vec::new());
            if !keep && let Some(board) = place.take() {
                self.release(&board.lane);
            }
        }
    }

    /// Gives back the lanes that have no pins: the end of this attachment, or nearly.
    pub(crate) fn release_boards(&self) {
        let Ok(generation) = self.host().map(Host::generation) else { return };
        for place in &self.pins.boards {
            if let Some(mut board) = try_lock(place)
                && board
                    .as_ref()
                    .is_some_and(|board| board.is_empty() || board.lane.generation() != generation)
                && let Some(board) = board.take()
            {
                self.release(&board.lane);
            }
        }
    }

    /// Names `at` in a slot; `None` if all are in use.
    fn post(&self, at: Offset) -> Result<Option<Pin>> {
        let generation = self.host()?.generation();
        let slots = self.geometry.inline_words();
        for (number, place) in self.pins.boards.iter().enumerate() {
            let Some(mut place) = try_lock(place) else { continue };
            if place.as_ref().is_none_or(|board| board.lane.generation() != generation) {
                let claimed = match self.claim() {
                    // The caller can do without: views are copies then.
                    Err(Error::Full { .. }) => None,
                    claimed => claimed?,
                };
                *place = claimed.map(|lane| Box::new(Board { lane, used: 0, free: Vec::new() }));
            }
            let Some(board) = place.as_mut() else { return Ok(None) };
            if board.used == slots && board.free.is_empty() {
                continue;
            }
            let slot = board.free.pop().unwrap_or(board.used);
            let first = board.used == 0;
            board.used = board.used.max(slot + 1);
            let _writing = self.memory.writing();
            self.memory.store(slot_at(&board.lane, slot), at, Release);
            self.memory.store(self.tail(board.lane.id) + lane::PINNED, board.used, Release);
            if first {
                self.announce_pins();
            }
            return Ok(Some(Pin { board: number, slot, generation }));
        }
        Ok(None)
    }

    /// Sets the word that says that pins may exist, and counts: whoever clears it must not have
    /// looked before this.
    fn announce_pins(&self) {
        let mut word = self.memory.load(header::PINS, Acquire);
        while let Err(now) =
            self.memory.cas(header::PINS, word, (word | 1).wrapping_add(2), AcqRel, Acquire)
        {
            word = now;
        }
    }

    /// Whether any lane has pins now. Clears the word that says so if none has, and looks after
    /// dead ones if `probe` says that it is time.
    #[cold]
    fn any_pins(&self, probe: bool) -> Result<bool> {
        let word = self.memory.load(header::PINS, Acquire);
        let mut any = false;
        for id in 0..self.lanes_used() as u16 {
            if self.memory.load(self.tail(id) + lane::PINNED, Acquire) != 0 {
                any |= !(probe && self.recover_dead(id)?);
            }
        }
        if !any {
            // It fails if a lane came meanwhile, which then is only seen a little later.
            let _writing = self.memory.writing();
            let _ = self.memory.cas(header::PINS, word, word & !1, AcqRel, Acquire);
        }
        Ok(any)
    }

    /// Whether pins may exist; cheap while there are none.
    #[inline]
    pub(crate) fn may_have_pins(&self) -> bool {
        self.memory.load(header::PINS, Acquire) & 1 != 0
    }

    /// As [`Segment::may_have_pins`], and looks closer if so.
    #[inline]
    pub(crate) fn has_pins(&self, probe: bool) -> Result<bool> {
        Ok(self.may_have_pins() && self.any_pins(probe)?)
    }

    /// Whether some lane has pinned the block at `at`.
    #[cold]
    pub(crate) fn is_pinned(&self, at: Offset) -> bool {
        let slots = self.geometry.inline_words();
        (0..self.lanes_used() as u16).any(|id| {
            let used = self.memory.load(self.tail(id) + lane::PINNED, Acquire).min(slots);
            let first = self.geometry.lane(u64::from(id)) + lane::ENTRIES;
            (0..used).any(|slot| self.memory.load(first + slot * 8, Acquire) == at)
        })
    }

    fn recover_all_dead(&self) -> Result<()> {
        for lane in 0..self.lanes_used() as u16 {
            self.recover_dead(lane)?;
        }
        Ok(())
    }
}

fn slot_at(lane: &Lane, slot: u64) -> Offset {
    lane.at + lane::ENTRIES + slot * 8
}
