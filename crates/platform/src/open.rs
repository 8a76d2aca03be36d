//! The choice of the platform that is read.

use crate::cgroup::GroupRows;
use crate::host::Tree;
use crate::local::Local;
use crate::source::{Choice, OpenError, Source};
use crate::xen;
use std::path::Path;

/// Opens the chosen platform below `root` (`/` for the live system).
///
/// # Errors
/// [`OpenError`]: what was looked for and not found, or could not be used.
pub fn open(choice: Choice, root: &Path) -> Result<Box<dyn Source>, OpenError> {
    open_with(choice, root, &GroupRows::default())
}

/// Opens the chosen platform below `root`, with the rows that are wanted of control groups.
///
/// # Errors
/// As [`open`].
pub fn open_with(
    choice: Choice,
    root: &Path,
    rows: &GroupRows,
) -> Result<Box<dyn Source>, OpenError> {
    let tree = Tree::open(root).map_err(|error| OpenError::Unusable {
        what: root.display().to_string(),
        why: error.to_string(),
        action: "give the root of a live system or of a saved tree",
    })?;
    if choice == Choice::Xen || choice == Choice::Auto && xen::is_here(&tree) {
        return Ok(Box::new(xen::open(&tree)?));
    }
    Ok(Box::new(Local::open(&tree, choice, rows)?))
}
