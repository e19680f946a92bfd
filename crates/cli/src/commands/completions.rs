//! `frameloom completions`.

use crate::args::{Cli, CompletionsArgs};
use clap::CommandFactory;
use frameloom::Result;

pub fn run(args: &CompletionsArgs) -> Result<()> {
    clap_complete::generate(args.shell, &mut Cli::command(), "frameloom", &mut std::io::stdout());
    Ok(())
}
