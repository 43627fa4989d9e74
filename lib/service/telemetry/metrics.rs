//! Numbers for Prometheus. Histograms have fixed buckets, because summaries cannot be added up over replicas.

use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;
use tokio_util::sync::CancellationToken;

/// Seconds: from a fraction of an fsync to a gateway's patience.
const SECONDS: &[f64] = &[
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75,
    1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0,
];
/// Sizes of batches and pages.
const COUNTS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 5000.0];
const BYTES: &[f64] = &[256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262_144.0, 1_048_576.0];

/// Without upkeep the exporter keeps every sample that was never scraped.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
    process: Collector,
}

impl Metrics {
    /// Makes the recorder of this process. Once per process.
    pub(super) fn record(process: &'static str) -> Result<Self, BuildError> {
        let handle = PrometheusBuilder::new()
            .set_buckets(COUNTS)?
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS)?
            .set_buckets_for_metric(Matcher::Suffix("_bytes".into()), BYTES)?
            .install_recorder()?;
        let collector = Collector::default();
        collector.describe();
        metrics::gauge!("payfleet_process_info", "process" => process, "version" => env!("CARGO_PKG_VERSION")).set(1);
        Ok(Self { handle, process: collector })
    }

    /// In Prometheus's text format, with the process's own numbers as of now.
    pub fn render(&self) -> String {
        self.process.collect();
        let runtime = tokio::runtime::Handle::current().metrics();
        metrics::gauge!("payfleet_process_tasks").set(runtime.num_alive_tasks() as f64);
        metrics::gauge!("payfleet_process_queued_tasks").set(runtime.global_queue_depth() as f64);
        self.handle.render()
    }

    pub async fn keep_up(self, stop: CancellationToken) -> Result<(), std::convert::Infallible> {
        let mut every = tokio::time::interval(UPKEEP_EVERY);
        while stop.run_until_cancelled(every.tick()).await.is_some() {
            self.handle.run_upkeep();
        }
        Ok(())
    }
}
