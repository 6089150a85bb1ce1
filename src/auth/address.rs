//! What counts as one address where something is counted by address.

use std::net::{IpAddr, Ipv4Addr};

/// The bits of an IPv6 address that whoever has it cannot choose freely.
const NETWORK_BITS: u32 = 64;

/// One address, as far as it tells one party from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IPv4 address, also one in the clothes of IPv6.
    V4(Ipv4Addr),
    /// A /64 of IPv6: the rest of the bits is everybody's own choice.
    V6(u64),
    /// A program on this machine, through a socket in the file system: all of them together.
    Unix,
}

impl Address {
    /// Of a peer; `None` is one without an IP address.
    pub fn of(ip: Option<IpAddr>) -> Self {
        match ip.map(|ip| ip.to_canonical()) {
            None => Address::Unix,
            Some(IpAddr::V4(ip)) => Address::V4(ip),
            Some(IpAddr::V6(ip)) => Address::V6((ip.to_bits() >> NETWORK_BITS) as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Address {
        Address::of(Some(text.parse().unwrap()))
    }

    #[test]
    fn a_network_of_ipv6_is_one_and_a_mapped_address_is_the_ipv4_one() {
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1:2:3"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
        assert_eq!(of("::ffff:192.0.2.7"), of("192.0.2.7"));
        assert_ne!(of("192.0.2.7"), of("192.0.2.8"));
        assert_eq!(Address::of(None), Address::Unix);
    }
}
