//! The clocks, in one place. Caller threads; encoders never read them.
//!
//! Timestamps are the wall clock's. It may be set while the program runs; the length of a span must not follow that. Two more
//! looks at a clock for every span would tell, but hardly ever would they say anything: so the steps of the wall clock are noted
//! when they are seen, at every round of a pipeline and every few seconds on the worker, and only a span that seems long, or to end
//! before it began, asks for them.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

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

/// Nanoseconds of a clock that is never set, since the program began to use it.
pub(crate) fn monotonic_nanos() -> u64 {
    static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(BEGIN.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// What seems shorter is believed: a step of the clock within it makes no more of a difference than that.
const BELIEVED: u64 = 10_000_000;
/// A difference between the clocks that is less is no step.
const LEAST_STEP: i128 = 5_000_000;
/// How far apart two looks at clocks may be that count as one.
const AT_ONCE: u64 = 1_000_000;
/// Tries to look at both clocks at once.
const LOOKS: usize = 4;
/// How often steps are looked for while no pipeline has anything to do; those that have look at every round.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Steps that are remembered.
const STEPS: usize = 16;

/// Now, as the end of what began at `start`: nanoseconds since the Unix epoch. Never before `start`, and as much later as it
/// took, also if the wall clock was set meanwhile.
#[inline]
pub(crate) fn end_of(start: u64) -> u64 {
    let now = unix_nanos();
    if now.wrapping_sub(start) < BELIEVED { now } else { end_by_steps(start) }
}

#[cold]
fn end_by_steps(start: u64) -> u64 {
    // Nobody waits: the lock may have been another thread's when this process was forked.
    let Some(mut steps) = CLOCKS.try_lock() else { return unix_nanos().max(start) };
    match look(&mut steps) {
        Some(now) => steps.end_of(start, now),
        None => unix_nanos().max(start),
    }
}

/// Looks for steps of the wall clock from now on. Worker thread.
pub(crate) async fn watch() {
    let mut tick = tokio::time::interval(LOOK_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        begin_watch();
    }
}

/// Looks for a step of the wall clock; the first look is what later ones are compared with.
pub(crate) fn begin_watch() {
    if let Some(mut steps) = CLOCKS.try_lock() {
        look(&mut steps);
    }
}

static CLOCKS: Mutex<Steps> = Mutex::new(Steps { periods: Vec::new(), seen: 0 });

/// Looks at both clocks. None if the thread was held up in between each time: that would seem a step, and then one back.
fn look(steps: &mut Steps) -> Option<Now> {
    for _ in 0..LOOKS {
        let before = monotonic_nanos();
        let wall = unix_nanos();
        let monotonic = monotonic_nanos();
        if monotonic - before <= AT_ONCE {
            let now = Now { wall, monotonic };
            steps.note(now);
            return Some(now);
        }
    }
    None
}

/// Both clocks at one moment.
#[derive(Clone, Copy)]
struct Now {
    wall: u64,
    monotonic: u64,
}

impl Now {
    fn offset(self) -> i128 {
        i128::from(self.wall) - i128::from(self.monotonic)
    }
}

/// A time between two steps of the wall clock.
struct Period {
    /// The wall clock's lead over the other one.
    offset: i128,
    /// On the clock that is never set: when the period began at the earliest, and ended at the latest.
    from: u64,
    until: u64,
}

/// The steps of the wall clock.
struct Steps {
    /// The oldest first.
    periods: Vec<Period>,
    /// The last look, on the clock that is never set.
    seen: u64,
}

impl Steps {
    fn note(&mut self, now: Now) {
        let offset = now.offset();
        match self.periods.last_mut() {
            Some(last) if (offset - last.offset).abs() < LEAST_STEP => {
                // It drifts.
                last.offset = offset;
            }
            last => {
                let from = if last.is_some() { self.seen } else { 0 };
                if let Some(last) = last {
                    last.until = now.monotonic;
                }
                if self.periods.len() >= STEPS {
                    self.periods.remove(0);
                }
                self.periods.push(Period { offset, from, until: u64::MAX });
            }
        }
        self.seen = now.monotonic;
    }

    fn end_of(&self, start: u64, now: Now) -> u64 {
        let slack = i128::from(BELIEVED);
        let began = self.periods.iter().rev().find_map(|period| {
            let began = i128::from(start) - period.offset;
            let until = i128::from(period.until.min(now.monotonic));
            (began + slack >= i128::from(period.from) && began - slack <= until).then_some(began)
        });
        match began {
            Some(began) => {
                let took = u64::try_from(i128::from(now.monotonic) - began).unwrap_or(0);
                start.saturating_add(took)
            }
            // Before the first look, or so many steps ago that they are forgotten.
            None => now.wall.max(start),
        }
    }
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

    const SECOND: u64 = 1_000_000_000;
    const HOUR: u64 = 3600 * SECOND;
    /// The wall clock at the start of the program.
    const EPOCH: u64 = 1_700_000_000 * SECOND;

    /// Both clocks; the wall clock is looked at every second, as the worker does.
    struct Clocks {
        steps: Steps,
        monotonic: u64,
        wall: u64,
    }

    impl Clocks {
        fn new() -> Self {
            let mut clocks = Self { steps: Steps { periods: Vec::new(), seen: 0 }, monotonic: SECOND, wall: EPOCH };
            clocks.look();
            clocks
        }

        fn look(&mut self) -> Now {
            let now = Now { wall: self.wall, monotonic: self.monotonic };
            self.steps.note(now);
            now
        }

        fn pass(&mut self, seconds: u64) {
            for _ in 0..seconds {
                self.monotonic += SECOND;
                self.wall += SECOND;
                self.look();
            }
        }

        /// The length of what began then and ends now.
        fn took(&mut self, start: u64) -> u64 {
            let now = self.look();
            self.steps.end_of(start, now) - start
        }
    }

    #[test]
    fn a_length_does_not_follow_a_wall_clock_that_is_set() {
        for step in [i128::from(HOUR), -i128::from(HOUR), -i128::from(EPOCH) + 5, i128::from(30 * SECOND), -20_000_000]
        {
            let mut clocks = Clocks::new();
            clocks.pass(7200);
            let start = clocks.wall;
            clocks.pass(3);
            assert_eq!(clocks.took(start), 3 * SECOND, "before the step of {step}");
            clocks.wall = u64::try_from(i128::from(clocks.wall) + step).unwrap();
            // Nobody has looked since.
            assert_eq!(clocks.took(start), 3 * SECOND, "{step}");
            let after = clocks.wall;
            clocks.pass(2);
            assert_eq!((clocks.took(start), clocks.took(after)), (5 * SECOND, 2 * SECOND), "{step}");
            // And set right again.
            clocks.wall = u64::try_from(i128::from(clocks.wall) - step).unwrap();
            assert_eq!((clocks.took(start), clocks.took(after)), (5 * SECOND, 2 * SECOND), "{step}");
            let after = clocks.wall;
            clocks.pass(9000);
            assert_eq!(clocks.took(after), 9000 * SECOND, "{step}");
        }
    }

    #[test]
    fn a_clock_that_drifts_is_believed_and_steps_without_end_are_forgotten() {
        let mut clocks = Clocks::new();
        let start = clocks.wall;
        for _ in 0..1000 {
            clocks.pass(1);
            clocks.wall += 1_000_000;
        }
        assert_eq!(clocks.steps.periods.len(), 1);
        let took = clocks.took(start);
        assert!((1000 * SECOND..=1001 * SECOND).contains(&took), "{took}");
        for _ in 0..1000 {
            clocks.wall += HOUR;
            clocks.pass(1);
        }
        assert_eq!(clocks.steps.periods.len(), STEPS);
        let start = clocks.wall - SECOND;
        assert_eq!(clocks.took(start), SECOND);
        assert!(clocks.took(EPOCH) > 0, "too long ago: the wall clock is believed");
    }

    #[test]
    fn a_clock_that_is_not_set_says_the_end_itself_also_on_a_busy_machine() {
        begin_watch();
        let busy = std::sync::atomic::AtomicBool::new(true);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    while busy.load(std::sync::atomic::Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
            // Each began long enough ago to be asked about.
            for _ in 0..300_000 {
                let start = unix_nanos() - 20_000_000;
                let inside = unix_nanos();
                let end = end_of(start);
                assert!((inside..=unix_nanos()).contains(&end), "off by {}", i128::from(end) - i128::from(inside));
            }
            busy.store(false, std::sync::atomic::Ordering::Relaxed);
        });
    }

    #[test]
    fn what_ends_now_ends_never_before_it_began() {
        begin_watch();
        let now = unix_nanos();
        assert!(end_of(now) - now < HOUR);
        let future = now + HOUR;
        assert!(end_of(future) >= future);
        assert_eq!(end_of(u64::MAX), u64::MAX);
        assert!(end_of(0) >= now, "what began in 1970 did so before the program");
    }
}
