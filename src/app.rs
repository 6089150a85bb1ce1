//! Composition root: builds each room from its settings and runs them together until told to stop.

/// Why the gateway did not start, or stopped.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

/// Runs the gateway until SIGTERM or SIGINT.
pub fn run(settings: crate::config::Settings) -> Result<(), StartError> {
    Err(StartError(format!(
        "nothing to serve on {} yet",
        settings.mqtt.bind
    )))
}
