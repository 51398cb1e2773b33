//! The crash lab's part in native code: recording, and the states that a crash may leave.

mod bench;
mod raw;
mod tape;

pub use bench::Bench;
pub use tape::Tape;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use vasmem_faults::{Event, Model};

/// Bytes of an event as Python has it: kind and site, 4 bytes each, place, value.
const RECORD_BYTES: usize = 24;

/// What a record says beside events of the memory: the caller's mark, and growth.
const MARK: u32 = 4;
const GROWTH: u32 = 5;

/// One event in 24 bytes.
fn pack(kind: u32, site: u32, at: u64, value: u64, into: &mut Vec<u8>) {
    into.extend_from_slice(&kind.to_le_bytes());
    into.extend_from_slice(&site.to_le_bytes());
    into.extend_from_slice(&at.to_le_bytes());
    into.extend_from_slice(&value.to_le_bytes());
}

/// A step of a trace, for the bench.
#[derive(Clone, Copy)]
enum Step {
    Memory(Event),
    Mark,
}

/// Takes apart what `pack` made, and refuses what is not inside of `bytes`.
fn unpack(records: &[u8], bytes: u64) -> PyResult<Vec<Step>> {
    let (records, rest) = records.as_chunks::<RECORD_BYTES>();
    if !rest.is_empty() {
        return Err(PyValueError::new_err("events of a trace: not whole records"));
    }
    let step = |(number, record): (usize, &[u8; RECORD_BYTES])| {
        let (words, _) = record.as_chunks::<8>();
        let [_, at, value] = [0, 1, 2].map(|i| u64::from_le_bytes(words[i]));
        let kind = u32::from_le_bytes([record[0], record[1], record[2], record[3]]);
        let inside = at.is_multiple_of(8) && at < bytes;
        let refused = || {
            let text = format!("event {number} of a trace: kind {kind} at {at} of {bytes} bytes");
            PyValueError::new_err(text)
        };
        Ok(match kind {
            0 if inside => Step::Memory(Event::Store(at, value)),
            1 if inside => Step::Memory(Event::Stream(at, value)),
            2 if value <= bytes && at <= bytes - value => Step::Memory(Event::Flush(at, value)),
            3 => Step::Memory(Event::Fence),
            MARK | GROWTH => Step::Mark,
            _ => return Err(refused()),
        })
    };
    records.iter().enumerate().map(step).collect()
}

/// The model of that name.
fn model(name: &str) -> PyResult<Model> {
    Ok(match name {
        "px86" => Model::Px86,
        "eadr" => Model::Eadr,
        "words" => Model::Words,
        "fence-only" => Model::FenceOnly,
        _ => {
            let text = format!(
                "no fault model {name:?}: there are 'px86', 'eadr', 'words' and 'fence-only'"
            );
            return Err(PyValueError::new_err(text));
        }
    })
}
