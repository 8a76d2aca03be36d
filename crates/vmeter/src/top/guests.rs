//! The agents in guests (`--agent`): what only they can tell joins what the host reads.

use crate::failure::Refused;
use crate::monitor::Monitor;
use agent::{Handle, Security, Stream};
use anyhow::Result;
use model::{Absent, Inside, Reading, Snapshot};
use platform::{OpenError, Source, Want};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// After the host was read its guests have so long to answer: an interval does not wait for one
/// that hangs.
const PATIENCE: Duration = Duration::from_millis(250);
/// A guest that is lost is connected to again after this time.
const AGAIN: Duration = Duration::from_secs(2);

/// Reads a host, and the guests in which there are agents.
pub struct Guests {
    host: Box<dyn Source>,
    watches: Vec<Watch>,
    /// Readings so far: an answer to an earlier one is not taken for this one's.
    turn: u64,
}

impl Guests {
    /// Connects to each agent.
    ///
    /// # Errors
    /// An agent that does not answer, and a name that no VM has.
    pub fn connect(
        mut host: Box<dyn Source>,
        agents: &[Monitor],
        security: &Security,
    ) -> Result<Self> {
        let vms: Vec<String> =
            host.read(Want::default())?.vms.into_iter().map(|vm| vm.name).collect();
        let watches = agents
            .iter()
            .map(|monitor| {
                let watch = Watch::start(monitor, security)?;
                if vms.contains(&watch.vm) {
                    return Ok(watch);
                }
                Err(Refused(format!(
                    "the agent {} is of {}, and no VM has this name (there are: {}); give \
                     NAME=ADDR",
                    monitor.address,
                    watch.vm,
                    vms.join(", ")
                ))
                .into())
            })
            .collect::<Result<_>>()?;
        Ok(Self { host, watches, turn: 0 })
    }
}

impl Source for Guests {
    fn read(&mut self, want: Want) -> Result<Snapshot, OpenError> {
        self.turn += 1;
        for watch in &self.watches {
            watch.ask(self.turn);
        }
        let mut snapshot = self.host.read(want)?;
        let until = Instant::now() + PATIENCE;
        for watch in &self.watches {
            let inside = watch.answer(self.turn, until);
            for vm in snapshot.vms.iter_mut().filter(|vm| vm.name == watch.vm) {
                vm.inside.clone_from(&inside);
            }
        }
        Ok(snapshot)
    }
}

/// A thread that talks to one agent.
struct Watch {
    vm: String,
    asks: Sender<u64>,
    answers: Receiver<(u64, Reading<Inside>)>,
}

impl Watch {
    fn start(monitor: &Monitor, security: &Security) -> Result<Self> {
        let (vm, handle) = monitor.connect(security)?;
        let (asks, asked) = channel();
        let (answer, answers) = channel();
        let (monitor, security) = (monitor.clone(), security.clone());
        thread::Builder::new().name("guest".to_owned()).spawn(move || {
            let mut talk = Talk { monitor, security, handle: Some(handle), failed: Instant::now() };
            while let Ok(turn) = asked.recv() {
                // Where several were asked meanwhile, the last one counts.
                let turn = asked.try_iter().last().unwrap_or(turn);
                if answer.send((turn, talk.read())).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { vm, asks, answers })
    }

    fn ask(&self, turn: u64) {
        // A thread that is gone does not answer, which is said then.
        let _ = self.asks.send(turn);
    }

    fn answer(&self, turn: u64, until: Instant) -> Reading<Inside> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.answers.recv_timeout(left) {
                Ok((of, inside)) if of == turn => return inside,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => {
                    return Err(Absent::Failed("its agent does not answer in time".into()));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Absent::Failed("its agent is given up".into()));
                }
            }
        }
    }
}

/// A connection that is made anew when it was lost.
struct Talk {
    monitor: Monitor,
    security: Security,
    handle: Option<Handle<Stream>>,
    /// When it was last lost.
    failed: Instant,
}

impl Talk {
    fn read(&mut self) -> Reading<Inside> {
        if self.handle.is_none() && self.failed.elapsed() >= AGAIN {
            match self.monitor.connect_again(&self.security) {
                Ok(handle) => self.handle = Some(handle),
                Err(error) => return Err(self.lost(&error)),
            }
        }
        let Some(handle) = &mut self.handle else {
            return Err(Absent::Failed("its agent is lost".into()));
        };
        match handle.inside() {
            Ok(inside) => Ok(inside),
            Err(agent::Error::Failed(why)) => Err(Absent::Failed(why.into())),
            Err(error) => Err(self.lost(&error)),
        }
    }

    fn lost(&mut self, error: &agent::Error) -> Absent {
        self.handle = None;
        self.failed = Instant::now();
        Absent::Failed(format!("its agent: {error}").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::fixture;
    use agent::{Agent, Listener};
    use platform::Choice;
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

    /// Runs `check` while an agent serves at the socket, and stops the agent.
    fn with_agent<T>(socket: &Path, check: impl FnOnce() -> T) -> T {
        let (platform, root, instance) = (Choice::Alone, "/".into(), Vec::new());
        let agent = Agent { platform, root, instance, dir: None, read_only: true };
        let listener = Listener::unix(socket).unwrap();
        let stop = AtomicBool::new(false);
        let checked = thread::scope(|scope| {
            scope.spawn(|| agent.serve(&listener, &Security::Transport, &stop, &|_| ()));
            let checked = check();
            stop.store(true, SeqCst);
            checked
        });
        std::fs::remove_file(socket).unwrap();
        checked
    }

    fn inside(guests: &mut Guests, vm: usize) -> Reading<Inside> {
        guests.read(Want::default()).unwrap().vms.remove(vm).inside
    }

    #[test]
    fn a_guest_tells_of_itself_until_its_agent_is_gone_and_again_when_it_is_back() {
        let place = tempfile::tempdir().unwrap();
        let socket = place.path().join("agent");
        let named = [format!("g1={}", socket.display()).parse().unwrap()];
        let connect = || {
            let host = Box::new(fixture::Fake::with_vms(&["g1", "g2"]));
            Guests::connect(host, &named, &Security::Transport)
        };
        let mut guests = with_agent(&socket, || {
            let mut guests = connect().unwrap();
            let first = inside(&mut guests, 0).unwrap();
            let second = inside(&mut guests, 0).unwrap();
            assert!(second.window.start >= first.window.end && second.user >= first.user);
            assert_eq!(inside(&mut guests, 1), Err(Absent::NotReported));
            guests
        });
        let Err(Absent::Failed(why)) = inside(&mut guests, 0) else { panic!("it is gone") };
        assert!(why.contains("agent"), "{why}");
        assert!(connect().is_err());
        with_agent(&socket, || {
            let until = Instant::now() + Duration::from_secs(20);
            while inside(&mut guests, 0).is_err() {
                assert!(Instant::now() < until, "it is not connected to again");
                thread::sleep(Duration::from_millis(100));
            }
        });
    }

    #[test]
    fn a_name_that_no_vm_has_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let socket = place.path().join("agent");
        let agents = [format!("g3={}", socket.display()).parse().unwrap()];
        let error = with_agent(&socket, || {
            let host = Box::new(fixture::Fake::with_vms(&["g1", "g2"]));
            Guests::connect(host, &agents, &Security::Transport).err().unwrap()
        });
        assert!(error.to_string().contains("of g3") && error.to_string().contains("g1, g2"));
    }
}
