//! Every metric family and its series, as they are exposed: valid names, no series twice, all bounds kept.
//! Caller threads add, once per new series; worker and scrape read.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicUsize, Ordering};

use lgtm_core::catalogue::METRICS_SERIES_REFUSED_TOTAL;
use metrics::Key;
use parking_lot::{Mutex, RwLock};

use crate::buckets::{Bounds, BucketRules, NativeRules};
use crate::exemplar::unix_milliseconds;
use crate::histogram::{Beside, Histogram};
use crate::listing::Listing;
use crate::naming::{self, Excess, Labels, OVERFLOW_LABEL};
use crate::native::Native;
use crate::quantiles::{QuantileRules, Quantiles};
use crate::refusal::{Refusal, Refusals};
use crate::summary::{MAX_SUMMARIES_OF_NAME, Summary};
use crate::unit::Unit;
use crate::value::{Value, summary_time_series, time_series};

/// Most metric names, and most names that are described.
const MAX_NAMES: usize = 10_000;
/// Native buckets of the facade's series in a family that is native because another source says so: OpenTelemetry's default.
const NATIVE_BUCKETS: usize = 160;
/// Longest help text, in bytes: Mimir's limit.
const MAX_HELP_BYTES: usize = 1024;

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
    /// What a histogram is exposed as that has quantiles in place of buckets; nothing is recorded or described with this kind.
    Summary,
}

impl Kind {
    /// As `# TYPE` writes it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
        }
    }
}

/// How much there may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Time series of all names.
    pub(crate) series: usize,
    /// Label sets of one name.
    pub(crate) series_of_name: usize,
}

/// Who writes a series: nobody else's samples get into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner(pub(crate) u32);

impl Owner {
    /// The program, through the `metrics` facade.
    pub(crate) const FACADE: Self = Self(0);
}

/// One label set of a family.
#[derive(Debug)]
pub(crate) struct Series {
    /// Distinct in the whole registry, counted from 0.
    pub(crate) number: u32,
    pub(crate) owner: Owner,
    pub(crate) labels: Arc<Labels>,
    pub(crate) value: Value,
    /// When it was still zero: milliseconds since the Unix epoch.
    created: AtomicI64,
    /// Whether remote write has sent it before: its zero is known.
    pub(crate) is_pushed: AtomicBool,
}

impl Series {
    /// When nothing had been recorded in it: milliseconds since the Unix epoch.
    pub(crate) fn created(&self) -> i64 {
        self.created.load(Ordering::Relaxed)
    }

    /// As if nothing had been recorded, nor sent.
    pub(crate) fn restart(&self) {
        self.created.store(unix_milliseconds(), Ordering::Relaxed);
        self.value.restart();
        self.is_pushed.store(false, Ordering::Relaxed);
    }
}

/// All series of one name.
#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) name: Arc<str>,
    pub(crate) kind: Kind,
    /// Of histograms.
    bounds: Option<Arc<Bounds>>,
    /// Most native buckets of each sign, of histograms that have them.
    native: Option<usize>,
    /// Of histograms that are exposed as summaries.
    quantiles: Option<Arc<Quantiles>>,
    members: Mutex<Members>,
}

#[derive(Debug, Default)]
struct Members {
    series: BTreeMap<Arc<Labels>, Arc<Series>>,
    /// The same one after the other, until a series comes or goes.
    listing: Option<Arc<Listing>>,
}

impl Family {
    /// The series, ordered by their labels.
    pub(crate) fn listing(&self) -> Arc<Listing> {
        let Members { series, listing } = &mut *self.members.lock();
        Arc::clone(listing.get_or_insert_with(|| Arc::new(Listing::new(series.values().map(Arc::clone).collect()))))
    }

    /// Only the family itself has its series from now on, and those who have a listing.
    pub(crate) fn forget_listing(&self) {
        self.members.lock().listing = None;
    }

    /// What it is exposed as.
    pub(crate) fn exposed_kind(&self) -> Kind {
        if self.quantiles.is_some() { Kind::Summary } else { self.kind }
    }

    /// How many time series a label set of the facade's is.
    fn time_series(&self) -> usize {
        match (&self.quantiles, &self.bounds) {
            (Some(quantiles), _) => summary_time_series(quantiles),
            (None, Some(bounds)) => time_series(bounds, self.native.is_some()),
            (None, None) => 1,
        }
    }

    /// What its histograms keep beside the counts of buckets.
    fn beside(&self) -> Option<Beside> {
        match (&self.quantiles, self.native) {
            (Some(quantiles), _) => Some(Beside::Summary(Box::new(Summary::new(Arc::clone(quantiles))))),
            (None, Some(buckets)) => Some(Beside::Native(Native::new(buckets))),
            (None, None) => None,
        }
    }
}

/// What the program says about a metric.
#[derive(Clone, Debug)]
pub(crate) struct Description {
    pub(crate) unit: Option<Unit>,
    pub(crate) help: String,
}

/// A series for a key.
pub(crate) struct Place {
    pub(crate) series: Arc<Series>,
    /// The series stands for others too, because a limit is reached.
    pub(crate) is_overflow: bool,
}

/// What becomes of a label set that has no series yet.
pub(crate) struct New<'a> {
    pub(crate) owner: Owner,
    /// How many time series it is.
    pub(crate) time_series: usize,
    pub(crate) value: &'a dyn Fn() -> Value,
    /// The labels of the series that takes it beyond a limit.
    pub(crate) overflow: &'a dyn Fn() -> Labels,
}

#[derive(Debug, Default)]
struct Names {
    families: BTreeMap<Arc<str>, Arc<Family>>,
    /// Every name that a sample has: histograms have several.
    samples: HashSet<String>,
}

/// Every family.
#[derive(Debug)]
pub(crate) struct Families {
    names: RwLock<Names>,
    descriptions: Mutex<BTreeMap<(String, Kind), Description>>,
    rules: BucketRules,
    native: NativeRules,
    quantiles: QuantileRules,
    limits: Limits,
    time_series: AtomicUsize,
    next_number: AtomicU32,
    refusals: Refusals,
}

impl Families {
    pub(crate) fn new(rules: BucketRules, limits: Limits) -> Self {
        let families = Self {
            names: RwLock::default(),
            descriptions: Mutex::default(),
            rules,
            native: NativeRules::default(),
            quantiles: QuantileRules::default(),
            limits,
            time_series: AtomicUsize::new(0),
            next_number: AtomicU32::new(0),
            refusals: Refusals::default(),
        };
        families.expose_refusals();
        families
    }

    /// These histograms are native too.
    pub(crate) fn with_native(mut self, rules: NativeRules) -> Self {
        self.native = rules;
        self
    }

    /// These histograms are exposed as summaries.
    pub(crate) fn with_quantiles(mut self, rules: QuantileRules) -> Self {
        self.quantiles = rules;
        self
    }

    /// The counts of what is refused are series like any other.
    fn expose_refusals(&self) {
        let Some(family) = self.family(METRICS_SERIES_REFUSED_TOTAL, Kind::Counter) else { return };
        let mut members = family.members.lock();
        for refusal in Refusal::ALL {
            let labels = vec![("reason".to_owned(), refusal.as_str().to_owned())];
            self.insert(&mut members, labels, Owner::FACADE, Value::Counter(self.refusals.counter(*refusal)));
        }
    }

    /// The families, ordered by name.
    pub(crate) fn all(&self) -> Vec<Arc<Family>> {
        self.names.read().families.values().map(Arc::clone).collect()
    }

    /// What is known about a family.
    pub(crate) fn description(&self, family: &Family) -> Option<Description> {
        self.descriptions.lock().get(&(family.name.to_string(), family.kind)).cloned()
    }

    /// Notes what the program says about a metric; the last word counts.
    pub(crate) fn describe(&self, name: &str, kind: Kind, unit: Option<Unit>, help: &str) {
        let help = naming::cut(help, MAX_HELP_BYTES).to_owned();
        let key = (naming::metric_name(name), kind);
        let mut descriptions = self.descriptions.lock();
        if descriptions.len() < MAX_NAMES || descriptions.contains_key(&key) {
            descriptions.insert(key, Description { unit, help });
        }
    }

    /// As [`Families::describe`], unless something is known of the metric already.
    #[cfg(feature = "opentelemetry")]
    pub(crate) fn describe_new(&self, name: &str, kind: Kind, unit: Option<Unit>, help: &str) {
        let is_known = self.descriptions.lock().contains_key(&(name.to_owned(), kind));
        if !is_known {
            self.describe(name, kind, unit, help);
        }
    }

    /// How histograms of this name are to be, if a rule is about it: their buckets, and the most native ones.
    #[cfg(feature = "opentelemetry")]
    pub(crate) fn rules_of(&self, name: &str) -> (Option<Arc<Bounds>>, Option<usize>) {
        (self.rules.rule(name), self.native.buckets(name))
    }

    /// The series that this key's samples belong to; none if the name cannot be exposed with this type.
    /// Keys that become equal are one series.
    pub(crate) fn place(&self, key: &Key, kind: Kind) -> Option<Place> {
        self.place_counting(key, kind, true)
    }

    /// As [`Families::place`], for a key whose excess was counted just now.
    pub(crate) fn place_again(&self, key: &Key, kind: Kind) -> Option<Place> {
        self.place_counting(key, kind, false)
    }

    fn place_counting(&self, key: &Key, kind: Kind, counts: bool) -> Option<Place> {
        let family = self.family(&naming::metric_name(key.name()), kind)?;
        let (labels, excess) = naming::labels(key.labels(), family.exposed_kind());
        if counts {
            self.note_excess(&family, key.name(), excess);
        }
        self.find_or_insert(
            &family,
            labels,
            &New {
                owner: Owner::FACADE,
                time_series: family.time_series(),
                value: &|| self.new_value(&family),
                overflow: &|| vec![(OVERFLOW_LABEL.to_owned(), "true".to_owned())],
            },
        )
    }

    /// Counts what had to be cut of a new series.
    pub(crate) fn note_excess(&self, family: &Family, name: &str, excess: Excess) {
        if excess.is_cut || name.len() > naming::MAX_NAME_BYTES {
            self.refusals.refuse(Refusal::LengthLimit, || {
                format!(
                    "a series of metric `{}` has a name of more than {} bytes or a label's value of more than {}: the rest is cut",
                    family.name,
                    naming::MAX_NAME_BYTES,
                    naming::MAX_VALUE_BYTES
                )
            });
        }
        if excess.labels > 0 {
            self.refusals.refuse(Refusal::LabelLimit, || {
                format!(
                    "a series of metric `{}` has more than {} labels: {} are cut",
                    family.name,
                    naming::MAX_LABELS,
                    excess.labels
                )
            });
        }
    }

    /// The series with these labels, a new one if there is none; none if it belongs to somebody else.
    pub(crate) fn find_or_insert(&self, family: &Family, labels: Labels, new: &New<'_>) -> Option<Place> {
        let mut members = family.members.lock();
        if let Some(known) = members.series.get(&labels).map(Arc::clone) {
            drop(members);
            return self.own(family, known, new.owner, false);
        }
        let most = match family.exposed_kind() {
            Kind::Summary => self.limits.series_of_name.min(MAX_SUMMARIES_OF_NAME),
            _ => self.limits.series_of_name,
        };
        let refusal = if members.series.len() >= most {
            Refusal::NameSeriesLimit
        } else if !self.take(new.time_series) {
            Refusal::SeriesLimit
        } else {
            let series = self.insert(&mut members, labels, new.owner, (new.value)());
            return Some(Place { series, is_overflow: false });
        };
        let overflow = (new.overflow)();
        let known = members.series.get(&overflow).map(Arc::clone);
        let place = known.unwrap_or_else(|| self.insert(&mut members, overflow, new.owner, (new.value)()));
        drop(members);
        self.refusals.refuse(refusal, || {
            let limit = match refusal {
                Refusal::SeriesLimit => format!("the limit of {} time series", self.limits.series),
                _ => format!("the limit of {most} label sets of one name"),
            };
            format!("metric `{}` reached {limit}: further ones count in {OVERFLOW_LABEL}=\"true\"", family.name)
        });
        self.own(family, place, new.owner, true)
    }

    /// The series, if it is this owner's.
    fn own(&self, family: &Family, series: Arc<Series>, owner: Owner, is_overflow: bool) -> Option<Place> {
        if series.owner == owner {
            return Some(Place { series, is_overflow });
        }
        self.refusals.refuse(Refusal::SeriesConflict, || {
            let labels = series.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect::<Vec<_>>();
            format!(
                "metric `{}` has a series {{{}}} of two sources, such as the `metrics` crate and OpenTelemetry: the later one is not \
                 exposed",
                family.name,
                labels.join(",")
            )
        });
        None
    }

    /// A value of the facade's.
    fn new_value(&self, family: &Family) -> Value {
        match family.kind {
            Kind::Counter => Value::Counter(Arc::default()),
            Kind::Gauge => Value::Gauge(Arc::default()),
            Kind::Histogram | Kind::Summary => {
                let bounds = family.bounds.clone().unwrap_or_default();
                let not_a_number = self.refusals.counter(Refusal::NotANumber);
                Value::Histogram(Arc::new(Histogram::new(bounds, family.beside(), not_a_number)))
            }
        }
    }

    fn insert(&self, members: &mut Members, labels: Labels, owner: Owner, value: Value) -> Arc<Series> {
        let labels = Arc::new(labels);
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let new = Arc::new(Series {
            number,
            owner,
            labels: Arc::clone(&labels),
            value,
            created: AtomicI64::new(unix_milliseconds()),
            is_pushed: AtomicBool::new(false),
        });
        members.series.insert(labels, Arc::clone(&new));
        members.listing = None;
        new
    }

    /// Counts something that is not exposed as it was meant.
    #[cfg(feature = "opentelemetry")]
    pub(crate) fn refuse(&self, refusal: Refusal, warning: impl FnOnce() -> String) {
        self.refusals.refuse(refusal, warning);
    }

    /// Takes out the series of the family for which this holds.
    #[cfg(feature = "opentelemetry")]
    pub(crate) fn remove(&self, family: &Family, is_over: impl Fn(&Series) -> bool) -> Vec<Arc<Series>> {
        let mut members = family.members.lock();
        let removed: Vec<_> =
            members.series.extract_if(.., |_, series| is_over(series)).map(|(_, series)| series).collect();
        if !removed.is_empty() {
            members.listing = None;
        }
        drop(members);
        removed.iter().for_each(|series| self.give_back(series));
        removed
    }

    /// Gives back what a series had of the budget.
    fn give_back(&self, series: &Series) {
        if series.labels.iter().all(|(name, _)| name != OVERFLOW_LABEL) {
            self.time_series.fetch_sub(series.value.time_series(), Ordering::Relaxed);
        }
    }

    /// Takes a series out unless somebody holds it besides these many holders; true if it is gone. Under the family's lock: nobody can come to hold
    /// it meanwhile.
    pub(crate) fn remove_unused(&self, family: &Family, labels: &Arc<Labels>, holders: usize) -> bool {
        let mut members = family.members.lock();
        members.listing = None;
        let all = &mut members.series;
        let unused =
            all.get(labels).is_some_and(|series| Arc::strong_count(series) == holders && series.value.holders() == 1);
        if unused && let Some(series) = all.remove(labels) {
            self.give_back(&series);
        }
        unused
    }

    /// Takes from the budget of time series.
    fn take(&self, wanted: usize) -> bool {
        let limit = self.limits.series;
        self.time_series
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                taken.checked_add(wanted).filter(|sum| *sum <= limit)
            })
            .is_ok()
    }

    /// The family of this name, if it is of this kind or can become one.
    fn family(&self, name: &str, kind: Kind) -> Option<Arc<Family>> {
        self.family_with(name, kind, None)
    }

    /// `form`: whether a new family of histograms has a native form; none: the rules say it.
    fn family_with(&self, name: &str, kind: Kind, form: Option<bool>) -> Option<Arc<Family>> {
        let known = self.names.read().families.get(name).map(Arc::clone);
        let refusal = match known {
            Some(family) if family.kind == kind => return Some(family),
            Some(_) => Refusal::TypeConflict,
            None => match self.add_family(name, kind, form) {
                Ok(family) => return Some(family),
                Err(refusal) => refusal,
            },
        };
        self.refusals.refuse(refusal, || match refusal {
            Refusal::NameLimit => {
                format!("{MAX_NAMES} metric names are in use: {} `{name}` is not exposed", kind.as_str())
            }
            _ => format!(
                "{} `{name}` is not exposed: the name, or one that its samples would have, belongs to another metric",
                kind.as_str()
            ),
        });
        None
    }

    /// As [`Families::family`], of a metric whose histograms are of one form: one that is there already must have the same.
    #[cfg(feature = "opentelemetry")]
    pub(crate) fn family_of_form(&self, name: &str, kind: Kind, is_native: bool) -> Option<Arc<Family>> {
        let family = self.family_with(name, kind, Some(is_native))?;
        let is_summary = family.quantiles.is_some();
        if kind != Kind::Histogram || !is_summary && family.native.is_some() == is_native {
            return Some(family);
        }
        self.refusals.refuse(Refusal::TypeConflict, || {
            let form = |is_native| if is_native { "native" } else { "classic" };
            let known = if is_summary { "a summary" } else { form(family.native.is_some()) };
            format!("histogram `{name}` is {known}: a {} one is not exposed", form(is_native))
        });
        None
    }

    fn add_family(&self, name: &str, kind: Kind, form: Option<bool>) -> Result<Arc<Family>, Refusal> {
        let mut names = self.names.write();
        if let Some(family) = names.families.get(name) {
            return if family.kind == kind { Ok(Arc::clone(family)) } else { Err(Refusal::TypeConflict) };
        }
        // Another source's histogram has buckets, or is native: quantiles cannot be told from it.
        let quantiles = self.quantiles.of(name).filter(|_| kind == Kind::Histogram && form.is_none());
        let suffixes: &[&str] = match kind {
            Kind::Histogram if quantiles.is_none() => &["", "_bucket", "_count", "_sum"],
            Kind::Histogram | Kind::Summary => &["", "_count", "_sum"],
            Kind::Counter | Kind::Gauge => &[""],
        };
        let samples: Vec<_> = suffixes.iter().map(|suffix| format!("{name}{suffix}")).collect();
        if samples.iter().any(|sample| names.samples.contains(sample)) {
            return Err(Refusal::TypeConflict);
        }
        if names.families.len() >= MAX_NAMES {
            return Err(Refusal::NameLimit);
        }
        names.samples.extend(samples);
        let name: Arc<str> = name.into();
        let family = Arc::new(Family {
            name: Arc::clone(&name),
            kind,
            bounds: match (kind, &quantiles) {
                (Kind::Histogram, None) => Some(self.rules.bounds(&name)),
                (Kind::Histogram, Some(_)) => Some(Arc::new(Bounds::none())),
                _ => None,
            },
            native: match form {
                Some(is_native) => (is_native && kind == Kind::Histogram).then_some(NATIVE_BUCKETS),
                None => self.native.buckets(&name).filter(|_| kind == Kind::Histogram),
            },
            quantiles,
            members: Mutex::default(),
        });
        names.families.insert(name, Arc::clone(&family));
        Ok(family)
    }
}
