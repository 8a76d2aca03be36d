//! iperf3, with its JSON.

use super::Run;
use super::command::{Owned, Ran, typed, version};
use crate::tcp::{Packets, Plan};
use crate::{Control, Error};
use serde_json::Value;
use std::net::TcpListener;
use std::process::Command;
use std::thread;
use std::time::Duration;

/// Where an iperf3 server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// None is: one is started here, on loopback.
    Here,
    /// `iperf3 -s` runs on this host and port.
    There(String, u16),
}

const PACKAGE: &str = "iperf3";
/// How long a server that was just started may take to listen.
const TRIES: u32 = 100;

/// Runs the plan with iperf3; work is bytes, CPU is that of both ends.
///
/// # Errors
/// iperf3 is missing, its server is, or what it printed cannot be read.
pub fn iperf3(plan: &Plan, target: &Target, control: &Control) -> Result<Run, Error> {
    let limit = plan.duration + plan.warmup + Duration::from_secs(30);
    for _ in 0..TRIES {
        let (server, host, port) = match target {
            Target::Here => {
                let port = free_port()?;
                let mut server = Command::new("iperf3");
                server.args(["-s", "-1", "-B", "127.0.0.1", "-p", &port.to_string()]);
                (Some(Owned::start(&mut server, PACKAGE)?), "127.0.0.1".to_owned(), port)
            }
            Target::There(host, port) => (None, host.clone(), *port),
        };
        if server.is_some() {
            thread::sleep(Duration::from_millis(50));
        }
        let mut client = client(plan, &host, port);
        let ran = super::command::run(&mut client, PACKAGE, limit, control)?;
        if !ran.success && server.is_some() && ran.text.contains("refused") {
            continue;
        }
        if let Some(server) = server {
            server.finish(Duration::from_secs(10), control)?;
        }
        return read(&ran, typed(&client));
    }
    Err(Error::Peer("the iperf3 server did not start listening".to_owned()))
}

fn client(plan: &Plan, host: &str, port: u16) -> Command {
    let mut client = Command::new("iperf3");
    client.args(["-J", "-c", host, "-p", &port.to_string()]);
    client.args(["-l", &plan.size.to_string(), "-P", &plan.streams.to_string()]);
    client.args(["-t", &plan.duration.as_secs().max(1).to_string()]);
    if !plan.warmup.is_zero() {
        client.args(["-O", &plan.warmup.as_secs().max(1).to_string()]);
    }
    if let Some(rate) = plan.rate {
        // Its rate is of bits, and of each stream.
        let bits = rate * plan.size as f64 * 8.0 / plan.streams as f64;
        client.args(["-b", &format!("{bits:.0}")]);
    }
    if let Some(segment) = plan.segment().filter(|_| plan.packets == Packets::OnePerWrite) {
        client.args(["-N", "-M", &segment.to_string()]);
    }
    if plan.reverse {
        client.arg("-R");
    }
    client
}

/// A port that was free a moment ago; one that is taken since makes another try.
fn free_port() -> Result<u16, Error> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(Error::io("a free port"))?;
    Ok(listener.local_addr().map_err(Error::io("a free port"))?.port())
}

fn read(ran: &Ran, command: String) -> Result<Run, Error> {
    let unreadable = || Error::Peer(format!("iperf3 printed no result: {}", first_line(&ran.text)));
    let start = ran.text.find('{').ok_or_else(unreadable)?;
    let mut values = serde_json::Deserializer::from_str(&ran.text[start..]).into_iter::<Value>();
    let result = values.next().and_then(Result::ok).ok_or_else(unreadable)?;
    if let Some(error) = result["error"].as_str() {
        return Err(Error::Peer(format!("iperf3: {error}")));
    }
    let number = |path: &str| result.pointer(path).and_then(Value::as_f64);
    let bytes = number("/end/sum_received/bytes").ok_or_else(unreadable)?;
    let seconds = number("/end/sum_sent/seconds").ok_or_else(unreadable)?;
    let percent = |side: &str| number(&format!("/end/cpu_utilization_percent/{side}_total"));
    let cpu = percent("host").zip(percent("remote")).map(|(host, remote)| host + remote);
    Ok(Run {
        tool: "iperf3".to_owned(),
        version: version("iperf3", "--version"),
        command,
        work: bytes,
        duration_s: seconds,
        // The mean over the whole test, for the seconds that its bytes are of.
        cpu_s: cpu.ok_or_else(unreadable)? / 100.0 * seconds,
        errors: 0,
        p50_s: None,
        p99_s: None,
    })
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or("nothing").to_owned()
}
