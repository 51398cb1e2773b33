//! Writing cache lines back to the medium.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
use core::arch::asm;

use rustix::mm::{MsyncFlags, msync};
use rustix::param::page_size;

/// How this processor writes a cache line back, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// `clwb`: writes back and may keep the line cached.
    #[cfg(target_arch = "x86_64")]
    WriteBack,
    /// `clflushopt`: writes back and evicts, unordered.
    #[cfg(target_arch = "x86_64")]
    Optimised,
    /// `clflush`: writes back and evicts, one line after the other.
    #[cfg(target_arch = "x86_64")]
    Ordered,
    /// `msync` of the pages, where no instruction is known.
    #[cfg_attr(target_arch = "x86_64", allow(dead_code))]
    Pages,
    /// Nothing: the caches are durable.
    Nothing,
}

impl Method {
    /// What people call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Method::WriteBack => "clwb",
            #[cfg(target_arch = "x86_64")]
            Method::Optimised => "clflushopt",
            #[cfg(target_arch = "x86_64")]
            Method::Ordered => "clflush",
            Method::Pages => "msync",
            Method::Nothing => "nothing",
        }
    }
}

/// What writes a line back on this processor: "clwb", "clflushopt", "clflush" or "msync".
pub fn flush_method() -> &'static str {
    method().name()
}

/// The best method of this processor. A mapping asks once.
#[cfg(target_arch = "x86_64")]
pub(crate) fn method() -> Method {
    use core::arch::x86_64::{__cpuid, __cpuid_count};
    if __cpuid(0).eax < 7 {
        return Method::Ordered;
    }
    choose(__cpuid_count(7, 0).ebx)
}

/// The only method known for this processor.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn method() -> Method {
    Method::Pages
}

/// The method by the feature bits of cpuid leaf 7 (ebx). Every x86-64 has `clflush`.
#[cfg(target_arch = "x86_64")]
fn choose(features: u32) -> Method {
    const CLFLUSHOPT: u32 = 1 << 23;
    const CLWB: u32 = 1 << 24;
    if features & CLWB != 0 {
        Method::WriteBack
    } else if features & CLFLUSHOPT != 0 {
        Method::Optimised
    } else {
        Method::Ordered
    }
}

/// Starts to write back the lines of `len` bytes at `place`.
///
/// # Safety
/// The bytes are mapped, and so are the pages and lines that they touch.
#[inline]
pub(crate) unsafe fn lines(method: Method, place: *mut u8, len: usize) {
    match method {
        // SAFETY: these instructions change nothing but the caches; the line is mapped.
        #[cfg(target_arch = "x86_64")]
        Method::WriteBack => each_line(place, len, |line| unsafe {
            asm!("clwb [{}]", in(reg) line, options(nostack, preserves_flags));
        }),
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Method::Optimised => each_line(place, len, |line| unsafe {
            asm!("clflushopt [{}]", in(reg) line, options(nostack, preserves_flags));
        }),
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Method::Ordered => each_line(place, len, |line| unsafe {
            asm!("clflush [{}]", in(reg) line, options(nostack, preserves_flags));
        }),
        Method::Nothing => {}
        Method::Pages => {
            let skew = place.addr() % page_size();
            // SAFETY: the pages are mapped. A failure is an input/output error of the file, which
            // the next `fsync` reports.
            let _ = unsafe { msync(place.sub(skew).cast(), len + skew, MsyncFlags::SYNC) };
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn each_line(place: *mut u8, len: usize, write_back: impl Fn(*mut u8)) {
    const LINE: usize = crate::CACHE_LINE as usize;
    let skew = place.addr() % LINE;
    for line in (0..len + skew).step_by(LINE) {
        write_back(place.wrapping_sub(skew).wrapping_add(line));
    }
}

/// Waits until the lines written back before are durable.
#[inline]
pub(crate) fn drain() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a fence changes nothing; it also keeps the compiler from moving stores across.
    unsafe {
        asm!("sfence", options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "x86_64"))]
    core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_best_known_method_is_chosen() {
        let (optimised, write_back) = (1 << 23, 1 << 24);
        assert_eq!(choose(0), Method::Ordered);
        assert_eq!(choose(!(optimised | write_back)), Method::Ordered);
        assert_eq!(choose(optimised), Method::Optimised);
        assert_eq!(choose(write_back), Method::WriteBack);
        assert_eq!(choose(optimised | write_back), Method::WriteBack);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_method_is_one_that_the_system_lists() {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap();
        let has = |flag: &str| info.split_whitespace().any(|word| word == flag);
        let listed = match (has("clwb"), has("clflushopt")) {
            (true, _) => Method::WriteBack,
            (false, true) => Method::Optimised,
            (false, false) => Method::Ordered,
        };
        assert_eq!(method(), listed);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn each_touched_line_is_written_back_once() {
        let lines_of = |at: usize, len: usize| {
            let lines = std::cell::RefCell::new(Vec::new());
            each_line(std::ptr::without_provenance_mut(at), len, |line| {
                lines.borrow_mut().push(line.addr());
            });
            lines.into_inner()
        };
        assert_eq!(lines_of(128, 0), []);
        assert_eq!(lines_of(128, 1), [128]);
        assert_eq!(lines_of(128, 64), [128]);
        assert_eq!(lines_of(128, 65), [128, 192]);
        assert_eq!(lines_of(191, 2), [128, 192]);
        assert_eq!(lines_of(136, 120), [128, 192]);
        assert_eq!(lines_of(136, 121), [128, 192, 256]);
    }

    #[test]
    fn flushing_changes_no_byte() {
        let length = 2 * page_size();
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh mapping that only this test knows, filled and read through its pointer.
        unsafe {
            let base = mmap_anonymous(std::ptr::null_mut(), length, access, MapFlags::PRIVATE);
            let base: *mut u8 = base.unwrap().cast();
            base.write_bytes(7, length);
            let mut methods = vec![Method::Pages, Method::Nothing, method()];
            #[cfg(target_arch = "x86_64")]
            methods.push(Method::Ordered);
            for method in methods {
                for (at, len) in [(0, 0), (0, length), (63, 2), (page_size() - 1, 2), (length, 0)] {
                    lines(method, base.add(at), len);
                    drain();
                }
            }
            assert!((0..length).all(|i| base.add(i).read_volatile() == 7));
            munmap(base.cast(), length).unwrap();
        }
    }
}
