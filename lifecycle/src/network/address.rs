//! Subnets of networks, and which addresses of them are free.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use bollard_stubs::models::IpamConfig;
use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, bail, ensure, error};
use crate::{files, said};

/// The addresses of a network, of one family. On disk and in the API it is the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Pool {
    /// All of them.
    pub subnet: IpNet,
    /// Those that containers get which ask for none.
    #[serde(rename = "IPRange", skip_serializing_if = "Option::is_none")]
    pub range: Option<IpNet>,
    /// The bridge's own, unless only the subnet was said: then it is not told, as Terraform makes a network anew that has more
    /// than was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gateway: Option<IpAddr>,
    /// Those that something else has, by its name.
    #[serde(rename = "AuxiliaryAddresses", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reserved: BTreeMap<String, IpAddr>,
}

impl Pool {
    /// Of what a request says, and what it leaves out chosen; `used` are the subnets that others have.
    ///
    /// # Errors
    /// When something of it is malformed, elsewhere or taken.
    pub fn new(wish: &IpamConfig, used: &[IpNet]) -> Result<Self> {
        let subnet = match said::text(&wish.subnet) {
            Some(subnet) => subnet_of(subnet)?,
            None => free_subnet(used)?,
        };
        let overlaps = used.iter().any(|other| overlap(*other, subnet));
        ensure!(!overlaps, forbidden, "Pool overlaps with other one on this address space");
        let inside = |what: &str, text: &str| {
            let address = text.parse().ok().filter(|address: &IpAddr| subnet.contains(address));
            address.ok_or_else(|| error!(invalid, "the {what} {text} does not belong to the subnet {subnet}"))
        };
        let range = said::text(&wish.ip_range).map(subnet_of).transpose()?;
        if let Some(range) = range.filter(|range| !subnet.contains(range)) {
            bail!(invalid, "the range {range} does not belong to the subnet {subnet}");
        }
        let gateway = match said::text(&wish.gateway) {
            Some(gateway) => Some(inside("gateway", gateway)?),
            None => first(subnet).filter(|_| said::text(&wish.subnet).is_none()),
        };
        let reserved = wish.auxiliary_addresses.iter().flatten();
        let reserved = reserved.map(|(name, address)| Ok((name.clone(), inside("address", address)?)));
        Ok(Self { subnet, range, gateway, reserved: reserved.collect::<Result<_>>()? })
    }

    /// The bridge's own address.
    pub fn gateway(&self) -> IpAddr {
        self.gateway.or_else(|| first(self.subnet)).unwrap_or(self.subnet.network())
    }

    /// Those that no container gets: the bridge's, those of something else, the first of the subnet, and the last of one
    /// of IPv4 (RFC 919).
    fn own(&self) -> BTreeSet<IpAddr> {
        let last = Some(self.subnet.broadcast()).filter(IpAddr::is_ipv4);
        self.reserved.values().copied().chain([self.gateway(), self.subnet.network()]).chain(last).collect()
    }

    /// How many addresses containers cannot get, and how many of the range are left.
    pub fn usage(&self, taken: &BTreeSet<IpAddr>) -> (u64, u64) {
        let (used, range) = (&self.own() | taken, self.range.unwrap_or(self.subnet));
        let used_of = |net: IpNet| used.iter().filter(|address| net.contains(*address)).count() as u64;
        let all = 1_u128 << (range.max_prefix_len() - range.prefix_len());
        let left = all.saturating_sub(used_of(range).into());
        (used_of(self.subnet), u64::try_from(left).unwrap_or(u64::MAX))
    }

    /// An address that is not taken: the wanted one, or any.
    ///
    /// # Errors
    /// When the wanted one is taken or elsewhere, or there are no more.
    pub fn choose(&self, taken: &BTreeSet<IpAddr>, wanted: Option<&str>) -> Result<IpAddr> {
        let (subnet, own) = (self.subnet, self.own());
        let free = |address: &IpAddr| !taken.contains(address) && !own.contains(address);
        let Some(text) = wanted.filter(|text| !text.is_empty()) else {
            let mut hosts = self.range.unwrap_or(subnet).hosts();
            return hosts.find(free).ok_or_else(|| error!(internal, "no available addresses in {subnet}"));
        };
        let address: IpAddr = text.parse().map_err(|_| error!(invalid, "invalid IP address: {text}"))?;
        if !subnet.contains(&address) {
            bail!(invalid, "invalid address {text}: it does not belong to {subnet}");
        }
        free(&address).then_some(address).ok_or_else(|| error!(forbidden, "Address already in use: {text}"))
    }
}

/// A subnet that has room for a gateway and a container.
fn subnet_of(text: &str) -> Result<IpNet> {
    let subnet: Option<IpNet> = text.parse().ok();
    let subnet =
        subnet.filter(|subnet| subnet.prefix_len() > 0 && subnet.max_prefix_len() - subnet.prefix_len() > 1);
    subnet.map(|subnet| subnet.trunc()).ok_or_else(|| {
        error!(invalid, "invalid subnet {text}: expected an address and a prefix, 10.0.0.0/24")
    })
}

/// The first address for a host.
fn first(subnet: IpNet) -> Option<IpAddr> {
    subnet.hosts().find(|address| *address != subnet.network())
}

fn overlap(one: IpNet, other: IpNet) -> bool {
    one.contains(&other.network()) || other.contains(&one.network())
}

/// One of Docker's subnets for networks that are given none, that nobody has: 172.17 to 172.31, then parts of 192.168.
fn free_subnet(used: &[IpNet]) -> Result<IpNet> {
    let large = (17..=31).map(|second| (Ipv4Addr::new(172, second, 0, 0), 16));
    let small = (0..16).map(|part| (Ipv4Addr::new(192, 168, part * 16, 0), 20));
    let routes = routes();
    let taken = |subnet: &IpNet| used.iter().chain(&routes).any(|other| overlap(*other, *subnet));
    let mut all = large.chain(small).filter_map(|(base, length)| Ipv4Net::new(base, length).ok());
    all.find_map(|subnet| Some(IpNet::from(subnet)).filter(|subnet| !taken(subnet)))
        .ok_or_else(|| Error::invalid("all predefined address pools have been fully subnetted"))
}

/// A subnet of IPv6 that nobody else has (RFC 4193), with its first address.
pub(super) fn unique_local() -> IpamConfig {
    let random = files::random_hex(5);
    let start = format!("fd{}:{}:{}::", &random[..2], &random[2..6], &random[6..]);
    let (subnet, gateway) = (Some(format!("{start}/64")), Some(format!("{start}1")));
    IpamConfig { subnet, gateway, ..Default::default() }
}

/// The subnets that the host has routes to.
fn routes() -> Vec<IpNet> {
    let text = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    let parse = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let number = |text: &str| Some(Ipv4Addr::from(u32::from_be(u32::from_str_radix(text, 16).ok()?)));
        let route = Ipv4Net::with_netmask(number(columns.get(1)?)?, number(columns.get(7)?)?).ok()?;
        Some(IpNet::from(route)).filter(|route| route.prefix_len() > 0)
    };
    text.lines().skip(1).filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn wish(subnet: &str, range: &str, gateway: &str) -> IpamConfig {
        let [subnet, ip_range, gateway] = [subnet, range, gateway].map(|text| Some(text.to_owned()));
        IpamConfig { subnet, ip_range, gateway, auxiliary_addresses: None }
    }

    #[test]
    fn pools_hand_out_addresses() {
        let pool = Pool::new(&wish("10.1.2.9/29", "", ""), &[]).unwrap();
        assert_eq!(
            (pool.subnet.to_string(), pool.gateway().to_string()),
            ("10.1.2.8/29".into(), "10.1.2.9".into())
        );
        let mut taken = BTreeSet::new();
        while let Ok(address) = pool.choose(&taken, None) {
            taken.insert(address);
        }
        assert_eq!(taken.len(), 5);
        // Of other subnets too, as a network of both families has them.
        taken.insert("fd00:1::2".parse().unwrap());
        assert_eq!(pool.usage(&taken), (8, 0));
        let fresh = BTreeSet::new();
        assert_eq!(pool.choose(&fresh, Some("10.1.2.12")).unwrap().to_string(), "10.1.2.12");
        for bad in ["10.1.2.8", "10.1.2.9", "10.1.2.15", "10.1.3.1", "x"] {
            assert!(pool.choose(&fresh, Some(bad)).is_err(), "{bad}");
        }
        let six = Pool::new(&wish("fd00:1::/64", "fd00:1::5:0/112", ""), &[]).unwrap();
        assert_eq!(six.gateway().to_string(), "fd00:1::1");
        assert_eq!(six.choose(&fresh, None).unwrap().to_string(), "fd00:1::5:0");
        assert_eq!(six.usage(&taken), (3, 1 << 16));
        assert!(Pool::new(&unique_local(), &[]).is_ok());
    }

    #[test]
    fn reserved_addresses_are_nobodys() {
        let mut asked = wish("10.0.0.0/24", "10.0.0.8/30", "10.0.0.254");
        asked.auxiliary_addresses = Some(HashMap::from([("other".to_owned(), "10.0.0.9".to_owned())]));
        let pool = Pool::new(&asked, &[]).unwrap();
        assert_eq!(pool.usage(&BTreeSet::new()), (4, 3));
        assert_eq!(pool.choose(&BTreeSet::new(), None).unwrap().to_string(), "10.0.0.10");
        assert!(pool.choose(&BTreeSet::new(), Some("10.0.0.9")).is_err());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let used: IpNet = "10.9.0.0/16".parse().unwrap();
        for (subnet, range, gateway) in [
            ("10.0.0.0", "", ""),
            ("10.0.0.0/31", "", ""),
            ("x/8", "", ""),
            ("10.9.1.0/24", "", ""),
            ("10.0.0.0/8", "", ""),
            ("10.1.0.0/24", "10.2.0.0/28", ""),
            ("10.1.0.0/24", "", "10.2.0.1"),
            ("fd00::/127", "", ""),
        ] {
            assert!(Pool::new(&wish(subnet, range, gateway), &[used]).is_err(), "{subnet} {range} {gateway}");
        }
    }
}
