//! A program of known functions: `spin_three` does three times the work of `spin_one`.

#![allow(dead_code, reason = "each test program uses its part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The work of a pass varies from half to one and a half times its mean: passes of one length can keep
/// step with the sampling, which then meets the same function each time.
const FUNCTIONS: &str = "
typedef unsigned long u64;
#define SPIN(name, times) \
    __attribute__((noinline)) u64 name(u64 x, int count) { \
        for (int i = 0; i < times * count; i++) x = x * 6364136223846793005UL + 1; return x; }
SPIN(spin_three, 3)
SPIN(spin_one, 1)
static u64 pass(u64 x) {
    int count = 50000 + (x >> 40) % 100001;
    return spin_one(spin_three(x, count), count);
}
";

/// It goes on for some seconds.
const SOME_SECONDS: &str = "
int main(void) {
    u64 x = 1;
    for (int i = 0; i < 3000; i++) x = pass(x);
    return x == 0;
}
";

/// It goes on for ever, and needs no library.
const FOR_EVER: &str = "
volatile u64 result;
void _start(void) { for (u64 x = 1;; result = x) x = pass(x); }
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
