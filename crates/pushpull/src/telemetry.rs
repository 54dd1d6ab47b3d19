//! Logs: structured, on stderr.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// Starts logging. `filter` was parsed before; safe to repeat, the first call holds.
#[expect(clippy::disallowed_methods, reason = "NO_COLOR is no setting of ours")]
pub(crate) fn start(filter: &str, format: LogFormat) {
    let builder =
        tracing_subscriber::fmt().with_env_filter(EnvFilter::new(filter)).with_writer(std::io::stderr);
    // Fails only if there is one already.
    let _ = match format {
        LogFormat::Text => {
            let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            builder.with_ansi(colours).try_init()
        }
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}
