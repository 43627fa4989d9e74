//! HTTP as every port of ours serves it: a hardened accept loop around warp routes, and one form for all errors.

pub mod body;
mod connection;
mod guests;
mod head;
pub mod network;
pub mod problem;
mod render;
pub mod server;

pub use network::Network;
pub use problem::{FieldError, Problem};
pub use render::Route;
pub use server::{BindError, Limits, bind, serve};

/// The peer of the connection a request came on, as a request extension: `addr::remote()` knows nothing under our own accept loop.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer(pub std::net::SocketAddr);
