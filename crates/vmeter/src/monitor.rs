//! Agents that the command line names: `--agent [NAME=]ADDR --key FILE`.

use crate::failure::not_found;
use agent::{Deadline, Handle, Keys, PATIENCE, Security, Stream};
use anyhow::{Context, Result};
use clap::Args;
use model::{Vm, escape};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// A VM's network takes a connection within this, where the VM is there.
const AT_ONCE: Duration = Duration::from_secs(1);

/// `--key`: what agents know their controllers by.
#[derive(Debug, Args)]
pub struct AgentKey {
    /// Key file of the agents, made by `vmeter agent key FILE`
    ///
    /// If the file has several keys, the one with the name of the agent's VM or with its address is
    /// used.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

impl AgentKey {
    /// What keeps others out.
    ///
    /// # Errors
    /// A key's file that cannot be read, or that others can read.
    pub fn security(&self) -> Result<Security> {
        Ok(match &self.key {
            None => Security::Transport,
            Some(path) => Security::Keys(Keys::read(path)?),
        })
    }
}

/// An agent in a VM, and the VM's name where it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Monitor {
    name: Option<String>,
    /// As [`Stream::connect`] takes it.
    pub address: String,
}

impl FromStr for Monitor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, address) = match text.split_once('=') {
            Some((name, address)) => (Some(name.to_owned()), address),
            None => (None, text),
        };
        if address.is_empty() || name.as_ref().is_some_and(String::is_empty) {
            return Err(format!(
                "invalid agent `{}`: expected HOST:PORT or NAME=HOST:PORT",
                escape(text)
            ));
        }
        Ok(Self { name, address: address.to_owned() })
    }
}

impl Monitor {
    /// Connects; the VM's name is the guest's host name where none was given.
    ///
    /// # Errors
    /// Where no agent answers, or not to this key or by the deadline.
    pub fn connect(
        &self,
        security: &Security,
        deadline: &Deadline,
    ) -> Result<(String, Handle<Stream>)> {
        let handle = Handle::reach(&self.address, PATIENCE, &self.security(security), deadline)
            .with_context(|| format!("agent {}", escape(&self.address)))?;
        let name = self.name.clone().unwrap_or_else(|| handle.hello().host.clone());
        Ok((name, handle))
    }

    /// The VM's name, where it was given.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Connects to one that was lost, where it takes the connection at once: who waits for it has
    /// other things to do.
    ///
    /// # Errors
    /// As before.
    pub fn connect_again(
        &self,
        security: &Security,
        deadline: &Deadline,
    ) -> Result<Handle<Stream>, agent::Error> {
        Handle::reach(&self.address, AT_ONCE, &self.security(security), deadline)
    }

    /// With this agent's key, where the file has several.
    fn security(&self, all: &Security) -> Security {
        all.of_agent(&[self.name.as_deref().unwrap_or_default(), &self.address])
    }
}

/// The VM that a name on the command line means: the one with this id (the process of its VMM, its
/// Xen domain), else the only one of this name. Guests and users choose VMs' names.
///
/// # Errors
/// A sentence that says which VMs there are.
pub fn vm_meant<'a>(vms: &'a [Vm], name: &str) -> Result<&'a Vm, String> {
    if let Some(vm) = vms.iter().find(|vm| vm.id.to_string() == name) {
        return Ok(vm);
    }
    let named: Vec<&Vm> = vms.iter().filter(|vm| vm.name == name).collect();
    match named[..] {
        [vm] => Ok(vm),
        [] => {
            let names: Vec<String> = vms.iter().map(|vm| escape(&vm.name)).collect();
            Err(not_found("VM", name, &names, "no VM is running"))
        }
        _ => {
            let ids: Vec<String> = named.iter().map(|vm| vm.id.to_string()).collect();
            Err(format!(
                "several VMs have the name `{}`: use one of the ids {}",
                escape(name),
                ids.join(", ")
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_before_the_address() {
        let monitor = |text: &str| text.parse::<Monitor>().map(|m| (m.name, m.address));
        assert_eq!(monitor("g1=10.0.0.1:5"), Ok((Some("g1".into()), "10.0.0.1:5".into())));
        assert_eq!(monitor("vsock:3:5203"), Ok((None, "vsock:3:5203".into())));
        for wrong in ["", "=", "g1=", "=x"] {
            assert!(monitor(wrong).is_err(), "{wrong}");
        }
    }
}
