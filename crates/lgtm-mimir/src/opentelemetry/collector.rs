//! Collects from the SDK whenever the registry is read, on a thread of its own: the callbacks of observable instruments are the
//! program's, and may take long, panic, or wait for ever. Whoever reads waits for it, but not longer than a second; what is
//! exposed then is what was read before.

use std::cell::Cell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use opentelemetry_sdk::metrics::ManualReader;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::reader::MetricReader as _;
use parking_lot::{Condvar, Mutex};

use super::mirror::Mirror;
use crate::families::Owner;
use crate::refusal::Refusal;
use crate::registry::Registry;

/// The longest that a scrape or a push waits.
const PATIENCE: Duration = Duration::from_secs(1);

thread_local! {
    static COLLECTS: Cell<bool> = const { Cell::new(false) };
}

/// Whether the calling thread is one that collects: its callers are callbacks of the program.
pub(super) fn is_collecting() -> bool {
    COLLECTS.with(Cell::get)
}

/// One reader's tie to the registry.
pub(crate) struct Collector {
    owner: Owner,
    /// A child that was forked has no such thread, and waits for none.
    process: u32,
    pub(super) reader: ManualReader,
    pub(super) registry: Weak<Registry>,
    state: Mutex<State>,
    wanted: Condvar,
    done: Condvar,
}

/// Collections are counted; one that begins after a request answers it.
#[derive(Debug, Default)]
struct State {
    requested: u64,
    completed: u64,
    /// The last one took longer than anybody waits: nobody waits for the next.
    is_late: bool,
    /// The reader is part of a provider.
    is_registered: bool,
    is_closed: bool,
}

impl std::fmt::Debug for Collector {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Collector")
            .field("owner", &self.owner)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Collector {
    /// Starts its thread, and makes it a source of the registry's.
    pub(super) fn start(registry: &Arc<Registry>) -> io::Result<Arc<Self>> {
        static OWNERS: AtomicU32 = AtomicU32::new(1);
        let collector = Arc::new(Self {
            owner: Owner(OWNERS.fetch_add(1, Ordering::Relaxed)),
            process: std::process::id(),
            reader: ManualReader::default(),
            registry: Arc::downgrade(registry),
            state: Mutex::default(),
            wanted: Condvar::new(),
            done: Condvar::new(),
        });
        let own = Arc::clone(&collector);
        std::thread::Builder::new().name("lgtm-callbacks".to_owned()).spawn(move || own.run())?;
        registry.add_source(Arc::clone(&collector));
        Ok(collector)
    }

    pub(crate) fn owner(&self) -> Owner {
        self.owner
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().is_closed
    }

    /// The reader is part of a provider from now on.
    pub(super) fn register(&self) {
        self.state.lock().is_registered = true;
    }

    /// Ends the thread. The series stay as they are.
    pub(crate) fn close(&self) {
        if std::process::id() == self.process {
            self.state.lock().is_closed = true;
            self.wanted.notify_all();
            self.done.notify_all();
        }
    }

    /// Brings the registry's series up to date with what the SDK has now, unless that takes too long.
    pub(crate) fn collect(&self) {
        // A callback that reads the metrics must not wait for itself.
        if is_collecting() || std::process::id() != self.process {
            return;
        }
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.state.lock();
        if state.is_closed || !state.is_registered {
            return;
        }
        state.requested += 1;
        let mine = state.requested;
        self.wanted.notify_one();
        if state.is_late {
            drop(state);
            return self.refuse_late();
        }
        while state.completed < mine && !state.is_closed {
            if self.done.wait_until(&mut state, deadline).timed_out() {
                state.is_late = state.completed < mine;
                if state.is_late {
                    drop(state);
                    self.refuse_late();
                }
                return;
            }
        }
    }

    fn refuse_late(&self) {
        self.refuse(Refusal::CallbackLate, || {
            format!(
                "callbacks of OpenTelemetry's observable instruments take longer than {PATIENCE:?}: \
                 what is exposed of all its metrics is what was read before"
            )
        });
    }

    pub(super) fn refuse(&self, refusal: Refusal, warning: impl FnOnce() -> String) {
        if let Some(registry) = self.registry.upgrade() {
            registry.families().refuse(refusal, warning);
        }
    }

    fn run(&self) {
        // What callbacks log goes the way of the program's other subscribers alone: a scrape must not make lines.
        lgtm_core::suppress_this_thread();
        COLLECTS.with(|collects| collects.set(true));
        let mut mirror = Mirror::new(self.owner);
        let mut metrics = ResourceMetrics::default();
        loop {
            let target = {
                let mut state = self.state.lock();
                while state.requested == state.completed && !state.is_closed {
                    self.wanted.wait(&mut state);
                }
                if state.is_closed {
                    return;
                }
                state.requested
            };
            let begin = Instant::now();
            self.collect_now(&mut mirror, &mut metrics);
            let mut state = self.state.lock();
            state.completed = target;
            state.is_late = begin.elapsed() > PATIENCE;
            drop(state);
            self.done.notify_all();
        }
    }

    fn collect_now(&self, mirror: &mut Mirror, metrics: &mut ResourceMetrics) {
        let Some(registry) = self.registry.upgrade() else { return };
        // Callbacks of our own provider's instruments do not get here with their panics; those of another one poison it.
        let outcome = catch_unwind(AssertUnwindSafe(|| self.reader.collect(metrics)));
        let problem = match outcome {
            Ok(Ok(())) => {
                // Nothing of the program runs in here.
                mirror.show(metrics, &registry);
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "a callback panicked".to_owned(),
        };
        if !self.is_closed() {
            self.refuse(Refusal::CallbackPanic, || {
                format!("the metrics of OpenTelemetry could not be collected: {problem}")
            });
        }
    }
}
