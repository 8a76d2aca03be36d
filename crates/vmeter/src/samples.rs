//! A recording's samples as a profile.

use ::record::{Batch, Damage, Recording};
use anyhow::Result;
use model::Record;
use profile::{Options, Profile, Records};
use std::cell::RefCell;

/// A recording's samples, and what of it is damaged, in the words to show.
pub fn read(recording: &Recording, options: Options) -> Result<(Profile, Vec<String>)> {
    let damages = RefCell::new(Vec::new());
    let tell = |found: &[Damage]| {
        damages.borrow_mut().extend(found.iter().map(ToString::to_string));
    };
    let profile = Profile::read(recording.streams(), sources(recording, &tell)?, options);
    Ok((profile, damages.into_inner()))
}

/// The records of all streams; damage is told on the way.
pub fn sources<'a>(recording: &Recording, tell: &'a dyn Fn(&[Damage])) -> Result<Vec<Records<'a>>> {
    let one = |number| {
        let mut ahead = recording.records(number)?.ahead();
        let mut batch = Batch::default();
        Ok(Box::new(move |records: &mut Vec<Record>| {
            // Their memory goes the same way back.
            std::mem::swap(records, &mut batch.records);
            let is_more = ahead.refill(&mut batch);
            std::mem::swap(records, &mut batch.records);
            tell(&batch.damages);
            is_more
        }) as Records<'a>)
    };
    (0..recording.streams().len()).map(one).collect()
}
