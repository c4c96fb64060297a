//! The development stack in the program itself: whether it may run here, and what it takes the place of. Runs once, at the start; the
//! stack has a thread of its own.

use lgtm_core::{Endpoint, suppress_this_thread};
use lgtm_devstack::{Devstack, Ports, StartError};
use parking_lot::Mutex;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::error::Error;
use crate::protocol::{GRPC_PORT, HTTP_PORT};
use crate::settings::{Console, Destination, Settings};
use crate::{Protocol, console};

/// How often metrics are pushed where nobody says: a person looks at them.
const PUSH_INTERVAL: std::time::Duration = std::time::Duration::from_secs(2);

/// Whether the stack is to run in this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// It is not.
    Off,
    /// Only if the program is built with debug assertions: what is tried out must not reach production unseen.
    InDebugBuilds,
    /// In every program.
    Always,
}

/// Where a stack listens.
#[derive(Clone, Debug)]
struct Addresses {
    loki: String,
    otlp_grpc: String,
    otlp_http: String,
    mimir: String,
}

impl Addresses {
    fn of(stack: &Devstack) -> Self {
        Self {
            loki: stack.loki_url(),
            otlp_grpc: stack.otlp_grpc_url(),
            otlp_http: stack.otlp_http_url(),
            mimir: stack.mimir_url(),
        }
    }

    fn usual() -> Self {
        let at = |port: u16| format!("http://127.0.0.1:{port}");
        let Ports { loki, mimir, .. } = Ports::usual();
        Self { loki: at(loki), otlp_grpc: at(GRPC_PORT), otlp_http: at(HTTP_PORT), mimir: at(mimir) }
    }

    /// Where a signal goes by OTLP.
    fn otlp(&self, protocol: Protocol, path: &str) -> String {
        match protocol {
            Protocol::Http => format!("{}{path}", self.otlp_http),
            _ => self.otlp_grpc.clone(),
        }
    }
}

/// The stack of this process, or of the one that it was forked from: that one's thread runs on there.
static RUNNING: Mutex<Option<(u32, Addresses)>> = Mutex::new(None);

/// What the program says in code of where telemetry goes, before the environment is asked.
pub(crate) struct InCode {
    loki: bool,
    loki_protocol: Option<lgtm_loki::Protocol>,
    tempo: bool,
    tempo_protocol: Option<Protocol>,
    mimir: bool,
    mimir_protocol: Option<lgtm_mimir::Protocol>,
    wanted: bool,
}

impl InCode {
    pub(crate) fn of(code: &Settings) -> Self {
        Self {
            loki: code.loki.is_some(),
            loki_protocol: code.loki_protocol,
            tempo: code.tempo.is_some(),
            tempo_protocol: code.tempo_protocol,
            mimir: code.mimir.is_some(),
            mimir_protocol: code.mimir_protocol,
            wanted: code.devstack.is_some(),
        }
    }

    /// The backends whose place the stack takes.
    pub(crate) fn replaced(&self) -> Vec<&'static str> {
        let all = [("loki", self.loki), ("tempo", self.tempo), ("mimir", self.mimir)];
        all.into_iter().filter(|(_, in_code)| !in_code).map(|(name, _)| name).collect()
    }
}

/// Whether the stack runs with these settings, in a build with debug assertions or without.
///
/// # Errors
/// In a build without debug assertions, unless it is forced.
pub(crate) fn is_wanted(settings: &Settings, in_code: &InCode, debug_build: bool) -> Result<bool, Error> {
    match settings.devstack {
        None | Some(Wanted::Off) => Ok(false),
        _ if settings.disabled == Some(true) => Ok(false),
        Some(Wanted::InDebugBuilds) if !debug_build => {
            let problem = "the program is built without debug assertions, as for release";
            Err(if in_code.wanted {
                let accepted = "a debug build, or force_devstack()";
                Error::Setting { setting: "devstack", problem: problem.to_owned(), accepted }
            } else {
                let problem = format!("`true`, but {problem}");
                Error::environment("LGTM_DEVSTACK", problem, "`true` in a debug build, `force`, or `false`")
            })
        }
        Some(Wanted::InDebugBuilds | Wanted::Always) => Ok(true),
    }
}

/// Starts the stack, unless it runs in the process from which this one was forked, and sends to it all that is not sent elsewhere in
/// code. Without `start`, the addresses are those that it would try first.
pub(crate) fn take_place(settings: &mut Settings, in_code: &InCode, start: bool) -> Result<Option<Devstack>, Error> {
    let mut running = RUNNING.lock();
    let of_parent = running.as_ref().filter(|(process, _)| *process != std::process::id());
    let (stack, addresses) = match of_parent {
        Some((_, addresses)) => (None, addresses.clone()),
        None if start => {
            let stack = start_stack()?;
            let addresses = Addresses::of(&stack);
            *running = Some((std::process::id(), addresses.clone()));
            (Some(stack), addresses)
        }
        None => (None, Addresses::usual()),
    };
    drop(running);
    let endpoint = |url: &str| {
        Endpoint::parse(url).map(Destination::To).map_err(|error| Error::Setting {
            setting: "devstack",
            problem: error.to_string(),
            accepted: "an address that is a URL",
        })
    };
    if !in_code.loki {
        settings.loki_protocol = in_code.loki_protocol;
        settings.loki = Some(endpoint(&match in_code.loki_protocol {
            Some(lgtm_loki::Protocol::Otlp(protocol)) => addresses.otlp(protocol, "/v1/logs"),
            _ => addresses.loki.clone(),
        })?);
    }
    if !in_code.tempo {
        let protocol = in_code.tempo_protocol.unwrap_or(Protocol::Grpc);
        settings.tempo_protocol = Some(protocol);
        settings.tempo_is_default = false;
        settings.tempo = Some(endpoint(&addresses.otlp(protocol, "/v1/traces"))?);
    }
    if !in_code.mimir {
        settings.mimir_protocol = in_code.mimir_protocol;
        settings.mimir = Some(endpoint(&match in_code.mimir_protocol {
            Some(lgtm_mimir::Protocol::Otlp(protocol)) => addresses.otlp(protocol, "/v1/metrics"),
            _ => addresses.mimir,
        })?);
    }
    settings.push_interval.get_or_insert(PUSH_INTERVAL);
    Ok(stack)
}

/// On the usual ports, so that other programs of this machine find it too; free ones where they are taken.
fn start_stack() -> Result<Devstack, StartError> {
    // What the stack's own libraries log while they receive would be sent to it, and so on.
    Devstack::builder().ports(Ports::usual()).on_thread_start(suppress_this_thread).start_blocking()
}

/// Says on the console where the window is, whatever the filters are.
pub(crate) fn tell(stack: &Devstack, console: Console) {
    let moved: Vec<String> = stack
        .moved_ports()
        .iter()
        .map(|moved| format!("{}: port {} is taken, using {}", moved.service, moved.wanted, moved.actual))
        .collect();
    let moved = (!moved.is_empty()).then(|| moved.join("; "));
    let subscriber = tracing_subscriber::registry().with(console::layer(console));
    tracing::subscriber::with_default(subscriber, || {
        tracing::info!(
            target: "lgtm",
            window = stack.window_url(),
            loki = stack.loki_url(),
            otlp_grpc = stack.otlp_grpc_url(),
            otlp_http = stack.otlp_http_url(),
            tempo = stack.tempo_url(),
            mimir = stack.mimir_url(),
            moved,
            "development stack in this process, for development only"
        );
    });
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests end where they find something wrong")]

    use super::*;

    fn wanted(code: Option<Wanted>, variable: Option<Wanted>, debug_build: bool) -> Result<bool, String> {
        let code = Settings { devstack: code, ..Settings::default() };
        let in_code = InCode::of(&code);
        let settings = code.or(Settings { devstack: variable, ..Settings::default() });
        is_wanted(&settings, &in_code, debug_build).map_err(|error| error.to_string())
    }

    #[test]
    fn a_release_build_refuses_it_with_the_words_of_who_chose_it_unless_it_is_forced() {
        let (debug, always, off) = (Some(Wanted::InDebugBuilds), Some(Wanted::Always), Some(Wanted::Off));
        for debug_build in [true, false] {
            assert_eq!(wanted(None, None, debug_build), Ok(false));
            assert_eq!(wanted(off, always, debug_build), Ok(false), "code wins");
            assert_eq!(wanted(always, None, debug_build), Ok(true));
            assert_eq!(wanted(None, always, debug_build), Ok(true));
        }
        assert_eq!((wanted(debug, None, true), wanted(None, debug, true)), (Ok(true), Ok(true)));
        let said = wanted(debug, None, false).unwrap_err();
        assert!(said.starts_with("devstack: ") && said.contains("force_devstack()"), "{said}");
        let said = wanted(None, debug, false).unwrap_err();
        assert!(said.contains("LGTM_DEVSTACK") && said.contains("`force`"), "{said}");
    }
}
