//! What the queue and the flush synchronise with: parking_lot, std and tokio. Compiled with `--cfg lgtm_loom` it is loom's, behind
//! the same interface, so that the model checker (`models.rs`) sees every step of the same code.

#[cfg(not(lgtm_loom))]
pub(super) use os::{AtomicBool, AtomicUsize, Condvar, Mutex, MutexGuard, Wake, fence, parallelism, thread_number};

#[cfg(lgtm_loom)]
pub(super) use model::{AtomicBool, AtomicUsize, Condvar, Mutex, MutexGuard, Wake, fence, parallelism, thread_number};

#[cfg(not(lgtm_loom))]
mod os {
    use std::cell::Cell;
    use std::sync::atomic::Ordering;

    pub(in crate::pipeline) use std::sync::atomic::{AtomicBool, AtomicUsize, fence};

    pub(in crate::pipeline) use parking_lot::{Condvar, Mutex, MutexGuard};
    pub(in crate::pipeline) use tokio::sync::Notify as Wake;

    /// How many threads run at once.
    pub(in crate::pipeline) fn parallelism() -> usize {
        std::thread::available_parallelism().map_or(2, usize::from)
    }

    thread_local! {
        static NUMBER: Cell<usize> = const { Cell::new(usize::MAX) };
    }

    /// A number for the calling thread, dealt out in turn.
    #[inline]
    pub(in crate::pipeline) fn thread_number() -> usize {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NUMBER.with(|number| {
            if number.get() == usize::MAX {
                number.set(NEXT.fetch_add(1, Ordering::Relaxed) & (usize::MAX >> 1));
            }
            number.get()
        })
    }
}

#[cfg(lgtm_loom)]
#[allow(clippy::expect_used, reason = "in a model a broken expectation is its failure")]
mod model {
    use std::cell::Cell;
    use std::ops::{Deref, DerefMut};
    use std::time::Instant;

    pub(in crate::pipeline) use loom::sync::atomic::{AtomicBool, AtomicUsize, fence};

    #[derive(Debug, Default)]
    pub(in crate::pipeline) struct Mutex<T>(loom::sync::Mutex<T>);

    /// Without its content only while a condition is waited for.
    #[derive(Debug)]
    pub(in crate::pipeline) struct MutexGuard<'a, T>(Option<loom::sync::MutexGuard<'a, T>>);

    impl<T> Mutex<T> {
        pub(in crate::pipeline) fn new(content: T) -> Self {
            Self(loom::sync::Mutex::new(content))
        }

        pub(in crate::pipeline) fn lock(&self) -> MutexGuard<'_, T> {
            MutexGuard(Some(self.0.lock().expect("no panic")))
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.0.as_ref().expect("the lock")
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.0.as_mut().expect("the lock")
        }
    }

    #[derive(Debug)]
    pub(in crate::pipeline) struct Condvar(loom::sync::Condvar);

    /// Time stands still in a model: nothing times out.
    pub(in crate::pipeline) struct InTime;

    impl InTime {
        pub(in crate::pipeline) fn timed_out(&self) -> bool {
            false
        }
    }

    impl Condvar {
        pub(in crate::pipeline) fn new() -> Self {
            Self(loom::sync::Condvar::new())
        }

        pub(in crate::pipeline) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
            guard.0 = guard.0.take().map(|lock| self.0.wait(lock).expect("no panic"));
        }

        pub(in crate::pipeline) fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, _: Instant) -> InTime {
            self.wait(guard);
            InTime
        }

        pub(in crate::pipeline) fn notify_all(&self) {
            self.0.notify_all();
        }
    }

    /// Wakes one waiter, or the next one to come, as tokio's `Notify` does.
    #[derive(Debug)]
    pub(in crate::pipeline) struct Wake {
        is_set: Mutex<bool>,
        changed: Condvar,
    }

    impl Wake {
        pub(in crate::pipeline) fn new() -> Self {
            Self { is_set: Mutex::new(false), changed: Condvar::new() }
        }

        pub(in crate::pipeline) fn notify_one(&self) {
            *self.is_set.lock() = true;
            self.changed.notify_all();
        }

        /// What a worker's `notified().await` is in a model.
        #[cfg(test)]
        pub(in crate::pipeline) fn wait(&self) {
            let mut is_set = self.is_set.lock();
            while !*is_set {
                self.changed.wait(&mut is_set);
            }
            *is_set = false;
        }

        /// No model runs the worker's task.
        pub(in crate::pipeline) async fn notified(&self) {
            std::future::pending().await
        }
    }

    /// As many shards as there are producers in a model.
    pub(in crate::pipeline) fn parallelism() -> usize {
        2
    }

    loom::thread_local! {
        static NUMBER: Cell<usize> = Cell::new(0);
    }

    /// The shard that the calling thread uses.
    pub(in crate::pipeline) fn thread_number() -> usize {
        NUMBER.with(Cell::get)
    }

    #[cfg(test)]
    pub(in crate::pipeline) fn set_thread_number(number: usize) {
        NUMBER.with(|known| known.set(number));
    }
}

#[cfg(all(test, lgtm_loom))]
pub(super) use model::set_thread_number;
