//! Boots a machine and runs a command in it: `boot KIND SUITE GUESTS CPUS CLOCK COMMAND`.
#![allow(clippy::print_stderr, missing_docs)]

use std::time::Instant;

struct Lines;

impl lab::Progress for Lines {
    fn stage(&mut self, name: &str, total: u64) {
        eprintln!("{name} ({total} bytes)");
    }
    fn reached(&mut self, _done: u64) {}
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let kind = match arguments[0].as_str() {
        "xen" => lab::Kind::Xen,
        "kvm" => lab::Kind::Kvm,
        _ => lab::Kind::Native,
    };
    let mut spec = lab::Spec::new(kind);
    spec.suite.clone_from(&arguments[1]);
    spec.guests = arguments[2].parse()?;
    spec.cpus = arguments[3].parse()?;
    if arguments[4] == "instructions" {
        spec.clock = lab::Clock::Instructions;
    }
    spec.accel = lab::Accel::Tcg;
    if let Ok(limit) = std::env::var("LIMIT") {
        spec.boot_limit = std::time::Duration::from_secs(limit.parse()?);
    }
    spec.bridge = std::env::var_os("NOBRIDGE").is_none();
    spec.put = std::env::var("PUT").iter().flat_map(|l| l.split(':')).map(Into::into).collect();
    let begun = Instant::now();
    let images = lab::prepare(&spec, lab::Cache::open()?, &mut Lines)?;
    eprintln!("prepared after {:?}", begun.elapsed());
    let begun = Instant::now();
    let mut machine = images.boot(&spec)?;
    eprintln!("booted after {:?}", begun.elapsed());
    let mut streams = Vec::new();
    if let Ok(guest) = std::env::var("RECEIVE") {
        let receive = lab::Receive { guest: guest.parse()?, bytes_per_second: 500_000 };
        streams.push(machine.receive(receive)?);
    }
    for command in &arguments[5..] {
        let begun = Instant::now();
        let status = machine.run(command, &mut std::io::stdout())?;
        eprintln!("status {status} after {:?}", begun.elapsed());
    }
    machine.shutdown();
    Ok(())
}
