//! The log, and what is said beside it: on standard error, as text or as one JSON
//! object a line. The filter can be changed while a server runs.

use std::fmt::Display;
use std::sync::OnceLock;

use clap::ValueEnum;
use serde::Deserialize;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::layer::{Layered, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::environment::Environment;
use crate::exit::Failure;
use crate::traces;

/// How lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged, and how.
#[derive(Clone, Debug, Default)]
pub struct LogSettings {
    /// Such as `info` or `tollway_gate=debug`.
    pub filter: Option<String>,
    /// Text, unless it is said.
    pub format: Option<Format>,
    /// Where traces go, if anywhere.
    pub otlp_endpoint: Option<String>,
    /// The server's name in them.
    pub name: &'static str,
}

impl LogSettings {
    /// The filter, or the one that the environment names.
    pub fn filter(&self, environment: &Environment) -> Result<Filter, Failure> {
        let text = self.filter.as_deref();
        let text = text.or_else(|| environment.get("TOLLWAY_LOG"));
        EnvFilter::try_new(text.unwrap_or("warn"))
            .map(Filter)
            .map_err(|e| {
                Failure::usage(format!(
                    "TOLLWAY_LOG or --log is not a log filter: {e}; write for example info."
                ))
            })
    }
}

/// Libraries that would log whole answers of a key service, with the signatures in
/// them, say no more than that something is wrong, whatever is asked of the log.
fn is_discreet(said: &Metadata<'_>) -> bool {
    const TALKATIVE: [&str; 2] = ["aws_", "alloy_signer_aws"];
    *said.level() <= Level::WARN || !TALKATIVE.iter().any(|of| said.target().starts_with(of))
}

/// A filter that was read.
pub struct Filter(EnvFilter);

/// The log of this process.
struct Log {
    filter: reload::Handle<EnvFilter, Filtered>,
    format: Format,
}

/// What the log's filter stands before.
type Filtered = Layered<Option<Box<dyn Layer<Registry> + Send + Sync>>, Registry>;

static LOG: OnceLock<Log> = OnceLock::new();

/// Starts the log, and traces where they go anywhere. Must be called within the
/// runtime that sends them.
pub fn start(settings: &LogSettings, environment: &Environment) -> Result<(), Failure> {
    let (filter, handle) = reload::Layer::new(settings.filter(environment)?.0);
    let endpoint = settings.otlp_endpoint.as_deref();
    let traces = endpoint.map(|endpoint| traces::layer(endpoint, settings.name));
    let traces = traces.transpose()?.map(Layer::boxed);
    let format = settings.format.unwrap_or_default();
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        Format::Text => lines.boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(traces)
        .with(lines.with_filter(filter.and(filter_fn(is_discreet))))
        .init();
    let _ = LOG.set(Log {
        filter: handle,
        format,
    });
    Ok(())
}

/// Logs by another filter from now on.
pub fn change(filter: Filter) {
    if let Some(log) = LOG.get() {
        // It fails only where the log is gone, and nothing is logged anyway.
        let _ = log.filter.reload(filter.0);
    }
}

/// Says something to whoever runs this, whatever is logged.
pub fn say(text: impl Display) {
    match LOG.get().map(|log| log.format) {
        Some(Format::Json) => {
            let line = serde_json::json!({
                "timestamp": humantime(),
                "level": "INFO",
                "message": text.to_string(),
                "target": "tollway",
            });
            eprintln!("{line}");
        }
        _ => eprintln!("tollway: {text}"),
    }
}

/// The time as the log writes it.
fn humantime() -> String {
    use tracing_subscriber::fmt::format::Writer;
    use tracing_subscriber::fmt::time::FormatTime;
    let mut text = String::new();
    let _ = fmt::time::SystemTime.format_time(&mut Writer::new(&mut text));
    text
}
