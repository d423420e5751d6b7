//! The nouns: ids, statuses, outcomes, services, incidents, notes, events, subscribers.
//!
//! Plain values with the rules that belong to one value alone. Nothing here is asynchronous,
//! reads a clock or touches a file.

pub mod archive;
pub mod asking;
pub mod correction;
pub mod diagnostic;
pub mod event;
pub mod id;
pub mod incident;
pub mod maintenance;
pub mod note;
pub mod outcome;
pub mod past;
pub mod pause;
pub mod service;
pub mod span;
pub mod status;
pub mod subscriber;
pub mod target;
pub mod text;
pub mod webhook;

pub use id::{CheckId, CheckKey, EventId, GroupId, IncidentId, ServiceId, SubscriberId};
pub use status::{Impact, IncidentStatus, ServiceStatus};
