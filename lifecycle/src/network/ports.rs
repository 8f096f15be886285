//! Published ports: which of the host's are meant, and whether they are free.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::RangeInclusive;

use bollard_stubs::models::PortBinding;
use serde_json::{Value, json};

use crate::container::{Container, Record};
use crate::error::{Error, Result, error};
use crate::said;

/// Ports of a container, such as `80/tcp`, and where each is on the host.
pub(super) type Published = BTreeMap<String, Vec<(String, u16)>>;

/// Refuses what is no port, of the container or the host.
///
/// # Errors
/// With its text.
pub fn check(record: &Record) -> Result<()> {
    for (port, bindings) in record.host.port_bindings.iter().flatten() {
        split(port)?;
        for text in bindings.iter().flatten().filter_map(|binding| said::text(&binding.host_port)) {
            range(text)?;
        }
    }
    Ok(())
}

/// Chooses the ports of the host for a container, at `usual` where nobody says an address; `taken` are those of other
/// containers.
///
/// # Errors
/// When a port is in use or malformed.
pub(super) fn choose(record: &Record, usual: Ipv4Addr, mut taken: Taken) -> Result<Published> {
    let mut wanted: BTreeMap<String, Vec<PortBinding>> = BTreeMap::new();
    for (port, bindings) in record.host.port_bindings.iter().flatten() {
        let port = if port.contains('/') { port.clone() } else { format!("{port}/tcp") };
        wanted.entry(port).or_default().extend(bindings.iter().flatten().cloned());
    }
    if record.host.publish_all_ports == Some(true) {
        for port in record.config.exposed_ports.iter().flatten() {
            wanted.entry(port.clone()).or_insert_with(|| vec![PortBinding::default()]);
        }
    }
    let mut published = Published::new();
    for (port, bindings) in wanted {
        let kind = split(&port)?.1;
        for binding in bindings {
            let address = match said::text(&binding.host_ip) {
                None => usual,
                Some("::" | "[::]") => Ipv4Addr::UNSPECIFIED,
                Some(ip) => ip
                    .parse()
                    .map_err(|_| error!(invalid, "invalid publish address {ip}: only IPv4 is offered"))?,
            };
            let text = binding.host_port.unwrap_or_default();
            let own = published.entry(port.clone()).or_default();
            // Clients say both of `0.0.0.0` and `[::]`.
            if own.iter().any(|(ip, number)| *ip == address.to_string() && *text == number.to_string()) {
                continue;
            }
            let number = pick(address, &text, kind, &taken)?;
            taken.insert((kind.to_owned(), address, number));
            own.push((address.to_string(), number));
        }
    }
    Ok(published)
}

fn split(port: &str) -> Result<(u16, &str)> {
    let (number, kind) = port.split_once('/').unwrap_or((port, "tcp"));
    let bad = || error!(invalid, "invalid port {port:?}");
    let number = number.parse().ok().filter(|number| *number > 0).ok_or_else(bad)?;
    if matches!(kind, "tcp" | "udp") { Ok((number, kind)) } else { Err(bad()) }
}

/// The ports in `80` or `80-90`.
///
/// # Errors
/// When it is neither.
pub fn range(text: &str) -> Result<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let parsed = first.parse().ok().zip(last.parse().ok()).map(|(first, last)| first..=last);
    parsed
        .filter(|range| !range.is_empty())
        .ok_or_else(|| error!(invalid, "invalid port specification: {text:?}"))
}

fn pick(address: Ipv4Addr, text: &str, kind: &str, taken: &Taken) -> Result<u16> {
    let meets = |other: &Ipv4Addr| *other == address || other.is_unspecified() || address.is_unspecified();
    let is_taken =
        |number| taken.iter().any(|(own, other, port)| own == kind && *port == number && meets(other));
    let free = |number: u16| !is_taken(number) && bind(address, number, kind).is_ok();
    if matches!(text, "" | "0") {
        // What the kernel gives may still be a container's, as nobody listens for those.
        let mut offered = (0..64).filter_map(|_| bind(address, 0, kind).ok());
        let none = || Error::internal("no free port on the host");
        return offered.find(|number| free(*number)).ok_or_else(none);
    }
    range(text)?.find(|number| free(*number)).ok_or_else(|| {
        let failed = "driver failed programming external connectivity";
        Error::internal(match bind(address, 0, kind) {
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable => {
                format!("{failed}: listen {kind}4 {address}:{text}: bind: cannot assign requested address")
            }
            _ => format!("{failed}: Bind for {address}:{text} failed: port is already allocated"),
        })
    })
}

/// The port, when it can be listened on.
fn bind(address: Ipv4Addr, number: u16, kind: &str) -> io::Result<u16> {
    let bound = match kind {
        "udp" => UdpSocket::bind((address, number)).and_then(|socket| socket.local_addr()),
        _ => TcpListener::bind((address, number)).and_then(|socket| socket.local_addr()),
    };
    bound.map(|address| address.port())
}

/// Ports of the host that containers have: protocol, address and number.
pub(super) type Taken = BTreeSet<(String, Ipv4Addr, u16)>;

/// Those of other containers.
pub(super) fn taken(own: &Container) -> Taken {
    let mut taken = Taken::new();
    for container in own.engine.all_containers().iter().filter(|other| other.id != own.id) {
        for (port, bindings) in &container.record().ports {
            let kind = port.split('/').nth(1).unwrap_or("tcp");
            let whole = |(ip, host): &(String, u16)| Some((kind.to_owned(), ip.parse().ok()?, *host));
            taken.extend(bindings.iter().filter_map(whole));
        }
    }
    taken
}

/// As netavark wants them.
pub(super) fn mappings(published: &Published) -> Vec<Value> {
    let mut all = Vec::new();
    for (port, bindings) in published {
        let Ok((number, kind)) = split(port) else { continue };
        for (ip, host) in bindings {
            let ip = if ip == "0.0.0.0" { "" } else { ip };
            all.push(json!({"container_port": number, "host_ip": ip, "host_port": host, "protocol": kind, "range": 1}));
        }
    }
    all
}
