//! The terminal's screen: reads on a fixed schedule and answers keys at once.

mod app;
mod draw;
mod help;
mod keys;
mod layout;

use super::View;
use super::sampler::{Sampled, Sampler};
use super::schedule::Schedule;
use crate::terminal::{self, Taken, Theme, Wake, Woken};
use anyhow::Result;
use app::App;
use keys::Effect;
use platform::Source;
use ratatui::crossterm::event::KeyEvent;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What the arguments ask for.
#[derive(Debug)]
pub struct Plan {
    /// T, to begin with.
    pub interval: Duration,
    /// Rows, columns and order, to begin with.
    pub view: View,
}

/// Shows the screen until the user quits or a signal ends it, which gives its status.
///
/// # Errors
/// The reader's first, and the terminal's. The terminal is restored before they are returned.
pub fn run(source: &mut dyn Source, plan: Plan) -> Result<ExitCode> {
    let mut session = Session {
        app: App::new(plan.view, plan.interval),
        sampler: Sampler::new(source),
        schedule: Schedule::starting(Instant::now(), plan.interval),
        shown: None,
    };
    session.sampler.start(session.app.want())?;
    let wake = Wake::new()?;
    let theme = Theme::from_environment();
    let mut taken = Taken::take("--batch needs none")?;
    loop {
        session.read_if_due();
        taken.draw(|frame| draw::draw(frame, &mut session.app, session.shown.as_ref(), theme))?;
        match wake.wait(session.time_left())? {
            Woken::Signal(signal) => return Ok(ExitCode::from(128 + signal)),
            Woken::Input | Woken::Time => {}
        }
        while let Some(key) = terminal::key()? {
            match session.key(key) {
                Effect::Quit => return Ok(ExitCode::SUCCESS),
                Effect::Redraw => taken.clear()?,
                Effect::Suspend => taken.suspend()?,
                _ => {}
            }
        }
    }
}

/// What is measured and what is shown of it.
struct Session<'a> {
    app: App,
    sampler: Sampler<'a>,
    schedule: Schedule,
    shown: Option<Sampled>,
}

impl Session<'_> {
    /// Reads where the time has come. What cannot be read now may be readable next time, so an
    /// error is shown and the screen stays.
    fn read_if_due(&mut self) {
        let now = Instant::now();
        if self.app.paused || !self.schedule.left(now).is_zero() {
            return;
        }
        let sampled = self.sampler.next(self.app.want());
        self.schedule.advance(Instant::now());
        match sampled {
            Ok(Some(sampled)) => self.shown = Some(sampled),
            Ok(None) => {}
            Err(error) => self.app.message = Some(crate::failure::sentence(&error)),
        }
    }

    /// `None` while paused: only a key or a signal goes on.
    fn time_left(&self) -> Option<Duration> {
        (!self.app.paused).then(|| self.schedule.left(Instant::now()))
    }

    fn key(&mut self, key: KeyEvent) -> Effect {
        let rows = self.app.rows(self.shown.as_ref());
        let row_keys = rows.into_iter().map(|row| row.key).collect::<Vec<_>>();
        let effect = self.app.key(key, &row_keys);
        match effect {
            Effect::Resume | Effect::Interval => self.start_anew(),
            _ => {}
        }
        effect
    }

    /// Starts an interval of its new length, or one that the pause is no part of.
    fn start_anew(&mut self) {
        self.schedule = Schedule::starting(Instant::now(), self.app.interval);
        if let Err(error) = self.sampler.start(self.app.want()) {
            self.app.message = Some(crate::failure::sentence(&error));
        }
    }
}
