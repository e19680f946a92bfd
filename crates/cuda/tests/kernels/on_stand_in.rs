//! All these tests once more, on stand-ins for GPUs, whatever GPUs there are.

use crate::library::stand_in;
use std::process::Command;

#[test]
fn on_stand_ins_for_gpus() {
    let Some(folder) = stand_in() else { return };
    for (gpus, peer) in [("1", "0"), ("2", "0"), ("2", "1"), ("3", "0")] {
        let mut tests = Command::new(std::env::current_exe().unwrap());
        tests.args(["--skip", "on_stand_ins_for_gpus", "--nocapture"]);
        // What one GPU does, another does too.
        if gpus != "1" {
            tests.args(["peer::", "split::"]);
        }
        tests.env("LD_LIBRARY_PATH", &folder).env_remove("CUDA_VISIBLE_DEVICES");
        tests.env("FRAMELOOM_STAND_IN_GPUS", gpus).env("FRAMELOOM_STAND_IN_PEER", peer);
        let said = tests.output().unwrap();
        let text =
            format!("{}\n{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
        assert!(said.status.success(), "{gpus} GPUs, access {peer}: {text}");
        assert!(!text.contains("no GPU"), "{gpus} GPUs, access {peer}: {text}");
    }
}
