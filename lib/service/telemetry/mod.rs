//! What a process tells about itself: logs for people or machines, spans for a collector, numbers for Prometheus.
//!
//! Logs go to standard error, so that standard output stays what a command was asked for. Trace contexts exist whether or not
//! a collector listens: every record on Kafka carries one.
//!
//! If it dies here: nothing of the flow depends on it; a collector that is away costs spans, never a payment.

pub mod metrics;
pub mod trace;

use std::io::IsTerminal;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use serde::{Deserialize, Serialize};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Which events are logged, as in `info,payfleet::relay=debug`.
    pub log: String,
    pub format: Format,
    /// Where spans go, as in `http://collector:4318/v1/traces`; none if empty.
    pub otlp_endpoint: String,
    /// Which share of the traces that begin here is sent: 0 to 1. Traces begun elsewhere follow their own mark.
    pub trace_ratio: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { log: "info".into(), format: Format::Auto, otlp_endpoint: String::new(), trace_ratio: 0.01 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// For people on a terminal, JSON otherwise.
    Auto,
    Human,
    Json,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the log filter {filter:?} cannot be read: {cause}")]
    Filter { filter: String, cause: tracing_subscriber::filter::ParseError },
    #[error("spans cannot be sent: {0}")]
    Otlp(#[from] opentelemetry_otlp::ExporterBuildError),
    #[error("logging was set up before: {0}")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
    #[error("metrics cannot be recorded: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
}

/// The telemetry of this process; [`Telemetry::flush`] it last.
pub struct Telemetry {
    traces: SdkTracerProvider,
    pub metrics: metrics::Metrics,
}

impl Telemetry {
    /// Sets up the process's log, spans and metrics. Once per process.
    pub fn start(settings: &Settings, process: &'static str) -> Result<Self, Error> {
        let traces = tracer_provider(settings, process)?;
        let spans = tracing_opentelemetry::layer().with_tracer(traces.tracer("payfleet"));
        Registry::default()
            .with(spans.with_filter(filter("info")?))
            .with(log_layer(settings.format).with_filter(filter(&settings.log)?))
            .try_init()?;
        Ok(Self { traces, metrics: metrics::Metrics::record(process)? })
    }

    /// Sends what is still held back. Blocks for a few seconds at most if the collector does not answer.
    pub fn flush(self) {
        if let Err(error) = self.traces.shutdown() {
            tracing::debug!(%error, "the last spans were not sent");
        }
    }
}

fn filter(directives: &str) -> Result<EnvFilter, Error> {
    directives.parse().map_err(|cause| Error::Filter { filter: directives.to_owned(), cause })
}

fn log_layer<S>(format: Format) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'span> tracing_subscriber::registry::LookupSpan<'span>,
{
    let terminal = std::io::stderr().is_terminal();
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        Format::Auto if !terminal => layer.json().flatten_event(true).with_span_list(false).boxed(),
        Format::Json => layer.json().flatten_event(true).with_span_list(false).boxed(),
        Format::Auto | Format::Human => layer.with_ansi(terminal).with_target(false).compact().boxed(),
    }
}

fn tracer_provider(settings: &Settings, process: &'static str) -> Result<SdkTracerProvider, Error> {
    let resource = Resource::builder()
        .with_service_name(format!("payfleet-{process}"))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let builder = SdkTracerProvider::builder().with_resource(resource);
    if settings.otlp_endpoint.is_empty() {
        // Contexts are made and passed on, but no span is recorded.
        return Ok(builder.with_sampler(Sampler::AlwaysOff).build());
    }
    let exporter =
        opentelemetry_otlp::SpanExporter::builder().with_http().with_endpoint(&settings.otlp_endpoint).build()?;
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.trace_ratio)));
    Ok(builder.with_sampler(sampler).with_batch_exporter(exporter).build())
}
