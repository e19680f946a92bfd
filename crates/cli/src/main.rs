//! The `frameloom` program: parse, then run one command, then one exit code.

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
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

fn main() -> ExitCode {
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
