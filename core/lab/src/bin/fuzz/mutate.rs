//! What is done to a segment before it is used.

use crate::image::{Image, LANES};
use crate::random::Random;
use vasmem_engine::Offset;
use vasmem_engine::layout::{GRANULE, HEADER_MIRROR, header};
use vasmem_engine::record::{Counts, State, sum_bytes, sum_words};

/// Mutates anything, a few times.
pub fn segment(image: &Image, random: &mut Random) {
    for _ in 0..1 + random.below(4) {
        let places = &image.places;
        let from = match random.below(16) {
            0 => &places.header,
            1..=3 => &places.lanes,
            4..=6 => &places.tables,
            7..=9 => &places.nodes,
            // Those of which there are few, too.
            10 | 11 => &places.kinds[random.below(places.kinds.len() as u64) as usize],
            12..=14 => &places.blocks,
            _ => {
                let at = image.heap_at + random.below(image.end - image.heap_at);
                word(image, random, at & !7);
                continue;
            }
        };
        let at = random.pick(from);
        word(image, random, at);
        if at < 256 && !random.one_in(4) {
            sign_header(image);
        }
        if random.one_in(12) {
            span(image, random, at);
        }
    }
}

/// Mutates redo records.
pub fn records(image: &Image, random: &mut Random) {
    for _ in 0..1 + random.below(6) {
        let at = random.pick(&image.places.lanes);
        word(image, random, at);
    }
    if random.one_in(3) {
        let at = header::TOKEN + random.below(3) * 64;
        word(image, random, at);
    }
    if !random.one_in(3) {
        (0..LANES as u16).for_each(|lane| sign_record(image, lane));
    }
}

/// Overwrites a word by one that is likely to mean something.
fn word(image: &Image, random: &mut Random, at: Offset) {
    let old = image.load(at);
    let places = &image.places;
    let new = match random.below(12) {
        0..=2 => old ^ 1 << random.below(64),
        3 => random.next(),
        4 => random.pick(&[0, 1, 2, 3, 63, 64, 65, u64::MAX, u64::MAX - 7, 1 << 47, 1 << 63]),
        5 => {
            let by = random.pick(&[1, 8, 64, 4096, GRANULE]);
            if random.one_in(2) { old.wrapping_add(by) } else { old.wrapping_sub(by) }
        }
        6 => image.load(random.pick(&places.nodes)),
        7 => {
            let from = [&places.lanes, &places.tables, &places.blocks][random.below(3) as usize];
            image.load(random.pick(from))
        }
        8 => old & !0xffff_ffff_ffff | random.pick(&places.nodes) & !63,
        9 => old & !0xffff_ffff_ffff | random.pick(&places.blocks),
        10 => old & !0xff | random.pick(&[0, 1, 13, 28, 29, 63, 64, 65, 66, 67, 68, 69, 70, 255]),
        _ => {
            let shift = 8 * random.below(8);
            old & !(0xff << shift) | random.below(256) << shift
        }
    };
    image.store(at, new);
}

/// Overwrites some words in a row: zeros, ones, noise, or what stands elsewhere.
fn span(image: &Image, random: &mut Random, at: Offset) {
    let most = 1 << random.below(9);
    let (words, how) = (random.below(most), random.below(4));
    let from = random.pick(&image.places.nodes);
    for word in (0..words).map(|word| word * 8) {
        if at + word + 8 > image.end || from + word + 8 > image.end {
            break;
        }
        let new = match how {
            0 => 0,
            1 => u64::MAX,
            2 => random.next(),
            _ => image.load(from + word),
        };
        image.store(at + word, new);
    }
}

/// Makes the header's checksums right.
fn sign_header(image: &Image) {
    let words: Vec<u64> = (0..header::CHECKSUM).step_by(8).map(|at| image.load(at)).collect();
    for copy in [0, HEADER_MIRROR] {
        for (number, word) in words.iter().enumerate() {
            image.store(copy + number as u64 * 8, *word);
        }
        image.store(copy + header::CHECKSUM, sum_words(0, &words));
    }
}

/// Makes a record's sum right, if it has only words: the sums of fills are another matter.
fn sign_record(image: &Image, lane: u16) {
    let at = image.lane(lane);
    let counts = Counts::unpack(image.load(at + 16));
    let Some(entries) = image.entries(lane) else { return };
    let state = State(image.load(at));
    let begin = sum_words(0x5651_534d, &[state.0 & !3, u64::from(lane), counts.pack()]);
    image.store(at + 8, sum_bytes(begin, &entries));
}
