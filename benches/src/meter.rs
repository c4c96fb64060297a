//! Does an operation in bursts, on one thread or on several at the same time, and reads the clocks around each burst. Between two
//! bursts it waits, so that what exports keeps up; what it does first after that is not measured.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use crate::{CountAllocations, cpu};

/// How an operation is measured.
pub(crate) struct Meter {
    /// Of each thread.
    pub(crate) iterations: u64,
    /// Before the clocks are read: buffers have grown, callsites are registered, every slot of spans has been used.
    pub(crate) warm_up_operations: u64,
    pub(crate) burst: u64,
    pub(crate) pause: Duration,
    pub(crate) threads: u32,
    pub(crate) count: Option<CountAllocations>,
}

/// What it took.
pub(crate) struct Measured {
    pub(crate) operations: u64,
    /// These and those before each burst.
    pub(crate) between_clocks: u64,
    /// Those before the clocks were read too.
    pub(crate) made: u64,
    /// CPU time of the calling threads within the bursts.
    pub(crate) caller: Duration,
    pub(crate) allocations: Option<u64>,
    pub(crate) wall: Duration,
    pub(crate) wake_ups_per_second: Option<f64>,
    began: Began,
    /// CPU time of calling threads beside the main one, the pauses too.
    beside: Duration,
    /// Of all other threads, where the end is no part of what is measured.
    others: Option<Duration>,
}

/// The clocks when the measurement began.
#[derive(Clone, Copy)]
struct Began {
    process: Duration,
    main: Duration,
}

impl Began {
    fn now() -> Self {
        Self { process: cpu::process(), main: cpu::thread() }
    }
}

/// One thread's part.
#[derive(Default)]
struct Part {
    caller: Duration,
    allocations: u64,
    whole: Duration,
}

impl Measured {
    /// What took no CPU time that is of interest.
    pub(crate) fn nothing() -> Self {
        Self {
            operations: 0,
            between_clocks: 0,
            made: 0,
            caller: Duration::ZERO,
            allocations: None,
            wall: Duration::ZERO,
            wake_ups_per_second: None,
            began: Began::now(),
            beside: Duration::ZERO,
            others: None,
        }
    }

    /// Each operation was waited for: what the other threads do from here on is not of interest. Main thread.
    pub(crate) fn until_here(self) -> Self {
        Self { others: Some(self.others_until_now()), ..self }
    }

    /// CPU time of all threads that do not call, since the measurement began: to be asked at the end, when all is sent. Main thread.
    pub(crate) fn others_until_now(&self) -> Duration {
        if let Some(others) = self.others {
            return others;
        }
        let now = Began::now();
        let main = now.main.saturating_sub(self.began.main);
        now.process.saturating_sub(self.began.process).saturating_sub(main).saturating_sub(self.beside)
    }
}

impl Meter {
    /// Measures `operation`, which gets its number. Each thread has what `prepare` gives it.
    pub(crate) fn run<C>(&self, prepare: impl Fn() -> C + Sync, operation: impl Fn(&C, u64) + Sync) -> Measured {
        if self.threads == 1 { self.on_this_thread(prepare, operation) } else { self.on_threads(&prepare, &operation) }
    }

    /// Here, because the main thread is the first for a profiler.
    fn on_this_thread<C>(&self, prepare: impl Fn() -> C, operation: impl Fn(&C, u64)) -> Measured {
        let context = prepare();
        self.warm_up(&context, &operation, 0);
        let (began, started) = (Began::now(), Instant::now());
        let part = self.bursts(&context, &operation, self.warm_up_operations, || {});
        self.measured(began, started, [part])
    }

    fn on_threads<C>(&self, prepare: &(impl Fn() -> C + Sync), operation: &(impl Fn(&C, u64) + Sync)) -> Measured {
        let calling = Barrier::new(self.threads as usize);
        let all = Barrier::new(self.threads as usize + 1);
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..u64::from(self.threads))
                .map(|thread| {
                    let (calling, all) = (&calling, &all);
                    scope.spawn(move || {
                        let context = prepare();
                        let first = thread * (self.iterations + self.warm_up_operations);
                        self.warm_up(&context, operation, first);
                        all.wait();
                        all.wait();
                        let began = cpu::thread();
                        let part = self.bursts(&context, operation, first + self.warm_up_operations, || {
                            // All burst at the same time: they are to be in each other's way.
                            calling.wait();
                        });
                        Part { whole: cpu::thread().saturating_sub(began), ..part }
                    })
                })
                .collect();
            all.wait();
            let (began, started) = (Began::now(), Instant::now());
            all.wait();
            let parts: Vec<Part> = threads.into_iter().map(|thread| thread.join().unwrap_or_default()).collect();
            let complete = parts.iter().all(|part| part.whole > Duration::ZERO);
            assert!(complete, "a calling thread has panicked");
            self.measured(began, started, parts)
        })
    }

    fn warm_up<C>(&self, context: &C, operation: &impl Fn(&C, u64), first: u64) {
        for number in first..first + self.warm_up_operations {
            operation(context, number);
            if number % self.burst == 0 {
                std::thread::sleep(self.pause);
            }
        }
        std::thread::sleep(self.pause * 4);
    }

    /// Operations before each burst that are not measured: after a pause the first ones find a processor that has slept, and caches
    /// full of something else. Where nothing is warmed up, neither is this.
    fn lead(&self) -> u64 {
        if self.pause.is_zero() || self.warm_up_operations == 0 { 0 } else { self.burst / 2 }
    }

    fn bursts<C>(&self, context: &C, operation: &impl Fn(&C, u64), first: u64, before: impl Fn()) -> Part {
        let mut part = Part::default();
        let end = first + self.iterations;
        let mut number = first;
        while number < end {
            let until = end.min(number + self.burst);
            before();
            (0..self.lead()).for_each(|beside| operation(context, number + beside));
            let burst = || {
                for number in number..until {
                    operation(context, number);
                }
            };
            if let Some(count) = self.count {
                let mut burst = burst;
                part.allocations += count(&mut burst);
            } else {
                let began = cpu::thread();
                burst();
                part.caller += cpu::thread().saturating_sub(began);
            }
            number = until;
            if !self.pause.is_zero() {
                std::thread::sleep(self.pause);
            }
        }
        part
    }

    fn measured(&self, began: Began, started: Instant, parts: impl IntoIterator<Item = Part>) -> Measured {
        let threads = u64::from(self.threads);
        let with_leads = self.iterations + self.iterations.div_ceil(self.burst) * self.lead();
        let mut measured = Measured {
            operations: self.iterations * threads,
            between_clocks: with_leads * threads,
            made: (with_leads + self.warm_up_operations) * threads,
            wall: started.elapsed(),
            allocations: self.count.map(|_| 0),
            began,
            ..Measured::nothing()
        };
        for part in parts {
            measured.caller += part.caller;
            measured.beside += part.whole;
            if let Some(allocations) = &mut measured.allocations {
                *allocations += part.allocations;
            }
        }
        measured
    }
}
