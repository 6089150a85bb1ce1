//! What a person sees who starts the gateway: where it listens, who may do what, and three lines to try.

use super::ways::Place;
use crate::{auth, listener::arrival::Listener, observe::log::Format};
use std::fmt::Write;

/// Shows it on standard error; as one log line where logs are for machines.
pub fn show(
    listening: &[(Listener, Place)],
    auth: &auth::config::Config,
    format: Format,
    durability: &str,
) {
    if format == Format::Json {
        let named = |listener: Listener| {
            let found = listening.iter().find(|(it, _)| *it == listener);
            found.map(|(_, place)| tracing::field::display(place))
        };
        tracing::info!(
            mqtt = named(Listener::Mqtt),
            mqtts = named(Listener::Mqtts),
            mqtt_unix = named(Listener::MqttUnix),
            http = named(Listener::Http),
            https = named(Listener::Https),
            http_unix = named(Listener::HttpUnix),
            access = access(auth),
            durability,
            "ready"
        );
        return;
    }
    eprint!("{}", text(listening, auth, durability));
}

/// Who may come in, in words.
fn access(auth: &auth::config::Config) -> &'static str {
    let has_rules = auth.rules.paths().next().is_some();
    match (auth.anonymous == Some(true), auth.has_users()) {
        (false, true) if has_rules => "users, and nobody else, by the rules",
        (false, true) => "users, and nobody else; they may do everything: there are no rules",
        (true, true) => {
            "users, and anonymously anyone who reaches these addresses (auth.anonymous = true)"
        }
        (true, false) => {
            "anyone who reaches these addresses may publish and subscribe (auth.anonymous = true)"
        }
        (false, false) => {
            "no users are configured: anyone on this machine may publish and subscribe, nobody else"
        }
    }
}

fn text(listening: &[(Listener, Place)], auth: &auth::config::Config, durability: &str) -> String {
    let port = |wanted: Listener| {
        listening.iter().find_map(|(listener, place)| match place {
            Place::Address(address) if *listener == wanted => Some(address.port()),
            _ => None,
        })
    };
    let (web_login, mqtt_login) = match auth.has_users() && auth.anonymous != Some(true) {
        true => (" -u USER:PASSWORD", " -u USER -P PASSWORD"),
        false => ("", ""),
    };
    let (web, trust) = match (port(Listener::Http), port(Listener::Https)) {
        (Some(port), _) => (format!("http://localhost:{port}"), ""),
        (None, port) => {
            let port = port.unwrap_or_default();
            (format!("https://localhost:{port}"), " --cacert ca.pem")
        }
    };
    let mqtt = match (port(Listener::Mqtt), port(Listener::Mqtts)) {
        (Some(1883), _) => String::new(),
        (Some(port), _) => format!(" -p {port}"),
        (None, port) => format!(" --cafile ca.pem -p {}", port.unwrap_or_default()),
    };
    let mut text = format!("\ntidegate {}\n", env!("CARGO_PKG_VERSION"));
    for (listener, place) in listening {
        let name = listener.name();
        let scheme = match (listener, place) {
            (Listener::Http, Place::Address(_)) => Some("http"),
            (Listener::Https, Place::Address(_)) => Some("https"),
            _ => None,
        };
        // writing to a String cannot fail
        let _ = match (scheme, port(*listener)) {
            (Some(scheme), Some(port)) => {
                let pages = format!("{scheme}://localhost:{port}");
                writeln!(
                    text,
                    "  {name:<8} {place}   REST, streams, MQTT over WebSocket; dashboard {pages}/ and API {pages}/docs"
                )
            }
            _ => writeln!(text, "  {name:<8} {place}"),
        };
    }
    let access = access(auth);
    let _ = write!(
        text,
        "  access   {access}
  storage  {durability}

try, in two terminals
  curl{trust}{web_login} -N '{web}/api/v1/stream?topic=hello'
  curl{trust}{web_login} -d hi '{web}/api/v1/topics/hello'
  mosquitto_pub{mqtt}{mqtt_login} -t hello -m hi

"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(listener: Listener, port: u16) -> (Listener, Place) {
        let address = ([127, 0, 0, 1], port).into();
        (listener, Place::Address(address))
    }

    fn with(anonymous: Option<bool>, users: Option<&str>) -> auth::config::Config {
        auth::config::Config {
            anonymous,
            passwd_file: users.map(Into::into),
            ..auth::config::Config::default()
        }
    }

    #[test]
    fn who_may_come_in_is_told_as_it_is() {
        let told = |anonymous, users| access(&with(anonymous, users));
        assert!(told(None, Some("users")).ends_with("there are no rules"));
        let mut ruled = with(None, Some("users"));
        ruled.rules.own = Some("rules.toml".into());
        assert_eq!(access(&ruled), "users, and nobody else, by the rules");
        assert!(told(None, None).contains("on this machine"));
        for users in [None, Some("users")] {
            assert!(told(Some(true), users).contains("anyone who reaches"));
        }
    }

    #[test]
    fn the_lines_to_try_name_the_ports_in_use() {
        let listening = [at(Listener::Mqtt, 41233), at(Listener::Http, 8080)];
        let text = text(&listening, &with(None, None), "none");
        assert!(text.contains("curl -d hi 'http://localhost:8080/api/v1/topics/hello'"));
        assert!(text.contains("mosquitto_pub -p 41233 -t hello -m hi"));
    }

    #[test]
    fn where_only_tls_is_spoken_the_lines_to_try_speak_it() {
        let listening = [at(Listener::Mqtts, 8883), at(Listener::Https, 8443)];
        let text = text(&listening, &with(None, None), "none");
        assert!(text.contains("  mqtts    127.0.0.1:8883\n"));
        let curl = "curl --cacert ca.pem -d hi 'https://localhost:8443/api/v1/topics/hello'";
        assert!(text.contains(curl), "{text}");
        assert!(text.contains("mosquitto_pub --cafile ca.pem -p 8883 -t hello -m hi"));
    }

    #[test]
    fn both_web_listeners_are_told_with_an_address_of_their_own() {
        let listening = [at(Listener::Http, 8080), at(Listener::Https, 8443)];
        let text = text(&listening, &with(None, None), "none");
        assert!(
            text.contains("dashboard http://localhost:8080/ and"),
            "{text}"
        );
        assert!(
            text.contains("dashboard https://localhost:8443/ and"),
            "{text}"
        );
    }

    #[test]
    fn where_nobody_comes_in_without_a_password_the_lines_to_try_show_one() {
        let listening = [at(Listener::Mqtt, 1883), at(Listener::Http, 8080)];
        let text = |anonymous| text(&listening, &with(anonymous, Some("users")), "none");
        assert!(text(None).contains("curl -u USER:PASSWORD -d hi"));
        assert!(text(None).contains("mosquitto_pub -u USER -P PASSWORD -t hello"));
        assert!(!text(Some(true)).contains("PASSWORD"));
    }
}
