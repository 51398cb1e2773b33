//! A 64-bit hash of the wyhash family: 128-bit multiplications, halves folded by xor.

const SECRET: [u64; 3] = [0x2d35_8dcc_aa6c_78a5, 0x8bb8_4b93_962e_acc9, 0x4b33_a62e_d433_d4a3];

#[inline]
fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[inline]
fn word(bytes: &[u8], at: usize) -> u64 {
    let mut piece = [0; 8];
    piece.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(piece)
}

/// A short tail of fewer than 8 bytes as one word; its length is mixed in by the caller.
#[inline]
fn tail(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte))
}

#[inline]
pub fn hash(key: &[u8]) -> u64 {
    let len = key.len();
    let (a, b, seed) = match len {
        8..=16 => (word(key, 0), word(key, len - 8), SECRET[2]),
        0..8 => (tail(key), 0, SECRET[2]),
        _ => {
            let mut seed = SECRET[2];
            let mut at = 0;
            while at + 16 < len {
                seed = mix(word(key, at) ^ SECRET[0], word(key, at + 8) ^ seed);
                at += 16;
            }
            (word(key, len - 16), word(key, len - 8), seed)
        }
    };
    mix(mix(a ^ SECRET[0], b ^ seed) ^ SECRET[1], len as u64 ^ SECRET[0])
}
