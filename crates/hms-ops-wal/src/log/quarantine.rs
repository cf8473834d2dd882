//! Copies of damaged bytes, for those who want to know what happened to them.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::Recovery;
use crate::disk::{Disk, DiskFileExt};

/// Bytes of all copies together.
const LIMIT: u64 = 64 << 20;

/// Copies what `recovery` lists, once, as far as there is room. Nothing depends on it: the bytes
/// stay in their segment, too.
pub(super) fn copy(disk: &dyn Disk, dir: &Path, recovery: &mut Recovery) {
    if !recovery.damaged.is_empty() {
        // A log that can be read must open, on a full disk as well.
        let _ = try_copy(disk, dir, recovery);
    }
}

fn try_copy(disk: &dyn Disk, dir: &Path, recovery: &mut Recovery) -> io::Result<()> {
    let folder = dir.join("quarantine");
    disk.create_dir(&folder)?;
    let mut copies = BTreeMap::new();
    for name in disk.list(&folder)? {
        let bytes = disk.read(&folder.join(&name))?.len() as u64;
        copies.insert(name, bytes);
    }
    for damage in &mut recovery.damaged {
        let name = format!("{}-{}", damage.segment, damage.offset);
        let path = folder.join(&name);
        let half = match copies.get(&name) {
            Some(&bytes) if bytes == damage.len => {
                damage.copied = true;
                continue;
            }
            half => half.copied(),
        };
        if half.is_some() {
            disk.remove(&path)?;
            copies.remove(&name);
        }
        if copies.values().sum::<u64>() + damage.len > LIMIT {
            continue;
        }
        let segment = disk.read(&dir.join(&damage.segment))?;
        let from = damage.offset as usize;
        let mut file = disk.create(&path)?;
        file.write_all(&segment[from..from + damage.len as usize])?;
        file.sync()?;
        copies.insert(name, damage.len);
        damage.copied = true;
    }
    disk.sync_dir(&folder)
}
