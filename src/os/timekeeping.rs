//! How well the wall clock is kept: what the kernel was told by whoever synchronizes it (NTP, PTP).
#![expect(unsafe_code, reason = "adjtimex(2) has no safe wrapper")]

use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

/// What the kernel knows of its clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timekeeping {
    /// Whether somebody keeps it, and has done so lately.
    pub is_synchronized: bool,
    /// By how much the clock is still to be corrected, in seconds.
    pub offset: f64,
    /// How wrong it is at most; 16 s when nobody keeps it.
    pub max_error: Duration,
}

impl Timekeeping {
    /// As things stand.
    ///
    /// # Errors
    /// As adjtimex(2): a sandbox may forbid it.
    pub fn now() -> io::Result<Self> {
        let mut timex = MaybeUninit::<libc::timex>::zeroed();
        // SAFETY: the pointer is to live memory; the structure is valid when zeroed, and its mode 0 changes nothing.
        let (state, timex) = unsafe { (libc::adjtimex(timex.as_mut_ptr()), timex.assume_init()) };
        if state < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self::of(timex.status, timex.offset, timex.maxerror))
    }

    /// From its status, its offset and its greatest error as the kernel tells them.
    fn of(status: libc::c_int, offset: libc::c_long, max_error: libc::c_long) -> Self {
        let per_second = if status & libc::STA_NANO == 0 { 1e6 } else { 1e9 };
        Self {
            is_synchronized: status & libc::STA_UNSYNC == 0,
            offset: offset as f64 / per_second,
            max_error: Duration::from_micros(u64::try_from(max_error).unwrap_or(0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_how_its_clock_is_kept() {
        let nano = Timekeeping::of(libc::STA_NANO | libc::STA_PLL, -1_500_000, 16_000);
        assert_eq!(nano, Timekeeping { is_synchronized: true, offset: -0.001_5, max_error: Duration::from_millis(16) });
        let lost = Timekeeping::of(libc::STA_UNSYNC, 1_500_000, 16_000_000);
        assert_eq!(lost, Timekeeping { is_synchronized: false, offset: 1.5, max_error: Duration::from_secs(16) });
        match Timekeeping::now() {
            Ok(now) => assert!(now.offset.abs() < 60.0 && now.max_error < Duration::from_secs(3600), "{now:?}"),
            Err(error) => println!("SKIPPED: the clock may not be asked here: {error}"),
        }
    }
}
