//! What a person sees who starts the gateway: where it listens, who may do what, and three lines to try.

use crate::observe::log::Format;
use std::net::SocketAddr;

/// Shows it on standard error; as one log line where logs are for machines.
pub fn show(
    listening: &[(&str, SocketAddr); 2],
    anonymous: Option<bool>,
    format: Format,
    durability: &str,
) {
    let [(_, mqtt), (_, http)] = listening;
    let access = match anonymous {
        Some(true) => {
            "anyone who reaches these addresses may publish and subscribe (auth.anonymous = true)"
        }
        _ => {
            "no users are configured: anyone on this machine may publish and subscribe, nobody else"
        }
    };
    if format == Format::Json {
        tracing::info!(%mqtt, %http, access, durability, "ready");
        return;
    }
    eprint!("{}", text(*mqtt, *http, access, durability));
}

fn text(mqtt: SocketAddr, http: SocketAddr, access: &str, durability: &str) -> String {
    let port = match mqtt.port() {
        1883 => String::new(),
        port => format!(" -p {port}"),
    };
    let web = format!("localhost:{}", http.port());
    format!(
        "
tidegate {version}
  mqtt     {mqtt}
  http     {http}   REST, streams, MQTT over WebSocket; dashboard http://{web}/ and API http://{web}/docs
  access   {access}
  storage  {durability}

try, in two terminals
  curl -N '{web}/api/v1/stream?topic=hello'
  curl -d hi '{web}/api/v1/topics/hello'
  mosquitto_pub{port} -t hello -m hi

",
        version = env!("CARGO_PKG_VERSION")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_to_try_name_the_ports_in_use() {
        let text = text(
            ([127, 0, 0, 1], 41233).into(),
            ([127, 0, 0, 1], 8080).into(),
            "all",
            "none",
        );
        assert!(text.contains("curl -d hi 'localhost:8080/api/v1/topics/hello'"));
        assert!(text.contains("mosquitto_pub -p 41233 -t hello -m hi"));
    }
}
