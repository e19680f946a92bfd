//! The `frameloom` program.

fn main() -> std::process::ExitCode {
    frameloom_cli::main()
}
