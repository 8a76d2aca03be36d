//! Real stored runs for tests (tests/fixtures/README.md).

use crate::record::{Data, Ending, Record};
use crate::store::Store;
use std::fs;
use std::path::Path;

/// Of native Linux and of Xen.
pub(crate) const NAMES: [&str; 2] = ["native-tcp", "xen-tcp"];

/// A study's folder that holds the real runs, and what they are, read by their checksums.
pub(crate) fn study() -> (tempfile::TempDir, Store, Vec<Record>) {
    let place = tempfile::tempdir().unwrap();
    let plan = crate::Plan::parse(crate::PLANS[0].text, "quick").unwrap();
    let store = Store::create(place.path(), &plan).unwrap();
    for name in NAMES {
        let from = format!("{}/tests/fixtures/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let text = fs::read_to_string(Path::new(&from)).unwrap();
        let number = if name.starts_with("xen") { "000009-1" } else { "000016-1" };
        fs::write(place.path().join(format!("runs/{number}.json")), text).unwrap();
    }
    let mut records = store.records().unwrap();
    assert_eq!(records[0].machine.as_deref(), Some("xen"));
    records.reverse();
    (place, store, records)
}

/// What was read in a run, to be changed.
pub(crate) fn data(record: &mut Record) -> &mut Data {
    match &mut record.ending {
        Ending::Measured(data) => data,
        Ending::Failed(why) => panic!("{why}"),
    }
}

/// Why a run says that it is not valid after [`invalidate`].
pub(crate) const INVALID: &str = "the load ended early";

/// Has a run's load say that it ended early.
pub(crate) fn invalidate(record: &mut Record) {
    data(record).outcomes[0]["partial"] = true.into();
}
