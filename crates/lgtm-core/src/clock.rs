//! The wall clock, in one place. Caller threads; encoders never read it.

/// Nanoseconds since the Unix epoch; 0 for a clock set before 1970.
#[cfg(unix)]
#[must_use]
#[inline]
pub fn unix_nanos() -> u64 {
    // As `SystemTime` does, without its arithmetic on the difference of two times.
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    // Enough until the year 2554.
    u64::try_from(now.tv_sec)
        .map_or(0, |seconds| seconds.wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec.cast_unsigned()))
}

/// Nanoseconds since the Unix epoch; 0 for a clock set before 1970.
#[cfg(not(unix))]
#[must_use]
pub fn unix_nanos() -> u64 {
    let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    elapsed.map_or(0, |elapsed| u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    #[test]
    fn it_is_the_time_of_the_standard_library() {
        let before = SystemTime::now();
        let now = UNIX_EPOCH + Duration::from_nanos(unix_nanos());
        assert!(before <= now && now <= SystemTime::now());
    }
}
