//! Every memory against a plain vector: the same operations, the same bytes.
#![cfg(not(loom))]

mod common;

use common::{PAGE, file, map};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use vasmem_memory::Ordering::Relaxed;
use vasmem_memory::{Medium, Memory, Plain};

/// Bytes of the memory under test: one page.
const SIZE: u64 = PAGE;

#[derive(Clone, Debug)]
enum Step {
    CopyIn(u64, Vec<u8>),
    CopyOut(u64, usize),
    Load(u64),
    Store(u64, u64),
    Cas(u64, bool, u64),
}

/// Mostly inside; some across the end, some unaligned, some far away.
fn place() -> impl Strategy<Value = u64> {
    prop_oneof![
        8 => 0..SIZE,
        4 => (0..SIZE / 8).prop_map(|word| word * 8),
        2 => SIZE - 40..SIZE + 40,
        1 => Just(u64::MAX),
        1 => any::<u64>(),
    ]
}

fn length() -> impl Strategy<Value = usize> {
    prop_oneof![8 => 0..40_usize, 4 => 0..300_usize, 1 => 0..5000_usize]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (place(), length().prop_flat_map(|len| prop::collection::vec(any::<u8>(), len)))
            .prop_map(|(at, bytes)| Step::CopyIn(at, bytes)),
        (place(), length()).prop_map(|(at, len)| Step::CopyOut(at, len)),
        place().prop_map(Step::Load),
        (place(), any::<u64>()).prop_map(|(at, value)| Step::Store(at, value)),
        (place(), any::<bool>(), any::<u64>()).prop_map(|(at, hit, new)| Step::Cas(at, hit, new)),
    ]
}

/// What the memory should be.
struct Model {
    bytes: Vec<u8>,
    poisoned: bool,
}

impl Model {
    fn range(&mut self, at: u64, len: usize) -> Option<&mut [u8]> {
        let end = at.checked_add(len as u64).filter(|end| *end <= SIZE);
        self.poisoned |= end.is_none();
        end.map(|end| &mut self.bytes[at as usize..end as usize])
    }

    fn word(&mut self, at: u64) -> Option<&mut [u8]> {
        if at.is_multiple_of(8) {
            return self.range(at, 8);
        }
        self.poisoned = true;
        None
    }

    fn load(&mut self, at: u64) -> Option<u64> {
        let word = self.word(at)?;
        Some(u64::from_le_bytes((&*word).try_into().unwrap()))
    }
}

fn apply(memory: &impl Memory, model: &mut Model, step: Step) -> Result<(), TestCaseError> {
    match step {
        Step::CopyIn(at, bytes) => {
            memory.copy_in(at, &bytes);
            if let Some(range) = model.range(at, bytes.len()) {
                range.copy_from_slice(&bytes);
            }
        }
        Step::CopyOut(at, len) => {
            let mut bytes = vec![0xaa; len];
            memory.copy_out(at, &mut bytes);
            let zeros = vec![0; len];
            prop_assert_eq!(&bytes, model.range(at, len).map_or(&zeros[..], |range| range));
        }
        Step::Load(at) => {
            prop_assert_eq!(memory.load(at, Relaxed), model.load(at).unwrap_or(0));
        }
        Step::Store(at, value) => {
            memory.store(at, value, Relaxed);
            if let Some(word) = model.word(at) {
                word.copy_from_slice(&value.to_le_bytes());
            }
        }
        Step::Cas(at, hit, new) => {
            let held = model.load(at);
            let old = if hit { held.unwrap_or(1) } else { !held.unwrap_or(1) };
            let done = memory.cas(at, old, new, Relaxed, Relaxed);
            match held {
                None => prop_assert_eq!(done, Err(!old)),
                Some(held) if hit => {
                    prop_assert_eq!(done, Ok(held));
                    model.word(at).unwrap().copy_from_slice(&new.to_le_bytes());
                }
                Some(held) => prop_assert_eq!(done, Err(held)),
            }
        }
    }
    prop_assert_eq!(memory.poisoned(), model.poisoned);
    Ok(())
}

fn agrees(memory: &impl Memory, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut model = Model { bytes: vec![0; SIZE as usize], poisoned: false };
    for step in steps {
        apply(memory, &mut model, step)?;
    }
    let mut bytes = vec![0; SIZE as usize];
    memory.copy_out(0, &mut bytes);
    prop_assert_eq!(bytes, model.bytes);
    Ok(())
}

proptest! {
    #[test]
    fn mapped_memory_behaves_as_a_vector(steps in prop::collection::vec(step(), 1..40)) {
        agrees(&map(&file(SIZE), SIZE), steps)?;
    }

    #[test]
    fn plain_memory_behaves_as_a_vector(steps in prop::collection::vec(step(), 1..40)) {
        agrees(&Plain::new(SIZE, Medium::Volatile), steps)?;
    }
}

/// Copies with every alignment and length up to 300, and around the page's end.
fn copies_exactly(memory: &impl Memory) {
    let source: Vec<u8> = (0..400_u32).map(|i| (i * 7 + 3) as u8).collect();
    for skew in 0..16 {
        for len in 0..300 {
            let ends_with_the_page = SIZE - skew - len as u64;
            for at in [64 + skew, ends_with_the_page] {
                memory.copy_in(0, &vec![0xee; SIZE as usize]);
                memory.copy_in(at, &source[..len]);
                let mut all = vec![0; SIZE as usize];
                memory.copy_out(0, &mut all);
                let (start, end) = (at as usize, at as usize + len);
                assert_eq!(&all[start..end], &source[..len], "{len} bytes at {at}");
                assert!(all[..start].iter().chain(&all[end..]).all(|byte| *byte == 0xee));
                let mut some = vec![0; len + 2];
                memory.copy_out(at, &mut some[1..len + 1]);
                assert_eq!(&some[1..len + 1], &source[..len], "{len} bytes at {at}");
                assert_eq!((some[0], some[len + 1]), (0, 0));
            }
        }
    }
    assert!(!memory.poisoned());
}

#[test]
fn mapped_memory_copies_exactly() {
    copies_exactly(&map(&file(SIZE), SIZE));
}

#[test]
fn plain_memory_copies_exactly() {
    copies_exactly(&Plain::new(SIZE, Medium::CacheLine));
}

#[test]
fn plain_memory_has_whole_words_and_its_medium() {
    let memory = Plain::new(9, Medium::CacheLine);
    assert_eq!(memory.limit(), 16);
    assert!(memory.needs_flush());
    memory.flush(0, 9);
    memory.drain();
    memory.prefetch(u64::MAX);
    assert!(!Plain::new(8, Medium::Volatile).needs_flush());
}
