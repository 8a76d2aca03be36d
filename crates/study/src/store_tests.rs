use super::*;
use crate::PLANS;
use std::os::unix::fs::symlink;
use std::process::Command;

fn plan() -> Plan {
    Plan::parse(PLANS[0].text, "quick").unwrap()
}

fn begun() -> (tempfile::TempDir, Store) {
    let place = tempfile::tempdir().unwrap();
    let store = Store::create(place.path(), &plan()).unwrap();
    (place, store)
}

#[test]
fn a_plan_that_was_changed_since_is_refused() {
    let (place, store) = begun();
    assert_eq!(store.plan().unwrap().text, plan().text);
    drop(store);
    let changed = Plan::parse(&format!("{}\n# one more run\n", PLANS[0].text), "quick").unwrap();
    let other = Store::create(place.path(), &changed).unwrap_err().to_string();
    assert!(other.contains("belongs to another plan"), "{other}");
    fs::write(place.path().join("plan.toml"), &changed.text).unwrap();
    let wanted = "plan.toml: was changed after the study was started";
    let read = Store::open(place.path()).unwrap().plan().unwrap_err().to_string();
    assert!(read.contains(wanted), "{read}");
    // Neither does it go on by the changed plan, nor by the one before.
    for plan in [&changed, &plan()] {
        let refused = Store::create(place.path(), plan).unwrap_err().to_string();
        assert!(refused.contains(wanted), "{refused}");
    }
    fs::write(place.path().join("plan.toml"), PLANS[0].text).unwrap();
    Store::create(place.path(), &plan()).unwrap();
}

#[test]
fn a_study_of_an_earlier_version_has_no_checksum_of_its_plan() {
    let (place, _store) = begun();
    let head = r#"{"schema": "vmeter.study/1", "plan": "quick", "vmeter": "0.1.0"}"#;
    fs::write(place.path().join("study.json"), head).unwrap();
    assert_eq!(Store::open(place.path()).unwrap().plan().unwrap().text, plan().text);
}

#[test]
fn a_study_that_was_cut_off_at_its_start_begins_again() {
    let (place, store) = begun();
    drop(store);
    fs::remove_file(place.path().join("study.json")).unwrap();
    fs::write(place.path().join(".study.json.0123456789abcdef.part"), "{").unwrap();
    drop(Store::create(place.path(), &plan()).unwrap());
    fs::remove_file(place.path().join("study.json")).unwrap();
    fs::write(place.path().join("letter"), "dear").unwrap();
    assert!(Store::create(place.path(), &plan()).is_err(), "it holds something else");
}

#[test]
fn attack_by_fifos_devices_and_links_in_a_study_is_refused() {
    let (place, store) = begun();
    let run = place.path().join("runs/000001-1.json");
    let refused = |what: &str| {
        let error = store.records().unwrap_err().to_string();
        assert!(error.contains("000001-1.json") && error.contains(what), "{error}");
        fs::remove_file(&run).unwrap();
    };
    assert!(Command::new("mkfifo").arg(&run).status().unwrap().success());
    refused("is a FIFO");
    symlink("/dev/zero", &run).unwrap();
    refused("is a symbolic link");
    File::create(&run).unwrap().set_len(1 << 40).unwrap();
    refused("larger than");
    for name in ["plan.toml", "study.json"] {
        let path = place.path().join(name);
        fs::remove_file(&path).unwrap();
        symlink("/dev/zero", &path).unwrap();
    }
    assert!(store.plan().unwrap_err().to_string().contains("is a symbolic link"));
    assert!(Store::open(place.path()).unwrap_err().to_string().contains("is a symbolic link"));
}

/// With its checksum, a run's file is what was stored or it is refused: no figure changes silently.
#[test]
fn no_bytes_of_a_run_make_it_panic_or_another_run() {
    let (place, store, _) = crate::samples::study();
    let records = store.records().unwrap();
    let path = place.path().join("runs/000009-1.json");
    let good = fs::read(&path).unwrap();
    let mut random = hostile::Random::new(2);
    let (mut same, mut refused) = (0_u64, 0_u64);
    for _ in 0..hostile::cases(300) {
        let mut bytes = good.clone();
        random.mutate(&mut bytes);
        fs::write(&path, &bytes).unwrap();
        match store.records() {
            Ok(read) => {
                assert_eq!(read, records);
                same += 1;
            }
            Err(_) => refused += 1,
        }
    }
    println!("{same} the same, {refused} refused");
    assert!(refused > 0);
}
