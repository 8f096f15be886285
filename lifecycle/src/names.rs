//! Names for containers that were given none.

use crate::files::random_hex;

const FIRST: [&str; 32] = [
    "amber", "bold", "brisk", "calm", "clever", "coral", "daring", "eager", "fair", "gentle", "golden",
    "happy", "honest", "jolly", "keen", "kind", "lively", "loyal", "mellow", "nimble", "noble", "patient",
    "proud", "quiet", "rapid", "rusty", "serene", "sharp", "steady", "sunny", "vivid", "witty",
];

const SECOND: [&str; 32] = [
    "anchor", "barge", "beacon", "bollard", "bridge", "buoy", "cabin", "cargo", "compass", "crane", "deck",
    "dock", "ferry", "galley", "harbor", "hull", "jetty", "keel", "lantern", "lighter", "mast", "mooring",
    "pier", "quay", "rudder", "sail", "schooner", "tanker", "tide", "trawler", "tug", "wharf",
];

/// `adjective_noun`, with digits now and then.
pub fn random() -> String {
    let number = u32::from_str_radix(&random_hex(4), 16).unwrap_or(0) as usize;
    let (first, second) = (FIRST[number % 32], SECOND[number / 32 % 32]);
    match number / 1024 % 10 {
        0 => format!("{first}_{second}"),
        digit => format!("{first}_{second}{digit}"),
    }
}
