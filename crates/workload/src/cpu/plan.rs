//! What to run: how large, how often, how many, where.

use crate::Error;
use crate::affinity::allowed;
use serde::{Deserialize, Serialize};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A CPU load: the same fixed work in each of some processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Bytes of generated machine code, 64 KiB to 1 GiB.
    pub text: u64,
    /// Bytes of data that it works on, 64 KiB to 16 GiB.
    pub data: u64,
    /// What text, data and the order of calls are drawn from.
    pub seed: u64,
    /// Passes that are counted: the work of an instance. A pass is
    /// [`CALLS_PER_PASS`](super::CALLS_PER_PASS) calls, some 80 million instructions.
    pub passes: u64,
    /// How many run at once, 1 to 1024.
    pub instances: usize,
    /// On which CPUs.
    pub placement: Placement,
    /// Keeps working uncounted after all instances are done, until it is stopped: others that
    /// share the CPU from other machines are not done yet.
    #[serde(default)]
    pub linger: bool,
    /// A shell command to run instead of generated code, once in each instance.
    pub program: Option<String>,
    /// The arguments with which this executable calls [`instance`](super::instance).
    ///
    /// They belong to the machine that runs it, so they are no part of a written plan.
    #[serde(skip)]
    pub child: Vec<String>,
}

/// Which CPUs the instances are bound to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// Where the kernel puts them.
    Free,
    /// All on one: the last that this process may use, as the first has the most interrupts.
    SameCpu,
    /// On these in turn.
    Cpus(Vec<usize>),
}

impl Default for Plan {
    /// One instance of a compiler's footprint, for some seven seconds of a CPU of 2023.
    fn default() -> Self {
        Self {
            text: 8 * MIB,
            data: 16 * MIB,
            seed: 1,
            passes: 400,
            instances: 1,
            placement: Placement::Free,
            linger: false,
            program: None,
            child: Vec::new(),
        }
    }
}

impl Plan {
    /// Whether it can be run here.
    ///
    /// # Errors
    ///
    /// [`Error::Plan`] says what cannot be, and what can.
    pub fn check(&self) -> Result<(), Error> {
        self.cpus().map(|_| ())
    }

    /// How much [`Progress::done`](crate::Progress) counts to: passes, or runs of the program.
    #[must_use]
    pub fn units(&self) -> u64 {
        let each = if self.program.is_some() { 1 } else { self.passes };
        each.saturating_mul(self.instances as u64)
    }

    /// The CPU of each instance, `None` where the kernel chooses; checks all else too.
    pub(super) fn cpus(&self) -> Result<Vec<Option<usize>>, Error> {
        let plan = |text: String| Err(Error::Plan(text));
        if !(1..=1024).contains(&self.instances) {
            return plan(format!(
                "invalid number of instances {}: expected 1 to 1024",
                self.instances
            ));
        }
        match &self.program {
            Some(command) if command.trim().is_empty() => {
                return plan("invalid program: expected a command for sh -c".into());
            }
            Some(_) => {}
            None => self.check_generated()?,
        }
        let allowed = allowed()?;
        let cpus = match &self.placement {
            Placement::Free => return Ok(vec![None; self.instances]),
            Placement::SameCpu => allowed.last().copied().into_iter().collect(),
            Placement::Cpus(cpus) => cpus.clone(),
        };
        if cpus.is_empty() {
            return plan("invalid list of CPUs: expected at least one".into());
        }
        if let Some(other) = cpus.iter().find(|cpu| !allowed.contains(cpu)) {
            let list: Vec<String> = allowed.iter().map(ToString::to_string).collect();
            return plan(format!(
                "CPU {other} is not allowed for this process: expected {}",
                list.join(",")
            ));
        }
        Ok(cpus.into_iter().cycle().take(self.instances).map(Some).collect())
    }

    fn check_generated(&self) -> Result<(), Error> {
        if cfg!(not(target_arch = "x86_64")) {
            let what = "the CPU workload supports only x86-64: use --program";
            return Err(Error::Plan(what.into()));
        }
        if !(64 * KIB..=GIB).contains(&self.text) {
            let what =
                format!("invalid size of the text, {} bytes: expected 64 KiB to 1 GiB", self.text);
            return Err(Error::Plan(what));
        }
        if !(64 * KIB..=16 * GIB).contains(&self.data) {
            let what =
                format!("invalid size of the data, {} bytes: expected 64 KiB to 16 GiB", self.data);
            return Err(Error::Plan(what));
        }
        if self.passes == 0 {
            return Err(Error::Plan("invalid passes 0: expected at least 1".into()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Plan)) -> String {
        let mut plan = Plan::default();
        change(&mut plan);
        match plan.check() {
            Err(Error::Plan(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_can() {
        Plan::default().check().unwrap();
        for (text, part) in [
            (refused(|plan| plan.text = 1000), "64 KiB to 1 GiB"),
            (refused(|plan| plan.text = 2 * GIB), "64 KiB to 1 GiB"),
            (refused(|plan| plan.data = 17 * GIB), "64 KiB to 16 GiB"),
            (refused(|plan| plan.passes = 0), "at least 1"),
            (refused(|plan| plan.instances = 0), "1 to 1024"),
            (refused(|plan| plan.instances = 1025), "1 to 1024"),
            (refused(|plan| plan.program = Some(" ".into())), "expected a command"),
            (refused(|plan| plan.placement = Placement::Cpus(vec![])), "at least one"),
            (
                refused(|plan| plan.placement = Placement::Cpus(vec![1023])),
                "CPU 1023 is not allowed",
            ),
        ] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn instances_are_dealt_to_the_cpus() {
        let cpus = allowed().unwrap();
        let last = *cpus.last().unwrap();
        let mut plan = Plan { instances: 3, ..Plan::default() };
        assert_eq!(plan.cpus().unwrap(), [None; 3]);
        plan.placement = Placement::SameCpu;
        assert_eq!(plan.cpus().unwrap(), [Some(last); 3]);
        plan.placement = Placement::Cpus(vec![cpus[0], last]);
        assert_eq!(plan.cpus().unwrap(), [Some(cpus[0]), Some(last), Some(cpus[0])]);
        assert_eq!(plan.units(), 3 * plan.passes);
    }
}
