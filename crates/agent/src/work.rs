//! Workloads that an agent runs for its controller. They end with the connection that began them.

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread::{self, JoinHandle};
use workload::{Control, cpu, fileset, serve, tcp, web};

/// What to run; it crosses the wire as JSON, the form that plans are written in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum Work {
    /// The listening end of one TCP load.
    TcpReceive {
        /// Where to listen; port 0 is any free one.
        listen: String,
    },
    /// The connecting end of a TCP load.
    TcpSend {
        /// The other end.
        to: String,
        /// The load.
        plan: tcp::Plan,
    },
    /// A web load.
    Web {
        /// The load.
        plan: web::Plan,
    },
    /// A static web server, until it is stopped.
    Serve {
        /// What it serves.
        dir: PathBuf,
        /// Where it listens; port 0 is any free one.
        listen: String,
        /// Its threads, or worker processes.
        threads: usize,
        /// Which one.
        #[serde(default)]
        server: serve::Software,
    },
    /// Writes the web file set, unless it is there.
    Fileset {
        /// Where.
        dir: PathBuf,
        /// Its directories.
        dirs: usize,
    },
    /// A CPU load.
    Cpu {
        /// The load.
        plan: cpu::Plan,
    },
}

/// How far a workload is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Stage {
    /// It runs: units done, and those that failed.
    Running {
        /// Whether the warm-up is over and what is measured has begun.
        measuring: bool,
        /// Units done.
        done: u64,
        /// Of them, failed.
        failed: u64,
    },
    /// It is over: its outcome as JSON; empty where it has none.
    Over(String),
    /// It went wrong: why.
    Failed(String),
}

/// A running workload.
pub struct Job {
    control: Control,
    /// Where it listens, where it does.
    pub address: Option<String>,
    result: Receiver<Result<String, String>>,
    stage: Option<Stage>,
    thread: Option<JoinHandle<()>>,
}

/// A workload that is ready to run: where it listens, and what runs it.
type Ready = (Option<String>, Box<dyn FnOnce(&Control) -> Result<String, String> + Send>);

impl Job {
    /// Starts a workload. What listens does so when this returns.
    ///
    /// `instance` is how this program is made an instance of the CPU load.
    pub fn start(work: Work, instance: &[String]) -> Result<Self, String> {
        let (address, run) = prepare(work, instance)?;
        let control = Control::default();
        let (give, result) = channel();
        let theirs = control.clone();
        let thread = thread::Builder::new()
            .name("workload".to_owned())
            .spawn(move || {
                // Where nobody waits for it any more, the connection is gone.
                let _ = give.send(run(&theirs));
            })
            .map_err(|error| format!("cannot start a thread for the workload: {error}"))?;
        Ok(Self { control, address, result, stage: None, thread: Some(thread) })
    }

    /// Asks it to end with what it has.
    pub fn stop(&self) {
        self.control.stop();
    }

    /// How far it is.
    pub fn stage(&mut self) -> Stage {
        if self.stage.is_none() {
            self.stage = match self.result.try_recv() {
                Ok(Ok(outcome)) => Some(Stage::Over(outcome)),
                Ok(Err(error)) => Some(Stage::Failed(error)),
                Err(TryRecvError::Disconnected) => {
                    Some(Stage::Failed("the workload panicked".to_owned()))
                }
                Err(TryRecvError::Empty) => None,
            };
        }
        self.stage.clone().unwrap_or_else(|| {
            let progress = self.control.progress();
            Stage::Running {
                measuring: progress.measuring.load(Relaxed),
                done: progress.done.load(Relaxed),
                failed: progress.failed.load(Relaxed),
            }
        })
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.control.stop();
        if let Some(thread) = self.thread.take() {
            // A panic is told by the stage.
            let _ = thread.join();
        }
    }
}

fn prepare(work: Work, instance: &[String]) -> Result<Ready, String> {
    Ok(match work {
        Work::TcpReceive { listen } => {
            let server = tcp::Server::bind(&listen).map_err(text)?;
            let address = server.address().map_err(text)?.to_string();
            (Some(address), Box::new(move |control| json(server.serve(control).map_err(text)?)))
        }
        Work::TcpSend { to, plan } => {
            plan.check().map_err(text)?;
            (None, Box::new(move |control| json(tcp::send(&plan, &to, control).map_err(text)?)))
        }
        Work::Web { plan } => {
            plan.check().map_err(text)?;
            (None, Box::new(move |control| json(web::run(&plan, control).map_err(text)?)))
        }
        Work::Serve { dir, listen, threads, server } => {
            serve(server, &dir, &listen, threads).map_err(text)?
        }
        Work::Fileset { dir, dirs } => {
            (None, Box::new(move |control| fileset(&dir, dirs, control)))
        }
        Work::Cpu { plan } => {
            let plan = cpu::Plan { child: instance.to_vec(), ..plan };
            plan.check().map_err(text)?;
            (None, Box::new(move |control| json(cpu::run(&plan, control).map_err(text)?)))
        }
    })
}

fn serve(
    server: serve::Software,
    dir: &Path,
    listen: &str,
    threads: usize,
) -> Result<Ready, workload::Error> {
    let ended =
        |end: Result<(), workload::Error>, about| end.map_err(text).and_then(|()| json(about));
    Ok(match server.foreign() {
        Some(foreign) => {
            let process = serve::Process::start(foreign, dir, listen, threads)?;
            let address = process.address().to_string();
            let about = serve::About { version: process.version().map(str::to_owned) };
            (Some(address), Box::new(move |control| ended(process.run(control), about)))
        }
        None => {
            let server = serve::Server::bind(dir, listen)?;
            let address = server.address()?.to_string();
            let about = serve::About::own();
            (Some(address), Box::new(move |control| ended(server.run(threads, control), about)))
        }
    })
}

/// The seed of a file set's contents, which nobody reads.
const CONTENTS: u64 = 1;

fn fileset(dir: &Path, dirs: usize, control: &Control) -> Result<String, String> {
    fileset::write(dir, dirs, CONTENTS, control).map_err(text)?;
    json(fileset::Statistics::of(dirs))
}

fn text(error: workload::Error) -> String {
    error.to_string()
}

fn json(outcome: impl Serialize) -> Result<String, String> {
    serde_json::to_string(&outcome)
        .map_err(|error| format!("cannot write the outcome as JSON: {error}"))
}
