//! The one table of settings. What is known, how it is checked, what it defaults to and what the example says of it
//! all come from here.

use super::{
    Settings,
    form::{self, Form, Unfit},
    jwt,
    written::Written,
};
use crate::mqtt::property::MAX_USER_PROPERTIES;
use std::time::Duration;

type Set = Box<dyn Fn(&mut Settings, &Written) -> Result<(), Unfit> + Send + Sync>;
type Show = Box<dyn Fn(&mut Settings) -> Option<String> + Send + Sync>;

/// One setting.
pub struct Key {
    /// Section and name.
    pub path: &'static str,
    /// For the operator: what it does.
    pub about: &'static str,
    /// What a value looks like, to follow the word "expected".
    pub expected: String,
    /// A value to show where the default is "not set".
    pub sample: &'static str,
    /// Values may hold secrets: they are not shown where something is wrong with them.
    pub is_secret: bool,
    /// Reads a value into the settings.
    pub set: Set,
    /// The value in the settings, as TOML; `None` if it is not set.
    pub show: Show,
}

impl Key {
    /// The part before the last dot.
    pub fn section(&self) -> &'static str {
        self.path
            .rsplit_once('.')
            .map_or("", |(section, _)| section)
    }

    /// The part after it.
    pub fn name(&self) -> &'static str {
        self.path
            .rsplit_once('.')
            .map_or(self.path, |(_, name)| name)
    }
}

fn key<T: 'static>(
    path: &'static str,
    about: &'static str,
    form: Form<T>,
    field: fn(&mut Settings) -> &mut T,
) -> Key {
    let Form {
        expected,
        read,
        write,
    } = form;
    Key {
        path,
        about,
        expected,
        sample: "true",
        is_secret: false,
        set: Box::new(move |settings, written| {
            *field(settings) = read(written)?;
            Ok(())
        }),
        show: Box::new(move |settings| write(field(settings))),
    }
}

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
/// 1 TiB, or everything a smaller machine can address.
const VAST: usize = MIB.saturating_mul(1024 * 1024);

/// All settings, section by section.
pub fn keys() -> Vec<Key> {
    vec![
        key(
            "history",
            "What is kept although nobody waits for it: the newest messages of a filter. As often as wanted:\n\
             [[history]]\n\
             filter = \"plant/#\"\n\
             max_age = \"7d\"        (if not said: as long as there is room)\n\
             max_bytes = \"200 MiB\"",
            form::history(),
            |s| &mut s.broker.history,
        ),
        key(
            "mqtt.bind",
            "Where MQTT over TCP is served. Port 0 takes any free port.\n\
             An address other machines can reach needs auth.anonymous = true.",
            form::address(),
            |s| &mut s.mqtt.bind,
        ),
        key(
            "mqtt.connect_timeout",
            "How long a client may take from opening the connection to the end of its CONNECT and its authentication.",
            form::duration(SECOND..=300 * SECOND),
            |s| &mut s.mqtt.connect_timeout,
        ),
        key(
            "mqtt.response_information",
            "What MQTT 5 clients that ask for it are told to begin their response topics with;\n\
             %c stands for the client's identifier, as in \"replies/%c/\". Empty: they are told nothing.",
            form::line(),
            |s| &mut s.mqtt.response_information,
        ),
        key(
            "mqtt.server_reference",
            "Where MQTT 5 clients are sent when the gateway stops, such as \"other.example:1883\". Empty: nowhere.",
            form::line(),
            |s| &mut s.mqtt.server_reference,
        ),
        key(
            "mqtt.server_moved",
            "Whether they are to use that server from then on, and not only for now.",
            form::flag(),
            |s| &mut s.mqtt.server_moved,
        ),
        key(
            "mqtt.unix",
            "A socket in the file system where MQTT is served, too, to this user and group. Empty: none.",
            form::optional_path(),
            |s| &mut s.mqtt.unix,
        ),
        key(
            "mqtt.proxy_protocol",
            "Whether the proxies in mqtt.trusted_proxies begin with a PROXY header (version 1 or 2) that names the client.\n\
             They must, then, and nobody else may.",
            form::flag(),
            |s| &mut s.mqtt.proxy_protocol,
        ),
        key(
            "mqtt.trusted_proxies",
            "Networks of the proxies that are believed, such as [\"10.0.0.0/8\", \"::1\"]; \"unix\" is who comes by mqtt.unix.",
            form::networks(),
            |s| &mut s.mqtt.trusted_proxies,
        ),
        key(
            "mqtt.tls.bind",
            "Where MQTT over TLS is served beside mqtt.bind. Empty: TLS is spoken at mqtt.bind, and nothing else is there.\n\
             An address other machines can reach needs auth.anonymous = true.",
            form::optional_address(),
            |s| &mut s.mqtt.tls.bind,
        ),
        key(
            "mqtt.tls.cert",
            "The server's certificate and those between it and its CA, a PEM file. Empty: no TLS.\n\
             All files of this section are read again when they change, and at SIGHUP.",
            form::optional_path(),
            |s| &mut s.mqtt.tls.cert,
        ),
        key(
            "mqtt.tls.key",
            "The certificate's private key, a PEM file.",
            form::optional_path(),
            |s| &mut s.mqtt.tls.key,
        ),
        key(
            "mqtt.tls.client_ca",
            "CAs that vouch for clients, a PEM file. Empty: clients are not asked for certificates.",
            form::optional_path(),
            |s| &mut s.mqtt.tls.client_ca,
        ),
        key(
            "mqtt.tls.client_cert",
            "Whether clients need a certificate: \"required\" or \"optional\". Empty: required, if there is a client_ca.",
            form::client_cert(),
            |s| &mut s.mqtt.tls.client_cert,
        ),
        key(
            "mqtt.tls.crl",
            "Revocation lists of those CAs, a PEM file. Every CA between a client and client_ca needs one.",
            form::optional_path(),
            |s| &mut s.mqtt.tls.crl,
        ),
        key(
            "http.bind",
            "Where everything web is served: REST, streams, MQTT over WebSocket, dashboard.\n\
             An address other machines can reach needs auth.anonymous = true.",
            form::address(),
            |s| &mut s.http.bind,
        ),
        key(
            "http.origins",
            "Origins of web pages, besides the gateway's own, that may use it from a visitor's browser,\n\
             such as [\"https://app.example\"].",
            form::origins(),
            |s| &mut s.http.origins,
        ),
        key(
            "http.hosts",
            "Names the gateway is reached by, besides localhost, 127.0.0.1 and [::1], such as [\"gateway.example\"].",
            form::hosts(),
            |s| &mut s.http.hosts,
        ),
        key(
            "http.head_timeout",
            "How long a TLS handshake may take, the head of a request, and the first frame of a JSON WebSocket.",
            form::duration(SECOND..=300 * SECOND),
            |s| &mut s.http.head_timeout,
        ),
        key(
            "http.body_timeout",
            "How long nothing of a request's body may come. All of it may take a second more for each KiB.",
            form::duration(SECOND..=300 * SECOND),
            |s| &mut s.http.body_timeout,
        ),
        key(
            "http.drain",
            "Over how long the ends of open streams are spread when the gateway stops.",
            form::duration(Duration::ZERO..=8 * SECOND),
            |s| &mut s.http.drain,
        ),
        key(
            "http.unix",
            "A socket in the file system where everything web is served, too, to this user and group. Empty: none.",
            form::optional_path(),
            |s| &mut s.http.unix,
        ),
        key(
            "http.proxy_protocol",
            "Whether the proxies in http.trusted_proxies begin with a PROXY header (version 1 or 2) that names the client.\n\
             They must, then, and nobody else may.",
            form::flag(),
            |s| &mut s.http.proxy_protocol,
        ),
        key(
            "http.trusted_proxies",
            "Networks of the proxies whose X-Forwarded-For is believed, such as [\"10.0.0.0/8\", \"::1\"];\n\
             \"unix\" is who comes by http.unix.",
            form::networks(),
            |s| &mut s.http.trusted_proxies,
        ),
        key(
            "http.tls.bind",
            "Where HTTPS is served beside http.bind. Empty: TLS is spoken at http.bind, and nothing else is there.\n\
             An address other machines can reach needs auth.anonymous = true.",
            form::optional_address(),
            |s| &mut s.http.tls.bind,
        ),
        key(
            "http.tls.cert",
            "The server's certificate and those between it and its CA, a PEM file. Empty: no TLS.\n\
             All files of this section are read again when they change, and at SIGHUP.",
            form::optional_path(),
            |s| &mut s.http.tls.cert,
        ),
        key(
            "http.tls.key",
            "The certificate's private key, a PEM file.",
            form::optional_path(),
            |s| &mut s.http.tls.key,
        ),
        key(
            "http.tls.client_ca",
            "CAs that vouch for clients, a PEM file. Empty: clients are not asked for certificates.",
            form::optional_path(),
            |s| &mut s.http.tls.client_ca,
        ),
        key(
            "http.tls.client_cert",
            "Whether clients need a certificate: \"required\" or \"optional\". Empty: required, if there is a client_ca.",
            form::client_cert(),
            |s| &mut s.http.tls.client_cert,
        ),
        key(
            "http.tls.crl",
            "Revocation lists of those CAs, a PEM file. Every CA between a client and client_ca needs one.",
            form::optional_path(),
            |s| &mut s.http.tls.crl,
        ),
        key(
            "store.path",
            "The data folder. Nothing is written there while store.durability is \"memory\".",
            form::folder(),
            |s| &mut s.store.path,
        ),
        key(
            "store.durability",
            "What has happened to a message before its publisher gets the acknowledgement.\n\
             \"fsync\": it is on the disk, synced together with others that came meanwhile.\n\
             { interval = \"50ms\" }: the system has it; a power cut loses at most so much.\n\
             \"memory\": it is in memory; nothing survives the end of the process.",
            form::durability(),
            |s| &mut s.store.durability,
        ),
        key(
            "store.max_bytes",
            "How much is kept for sessions that are away; above it the oldest goes.",
            form::size(MIB..=VAST),
            |s| &mut s.store.max_bytes,
        ),
        key(
            "history_defaults.tail_bytes",
            "How much of the newest part of what is kept is also kept in memory.",
            form::size(64 * KIB..=VAST),
            |s| &mut s.store.tail_bytes,
        ),
        key(
            "history_defaults.linger",
            "How long the messages of a filter are recorded after its last web stream has left.",
            form::duration(Duration::ZERO..=DAY),
            |s| &mut s.broker.linger,
        ),
        key(
            "session.max_expiry",
            "Longest time a session is kept after its connection ended.",
            form::duration(Duration::ZERO..=36_500 * DAY),
            |s| &mut s.broker.max_expiry,
        ),
        key(
            "session.restart_grace",
            "How long clients have after a start to come back before their wills are published.",
            form::duration(Duration::ZERO..=DAY),
            |s| &mut s.broker.restart_grace,
        ),
        key(
            "session.max_queued_messages",
            "Messages that wait for one receiver. When there are more, QoS 0 messages are dropped and counted.",
            form::count(1..=100_000_000),
            |s| &mut s.broker.max_queued_messages,
        ),
        key(
            "session.max_queued_bytes",
            "Bytes that wait for one receiver; a single message always may.",
            form::size(KIB..=VAST),
            |s| &mut s.broker.max_queued_bytes,
        ),
        key(
            "topics.allow_controls",
            "Whether publishers on the web may use topics with control and format characters, as MQTT clients may.",
            form::flag(),
            |s| &mut s.broker.allow_controls,
        ),
        key(
            "sys.interval",
            "How often the numbers under $SYS/broker/ are published.",
            form::duration(SECOND..=DAY),
            |s| &mut s.broker.sys_interval,
        ),
        key(
            "limits.payload",
            "Largest payload of a message. An MQTT packet may be 256 KiB larger.",
            form::size(KIB..=255 * MIB),
            |s| &mut s.limits.payload,
        ),
        key(
            "limits.topic_levels",
            "Levels of a topic name or filter.",
            form::count(1..=65_536),
            |s| &mut s.limits.topic_levels,
        ),
        key(
            "limits.topic_bytes",
            "Longest topic name or filter, in bytes.",
            form::count(1..=65_535),
            |s| &mut s.limits.topic_bytes,
        ),
        key(
            "limits.user_properties",
            "User properties of one packet or will, or of one message from the web.",
            form::count(0..=MAX_USER_PROPERTIES),
            |s| &mut s.limits.user_properties,
        ),
        key(
            "limits.filters_per_request",
            "Filters in one SUBSCRIBE, or on one web stream.",
            form::count(1..=100_000),
            |s| &mut s.limits.filters_per_request,
        ),
        key(
            "limits.filters_per_session",
            "Subscriptions one session may hold.",
            form::count(1..=10_000_000),
            |s| &mut s.limits.filters_per_session,
        ),
        key(
            "limits.receive_maximum",
            "QoS 1 and 2 messages that may be unacknowledged at a time, in each direction.",
            form::count(1..=65_535),
            |s| &mut s.limits.receive_maximum,
        ),
        key(
            "limits.unreleased",
            "QoS 2 messages from one client that it has not released with PUBREL, those from before it reconnected\n\
             included.",
            form::count(1..=65_535),
            |s| &mut s.limits.unreleased,
        ),
        key(
            "limits.retained_messages",
            "Topics that may retain a message. A retained message above it is refused whole.",
            form::count(0..=100_000_000),
            |s| &mut s.limits.retained_messages,
        ),
        key(
            "limits.retained_bytes",
            "What all retained messages may hold together.",
            form::size(KIB..=VAST),
            |s| &mut s.limits.retained_bytes,
        ),
        key(
            "limits.sessions",
            "Sessions kept, those included that wait for their clients.",
            form::count(1..=100_000_000),
            |s| &mut s.limits.sessions,
        ),
        key(
            "limits.topic_alias_maximum",
            "Topic aliases an MQTT 5 client may set, and the most that are set for one.",
            form::count(0..=65_535),
            |s| &mut s.limits.topic_alias_maximum,
        ),
        key(
            "limits.connect",
            "Largest CONNECT packet.",
            form::size(KIB..=16 * MIB),
            |s| &mut s.limits.connect,
        ),
        key(
            "limits.unauthenticated",
            "What all connections that have not finished their CONNECT may hold together.",
            form::size(MIB..=VAST),
            |s| &mut s.limits.unauthenticated,
        ),
        key(
            "limits.connections",
            "Connections open at a time, over all ways in; more wait to be accepted.",
            form::count(1..=10_000_000),
            |s| &mut s.limits.connections,
        ),
        key(
            "limits.client_id_bytes",
            "Longest client identifier, in bytes.",
            form::count(23..=65_535),
            |s| &mut s.limits.client_id_bytes,
        ),
        key(
            "limits.keep_alive",
            "Longest keep-alive an MQTT 5 client may have, in seconds; 0 leaves clients their choice.",
            form::count(0..=65_535),
            |s| &mut s.limits.keep_alive,
        ),
        key(
            "limits.replay_scan",
            "Messages of the log that one read of the web looks at, whether or not they match. A page of history ends\n\
             there, and tells where to go on; last= looks no further back.",
            form::count(1..=1_000_000_000),
            |s| &mut s.limits.replay_scan,
        ),
        key(
            "quota.messages",
            "Messages that one user may publish per second, over all ways in together; anonymous clients, those of one address\n\
             (one /64 of IPv6) together. A second's worth may come at once. MQTT clients and JSON WebSockets above it are read more\n\
             slowly, requests are answered with 429. 0: without limit, as for all of [quota].",
            form::count(0..=1_000_000_000),
            |s| &mut s.quota.messages,
        ),
        key(
            "quota.bytes",
            "As quota.messages, for the bytes of payloads.",
            form::size(0..=VAST),
            |s| &mut s.quota.bytes,
        ),
        key(
            "quota.streams",
            "Streams, reads of the history and subscriptions of JSON WebSockets that one user, or anonymous address, may have\n\
             open at a time. Anonymous clients on this machine have no limit, as for all of [quota].",
            form::count(0..=100_000_000),
            |s| &mut s.quota.streams,
        ),
        key(
            "quota.connections",
            "MQTT connections and JSON WebSockets of one user, or anonymous address, at a time.",
            form::count(0..=100_000_000),
            |s| &mut s.quota.connections,
        ),
        key(
            "quota.subscriptions",
            "Subscriptions that all MQTT sessions of one user may hold together.",
            form::count(0..=100_000_000),
            |s| &mut s.quota.subscriptions,
        ),
        key(
            "quota.connections_per_address",
            "Connections of any kind from one address at a time. Proxies that are trusted have no limit; whom they name in a\n\
             PROXY header has.",
            form::count(0..=100_000_000),
            |s| &mut s.quota.connections_per_address,
        ),
        key(
            "quota.connection_rate",
            "New connections of any kind from one address per second.",
            form::count(0..=1_000_000_000),
            |s| &mut s.quota.connection_rate,
        ),
        key(
            "features.maximum_qos",
            "Highest QoS of messages. Publishers above it are refused, subscribers are granted no more.",
            form::qos(),
            |s| &mut s.limits.features.maximum_qos,
        ),
        key(
            "features.retain",
            "Whether messages may be retained.",
            form::flag(),
            |s| &mut s.limits.features.retain,
        ),
        key(
            "features.wildcard_subscriptions",
            "Whether topic filters may have wildcards. The dashboard needs them.",
            form::flag(),
            |s| &mut s.limits.features.wildcard_subscriptions,
        ),
        key(
            "features.shared_subscriptions",
            "Whether $share filters are served.",
            form::flag(),
            |s| &mut s.limits.features.shared_subscriptions,
        ),
        key(
            "features.subscription_identifiers",
            "Whether MQTT 5 subscriptions may have identifiers.",
            form::flag(),
            |s| &mut s.limits.features.subscription_identifiers,
        ),
        key(
            "auth.anonymous",
            "Whether clients that show no credentials are let in. Without users it is needed to bind an address other\n\
             machines can reach. Not set: from this machine only, and not where there are users.",
            form::optional_flag(),
            |s| &mut s.auth.anonymous,
        ),
        Key {
            is_secret: true,
            ..key(
                "auth.jwt",
                "Whose JSON Web Tokens are accepted. As often as wanted:\n\
                 [[auth.jwt]]\n\
                 algorithms = [\"RS256\"]   (or algorithm = \"RS256\"; HS, RS, PS with 256, 384, 512, ES256, ES384, EdDSA)\n\
                 jwks_url = \"https://issuer.example/jwks.json\"\n\
                 \x20   (or one of jwks_file, public_key_file in PEM, secret_file, secret)\n\
                 issuer = \"https://issuer.example\"   (if not said: anybody who has the key)\n\
                 audience = \"tidegate\"\n\
                 user_claim = \"sub\"\n\
                 groups_claim = \"groups\"\n\
                 leeway = \"30s\"",
                jwt::tokens(),
                |s| &mut s.auth.jwt,
            )
        },
        key(
            "auth.passwd_file",
            "Users and their passwords: written by `tidegate passwd`, or Mosquitto's own file. Read again when it changes.",
            form::optional_path(),
            |s| &mut s.auth.passwd_file,
        ),
        key(
            "auth.certificate_user",
            "Which name in a client's certificate is its user: \"cn\", \"dns\", \"uri\", \"email\" or \"fingerprint\"\n\
             (SHA-256, hex). Needs client_ca of a TLS listener. \"\": a certificate names nobody.",
            form::certificate_user(),
            |s| &mut s.auth.certificate_user,
        ),
        key(
            "auth.rules_file",
            "Who may publish, subscribe, receive and retain what (TOML). Without any rules whoever is let in may do\n\
             everything. Read again when it changes.",
            form::optional_path(),
            |s| &mut s.auth.rules.own,
        ),
        key(
            "auth.acl_file",
            "As auth.rules_file, but Mosquitto's ACL file as it is; asked where auth.rules_file decides nothing.",
            form::optional_path(),
            |s| &mut s.auth.rules.mosquitto,
        ),
        key(
            "auth.failed_logins",
            "Wrong logins from one address (one /64 of IPv6) that cost nothing. Each further one has what the address shows\n\
             refused unseen for 1, 2, 4 ... at most 60 seconds. The same credentials count once. 0: nobody has to wait.",
            form::count(0..=1_000_000),
            |s| &mut s.auth.failed_logins,
        ),
        key(
            "auth.on_revoke",
            "What becomes of an MQTT connection when a change of the rules takes a subscription from it: \"keep\" leaves\n\
             the subscription and delivers nothing that is denied, \"disconnect\" ends the connection (0x87).",
            form::on_revoke(),
            |s| &mut s.broker.disconnect_on_revoke,
        ),
        key(
            "log.level",
            "The least important line that is still written: \"error\", \"warn\", \"info\", \"debug\" or \"trace\".",
            form::level(),
            |s| &mut s.log.level,
        ),
        key(
            "log.format",
            "\"text\" for people, \"json\" for one JSON object per line.",
            form::format(),
            |s| &mut s.log.format,
        ),
        key(
            "runtime.workers",
            "Threads that serve connections; 0 is one per CPU.",
            form::count(0..=1024),
            |s| &mut s.workers,
        ),
    ]
}

/// Settings of later versions: whoever writes one should hear that it is not misspelt.
pub const LATER: &[&str] = &["admin"];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn paths_have_a_section_and_a_name_and_are_unique() {
        let paths: Vec<_> = keys().iter().map(|key| key.path).collect();
        let levels = |path: &&str| path.split('.').count();
        assert!(paths.iter().all(|path| match levels(path) {
            1 => *path == "history",
            2 => true,
            _ => path.starts_with("mqtt.tls.") || path.starts_with("http.tls."),
        }));
        assert_eq!(paths.iter().collect::<BTreeSet<_>>().len(), paths.len());
        assert!(!LATER.iter().any(|later| paths.contains(later)));
    }

    #[test]
    fn every_default_can_be_written_and_read_back() {
        for key in keys() {
            let Some(shown) = (key.show)(&mut Settings::default()) else {
                continue;
            };
            let text = format!("{} = {shown}", key.path);
            let read = crate::config::load_text(&text).unwrap_or_else(|faults| panic!("{faults}"));
            assert_eq!(read, Settings::default(), "{text}");
        }
    }
}
