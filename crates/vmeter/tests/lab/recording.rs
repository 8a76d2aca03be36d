//! Recordings in the lab: a program of known functions in a guest, and what the report says of it.

use crate::machine::{AGENTS, Host, close, number};
use serde_json::Value;

/// Compiles the spinner and puts it into a guest, as /tmp/spin.
pub fn put_spinner(host: &mut Host, guest: u32) {
    let place = tempfile::tempdir().unwrap();
    let program = crate::spinner::build_alone(place.path());
    let bytes = std::fs::read(&program).unwrap();
    let text = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes);
    host.sh(&format!(
        "guest {guest} 'echo {text} | base64 -d >/tmp/spin && chmod +x /tmp/spin && echo put' \
         | grep put"
    ));
}

/// When a recording ends.
pub enum End {
    /// After so many seconds.
    After(u32),
    /// When what is done meanwhile is done.
    Done,
}

/// Records with both guests' agents, and runs something once it has begun; the report as JSON.
///
/// The period is no multiple or part of the kernels' tick of 4 ms, with which samples would keep step;
/// in eight seconds it gives so many that a share of 0.75 is known within 0.0375 by 3.5 standard errors.
pub fn recorded(host: &mut Host, end: &End, meanwhile: &str) -> Value {
    let (duration, over) = match end {
        End::After(seconds) => (format!("--duration {seconds}s"), ""),
        End::Done => (String::new(), "kill -TERM $recorder"),
    };
    host.sh(&format!(
        "rm -rf /tmp/rec; vmeter record -e cpu-clock:1900k {duration} -o /tmp/rec {AGENTS} 2>&1 & \
         recorder=$!; until [ -s /tmp/rec/stream-0.raw ] || ! kill -0 $recorder; do sleep 0.2; done
         {meanwhile}
         {over}
         wait"
    ));
    let table = host.sh("vmeter report /tmp/rec --limit 12");
    println!("{table}");
    host.json("vmeter report /tmp/rec --format json").remove(0)
}

/// Samples of the rows that are so.
pub fn samples(report: &Value, is: impl Fn(&Value) -> bool) -> f64 {
    let rows = report["rows"].as_array().unwrap().iter();
    rows.filter(|row| row["idle"] == false && is(row)).map(|row| number(row, "/samples")).sum()
}

/// The spinner's functions, in the guest's user mode, by their share of work.
pub fn spins(report: &Value, vm: &str) {
    let user = |row: &Value| row["vm"] == vm && row["layer"] == "guest-user";
    let of = |name: &str| {
        samples(report, |row| user(row) && row["process"] == "spin" && row["symbol"] == name)
    };
    let (all, three, one) = (samples(report, user), of("spin_three"), of("spin_one"));
    println!("{vm}: {all} samples in guest programs, spin_three {three}, spin_one {one}");
    assert!(all > 300.0, "{all} samples");
    assert!((three + one) / all >= 0.95, "{} of them named", (three + one) / all);
    close("spin_three of both", three / (three + one), 0.75, 0.0375);
}

/// A guest that receives TCP: its receiver's time in the kernel is in the functions of TCP.
pub fn receives(report: &Value, vm: &str, process: &str) {
    let kernel = |row: &Value| row["vm"] == vm && row["layer"] == "guest-kernel";
    let its = samples(report, |row| kernel(row) && row["process"] == process);
    let tcp = samples(report, |row| {
        let name = row["symbol"].as_str().unwrap_or_default();
        kernel(row) && (name.contains("tcp") || name.contains("skb") || name.starts_with("ip_"))
    });
    println!("{vm}: {its} samples in the kernel for {process}, {tcp} in functions of TCP and IP");
    assert!(its > 0.0 && tcp > 0.0);
}

/// Guest kernels' functions have names.
pub fn kernels_are_named(report: &Value, vm: &str) {
    let kernel = |row: &Value| row["vm"] == vm && row["layer"] == "guest-kernel";
    let all = samples(report, kernel);
    let named = samples(report, |row| kernel(row) && row["symbol"].is_string());
    println!("{vm}: {all} samples in its kernel, {named} named");
    assert!(all > 0.0 && named >= 0.95 * all, "{named} of {all}");
}

/// Whether one of the warnings of the stream of this name says this.
pub fn warns(report: &Value, name: &str, what: &str) -> bool {
    says(stream(report, name), what)
}

/// Whether one of a stream's warnings says this.
pub fn says(stream: &Value, what: &str) -> bool {
    let mut warnings = stream["warnings"].as_array().unwrap().iter();
    warnings.any(|warning| warning.as_str().unwrap().contains(what))
}

/// A stream of the report.
pub fn stream<'a>(report: &'a Value, name: &str) -> &'a Value {
    crate::machine::named(&report["streams"], name)
}
