//! How well a clock is aligned, on one whose offset is known: an agent on this machine reads the
//! very clock that its controller does.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod processes;

use agent::{Handle, Security, Stream};
use model::Nanos;
use processes::{Killed, serving};
use profile::clock::{Ping, align};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

const TRIALS: usize = 200;
/// Bursts of a trial, and the pings of each, as a recorder sends them.
const BURSTS: usize = 8;
const PINGS: usize = 4;

/// The two clocks are one, so that what happens at a time of one happens at the same time of the
/// other: brought over by the alignment, it is off by less than the bound in 99 of 100 trials.
#[test]
fn moments_are_within_the_bound() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("socket");
    let mut command = Command::new(env!("CARGO_BIN_EXE_vmeter"));
    command.args(["agent", "run", "--unix"]).arg(&socket);
    let _agent = Killed(vec![serving(command)]);
    // Programs that make answers late, now and then.
    let _busy = Killed::all_busy();
    let stream = Stream::connect(socket.to_str().unwrap()).unwrap();
    let mut handle = Handle::connect(stream, &Security::Transport).unwrap();
    let (mut within, mut bounds, mut worst) = (0, Vec::new(), 0.0_f64);
    for _ in 0..TRIALS {
        let (mut pings, mut moments) = (Vec::new(), Vec::new());
        for _ in 0..BURSTS {
            for _ in 0..PINGS {
                let (sent, guest, received) = handle.ping().unwrap();
                pings.push(Ping { sent, received, guest });
            }
            moments.push(sample::now());
            sleep(Duration::from_millis(2));
        }
        let aligned = align(&pings);
        let segment = &aligned.segments[0];
        assert_eq!(aligned.segments.len(), 1, "{aligned:?}");
        let off = |moment: Nanos| segment.host(moment).unwrap().0.abs_diff(moment.0);
        let most = moments.iter().map(|moment| off(*moment)).max().unwrap();
        within += usize::from(most <= segment.bound);
        worst = worst.max(most as f64 / segment.bound as f64);
        bounds.push(segment.bound);
    }
    bounds.sort_unstable();
    let median = bounds[TRIALS / 2];
    println!(
        "{within} of {TRIALS} trials within the bound (median {median} ns), at worst {worst:.2} of it"
    );
    assert!(within * 100 >= TRIALS * 99, "{within} of {TRIALS}");
    // A bound that says nothing would hold, too.
    assert!(median < 1_000_000, "{median} ns");
}
