//! Guests whose agents mean harm: they have the guest's key, and speak the protocol as they like.

use crate::processes::said;
use agent::{
    Channel, Deadline, Drained, Hello, Opened, PROTOCOL, Reply, Request, Security, encode,
};
use model::{Map, Nanos, Record, What};
use rustix::process::{Pid, Signal, kill_process};
use sample::{Capture, Scope, Wanted};
use serde_bytes::ByteBuf;
use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
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
    /// It has always more, and sends a byte at a time of it.
    Crumbs,
    /// It has always more: records of eight bytes that say nothing, each by itself.
    Headers,
    /// It sends from rings without number.
    Rings,
    /// It reports a name at a time, of names without end.
    NameByName,
    /// It refuses to sample with megabytes of reasons.
    Reasons,
    /// It begins to greet, and goes on a byte at a time.
    Greets,
}

impl Harm {
    const ALL: [Self; 11] = [
        Self::Floods,
        Self::Promises,
        Self::Names,
        Self::Trickles,
        Self::Hangs,
        Self::Crumbs,
        Self::Headers,
        Self::Rings,
        Self::NameByName,
        Self::Reasons,
        Self::Greets,
    ];

    /// What says why nothing is recorded, where it is so bad that nothing is.
    fn refusal(self) -> Option<&'static str> {
        match self {
            Self::Names => Some("names of processes of more"),
            Self::NameByName => Some("names of processes in small pieces"),
            Self::Reasons => Some("more than the limit of"),
            _ => None,
        }
    }
}

/// An agent that does harm at a port of loopback, and says when someone has connected; its threads end
/// with the test.
fn agent_of(harm: Harm) -> (String, Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (connected, seen) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = connected.send(());
            thread::spawn(move || converse(stream.unwrap(), harm));
        }
    });
    (address, seen)
}

fn converse(stream: TcpStream, harm: Harm) {
    let mut slow = stream.try_clone().unwrap();
    let Ok((mut channel, _)) = Channel::accept(stream, &Security::Transport, &Deadline::default())
    else {
        return;
    };
    while let Ok(request) = channel.receive::<Request>(Request::LONGEST) {
        let drains = matches!(request, Request::Drain);
        let starts = matches!(request, Request::Start { .. } | Request::Snapshot { .. });
        let greets = harm == Harm::Greets && matches!(request, Request::Hello { .. });
        let reply = reply(request, harm);
        let sent = match harm {
            Harm::Hangs if drains || starts => loop {
                sleep(Duration::from_secs(3600));
            },
            _ if greets || harm == Harm::Trickles && drains => {
                encode(&reply).unwrap().iter().try_for_each(|byte| {
                    sleep(Duration::from_millis(500));
                    slow.write_all(&[*byte])
                })
            }
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
        Request::Sample(_) if harm == Harm::Reasons => Reply::Failed("no ".repeat(2_000_000)),
        Request::Sample(_) => Reply::Sampling(Box::new(opened())),
        Request::Existing { .. } if harm == Harm::NameByName => {
            Reply::Existing { records: vec![mapped()], all: u32::MAX }
        }
        Request::Existing { .. } if harm == Harm::Names => {
            Reply::Existing { records: vec![mapped(); 7000], all: u32::MAX }
        }
        Request::Existing { .. } => Reply::Existing { records: Vec::new(), all: 0 },
        Request::Drain => Reply::Drained(match harm {
            Harm::Floods => more(vec![lost(80 << 10); 16]),
            Harm::Crumbs => more(vec![(0, ByteBuf::from([7])); 4 << 10]),
            Harm::Headers => more(vec![lost(1); 4 << 10]),
            Harm::Rings => {
                let (_, bytes) = lost(1);
                more((0..4096).map(|ring| (ring * 16, bytes.clone())).collect())
            }
            Harm::Promises => more(Vec::new()),
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

fn more(pieces: Vec<(u16, ByteBuf)>) -> Drained {
    Drained { pieces, more: true }
}

/// Records of a kind that nobody knows, without a body, of the first ring.
fn lost(count: usize) -> (u16, ByteBuf) {
    let header = 99_u64 | 8 << 48;
    (0, ByteBuf::from(header.to_le_bytes().repeat(count)))
}

fn mapped() -> Record {
    let path = vec![b'x'; 100];
    let map = Map { pid: 1, tid: 1, start: 0, length: 4096, offset: 0, build_id: None, path };
    Record { time: Nanos(0), cpu: 0, what: What::Map(Box::new(map)) }
}

/// The most memory that a process has had, in MB.
fn peak(child: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    // One that has ended, and was not yet waited for, has none.
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

/// Whatever a guest's agent does, Ctrl-C ends the recording, which reads, and memory is bounded.
#[test]
fn attack_by_a_guests_agent_does_not_keep_a_recording() {
    let place = tempfile::tempdir().unwrap();
    for harm in Harm::ALL {
        let dir = place.path().join(format!("{harm:?}"));
        let (address, connected) = agent_of(harm);
        let agent = format!("g1={address}");
        let mut recorder = Command::new(env!("CARGO_BIN_EXE_vmeter"));
        recorder.args(["record", "-e", "cpu-clock", "--agent", &agent, "-o"]).arg(&dir);
        recorder.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut recorder = recorder.spawn().unwrap();
        connected.recv_timeout(Duration::from_secs(20)).unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        let begun = || {
            let stream = fs::metadata(dir.join("stream-0.raw"));
            harm == Harm::Greets || stream.is_ok_and(|found| found.len() > 5000)
        };
        while !begun() && recorder.try_wait().unwrap().is_none() {
            assert!(Instant::now() < until, "{harm:?}: nothing is recorded");
            sleep(Duration::from_millis(50));
        }
        if let Some(why) = harm.refusal() {
            let output = recorder.wait_with_output().unwrap();
            assert!(!output.status.success() && said(&output).contains(why), "{}", said(&output));
            assert!(said(&output).len() < 10_000, "{harm:?}");
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
        assert!(said(&output).len() < 10_000, "{harm:?}");
        if harm == Harm::Greets {
            assert!(!output.status.success() && !dir.exists(), "nothing was recorded");
            continue;
        }
        assert!(output.status.success(), "{harm:?}: {}", said(&output));
        let (report, memory) = report(&dir);
        println!("report: {memory} MB");
        assert!(report.status.success() && memory < 200, "{harm:?}: {}", said(&report));
        fs::remove_dir_all(&dir).unwrap();
    }
}

/// The report of a recording, and its most memory in MB.
fn report(dir: &std::path::Path) -> (Output, u64) {
    let mut report = Command::new(env!("CARGO_BIN_EXE_vmeter"))
        .args(["report", "--limit", "3"])
        .arg(dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut memory = 0;
    // What it prints fits into the pipes.
    while report.try_wait().unwrap().is_none() {
        memory = memory.max(peak(&report));
        sleep(Duration::from_millis(2));
    }
    (report.wait_with_output().unwrap(), memory)
}

/// Whatever an agent does, Ctrl-C ends the studies and calibrations that use it, too.
#[test]
fn attack_by_an_agent_does_not_keep_a_study_or_a_calibration() {
    let place = tempfile::tempdir().unwrap();
    for harm in [Harm::Greets, Harm::Hangs] {
        let (address, connected) = agent_of(harm);
        let plan = place.path().join("plan.toml");
        fs::write(&plan, plan_with(&address)).unwrap();
        let study = place.path().join(format!("{harm:?}"));
        let arguments = [
            vec!["calibrate", "--agent", &address],
            vec!["study", "run", plan.to_str().unwrap(), "-o", study.to_str().unwrap()],
        ];
        for arguments in arguments {
            let mut command = Command::new(env!("CARGO_BIN_EXE_vmeter"));
            command.args(&arguments).stdin(Stdio::null());
            let mut command =
                command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            connected.recv_timeout(Duration::from_secs(20)).unwrap();
            let began = Instant::now();
            kill_process(Pid::from_child(&command), Signal::INT).unwrap();
            let until = began + Duration::from_secs(5);
            while command.try_wait().unwrap().is_none() && Instant::now() < until {
                sleep(Duration::from_millis(20));
            }
            let took = began.elapsed();
            let _ = command.kill();
            let output = command.wait_with_output().unwrap();
            println!("{harm:?}, {}: ended in {took:?}: {}", arguments[0], said(&output));
            assert!(took < Duration::from_secs(5), "{harm:?}, {}", arguments[0]);
            assert!(!output.status.success(), "{harm:?}, {}: {}", arguments[0], said(&output));
        }
    }
}

/// A plan of one run on a machine with this agent alone.
fn plan_with(address: &str) -> String {
    format!(
        r#"schema = "vmeter.plan/1"
id = "attacked"
title = "One machine"
repetitions = 1
settle = "0 s"
[[machines]]
name = "server"
agents = {{ host = "{address}", client = "{address}", addresses = ["127.0.0.1"] }}
[[workloads]]
name = "receive"
kind = "tcp"
rate = "200/s"
[[figures]]
id = "fig-6.1"
"#
    )
}
