//! One run: the load is started, the host's counters are read at the window's begin and end, the
//! results are fetched.

use crate::beside::beside;
use crate::error::RunError;
use crate::fleet::{Peer, Station, Target};
use crate::measures::busy_cpus;
use crate::plan::{Configuration, CpuPlace, Load, Workload, work};
use crate::record::{Counters, Data};
use crate::sampling::Samplers;
use agent::{Stage, Work};
use model::Snapshot;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};
use workload::serve;

/// How often a load is asked how far it is.
const LOOK: Duration = Duration::from_millis(100);
/// A load that says nothing new for so long beyond its time hangs.
const PATIENCE: Duration = Duration::from_secs(120);
/// The part of the load's window between the two readings: the load outlasts the second one.
const READ: f64 = 0.85;
/// Over this time the machine is watched before a run.
pub(crate) const WATCH: Duration = Duration::from_millis(300);
/// What lies between a load's end and the next run at least: results are fetched, servers started.
pub(crate) const BETWEEN: Duration = Duration::from_millis(400);
/// A machine with so many CPUs busy is not idle.
const BUSY: f64 = 0.3;

/// A server in a target: where, and its number there.
type Serving = (Target, u32);

/// A run under way.
pub struct Conduct<'a> {
    /// The machine.
    pub station: &'a mut Station,
    /// Its settings.
    pub configuration: &'a Configuration,
    /// The load.
    pub workload: &'a Workload,
    /// The load's point.
    pub load: &'a Load,
    /// Of what the load draws: the same for the same block on all machines.
    pub seed: u64,
    /// How long the host may take to be idle.
    pub settle: Duration,
    /// Ends it.
    pub stop: &'a AtomicBool,
}

impl<'a> Conduct<'a> {
    /// Runs it.
    ///
    /// # Errors
    /// What went wrong; nothing goes on then, once the connections are given up.
    pub fn run(mut self) -> Result<Data, RunError> {
        let mut data = Data::default();
        self.set(&mut data)?;
        self.describe(&mut data)?;
        self.settle(&mut data)?;
        match self.load {
            Load::Cpu { .. } => self.compute(&mut data)?,
            _ => self.serve(&mut data)?,
        }
        let others = beside(self.load, &self.at_work(), &data);
        data.warnings.extend(others.iter().map(ToString::to_string));
        Ok(data)
    }

    /// Makes the configuration's settings; the ones of the run before are undone first.
    fn set(&mut self, data: &mut Data) -> Result<(), RunError> {
        let settings = self.configuration.set.iter();
        with(&mut self.station.host, |host| {
            host.restore()?;
            for setting in settings {
                for change in host.set(setting)? {
                    data.changes.push(format!("{}: {} → {}", change.what, change.was, change.now));
                }
            }
            Ok(())
        })
    }

    fn describe(&mut self, data: &mut Data) -> Result<(), RunError> {
        data.interrupts = Some(with(&mut self.station.host, |host| host.interrupts())?);
        for peer in self.station.peers() {
            let environment = with(peer, |agent| Ok(agent.hello().environment.clone()))?;
            data.environments.insert(peer.who.clone(), environment);
        }
        Ok(())
    }

    /// Waits until the host is idle.
    fn settle(&mut self, data: &mut Data) -> Result<(), RunError> {
        let until = Instant::now() + self.settle;
        loop {
            let begin = snapshot(&mut self.station.host)?;
            self.waiting().pause(WATCH)?;
            let end = snapshot(&mut self.station.host)?;
            let busy = busy(&begin, &end);
            data.busy_before = busy;
            match busy {
                Some(busy) if busy > BUSY && Instant::now() < until => {}
                Some(busy) if busy > BUSY => {
                    data.warnings.push(format!(
                        "{busy:.2} CPUs of the host were busy before the load started"
                    ));
                    return Ok(());
                }
                _ => return Ok(()),
            }
        }
    }

    fn waiting(&self) -> Waiting<'a> {
        let Workload { warmup, window, .. } = *self.workload;
        Waiting { stop: self.stop, warmup, window }
    }

    /// Begins to sample, where the load says so: after all is prepared.
    fn sample(&mut self) -> Result<Option<Samplers>, RunError> {
        match self.load.sample() {
            [] => Ok(None),
            events => {
                let guests = self.guests_at_work();
                Samplers::begin(self.station.host_and_guests(guests), events).map(Some)
            }
        }
    }

    /// Ends it, and keeps what was sampled.
    fn keep_samples(
        &mut self,
        samplers: Option<Samplers>,
        data: &mut Data,
    ) -> Result<(), RunError> {
        if let Some(samplers) = samplers {
            // Nobody asks for the names of generated functions.
            let named = !matches!(self.load, Load::Cpu { .. });
            data.samples = samplers.end(named.then_some(&mut self.station.files))?;
        }
        Ok(())
    }

    fn guests_at_work(&self) -> usize {
        self.workload.guests_at_work(self.load)
    }

    /// The names of these guests.
    fn at_work(&self) -> Vec<String> {
        let guests = self.station.guests.iter().take(self.guests_at_work());
        guests.map(|guest| guest.who.clone()).collect()
    }

    fn targets(&self) -> Vec<Target> {
        self.station.targets.iter().copied().take(self.workload.targets).collect()
    }

    /// A load from the client on a server in each target.
    fn serve(&mut self, data: &mut Data) -> Result<(), RunError> {
        let targets = self.targets();
        let Some(mut client) = self.station.client.take() else {
            let why = "this load needs a client, but the machine has none".to_owned();
            return Err(RunError::Load { who: self.station.name.clone(), why });
        };
        let outcome = self.serve_from(&mut client, &targets, data);
        self.station.client = Some(client);
        outcome
    }

    fn serve_from(
        &mut self,
        client: &mut Peer,
        targets: &[Target],
        data: &mut Data,
    ) -> Result<(), RunError> {
        let (servers, works) = self.prepare(client, targets)?;
        let samplers = self.sample()?;
        let jobs: Vec<u32> = works
            .iter()
            .map(|work| with(client, |agent| Ok(agent.start(work)?.0)))
            .collect::<Result<_, _>>()?;
        self.waiting().for_window(client, &jobs)?;
        let begun: Vec<(String, Snapshot)> = self.read_targets(targets)?;
        let begin = snapshot(&mut self.station.host)?;
        let from = Instant::now();
        self.waiting().pause(self.workload.window.mul_f64(READ))?;
        let end = snapshot(&mut self.station.host)?;
        data.window_s = Some(from.elapsed().as_secs_f64());
        data.host = Some(Counters { begin, end });
        for ((name, begin), (_, end)) in begun.into_iter().zip(self.read_targets(targets)?) {
            data.targets.insert(name, Counters { begin, end });
        }
        for job in jobs {
            data.outcomes.push(self.waiting().for_outcome(client, job)?);
        }
        self.keep_samples(samplers, data)?;
        self.end_servers(servers, data)
    }

    /// Ends the servers; web servers report their versions when they have ended.
    fn end_servers(&mut self, servers: Vec<Serving>, data: &mut Data) -> Result<(), RunError> {
        let waiting = self.waiting();
        for (target, job) in servers {
            let peer = self.station.target(target);
            with(peer, |agent| agent.stop(job))?;
            if !matches!(self.load, Load::Web { .. }) {
                continue;
            }
            let about: Option<serve::About> =
                serde_json::from_value(waiting.for_outcome(peer, job)?).ok();
            if let Some(version) = about.and_then(|about| about.version) {
                data.servers.insert(peer.who.clone(), version);
            }
        }
        Ok(())
    }

    /// Starts a server in each target, and says what the client is to do.
    fn prepare(
        &mut self,
        client: &mut Peer,
        targets: &[Target],
    ) -> Result<(Vec<Serving>, Vec<Work>), RunError> {
        let (warmup, window) = (self.workload.warmup, self.workload.window);
        let waiting = self.waiting();
        let (mut servers, mut works) = (Vec::new(), Vec::new());
        for &target in targets {
            let listen = SocketAddr::from((target.address, 0)).to_string();
            let (server, work): (Work, Box<dyn Fn(String) -> Work>) = match self.load {
                Load::Web { dirs, server, .. } => {
                    let dir = work::fileset(*dirs);
                    for peer in [&mut *client, self.station.target(target)] {
                        waiting.for_fileset(peer, *dirs)?;
                    }
                    let (load, seed, set) = (self.load.clone(), self.seed, dir.clone());
                    let work = move |at: String| {
                        let url = format!("http://{at}/");
                        Work::Web { plan: work::web(&load, (warmup, window), url, &set, seed) }
                    };
                    (Work::Serve { dir, listen, threads: 1, server: *server }, Box::new(work))
                }
                _ => {
                    let plan = work::tcp(self.load, window, warmup);
                    let work = move |to: String| Work::TcpSend { to, plan: plan.clone() };
                    (Work::TcpReceive { listen }, Box::new(work))
                }
            };
            let peer = self.station.target(target);
            let who = peer.who.clone();
            let (job, address) = with(peer, |agent| agent.start(&server))?;
            let address = address.ok_or_else(|| RunError::Load {
                who,
                why: "its server does not report its address".to_owned(),
            })?;
            servers.push((target, job));
            works.push(work(address));
        }
        Ok((servers, works))
    }

    /// The targets' own counters; a native machine's are the host's.
    fn read_targets(&mut self, targets: &[Target]) -> Result<Vec<(String, Snapshot)>, RunError> {
        let mut all = Vec::new();
        for &target in targets.iter().filter(|target| target.guest.is_some()) {
            let peer = self.station.target(target);
            let snapshot = snapshot(peer)?;
            all.push((peer.who.clone(), snapshot));
        }
        Ok(all)
    }

    /// Programs that compute, in the host or in guests.
    fn compute(&mut self, data: &mut Data) -> Result<(), RunError> {
        let Load::Cpu { instances, place, passes, .. } = self.load else { return Ok(()) };
        let apart = *place == CpuPlace::DifferentGuests && !self.station.guests.is_empty();
        let plan = work::cpu(self.load, apart);
        let count = if apart { *instances } else { 1 };
        let targets: Vec<Target> = if self.station.guests.is_empty() {
            vec![Target { guest: None, address: [0, 0, 0, 0].into() }]
        } else {
            (0..count).map(|at| Target { guest: Some(at), address: [0, 0, 0, 0].into() }).collect()
        };
        let units = passes * plan.instances as u64;
        let samplers = self.sample()?;
        let begin = snapshot(&mut self.station.host)?;
        let from = Instant::now();
        let mut jobs = Vec::new();
        for &target in &targets {
            let work = Work::Cpu { plan: plan.clone() };
            let job = with(self.station.target(target), |agent| Ok(agent.start(&work)?.0))?;
            jobs.push((target, job));
        }
        let waiting = self.waiting();
        for &(target, job) in jobs.iter().filter(|_| apart) {
            waiting.for_units(self.station.target(target), job, units)?;
        }
        for &(target, job) in jobs.iter().filter(|_| apart) {
            with(self.station.target(target), |agent| agent.stop(job))?;
        }
        for (target, job) in jobs {
            data.outcomes.push(waiting.for_outcome(self.station.target(target), job)?);
        }
        let end = snapshot(&mut self.station.host)?;
        data.window_s = Some(from.elapsed().as_secs_f64());
        data.host = Some(Counters { begin, end });
        self.keep_samples(samplers, data)
    }
}

/// Waiting for machines, until asked to end.
#[derive(Clone, Copy)]
struct Waiting<'a> {
    stop: &'a AtomicBool,
    warmup: Duration,
    window: Duration,
}

impl Waiting<'_> {
    fn pause(self, time: Duration) -> Result<(), RunError> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            if self.stop.load(Relaxed) {
                return Err(RunError::Stopped);
            }
            sleep(until.saturating_duration_since(Instant::now()).min(LOOK));
        }
        Ok(())
    }

    /// Asks a load how far it is until `ends` says that it is far enough, or why it never will be.
    fn ask<T>(
        self,
        peer: &mut Peer,
        job: u32,
        until: Instant,
        ends: impl Fn(Stage) -> Option<Result<T, String>>,
    ) -> Result<T, RunError> {
        loop {
            let end = match with(peer, |agent| agent.stage(job))? {
                Stage::Failed(why) => Some(Err(why)),
                stage => ends(stage),
            };
            let hung = || Err("its load timed out".to_owned());
            match end.or_else(|| (Instant::now() >= until).then(hung)) {
                None => self.pause(LOOK)?,
                Some(end) => {
                    return end.map_err(|why| RunError::Load { who: peer.who.clone(), why });
                }
            }
        }
    }

    /// Waits until all loads have begun what counts.
    fn for_window(self, client: &mut Peer, jobs: &[u32]) -> Result<(), RunError> {
        let until = Instant::now() + self.warmup + PATIENCE;
        jobs.iter().try_for_each(|&job| {
            self.ask(client, job, until, |stage| match stage {
                Stage::Running { measuring, .. } => measuring.then_some(Ok(())),
                _ => Some(Err("the load ended before the measured interval started".to_owned())),
            })
        })
    }

    /// Waits for a load's end and gives its result.
    fn for_outcome(self, peer: &mut Peer, job: u32) -> Result<serde_json::Value, RunError> {
        let until = Instant::now() + self.window + PATIENCE;
        self.ask(peer, job, until, |stage| match stage {
            Stage::Over(text) => {
                let read = serde_json::from_str(&text);
                Some(read.map_err(|error| format!("invalid JSON in its result: {error}")))
            }
            _ => None,
        })
    }

    /// Waits until a program that lingers has done what counts.
    fn for_units(self, peer: &mut Peer, job: u32, units: u64) -> Result<(), RunError> {
        self.ask(peer, job, Instant::now() + PATIENCE, |stage| match stage {
            Stage::Running { done, failed, .. } => (done >= units || failed > 0).then_some(Ok(())),
            _ => Some(Ok(())),
        })
    }

    /// Writes the file set where it is not there yet.
    fn for_fileset(self, peer: &mut Peer, dirs: usize) -> Result<(), RunError> {
        let work = Work::Fileset { dir: work::fileset(dirs), dirs };
        let job = with(peer, |agent| Ok(agent.start(&work)?.0))?;
        self.ask(peer, job, Instant::now() + PATIENCE * 10, |stage| {
            matches!(stage, Stage::Over(_)).then_some(Ok(()))
        })
    }
}

/// What an agent answers; one that is lost is connected anew the next time.
fn with<T>(
    peer: &mut Peer,
    ask: impl FnOnce(&mut agent::Handle<agent::Stream>) -> Result<T, agent::Error>,
) -> Result<T, RunError> {
    let answer = peer.handle().and_then(ask);
    answer.map_err(|source| {
        if !matches!(source, agent::Error::Failed(_)) {
            peer.forget();
        }
        RunError::Agent { who: peer.who.clone(), source }
    })
}

fn snapshot(peer: &mut Peer) -> Result<Snapshot, RunError> {
    with(peer, |agent| agent.snapshot(true))
}

/// CPUs that were busy between two readings, vmeter's own apart.
fn busy(begin: &Snapshot, end: &Snapshot) -> Option<f64> {
    busy_cpus(&account::usage(begin, end).ok()?)
}
