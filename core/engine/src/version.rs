//! The version word of a node: `counter 40 | incarnation 13 | lane 10 | locked 1`.
//!
//! Unlocked words carry the counter alone, so that equal words mean equal contents (**V1**). A
//! counter never goes back while the machine stays up (**V2**).

/// A version word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Version(pub u64);

/// Largest counter.
pub const COUNTER_MAX: u64 = (1 << 40) - 1;

impl Version {
    /// Unlocked at `counter`.
    #[inline]
    pub fn unlocked(counter: u64) -> Version {
        Version(counter << 24)
    }
    /// The same counter, locked by `lane` in `incarnation`.
    #[inline]
    pub fn locked_by(self, lane: u16, incarnation: u64) -> Version {
        Version(self.counter() << 24 | (incarnation & 0x1fff) << 11 | u64::from(lane) << 1 | 1)
    }
    /// The counter.
    #[inline]
    pub fn counter(self) -> u64 {
        self.0 >> 24
    }
    /// Lane that holds the lock; meaningless when unlocked.
    #[inline]
    pub fn lane(self) -> u16 {
        (self.0 >> 1) as u16 & 0x3ff
    }
    /// Whether a lock of the given incarnation is on it; only an older incarnation voids a lock.
    #[inline]
    pub fn is_locked(self, incarnation: u64) -> bool {
        self.0 & 1 != 0 && (self.0 >> 11) & 0x1fff == incarnation & 0x1fff
    }
    /// Whether exactly this lane holds it.
    #[inline]
    pub fn is_locked_by(self, lane: u16, incarnation: u64) -> bool {
        self.0 & 0xff_ffff == Version(0).locked_by(lane, incarnation).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back() {
        let word = Version::unlocked(COUNTER_MAX).locked_by(1022, 8191 + 8192);
        assert_eq!((word.counter(), word.lane()), (COUNTER_MAX, 1022));
        assert!(word.is_locked(8191) && word.is_locked_by(1022, 8191));
        assert!(!word.is_locked(8190) && !word.is_locked_by(1021, 8191));
        assert!(!Version::unlocked(7).is_locked(0));
    }
}
