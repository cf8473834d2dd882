//! The `hms-ops` binary.

mod rollover;

fn main() -> std::process::ExitCode {
    hms_ops_cli::main()
}
