//! Golden outputs: what a test prints against a file in `tests/golden`.

use std::path::Path;

/// Compares `actual` with the golden file `name`. A file that is missing fails, like one that
/// differs; with `VMETER_GOLDEN=write` in the environment it is written instead.
#[track_caller]
pub fn check(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("VMETER_GOLDEN").is_some_and(|value| value == "write") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("golden file tests/golden/{name}: {error}"));
    assert!(
        expected == actual,
        "tests/golden/{name} differs\n--- expected\n{expected}\n--- actual\n{actual}"
    );
}
