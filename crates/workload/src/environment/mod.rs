//! What a result depends on and cannot show: kernel, processor, clock, hypervisor, offloads.

mod device;
mod guest;
mod offloads;

pub(crate) use device::{device_between, device_towards};
pub use offloads::{Feature, Offloads};

use rustix::system::uname;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// The machine that a workload ran on. What could not be read is `None`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// vmeter's version.
    pub vmeter: String,
    /// When the run began, in seconds since 1970.
    pub started_unix_s: u64,
    /// Kernel release, as `uname -r`.
    pub kernel: String,
    /// Machine architecture, as `uname -m`.
    pub machine: String,
    /// The processor's name in /proc/cpuinfo.
    pub cpu: Option<String>,
    /// CPUs that the program may use.
    pub cpus: usize,
    /// Frequency governor of the first CPU.
    pub governor: Option<String>,
    /// Clock source of the kernel.
    pub clock_source: Option<String>,
    /// The hypervisor or emulator below, where the processor shows one.
    pub accelerator: Option<String>,
    /// Offloads of the network device that the load went over.
    pub offloads: Option<Offloads>,
}

impl Environment {
    /// Of this machine, with the offloads of `device` where one is given.
    #[must_use]
    pub fn read(device: Option<&str>) -> Self {
        let name = uname();
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            vmeter: env!("CARGO_PKG_VERSION").to_owned(),
            started_unix_s: started.as_secs(),
            kernel: name.release().to_string_lossy().into_owned(),
            machine: name.machine().to_string_lossy().into_owned(),
            cpu: cpu_name(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            governor: line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            clock_source: line("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            accelerator: guest::accelerator(),
            offloads: device.and_then(Offloads::of),
        }
    }
}

fn line(path: impl AsRef<Path>) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn cpu_name() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_described() {
        let here = Environment::read(Some("lo"));
        assert!(here.cpus >= 1 && !here.kernel.is_empty() && here.started_unix_s > 1_600_000_000);
        let offloads = here.offloads.unwrap();
        assert_eq!(offloads.device, "lo");
        let text = serde_json::to_string(&offloads).unwrap();
        assert_eq!(serde_json::from_str::<Offloads>(&text).unwrap(), offloads);
        assert_eq!(Environment::read(Some("no-such-device")).offloads, None);
    }
}
