//! Corten's thin engine: images, containers, networks and volumes behind the Docker Engine API.
//!
//! It keeps nothing running that it need not. A container belongs to its shim, its log to a logger of its own; this
//! program can be killed and started again at any time, and takes up what it finds.
//!
//! ```text
//! docker ── HTTP ──► api ──► container, image, network, volume ──► task ── ttrpc ──► shim ──► runtime ──► container
//!                                          logs, attach ◄── logger ◄──────────────── pipes ◄──────────────┘
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`api`] | requests and answers |
//! | [`engine`] | everything there is, and where it is on disk |
//! | [`container`] | containers |
//! | [`image`] | images and their layers |
//! | [`build`] | images from Dockerfiles |
//! | [`registry`] | pull and push |
//! | [`network`], [`volume`] | networks and volumes |
//! | [`task`] | shims |
//! | [`logger`] | the process that writes a container's log |
//! | [`rootless`] | the engine of a user without privilege |
//! | [`events`], [`error`], [`time`], [`files`], [`names`], [`glob`], [`program`], [`said`] | what all of them need |
//! | [`sys`] | every unsafe line |
#![deny(unsafe_code)]
#![recursion_limit = "256"]

pub mod api;
pub mod build;
pub mod container;
pub mod engine;
pub mod error;
pub mod events;
pub mod files;
pub mod glob;
pub mod image;
pub mod logger;
pub mod names;
pub mod network;
pub mod program;
pub mod registry;
pub mod rootless;
pub mod said;
pub mod sys;
pub mod task;
pub mod time;
pub mod volume;
