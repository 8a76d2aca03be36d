//! The end that connects: `vmeter bench tcp send`.

use super::drive::drive;
use super::follow::follow;
use super::outcome::Outcome;
use super::plan::Plan;
use super::wire::{Channel, Message, PATIENCE, Preamble, Purpose, VERSION};
use crate::address::{self, addresses_until, first_of, stream_to};
use crate::{Control, Error};
use socket2::{Socket, TcpKeepalive};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long all connections of a run may take to be there.
const CONNECT: Duration = Duration::from_secs(10);

/// Runs a load against a [`super::Server`] at `address` (`HOST:PORT`).
///
/// # Errors
/// Where the plan cannot be done, nobody listens there or the one who does is no vmeter of the
/// same protocol, or the other end is lost before it could count anything.
pub fn send(plan: &Plan, address: &str, control: &Control) -> Result<Outcome, Error> {
    plan.check()?;
    let addresses = addresses_until(address, control)
        .map_err(Error::io(format!("cannot resolve `{address}`")))?;
    let run = random();
    let attempt = |at, within| connect(at, None, within, control);
    let (mut stream, target) = first_of(&addresses, CONNECT, attempt)
        .map_err(Error::io(format!("cannot connect to `vmeter bench tcp recv` at {address}")))?;
    greet(&mut stream, run, address, control)?;
    let mut channel = Channel::new(stream, address.to_owned());
    channel.send(&Message::Run(plan.clone()), control)?;
    let sockets = join(plan, target, run, control)
        .map_err(Error::io(format!("cannot open {} streams to {target}", plan.streams)))?;
    match channel.receive(PATIENCE, control)? {
        Message::Ready => {}
        Message::Refused(why) => return Err(Error::Peer(format!("{address} refused: {why}"))),
        other => return Err(Error::Peer(format!("unexpected message {other:?}"))),
    }
    let (sender, receiver) = if plan.reverse {
        let (sender, receiver) = follow(plan, &sockets, &mut channel, control, None)?;
        (sender, Some(receiver))
    } else {
        drive(plan, &sockets, &mut channel, control)?
    };
    Outcome::of(plan, sender, receiver)
}

/// Says what this is, and hears that the other end is the same.
fn greet(stream: &mut TcpStream, run: u64, address: &str, control: &Control) -> Result<(), Error> {
    let mine = Preamble { version: VERSION, purpose: Purpose::Control, run };
    mine.write(stream).map_err(Error::io(format!("cannot send to {address}")))?;
    let theirs = Preamble::read(stream, PATIENCE, control).map_err(|error| {
        Error::Peer(match error.kind() {
            ErrorKind::ConnectionAborted => format!("interrupted before {address} answered"),
            ErrorKind::TimedOut => format!(
                "{address} timed out: it is busy with another test, or is not `vmeter bench tcp recv`"
            ),
            ErrorKind::InvalidData => {
                format!("{address} is not vmeter: start `vmeter bench tcp recv` there")
            }
            _ => format!("{address} closed the connection: expected `vmeter bench tcp recv`"),
        })
    })?;
    if theirs.version != VERSION {
        return Err(Error::Peer(format!(
            "{address} uses protocol version {}, this vmeter {VERSION}: \
             use the same vmeter at both ends",
            theirs.version
        )));
    }
    if theirs.run != run {
        return Err(Error::Peer(format!("{address} is busy with another test: try again later")));
    }
    Ok(())
}

fn join(
    plan: &Plan,
    target: SocketAddr,
    run: u64,
    control: &Control,
) -> io::Result<Vec<TcpStream>> {
    let preamble = Preamble { version: VERSION, purpose: Purpose::Data, run };
    let until = Instant::now() + CONNECT;
    let streams = (0..plan.streams).map(|_| {
        let left = until.saturating_duration_since(Instant::now());
        let mut stream = connect(target, plan.segment(), left, control)?;
        preamble.write(&mut stream)?;
        Ok(stream)
    });
    streams.collect()
}

/// A connection; with a segment size, which is agreed on when connecting, for both directions,
/// and then without Nagle's algorithm.
fn connect(
    target: SocketAddr,
    segment: Option<u32>,
    within: Duration,
    control: &Control,
) -> io::Result<TcpStream> {
    let socket = stream_to(target)?;
    if let Some(segment) = segment {
        socket.set_tcp_mss(segment)?;
        socket.set_tcp_nodelay(true)?;
    }
    keep_alive(&socket)?;
    address::connect(socket, target, within, control).map(Into::into)
}

/// A peer whose machine is gone is noticed within half a minute.
pub fn keep_alive(socket: &Socket) -> io::Result<()> {
    let idle = Duration::from_secs(10);
    socket
        .set_tcp_keepalive(&TcpKeepalive::new().with_time(idle).with_interval(idle).with_retries(2))
}

/// A number that no other run has.
fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}
