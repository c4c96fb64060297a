//! tracing-loki: as its documentation shows, with the controller, so that it can be asked to send what it has.

use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tracing_loki::{BackgroundTask, BackgroundTaskController, Layer};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use url::Url;

use crate::contender::{PATIENCE, Running, Settings};

pub(crate) struct TracingLoki {
    runtime: Runtime,
    controller: BackgroundTaskController,
    task: JoinHandle<()>,
}

impl TracingLoki {
    pub(crate) fn start(settings: &Settings) -> anyhow::Result<Self> {
        let (layer, controller, task) = layer(settings)?;
        tracing_subscriber::registry().with(layer).try_init()?;
        Self::run(controller, task)
    }

    /// Its task, on a runtime of its own.
    pub(crate) fn run(controller: BackgroundTaskController, task: BackgroundTask) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let task = runtime.spawn(task);
        Ok(Self { runtime, controller, task })
    }
}

/// Its parts, with one label, as `service_name` is what Grafana looks for.
pub(crate) fn layer(settings: &Settings) -> anyhow::Result<(Layer, BackgroundTaskController, BackgroundTask)> {
    let builder = tracing_loki::builder().label("service_name", "cost")?;
    Ok(builder.build_controller_url(Url::parse(&settings.backend)?)?)
}

impl Running for TracingLoki {
    fn end(self: Box<Self>) -> String {
        let Self { runtime, controller, task } = *self;
        let ended = runtime.block_on(async {
            tokio::time::timeout(PATIENCE, async {
                controller.shutdown().await;
                task.await
            })
            .await
        });
        runtime.shutdown_background();
        match ended {
            Ok(Ok(())) => "it counts nothing".to_owned(),
            Ok(Err(error)) => format!("its task failed: {error}"),
            Err(_) => format!("it had not ended after {PATIENCE:?}"),
        }
    }
}
