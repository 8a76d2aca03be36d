//! Where is calibrated: this machine, or a VM by its agent.

use agent::{Handle, Sampling, Stage, Stream, Work};
use anyhow::{Context, Result, bail};
use platform::{Choice, Want};
use sample::{Capture, Decoder, Scope, Wanted, Word};
use std::thread;
use std::time::Duration;
use workload::Control;
use workload::cpu::{self, Outcome, Plan};

/// How often rings are emptied.
const DRAIN: Duration = Duration::from_millis(100);

/// One run of the work.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Run {
    /// Seconds that it took.
    pub seconds: f64,
    /// Samples taken meanwhile on its CPU; 0 without sampling.
    pub samples: f64,
    /// Events that they stand for.
    pub events: f64,
}

/// A machine that runs the work.
pub trait Place {
    /// Its name, raw.
    fn name(&self) -> &str;

    /// What is really counted for the word, where it is not what was asked for.
    fn counted(&mut self, word: &Word) -> Result<(String, bool)>;

    /// Runs the work, sampled or not.
    fn run(&mut self, word: Option<&Word>) -> Result<Run>;
}

/// This machine.
pub struct Here<'a> {
    plan: &'a Plan,
    control: &'a Control,
    by_cpu_time: bool,
}

impl<'a> Here<'a> {
    /// Ready to run the plan.
    pub fn new(plan: &'a Plan, control: &'a Control) -> Self {
        let alone = platform::open(Choice::Alone, "/".as_ref());
        let host = alone.and_then(|mut source| Ok(source.read(Want::default())?.host));
        let accounted = host.map(|host| host.irq_time_accounting);
        Self { plan, control, by_cpu_time: matches!(accounted, Ok(Ok(false))) }
    }
}

fn wanted(word: &Word) -> Wanted {
    let events = vec![word.clone()];
    Wanted { events, scope: Scope::Machine, switches: false, ring: Wanted::RING }
}

impl Place for Here<'_> {
    fn name(&self) -> &'static str {
        "host"
    }

    fn counted(&mut self, word: &Word) -> Result<(String, bool)> {
        let events = Capture::open(&wanted(word))?.events();
        Ok(events.first().map_or_else(Default::default, |e| (e.counted.clone(), e.is_time)))
    }

    fn run(&mut self, word: Option<&Word>) -> Result<Run> {
        let open = |word| -> Result<_> {
            let capture = Capture::open(&wanted(word))?;
            let decoder = Decoder::new(&capture.layout())?;
            capture.enable(true)?;
            Ok((capture, decoder))
        };
        let mut sampling = word.map(open).transpose()?;
        let mut tally = Tally::default();
        let outcome = thread::scope(|scope| {
            let work = scope.spawn(|| cpu::run(self.plan, self.control));
            while !work.is_finished() {
                match &mut sampling {
                    Some((capture, decoder)) => {
                        capture.wait(DRAIN)?;
                        tally.drain(capture, decoder)?;
                    }
                    None => thread::sleep(DRAIN / 10),
                }
            }
            match work.join() {
                Ok(outcome) => Ok::<_, anyhow::Error>(outcome?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })?;
        if let Some((capture, decoder)) = &mut sampling {
            capture.enable(false)?;
            tally.drain(capture, decoder)?;
        }
        tally.run(&outcome, self.by_cpu_time)
    }
}

/// A VM.
pub struct There<'a> {
    name: String,
    handle: Handle<Stream>,
    plan: &'a Plan,
    control: &'a Control,
    by_cpu_time: bool,
}

impl<'a> There<'a> {
    /// Ready to run the plan there.
    pub fn new(
        name: String,
        mut handle: Handle<Stream>,
        plan: &'a Plan,
        control: &'a Control,
    ) -> Self {
        let accounted = handle.snapshot(false).map(|found| found.host.irq_time_accounting);
        let by_cpu_time = matches!(accounted, Ok(Ok(false)));
        Self { name, handle, plan, control, by_cpu_time }
    }

    fn sampling(word: &Word) -> Sampling {
        Sampling::Itself(vec![word.to_string()])
    }
}

impl Place for There<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn counted(&mut self, word: &Word) -> Result<(String, bool)> {
        let events = self.handle.sample(&Self::sampling(word))?.events;
        self.handle.end_sampling()?;
        Ok(events.first().map_or_else(Default::default, |e| (e.counted.clone(), e.is_time)))
    }

    fn run(&mut self, word: Option<&Word>) -> Result<Run> {
        let opened = word.map(|word| self.handle.sample(&Self::sampling(word))).transpose()?;
        let decoder = opened.map(|opened| Decoder::new(&opened.layout)).transpose()?;
        let mut tally = Tally::default();
        let (job, _) = self.handle.start(&Work::Cpu { plan: self.plan.clone() })?;
        let text = loop {
            if let Some(decoder) = &decoder {
                for (_, bytes) in self.handle.drain()?.pieces {
                    tally.add(decoder, &bytes);
                }
            }
            match self.handle.stage(job)? {
                Stage::Over(text) => break text,
                Stage::Failed(why) => bail!("the program failed: {why}"),
                Stage::Running { .. } if self.control.stopped() => bail!("ended early"),
                Stage::Running { .. } => thread::sleep(DRAIN),
            }
        };
        if let Some(decoder) = &decoder {
            self.handle.end_sampling()?;
            for (_, bytes) in self.handle.drain()?.pieces {
                tally.add(decoder, &bytes);
            }
        }
        let outcome =
            serde_json::from_str(&text).context("invalid JSON in the result of the program")?;
        tally.run(&outcome, self.by_cpu_time)
    }
}

/// Samples of each CPU.
#[derive(Default)]
struct Tally {
    samples: Vec<(u32, u64)>,
}

impl Tally {
    fn drain(&mut self, capture: &mut Capture, decoder: &Decoder) -> std::io::Result<()> {
        capture.drain(|_, first, second| {
            self.add(decoder, &[first, second].concat());
            Ok(())
        })
    }

    fn add(&mut self, decoder: &Decoder, bytes: &[u8]) {
        // Bytes of an agent may be no records: then there are fewer samples, which shows.
        for record in decoder.decode(bytes).flatten() {
            if let model::What::Sample(sample) = record.what {
                self.samples.push((record.cpu, sample.period));
            }
        }
    }

    /// Interrupts are billed to the program that they interrupt where the kernel does not count
    /// them apart: then its CPU time shows them, without what else the machine had to do.
    fn run(self, outcome: &Outcome, by_cpu_time: bool) -> Result<Run> {
        let [instance] = &outcome.instances[..] else {
            bail!("expected one instance of the program")
        };
        if let Some(error) = &instance.error {
            bail!("the program failed: {error}");
        }
        let cpu_time = instance.cpu_s.map(workload::CpuTime::total).filter(|_| by_cpu_time);
        let seconds = cpu_time.or(instance.seconds).context("the program was stopped early")?;
        let own = |cpu: u32| instance.cpu.is_none_or(|place| place == cpu as usize);
        let mine = self.samples.iter().filter(|(cpu, _)| own(*cpu));
        let (mut samples, mut events) = (0.0, 0.0);
        for (_, period) in mine {
            samples += 1.0;
            events += *period as f64;
        }
        Ok(Run { seconds, samples, events })
    }
}
