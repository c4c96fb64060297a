//! fastrace with fastrace-opentelemetry's reporter, to OTLP over HTTP.

use std::borrow::Cow;

use fastrace::collector::Config;
use fastrace_opentelemetry::OpenTelemetryReporter;
use opentelemetry::InstrumentationScope;
use opentelemetry_sdk::Resource;

use super::opentelemetry::http_exporter;
use crate::contender::{Running, Settings};

pub(crate) struct Fastrace;

impl Fastrace {
    pub(crate) fn start(settings: &Settings) -> anyhow::Result<Self> {
        let resource = Resource::builder().with_service_name("cost").build();
        let scope = InstrumentationScope::builder("cost").build();
        let reporter = OpenTelemetryReporter::new(http_exporter(settings)?, Cow::Owned(resource), scope);
        fastrace::set_reporter(reporter, Config::default());
        Ok(Self)
    }
}

impl Running for Fastrace {
    fn flush(&self) -> anyhow::Result<bool> {
        fastrace::flush();
        Ok(true)
    }

    fn end(self: Box<Self>) -> String {
        fastrace::flush();
        "flushed".to_owned()
    }
}
