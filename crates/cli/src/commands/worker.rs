//! `frameloom worker`: one segment, as told on standard input.

use frameloom::{Error, ErrorKind, Result, isolate};

pub fn run() -> Result<()> {
    frameloom_media::die_with_parent();
    crate::signals::leave_to_parent()
        .map_err(|e| Error::io(ErrorKind::Worker, "can't leave signals to the parent", &e))?;
    isolate::serve(&mut std::io::stdin().lock(), &mut std::io::stdout())
}
