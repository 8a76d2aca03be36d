//! A paced TCP stream from outside into a guest.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const PIECE: usize = 8 * 1448;
/// A guest under the instruction clock may be slow to take what it is sent.
const PATIENCE: Duration = Duration::from_millis(200);

/// A stream that runs until it is dropped.
pub struct Stream {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Stream {
    /// Starts sending to a port of loopback; a connection that breaks is made anew.
    pub(crate) fn start(port: u16, bytes_per_second: u64) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let thread = {
            let (stop, sent) = (stop.clone(), sent.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    // The sender has nobody to tell: what was sent is what counts.
                    let _ = send(port, bytes_per_second, &stop, &sent);
                    std::thread::sleep(PATIENCE);
                }
            })
        };
        Stream { stop, sent, thread: Some(thread) }
    }

    /// Bytes handed to the network so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn send(port: u16, rate: u64, stop: &AtomicBool, sent: &AtomicU64) -> std::io::Result<()> {
    let mut connection = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    let piece = [0_u8; PIECE];
    let gap = Duration::from_secs_f64(PIECE as f64 / rate.max(1) as f64);
    let mut due = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        match connection.write(&piece) {
            Ok(0) => return Ok(()),
            Ok(n) => sent.fetch_add(n as u64, Ordering::Relaxed),
            Err(error) if is_timeout(&error) => continue,
            Err(error) => return Err(error),
        };
        due += gap;
        let now = Instant::now();
        if due > now {
            // In short steps, so that a slow pace does not hold up the end.
            std::thread::sleep((due - now).min(PATIENCE));
        } else {
            // What could not be sent in time is not made up for: the pace is a limit.
            due = now;
        }
    }
    Ok(())
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_stream_keeps_its_pace_and_ends() {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let stream = Stream::start(port, 400_000);
        let (mut connection, _) = listener.accept().unwrap();
        let begun = Instant::now();
        let mut received = 0;
        let mut buffer = [0; 4096];
        while received < 100_000 {
            received += connection.read(&mut buffer).unwrap();
        }
        let elapsed = begun.elapsed().as_secs_f64();
        assert!(elapsed > 0.15, "100 kB at 400 kB/s took only {elapsed} s");
        assert!(stream.sent() >= 100_000 - PIECE as u64);
        drop(stream);
    }
}
