//! What the black-box tests share: a gateway process to talk to, and clients that owe nothing to its code.
//!
//! Nothing here imports the `tidegate` library: these clients are the oracle, so a mistake in the gateway's
//! codec cannot hide behind the same mistake in its test.
#![allow(
    dead_code,
    reason = "each test crate includes this module and uses its part of it"
)]
#![allow(unused_imports, reason = "as above, for the names re-exported below")]

pub mod gateway;
pub mod http;
pub mod http2;
pub mod json_ws;
pub mod mosquitto;
pub mod mqtt;
pub mod stream;
pub mod wire;

use std::{
    future::Future,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// How long a test waits for something that must happen. Generous: it only decides how long a failure takes.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Awaits `future`, and fails the test with `what` was awaited if it does not finish in time.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(done) => done,
        Err(_) => panic!("waited {DEADLINE:?} in vain for {what}"),
    }
}

/// A name no other test of this process uses: for topics and client ids on a shared gateway.
pub fn unique(stem: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{stem}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
