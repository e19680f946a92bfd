//! Runs the program under test, with a deadline so that a hang is a failure and not a stuck suite.

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Far longer than anything here takes, even on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// What a program said, and how it ended.
pub struct Outcome {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Outcome {
    /// Exit code; `None` after a signal.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Fails the test, with everything that was said, unless the exit code is this.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(
            self.code(),
            Some(code),
            "{}\nstdout: {}\nstderr: {}",
            self.status,
            self.text(),
            self.stderr
        );
        self
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        self.expect_code(0)
    }

    /// The one line that begins with "error:". More than one is a failure of the test.
    #[track_caller]
    pub fn error(&self) -> &str {
        let mut lines = self.stderr.lines().filter(|l| l.starts_with("error:"));
        let line = lines.next().unwrap_or_else(|| panic!("no error was named: {}", self.stderr));
        assert!(lines.next().is_none(), "several errors: {}", self.stderr);
        line
    }

    /// Lines that begin with "warning:".
    pub fn warnings(&self) -> Vec<&str> {
        self.stderr.lines().filter(|l| l.starts_with("warning:")).collect()
    }
}

/// The program under test, with `args` and nothing inherited that could change what it does.
pub fn frameloom<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_frameloom"));
    command.args(args).stdin(Stdio::null());
    for name in ["FRAMELOOM_FAULT", "FRAMELOOM_LOG", "RUST_LOG", "NO_COLOR"] {
        command.env_remove(name);
    }
    command
}

/// `frameloom transcode INPUT -o OUTPUT OPTIONS`, options separated by spaces.
pub fn transcode(input: impl AsRef<OsStr>, output: impl AsRef<OsStr>, options: &str) -> Command {
    let mut command = frameloom(["transcode"]);
    command.arg(input).arg("-o").arg(output).args(options.split_whitespace());
    command
}

/// A process whose output is being collected.
pub struct Running {
    child: Child,
    stdout: JoinHandle<Vec<u8>>,
    stderr: JoinHandle<Vec<u8>>,
    what: String,
}

fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        // What a killed process leaves is taken as far as it goes.
        let _ = from.read_to_end(&mut all);
        all
    })
}

impl Running {
    #[track_caller]
    pub fn start(mut command: Command) -> Self {
        let what = format!("{command:?}");
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("can't start {what}: {e}"));
        let stdout = collect(child.stdout.take().expect("stdout is piped"));
        let stderr = collect(child.stderr.take().expect("stderr is piped"));
        Self { child, stdout, stderr, what }
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("its state can be asked").is_none()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
    }

    /// Sends a signal by its name ("INT").
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(status.expect("kill can be run").success(), "kill -s {name}");
    }

    /// Waits for the end; a process that is still there at the deadline is killed, and the test fails.
    #[track_caller]
    pub fn wait(self) -> Outcome {
        self.wait_for(DEADLINE)
    }

    #[track_caller]
    pub fn wait_for(mut self, deadline: Duration) -> Outcome {
        let begun = Instant::now();
        while self.is_running() {
            if begun.elapsed() > deadline {
                self.kill();
                let stderr = self.stderr.join().unwrap_or_default();
                panic!("hangs: {}\n{}", self.what, String::from_utf8_lossy(&stderr));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let status = self.child.wait().expect("it has ended");
        Outcome {
            status,
            stdout: self.stdout.join().expect("stdout is collected"),
            stderr: String::from_utf8_lossy(&self.stderr.join().expect("stderr is collected")).into_owned(),
        }
    }
}

/// Runs a command to its end.
#[track_caller]
pub fn run(command: Command) -> Outcome {
    Running::start(command).wait()
}

/// A folder of this test alone, removed with it.
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("suite-").tempdir_in(env!("CARGO_TARGET_TMPDIR"));
        Self(dir.expect("the target folder takes temporary folders"))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Names of everything in it, hidden files included, sorted.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).expect("the folder can be listed");
        let mut names: Vec<String> =
            entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

#[track_caller]
pub fn bytes(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
