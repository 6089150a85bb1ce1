//! Who comes too often: connections of one address at a time, and new ones per second.
//!
//! Asked before the first byte is read, by every listener. Who is on this machine is never asked.

use super::arrival::Peer;
use crate::auth::{
    address::Address,
    quota::{Bucket, Limits},
};
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::{sync::Arc, time::Instant};

/// Addresses that are kept before those without connections are looked for.
const FEW: usize = 1024;

/// All addresses that have connections, or had one a moment ago.
#[derive(Debug, Default)]
pub struct Newcomers {
    /// At a time; 0 is no limit.
    most: u32,
    /// Per second; 0 is no limit.
    rate: u32,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    addresses: HashMap<Address, Entry>,
    /// With so many it is looked for those that can go.
    sweep_at: usize,
}

#[derive(Debug)]
struct Entry {
    open: u32,
    new: Bucket,
}

/// Why a connection may not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unwelcome {
    /// `quota.connections_per_address`
    #[error("there are quota.connections_per_address connections from its address already")]
    TooMany,
    /// `quota.connection_rate`
    #[error("more connections come from its address than quota.connection_rate allows")]
    TooFast,
}

/// Counts a connection as one of its address until dropped.
#[derive(Debug)]
pub struct Seat {
    among: Arc<Newcomers>,
    address: Address,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut table = self.among.table.lock();
        if let Some(entry) = table.addresses.get_mut(&self.address) {
            entry.open -= 1;
        }
    }
}

impl Newcomers {
    /// By what the operator wrote.
    pub fn new(limits: &Limits) -> Self {
        Newcomers {
            most: limits.connections_per_address,
            rate: limits.connection_rate,
            table: Mutex::default(),
        }
    }

    /// One more connection, which counts until the seat is dropped; there is none where nobody counts.
    pub fn admit(self: &Arc<Self>, peer: Peer) -> Result<Option<Seat>, Unwelcome> {
        self.admit_at(peer, Instant::now())
    }

    fn admit_at(self: &Arc<Self>, peer: Peer, now: Instant) -> Result<Option<Seat>, Unwelcome> {
        let Some(ip) = peer.ip().filter(|ip| !ip.is_loopback()) else {
            return Ok(None);
        };
        if self.most == 0 && self.rate == 0 {
            return Ok(None);
        }
        let address = Address::of(Some(ip));
        let mut table = self.table.lock();
        if table.addresses.len() >= table.sweep_at.max(FEW) {
            let in_use = |entry: &Entry| entry.open > 0 || !entry.new.is_unused(now);
            table.addresses.retain(|_, entry| in_use(entry));
            table.sweep_at = table.addresses.len() * 2;
        }
        let entry = table.addresses.entry(address).or_insert_with(|| Entry {
            open: 0,
            new: Bucket::new(self.rate.into(), now),
        });
        if self.most > 0 && entry.open >= self.most {
            return Err(Unwelcome::TooMany);
        }
        entry.new.take(1, now).map_err(|_| Unwelcome::TooFast)?;
        entry.open += 1;
        let among = self.clone();
        Ok(Some(Seat { among, address }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{net::SocketAddr, time::Duration};

    fn peer(ip: &str) -> Peer {
        SocketAddr::new(ip.parse().unwrap(), 1).into()
    }

    fn newcomers(most: u32, rate: u32) -> Arc<Newcomers> {
        Arc::new(Newcomers::new(&Limits {
            connections_per_address: most,
            connection_rate: rate,
            ..Limits::default()
        }))
    }

    #[test]
    fn so_many_of_one_address_at_a_time_and_others_besides() {
        let newcomers = newcomers(2, 0);
        let seats = ["192.0.2.1", "::ffff:192.0.2.1"].map(|ip| newcomers.admit(peer(ip)).unwrap());
        assert_eq!(
            newcomers.admit(peer("192.0.2.1")).unwrap_err(),
            Unwelcome::TooMany
        );
        assert!(newcomers.admit(peer("192.0.2.2")).is_ok());
        drop(seats);
        assert!(newcomers.admit(peer("192.0.2.1")).is_ok());
    }

    #[test]
    fn so_many_per_second_and_nobody_of_this_machine_is_counted() {
        let (newcomers, now) = (newcomers(0, 3), Instant::now());
        for _ in 0..3 {
            assert!(newcomers.admit_at(peer("192.0.2.1"), now).is_ok());
        }
        let refused = newcomers.admit_at(peer("192.0.2.1"), now);
        assert_eq!(refused.unwrap_err(), Unwelcome::TooFast);
        let later = now + Duration::from_millis(334);
        assert!(newcomers.admit_at(peer("192.0.2.1"), later).is_ok());
        for local in [peer("127.0.0.1"), peer("::1"), Peer::Local] {
            for _ in 0..10 {
                assert!(newcomers.admit_at(local, now).unwrap().is_none());
            }
        }
    }

    #[test]
    fn addresses_without_connections_are_forgotten() {
        let (newcomers, now) = (newcomers(1, 1), Instant::now());
        for number in 0..10_000u32 {
            let address = SocketAddr::from((number.to_be_bytes(), 1));
            let now = now + Duration::from_secs(number.into());
            newcomers.admit_at(address.into(), now).unwrap();
        }
        assert!(newcomers.table.lock().addresses.len() <= FEW);
    }
}
