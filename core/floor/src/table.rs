//! Open addressing with linear probing over one MAP_SHARED file: no locks, no versions, no
//! transactions, no crash safety, no growth. It does only what any shared map has to do.
//!
//! File: page 0 is the header; slots of `slot_bytes` (a multiple of 64) follow. A slot is
//! a head word, the key's room, the value's room. Head: low 32 bits of the hash, key length + 1
//! (16 bits; 0 means that the slot is free), value length (16 bits).

#![allow(unsafe_code)]

use std::ffi::CString;
use std::io;
use std::ptr;

use crate::hash::hash;
use crate::lock::Mutex;

const HEADER_BYTES: usize = 4096;
const MAGIC: u64 = 0x726f_6f6c_666d_7376;
/// Where the number of records stands in the header, apart from what never changes.
const COUNT_AT: usize = 64;
/// Where a table that is locked has its mutex: a line of its own.
const LOCK_AT: usize = 128;
/// The head's part that a lookup compares: hash and key length.
const IDENTITY: u64 = (1 << 48) - 1;
const GROUP: usize = 32;
const HUGE_PAGE: usize = 2 << 20;
/// From linux/mman.h.
const MADV_COLLAPSE: i32 = 25;

pub struct Table {
    base: *mut u8,
    bytes: usize,
    mask: u64,
    slot_bytes: usize,
    key_max: usize,
    value_at: usize,
    value_max: usize,
    record_limit: u64,
}

// SAFETY: the fields never change; what the pointer leads to is shared memory that, by the contract
// of this table, one thread of a process at a time uses (the extension holds the GIL). A process
// that puts in place beside others lets them read torn values, which is theirs to bear.
unsafe impl Send for Table {}
// SAFETY: as above.
unsafe impl Sync for Table {}

/// A slot that holds the key asked for.
pub struct Found {
    slot: *mut u8,
    head: u64,
}

pub enum Refusal {
    TooLong,
    Full,
}

impl Table {
    /// Creates the file and a table for `records` records at a load of at most 60 %.
    pub fn create(
        path: CString,
        records: u64,
        key_max: usize,
        value_max: usize,
    ) -> io::Result<Table> {
        let limit = usize::from(u16::MAX) - 1;
        if records == 0 || records > 1 << 31 || key_max > limit || value_max > limit {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let slots = (records * 5).div_ceil(3).next_power_of_two();
        let bytes = file_bytes(slots, key_max, value_max);
        let base = map_file(path, Some(bytes))?.0;
        let header = [MAGIC, slots, key_max as u64, value_max as u64];
        // SAFETY: the header page is mapped, page aligned, and larger than these words.
        unsafe { base.cast::<[u64; 4]>().write(header) };
        Ok(Table::over(base, bytes, header))
    }

    /// Maps the table that another process created.
    pub fn attach(path: CString) -> io::Result<Table> {
        let (base, bytes) = map_file(path, None)?;
        // SAFETY: mapped and page aligned; the file has at least its header page, as `map_file`
        // made sure.
        let header = unsafe { base.cast::<[u64; 4]>().read() };
        let [magic, slots, key_max, value_max] = header;
        let sound = magic == MAGIC
            && slots.is_power_of_two()
            && bytes == file_bytes(slots, key_max as usize, value_max as usize);
        if !sound {
            // SAFETY: the mapping made above, which nobody else knows.
            unsafe { libc::munmap(base.cast(), bytes) };
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        Ok(Table::over(base, bytes, header))
    }

    fn over(base: *mut u8, bytes: usize, [_, slots, key_max, value_max]: [u64; 4]) -> Table {
        let (key_max, value_max) = (key_max as usize, value_max as usize);
        Table {
            base,
            bytes,
            mask: slots - 1,
            slot_bytes: slot_bytes(key_max, value_max),
            key_max,
            value_at: value_at(key_max),
            value_max,
            record_limit: slots * 3 / 5,
        }
    }

    /// The mutex in the header page: a new one, or the one that the table's maker left there.
    pub fn lock(&self, make: bool) -> io::Result<Mutex> {
        // SAFETY: inside the header page, aligned, and used for nothing else; the extension drops
        // the mutex before the table that maps it.
        unsafe { Mutex::at(self.base.add(LOCK_AT), make) }
    }

    /// Puts huge pages in the place of all small ones, as far as they fill whole ones.
    pub fn collapse(&self) -> io::Result<()> {
        // Read in first: Linux 6.18 maps a huge page that was allocated and never touched as it is.
        for advice in [libc::MADV_POPULATE_READ, MADV_COLLAPSE] {
            // SAFETY: the table's own mapping; the advice changes no content.
            let done = unsafe {
                libc::madvise(self.base.cast(), self.bytes / HUGE_PAGE * HUGE_PAGE, advice)
            };
            if done != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }

    #[inline]
    fn count_word(&self) -> *mut u64 {
        // SAFETY: inside the header page, and aligned.
        unsafe { self.base.add(COUNT_AT).cast() }
    }

    pub fn count(&self) -> u64 {
        // SAFETY: a mapped and aligned word.
        unsafe { *self.count_word() }
    }

    /// The slot of an index, which may exceed the number of slots: it wraps.
    #[inline]
    fn slot(&self, index: u64) -> *mut u8 {
        let at = HEADER_BYTES + (index & self.mask) as usize * self.slot_bytes;
        // SAFETY: the mask keeps the index below the number of slots that were mapped.
        unsafe { self.base.add(at) }
    }

    #[inline]
    fn head(slot: *mut u8) -> u64 {
        // SAFETY: slots begin at multiples of 64, and `slot` gave this one.
        unsafe { slot.cast::<u64>().read() }
    }

    #[inline]
    fn key_equals(slot: *mut u8, key: &[u8]) -> bool {
        // SAFETY: a slot whose head holds this key length has that many key bytes behind it.
        unsafe {
            let stored = slot.add(8);
            if key.len() == 16 {
                stored.cast::<u128>().read_unaligned()
                    == key.as_ptr().cast::<u128>().read_unaligned()
            } else {
                std::slice::from_raw_parts(stored, key.len()) == key
            }
        }
    }

    /// The key's slot, or else the free slot that ends its probe sequence.
    #[inline]
    fn probe(&self, key: &[u8], hash: u64) -> Result<Found, *mut u8> {
        let wanted = identity(key, hash);
        let mut index = hash;
        // Ends, since at least 40 % of the slots are free.
        loop {
            let slot = self.slot(index);
            let head = Self::head(slot);
            if head & IDENTITY == wanted && Self::key_equals(slot, key) {
                return Ok(Found { slot, head });
            }
            if head == 0 {
                return Err(slot);
            }
            index = index.wrapping_add(1);
        }
    }

    #[inline]
    pub fn find(&self, key: &[u8]) -> Option<Found> {
        self.find_hashed(key, hash(key))
    }

    #[inline]
    fn find_hashed(&self, key: &[u8], hash: u64) -> Option<Found> {
        if key.len() > self.key_max {
            return None;
        }
        self.probe(key, hash).ok()
    }

    /// The value's bytes, which stay valid until the next put or delete.
    #[inline]
    pub fn value(&self, found: &Found) -> &[u8] {
        let len = (found.head >> 48) as usize;
        // SAFETY: `put` stored a value of this length there, within the slot.
        unsafe { std::slice::from_raw_parts(found.slot.add(self.value_at), len) }
    }

    #[inline]
    pub fn put(&self, key: &[u8], value: &[u8]) -> Result<(), Refusal> {
        if key.len() > self.key_max || value.len() > self.value_max {
            return Err(Refusal::TooLong);
        }
        let hash = hash(key);
        let head = identity(key, hash) | (value.len() as u64) << 48;
        // SAFETY: `probe` gives a slot, and both lengths were checked against its rooms.
        unsafe {
            let slot = match self.probe(key, hash) {
                Ok(found) => found.slot,
                Err(_) if self.count() >= self.record_limit => return Err(Refusal::Full),
                Err(free) => {
                    ptr::copy_nonoverlapping(key.as_ptr(), free.add(8), key.len());
                    *self.count_word() += 1;
                    free
                }
            };
            ptr::copy_nonoverlapping(value.as_ptr(), slot.add(self.value_at), value.len());
            slot.cast::<u64>().write(head);
        }
        Ok(())
    }

    /// Removes a key; the records that probed past it move up, so there are no tombstones.
    #[inline]
    pub fn delete(&self, key: &[u8]) -> bool {
        let Some(found) = self.find(key) else {
            return false;
        };
        // SAFETY: all pointers come from `slot`; two slots never overlap.
        unsafe {
            let first = found.slot.offset_from(self.base) as usize - HEADER_BYTES;
            let mut gap = (first / self.slot_bytes) as u64;
            let mut index = gap + 1;
            loop {
                let slot = self.slot(index);
                let head = Self::head(slot);
                if head == 0 {
                    break;
                }
                // The head keeps 32 bits of the hash, which cover every index.
                let from_home = index.wrapping_sub(head) & self.mask;
                if from_home >= index.wrapping_sub(gap) & self.mask {
                    ptr::copy_nonoverlapping(slot, self.slot(gap), self.slot_bytes);
                    gap = index;
                }
                index += 1;
            }
            self.slot(gap).cast::<u64>().write(0);
            *self.count_word() -= 1;
        }
        true
    }

    /// Looks many keys up; in groups, so that their cache misses overlap. Calls `each` in order.
    #[inline]
    pub fn find_many<'k>(
        &self,
        count: usize,
        key: impl Fn(usize) -> &'k [u8],
        mut each: impl FnMut(usize, Option<&[u8]>),
    ) {
        let mut hashes = [0; GROUP];
        for start in (0..count).step_by(GROUP) {
            let group = GROUP.min(count - start);
            for (offset, slot_hash) in hashes[..group].iter_mut().enumerate() {
                *slot_hash = hash(key(start + offset));
                self.prefetch(*slot_hash);
            }
            for (offset, &slot_hash) in hashes[..group].iter().enumerate() {
                let found = self.find_hashed(key(start + offset), slot_hash);
                each(start + offset, found.as_ref().map(|found| self.value(found)));
            }
        }
    }

    #[inline]
    fn prefetch(&self, hash: u64) {
        let slot = self.slot(hash);
        for at in (0..self.slot_bytes.min(256)).step_by(64) {
            prefetch_line(slot.wrapping_add(at));
        }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // SAFETY: exactly the range that `map_file` mapped; a dropped table lends nothing.
        unsafe { libc::munmap(self.base.cast(), self.bytes) };
    }
}

fn value_at(key_max: usize) -> usize {
    8 + key_max.next_multiple_of(8)
}

fn slot_bytes(key_max: usize, value_max: usize) -> usize {
    (value_at(key_max) + value_max).next_multiple_of(64)
}

fn file_bytes(slots: u64, key_max: usize, value_max: usize) -> usize {
    HEADER_BYTES + slots as usize * slot_bytes(key_max, value_max)
}

#[inline]
fn identity(key: &[u8], hash: u64) -> u64 {
    hash & 0xffff_ffff | (key.len() as u64 + 1) << 32
}

#[inline]
pub fn prefetch_line(_address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint; it does not fault at any address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(_address.cast());
    }
}

/// Maps a file shared: a new one of this length, its space allocated, or else the one there is.
fn map_file(path: CString, new_bytes: Option<usize>) -> io::Result<(*mut u8, usize)> {
    let check = |result: i32| match result {
        -1 => Err(io::Error::last_os_error()),
        other => Ok(other),
    };
    let new = if new_bytes.is_some() { libc::O_CREAT | libc::O_EXCL } else { 0 };
    // SAFETY: plain system calls on a path that ends in NUL and on a descriptor of our own; the
    // mapping's address is chosen by the kernel.
    unsafe {
        let fd = check(libc::open(path.as_ptr(), libc::O_RDWR | libc::O_CLOEXEC | new, 0o600))?;
        let size = match new_bytes {
            Some(bytes) => check(libc::fallocate(fd, 0, 0, bytes as libc::off_t)).map(|_| bytes),
            None => match libc::lseek(fd, 0, libc::SEEK_END) {
                end if end < HEADER_BYTES as i64 => Err(io::Error::from_raw_os_error(libc::EINVAL)),
                end => Ok(end as usize),
            },
        };
        let mapped = size.and_then(|bytes| {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let map = |place, flags| match libc::mmap(place, bytes, access, flags, fd, 0) {
                libc::MAP_FAILED => Err(io::Error::last_os_error()),
                base => Ok(base),
            };
            let anywhere = map(ptr::null_mut(), libc::MAP_SHARED)?;
            // Just below, where huge pages fit; NOREPLACE: only if that is free.
            libc::munmap(anywhere, bytes);
            let place = anywhere.map_addr(|at| at & !(HUGE_PAGE - 1));
            let base = map(place, libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE)
                .or_else(|_| map(ptr::null_mut(), libc::MAP_SHARED))?;
            Ok((base.cast(), bytes))
        });
        libc::close(fd);
        mapped
    }
}
