//! The figures and tables that a plan can ask for, and what each needs of it.

use super::{Load, Plan};

/// A figure that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FigureKind {
    /// Table 5.1: the file set.
    Table51,
    /// Table 5.2: samples by image and function.
    Table52,
    /// Figure 5.2: what sampling costs, by its period.
    Fig52,
    /// Figure 6.1: CPU by receive rate.
    Fig61,
    /// Figure 6.2: replies by connections.
    Fig62,
    /// Figure 6.3: CPU by connections.
    Fig63,
    /// Figure 6.4: the driver domain's CPU by data packets.
    Fig64,
    /// Figure 6.5: ACKs for each data packet.
    Fig65,
    /// Figure 6.7: interrupts of one NIC on one or two CPUs.
    Fig67,
    /// Figure 6.9: interrupts of two NICs on one or two CPUs.
    Fig69,
    /// Figure 6.10: n programs on a CPU.
    Fig610,
    /// Figure 6.11: cache misses of n programs on a CPU.
    Fig611,
    /// CPU for each packet or reply, by layer.
    Layers,
    /// What a VM costs relative to native, with its interval.
    Ratio,
}

/// What a figure needs of a load.
enum Needs {
    Tcp,
    Web,
    Cpu,
    Fileset,
    Network,
    Any,
}

impl FigureKind {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Table51,
        Self::Table52,
        Self::Fig52,
        Self::Fig61,
        Self::Fig62,
        Self::Fig63,
        Self::Fig64,
        Self::Fig65,
        Self::Fig67,
        Self::Fig69,
        Self::Fig610,
        Self::Fig611,
        Self::Layers,
        Self::Ratio,
    ];

    /// Its name in plans.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Table51 => "table-5.1",
            Self::Table52 => "table-5.2",
            Self::Fig52 => "fig-5.2",
            Self::Fig61 => "fig-6.1",
            Self::Fig62 => "fig-6.2",
            Self::Fig63 => "fig-6.3",
            Self::Fig64 => "fig-6.4",
            Self::Fig65 => "fig-6.5",
            Self::Fig67 => "fig-6.7",
            Self::Fig69 => "fig-6.9",
            Self::Fig610 => "fig-6.10",
            Self::Fig611 => "fig-6.11",
            Self::Layers => "layers",
            Self::Ratio => "ratio",
        }
    }

    /// The figure of a name.
    #[must_use]
    pub fn named(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.id() == id)
    }

    fn needs(self) -> Needs {
        match self {
            Self::Table51 => Needs::Fileset,
            Self::Fig61 | Self::Fig64 | Self::Fig65 | Self::Fig67 | Self::Fig69 => Needs::Tcp,
            Self::Fig62 | Self::Fig63 | Self::Table52 => Needs::Web,
            Self::Fig52 | Self::Fig610 | Self::Fig611 => Needs::Cpu,
            Self::Layers => Needs::Network,
            Self::Ratio => Needs::Any,
        }
    }

    /// Whether a plan has what it needs.
    ///
    /// # Errors
    /// What is missing.
    pub(super) fn check(self, plan: &Plan, workload: usize) -> Result<(), String> {
        let load = plan.workloads[workload].points.first();
        let fits = match self.needs() {
            Needs::Tcp => matches!(load, Some(Load::Tcp { .. })),
            Needs::Web => matches!(load, Some(Load::Web { .. })),
            Needs::Cpu => matches!(load, Some(Load::Cpu { .. })),
            Needs::Fileset => matches!(load, Some(Load::Fileset { .. })),
            Needs::Network => matches!(load, Some(Load::Tcp { .. } | Load::Web { .. })),
            Needs::Any => !matches!(load, Some(Load::Fileset { .. })),
        };
        if !fits {
            let name = plan.workloads[workload].name.escape_debug();
            return Err(format!("it does not support the kind of workload `{name}`"));
        }
        let points = &plan.workloads[workload].points;
        let sampled = points.iter().any(|load| !load.sample().is_empty());
        if matches!(self, Self::Table52 | Self::Fig52 | Self::Fig611) && !sampled {
            return Err("it needs samples: add `sample = \"EVENT\"` to the workload".to_owned());
        }
        let compared = (0..plan.machines.len()).any(|machine| plan.baseline(machine).is_some());
        let virtual_ones = plan.machines.iter().any(|machine| !machine.place.is_native());
        match self {
            Self::Fig52 if points.iter().all(|load| !load.sample().is_empty()) => {
                Err("it needs runs without sampling: add `none` to `sample`".to_owned())
            }
            Self::Fig610 | Self::Fig611 | Self::Ratio if !compared => {
                let remedy = "add a machine without guests that goes by the same clock, or name \
                              any machine to compare with: `baseline = \"NAME\"`";
                Err(format!("it needs a baseline, which the plan does not have: {remedy}"))
            }
            Self::Fig64 if !virtual_ones => Err("it needs a machine with guests".to_owned()),
            Self::Fig67 | Self::Fig69
                if !plan.machines.iter().any(|m| m.configurations.len() > 1) =>
            {
                Err("it needs a machine with two or more configurations".to_owned())
            }
            _ => Ok(()),
        }
    }
}
