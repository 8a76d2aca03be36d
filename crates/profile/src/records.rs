//! Records as they come, in batches.

use model::Record;

/// One stream's records, in the order of its clock: each call puts those that come next in the place
/// of what is there; none, and false, at the end.
pub type Records<'a> = Box<dyn FnMut(&mut Vec<Record>) -> bool + 'a>;

/// Records that are in memory.
#[must_use]
pub fn in_memory(records: Vec<Record>) -> Records<'static> {
    let mut records = Some(records);
    Box::new(move |batch| {
        *batch = records.take().unwrap_or_default();
        !batch.is_empty()
    })
}
