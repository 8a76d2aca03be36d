//! The agents in guests (`--agent`): what only they can tell joins what the host reads.

use crate::failure::Refused;
use crate::monitor::{Monitor, vm_meant};
use agent::{Deadline, Handle, Security, Stream};
use anyhow::Result;
use model::{Absent, Inside, Reading, Snapshot, Vm, VmId, escape};
use platform::{OpenError, Source, Want};
use std::io::ErrorKind;
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
    /// Connects to each agent. One that cannot be reached is connected to later, and a warning
    /// says so.
    ///
    /// # Errors
    /// An agent that refuses the connection's key or version, and a name that no VM has.
    pub fn connect(
        mut host: Box<dyn Source>,
        agents: &[Monitor],
        security: &Security,
        warn: &mut dyn FnMut(&str),
    ) -> Result<Self> {
        let vms = host.read(Want::default())?.vms;
        let mut watches: Vec<Watch> = Vec::with_capacity(agents.len());
        for monitor in agents {
            let mut watch = Watch::start(monitor, security, warn)?;
            let address = escape(&monitor.address);
            let refused =
                |why: String| Refused(format!("agent {address}: {why}: use NAME=ADDR or ID=ADDR"));
            if let Some(name) = &watch.vm {
                let id = vm_meant(&vms, name).map_err(refused)?.id.clone();
                if watches.iter().any(|other| other.bound.as_ref() == Some(&id)) {
                    return Err(refused(format!("VM {} already has an agent", escape(name))).into());
                }
                watch.bound = Some(id);
            }
            watches.push(watch);
        }
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
        for watch in &mut self.watches {
            let inside = watch.answer(self.turn, until);
            watch.bind(&snapshot.vms);
            let is_its = |vm: &&mut Vm| watch.bound.as_ref() == Some(&vm.id);
            if let Some(vm) = snapshot.vms.iter_mut().find(is_its) {
                vm.inside = inside;
            }
        }
        Ok(snapshot)
    }
}

/// A thread that talks to one agent.
struct Watch {
    /// `None` until an agent without a given name is first connected.
    vm: Option<String>,
    /// The VM that it is the agent of. Another VM that takes its name gets nothing of it.
    bound: Option<VmId>,
    asks: Sender<u64>,
    answers: Receiver<Answer>,
}

/// An agent's answer to one reading.
struct Answer {
    turn: u64,
    vm: Option<String>,
    inside: Reading<Inside>,
}

impl Watch {
    fn start(monitor: &Monitor, security: &Security, warn: &mut dyn FnMut(&str)) -> Result<Self> {
        let (monitor, security) = (monitor.clone(), security.clone());
        let vm = monitor.name().map(str::to_owned);
        let lost = Absent::NotReported;
        let mut talk = Talk { monitor, security, vm, handle: None, lost, failed: Instant::now() };
        match talk.connect() {
            Ok(()) => {}
            Err(error) if is_unreachable(&error) => {
                let address = escape(&talk.monitor.address);
                warn(&format!("agent {address}: {error}: retrying every 2 s"));
                talk.lost(&error);
            }
            Err(error) => {
                let address = escape(&talk.monitor.address);
                return Err(anyhow::Error::new(error).context(format!("agent {address}")));
            }
        }
        let vm = talk.vm.clone();
        let (asks, asked) = channel();
        let (answer, answers) = channel();
        thread::Builder::new().name("guest".to_owned()).spawn(move || {
            while let Ok(turn) = asked.recv() {
                // Where several were asked meanwhile, the last one counts.
                let turn = asked.try_iter().last().unwrap_or(turn);
                let inside = talk.read();
                if answer.send(Answer { turn, vm: talk.vm.clone(), inside }).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { vm, bound: None, asks, answers })
    }

    /// Finds the VM again where it has started anew, or the agent was first reached now.
    fn bind(&mut self, vms: &[Vm]) {
        if !vms.iter().any(|vm| self.bound.as_ref() == Some(&vm.id)) {
            let name = self.vm.as_deref();
            self.bound = name.and_then(|name| Some(vm_meant(vms, name).ok()?.id.clone()));
        }
    }

    fn ask(&self, turn: u64) {
        // A thread that is gone does not answer, which is said then.
        let _ = self.asks.send(turn);
    }

    fn answer(&mut self, turn: u64, until: Instant) -> Reading<Inside> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.answers.recv_timeout(left) {
                Ok(answer) if answer.turn == turn => {
                    self.vm = answer.vm;
                    return answer.inside;
                }
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => {
                    return Err(Absent::Failed("its agent timed out".into()));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Absent::Failed("its agent was disconnected".into()));
                }
            }
        }
    }
}

/// Whether the agent, or its machine, is down: then it may come up. A wrong address stays wrong.
fn is_unreachable(error: &agent::Error) -> bool {
    matches!(error, agent::Error::Io(error) if error.kind() != ErrorKind::InvalidInput)
}

/// A connection that is made anew when it was lost.
struct Talk {
    monitor: Monitor,
    security: Security,
    vm: Option<String>,
    handle: Option<Handle<Stream>>,
    /// Why there is no connection.
    lost: Absent,
    /// When it was last lost.
    failed: Instant,
}

impl Talk {
    fn connect(&mut self) -> Result<(), agent::Error> {
        let handle = self.monitor.connect_again(&self.security, &Deadline::default())?;
        let name = || handle.hello().host.clone();
        self.vm.get_or_insert_with(name);
        self.handle = Some(handle);
        Ok(())
    }

    fn read(&mut self) -> Reading<Inside> {
        if self.handle.is_none() && self.failed.elapsed() >= AGAIN {
            self.connect().map_err(|error| self.lost(&error))?;
        }
        let Some(handle) = &mut self.handle else { return Err(self.lost.clone()) };
        match handle.inside() {
            Ok(inside) => Ok(inside),
            Err(agent::Error::Failed(why)) => Err(Absent::Failed(why.into())),
            Err(error) => Err(self.lost(&error)),
        }
    }

    fn lost(&mut self, error: &agent::Error) -> Absent {
        self.handle = None;
        self.failed = Instant::now();
        self.lost = Absent::Failed(format!("its agent: {error}").into());
        self.lost.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::fixture;
    use agent::{Agent, Listener};
    use platform::Choice;
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

    /// Runs `check` while an agent serves at the socket, and stops the agent.
    fn with_agent<T>(socket: &Path, check: impl FnOnce() -> T) -> T {
        let (platform, root, instance) = (Choice::Alone, "/".into(), Vec::new());
        let agent = Agent { platform, root, instance, dir: None, read_only: true };
        let listener = Listener::unix(socket).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let checked = thread::scope(|scope| {
            scope.spawn(|| agent.serve(&listener, &Security::Transport, &stop, &|_| ()));
            // A check that fails ends the agent, too.
            let _stopped = Stopped(&stop);
            check()
        });
        std::fs::remove_file(socket).unwrap();
        checked
    }

    struct Stopped<'a>(&'a AtomicBool);

    impl Drop for Stopped<'_> {
        fn drop(&mut self) {
            self.0.store(true, SeqCst);
        }
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
            Guests::connect(host, &named, &Security::Transport, &mut |_| ())
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
            Guests::connect(host, &agents, &Security::Transport, &mut |_| ()).err().unwrap()
        });
        let wanted = "VM `g3` not found: expected one of g1, g2: use NAME=ADDR or ID=ADDR";
        assert!(error.to_string().contains(wanted), "{error}");
    }

    #[test]
    fn attack_by_a_vm_of_anothers_name_gets_nothing_of_its_agent() {
        let place = tempfile::tempdir().unwrap();
        let socket = place.path().join("agent");
        let connect = |name: &str, vms: &[&str]| {
            let host = Box::new(fixture::Fake::with_vms(vms));
            let agent = format!("{name}={}", socket.display()).parse().unwrap();
            Guests::connect(host, &[agent], &Security::Transport, &mut |_| ())
        };
        with_agent(&socket, || {
            let error = connect("g1", &["g1", "g2", "g1"]).err().unwrap().to_string();
            assert!(
                error.contains("several VMs have the name `g1`: use one of the ids "),
                "{error}"
            );
            // By its id it is told apart; and one that comes later changes nothing.
            let first = fixture::Fake::id(0).to_string();
            for (name, vms) in [(first.as_str(), ["g1", "g2", "g1"]), ("g1", ["g1", "g2", "g3"])] {
                let mut guests = connect(name, &vms).unwrap();
                guests.host = Box::new(fixture::Fake::with_vms(&["g1", "g2", "g1"]));
                let vms = guests.read(Want::default()).unwrap().vms;
                assert!(vms[0].inside.is_ok(), "{name}: {:?}", vms[0].inside);
                assert_eq!(vms[2].inside, Err(Absent::NotReported), "{name}");
            }
        });
    }

    #[test]
    fn an_agent_that_is_down_at_the_start_is_a_dash_until_it_is_up() {
        let place = tempfile::tempdir().unwrap();
        let socket = place.path().join("agent");
        let agents = [format!("g1={}", socket.display()).parse().unwrap()];
        let mut warnings = Vec::new();
        let host = Box::new(fixture::Fake::with_vms(&["g1", "g2"]));
        let mut warn = |warning: &str| warnings.push(warning.to_owned());
        let mut guests = Guests::connect(host, &agents, &Security::Transport, &mut warn).unwrap();
        assert!(warnings[0].contains("agent") && warnings.len() == 1, "{warnings:?}");
        for _ in 0..2 {
            let Err(Absent::Failed(why)) = inside(&mut guests, 0) else { panic!("it is down") };
            assert!(why.contains("No such file"), "{why}");
        }
        assert_eq!(inside(&mut guests, 1), Err(Absent::NotReported));
        with_agent(&socket, || {
            let until = Instant::now() + Duration::from_secs(20);
            while inside(&mut guests, 0).is_err() {
                assert!(Instant::now() < until, "it is not connected to");
                thread::sleep(Duration::from_millis(100));
            }
        });
        // An address that cannot be one is an error at once.
        let wrong = ["g1=vsock:x".parse().unwrap()];
        let host = Box::new(fixture::Fake::with_vms(&["g1"]));
        assert!(Guests::connect(host, &wrong, &Security::Transport, &mut |_| ()).is_err());
    }
}
