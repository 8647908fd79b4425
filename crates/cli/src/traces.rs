//! Traces by OTLP over HTTP, where a collector is named: spans of ours, without
//! events. They name routes, networks and methods; never a payer, a payment or a URL.

use std::sync::OnceLock;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Bytes;
use http::{HeaderMap, Request, Response};
use opentelemetry::KeyValue;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{HeaderExtractor, HeaderInjector, HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, filter};
use url::Url;

use crate::exit::Failure;
use crate::wiring;

/// How long a collector may take.
const PATIENCE: Duration = Duration::from_secs(5);

static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// The layer that sends spans to a collector. Must be called within a runtime, which
/// sends them.
pub fn layer<S>(
    endpoint: &str,
    service: &'static str,
) -> Result<impl Layer<S> + Send + Sync + use<S>, Failure>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    let wrong = |why: &dyn std::fmt::Display| {
        Failure::usage(format!(
            "--otlp-endpoint cannot be used ({why}); write for example http://127.0.0.1:4318."
        ))
    };
    let url = collector(endpoint)?;
    let client = tollway_payer::client_builder()
        .timeout(PATIENCE)
        .build()
        .map_err(|e| wrong(&e))?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Sender {
            client,
            runtime: tokio::runtime::Handle::current(),
        })
        .with_endpoint(url.as_str())
        .with_protocol(Protocol::HttpJson)
        .with_timeout(PATIENCE)
        .build()
        .map_err(|e| wrong(&e))?;
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let resource = Resource::builder()
        .with_service_name(service)
        .with_attribute(version)
        .build();
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource)
        .build();
    let tracer = provider.tracer("tollway");
    let _ = PROVIDER.set(provider);
    tollway_gate::propagate_with(write);
    let spans = tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false);
    Ok(spans.with_filter(ours()))
}

/// Our own spans; no events, which are for the log.
fn ours() -> filter::FilterFn {
    filter_fn(|metadata| metadata.is_span() && metadata.target().starts_with("tollway"))
}

fn collector(endpoint: &str) -> Result<Url, Failure> {
    let url = wiring::http_url(endpoint, "--otlp-endpoint")?;
    let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    if !plain {
        return Err(Failure::usage(
            "--otlp-endpoint has a user, a password or a query; name a collector on this machine that knows them.",
        ));
    }
    let base = url.as_str().trim_end_matches('/');
    let full = match base.ends_with("/v1/traces") {
        true => base.to_owned(),
        false => format!("{base}/v1/traces"),
    };
    wiring::http_url(&full, "--otlp-endpoint")
}

/// Sends what is left, before the process ends.
pub fn finish() {
    if let Some(provider) = PROVIDER.get() {
        let _ = provider.shutdown_with_timeout(PATIENCE);
    }
}

/// The span of a request that came, in the trace that its sender is in.
pub fn of_request<B>(name: &'static str, request: &Request<B>) -> Span {
    if PROVIDER.get().is_none() {
        return Span::none();
    }
    let method = request.method().as_str();
    let span = tracing::info_span!("request", otel.name = name, otel.kind = "server", method);
    let sender = TraceContextPropagator::new().extract(&HeaderExtractor(request.headers()));
    // It fails only where no span is recorded.
    let _ = span.set_parent(sender);
    span
}

/// Writes which span something is asked in.
fn write(headers: &mut HeaderMap) {
    let current = Span::current().context();
    TraceContextPropagator::new().inject_context(&current, &mut HeaderInjector(headers));
}

/// Our own client, on the server's runtime: the exporter has a thread without one.
#[derive(Debug)]
struct Sender {
    client: reqwest::Client,
    runtime: tokio::runtime::Handle,
}

#[async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let asking = self
            .client
            .request(parts.method, parts.uri.to_string())
            .headers(parts.headers)
            .body(body);
        let sent = self.runtime.spawn(async move {
            let answer = asking.send().await.map_err(reqwest::Error::without_url)?;
            let status = answer.status();
            let body = answer.bytes().await.map_err(reqwest::Error::without_url)?;
            Ok::<_, reqwest::Error>((status, body))
        });
        let (status, body) = sent.await??;
        let mut response = Response::new(body);
        *response.status_mut() = status;
        Ok(response)
    }
}
