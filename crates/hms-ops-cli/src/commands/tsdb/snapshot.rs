//! `hms-ops tsdb snapshot`: a copy of the history.

use std::path::Path;

use anyhow::{Context, Result};

use super::table::{bytes, counted};
use crate::failure::Misuse;

pub(super) fn run(dir: &Path, to: &Path) -> Result<()> {
    let copy = to.display();
    if to.exists() {
        return Err(Misuse(format!("{copy} exists already; a snapshot is a new folder")).into());
    }
    let store = super::open(dir)?;
    store.snapshot(to).with_context(|| format!("cannot make a snapshot in {copy}"))?;
    store.close()?;
    let size = super::size_of(to)?;
    let blocks = counted(size.blocks, "block", "blocks");
    super::print(&format!("{copy}: {blocks}, {}\n", bytes(size.bytes)))
}
