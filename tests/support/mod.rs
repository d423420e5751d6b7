//! What the tests share: the program itself, real servers to point it at, and visible skips.

pub mod corpus;
pub mod daemon;
pub mod disk;
pub mod dns;
pub mod http;
pub mod netns;
pub mod nginx;
pub mod postfix;
pub mod proxy;
pub mod receiver;
pub mod skip;
pub mod smtp;
pub mod target;
