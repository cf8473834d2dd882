//! Snapshots: a copy of the store that shares its files.

use std::io;
use std::path::Path;

use hms_ops_wal::disk::DiskFileExt;

use crate::block::{BLOCK, DELETED, INDEX};
use crate::checkpoint;
use crate::error::TsdbError;
use crate::tsdb::{Inner, blocks_dir};

impl Inner {
    pub(crate) fn snapshot(&self, to: &Path) -> Result<(), TsdbError> {
        let _one = self.changing()?;
        if self.disk.list(to).is_ok() {
            let source = io::ErrorKind::AlreadyExists.into();
            return Err(TsdbError::io("make", to)(source));
        }
        let taken = self.take_snapshot(to);
        if taken.is_err() {
            // A half would pass for a whole; what cannot be removed is named by the next try.
            let _ = self.disk.remove_dir(to);
        }
        taken
    }

    fn take_snapshot(&self, to: &Path) -> Result<(), TsdbError> {
        self.checkpoint()?;
        let folder = blocks_dir(to);
        self.disk.create_dir(&folder).map_err(TsdbError::io("make", &folder))?;
        for block in self.blocks().iter() {
            for extension in [BLOCK, INDEX, DELETED] {
                let file = block.path.with_extension(extension);
                self.link(&file, &folder, extension == BLOCK)?;
            }
        }
        let Some((written, _)) = checkpoint::list(&*self.disk, &self.dir)?.pop() else {
            return Ok(());
        };
        let copy = to.join(written.file_name().unwrap_or_default());
        self.disk.create_dir(&copy).map_err(TsdbError::io("make", &copy))?;
        for name in self.disk.list(&written).map_err(TsdbError::io("list", &written))? {
            self.link(&written.join(name), &copy, true)?;
        }
        let above = to.parent().filter(|above| !above.as_os_str().is_empty());
        for dir in [&folder, &copy, to, above.unwrap_or(Path::new("."))] {
            self.disk.sync_dir(dir).map_err(TsdbError::io("sync", dir))?;
        }
        Ok(())
    }

    /// Gives a file a second name in `dir`, or copies it where that cannot be.
    fn link(&self, file: &Path, dir: &Path, required: bool) -> Result<(), TsdbError> {
        let to = dir.join(file.file_name().unwrap_or_default());
        match self.disk.hard_link(file, &to) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !required => return Ok(()),
            Err(_) => {}
        }
        let content = self.disk.read(file).map_err(TsdbError::io("read", file))?;
        let copied = self.disk.create(&to).and_then(|mut copy| {
            copy.write_all(&content)?;
            copy.sync()
        });
        copied.map_err(TsdbError::io("write", &to))
    }
}
