//! A worker process: input after input, and where it is for its parent to see.

use crate::image::Image;
use crate::random::Random;
use crate::{Outcome, TARGETS, mutate, operate, told};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::fs::File;
use std::os::fd::AsFd;
use vasmem_engine::{Error, Result};
use vasmem_memory::{Access, Mapped, Medium, Memory, Ordering};

/// Words of a worker's board: its present seed, how many inputs it has done, errors by kind.
pub const SEED: u64 = 0;
pub const INPUTS: u64 = 8;
pub const ERRORS: u64 = 16;
pub const BOARD_BYTES: u64 = 4096;
/// Names of the kinds of errors, in the order of the board.
pub const KINDS: [&str; 13] = [
    "Conflict",
    "Corrupted",
    "Full",
    "Timeout",
    "Interrupted",
    "ReadOnly",
    "NeedsRecovery",
    "Format",
    "TooLarge",
    "Removed",
    "WrongKind",
    "Os",
    "Died",
];
/// More memory than any input may need, in bytes of address space.
const ADDRESS_SPACE: u64 = 2 << 30;

/// Number of the kind of an error.
fn kind(error: &Error) -> u64 {
    match error {
        Error::Conflict => 0,
        Error::Corrupted { .. } => 1,
        Error::Full { .. } => 2,
        Error::Timeout { .. } => 3,
        Error::Interrupted => 4,
        Error::ReadOnly => 5,
        Error::NeedsRecovery | Error::Unclean => 6,
        Error::Format(_) => 7,
        Error::TooLarge { .. } => 8,
        Error::Removed => 9,
        Error::WrongKind => 10,
        Error::Os(_) => 11,
        Error::Died => 12,
    }
}

/// Maps the board that the file holds.
pub fn board(file: &File) -> Outcome<Mapped> {
    let mapped = Mapped::map(file.as_fd(), BOARD_BYTES, Access::ReadWrite, Medium::Volatile);
    let mapped = told("the board", mapped)?;
    mapped.set_limit(BOARD_BYTES);
    Ok(mapped)
}

/// Runs inputs `seed`, `seed + step` and so on, `count` of them.
pub fn work(target: &str, path: &str, [seed, step, count]: [u64; 3]) -> Outcome<()> {
    let limit = Rlimit { current: Some(ADDRESS_SPACE), maximum: Some(ADDRESS_SPACE) };
    told("the limit of memory", setrlimit(Resource::As, limit))?;
    let board = board(&told(path, File::options().read(true).write(true).open(path))?)?;
    let mut image = told("the segment", Image::build())?;
    let count_up = |at| board.store(at, board.load(at, Ordering::Relaxed) + 1, Ordering::Relaxed);
    let mut seed = seed;
    for _ in 0..count {
        board.store(SEED, seed, Ordering::Relaxed);
        let mut note = |error: &Error| count_up(ERRORS + kind(error) * 8);
        if let Err(error) = input(target, &image, seed, &mut note) {
            note(&error);
        }
        told("restoring", image.restore())?;
        count_up(INPUTS);
        seed += step;
    }
    Ok(())
}

fn input(target: &str, image: &Image, seed: u64, note: operate::Note<'_>) -> Result<()> {
    let mut random = Random::new(seed);
    if target == TARGETS[0] {
        mutate::segment(image, &mut random);
        operate::run(image, &mut random, note)
    } else {
        mutate::records(image, &mut random);
        operate::recover(image, &mut random, note)
    }
}
