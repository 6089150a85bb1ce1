//! Networks in CIDR notation, and the question whether a peer is in one of them.

use super::arrival::Peer;
use std::{fmt, net::IpAddr, str::FromStr};

/// One network, such as `10.0.0.0/8`; an address alone is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// The text names no network, or an address inside one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoNetwork;

impl Network {
    fn contains(self, ip: IpAddr) -> bool {
        match (self.address, ip) {
            (IpAddr::V4(network), IpAddr::V4(ip)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                network.to_bits() == ip.to_bits() & mask
            }
            (IpAddr::V6(network), IpAddr::V6(ip)) => {
                let mask = u128::MAX
                    .checked_shl(128 - u32::from(self.bits))
                    .unwrap_or(0);
                network.to_bits() == ip.to_bits() & mask
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = NoNetwork;

    /// Bits behind the prefix must be zero: who writes `10.1.2.3/8` may have meant something else.
    fn from_str(text: &str) -> Result<Self, NoNetwork> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NoNetwork)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
                digits.parse().map_err(|_| NoNetwork)?
            }
            Some(_) => return Err(NoNetwork),
        };
        let network = Network { address, bits };
        match bits <= most && network.contains(address) {
            true => Ok(network),
            false => Err(NoNetwork),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.address, self.bits) {
            (IpAddr::V4(_), 32) | (IpAddr::V6(_), 128) => self.address.fmt(f),
            (address, bits) => write!(f, "{address}/{bits}"),
        }
    }
}

/// Some peers: those in any of these networks and, if said so, those that come through a socket in the file system.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Networks {
    networks: Vec<Network>,
    local: bool,
}

/// The word for whoever comes through a socket in the file system.
const LOCAL: &str = "unix";

impl Networks {
    /// From the items of a list: networks, and the word `unix`.
    pub fn parse<'a>(items: impl Iterator<Item = &'a str>) -> Result<Self, NoNetwork> {
        let mut parsed = Networks::default();
        for item in items {
            match item {
                LOCAL => parsed.local = true,
                network => parsed.networks.push(network.parse()?),
            }
        }
        Ok(parsed)
    }

    /// The items, as [`Networks::parse`] takes them.
    pub fn items(&self) -> impl Iterator<Item = String> {
        let local = self.local.then(|| LOCAL.to_owned());
        self.networks.iter().map(Network::to_string).chain(local)
    }

    /// Whether nobody is meant.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && !self.local
    }

    /// Whether `peer` is one of them.
    pub fn contains(&self, peer: Peer) -> bool {
        match peer.ip() {
            Some(ip) => self.networks.iter().any(|network| network.contains(ip)),
            None => self.local,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(items: &[&str]) -> Networks {
        Networks::parse(items.iter().copied()).unwrap()
    }

    fn has(networks: &Networks, ip: &str) -> bool {
        networks.contains(Peer::Address((ip.parse::<IpAddr>().unwrap(), 1).into()))
    }

    #[test]
    fn a_network_has_the_addresses_with_its_prefix() {
        let some = networks(&["10.0.0.0/8", "192.0.2.7", "2001:db8::/33", "::1"]);
        for (ip, inside) in [
            ("10.0.0.0", true),
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("9.255.255.255", false),
            ("192.0.2.7", true),
            ("192.0.2.6", false),
            ("2001:db8:7fff::1", true),
            ("2001:db8:8000::1", false),
            ("::1", true),
            ("::2", false),
            // an IPv4 peer of a socket that listens on IPv6
            ("::ffff:10.1.2.3", true),
            ("::10.1.2.3", false),
        ] {
            assert_eq!(has(&some, ip), inside, "{ip}");
        }
        assert!(has(&networks(&["0.0.0.0/0"]), "203.0.113.1"));
        assert!(!has(&networks(&["0.0.0.0/0"]), "::1"));
        assert!(has(&networks(&["::/0"]), "::1"));
    }

    #[test]
    fn the_file_system_is_trusted_only_if_it_is_named() {
        assert!(networks(&["unix"]).contains(Peer::Local));
        assert!(!networks(&["0.0.0.0/0", "::/0"]).contains(Peer::Local));
        assert!(networks(&[]).is_empty() && !networks(&["unix"]).is_empty());
    }

    #[test]
    fn what_names_no_network_is_refused() {
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "::/129",
            "localhost",
            "10.0.0",
            "127.0.0.1:80",
        ] {
            assert_eq!(text.parse::<Network>(), Err(NoNetwork), "{text}");
        }
    }

    #[test]
    fn networks_are_written_as_they_are_read() {
        let items = ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "unix"];
        assert!(networks(&items).items().eq(items));
    }
}
