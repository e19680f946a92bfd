//! One place decides what is said, and where: data on stdout, all else on stderr.

use crate::args::Global;
use frameloom::Error;
use serde::Serialize;
use std::borrow::Cow;
use std::io::{IsTerminal, Write};
use std::sync::OnceLock;

/// Quiet, verbose, JSON, colour and terminal, decided once.
#[derive(Clone, Copy, Debug)]
pub struct Printer {
    quiet: bool,
    verbose: u8,
    json: bool,
    /// Standard error is a terminal: progress may be drawn.
    terminal: bool,
    colour: bool,
}

impl Printer {
    pub fn new(global: &Global) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Self { quiet: global.quiet, verbose: global.verbose, json: global.json, terminal, colour }
    }

    /// Log lines of the libraries, on stderr, as far as asked for.
    pub fn install_log(&self) {
        let default = match self.verbose {
            0 => "error,ffmpeg=off",
            1 => "info,ffmpeg=off",
            2 => "debug",
            _ => "trace",
        };
        let filter = tracing_subscriber::EnvFilter::try_from_env("FRAMELOOM_LOG")
            .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
        // A second subscriber can't exist: this runs once.
        let _ = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(self.colour)
            .without_time()
            // It would tell standard error that standard error can't be written, and panic.
            .log_internal_errors(false)
            .try_init();
    }

    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Progress may be drawn.
    pub fn draws(&self) -> bool {
        self.terminal && !self.quiet && !self.json
    }

    /// Plain lines now and then.
    pub fn tells(&self) -> bool {
        !self.quiet && !self.json
    }

    /// A line on stderr, unless quiet.
    pub fn line(&self, text: &str) {
        if self.tells() {
            say(&plain(text));
        }
    }

    /// A line on stderr with `-v`.
    pub fn detail(&self, text: &str) {
        if self.tells() && self.verbose > 0 {
            say(&plain(text));
        }
    }

    pub fn note(&self, text: &str) {
        if self.json {
            self.object(&serde_json::json!({ "type": "note", "message": text }));
        } else {
            self.line(text);
        }
    }

    pub fn warning(&self, text: &str) {
        if self.json {
            self.object(&serde_json::json!({ "type": "warning", "message": text }));
        } else if !self.quiet {
            say(&format!("{} {}", self.paint("warning:", "33"), plain(text)));
        }
    }

    /// One sentence, its causes, and what to do.
    pub fn error(&self, error: &Error) {
        if self.json {
            self.object(&serde_json::json!({
                "type": "error",
                "kind": error.kind,
                "message": error.to_string(),
                "hint": error.hint,
                "place": error.place,
            }));
        }
        say(&format!("{} {}", self.paint("error:", "31"), plain(&error.to_string())));
        if let Some(hint) = &error.hint {
            say(&format!("{} {}", self.paint("hint:", "36"), plain(hint)));
        }
    }

    /// One JSON object on a line of stdout.
    pub fn object(&self, value: &impl Serialize) {
        if let Ok(text) = serde_json::to_string(value) {
            self.out(&text);
        }
    }

    /// A line of data on stdout. A reader that has gone is no failure of the job; what else is lost, [`Printer::lost`] tells.
    pub fn out(&self, text: &str) {
        if let Err(e) = writeln!(std::io::stdout(), "{text}")
            && e.kind() != std::io::ErrorKind::BrokenPipe
        {
            let _ = LOST.set(e);
        }
    }

    /// Why data for stdout was lost, if any was.
    pub fn lost(&self) -> Option<&'static std::io::Error> {
        LOST.get()
    }

    pub fn paint(&self, text: &str, code: &str) -> String {
        if self.colour { format!("\u{1b}[1;{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// A text in one line that can't steer a terminal: names of files and what stands in them may hold anything.
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(shown).collect::<String>().into()
}

/// The first failure to write to stdout, which is there once in a process, too.
static LOST: OnceLock<std::io::Error> = OnceLock::new();

/// A line on stderr. Unlike `eprintln!` it doesn't panic when stderr is closed or full: there is nowhere left to say so, and the work
/// goes on.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
