//! Guests whose agents mean harm: they have the guest's key, and speak the protocol as they like.

use crate::processes::said;
use agent::{Channel, Drained, Hello, Opened, PROTOCOL, Reply, Request, Security, encode};
use model::{Map, Nanos, Record, What};
use rustix::process::{Pid, Signal, kill_process};
use sample::{Capture, Scope, Wanted};
use serde_bytes::ByteBuf;
use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

/// What an agent does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    /// It has always more, and sends megabytes of it.
    Floods,
    /// It has always more, and sends nothing.
    Promises,
    /// It reports processes without end.
    Names,
    /// It sends a byte at a time.
    Trickles,
    /// It answers no more.
    Hangs,
}

/// An agent that does harm at a port of loopback; its threads end with the test.
fn agent_of(harm: Harm) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || converse(stream.unwrap(), harm));
        }
    });
    address
}

fn converse(stream: TcpStream, harm: Harm) {
    let mut slow = stream.try_clone().unwrap();
    let Ok((mut channel, _)) = Channel::accept(stream, &Security::Transport) else { return };
    while let Ok(request) = channel.receive::<Request>() {
        let drains = matches!(request, Request::Drain);
        let reply = reply(request, harm);
        let sent = match harm {
            Harm::Hangs if drains => loop {
                sleep(Duration::from_secs(3600));
            },
            Harm::Trickles if drains => encode(&reply).unwrap().iter().try_for_each(|byte| {
                sleep(Duration::from_millis(500));
                slow.write_all(&[*byte])
            }),
            _ => channel.send(&reply).map_err(std::io::Error::other),
        };
        if sent.is_err() {
            return;
        }
    }
}

fn reply(request: Request, harm: Harm) -> Reply {
    match request {
        Request::Hello { .. } => Reply::Hello(Box::new(Hello {
            protocol: PROTOCOL,
            host: "evil".to_owned(),
            environment: workload::Environment::read(None),
            unreadable: None,
        })),
        Request::Clock => {
            Reply::Clock { monotonic: workload::clock::now(), stamp: sample::stamp() }
        }
        Request::Sample(_) => Reply::Sampling(Box::new(opened())),
        Request::Existing { .. } if harm == Harm::Names => {
            Reply::Existing { records: vec![mapped(); 5000], all: u32::MAX }
        }
        Request::Existing { .. } => Reply::Existing { records: Vec::new(), all: 0 },
        Request::Drain => Reply::Drained(match harm {
            Harm::Floods => {
                Drained { pieces: vec![(0, ByteBuf::from(vec![7; 3 << 20]))], more: true }
            }
            Harm::Promises => Drained { pieces: Vec::new(), more: true },
            _ => Drained { pieces: Vec::new(), more: false },
        }),
        Request::EndSampling => Reply::Sampled { events: opened().events },
        _ => Reply::Failed("no".to_owned()),
    }
}

/// What a real capture opens here.
fn opened() -> Opened {
    let events = vec!["cpu-clock".parse().unwrap()];
    let wanted = Wanted { events, scope: Scope::Machine, switches: false, ring: Wanted::RING };
    let capture = Capture::open(&wanted).unwrap();
    Opened {
        events: capture.events(),
        layout: capture.layout(),
        cpus: capture.cpus(),
        notes: Vec::new(),
    }
}

fn mapped() -> Record {
    let path = vec![b'x'; 100];
    let map = Map { pid: 1, tid: 1, start: 0, length: 4096, offset: 0, build_id: None, path };
    Record { time: Nanos(0), cpu: 0, what: What::Map(Box::new(map)) }
}

/// The most memory that a process has had, in MB.
fn peak(child: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

/// Whatever a guest's agent does, Ctrl-C ends the recording, which reads, and memory is bounded.
#[test]
fn attack_by_a_guests_agent_does_not_keep_a_recording() {
    let place = tempfile::tempdir().unwrap();
    for harm in [Harm::Floods, Harm::Promises, Harm::Names, Harm::Trickles, Harm::Hangs] {
        let dir = place.path().join(format!("{harm:?}"));
        let agent = format!("g1={}", agent_of(harm));
        let mut recorder = Command::new(env!("CARGO_BIN_EXE_vmeter"));
        recorder.args(["record", "-e", "cpu-clock", "--agent", &agent, "-o"]).arg(&dir);
        recorder.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut recorder = recorder.spawn().unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        let begun = |dir: &Path| {
            fs::metadata(dir.join("stream-0.raw")).is_ok_and(|found| found.len() > 5000)
        };
        // An agent that has too many names is refused before anything is recorded.
        while !begun(&dir) && recorder.try_wait().unwrap().is_none() {
            assert!(Instant::now() < until, "{harm:?}: nothing is recorded");
            sleep(Duration::from_millis(50));
        }
        if recorder.try_wait().unwrap().is_some() {
            let output = recorder.wait_with_output().unwrap();
            println!("{harm:?}: {}", said(&output));
            assert!(harm == Harm::Names && said(&output).contains("names of processes of more"));
            continue;
        }
        sleep(Duration::from_secs(2));
        let memory = peak(&recorder);
        let began = Instant::now();
        kill_process(Pid::from_child(&recorder), Signal::INT).unwrap();
        let output = recorder.wait_with_output().unwrap();
        let took = began.elapsed();
        println!("{harm:?}: {memory} MB, ended in {took:?}: {}", said(&output));
        assert!(took < Duration::from_secs(5) && memory < 200, "{harm:?}");
        assert!(output.status.success(), "{harm:?}: {}", said(&output));
        let report = Command::new(env!("CARGO_BIN_EXE_vmeter"))
            .args(["report", "--limit", "3"])
            .arg(&dir)
            .output()
            .unwrap();
        assert!(report.status.success(), "{harm:?}: {}", said(&report));
        fs::remove_dir_all(&dir).unwrap();
    }
}
