//! `X-Forwarded-For`: for whom a proxy speaks, if it is one that the operator trusts.
//!
//! Every proxy appends whom it was asked by. So the list is read from its end, and only as far as trusted proxies wrote
//! it: what stands before them came from a stranger, who may write what it likes.

use crate::listener::{arrival::Peer, networks::Networks};
use axum::http::{HeaderMap, HeaderName};
use std::net::{IpAddr, SocketAddr};

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Who a request comes from that `peer` brought.
pub fn peer(peer: Peer, headers: &HeaderMap, trusted: &Networks) -> Peer {
    let mut last = peer;
    let lines = headers.get_all(&X_FORWARDED_FOR).iter();
    for line in lines.rev() {
        // bytes that are no text name nobody
        let line = line.to_str().unwrap_or_default();
        for item in line.rsplit(',') {
            if !trusted.contains(last) {
                return last;
            }
            match address(item.trim()) {
                Some(address) => last = Peer::Address(address),
                None => return last,
            }
        }
    }
    last
}

/// An address, with a port or not; an IPv6 one with a port is in brackets.
fn address(item: &str) -> Option<SocketAddr> {
    if let Ok(address) = item.parse() {
        return Some(address);
    }
    let inner = item.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    let ip: IpAddr = inner.unwrap_or(item).parse().ok()?;
    Some((ip, 0).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    const PROXY: &str = "10.0.0.1:4000";

    fn told(peer: &str, lines: &[&str], trusted: &[&str]) -> String {
        let trusted = Networks::parse(trusted.iter().copied()).unwrap();
        let headers = lines.iter().map(|line| {
            let line = HeaderValue::from_bytes(line.as_bytes()).unwrap();
            (X_FORWARDED_FOR.clone(), line)
        });
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value);
        }
        let peer = match peer {
            "unix" => Peer::Local,
            address => Peer::Address(address.parse().unwrap()),
        };
        super::peer(peer, &map, &trusted).to_string()
    }

    #[test]
    fn the_rightmost_address_that_is_no_trusted_proxy_is_the_peer() {
        let trusted = ["10.0.0.0/8", "2001:db8::/32"];
        for (lines, peer) in [
            (&["203.0.113.9"][..], "203.0.113.9"),
            (&["198.51.100.1, 203.0.113.9"], "203.0.113.9"),
            (&["198.51.100.1", "203.0.113.9"], "203.0.113.9"),
            (&["198.51.100.1, 203.0.113.9, 10.9.9.9"], "203.0.113.9"),
            (&["203.0.113.9,10.2.2.2", "10.9.9.9"], "203.0.113.9"),
            (&["203.0.113.9:56324"], "203.0.113.9:56324"),
            (&["[2001:db9::7]:80"], "[2001:db9::7]:80"),
            (&["[2001:db9::7]"], "2001:db9::7"),
            (&["2001:db9::7"], "2001:db9::7"),
            // only proxies: the first of them asked for itself
            (&["10.0.0.7, 10.0.0.8"], "10.0.0.7"),
            (&[], PROXY),
        ] {
            assert_eq!(told(PROXY, lines, &trusted), peer, "{lines:?}");
        }
    }

    #[test]
    fn a_strangers_header_is_ignored() {
        let stranger = "203.0.113.9:7";
        assert_eq!(told(stranger, &["10.0.0.5"], &["10.0.0.0/8"]), stranger);
        assert_eq!(told(PROXY, &["198.51.100.1"], &[]), PROXY);
        assert_eq!(told("unix", &["198.51.100.1"], &["0.0.0.0/0"]), "unix");
        assert_eq!(told("unix", &["198.51.100.1"], &["unix"]), "198.51.100.1");
    }

    #[test]
    fn what_is_no_address_names_nobody_and_nobody_before_it() {
        for line in [
            "unknown",
            "",
            ",",
            "198.51.100.1, ",
            "198.51.100.1, _hidden",
            "198.51.100.1, ::1]",
            "198.51.100.1, 10.0.0.1:99999",
            "198.51.100.1, \u{e4}",
        ] {
            assert_eq!(told(PROXY, &[line], &["10.0.0.0/8"]), PROXY, "{line}");
        }
    }
}
