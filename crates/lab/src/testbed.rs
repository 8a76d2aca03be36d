//! A machine under test and the one outside that makes its load.

use crate::cache::{Cache, WorkDir};
use crate::error::LabError;
use crate::machine::Machine;
use crate::spec::{Accel, Clock, Kind, Role, Spec};
use crate::{Progress, prepare};
use std::path::PathBuf;

/// Two machines joined by as many wires as the server has data networks.
pub struct Testbed {
    /// The machine under test.
    pub server: Machine,
    /// The one outside, where there is a wire to it.
    pub client: Option<Machine>,
    /// What the server was booted from, with its wires.
    pub spec: Spec,
    _wires: WorkDir,
}

impl Testbed {
    /// Prepares and boots both; the server gets `networks` cards for data, the client as many.
    ///
    /// The client runs by the host's clock: only the server is measured.
    ///
    /// # Errors
    /// What either cannot be made or booted for.
    pub fn boot(
        spec: &Spec,
        networks: usize,
        cache: &Cache,
        progress: &mut dyn Progress,
    ) -> Result<Self, LabError> {
        let work = cache.work_dir()?;
        let wires: Vec<PathBuf> =
            (0..networks).map(|number| work.path().join(format!("wire{number}"))).collect();
        let server = Spec { wires: wires.clone(), role: Role::Server, ..spec.clone() };
        let client = Spec {
            cpus: 1,
            wires,
            role: Role::Client,
            agent: spec.agent.clone(),
            clock: Clock::Host,
            accel: if spec.clock == Clock::Instructions { Accel::Auto } else { spec.accel },
            boot_limit: spec.boot_limit,
            command_limit: spec.command_limit,
            ..Spec::new(Kind::Native)
        };
        server.check()?;
        let outside = (networks > 0)
            .then(|| {
                let images = prepare(&client, cache.clone(), progress)?;
                progress.stage(&format!("Booting the client of {}", spec.kind.name()), 0);
                images.boot(&client)
            })
            .transpose()?;
        let images = prepare(&server, cache.clone(), progress)?;
        progress.stage(&format!("Booting {}", spec.kind.name()), 0);
        let machine = images.boot(&server)?;
        Ok(Self { server: machine, client: outside, spec: server, _wires: work })
    }
}
