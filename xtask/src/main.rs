//! Chores of the repository: `cargo xtask test`, `lab`, `ui`, `tidy`, `peers`.
fn main() {}
