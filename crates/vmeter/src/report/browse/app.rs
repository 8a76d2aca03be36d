//! The browser's state.

use super::Subject;
use super::place::Place;
use profile::table::Sort;
use profile::tree::Tree;

/// What keys go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// The rows.
    Rows,
    /// The help text, scrolled by so many lines.
    Help(usize),
    /// The filter's prompt; what it was before.
    Filter(String),
}

/// The screen's state.
#[derive(Debug)]
pub struct App {
    /// What is said of the recording.
    pub subject: Subject,
    /// The events' trees; there is one at least.
    places: Vec<Place>,
    /// Which of them is shown.
    pub event: usize,
    /// The order of rows.
    pub order: Sort,
    /// A part of a name, whatever its case.
    pub filter: String,
    /// What keys go to.
    pub mode: Mode,
    /// Rows that the screen holds.
    pub page: usize,
    /// Said once, until the next key.
    pub message: Option<&'static str>,
}

impl App {
    /// The state at the start; `None` where there is no event. The subject has a head for each
    /// tree, and the trees are in `order`.
    pub fn new(subject: Subject, trees: Vec<Tree>, order: Sort) -> Option<Self> {
        let places: Vec<Place> = trees.into_iter().map(Place::new).collect();
        (!places.is_empty()).then(|| Self {
            subject,
            places,
            event: 0,
            order,
            filter: String::new(),
            mode: Mode::Rows,
            page: 1,
            message: None,
        })
    }

    /// How many events there are.
    pub fn events(&self) -> usize {
        self.places.len()
    }

    /// What is shown.
    pub fn place(&self) -> &Place {
        &self.places[self.event]
    }

    /// The same, to move in it.
    pub fn place_mut(&mut self) -> &mut Place {
        &mut self.places[self.event]
    }

    /// Shows the next event, at the same row where it has that too.
    pub fn next_event(&mut self) {
        if self.places.len() == 1 {
            self.message = Some("the report has no other event");
            return;
        }
        let path = self.place().path();
        self.event = (self.event + 1) % self.places.len();
        self.place_mut().go_to(&path);
    }

    /// Sorts by samples, by events, by name, in turn.
    pub fn next_order(&mut self) {
        self.order = match self.order {
            Sort::Samples => Sort::Events,
            Sort::Events => Sort::Names,
            Sort::Names => Sort::Samples,
        };
        for place in &mut self.places {
            place.sort(self.order);
        }
    }

    /// Shows only what contains the text.
    pub fn set_filter(&mut self, text: String) {
        for place in &mut self.places {
            place.filter(&text);
        }
        self.filter = text;
    }
}
