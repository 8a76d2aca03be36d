//! Running a tool to its end, or to a limit.

use crate::{Control, CpuTime, Error};
use std::io::{ErrorKind, Read};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// What a tool printed and used.
#[derive(Debug)]
pub struct Ran {
    /// Standard output and standard error.
    pub text: String,
    /// Whether it ended well.
    pub success: bool,
    /// CPU of it and what it waited for.
    pub cpu: CpuTime,
}

/// The longest output that is read.
const LONGEST: u64 = 16 << 20;
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// A child that does not outlive its owner.
#[derive(Debug)]
pub struct Owned(Child);

impl Drop for Owned {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone then.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Owned {
    /// Starts a tool.
    ///
    /// # Errors
    /// Where it is not installed, with the package that has it.
    pub fn start(command: &mut Command, package: &str) -> Result<Self, Error> {
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| match error.kind() {
                ErrorKind::NotFound => Error::Plan(format!(
                    "{program} is not installed: install it (Debian's package {package}), or \
                     choose another peer"
                )),
                _ => Error::io(format!("cannot run {program}"))(error),
            })?;
        Ok(Self(child))
    }

    /// Waits for its end, at most for `limit`.
    ///
    /// # Errors
    /// Where it took longer, or the comparison was ended.
    pub fn finish(mut self, limit: Duration, control: &Control) -> Result<Ran, Error> {
        let (output, errors) = (self.0.stdout.take(), self.0.stderr.take());
        let read = |from: Option<Box<dyn Read + Send>>| {
            let mut text = Vec::new();
            if let Some(from) = from {
                // What cannot be read is missing in the text, which its parser notices.
                let _ = from.take(LONGEST).read_to_end(&mut text);
            }
            String::from_utf8_lossy(&text).into_owned()
        };
        thread::scope(|scope| {
            let output = scope.spawn(move || read(output.map(|o| Box::new(o) as _)));
            let errors = scope.spawn(move || read(errors.map(|e| Box::new(e) as _)));
            let before = CpuTime::of_children();
            let until = Instant::now() + limit;
            let ended = loop {
                match self.0.try_wait() {
                    Ok(Some(status)) => break Ok(status.success()),
                    Ok(None) if control.stopped() => {
                        break Err(Error::Plan("interrupted".to_owned()));
                    }
                    Ok(None) if Instant::now() > until => {
                        break Err(Error::Peer(format!("timed out after {limit:?}")));
                    }
                    Ok(None) => thread::sleep(LOOK),
                    Err(error) => break Err(Error::io("cannot wait for the tool")(error)),
                }
            };
            if ended.is_err() {
                // Its pipes close with it.
                let _ = self.0.kill();
            }
            let text = [output, errors].map(|text| text.join().unwrap_or_default()).concat();
            let cpu = CpuTime::of_children() - before;
            Ok(Ran { text, success: ended?, cpu })
        })
    }
}

/// Runs a tool to its end.
///
/// # Errors
/// Where it is not installed, does not end or is ended.
pub fn run(
    command: &mut Command,
    package: &str,
    limit: Duration,
    control: &Control,
) -> Result<Ran, Error> {
    Owned::start(command, package)?.finish(limit, control)
}

/// The command as one would type it.
pub fn typed(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// What a tool says of itself with `argument`, its first line.
pub fn version(program: &str, argument: &str) -> Option<String> {
    let ran = Command::new(program).arg(argument).stdin(Stdio::null()).output().ok()?;
    let text = [ran.stdout, ran.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    text.lines().find(|line| !line.trim().is_empty()).map(|line| line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_is_run_timed_and_ended() {
        let limit = Duration::from_secs(20);
        let control = Control::default();
        let mut shell = Command::new("sh");
        let ran =
            run(shell.args(["-c", "echo out; echo err >&2; exit 3"]), "dash", limit, &control);
        let ran = ran.unwrap();
        assert!(!ran.success && ran.text.contains("out") && ran.text.contains("err"));
        let mut busy = Command::new("sh");
        busy.args(["-c", "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"]);
        assert!(run(&mut busy, "dash", limit, &control).unwrap().cpu.total() > 0.0);
        let mut long = Command::new("sleep");
        let short = Duration::from_millis(50);
        let error = run(long.arg("60"), "coreutils", short, &control).unwrap_err();
        assert!(error.to_string().contains("timed out"), "{error}");
        let error = run(&mut Command::new("no-such-tool"), "tools", limit, &control).unwrap_err();
        assert!(error.to_string().contains("package tools"), "{error}");
        control.stop();
        let mut long = Command::new("sleep");
        assert!(run(long.arg("60"), "coreutils", limit, &control).is_err());
    }
}
