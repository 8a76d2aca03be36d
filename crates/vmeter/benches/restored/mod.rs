//! Whether a lab machine that was restored from its snapshot measures as one that booted.

use crate::machine::{Host, named, number, spec};
use lab::{Accel, Clock, Kind};

/// Packets a second that Domain-0 sends to the guest, and for how long.
const RATE: u32 = 300;
const SECONDS: u32 = 6;

/// CPU of the guest and of Domain-0 for each packet, under the instruction clock: booted and restored
/// machines in turn.
pub fn measure() {
    println!("CPU per packet to a guest of Xen, instruction clock, µs: guest and Domain-0");
    let mut booted = Vec::new();
    let mut restored = Vec::new();
    for round in 1..=3 {
        for (how, fresh, figures) in
            [("booted", true, &mut booted), ("restored", false, &mut restored)]
        {
            let (guest, dom0) = per_packet(fresh);
            println!("  round {round}, {how}: {guest:.3} and {dom0:.3}");
            figures.push(guest + dom0);
        }
    }
    let (booted, restored) = (median(booted), median(restored));
    println!(
        "  medians of the sum: booted {booted:.3}, restored {restored:.3}, ratio {:.4}, wanted \
         within 1 %",
        restored / booted
    );
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn per_packet(fresh: bool) -> (f64, f64) {
    let mut spec = spec(Kind::Xen, "bookworm");
    spec.clock = Clock::Instructions;
    spec.accel = Accel::Tcg;
    spec.fresh = fresh;
    let mut host = Host::boot(&spec);
    host.sh(
        "guest 1 '/lab/agent/vmeter bench tcp recv --listen 0.0.0.0:5202 </dev/null >/tmp/recv 2>&1 & \
         until grep -q listening /tmp/recv; do sleep 0.1; done'",
    );
    // The window lies within the transfer.
    let window = SECONDS - 2;
    let top = host
        .json(&format!(
            "vmeter bench tcp send 10.0.2.101 --size 500 --rate {RATE} --duration {SECONDS}s \
             --packets one-per-write >/dev/null & sleep 1; \
             vmeter top --batch --count 1 --interval {window}s --format json; wait"
        ))
        .remove(0);
    let guest = named(&top["vms"], "g1");
    let packets = number(guest, "/net/rx_packets");
    let microseconds = |cpu: f64| 1e6 * cpu / packets;
    (
        microseconds(number(guest, "/cpu_s/guest")),
        microseconds(number(&top["idd"][0], "/cpu_s/total")),
    )
}
