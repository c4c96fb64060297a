//! tracing-loki: as its documentation shows, with the controller, so that it can be asked to send what it has.

use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tracing_loki::BackgroundTaskController;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use url::Url;

use super::{Counted, Running};
use crate::Addresses;

/// It knows no deadline.
const DEADLINE: Duration = Duration::from_secs(30);

pub(super) struct TracingLoki {
    runtime: Runtime,
    controller: BackgroundTaskController,
    task: JoinHandle<()>,
}

impl TracingLoki {
    pub(super) fn start(addresses: &Addresses) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let (layer, controller, task) = tracing_loki::builder()
            .label("service_name", "load")?
            .extra_field("pid", std::process::id().to_string())?
            .build_controller_url(Url::parse(&addresses.loki)?)?;
        tracing_subscriber::registry().with(layer).try_init()?;
        let task = runtime.spawn(task);
        Ok(Self { runtime, controller, task })
    }
}

impl Running for TracingLoki {
    fn end(self: Box<Self>) -> Counted {
        let Self { runtime, controller, task } = *self;
        let ended = runtime.block_on(async {
            tokio::time::timeout(DEADLINE, async {
                controller.shutdown().await;
                task.await
            })
            .await
        });
        let said = match ended {
            Ok(Ok(())) => "it counts nothing".to_owned(),
            Ok(Err(error)) => format!("its task failed: {error}"),
            Err(_) => format!("it had not ended after {DEADLINE:?}"),
        };
        runtime.shutdown_background();
        Counted { events: None, spans: None, said }
    }
}
