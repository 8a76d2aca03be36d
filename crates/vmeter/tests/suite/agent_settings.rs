//! Settings by `vmeter agent`, and that they end with the one who made them.

use crate::processes::{serving, sh};
use agent::{Deadline, Error, Handle, Security, Setting, Stream, Work};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use workload::Feature;

const VMETER: &str = env!("CARGO_BIN_EXE_vmeter");
/// Tells the process that plays a controller where its agent is.
const SOCKET: &str = "VMETER_TEST_SOCKET";
/// And what it shall set.
const GRO: &str = "VMETER_TEST_GRO";

/// A network namespace with an agent in it that has a device; all gone with the test.
struct Lab {
    namespace: String,
    agent: Child,
    socket: PathBuf,
    _folder: tempfile::TempDir,
}

impl Lab {
    fn new(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let namespace = format!("vmeter-{name}-{}", std::process::id());
        sh(&format!("ip netns add {namespace}"));
        sh(&format!("ip -n {namespace} link add v0 type veth peer name v1"));
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &namespace, VMETER, "agent", "run", "--unix"]).arg(&socket);
        let agent = serving(command);
        Self { namespace, agent, socket, _folder: folder }
    }

    fn connect(&self) -> Handle<Stream> {
        connect(&self.socket)
    }

    /// As a thread in the namespace sees them.
    fn offloads(&self) -> workload::Offloads {
        std::thread::scope(|scope| {
            let seen = scope.spawn(|| {
                let path = format!("/var/run/netns/{}", self.namespace);
                let namespace = File::open(path).unwrap();
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(namespace.as_fd(), kind).unwrap();
                workload::Offloads::of("v0").unwrap()
            });
            seen.join().unwrap()
        })
    }

    fn wait_for(&self, gro: bool) {
        let end = Instant::now() + Duration::from_secs(10);
        while self.offloads().gro != Some(gro) {
            assert!(Instant::now() < end, "{:?}", self.offloads());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.agent.kill();
        let _ = self.agent.wait();
        let _ = Command::new("ip").args(["netns", "del", &self.namespace]).status();
    }
}

fn connect(socket: &Path) -> Handle<Stream> {
    let stream = Stream::connect(socket.to_str().unwrap()).unwrap();
    Handle::connect(stream, &Security::Transport, &Deadline::default()).unwrap()
}

fn gro(on: bool) -> Setting {
    Setting::Offload { device: "v0".to_owned(), feature: Feature::Gro, on }
}

/// An agent that is killed leaves what it had set; the next one, or `agent restore`, undoes it.
#[test]
fn what_a_killed_agent_had_set_is_undone() {
    let mut lab = Lab::new("killed");
    let before = lab.offloads().gro.unwrap();
    let mut handle = lab.connect();
    let set = Setting::Offload { device: "v0".to_owned(), feature: Feature::Gro, on: !before };
    handle.set(&set).unwrap();
    kill_process(Pid::from_child(&lab.agent), Signal::KILL).unwrap();
    lab.agent.wait().unwrap();
    assert_eq!(lab.offloads().gro, Some(!before), "nobody has undone it");
    // Not by someone in another network, where the name is another device's.
    let restore = |before: &str| sh(&format!("{before} {VMETER} agent restore"));
    let elsewhere = restore("");
    assert_eq!(lab.offloads().gro, Some(!before), "{elsewhere}");
    let said = restore(&format!("ip netns exec {}", lab.namespace));
    assert!(said.contains("gro of v0"), "{said}");
    assert_eq!(lab.offloads().gro, Some(before));
    assert_eq!(restore(&format!("ip netns exec {}", lab.namespace)), "");
}

#[test]
fn an_offload_is_set_and_undone_on_demand_and_at_the_end() {
    let lab = Lab::new("offload");
    let was = lab.offloads();
    let mut handle = lab.connect();
    let changed = handle.set(&gro(true)).unwrap();
    assert_eq!((&*changed[0].what, &*changed[0].now), ("gro of v0", "on"));
    assert_eq!(changed[0].was, if was.gro == Some(true) { "on" } else { "off" });
    handle.set(&gro(false)).unwrap();
    for feature in [Feature::Tso, Feature::Gso, Feature::Sg, Feature::TxChecksum] {
        let device = "v0".to_owned();
        let changed = handle.set(&Setting::Offload { device, feature, on: false }).unwrap();
        assert_eq!(changed[0].now, "off", "{changed:?}");
    }
    let now = lab.offloads();
    assert_eq!([now.gro, now.tso, now.gso, now.tx_checksum], [Some(false); 4]);
    handle.restore().unwrap();
    assert_eq!(lab.offloads(), was);
    handle.set(&gro(was.gro == Some(false))).unwrap();
    drop(handle);
    lab.wait_for(was.gro == Some(true));
    let mut handle = lab.connect();
    let lro = Setting::Offload { device: "v0".to_owned(), feature: Feature::Lro, on: true };
    let refused = handle.set(&lro).unwrap_err().to_string();
    assert!(refused.contains("lro of v0"), "{refused}");
}

/// Not a test: the controller that is killed.
#[test]
#[ignore = "the others start it"]
fn as_controller() {
    let mut handle = connect(Path::new(&std::env::var_os(SOCKET).unwrap()));
    handle.set(&gro(std::env::var(GRO).unwrap() == "true")).unwrap();
    println!("it is set");
    std::io::stdout().flush().unwrap();
    loop {
        std::thread::sleep(Duration::from_secs(60));
    }
}

#[test]
fn settings_end_with_a_controller_that_is_killed_and_with_the_agent() {
    let mut lab = Lab::new("killed");
    let was = lab.offloads().gro.unwrap();
    let mut controller = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "agent_settings::as_controller", "--ignored", "--nocapture"])
        .env(SOCKET, &lab.socket)
        .env(GRO, (!was).to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(controller.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains("it is set")));
    assert_eq!(lab.offloads().gro, Some(!was));
    controller.kill().unwrap();
    controller.wait().unwrap();
    lab.wait_for(was);
    let mut handle = lab.connect();
    handle.set(&gro(!was)).unwrap();
    assert_eq!(lab.offloads().gro, Some(!was));
    kill_process(Pid::from_child(&lab.agent), Signal::TERM).unwrap();
    assert!(lab.agent.wait().unwrap().success());
    assert_eq!(lab.offloads().gro, Some(was));
}

#[test]
fn an_interrupt_is_moved_until_the_connection_ends_or_the_refusal_says_which() {
    let lab = Lab::new("irq");
    let mut handle = lab.connect();
    let table = handle.interrupts().unwrap();
    assert!(table.lines.iter().any(|line| line.name == "LOC"));
    let cpu = table.cpus[table.cpus.len() - 1].to_string();
    let mut refusals = Vec::new();
    for line in table.lines.iter().filter(|line| line.number().is_some() && !line.action.is_empty())
    {
        let irq = line.number().unwrap();
        let now = || fs::read_to_string(format!("/proc/irq/{irq}/smp_affinity_list")).unwrap();
        let was = now();
        let setting = Setting::Irq { matching: line.action.clone(), cpus: cpu.clone() };
        match handle.set(&setting) {
            Ok(changed) => {
                let what = format!("interrupt {irq} ({})", line.action);
                let one = changed.iter().find(|one| one.what == what).unwrap();
                assert_eq!((&*one.was, &*one.now), (was.trim(), &*cpu));
                assert_eq!(now().trim(), cpu);
                drop(handle);
                let end = Instant::now() + Duration::from_secs(10);
                while now() != was {
                    assert!(Instant::now() < end);
                    std::thread::sleep(Duration::from_millis(10));
                }
                println!("moved {what} from {} to {cpu} and back", was.trim());
                return;
            }
            Err(Error::Failed(refusal)) => refusals.push(refusal),
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refusals.iter().all(|refusal| refusal.starts_with("interrupt ")), "{refusals:?}");
}

/// Three loads whose server does not answer, each of which takes half a second to end.
#[test]
fn settings_are_undone_before_workloads_are_waited_for() {
    let lab = Lab::new("order");
    sh(&format!("ip -n {} link set lo up", lab.namespace));
    let was = lab.offloads().gro.unwrap();
    let mut handle = lab.connect();
    let listen = "127.0.0.1:0".to_owned();
    let (_, address) = handle.start(&Work::TcpReceive { listen }).unwrap();
    let plan = serde_json::json!({
        "url": format!("http://{}/", address.unwrap()),
        "load": {"kind": "open", "rate": 50.0, "per": "connection", "arrivals": "constant"},
        "calls": 1, "max_connections": 100, "timeout_s": 60.0, "duration_s": 60.0,
        "warmup_s": 0.0, "threads": 1, "fileset": null, "seed": 1
    });
    let work = Work::Web { plan: serde_json::from_value(plan).unwrap() };
    for _ in 0..3 {
        handle.start(&work).unwrap();
    }
    handle.set(&gro(!was)).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let begun = Instant::now();
    drop(handle);
    lab.wait_for(was);
    assert!(begun.elapsed() < Duration::from_millis(400), "{:?}", begun.elapsed());
}
