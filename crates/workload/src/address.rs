//! Addresses, and listening at them.

use crate::Error;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

/// Listens at `address` (`HOST:PORT`; port 0 is any free one; `[::]` takes IPv4 too) with room for
/// so many connections that are not accepted yet.
///
/// # Errors
/// Where that is no address of this machine, or its port is taken.
pub fn listen(address: &str, backlog: i32) -> Result<TcpListener, Error> {
    let wrong = format!("cannot listen at {address}");
    let listening = |at| {
        let socket = bound(at)?;
        socket.listen(backlog)?;
        Ok::<_, io::Error>(socket.into())
    };
    listening(resolve(address, &wrong)?).map_err(Error::io(wrong))
}

/// The first address of a `HOST:PORT`; `wrong` stands before what the system says.
pub fn resolve(address: &str, wrong: &str) -> Result<SocketAddr, Error> {
    let mut found = address.to_socket_addrs().map_err(Error::io(wrong))?;
    found.next().ok_or_else(|| Error::Plan(format!("{address} has no address")))
}

/// A port at `address` that nobody else gets, and that a server which sets SO_REUSEADDR, as all do,
/// may yet listen at, as long as the socket is kept; and where that is.
///
/// # Errors
/// As [`listen`]'s.
pub fn reserve(address: &str) -> Result<(Socket, SocketAddr), Error> {
    let wrong = format!("cannot listen at {address}");
    let socket = bound(resolve(address, &wrong)?).map_err(Error::io(wrong.as_str()))?;
    let at = socket.local_addr().map_err(Error::io(wrong.as_str()))?;
    let at = at.as_socket().ok_or(Error::Plan(wrong))?;
    Ok((socket, at))
}

fn bound(at: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if at.ip().is_unspecified() && at.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&SockAddr::from(at))?;
    Ok(socket)
}
