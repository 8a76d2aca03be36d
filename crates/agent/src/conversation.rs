//! What an agent does for one connection, request by request.

use crate::agent::Agent;
use crate::message::{Hello, PROTOCOL, Reply, Request};
use crate::sampling::{self, Sampler, Sampling};
use crate::scratch::Scratch;
use crate::settings::Settings;
use crate::work::Job;
use crate::{Error, Role, Stage};
use model::Nanos;
use platform::host::{self, Tree};
use platform::{Choice, OpenError, Source, Want, tune};
use tracing::info;
use workload::{CpuTime, Environment, clock};

/// Workloads that a connection may start in its life.
const MOST_JOBS: usize = 10_000;

/// What a connection has begun. It ends with it: settings are undone before workloads, which may
/// take their time, are waited for. A panic drops the fields in this order, too.
pub(crate) struct Conversation<'a> {
    agent: &'a Agent,
    /// What the other end may ask.
    role: Role,
    greeted: bool,
    source: Result<Box<dyn Source>, String>,
    settings: Settings,
    jobs: Vec<Job>,
    sampler: Option<Sampler>,
    scratch: &'a Scratch,
}

impl<'a> Conversation<'a> {
    pub(crate) fn new(agent: &'a Agent, scratch: &'a Scratch, role: Role) -> Self {
        let source = open(agent).map_err(|error| error.to_string());
        let settings = Settings::default();
        Self {
            agent,
            role,
            greeted: false,
            source,
            jobs: Vec::new(),
            settings,
            sampler: None,
            scratch,
        }
    }

    /// The reply, and why there will be no more after it.
    pub(crate) fn answer(&mut self, request: Request) -> (Reply, Option<Error>) {
        match request {
            Request::Hello { protocol } => {
                self.greeted = protocol == PROTOCOL;
                let error = (!self.greeted).then_some(Error::Version { theirs: protocol });
                (Reply::Hello(Box::new(hello(&self.source))), error)
            }
            _ if !self.greeted => (failed("the first request must be a hello"), None),
            request => (self.serve(request), None),
        }
    }

    fn serve(&mut self, request: Request) -> Reply {
        match request {
            // Answered before a connection is greeted; another is no harm.
            Request::Hello { .. } => Reply::Hello(Box::new(hello(&self.source))),
            Request::Clock => Reply::Clock { monotonic: clock::now(), stamp: sample::stamp() },
            Request::Snapshot { vcpus } => self.snapshot(vcpus),
            Request::Inside => self.inside(),
            Request::Interrupts => self.interrupts(),
            request if request.changes() && self.agent.read_only => {
                failed("this agent only reads counters (--read-only)")
            }
            request if request.role() > self.role => failed(format!(
                "the request needs a key of the role {}, or the unix socket; this connection has \
                 the role {}",
                request.role(),
                self.role
            )),
            Request::Start { work } => self.start(&work),
            Request::Stage { job } => self.with(job, |job| job.stage()),
            Request::Stop { job } => self.with(job, |job| {
                job.stop();
                job.stage()
            }),
            Request::Set { setting } => self.set(&setting),
            Request::Restore => Reply::Restored { failed: self.settings.restore() },
            Request::Put { name, offset, size, bytes } => {
                let put = self.scratch.put(&name, offset, size, &bytes);
                put.map_or_else(failed, |path| Reply::Put { path: path.display().to_string() })
            }
            Request::Fetch { name, offset } => {
                let piece = self.scratch.fetch(&name, offset);
                piece.map_or_else(failed, |(bytes, size)| Reply::Piece { bytes, size })
            }
            Request::Checksum(file) => {
                sampling::checksum(&file).map_or_else(failed, Reply::Checksum)
            }
            Request::Sample(what) => self.sample(&what),
            Request::Existing { from } => self.with_sampler(|sampler| {
                let (records, all) = sampler.existing(from as usize);
                Ok(Reply::Existing { records, all: u32::try_from(all).unwrap_or(u32::MAX) })
            }),
            Request::Drain => self.with_sampler(|sampler| Ok(Reply::Drained(sampler.drain()?))),
            Request::EndSampling => {
                self.with_sampler(|sampler| Ok(Reply::Sampled { events: sampler.stop()? }))
            }
            Request::Symbols { file, offset } => {
                let piece = sampling::read(&file, offset);
                piece.map_or_else(failed, |(bytes, size)| Reply::Piece { bytes, size })
            }
        }
    }

    /// Ends what was begun; what could not be undone.
    pub(crate) fn end(mut self) -> Vec<String> {
        for job in &self.jobs {
            job.stop();
        }
        // Dropping the jobs then waits for them: all have been told.
        self.settings.restore()
    }

    fn snapshot(&mut self, vcpus: bool) -> Reply {
        match &mut self.source {
            Ok(source) => match source.read(Want { vcpus, placement: false, exact_idle: true }) {
                Ok(mut snapshot) => {
                    // Workloads are threads of this process: they are what is measured, and only
                    // this thread is the monitor.
                    let own = CpuTime::of_thread().total();
                    snapshot.me.cpu = Nanos((own * 1e9) as u64);
                    Reply::Snapshot(Box::new(snapshot))
                }
                Err(error) => failed(error),
            },
            Err(error) => failed(error),
        }
    }

    fn inside(&self) -> Reply {
        let tree = self.tree();
        let inside = tree.and_then(|tree| host::inside(&tree).map_err(|error| error.to_string()));
        inside.map_or_else(failed, |inside| Reply::Inside(Box::new(inside)))
    }

    fn tree(&self) -> Result<Tree, String> {
        Tree::open(&self.agent.root).map_err(|error| error.to_string())
    }

    fn interrupts(&self) -> Reply {
        let tree = self.tree();
        let table = tree.and_then(|tree| tune::interrupts(&tree).map_err(|e| e.to_string()));
        table.map_or_else(failed, |table| Reply::Interrupts(Box::new(table)))
    }

    /// Starts a workload and gives it a number.
    fn start(&mut self, work: &str) -> Reply {
        if self.jobs.len() >= MOST_JOBS {
            return failed(format!("a connection starts at most {MOST_JOBS} workloads"));
        }
        let parsed =
            serde_json::from_str(work).map_err(|error| format!("invalid workload: {error}"));
        match parsed.and_then(|work| Job::start(work, &self.agent.instance)) {
            Ok(started) => {
                let address = started.address.clone();
                info!(job = self.jobs.len(), ?address, "workload started");
                self.jobs.push(started);
                Reply::Started { job: self.jobs.len() as u32 - 1, address }
            }
            Err(error) => Reply::Failed(error),
        }
    }

    /// Samples anew; what was sampled before is given up.
    fn sample(&mut self, what: &Sampling) -> Reply {
        self.sampler = None;
        match Sampler::start(what) {
            Ok((sampler, opened)) => {
                info!(?what, cpus = opened.cpus, notes = ?opened.notes, "sampling");
                self.sampler = Some(sampler);
                Reply::Sampling(Box::new(opened))
            }
            Err(why) => Reply::Failed(why),
        }
    }

    fn with_sampler(&mut self, what: impl FnOnce(&mut Sampler) -> Result<Reply, String>) -> Reply {
        match &mut self.sampler {
            Some(sampler) => what(sampler).unwrap_or_else(Reply::Failed),
            None => failed("this connection does not sample"),
        }
    }

    fn with(&mut self, job: u32, what: impl FnOnce(&mut Job) -> Stage) -> Reply {
        match self.jobs.get_mut(job as usize) {
            Some(job) => Reply::Stage(what(job)),
            None => failed(format!("workload {job} not found on this connection")),
        }
    }

    fn set(&mut self, setting: &str) -> Reply {
        let parsed =
            serde_json::from_str(setting).map_err(|error| format!("invalid setting: {error}"));
        let set = parsed
            .and_then(|setting| self.settings.set(&setting, &self.agent.root, &mut self.source));
        match &set {
            Ok(was) => info!(?was, "set"),
            Err(why) => info!(?why, "not set"),
        }
        set.map_or_else(Reply::Failed, |was| Reply::Set { was })
    }
}

fn failed(why: impl ToString) -> Reply {
    Reply::Failed(why.to_string())
}

/// What the agent was told to read; a machine that has no VMs, such as a guest, reads itself.
fn open(agent: &Agent) -> Result<Box<dyn Source>, OpenError> {
    match platform::open(agent.platform, &agent.root) {
        Err(OpenError::NotHere { .. }) if agent.platform == Choice::Auto => {
            platform::open(Choice::Alone, &agent.root)
        }
        opened => opened,
    }
}

fn hello(source: &Result<Box<dyn Source>, String>) -> Hello {
    Hello {
        protocol: PROTOCOL,
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        environment: Environment::read(None),
        unreadable: source.as_ref().err().cloned(),
    }
}
