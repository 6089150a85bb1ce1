//! The settings of who is let in, and what he may.

use super::{Key, key};
use crate::config::{form, jwt};

/// Section `auth`.
pub(super) fn auth() -> Vec<Key> {
    vec![
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
                 leeway = \"30s\"   (how much the issuer's clock may be ahead; past its exp no token is good)",
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
    ]
}
