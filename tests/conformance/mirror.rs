//! A gateway inside the test that offers an authentication method, since the program offers none.

use std::sync::Arc;

use bytes::Bytes;
use tidegate::{
    app::Gateway,
    auth::{
        exchange::{Exchange, Method, Methods, Step},
        identity::Identity,
    },
    config::Settings,
};

use crate::{
    stage::{Carrier, Stage},
    support::{
        mqtt::{Client, Link},
        wire::{self, Opening, Packet, Properties, Value, property},
    },
};

/// Name of the method.
pub const NAME: &str = "mirror";
pub const CONTINUE: u8 = 0x18;
pub const AGAIN: u8 = 0x19;

/// The client says who it is, is challenged with a word, and says it backwards.
struct Mirror;

#[derive(Default)]
struct Challenge(Option<String>);

impl Method for Mirror {
    fn name(&self) -> &str {
        NAME
    }

    fn begin(&self) -> Box<dyn Exchange> {
        Box::new(Challenge::default())
    }
}

impl Exchange for Challenge {
    fn step(&mut self, data: Option<Bytes>) -> Step {
        let said = data.map(|data| String::from_utf8_lossy(&data).into_owned());
        let said = said.unwrap_or_default();
        match &self.0 {
            None => {
                self.0 = Some(said);
                Step::Continue(Some("word".into()))
            }
            Some(user) if said == "drow" => Step::Done {
                identity: Arc::new(Identity::named(user)),
                data: None,
            },
            Some(user) => Step::Refused(format!("{user} said {said}")),
        }
    }
}

/// The running gateway.
pub struct Running {
    gateway: Gateway,
    _data: tempfile::TempDir,
}

impl Running {
    pub async fn start() -> Self {
        let data = tempfile::tempdir().expect("a folder for the gateway's data");
        let mut settings = Settings::default();
        settings.mqtt.bind.set_port(0);
        settings.http.bind.set_port(0);
        settings.store.path = data.path().to_owned();
        let mut methods = Methods::default();
        methods.offer(Arc::new(Mirror));
        let gateway = Gateway::start(settings, methods).await;
        Self {
            gateway: gateway.expect("it starts"),
            _data: data,
        }
    }

    /// A connection on which this was sent.
    pub async fn line(&self, at: &Stage, opening: &Opening) -> Client {
        let link = match at.carrier {
            Carrier::Tcp => Link::tcp(self.gateway.mqtt()).await,
            Carrier::WebSocket => Link::websocket(self.gateway.http(), at.version).await,
        };
        let mut client = Client::on(link, at.version);
        client.send(&opening.encode()).await;
        client
    }

    /// A connection that was challenged, byte for byte.
    pub async fn challenged(&self, at: &Stage, opening: &Opening) -> Client {
        let mut client = self.line(at, opening).await;
        client.expect(&challenge()).await;
        client
    }

    /// A client that was let in.
    pub async fn client(&self, at: &Stage) -> Client {
        let mut client = self.challenged(at, &opening(at)).await;
        client.send(&wire::auth(CONTINUE, NAME, b"drow")).await;
        let properties = connack(&mut client, 0).await;
        let method = properties.string(property::AUTHENTICATION_METHOD);
        assert_eq!(method, Some(NAME), "CONNACK repeats the method");
        client
    }

    pub async fn stop(self) {
        self.gateway.stop().await;
    }
}

/// AUTH 0x18 with method and data, and nothing else.
pub fn challenge() -> Vec<u8> {
    wire::auth(CONTINUE, NAME, b"word")
}

/// A CONNECT that names the method.
pub fn opening(at: &Stage) -> Opening {
    at.opening()
        .property(property::AUTHENTICATION_METHOD, Value::Text(NAME.into()))
        .property(property::AUTHENTICATION_DATA, Value::Binary(b"ann".into()))
}

/// The next packet, which must be a CONNACK with this code.
pub async fn connack(client: &mut Client, wanted: u8) -> Properties {
    match client.next().await {
        Some(Packet::Connack {
            code, properties, ..
        }) => {
            assert_eq!(code, wanted, "{code:#04x} instead of {wanted:#04x}");
            properties
        }
        other => panic!("CONNACK {wanted:#04x} expected, not {other:?}"),
    }
}
