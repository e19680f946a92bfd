//! `frameloom man`.

use crate::args::{Cli, ManArgs};
use clap::CommandFactory;
use frameloom::{Error, ErrorKind, Result};

pub fn run(args: &ManArgs) -> Result<()> {
    let mut program = Cli::command();
    program.build();
    let command = match &args.command {
        None => program,
        Some(name) => program
            .find_subcommand(name)
            .cloned()
            .ok_or_else(|| Error::usage(format!("there is no command {name:?}")))?,
    };
    clap_mangen::Man::new(command)
        .render(&mut std::io::stdout())
        .map_err(|e| Error::io(ErrorKind::Output, "can't write the man page", &e))
}
