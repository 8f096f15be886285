//! The profiles this crate ships, in Docker's format. Each says in its `comment` for whom it is.

/// The names of the shipped profiles.
pub const PROFILES: [&str; 3] = ["default", "strict", "nested"];

/// The text of a shipped profile, for [`crate::DockerProfile::from_json`].
pub fn profile(name: &str) -> Option<&'static str> {
    match name {
        "default" => Some(include_str!("../profiles/default.json")),
        "strict" => Some(include_str!("../profiles/strict.json")),
        "nested" => Some(include_str!("../profiles/nested.json")),
        _ => None,
    }
}
