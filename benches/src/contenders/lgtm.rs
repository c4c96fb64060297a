//! lgtm: as a whole, and layer by layer.

use std::time::Instant;

use lgtm::{Console, Endpoint, Overflow, Profile, Telemetry};
use lgtm_core::pipeline::{Pipeline, PipelineOptions};
use lgtm_core::{Identity, Sampler, Worker};
use lgtm_mimir::{Format, Mimir, RemoteWrite};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry};

use crate::contender::{PATIENCE, Running, Settings};

fn overflow(settings: &Settings) -> Overflow {
    if settings.blocking { Overflow::Block(PATIENCE) } else { Overflow::DropNewest }
}

/// What `lgtm::init` sets up, spans over HTTP, without the console.
pub(crate) struct Facade(Telemetry);

impl Facade {
    pub(crate) fn start(settings: &Settings, profile: Profile) -> anyhow::Result<Self> {
        let endpoint = Endpoint::parse(&settings.backend)?;
        let builder = lgtm::builder()
            .ignore_environment()
            .service_name("cost")
            .console(Console::Off)
            .profile(profile)
            .overflow(overflow(settings))
            .shutdown_timeout(PATIENCE)
            .loki(endpoint.clone())
            .tempo(endpoint.clone())
            .tempo_protocol(lgtm_tempo::Protocol::Http)
            .mimir(endpoint);
        Ok(Self(builder.init()?))
    }
}

impl Running for Facade {
    fn flush(&self) -> anyhow::Result<bool> {
        self.0.flush()?;
        Ok(true)
    }

    fn end(self: Box<Self>) -> String {
        self.0.shutdown().to_string()
    }
}

/// Which layers stand on the registry.
#[derive(Clone, Copy)]
pub(crate) struct Layers {
    pub(crate) loki: bool,
    /// The field `stream` is a label.
    pub(crate) has_streams: bool,
    pub(crate) tempo: bool,
    pub(crate) is_grpc: bool,
    pub(crate) is_unsampled: bool,
    pub(crate) spanmetrics: bool,
    pub(crate) mimir: bool,
    pub(crate) is_remote_write_2: bool,
}

impl Layers {
    pub(crate) const NONE: Self = Self {
        loki: false,
        has_streams: false,
        tempo: false,
        is_grpc: false,
        is_unsampled: false,
        spanmetrics: false,
        mimir: false,
        is_remote_write_2: false,
    };
    pub(crate) const ALL: Self = Self { loki: true, tempo: true, spanmetrics: true, mimir: true, ..Self::NONE };
}

/// Layers with their pipelines.
pub(crate) struct Parts {
    pipelines: Vec<Pipeline>,
    mimir: Option<Mimir>,
}

/// More than the largest scrape has: the bounds are not what is measured.
const SERIES: usize = 200_000;
/// Room for the samples of a last push of 100,000 series and for the marker of each that ends it: in bytes, more than the default.
const SAMPLES: usize = 64 * 1024 * 1024;
/// The most that a label from a field may have.
const STREAMS: usize = 1_000;

pub(crate) fn start(settings: &Settings, wanted: Layers) -> anyhow::Result<Parts> {
    let endpoint = Endpoint::parse(&settings.backend)?;
    let worker = Worker::spawn()?;
    let identity = Identity::new("cost");
    let mut options = PipelineOptions::default();
    options.overflow = overflow(settings);
    let mut pipelines = Vec::new();
    let mut mimir = None;
    if wanted.mimir {
        let builder = lgtm_mimir::builder().push(endpoint.clone()).identity(identity.clone()).worker(worker.clone());
        let version = if wanted.is_remote_write_2 { RemoteWrite::Two } else { RemoteWrite::One };
        let builder = builder.remote_write(version);
        let mut bounds = PipelineOptions::default();
        bounds.queue.bytes = SAMPLES;
        let builder = builder.options(bounds);
        let built = builder.series_limit(SERIES).name_series_limit(SERIES).build()?;
        built.install()?;
        pipelines.extend(built.pipeline().cloned());
        mimir = Some(built);
    }
    let mut loki = None;
    if wanted.loki {
        let mut builder = lgtm_loki::builder().endpoint(endpoint.clone()).identity(identity.clone());
        if wanted.has_streams {
            builder = builder.label_from_field("stream", STREAMS);
        }
        let (layer, pipeline) = builder.worker(worker.clone()).options(options.clone()).build()?;
        pipelines.push(pipeline);
        loki = Some(layer);
    }
    let mut tempo = None;
    if wanted.tempo {
        let protocol = if wanted.is_grpc { lgtm_tempo::Protocol::Grpc } else { lgtm_tempo::Protocol::Http };
        let sampler = if wanted.is_unsampled { Sampler::AlwaysOff } else { Sampler::AlwaysOn };
        let builder = lgtm_tempo::builder().endpoint(endpoint).protocol(protocol).sampler(sampler);
        let (layer, pipeline) = builder.identity(identity.clone()).worker(worker).options(options).build()?;
        pipelines.push(pipeline);
        tempo = Some(layer);
    }
    let spanmetrics = wanted.spanmetrics.then(|| lgtm_spanmetrics::layer(&identity));
    // Typed layers are what programs have; only a mixture that nobody has is boxed.
    match (loki, tempo, spanmetrics) {
        (None, None, None) => {}
        (Some(loki), None, None) => Registry::default().with(loki).try_init()?,
        (None, Some(tempo), None) => Registry::default().with(tempo).try_init()?,
        (None, None, Some(spanmetrics)) => Registry::default().with(spanmetrics).try_init()?,
        (Some(loki), Some(tempo), Some(spanmetrics)) => {
            Registry::default().with(loki).with(tempo).with(spanmetrics).try_init()?;
        }
        (loki, tempo, spanmetrics) => {
            let mut layers: Vec<Box<dyn tracing_subscriber::Layer<Registry> + Send + Sync>> = Vec::new();
            layers.extend(loki.map(|layer| layer.boxed()));
            layers.extend(tempo.map(|layer| layer.boxed()));
            layers.extend(spanmetrics.map(|layer| layer.boxed()));
            Registry::default().with(layers).try_init()?;
        }
    }
    Ok(Parts { pipelines, mimir })
}

impl Running for Parts {
    fn scrape(&self) -> anyhow::Result<Option<String>> {
        Ok(self.mimir.as_ref().map(|mimir| mimir.render(Format::OpenMetrics)))
    }

    fn flush(&self) -> anyhow::Result<bool> {
        let deadline = Instant::now() + PATIENCE;
        let flushes: Vec<_> = self.pipelines.iter().map(|pipeline| (pipeline, pipeline.begin_flush())).collect();
        Ok(flushes.iter().all(|(pipeline, flush)| pipeline.wait_flushed(flush, deadline)))
    }

    fn end(self: Box<Self>) -> String {
        let deadline = Instant::now() + PATIENCE;
        for pipeline in &self.pipelines {
            pipeline.begin_shutdown(deadline);
        }
        let reports = self.pipelines.iter().map(|pipeline| {
            let _ = pipeline.wait_ended(deadline);
            pipeline.report().to_string()
        });
        reports.collect::<Vec<_>>().join("; ")
    }
}
