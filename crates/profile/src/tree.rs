//! A table that is opened level by level: the VMs, in each its processes, in each its images.

use crate::label::sentence;
use crate::named::{Named, Row};
use crate::place::Layer;
use crate::profile::Count;
use crate::summary;
use crate::symbols::Reason;
use crate::table::{Choice, Column, Sort};
use crate::words::{WordId, Words};
use ahash::AHashMap;
use model::{Nanos, Reading};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The samples of one event, added up on every level.
#[derive(Debug, Clone, PartialEq)]
pub struct Tree {
    /// The event, by its number in [`crate::Profile::events`].
    pub event: u16,
    /// The levels, from the widest to the narrowest; each column once.
    pub by: Vec<Column>,
    /// The first is everything; each comes after the one that it is in.
    pub nodes: Vec<Node>,
    /// Samples of idle CPUs, which are in no node.
    pub idle: u64,
}

/// What one thing on a level has: a VM, or a process in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What it is called: shown words, escaped and cut.
    pub label: Arc<str>,
    /// 0 is everything; a node of depth n is of the n-th level.
    pub depth: usize,
    /// The node that it is in; everything is in itself.
    pub parent: usize,
    /// What is in it.
    pub children: Vec<usize>,
    /// How much.
    pub count: Count,
    /// Samples as a percentage of the tree's.
    pub percent: f64,
    /// Busy time (equation 4.9), idle time left out, for events that are time or cycles.
    pub busy: Reading<Nanos>,
    /// The samples of each layer.
    pub layers: BTreeMap<Layer, u64>,
    /// Why addresses in it have no names, as shown words, with their samples: the most first.
    pub unnamed: Vec<(Arc<str>, u64)>,
}

/// The trees of a profile, one for each event that the choice lets through. `hertz` is as of
/// [`summary::busy`].
#[must_use]
pub fn trees(named: &Named<'_>, choice: &Choice, hertz: Option<f64>) -> Vec<Tree> {
    choice.chosen_events(named.profile).map(|event| tree(named, choice, hertz, event)).collect()
}

fn tree(named: &Named<'_>, choice: &Choice, hertz: Option<f64>, event: u16) -> Tree {
    let mut by: Vec<Column> = Vec::new();
    for column in &choice.by {
        if !by.contains(column) {
            by.push(*column);
        }
    }
    let mut words = Words::new(named, choice.full_paths);
    let mut sums = Sums::default();
    let mut idle = 0;
    for row in named.rows.iter().filter(|row| row.event == event && choice.lets(named, row)) {
        if row.idle && !choice.idle {
            idle += row.count.samples;
            continue;
        }
        sums.add(row, by.iter().map(|&column| words.id(column, row)));
    }
    let total = sums.all[0].count.samples;
    let mut reasons = AHashMap::new();
    let nodes = sums.all.into_iter().map(|sum| Node {
        label: words.shared(sum.label),
        depth: sum.depth,
        parent: sum.parent,
        children: vec![],
        count: sum.count,
        percent: 100.0 * sum.count.samples as f64 / total.max(1) as f64,
        busy: sum.times.iter().try_fold(Nanos(0), |busy, &(stream, count)| {
            let report = named.profile.streams.get(usize::from(stream));
            Ok(busy + summary::time(named, report, event, count, hertz)?)
        }),
        layers: sum.layers,
        unnamed: unnamed(sum.unnamed, &mut reasons),
    });
    let mut tree = Tree { event, by, nodes: nodes.collect(), idle };
    for at in 1..tree.nodes.len() {
        let parent = tree.nodes[at].parent;
        tree.nodes[parent].children.push(at);
    }
    tree.sort(choice.sort);
    tree
}

/// Reasons in the words to show, which are made once.
fn unnamed(
    found: BTreeMap<Arc<Reason>, u64>,
    words: &mut AHashMap<Arc<Reason>, Arc<str>>,
) -> Vec<(Arc<str>, u64)> {
    let one = |(reason, samples): (Arc<Reason>, u64)| {
        let word =
            words.entry(reason).or_insert_with_key(|reason| sentence(&reason.to_string()).into());
        (Arc::clone(word), samples)
    };
    let mut unnamed: Vec<_> = found.into_iter().map(one).collect();
    unnamed.sort_by_key(|(_, samples)| Reverse(*samples));
    unnamed
}

/// Nodes as they are added up, the first of which is everything.
struct Sums {
    all: Vec<Sum>,
    /// A node by the one that it is in, and its word.
    places: AHashMap<(usize, WordId), usize>,
}

#[derive(Default)]
struct Sum {
    label: WordId,
    depth: usize,
    parent: usize,
    count: Count,
    /// What each stream counted, idle time left out.
    times: Vec<(u16, Count)>,
    layers: BTreeMap<Layer, u64>,
    unnamed: BTreeMap<Arc<Reason>, u64>,
}

impl Default for Sums {
    fn default() -> Self {
        Self { all: vec![Sum::default()], places: AHashMap::new() }
    }
}

impl Sums {
    /// Adds a row to everything and to the node of each of its words.
    fn add(&mut self, row: &Row, path: impl Iterator<Item = WordId>) {
        let mut at = 0;
        self.all[at].add(row);
        for (label, depth) in path.zip(1..) {
            let parent = at;
            at = *self.places.entry((parent, label)).or_insert_with(|| {
                self.all.push(Sum { label, depth, parent, ..Sum::default() });
                self.all.len() - 1
            });
            self.all[at].add(row);
        }
    }
}

impl Sum {
    fn add(&mut self, row: &Row) {
        self.count = self.count.and(row.count);
        *self.layers.entry(row.layer).or_default() += row.count.samples;
        if let Err(reason) = &row.naming {
            *self.unnamed.entry(Arc::clone(reason)).or_default() += row.count.samples;
        }
        if row.idle {
            return;
        }
        match self.times.iter_mut().find(|(stream, _)| *stream == row.stream) {
            Some((_, sum)) => *sum = sum.and(row.count),
            None => self.times.push((row.stream, row.count)),
        }
    }
}

impl Tree {
    /// Orders what is in each node.
    pub fn sort(&mut self, order: Sort) {
        for at in 0..self.nodes.len() {
            let mut children = std::mem::take(&mut self.nodes[at].children);
            children.sort_by(|&one, &other| {
                let (one, other) = (&self.nodes[one], &self.nodes[other]);
                order.compare(&one.count, &other.count).then_with(|| one.label.cmp(&other.label))
            });
            self.nodes[at].children = children;
        }
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
