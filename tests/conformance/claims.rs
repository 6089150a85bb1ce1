//! What a test claims to prove, and the tests made of it: one for each version it names and each transport.

/// One test function and the statements it verifies.
#[derive(Debug)]
pub struct Claim {
    /// Name of the function: the versions, then the first clause, then the claim in words.
    pub test: &'static str,
    /// Per version the numbers of its statements, without `MQTT-`; for 3.1, which numbers nothing, words.
    pub clauses: &'static [(&'static str, &'static [&'static str])],
    /// What carries the packets: a test for each.
    pub carriers: &'static [&'static str],
}

/// The claims of a module, and its tests. A line reads
///
/// ```text
/// v5_v311_mqtt_3_12_4_1_words_that_say_it: v5["3.12.4-1"] v311["3.12.4-1"];
/// ```
///
/// and stands for an `async fn` of that name, which gets the stage to play on. It becomes the tests `name::v5::tcp`,
/// `name::v5::websocket`, `name::v311::tcp` and so on. With `only websocket;` before the lines there is that one alone.
macro_rules! claims {
    (only websocket; $($name:ident: $($version:ident[$($clause:literal),+])+;)+) => {
        pub const CLAIMS: &[$crate::claims::Claim] = &[$(
            $crate::claims::Claim {
                test: stringify!($name),
                clauses: &[$((stringify!($version), &[$($clause),+])),+],
                carriers: &["websocket"],
            }
        ),+];
        $(mod $name {
            $(mod $version {
                use crate::stage::{Carrier, Stage};

                #[tokio::test]
                async fn websocket() {
                    super::super::$name(Stage::$version(Carrier::WebSocket)).await;
                }
            })+
        })+
    };
    ($($name:ident: $($version:ident[$($clause:literal),+])+;)+) => {
        pub const CLAIMS: &[$crate::claims::Claim] = &[$(
            $crate::claims::Claim {
                test: stringify!($name),
                clauses: &[$((stringify!($version), &[$($clause),+])),+],
                carriers: &["tcp", "websocket"],
            }
        ),+];
        $(mod $name {
            $(mod $version {
                use crate::stage::{Carrier, Stage};

                #[tokio::test]
                async fn tcp() {
                    super::super::$name(Stage::$version(Carrier::Tcp)).await;
                }

                #[tokio::test]
                async fn websocket() {
                    super::super::$name(Stage::$version(Carrier::WebSocket)).await;
                }
            })+
        })+
    };
}
