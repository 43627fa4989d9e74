//! Ranges of addresses, and whom an address belongs to.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// An address, or a range of them such as `10.0.0.0/8`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network(IpNet);

#[derive(Debug, thiserror::Error)]
#[error("expected an address or a range of addresses, such as 10.0.0.1 or 10.0.0.0/8")]
pub struct NotANetwork;

impl Network {
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl std::str::FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let whole = |address: IpAddr| IpNet::from(address.to_canonical());
        text.parse::<IpAddr>().map(whole).or_else(|_| text.parse()).map(Self).map_err(|_| NotANetwork)
    }
}

impl TryFrom<String> for Network {
    type Error = NotANetwork;

    fn try_from(text: String) -> Result<Self, NotANetwork> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.0.to_string()
    }
}

/// What counts as one customer: of IPv6 the first half, since one has at least that much.
pub fn customer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_contains_what_is_in_it_however_it_is_written() {
        let contains = |network: &str, address: &str| {
            network.parse::<Network>().unwrap().contains(address.parse::<IpAddr>().unwrap())
        };
        assert!(contains("10.0.0.1", "10.0.0.1") && contains("10.0.0.1", "::ffff:10.0.0.1"));
        assert!(!contains("10.0.0.1", "10.0.0.2"));
        assert!(contains("10.0.0.0/8", "10.255.0.1") && !contains("10.0.0.0/8", "11.0.0.1"));
        assert!(contains("2001:db8::/32", "2001:db8:1::1") && !contains("2001:db8::/32", "10.0.0.1"));
        for bad in ["", "10.0.0.0/33", "proxy.example"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }
}
