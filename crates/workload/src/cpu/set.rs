//! The processes of the instances: started together, heard from, and never left behind.

use super::protocol::{Job, Order, Reply, receive, send};
use crate::Error;
use std::ffi::OsString;
use std::io::BufReader;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How long instances may take to end by themselves, and with them their programs.
const GRACE: Duration = Duration::from_secs(5);
/// The same where the run was ended early.
const STOPPED_GRACE: Duration = Duration::from_millis(300);

/// The command that makes a process an instance.
#[derive(Debug)]
pub(super) struct Starter {
    pub(super) executable: PathBuf,
    pub(super) arguments: Vec<OsString>,
}

/// What comes from an instance.
#[derive(Debug)]
pub(super) enum Heard {
    Reply(Reply),
    /// Nothing more comes.
    End,
}

/// Running instances, which end with this.
#[derive(Debug)]
pub(super) struct Set {
    instances: Vec<Process>,
    heard: Receiver<(usize, Heard)>,
    silent: usize,
    grace: Duration,
}

#[derive(Debug)]
struct Process {
    child: Child,
    orders: Option<ChildStdin>,
}

impl Set {
    /// Starts an instance for each job.
    pub(super) fn start(starter: &Starter, jobs: Vec<Job>) -> Result<Self, Error> {
        let (sender, heard) = channel();
        let mut set = Self { instances: Vec::new(), heard, silent: 0, grace: GRACE };
        for job in jobs {
            let mut child = starter.spawn()?;
            let orders = child.stdin.take();
            if let Some(replies) = child.stdout.take() {
                listen(job.index, replies, sender.clone());
            }
            set.instances.push(Process { child, orders });
            // One that has ended already says so itself.
            if let Some(orders) = set.instances.last_mut().and_then(|one| one.orders.as_mut()) {
                let _ = send(orders, &Order::Prepare(job));
            }
        }
        Ok(set)
    }

    /// Tells all; those that have ended do not hear it.
    pub(super) fn order(&mut self, order: &Order) {
        for orders in self.instances.iter_mut().filter_map(|one| one.orders.as_mut()) {
            let _ = send(orders, order);
        }
    }

    /// Waits up to `time` for what an instance says.
    pub(super) fn hear(&mut self, time: Duration) -> Option<(usize, Heard)> {
        let heard = self.heard.recv_timeout(time).ok()?;
        self.silent += usize::from(matches!(heard.1, Heard::End));
        Some(heard)
    }

    /// How many have said their last.
    pub(super) fn silent(&self) -> usize {
        self.silent
    }

    /// The run was ended early: nobody is waited for long.
    pub(super) fn hurry(&mut self) {
        self.grace = STOPPED_GRACE;
    }

    /// Lets all end.
    pub(super) fn close(&mut self) {
        for one in &mut self.instances {
            one.orders = None;
        }
    }

    /// How an instance that says nothing more has ended.
    pub(super) fn ended(&mut self, index: usize) -> String {
        let one = &mut self.instances[index];
        one.orders = None;
        match one.wait(Instant::now() + GRACE) {
            Some(status) => format!("its process exited early ({status})"),
            None => "its process timed out".to_owned(),
        }
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        self.close();
        let until = Instant::now() + self.grace;
        for one in &mut self.instances {
            if one.wait(until).is_none() {
                let _ = one.child.kill();
                let _ = one.child.wait();
            }
        }
    }
}

impl Process {
    fn wait(&mut self, until: Instant) -> Option<std::process::ExitStatus> {
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < until => thread::sleep(Duration::from_millis(2)),
                _ => return None,
            }
        }
    }
}

impl Starter {
    /// Of its own process group, so that an interrupt from the terminal reaches the one that
    /// measures only, which ends the others.
    fn spawn(&self) -> Result<Child, Error> {
        Command::new(&self.executable)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(Error::io(format!("starting {}", self.executable.display())))
    }
}

fn listen(index: usize, replies: ChildStdout, to: Sender<(usize, Heard)>) {
    thread::spawn(move || {
        let mut replies = BufReader::new(replies);
        loop {
            let heard = match receive(&mut replies) {
                Ok(Some(reply)) => Heard::Reply(reply),
                Ok(None) => Heard::End,
                Err(error) => {
                    let _ =
                        to.send((index, Heard::Reply(Reply::Failed { error: error.to_string() })));
                    Heard::End
                }
            };
            let last = matches!(heard, Heard::End);
            if to.send((index, heard)).is_err() || last {
                break;
            }
        }
    });
}
