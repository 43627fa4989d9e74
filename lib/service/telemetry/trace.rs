//! W3C trace contexts in and out of spans, as they travel in HTTP headers, outbox rows and Kafka records.

use std::collections::HashMap;

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing_opentelemetry::OpenTelemetrySpanExt;

const TRACEPARENT: &str = "traceparent";

/// The context of the current span, to be stored or sent beside what it causes. None outside of any span.
pub fn traceparent() -> Option<String> {
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&tracing::Span::current().context(), &mut carrier);
    carrier.remove(TRACEPARENT)
}

/// Makes `span` a child of the context that came in. One that cannot be read is as good as none.
pub fn follow(span: &tracing::Span, traceparent: &str) {
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    let parent = TraceContextPropagator::new().extract(&carrier);
    // Fails only if the span is not recorded at all or has been entered; then there is nothing to tie.
    span.set_parent(parent).ok();
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn a_trace_goes_through_a_span_even_if_no_collector_listens() {
        let provider = SdkTracerProvider::builder().with_sampler(Sampler::AlwaysOff).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::Registry::default().with(layer), || {
            let span = tracing::info_span!("accept");
            follow(&span, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
            let passed_on = span.in_scope(traceparent).unwrap();
            assert!(passed_on.starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{passed_on}");
            assert!(!passed_on.contains("b7ad6b7169203331"), "{passed_on}");
            let own = tracing::info_span!("due").in_scope(traceparent).unwrap();
            assert!(!own.contains("0af7651916cd43dd8448eb211c80319c"), "{own}");
        });
        assert_eq!(traceparent(), None);
    }
}
