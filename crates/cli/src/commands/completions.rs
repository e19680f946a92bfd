//! `frameloom completions`.

use crate::args::{Cli, CompletionsArgs};
use clap::CommandFactory;
use frameloom::{Error, ErrorKind, Result};
use std::io::Write;

pub fn run(args: &CompletionsArgs) -> Result<()> {
    // Not straight to stdout: clap_complete panics when that can't be written.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "frameloom", &mut script);
    std::io::stdout()
        .write_all(&script)
        .map_err(|e| Error::io(ErrorKind::Output, "can't write the completion script", &e))
}
