//! Headless Chromium, driven by the DevTools protocol over a pair of pipes.
//!
//! Every wait has an end, and no browser outlives its test.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The longest that an answer, or a condition, is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
const FLAGS: [&str; 10] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--force-color-profile=srgb",
    "--remote-debugging-pipe",
];

/// A browser with one page.
pub struct Chromium {
    child: Child,
    commands: File,
    /// The browser's end of the answers' pipe: writing to it ends the reader.
    answers: File,
    messages: Receiver<Value>,
    session: Option<String>,
    last_id: u64,
    events: Vec<Value>,
    folder: TempDir,
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // Its renderers are in its group.
        if let Some(group) = Pid::from_raw(self.child.id().cast_signed()) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
        let _ = self.answers.write_all(b"\0");
    }
}

impl Chromium {
    /// Starts a browser with an empty page.
    ///
    /// # Panics
    ///
    /// Where there is no `chromium`, or it does not answer.
    pub fn start() -> Self {
        let program = program();
        let folder = tempfile::tempdir().unwrap();
        let open = |name: &str| {
            let path = folder.path().join(name);
            mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
            // For both ways, as opening waits for nobody then.
            OpenOptions::new().read(true).write(true).open(&path).map(|file| (file, path)).unwrap()
        };
        let ((commands, to), (answers, from)) = (open("commands"), open("answers"));
        let log = File::create(folder.path().join("log")).unwrap();
        let child = Command::new("sh")
            .args(["-c", r#"exec "$0" "$@" 3<"$COMMANDS" 4>"$ANSWERS""#])
            .arg(program)
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
            .env("COMMANDS", to)
            .env("ANSWERS", from)
            .env("HOME", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap();
        let messages = listen(answers.try_clone().unwrap());
        let (session, last_id, events) = (None, 0, Vec::new());
        let mut this =
            Self { child, commands, answers, messages, session, last_id, events, folder };
        this.attach();
        this
    }

    fn attach(&mut self) {
        let page = self.call("Target.createTarget", json!({"url": "about:blank"}));
        let target = json!({"targetId": page["targetId"], "flatten": true});
        let session = self.call("Target.attachToTarget", target);
        self.session = Some(session["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Network", "Log"] {
            self.call(&format!("{domain}.enable"), json!({}));
        }
        let downloads = json!({"behavior": "allow", "downloadPath": self.downloads()});
        self.call("Browser.setDownloadBehavior", downloads);
    }

    /// Where the page's downloads are put.
    pub fn downloads(&self) -> PathBuf {
        self.folder.path().join("downloads")
    }

    /// Makes the page's window so many CSS pixels wide and high.
    pub fn resize(&mut self, width: u32, height: u32) {
        let metrics = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600,
        });
        self.call("Emulation.setDeviceMetricsOverride", metrics);
    }

    /// Opens a file and waits until it is loaded.
    pub fn open(&mut self, file: &Path) {
        let url = format!("file://{}", file.display());
        let answer = self.call("Page.navigate", json!({"url": url}));
        assert!(answer["errorText"].is_null(), "{url}: {answer}");
        // The empty page before it was loaded too.
        let here = serde_json::to_string(&url).unwrap();
        self.wait_for(&format!("document.readyState === 'complete' && location.href === {here}"));
    }

    /// What an expression, or the promise that it gives, comes to.
    pub fn eval(&mut self, expression: &str) -> Value {
        let answer = self.call(
            "Runtime.evaluate",
            json!({"expression": expression, "awaitPromise": true, "returnByValue": true}),
        );
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub fn wait_for(&mut self, expression: &str) {
        let begin = Instant::now();
        while self.eval(expression) != Value::Bool(true) {
            assert!(begin.elapsed() < PATIENCE, "never true: {expression}\n{}", self.state());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Errors that the page threw or wrote to its console.
    pub fn problems(&mut self) -> Vec<String> {
        self.events()
            .iter()
            .filter(|event| match event["method"].as_str() {
                Some("Runtime.exceptionThrown") => true,
                Some("Runtime.consoleAPICalled") => {
                    ["error", "assert", "warning"].iter().any(|t| event["params"]["type"] == *t)
                }
                Some("Log.entryAdded") => event["params"]["entry"]["level"] == "error",
                _ => false,
            })
            .map(|event| event["params"].to_string())
            .collect()
    }

    /// What the page asked for, as URLs, from its own on.
    pub fn requests(&mut self) -> Vec<String> {
        let sent = self.events().iter().filter(|e| e["method"] == "Network.requestWillBeSent");
        sent.filter_map(|e| e["params"]["request"]["url"].as_str().map(str::to_owned)).collect()
    }

    /// Saves a picture of the whole page.
    pub fn screenshot(&mut self, file: &Path) {
        let size = self.eval(
            "(({scrollWidth: width, scrollHeight: height}) => ({x: 0, y: 0, width, height, scale: 1}))\
             (document.scrollingElement)",
        );
        let how = json!({"format": "png", "captureBeyondViewport": true, "clip": size});
        let picture = self.call("Page.captureScreenshot", how);
        fs::write(file, STANDARD.decode(picture["data"].as_str().unwrap()).unwrap()).unwrap();
    }

    /// The page on A4 paper, as PDF.
    pub fn print(&mut self) -> Vec<u8> {
        let paper = json!({"paperWidth": 8.27, "paperHeight": 11.69, "preferCSSPageSize": true});
        let printed = self.call("Page.printToPDF", paper);
        STANDARD.decode(printed["data"].as_str().unwrap()).unwrap()
    }

    /// Calls a method of the protocol; its events are kept.
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        self.last_id += 1;
        let id = self.last_id;
        let mut command = json!({"id": id, "method": method, "params": params});
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        self.commands.write_all(format!("{command}\0").as_bytes()).unwrap();
        let begin = Instant::now();
        loop {
            match self.messages.recv_timeout(Duration::from_millis(200)) {
                Ok(message) if message["id"] == id => {
                    assert!(message["error"].is_null(), "{method}: {message}");
                    return message["result"].clone();
                }
                Ok(event) => self.events.push(event),
                Err(RecvTimeoutError::Timeout) => {
                    let ended = self.child.try_wait().unwrap();
                    assert!(ended.is_none(), "{method}: chromium ended\n{}", self.state());
                    assert!(begin.elapsed() < PATIENCE, "{method}: no answer\n{}", self.state());
                }
                Err(RecvTimeoutError::Disconnected) => panic!("{method}: nobody listens"),
            }
        }
    }

    fn events(&mut self) -> &[Value] {
        self.events.extend(self.messages.try_iter());
        &self.events
    }

    /// What there is to know when something went wrong.
    fn state(&mut self) -> String {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        format!("page: {:#?}\nchromium: {log}", self.problems())
    }
}

/// Where chromium is.
fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|p| p.join("chromium")).find(|p| p.is_file());
    found.expect("there is no chromium on PATH, with which pages are tested: run ./setup")
}

/// Messages of the browser, each ended by a NUL; an empty one ends them.
fn listen(answers: File) -> Receiver<Value> {
    let (sender, messages) = mpsc::channel();
    thread::spawn(move || {
        for message in BufReader::new(answers).split(0) {
            let Ok(message) = message else { break };
            if message.is_empty() || sender.send(serde_json::from_slice(&message).unwrap()).is_err()
            {
                break;
            }
        }
    });
    messages
}
