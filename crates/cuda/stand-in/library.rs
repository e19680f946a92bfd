//! The stand-in for NVIDIA's driver, for tests: `mod` this file by its path.

use std::path::PathBuf;
use std::process::Command;

/// The folder for `LD_LIBRARY_PATH`, with the library as its source now is; `None`, after it was said, where there is no clang++.
pub fn stand_in() -> Option<PathBuf> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../cuda/stand-in/build.sh");
    let built = Command::new("bash").arg(script).output().expect("bash can be run");
    let said = String::from_utf8_lossy(&built.stderr);
    match built.status.code() {
        Some(0) => Some(PathBuf::from(String::from_utf8_lossy(&built.stdout).trim_end())),
        Some(3) => {
            println!("skipped: {}", said.trim_end());
            None
        }
        _ => panic!("the stand-in for the driver can't be built: {said}"),
    }
}
