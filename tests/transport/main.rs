//! What comes before MQTT and HTTP: TLS and certificates, HTTP/2, PROXY headers, sockets in the file system. Real clients
//! where they can be had; where somebody has to misbehave, bytes.

#[path = "../interop/program.rs"]
mod program;
#[path = "../support/mod.rs"]
mod support;

mod certs;
mod client;
mod client_certificates;
mod dev_certs;
mod forwarded;
mod handshakes;
mod http2;
mod proxies;
mod renewal;
mod start;
mod tls;
mod unix;
