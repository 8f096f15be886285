//! Networks of containers. Bridges, interfaces, address translation and names are made by netavark and aardvark-dns;
//! here is which networks there are, who has which address and port, and what containers are told.

mod address;
mod attach;
mod files;
pub mod links;
mod namespace;
mod netavark;
pub mod ports;
mod store;

pub use attach::{check_mac, own_mac, publish, wanted};
pub use files::extra;
pub use store::{BUILT_IN, Network, Networks, usage};
