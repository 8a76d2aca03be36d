//! QEMU's monitor: stops a machine, writes its state to a file, and lets a restored one run.

use files::failed;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::error::LabError;

/// How often a state is asked for that QEMU is on its way to.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The environment variable that names the state's file to the shell which QEMU starts.
pub(crate) const STATE_VARIABLE: &str = "VMETER_LAB_STATE";
/// What QEMU runs to write the state.
const WRITE_STATE: &str = "exec:cat >\"$VMETER_LAB_STATE\"";
/// What QEMU runs to read the state.
pub(crate) const READ_STATE: &str = "exec:cat \"$VMETER_LAB_STATE\"";

/// A connection to the monitor, in the QEMU Machine Protocol.
pub(crate) struct Monitor {
    stream: BufReader<UnixStream>,
    end: Instant,
    limit: Duration,
}

impl Monitor {
    /// Connects to the socket, for which QEMU may still be on its way; all that is asked must be
    /// done by the time limit.
    pub(crate) fn connect(path: &Path, limit: Duration) -> Result<Self, LabError> {
        let end = Instant::now() + limit;
        let stream = loop {
            match UnixStream::connect(path) {
                Ok(stream) => break stream,
                Err(_) if Instant::now() < end => std::thread::sleep(POLL_INTERVAL),
                Err(error) => return Err(failed("connect to", path)(error).into()),
            }
        };
        let mut monitor = Self { stream: BufReader::new(stream), end, limit };
        // The greeting.
        monitor.read()?;
        monitor.ask("qmp_capabilities", json!({}))?;
        Ok(monitor)
    }

    /// Stops the machine and writes its state to the file that was named when QEMU started.
    pub(crate) fn save(&mut self) -> Result<(), LabError> {
        self.ask("stop", json!({}))?;
        // As fast as the disk takes it.
        self.ask("migrate-set-parameters", json!({ "max-bandwidth": 1_u64 << 40 }))?;
        self.ask("migrate", json!({ "uri": WRITE_STATE }))?;
        loop {
            let found = self.ask("query-migrate", json!({}))?;
            match found["status"].as_str() {
                Some("completed") => return Ok(()),
                Some("failed" | "cancelled") => {
                    let why = found["error-desc"].as_str().unwrap_or("no reason given");
                    return Err(refused("saving the machine's state failed", why));
                }
                _ => self.pause()?,
            }
        }
    }

    /// Waits until the state has been read.
    pub(crate) fn restored(&mut self) -> Result<(), LabError> {
        while self.ask("query-status", json!({}))?["status"] == "inmigrate" {
            self.pause()?;
        }
        Ok(())
    }

    /// Lets the machine run.
    pub(crate) fn resume(&mut self) -> Result<(), LabError> {
        self.ask("cont", json!({})).map(|_| ())
    }

    fn pause(&self) -> Result<(), LabError> {
        self.time_left()?;
        std::thread::sleep(POLL_INTERVAL);
        Ok(())
    }

    fn time_left(&self) -> Result<Duration, LabError> {
        let left = self.end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let why = format!("no answer within {} s", self.limit.as_secs());
            return Err(refused("QEMU's monitor timed out", &why));
        }
        Ok(left)
    }

    /// Runs a command and returns what it answers; events in between are passed over.
    fn ask(&mut self, command: &str, arguments: Value) -> Result<Value, LabError> {
        let request = json!({ "execute": command, "arguments": arguments }).to_string();
        let sent = self.stream.get_mut().write_all(request.as_bytes());
        sent.map_err(|error| refused(&format!("cannot send {command}"), &error.to_string()))?;
        loop {
            let mut answer = self.read()?;
            if let Some(error) = answer.get("error") {
                let why = error["desc"].as_str().unwrap_or("no reason given");
                return Err(refused(&format!("{command} failed"), why));
            }
            if answer.get("return").is_some() {
                return Ok(answer["return"].take());
            }
        }
    }

    fn read(&mut self) -> Result<Value, LabError> {
        let left = self.time_left()?;
        // Cannot fail: the time is not zero.
        let _ = self.stream.get_ref().set_read_timeout(Some(left));
        let mut line = String::new();
        match self.stream.read_line(&mut line) {
            Ok(0) => Err(refused("QEMU's monitor was closed", "QEMU exited")),
            Ok(_) => serde_json::from_str(&line).map_err(|error| {
                refused("unexpected message of QEMU's monitor", &error.to_string())
            }),
            Err(error) => Err(refused("cannot read QEMU's monitor", &error.to_string())),
        }
    }
}

fn refused(what: &str, why: &str) -> LabError {
    LabError::Monitor { problem: format!("{what}: {why}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// A monitor that answers each line with the next of these; events are among them.
    fn answering(answers: &'static [&'static str]) -> (tempfile::TempDir, Monitor) {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("monitor");
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"{\"QMP\":{}}\n").unwrap();
            let mut requests = serde_json::Deserializer::from_reader(stream.try_clone().unwrap())
                .into_iter::<Value>();
            for answer in ["{\"return\":{}}"].iter().chain(answers) {
                requests.next().unwrap().unwrap();
                stream.write_all(format!("{answer}\n").as_bytes()).unwrap();
            }
        });
        (place, Monitor::connect(&path, Duration::from_secs(20)).unwrap())
    }

    #[test]
    fn events_are_passed_over_and_failures_are_said() {
        const DONE: &str = "{\"return\":{}}";
        let (_place, mut monitor) = answering(&[
            "{\"event\":\"STOP\"}\n{\"return\":{}}",
            DONE,
            DONE,
            "{\"return\":{\"status\":\"active\"}}",
            "{\"return\":{\"status\":\"failed\",\"error-desc\":\"no space\"}}",
        ]);
        let failed = monitor.save().unwrap_err();
        assert_eq!(failed.to_string(), "saving the machine's state failed: no space");
        let (_place, mut monitor) =
            answering(&["{\"error\":{\"class\":\"GenericError\",\"desc\":\"not now\"}}"]);
        assert_eq!(monitor.resume().unwrap_err().to_string(), "cont failed: not now");
        assert!(monitor.restored().is_err(), "it was closed");
    }
}
