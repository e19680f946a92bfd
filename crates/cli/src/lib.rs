//! The `frameloom` program as a library, for `main.rs` and for the fuzz targets: parse, then run one command, then one exit code.

mod args;
mod commands;
mod jobs_file;
mod outputs;
mod printer;
mod raw;
mod signals;
mod view;

use args::{Cli, Command};
use clap::Parser;
use frameloom::{Error, ErrorKind};
use printer::Printer;
use std::ffi::OsString;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The jobs of a job file's text, as input and outputs as they would have been typed. `folder`: where the file stands.
pub fn read_jobs(text: &str, folder: &Path) -> frameloom::Result<Vec<(PathBuf, Vec<OsString>)>> {
    let jobs = jobs_file::parse(text, folder)?;
    Ok(jobs.into_iter().map(|job| (job.input, job.outputs)).collect())
}

/// Runs what was typed; the exit code says what came of it.
pub fn main() -> ExitCode {
    frameloom_media::return_freed_pictures();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            // clap's own exit code for usage is 2, as ours; help and version go to stdout with 0.
            let _ = e.print();
            return ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(2));
        }
    };
    let printer = Printer::new(&cli.global);
    printer.install_log();
    // A worker's panic is caught and reported as an error; the default hook would print it in the middle of the progress.
    std::panic::set_hook(Box::new(|info| tracing::debug!("{info}")));
    frameloom_media::log::install();
    let run = AssertUnwindSafe(|| match cli.command {
        Command::Transcode(args) => commands::transcode::run(&args, &printer),
        Command::Run(args) => commands::run::run(&args, &printer),
        Command::Frames(args) => commands::frames::run(&args, &printer),
        Command::Images(args) => commands::images::run(&args, &printer),
        Command::Probe(args) => commands::probe::run(&args, &printer),
        Command::Devices(args) => commands::devices::run(&args, &printer),
        Command::Bench(args) => commands::bench::run(&args, &printer),
        Command::Worker => commands::worker::run(),
        Command::Completions(args) => commands::completions::run(&args),
        Command::Man(args) => commands::man::run(&args),
    });
    let result = std::panic::catch_unwind(run).unwrap_or_else(|panic| {
        let said =
            panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(Error::new(ErrorKind::Internal, "the program panicked").because(said.unwrap_or("no message")))
    });
    let result = result.and_then(|()| match printer.lost() {
        None => Ok(()),
        Some(e) => Err(Error::io(ErrorKind::Output, "can't write to standard output", e)),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Whoever read our output has gone, as `head` does: nobody is left to be told.
            if error.kind != ErrorKind::BrokenPipe {
                printer.error(&error);
            } else {
                tracing::debug!("{error}");
            }
            // Threads that hang must not keep the program from ending.
            let code: u8 = exit_code(&error);
            std::process::exit(i32::from(code));
        }
    }
}

fn exit_code(error: &Error) -> u8 {
    error.exit_code()
}
