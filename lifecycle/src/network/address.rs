//! Addresses and subnets of IPv4.

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    /// Its first address.
    pub base: Ipv4Addr,
    /// The length of its prefix.
    pub length: u8,
}

impl Subnet {
    fn mask(self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.length)).unwrap_or(0)
    }

    /// Whether an address is in it.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & self.mask() == u32::from(self.base)
    }

    /// Whether they have addresses in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.base) || other.contains(self.base)
    }

    /// Its first address for a host.
    pub fn first(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.base) + 1)
    }

    /// An address for a host that is not taken.
    pub fn free(self, taken: &BTreeSet<Ipv4Addr>) -> Option<Ipv4Addr> {
        let last = u32::from(self.base) | !self.mask();
        (u32::from(self.base) + 1..last).map(Ipv4Addr::from).find(|address| !taken.contains(address))
    }
}

impl FromStr for Subnet {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            Error::invalid(format!(
                "invalid subnet {text}: expected an IPv4 address and a prefix, 10.0.0.0/24"
            ))
        };
        let (address, length) = text.split_once('/').ok_or_else(bad)?;
        let address: Ipv4Addr = address.parse().map_err(|_| bad())?;
        let length = length.parse().ok().filter(|length| (1..=30).contains(length)).ok_or_else(bad)?;
        let subnet = Self { base: address, length };
        Ok(Self { base: Ipv4Addr::from(u32::from(address) & subnet.mask()), length })
    }
}

impl TryFrom<String> for Subnet {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.base, self.length)
    }
}

/// Docker's subnets for networks that are given none: 172.17 to 172.31, then parts of 192.168.
pub fn pool() -> impl Iterator<Item = Subnet> {
    let large = (17..=31).map(|second| Subnet { base: Ipv4Addr::new(172, second, 0, 0), length: 16 });
    let small = (0..16).map(|part| Subnet { base: Ipv4Addr::new(192, 168, part * 16, 0), length: 20 });
    large.chain(small)
}

/// The subnets that the host has routes to.
pub fn routes() -> Vec<Subnet> {
    let text = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    let parse = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let number = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::swap_bytes);
        let (base, mask) = (number(columns.get(1)?)?, number(columns.get(7)?)?);
        let length = u8::try_from(mask.leading_ones()).ok()?;
        (length > 0).then(|| Subnet { base: Ipv4Addr::from(base), length })
    };
    text.lines().skip(1).filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_hand_out_addresses() {
        let subnet: Subnet = "10.1.2.9/29".parse().unwrap();
        assert_eq!(
            (subnet.to_string().as_str(), subnet.first().to_string().as_str()),
            ("10.1.2.8/29", "10.1.2.9")
        );
        let mut taken = BTreeSet::from([subnet.first()]);
        while let Some(address) = subnet.free(&taken) {
            taken.insert(address);
        }
        assert_eq!(taken.len(), 6);
        assert!(
            subnet.overlaps("10.1.0.0/16".parse().unwrap())
                && !subnet.overlaps("10.2.0.0/16".parse().unwrap())
        );
        assert!(
            ["10.0.0.0", "10.0.0.0/31", "x/8", "fd00::/8"].iter().all(|text| text.parse::<Subnet>().is_err())
        );
    }
}
