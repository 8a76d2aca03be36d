//! Starts the instances, lets them begin together and collects what they took.

use super::load::CALLS_PER_PASS;
use super::outcome::{InstanceOutcome, Outcome, SCHEMA, Work};
use super::plan::Plan;
use super::protocol::{Counted, Job, Kind, Order, Reply};
use super::set::{Heard, Set, Starter};
use crate::{Control, Environment, Error, clock};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// How soon an asked-for end is seen.
const GLANCE: Duration = Duration::from_millis(50);
/// How long all may take to say their last after the end of the run.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// The same where it was ended early.
const STOPPED_WORDS: Duration = Duration::from_millis(400);
/// From the order to start to the start: so that all have it before any takes the CPU.
const START_NS: u64 = 20_000_000;
const START_EACH_NS: u64 = 1_000_000;

/// Runs the plan's instances at once and gives what each took for its work. Those that are done
/// keep working uncounted until all are.
///
/// # Errors
///
/// [`Error::Plan`] where the plan cannot be run here, [`Error::Io`] or [`Error::Peer`] where an
/// instance could not be started or prepared. What fails later is in that instance's outcome.
pub fn run(plan: &Plan, control: &Control) -> Result<Outcome, Error> {
    let executable =
        std::env::current_exe().map_err(Error::io("cannot find the executable of this program"))?;
    let arguments = plan.child.iter().map(Into::into).collect();
    run_with(plan, control, &Starter { executable, arguments })
}

pub(super) fn run_with(
    plan: &Plan,
    control: &Control,
    starter: &Starter,
) -> Result<Outcome, Error> {
    let mut run = Run::new(plan, control)?;
    let mut set = Set::start(starter, run.jobs(plan))?;
    run.prepare(&mut set)?;
    if !run.control.stopped() {
        let at_ns = clock::now() + START_NS + START_EACH_NS * plan.instances as u64;
        set.order(&Order::Start { at_ns });
        clock::sleep_until(at_ns);
        run.control.measure();
        run.collect(&mut set);
        while plan.linger && !run.control.stopped() && set.silent() < run.instances.len() {
            // They have said what counts.
            let _ = set.hear(GLANCE);
        }
        set.close();
        run.last_words(&mut set);
    }
    if run.ended_early() {
        set.hurry();
    }
    Ok(run.outcome())
}

/// What is known so far.
struct Run<'a> {
    control: &'a Control,
    environment: Environment,
    work: Work,
    instances: Vec<InstanceOutcome>,
    units_each: u64,
}

impl<'a> Run<'a> {
    fn new(plan: &Plan, control: &'a Control) -> Result<Self, Error> {
        let instances = plan.cpus()?.into_iter().enumerate();
        let generated = plan.program.is_none();
        Ok(Self {
            control,
            environment: Environment::read(None),
            work: Work {
                text_bytes: generated.then_some(plan.text),
                data_bytes: generated.then_some(plan.data),
                seed: generated.then_some(plan.seed),
                passes: generated.then_some(plan.passes),
                functions: None,
                calls_per_pass: generated.then_some(CALLS_PER_PASS),
                program: plan.program.clone(),
            },
            instances: instances
                .map(|(index, cpu)| InstanceOutcome { index, cpu, ..InstanceOutcome::default() })
                .collect(),
            units_each: if generated { plan.passes } else { 1 },
        })
    }

    fn jobs(&self, plan: &Plan) -> Vec<Job> {
        let kind = match &plan.program {
            Some(command) => Kind::Program { command: command.clone() },
            None => {
                let Plan { text, data, seed, passes, .. } = *plan;
                Kind::Generated { seed, text, data, passes }
            }
        };
        let job =
            |one: &InstanceOutcome| Job { index: one.index, cpu: one.cpu, kind: kind.clone() };
        self.instances.iter().map(job).collect()
    }

    /// Waits until all are ready, or for an early end.
    fn prepare(&mut self, set: &mut Set) -> Result<(), Error> {
        let mut ready = 0;
        while ready < self.instances.len() && !self.control.stopped() {
            let Some((index, heard)) = set.hear(GLANCE) else { continue };
            let failed = match heard {
                Heard::Reply(Reply::Ready { functions }) => {
                    self.work.functions = functions;
                    ready += 1;
                    continue;
                }
                Heard::Reply(Reply::Failed { error }) => error,
                Heard::Reply(other) => format!("unexpected message {other:?} before it was ready"),
                Heard::End => set.ended(index),
            };
            return Err(Error::Peer(format!("instance {index}: {failed}")));
        }
        Ok(())
    }

    /// Waits until all have done their work or failed, or for an early end.
    fn collect(&mut self, set: &mut Set) {
        while !self.all_over() && !self.control.stopped() {
            let Some((index, heard)) = set.hear(GLANCE) else { continue };
            match heard {
                Heard::Reply(Reply::Passes { done }) => self.progress(index, done),
                Heard::Reply(Reply::Counted(counted)) => self.counted(index, counted),
                Heard::Reply(Reply::Failed { error }) => self.failed(index, error),
                Heard::Reply(other) => {
                    self.failed(
                        index,
                        format!("unexpected message {other:?} while it was running"),
                    );
                }
                Heard::End => self.failed(index, set.ended(index)),
            }
        }
    }

    /// Whether all have done their work or failed.
    fn all_over(&self) -> bool {
        self.instances.iter().all(|one| one.seconds.is_some() || one.error.is_some())
    }

    /// Whether it was stopped before all had done their work.
    fn ended_early(&self) -> bool {
        self.control.stopped() && !self.all_over()
    }

    fn counted(&mut self, index: usize, counted: Counted) {
        self.progress(index, self.units_each);
        let one = &mut self.instances[index];
        one.seconds = Some(counted.seconds);
        one.cpu_s = Some(counted.spent.cpu);
        one.voluntary_switches = counted.spent.switches.map(|switches| switches.voluntary);
        one.involuntary_switches = counted.spent.switches.map(|switches| switches.involuntary);
        one.checksum = counted.checksum;
    }

    /// The first reason is the one that counts; a later end follows from it.
    fn failed(&mut self, index: usize, error: String) {
        let one = &mut self.instances[index];
        if one.error.is_none() && one.seconds.is_none() {
            one.error = Some(error);
            self.control.progress().failed.fetch_add(1, Relaxed);
        }
    }

    fn progress(&mut self, index: usize, done: u64) {
        let one = &mut self.instances[index];
        let more = done.saturating_sub(one.done);
        one.done += more;
        self.control.progress().done.fetch_add(more, Relaxed);
    }

    /// Takes what the instances say after the end of their input.
    fn last_words(&mut self, set: &mut Set) {
        let mut open = self.instances.len() - set.silent();
        let words = if self.ended_early() { STOPPED_WORDS } else { LAST_WORDS };
        let until = Instant::now() + words;
        while open > 0 {
            match set.hear(until.saturating_duration_since(Instant::now())) {
                Some((index, Heard::Reply(Reply::Extra { done }))) => {
                    self.instances[index].extra = Some(done);
                }
                // One may finish between the asked-for end and its hearing of it.
                Some((index, Heard::Reply(Reply::Counted(counted)))) => {
                    self.counted(index, counted);
                }
                Some((_, Heard::Reply(_))) => {}
                Some((_, Heard::End)) => open -= 1,
                None => break,
            }
        }
    }

    fn outcome(self) -> Outcome {
        Outcome {
            schema: SCHEMA.to_owned(),
            partial: !self.all_over(),
            work: self.work,
            seconds: self.instances.iter().filter_map(|one| one.seconds).reduce(f64::max),
            instances: self.instances,
            environment: self.environment,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Placement;
    use crate::cpu::instance::serve;
    use rustix::process::{Pid, test_kill_process};
    use std::fs::{self, File};
    use std::io::{BufReader, stdin};

    /// Not a test: what this executable does as an instance, where the others start it.
    #[test]
    #[ignore = "the others start it"]
    fn as_an_instance() {
        if std::env::var_os("VMETER_TEST_INSTANCE").is_some() {
            let output = File::options().write(true).open("/proc/self/fd/3").unwrap();
            let _ = serve(BufReader::new(stdin()), output);
        }
    }

    /// The test harness has its own use for standard output.
    fn starter() -> Starter {
        let name = "cpu::run::tests::as_an_instance";
        let command =
            format!("VMETER_TEST_INSTANCE=1 exec \"$0\" {name} --exact --ignored 3>&1 >/dev/null");
        let this = std::env::current_exe().unwrap();
        let arguments = vec!["-c".into(), command.into(), this.into()];
        Starter { executable: "sh".into(), arguments }
    }

    fn plan(instances: usize, program: Option<&str>) -> Plan {
        Plan {
            text: 1 << 17,
            data: 1 << 17,
            passes: 2,
            instances,
            program: program.map(str::to_owned),
            ..Plan::default()
        }
    }

    fn measure(plan: &Plan) -> Outcome {
        run_with(plan, &Control::default(), &starter()).unwrap()
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn generated_work_is_the_same_in_each_instance() {
        let plan = Plan { placement: Placement::SameCpu, ..plan(2, None) };
        let control = Control::default();
        let outcome = run_with(&plan, &control, &starter()).unwrap();
        assert!(!outcome.partial && outcome.work.functions > Some(100), "{outcome:?}");
        let [one, other] = &outcome.instances[..] else { panic!() };
        assert!(one.checksum.is_some() && one.checksum == other.checksum);
        assert!(one.cpu.is_some() && one.cpu == other.cpu);
        for one in &outcome.instances {
            assert!(one.seconds.unwrap() <= outcome.seconds.unwrap() && one.extra.is_some());
            assert!(one.cpu_s.unwrap().total() > 0.0 && one.involuntary_switches.is_some());
        }
        assert!(outcome.cpu_seconds() < outcome.seconds.unwrap() * 1.1, "{outcome:?}");
        assert_eq!(control.progress().done.load(Relaxed), plan.units());
        assert!(control.progress().measuring.load(Relaxed));
        let text = serde_json::to_string(&outcome).unwrap();
        assert_eq!(serde_json::from_str::<Outcome>(&text).unwrap(), outcome);
    }

    #[test]
    fn a_program_is_timed_with_what_it_starts() {
        let outcome = measure(&plan(1, Some("(i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done)")));
        let one = &outcome.instances[0];
        assert!(one.cpu_s.unwrap().total() > 0.001, "{one:?}");
        let outcome = measure(&plan(2, Some("sleep 0.$((VMETER_INSTANCE + 1))")));
        let [first, second] = &outcome.instances[..] else { panic!() };
        assert!(first.seconds.unwrap() >= 0.1, "{outcome:?}");
        assert!(outcome.seconds >= Some(0.2) && outcome.seconds == second.seconds);
        assert_eq!((outcome.work.passes, first.checksum.as_ref()), (None, None));
        assert!(first.cpu_s.unwrap().total() < 0.1);
        let outcome = measure(&plan(1, Some("true")));
        assert_eq!((outcome.partial, outcome.instances[0].error.as_ref()), (false, None));
    }

    #[test]
    fn a_failure_is_that_of_its_instance() {
        let program = "[ $VMETER_INSTANCE = 1 ] || exit 0; echo no such thing >&2; exit 3";
        let outcome = measure(&plan(2, Some(program)));
        assert!(outcome.instances[0].seconds.is_some() && outcome.seconds.is_some());
        let error = outcome.instances[1].error.as_ref().unwrap();
        assert!(error.contains("exit status: 3") && error.contains("no such thing"), "{error}");
        let outcome = measure(&plan(1, Some("false")));
        assert!(outcome.seconds.is_none() && !outcome.partial);
        assert!(outcome.instances[0].error.as_ref().unwrap().contains("exit status: 1"));
    }

    #[test]
    fn who_lingers_works_on_until_stopped() {
        let plan = Plan { linger: true, ..plan(1, None) };
        let control = Control::default();
        let stop = control.clone();
        let done = std::thread::spawn(move || {
            while stop.progress().done.load(Relaxed) < 2 {
                std::thread::sleep(Duration::from_millis(5));
            }
            let extra = Instant::now();
            std::thread::sleep(Duration::from_millis(500));
            stop.stop();
            extra.elapsed()
        });
        let begun = Instant::now();
        let outcome = run_with(&plan, &control, &starter()).unwrap();
        assert!(begun.elapsed() >= done.join().unwrap());
        assert!(!outcome.partial && outcome.instances[0].extra > Some(0), "{outcome:?}");
    }

    #[test]
    fn an_early_end_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let plan = plan(1, Some(&format!("echo $$ > {}; sleep 100; true", file.display())));
        let control = Control::default();
        let stop = control.clone();
        let begun = Instant::now();
        let pid = std::thread::spawn(move || {
            let pid = loop {
                std::thread::sleep(Duration::from_millis(5));
                let text = fs::read_to_string(&file).unwrap_or_default();
                if let Ok(pid) = text.trim().parse() {
                    break pid;
                }
            };
            stop.stop();
            pid
        });
        let outcome = run_with(&plan, &control, &starter()).unwrap();
        assert!(outcome.partial && outcome.seconds.is_none(), "{outcome:?}");
        assert_eq!((outcome.instances[0].seconds, &outcome.instances[0].error), (None, &None));
        assert!(begun.elapsed() < Duration::from_secs(10));
        let pid = Pid::from_raw(pid.join().unwrap()).unwrap();
        assert!(test_kill_process(pid).is_err(), "the program still runs");
    }

    /// An instance that hears nothing, as one that is frozen.
    #[test]
    fn an_early_end_does_not_wait_for_who_hears_nothing() {
        let arguments = vec!["-c".into(), "trap '' TERM; while :; do sleep 1; done".into()];
        let starter = Starter { executable: "sh".into(), arguments };
        let control = Control::default();
        std::thread::scope(|scope| {
            let stop = scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(200));
                control.stop();
                Instant::now()
            });
            let outcome = run_with(&plan(1, Some("true")), &control, &starter).unwrap();
            let took = stop.join().unwrap().elapsed();
            assert!(outcome.partial && took < Duration::from_secs(1), "{took:?}");
        });
    }

    #[test]
    fn what_is_no_instance_is_an_error() {
        let arguments = vec!["-c".into(), "exit 7".into()];
        let starter = Starter { executable: "sh".into(), arguments };
        let error = run_with(&plan(2, Some("true")), &Control::default(), &starter).unwrap_err();
        assert!(error.to_string().contains("exited early (exit status: 7)"), "{error}");
    }
}
