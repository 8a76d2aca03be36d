//! `vmeter report --browse` on a pseudo-terminal: what it needs, and how it leaves the terminal.

use crate::processes::said;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const VMETER: &str = env!("CARGO_BIN_EXE_vmeter");
/// Taking the alternate screen, and giving it back.
const TAKEN: &str = "\u{1b}[?1049h";
const GIVEN_BACK: &str = "\u{1b}[?1049l";

fn recording(place: &Path) -> String {
    let dir = place.join("rec").to_str().unwrap().to_owned();
    let spin = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done";
    let args = ["record", "-e", "cpu-clock", "-o", &dir, "--", "sh", "-c", spin];
    let output = Command::new(VMETER).args(args).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    dir
}

/// A terminal of 80 columns with the browser on it.
struct Screen {
    terminal: File,
    /// The program's side: what is set on it stays while this is open.
    line: File,
    browser: Child,
    seen: String,
}

impl Screen {
    fn open(dir: &str) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, vec![]).unwrap().into_string().unwrap();
        let line = File::options().read(true).write(true).open(name).unwrap();
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal, size).unwrap();
        let browser = Command::new(VMETER)
            .args(["report", dir, "--browse"])
            .stdin(line.try_clone().unwrap())
            .stdout(line.try_clone().unwrap())
            // A group whose parent is of another can be stopped, whoever started the tests.
            .process_group(0)
            .spawn()
            .unwrap();
        Self { terminal: terminal.into(), line, browser, seen: String::new() }
    }

    fn press(&mut self, keys: &str) {
        self.terminal.write_all(keys.as_bytes()).unwrap();
    }

    /// Reads until the text was written: a word, as blanks may be passed over.
    fn wait_for(&mut self, text: &str) {
        while !self.seen.contains(text) {
            assert!(self.read(Duration::from_secs(30)), "no {text:?} in {:?}", self.seen);
        }
    }

    /// Reads what comes within a time; whether anything did. Answers where the cursor is.
    fn read(&mut self, within: Duration) -> bool {
        let within = Timespec::try_from(within).unwrap();
        let mut ready = [PollFd::new(&self.terminal, PollFlags::IN)];
        if poll(&mut ready, Some(&within)).unwrap() == 0 {
            return false;
        }
        let mut buffer = [0; 4096];
        let count = self.terminal.read(&mut buffer).unwrap();
        let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
        self.seen.push_str(&text);
        if text.contains("\u{1b}[6n") {
            self.press("\u{1b}[1;1R");
        }
        true
    }

    /// Whether keys come line by line, as a shell leaves a terminal.
    fn is_as_it_was(&self) -> bool {
        tcgetattr(&self.line).unwrap().local_modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }
}

impl Drop for Screen {
    /// A test that failed leaves no browser behind; it has ended already elsewhere.
    fn drop(&mut self) {
        let _ = self.browser.kill();
        let _ = self.browser.wait();
    }
}

#[test]
fn it_shows_the_recording_and_gives_the_terminal_back() {
    let place = tempfile::tempdir().unwrap();
    let dir = recording(place.path());
    for keys in ["q", "\u{3}", ""] {
        let mut screen = Screen::open(&dir);
        screen.wait_for(TAKEN);
        screen.wait_for("cpu-clock");
        screen.wait_for("q:quit");
        assert!(!screen.is_as_it_was());
        screen.press("?");
        // On a line that was empty: what did not change is not written again.
        screen.wait_for("Ctrl-C");
        let status = match keys {
            "" => {
                let pid = Pid::from_child(&screen.browser);
                kill_process(pid, Signal::TERM).unwrap();
                128 + 15
            }
            keys => {
                // The first leaves the help.
                screen.press("x");
                screen.press(keys);
                0
            }
        };
        screen.wait_for(GIVEN_BACK);
        let ended = screen.browser.wait().unwrap();
        assert_eq!(ended.code(), Some(status), "{keys:?}");
        assert!(screen.is_as_it_was(), "{keys:?}");
    }
}

#[test]
fn it_goes_on_where_it_was_stopped() {
    let place = tempfile::tempdir().unwrap();
    let dir = recording(place.path());
    let mut screen = Screen::open(&dir);
    screen.wait_for("q:quit");
    screen.press("\u{1a}");
    screen.wait_for(GIVEN_BACK);
    let until = screen.seen.find(GIVEN_BACK).unwrap() + GIVEN_BACK.len();
    screen.seen.drain(..until);
    // It may not have stopped yet: then it has to be continued once more.
    while !screen.seen.contains("q:quit") {
        kill_process(Pid::from_child(&screen.browser), Signal::CONT).unwrap();
        screen.read(Duration::from_millis(200));
    }
    let seen = &screen.seen;
    assert!(seen.contains(TAKEN) && !seen.contains(GIVEN_BACK), "{seen:?}");
    assert!(!screen.is_as_it_was(), "keys come one by one again");
    screen.press("q");
    screen.wait_for(GIVEN_BACK);
    assert_eq!(screen.browser.wait().unwrap().code(), Some(0));
    assert!(screen.is_as_it_was());
}

#[test]
fn what_it_cannot_do_is_refused_with_what_to_do() {
    let refused = |args: &[&str], word: &str| {
        let mut command = Command::new(VMETER);
        let output = command.arg("report").args(args).stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(said(&output).contains(word), "{args:?}: {}", said(&output));
    };
    refused(&["rec", "--browse"], "--format");
    refused(&["rec", "--browse", "--format", "csv"], "--format");
    refused(&["rec", "--browse", "--diff", "other"], "--diff");
    refused(&["rec", "--browse", "--limit", "3"], "--limit");
    refused(&["rec", "--browse", "-o", "file"], "--output");
}
