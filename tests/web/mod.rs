//! The HTTP side, through real sockets.

mod client;
mod endpoints;
mod hostile;
mod packaging;
mod site;
mod subscribing;
