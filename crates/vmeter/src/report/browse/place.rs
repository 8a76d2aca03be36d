//! One event's tree as it is looked at: what is open, selected and filtered.

use profile::tree::{Node, Tree};
use std::sync::Arc;

/// A tree, and where in it one is.
#[derive(Debug)]
pub struct Place {
    tree: Tree,
    open: Vec<bool>,
    /// The selected node; 0 while nothing can be selected.
    selected: usize,
    /// The first row that is shown.
    pub top: usize,
    filter: Option<Filter>,
}

/// What a filter lets through.
#[derive(Debug)]
struct Filter {
    /// Nodes that contain the text.
    own: Vec<bool>,
    /// They, what is in them, and what they are in.
    shown: Vec<bool>,
    /// Samples of all nodes that contain the text.
    samples: u64,
    /// What was open before.
    before: Vec<bool>,
}

impl Place {
    /// At the first row of a tree; a level of only one node is opened.
    pub fn new(tree: Tree) -> Self {
        let open = vec![false; tree.nodes.len()];
        let mut place = Self { tree, open, selected: 0, top: 0, filter: None };
        place.open(0);
        place.selected = place.rows().first().copied().unwrap_or(0);
        place
    }

    /// What is shown.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The node of a row.
    pub fn node(&self, at: usize) -> &Node {
        &self.tree.nodes[at]
    }

    /// The selected node; `None` where there is no row.
    pub fn selected(&self) -> Option<&Node> {
        (self.selected != 0).then(|| self.node(self.selected))
    }

    /// Whether a node can be opened, and is: `None` where there is nothing in it.
    pub fn opened(&self, at: usize) -> Option<bool> {
        self.has_children(at).then(|| self.open[at])
    }

    /// Whether it is the filter's text that a node was found by.
    pub fn is_hit(&self, at: usize) -> bool {
        self.filter.as_ref().is_some_and(|filter| filter.own[at])
    }

    /// Samples of what contains the filter's text.
    pub fn hits(&self) -> Option<u64> {
        self.filter.as_ref().map(|filter| filter.samples)
    }

    /// The labels of what the selected node is in, and its own, the widest first.
    pub fn path(&self) -> Vec<Arc<str>> {
        let own = Some(self.selected).filter(|&at| at != 0);
        let all = self.above(self.selected).chain(own);
        all.map(|at| Arc::clone(&self.node(at).label)).collect()
    }

    /// The rows, from the top: nodes whose parents are all open.
    pub fn rows(&self) -> Vec<usize> {
        let mut rows = Vec::new();
        self.collect(0, &mut rows);
        rows
    }

    /// No deeper than the tree has levels.
    fn collect(&self, at: usize, rows: &mut Vec<usize>) {
        for child in self.children(at) {
            rows.push(child);
            if self.open[child] {
                self.collect(child, rows);
            }
        }
    }

    fn children(&self, at: usize) -> impl Iterator<Item = usize> {
        let shown = |child: &usize| self.filter.as_ref().is_none_or(|f| f.shown[*child]);
        self.node(at).children.iter().copied().filter(shown)
    }

    fn has_children(&self, at: usize) -> bool {
        self.children(at).next().is_some()
    }

    /// The nodes that a node is in, the widest first, everything left out.
    fn above(&self, at: usize) -> impl Iterator<Item = usize> {
        let mut above = Vec::new();
        let mut at = self.node(at).parent;
        while at != 0 {
            above.push(at);
            at = self.node(at).parent;
        }
        above.into_iter().rev()
    }

    /// Scrolls so that the selected row is seen on a page; gives its index.
    pub fn settle(&mut self, rows: &[usize], page: usize) -> Option<usize> {
        let page = page.max(1);
        let at = rows.iter().position(|&row| row == self.selected)?;
        let lowest = rows.len().saturating_sub(page);
        self.top = self.top.clamp((at + 1).saturating_sub(page), at).min(lowest);
        Some(at)
    }

    /// Selects the row `by` rows further down (or up), or the one at the end.
    pub fn step(&mut self, by: isize) {
        let rows = self.rows();
        let Some(last) = rows.len().checked_sub(1) else { return };
        let at = rows.iter().position(|&row| row == self.selected).unwrap_or(0);
        self.selected = rows[at.saturating_add_signed(by).min(last)];
    }

    /// Opens the selected row; where it is open, goes to the first row in it.
    pub fn enter(&mut self) {
        match self.opened(self.selected) {
            Some(false) => self.open(self.selected),
            Some(true) => self.step(1),
            None => {}
        }
    }

    /// Closes the selected row; where it is not open, goes to the one that it is in.
    pub fn leave(&mut self) {
        if self.opened(self.selected) == Some(true) {
            self.open[self.selected] = false;
            return;
        }
        let parent = self.node(self.selected).parent;
        if parent != 0 {
            self.selected = parent;
        }
    }

    /// Opens the selected row, or closes it.
    pub fn toggle(&mut self) {
        match self.opened(self.selected) {
            Some(true) => self.open[self.selected] = false,
            Some(false) => self.open(self.selected),
            None => {}
        }
    }

    /// Opens a node, and what is the only one in it: there is nothing to choose.
    fn open(&mut self, at: usize) {
        let mut at = at;
        loop {
            self.open[at] = true;
            let mut children = self.children(at);
            match (children.next(), children.next()) {
                (Some(only), None) if self.has_children(only) => at = only,
                _ => return,
            }
        }
    }

    /// Opens whatever the node is in, and selects it.
    fn reveal(&mut self, at: usize) {
        for above in self.above(at).collect::<Vec<_>>() {
            self.open[above] = true;
        }
        self.selected = at;
    }

    /// Goes to the node of these labels, or as near to it as there is one.
    pub fn go_to(&mut self, path: &[Arc<str>]) {
        let mut at = 0;
        for label in path {
            match self.children(at).find(|&child| self.node(child).label == *label) {
                Some(child) => at = child,
                None => break,
            }
        }
        if at != 0 {
            self.reveal(at);
        }
    }

    /// Orders the rows.
    pub fn sort(&mut self, order: profile::table::Sort) {
        self.tree.sort(order);
    }

    /// Shows only what contains the text, whatever its case, with all that is in it and that it
    /// is in, and opens the way to it. Without a text everything is shown, and open what was.
    pub fn filter(&mut self, text: &str) {
        let before = self.filter.take().map_or_else(|| self.open.clone(), |filter| filter.before);
        if text.is_empty() {
            self.open = before;
            self.open[0] = true;
            let at = if self.selected == 0 { self.rows().first().copied() } else { None };
            self.reveal(at.unwrap_or(self.selected));
            return;
        }
        let text = text.to_lowercase();
        let nodes = &self.tree.nodes;
        let own: Vec<bool> =
            nodes.iter().map(|node| node.label.to_lowercase().contains(&text)).collect();
        // Nodes come after those that they are in.
        let mut way = vec![false; nodes.len()];
        for at in (1..nodes.len()).rev() {
            way[nodes[at].parent] |= own[at] || way[at];
        }
        let (mut inside, mut samples) = (own.clone(), 0);
        for at in 1..nodes.len() {
            if own[at] && !inside[nodes[at].parent] {
                samples += nodes[at].count.samples;
            }
            inside[at] |= inside[nodes[at].parent];
        }
        let shown = inside.iter().zip(&way).map(|(inside, way)| *inside || *way).collect();
        self.open = way;
        self.filter = Some(Filter { own, shown, samples, before });
        self.select_hit();
    }

    /// Selects what contains the filter's text.
    fn select_hit(&mut self) {
        let rows = self.rows();
        if !(self.is_hit(self.selected) && rows.contains(&self.selected)) {
            let hit = rows.iter().copied().find(|&row| self.is_hit(row));
            self.selected = hit.unwrap_or(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::browse::fixture;

    /// The rows' labels, shifted by their depth, the selected one marked.
    fn rows(place: &Place) -> Vec<String> {
        let row = |at: usize| {
            let mark = if at == place.selected { ">" } else { "" };
            let node = place.node(at);
            format!("{mark}{}{}", " ".repeat(node.depth - 1), node.label)
        };
        place.rows().into_iter().map(row).collect()
    }

    fn place() -> Place {
        Place::new(fixture::trees().remove(0))
    }

    #[test]
    fn what_is_alone_opens_with_what_it_is_in() {
        let mut place = place();
        assert_eq!(rows(&place), [">web1", "host", "db-東京"]);
        place.step(2);
        place.enter();
        assert_eq!(place.opened(place.selected), Some(true));
        assert!(rows(&place).len() > 5, "{:?}", rows(&place));
        place.leave();
        assert_eq!(rows(&place), ["web1", "host", ">db-東京"]);
    }

    #[test]
    fn a_filter_shows_the_way_to_what_it_finds_and_leaves_the_rest_as_it_was() {
        let mut place = place();
        place.filter("HTTPD");
        let found = rows(&place);
        assert!(found[0] == "web1" && found[1] == "> httpd", "{found:?}");
        let httpd = place.selected().map(|node| node.count.samples);
        assert_eq!(place.hits(), httpd, "what is in a hit is not counted twice");
        place.filter("");
        let all = rows(&place);
        assert!(all.contains(&"> httpd".to_owned()) && all.contains(&"host".to_owned()), "{all:?}");
        place.filter("there is no such thing");
        assert_eq!((rows(&place).len(), place.hits()), (0, Some(0)));
        assert!(place.selected().is_none());
        place.step(1);
        place.enter();
        place.leave();
        place.toggle();
        place.filter("");
        assert_eq!(rows(&place)[..2], [">web1", " httpd"]);
    }

    #[test]
    fn it_goes_to_the_same_thing_in_another_tree_or_near_it() {
        let (mut place, mut other) = (place(), Place::new(fixture::trees().remove(1)));
        place.filter("do_syscall_64");
        place.filter("");
        other.go_to(&place.path());
        assert_eq!(other.path(), place.path());
        let nowhere = ["web1".into(), "not there".into()];
        other.go_to(&nowhere);
        assert_eq!(other.path(), nowhere[..1]);
    }
}
