//! Ticks: time stamps for a few nanoseconds each, told as nanoseconds later.
//!
//! | processor                             | a tick is                                     |
//! |---------------------------------------|-----------------------------------------------|
//! | x86_64 with an invariant time-stamp counter | one of its cycles (RDTSC)               |
//! | aarch64                               | one of the generic timer (`CNTVCT_EL0`)       |
//! | others                                | a nanosecond of `CLOCK_MONOTONIC`             |
//!
//! *Invariant*: it runs at one rate whatever the processor does, and is the same on all cores (Intel SDM vol. 3,
//! 19.17.1; AMD APM vol. 2, 13.2.4). What that rate is, two looks at both clocks tell: see [`Scale`].

use std::time::Duration;

#[cfg(target_arch = "x86_64")]
use crate::seam::sync::real::atomic::{AtomicU8, Ordering};

/// The time, in ticks.
#[inline(always)]
pub(crate) fn now() -> u64 {
    #[cfg(target_arch = "x86_64")]
    if has_counter() {
        // SAFETY: RDTSC is there on every x86_64, and reads a register.
        return unsafe { std::arch::x86_64::_rdtsc() };
    }
    #[cfg(target_arch = "aarch64")]
    {
        let ticks: u64;
        // SAFETY: reads a register that Linux lets every process read; touches neither memory nor flags.
        unsafe {
            std::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack, preserves_flags));
        }
        return ticks;
    }
    #[allow(unreachable_code)] // aarch64 has returned
    monotonic_ns()
}

/// The processor counts its cycles at a fixed rate: CPUID leaf 8000_0007h, EDX bit 8.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn has_counter() -> bool {
    const UNKNOWN: u8 = 0;
    const THERE: u8 = 1;
    const ABSENT: u8 = 2;
    static COUNTER: AtomicU8 = AtomicU8::new(UNKNOWN);

    #[cold]
    #[inline(never)]
    fn look() -> bool {
        use std::arch::x86_64::__cpuid;
        let is_there =
            __cpuid(0x8000_0000).eax >= 0x8000_0007 && __cpuid(0x8000_0007).edx & 1 << 8 != 0;
        COUNTER.store(if is_there { THERE } else { ABSENT }, Ordering::Relaxed);
        is_there
    }

    let known = COUNTER.load(Ordering::Relaxed);
    known == THERE || known == UNKNOWN && look()
}

/// `CLOCK_MONOTONIC`, which std's `Instant` does not show as a number.
fn monotonic_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes `time` during the call; this clock is always there.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// One moment by both clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) ticks: u64,
    pub(crate) ns: u64,
}

impl Moment {
    /// The present. Of a few looks the one is taken in which least time has passed between the two clocks.
    pub(crate) fn now() -> Self {
        let look = || {
            let (before, ns, after) = (now(), monotonic_ns(), now());
            let took = after.wrapping_sub(before);
            let ticks = before.wrapping_add(took / 2);
            (took, Moment { ticks, ns })
        };
        let looks = (0..8).map(|_| look());
        let best = looks.min_by_key(|(took, _)| *took);
        best.expect("eight looks").1
    }
}

/// What ticks are in nanoseconds, by two moments: best for those between.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    from: Moment,
    ns_per_tick: f64,
}

impl Scale {
    pub(crate) fn between(from: Moment, to: Moment) -> Self {
        let (ticks, ns) = (to.ticks.saturating_sub(from.ticks), to.ns - from.ns);
        let ns_per_tick = if ticks == 0 {
            1.0
        } else {
            ns as f64 / ticks as f64
        };
        Scale { from, ns_per_tick }
    }

    /// How long so many ticks are.
    pub(crate) fn duration(&self, ticks: u64) -> Duration {
        Duration::from_nanos((ticks as f64 * self.ns_per_tick) as u64)
    }

    /// Nanoseconds since the first moment; 0 for what was before.
    pub(crate) fn ns(&self, ticks: u64) -> u64 {
        (ticks.saturating_sub(self.from.ticks) as f64 * self.ns_per_tick) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn ticks_told_as_nanoseconds_agree_with_the_clock() {
        let (from, begun) = (Moment::now(), Instant::now());
        let middle = loop {
            if begun.elapsed() > Duration::from_millis(5) {
                break (now(), begun.elapsed());
            }
        };
        while begun.elapsed() < Duration::from_millis(10) {}
        let scale = Scale::between(from, Moment::now());
        let told = scale.ns(middle.0).abs_diff(middle.1.as_nanos() as u64);
        // A thread that was put aside between two looks says nothing of the scale; 5 ms are 5,000,000.
        assert!(told < 2_000_000, "{told} ns apart");
        let lasted = scale.duration(middle.0 - from.ticks).as_nanos() as u64;
        assert_eq!(lasted, scale.ns(middle.0));
        assert_eq!(scale.ns(from.ticks), 0);
        assert_eq!(scale.ns(from.ticks - 1), 0);
    }
}
