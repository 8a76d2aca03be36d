//! A program of known functions: `spin_three` does three times the work of `spin_one`.

#![allow(dead_code, reason = "each test program uses its part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const FUNCTIONS: &str = "
typedef unsigned long u64;
#define SPIN(name, count) \
    __attribute__((noinline)) u64 name(u64 x) { \
        for (int i = 0; i < (count); i++) x = x * 6364136223846793005UL + 1; return x; }
SPIN(spin_three, 300000)
SPIN(spin_one, 100000)
";

/// It goes on for some seconds.
const SOME_SECONDS: &str = "
int main(void) {
    u64 x = 1;
    for (int i = 0; i < 3000; i++) { x = spin_three(x); x = spin_one(x); }
    return x == 0;
}
";

/// It goes on for ever, and needs no library.
const FOR_EVER: &str = "
volatile u64 result;
void _start(void) { for (u64 x = 1;; result = x) { x = spin_three(x); x = spin_one(x); } }
";

/// Compiles one that ends after some seconds.
pub fn build(place: &Path) -> PathBuf {
    compile(place, SOME_SECONDS, &[])
}

/// Compiles one that goes on for ever and runs on any Linux.
pub fn build_alone(place: &Path) -> PathBuf {
    compile(place, FOR_EVER, &["-static", "-nostdlib", "-fno-stack-protector"])
}

fn compile(place: &Path, rest: &str, options: &[&str]) -> PathBuf {
    let (source, program) = (place.join("spin.c"), place.join("spin"));
    fs::write(&source, format!("{FUNCTIONS}{rest}")).unwrap();
    let mut cc = Command::new("cc");
    let built = cc.arg("-O1").args(options).arg("-o").args([&program, &source]).status();
    assert!(built.unwrap().success());
    program
}
