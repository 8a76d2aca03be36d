//! `vmeter study` over two machines with agents only: two network namespaces. Controllers, agents
//! and disks fail at random moments, and nothing that was kept is lost.

use crate::processes::{Disk, Killed, children, said, serving, sh};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use rustix::fs::{FlockOperation, flock};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const VMETER: &str = env!("CARGO_BIN_EXE_vmeter");

/// Two namespaces joined by a veth pair, an agent in each.
struct Pair {
    name: String,
    folder: tempfile::TempDir,
    agents: BTreeMap<&'static str, Child>,
}

impl Pair {
    fn new(name: &str) -> Self {
        let name = format!("vmeter-{name}-{}", std::process::id());
        for end in ["s", "c"] {
            sh(&format!("ip netns add {name}-{end} && ip -n {name}-{end} link set lo up"));
        }
        sh(&format!("ip -n {name}-s link add v0 type veth peer name v0 netns {name}-c"));
        for (end, address) in [("s", "10.77.0.1"), ("c", "10.77.0.2")] {
            sh(&format!("ip -n {name}-{end} addr add {address}/24 dev v0"));
            sh(&format!("ip -n {name}-{end} link set v0 up"));
        }
        let mut pair = Self { name, folder: tempfile::tempdir().unwrap(), agents: BTreeMap::new() };
        // Web servers read it as another user.
        fs::set_permissions(pair.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        pair.start("s");
        pair.start("c");
        pair
    }

    fn socket(&self, end: &str) -> PathBuf {
        self.folder.path().join(format!("{end}.sock"))
    }

    /// Starts an agent, in place of one that was killed.
    fn start(&mut self, end: &'static str) {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &format!("{}-{end}", self.name), VMETER]);
        command.args(["agent", "run", "--unix"]).arg(self.socket(end));
        command.env("TMPDIR", self.folder.path());
        self.agents.insert(end, serving(command));
    }

    fn kill(&mut self, end: &'static str) {
        let mut agent = self.agents.remove(end).unwrap();
        agent.kill().unwrap();
        agent.wait().unwrap();
    }

    /// A plan of many short runs.
    fn plan(&self, repetitions: usize) -> PathBuf {
        let receive = r#"[[workloads]]
name = "receive"
kind = "tcp"
rate = ["200/s", "400/s"]
warmup = "20 ms"
window = "200 ms"
[[figures]]
id = "fig-6.1"
[[figures]]
id = "fig-6.5"
"#;
        self.plan_of(receive, repetitions)
    }

    /// A plan of these loads and figures.
    fn plan_of(&self, loads: &str, repetitions: usize) -> PathBuf {
        let path = self.folder.path().join("plan.toml");
        let (host, client) = (self.socket("s"), self.socket("c"));
        let text = format!(
            r#"schema = "vmeter.plan/1"
id = "pair"
title = "Two machines"
repetitions = {repetitions}
settle = "0 s"
[[machines]]
name = "server"
agents = {{ host = "{}", client = "{}", addresses = ["10.77.0.1"] }}
{loads}"#,
            host.display(),
            client.display()
        );
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for agent in self.agents.values_mut() {
            let _ = agent.kill();
            let _ = agent.wait();
        }
        for end in ["s", "c"] {
            let name = format!("{}-{end}", self.name);
            let _ = Command::new("ip").args(["netns", "del", &name]).status();
        }
    }
}

fn study(args: &[&str], dir: &Path) -> Command {
    let mut command = Command::new(VMETER);
    command.arg("study").args(args).arg(dir).stdin(Stdio::null());
    command
}

fn run(plan: &Path, dir: &Path) -> Command {
    let mut command = study(&["run", plan.to_str().unwrap(), "-o"], dir);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn json(dir: &Path) -> serde_json::Value {
    let output = study(&["report", "--format", "json"], dir).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_study_over_two_machines_with_agents_only() {
    let pair = Pair::new("two");
    let (plan, dir) = (pair.plan(3), pair.folder.path().join("study"));
    let output = run(&plan, &dir).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let found = json(&dir);
    assert_eq!(found["runs"]["valid"], 6, "{found:#}");
    let lines = &found["figures"][1]["drawing"]["lines"][0];
    assert_eq!(lines["points"].as_array().unwrap().len(), 2);
    for point in lines["points"].as_array().unwrap() {
        let acks = point["y"]["value"].as_f64().unwrap();
        assert!((0.1..=1.1).contains(&acks), "{found:#}");
        assert_eq!(point["y"]["samples"], 3);
    }
    let page = fs::read_to_string(dir.join("report.html")).unwrap();
    assert!(page.contains("ACKs per data packet") && page.contains("</html>"));
    for format in ["markdown", "csv"] {
        let output = study(&["report", "--format", format], &dir).output().unwrap();
        assert!(output.status.success() && !output.stdout.is_empty());
    }
    // The dataset is there, and is made anew from the runs.
    let dataset = ["runs.parquet", "counters.parquet"].map(|name| dir.join(name));
    let before = dataset.each_ref().map(|path| fs::read(path).unwrap());
    assert!(before.iter().all(|bytes| bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1")));
    dataset.iter().for_each(|path| fs::remove_file(path).unwrap());
    let made = said(&study(&["report", "--format", "parquet"], &dir).output().unwrap());
    assert_eq!(made.lines().map(PathBuf::from).collect::<Vec<_>>(), dataset);
    assert_eq!(dataset.each_ref().map(|path| fs::read(path).unwrap()), before);
    let status = said(&study(&["status"], &dir).output().unwrap());
    assert!(status.contains("6 of 6 runs are valid"), "{status}");
    // All is measured: nothing is run again.
    let before = files(&dir);
    assert!(run(&plan, &dir).output().unwrap().status.success());
    assert_eq!(files(&dir), before);
}

#[test]
fn a_program_beside_the_load_is_named_and_its_runs_count() {
    let pair = Pair::new("beside");
    let (plan, dir) = (pair.plan(3), pair.folder.path().join("study"));
    let busy = Killed::busy(1);
    let output = run(&plan, &dir).output().unwrap();
    let disturber = format!("sh (PID {})", busy.0[0].id());
    drop(busy);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains(&disturber), "the operator is told: {}", said(&output));
    let found = json(&dir);
    assert_eq!(found["runs"]["valid"], 6, "{found:#}");
    let remarks = found["remarks"].as_array().unwrap();
    assert_eq!(remarks.len(), 6, "{remarks:#?}");
    for run in files(&dir).values() {
        let run: serde_json::Value = serde_json::from_slice(run).unwrap();
        let warnings = &run["run"]["ending"]["measured"]["warnings"];
        let own = warnings.as_array().unwrap().iter().filter_map(|text| text.as_str());
        let own: Vec<&str> = own.filter(|text| text.starts_with(&disturber)).collect();
        let [one] = own[..] else { panic!("{warnings:#}") };
        let used = one.split(" used ").nth(1).and_then(|rest| rest.split(' ').next());
        // It has a CPU, or shares it with what else this machine does.
        let used: f64 = used.unwrap().parse().unwrap();
        assert!((0.1..=1.05).contains(&used), "{one}");
        let number = &run["run"]["number"];
        let shown = remarks.iter().find(|remark| remark["run"] == *number).unwrap();
        assert!(shown["reasons"].as_array().unwrap().contains(&one.into()), "{shown:#}");
    }
    let page = fs::read_to_string(dir.join("report.html")).unwrap();
    assert!(page.contains("Runs to look at") && page.contains(&disturber));
}

#[test]
fn a_plan_is_checked_with_its_keys_and_agents() {
    let mut pair = Pair::new("check");
    let plan = pair.plan(3);
    let check = |more: &[&str], plan: &Path| {
        let output = study(&["check"], plan).args(more).output().unwrap();
        (output.status.code(), said(&output))
    };
    let (code, text) = check(&[], &plan);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("6 runs in 3 blocks, at least 5 s"), "{text}");
    assert!(text.contains("machine   server, 0 guests\nworkload  receive, 2 points\n"), "{text}");
    let (code, text) = check(&["--agents"], &plan);
    assert_eq!(code, Some(0), "{text}");
    let version = concat!("vmeter ", env!("CARGO_PKG_VERSION"));
    for who in ["host", "client"] {
        let line = text.lines().find(|line| line.contains(&format!("server, {who} at ")));
        assert!(line.unwrap().starts_with("agent ") && line.unwrap().ends_with(version), "{text}");
    }
    pair.kill("c");
    let (code, text) = check(&["--agents"], &plan);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("error     machine server, client at "), "{text}");
    assert!(text.contains("agent     machine server, host at "), "{text}");
    // Keys are read without any agent.
    let text = fs::read_to_string(&plan).unwrap();
    let host = pair.socket("s").display().to_string();
    let remote = pair.folder.path().join("remote.toml");
    let unused = "[[workloads]]\nname = \"more\"\nkind = \"tcp\"\nrate = \"1/s\"\n";
    let text = text.replacen(&host, "10.0.0.1:5203", 1);
    let text = text.replace("id = \"fig-6", "workload = \"receive\"\nid = \"fig-6") + unused;
    fs::write(&remote, text).unwrap();
    let (code, text) = check(&[], &remote);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("10.0.0.1:5203 requires a key"), "{text}");
    assert!(text.contains("workload `more` is not in any figure: its 3 runs"), "{text}");
    let key = pair.folder.path().join("key");
    let (code, text) = check(&["--key", key.to_str().unwrap()], &remote);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(key.to_str().unwrap()), "{text}");
    let made = Command::new(VMETER).args(["agent", "key"]).arg(&key).output().unwrap();
    assert!(made.status.success(), "{}", said(&made));
    let (code, text) = check(&["--key", key.to_str().unwrap()], &remote);
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn real_web_servers_are_measured_and_nothing_of_them_is_left() {
    let pair = Pair::new("web");
    let load = |server: &str| {
        format!(
            r#"[[workloads]]
name = "{server}"
kind = "web"
server = "{server}"
rate = "50/s"
warmup = "20 ms"
window = "400 ms"
[[figures]]
id = "fig-6.2"
workload = "{server}"
"#
        )
    };
    let plan = pair.plan_of(&["nginx", "apache"].map(load).concat(), 2);
    let dir = pair.folder.path().join("study");
    let output = run(&plan, &dir).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    // Beside other tests a load may be late: its run is not valid, and is made once more.
    let mut last = BTreeMap::new();
    for (name, run) in files(&dir) {
        let run: serde_json::Value = serde_json::from_slice(&run).unwrap();
        println!("{name}: {}", run["run"]["ending"]["measured"]["outcomes"][0]["invalid_reasons"]);
        last.insert(run["run"]["number"].as_u64().unwrap(), run);
    }
    assert_eq!(last.keys().copied().collect::<Vec<_>>(), [1, 2, 3, 4]);
    for run in last.values() {
        let (load, found) = (&run["run"]["load"], &run["run"]["ending"]["measured"]);
        assert_eq!(load["server"], run["run"]["workload"], "{load}");
        let outcome = &found["outcomes"][0];
        assert!(outcome["replies"].as_u64() >= Some(10), "{outcome:#}");
        assert_eq!(outcome["replies"], outcome["status"]["200"], "{outcome:#}");
        let version = found["servers"]["host"].as_str().unwrap_or_default();
        let known = sh("nginx -v 2>&1; apache2 -v");
        assert!(version.contains('/') && known.contains(version), "{version}: {known}");
    }
    let page = fs::read_to_string(dir.join("report.html")).unwrap();
    assert!(page.contains("nginx/") && page.contains("Apache/"));
    // Its servers are told to end, and take their moment.
    while !children(pair.agents["s"].id()).is_empty() {
        sleep(Duration::from_millis(10));
    }
}

/// The stored attempts, by name.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let Ok(entries) = fs::read_dir(dir.join("runs")) else { return BTreeMap::new() };
    entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .map(|path| {
            (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap())
        })
        .collect()
}

#[test]
fn whatever_fails_no_stored_run_is_lost() {
    let mut pair = Pair::new("fail");
    let plan = pair.plan(30);
    let disk = Disk::new(&pair.folder.path().join("disk"), 8);
    let dir = disk.0.join("study");
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let mut kept: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for trial in 0..20 {
        let mut controller = run(&plan, &dir).spawn().unwrap();
        sleep(Duration::from_millis(200 + random.next_u64() % 1500));
        let what = match trial % 4 {
            0 => {
                controller.kill().unwrap();
                "the controller killed"
            }
            1 => {
                pair.kill("s");
                sleep(Duration::from_millis(100));
                pair.start("s");
                "the server's agent killed"
            }
            2 => {
                pair.kill("c");
                sleep(Duration::from_millis(100));
                pair.start("c");
                "the client's agent killed"
            }
            _ => {
                let ballast = disk.fill();
                let output = wait(&mut controller, Duration::from_secs(30));
                assert!(output.is_some_and(|code| code != Some(0)), "a full disk is an error");
                fs::remove_file(ballast).unwrap();
                "the disk full"
            }
        };
        if trial % 4 != 3 {
            sleep(Duration::from_millis(random.next_u64() % 800));
            let _ = controller.kill();
        }
        let output = controller.wait_with_output().unwrap();
        if trial % 4 == 3 {
            assert!(said(&output).contains("cannot write"), "{}", said(&output));
        }
        unlocked(&dir);
        let now = files(&dir);
        for (name, bytes) in &kept {
            assert_eq!(now.get(name), Some(bytes), "{name} after trial {trial}: {what}");
        }
        println!("trial {trial}: {what}: {} attempts stored", now.len());
        kept = now;
        if dir.join("study.json").exists() {
            let status = study(&["status"], &dir).output().unwrap();
            assert!(status.status.success(), "trial {trial}: {}", said(&status));
        }
    }
    let output = run(&plan, &dir).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let now = files(&dir);
    assert!(kept.iter().all(|(name, bytes)| now.get(name) == Some(bytes)));
    assert_eq!(json(&dir)["runs"]["valid"], 60);
}

/// A process's exit code, `Some(None)` after a signal; `None` where it goes on.
fn wait(child: &mut Child, limit: Duration) -> Option<Option<i32>> {
    let end = Instant::now() + limit;
    while Instant::now() < end {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status.code());
        }
        sleep(Duration::from_millis(20));
    }
    None
}

/// Waits until the lock of a controller that was killed is free.
fn unlocked(dir: &Path) {
    let Ok(lock) = File::open(dir.join("lock")) else { return };
    flock(&lock, FlockOperation::LockExclusive).unwrap();
}

#[test]
fn what_cannot_be_used_is_said_before_any_machine_is_touched() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("study");
    let refused = |output: Output| {
        assert!(!output.status.success(), "{}", said(&output));
        said(&output)
    };
    // A study that needs no machine.
    assert!(run(Path::new("table-5.1"), &dir).output().unwrap().status.success());
    let found = json(&dir);
    assert_eq!(found["figures"][0]["drawing"]["rows"][0][1]["number"], 2196.0, "{found:#}");
    // Another plan.
    let other = refused(run(Path::new("fig-6.1"), &dir).output().unwrap());
    assert!(other.contains("belongs to another plan") && other.contains("plan.toml"), "{other}");
    // A damaged run.
    let path = dir.join("runs/000001-1.json");
    let whole = fs::read_to_string(&path).unwrap();
    for damaged in [whole.replacen("2196", "2197", 1), whole[..whole.len() / 2].to_owned()] {
        assert_ne!(damaged, whole);
        fs::write(&path, &damaged).unwrap();
        for output in [
            run(Path::new("table-5.1"), &dir).output().unwrap(),
            study(&["report"], &dir).output().unwrap(),
            study(&["status"], &dir).output().unwrap(),
        ] {
            let text = refused(output);
            assert!(text.contains("000001-1.json") && text.contains("damaged"), "{text}");
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), damaged, "never an overwrite");
    }
    fs::write(&path, &whole).unwrap();
    // A folder with something else.
    let full = place.path().join("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("letter"), "x").unwrap();
    let text = refused(run(Path::new("table-5.1"), &full).output().unwrap());
    assert!(text.contains("is not a study"), "{text}");
    // Another one at work.
    let lock = File::open(dir.join("lock")).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    let text = refused(run(Path::new("table-5.1"), &dir).output().unwrap());
    assert!(text.contains("in use by another vmeter"), "{text}");
    // No such plan, and a wrong one.
    let text = refused(run(Path::new("fig-9.9"), &dir).output().unwrap());
    assert!(text.contains("vmeter study list"), "{text}");
    let plan = place.path().join("wrong.toml");
    fs::write(&plan, "schema = \"vmeter.plan/1\"\nid = 5\n").unwrap();
    let text = refused(study(&["check"], &plan).output().unwrap());
    assert!(text.contains("wrong.toml:2: "), "{text}");
}
