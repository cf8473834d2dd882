//! The disk, as far as a store needs one.
//!
//! Everything that touches files goes through [`Disk`], so that a test can put one in its place that
//! loses what was not synced, tears sectors, and fails at any call
//! (`hms_ops_testkit::fault_disk::FaultDisk`).

use std::fmt;
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

mod os;

pub use os::OsDisk;

/// Files and folders.
///
/// What survives a loss of power: the bytes of a file as of its last [`DiskFile::sync`], under the
/// names of its folder as of the folder's last [`Disk::sync_dir`]. Everything later may be there,
/// in part, or not.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Makes a folder, and those above it that are missing. One that is there already is no error.
    ///
    /// # Errors
    ///
    /// As the operating system says.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;

    /// The names in a folder, sorted.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] when there is no such folder, or as the operating system says.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Makes a new, empty file and opens it for writing at its end.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::AlreadyExists`] when there is one, or as the operating system says.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file for writing at its end.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] when there is none, or as the operating system says.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// The whole content of a file. It must not be cut or written to while this is held; to remove
    /// or rename it is fine.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] when there is none, or as the operating system says.
    fn read(&self, path: &Path) -> io::Result<Content>;

    /// Gives a file or folder another name, which may be that of a file; that one is gone then.
    /// Durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    ///
    /// As the operating system says; then nothing has changed.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name.
    ///
    /// # Errors
    ///
    /// As the operating system says, for one when it knows no second names.
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    ///
    /// As the operating system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes a folder with all that is in it. Durable after [`Disk::sync_dir`] of the one above.
    ///
    /// # Errors
    ///
    /// As the operating system says; then a part may be gone.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    ///
    /// As the operating system says; then nothing is promised.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Holds a lock file until the returned guard is dropped, or the process ends in whatever way.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] when another holds it, or as the operating system says.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>>;
}

/// A file that is open for writing at its end.
pub trait DiskFile: fmt::Debug + Send {
    /// Writes some of `bytes` at the end, and says how many; never none of some.
    ///
    /// # Errors
    ///
    /// As the operating system says; then none is written.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Makes everything written durable. After an error, nothing written since the last success is.
    ///
    /// # Errors
    ///
    /// As the operating system says.
    fn sync(&mut self) -> io::Result<()>;

    /// Cuts the file to `len` bytes, which must not be more than it has.
    ///
    /// # Errors
    ///
    /// As the operating system says.
    fn truncate(&mut self, len: u64) -> io::Result<()>;
}

/// Conveniences over [`DiskFile`]; never implemented by hand.
pub trait DiskFileExt: DiskFile {
    /// Writes all of `bytes` at the end.
    ///
    /// # Errors
    ///
    /// As [`DiskFile::write`]; then any part may be written.
    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write(bytes)? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                written => bytes = &bytes[written..],
            }
        }
        Ok(())
    }
}

impl<F: DiskFile + ?Sized> DiskFileExt for F {}

/// A lock that is held; dropped, it is free.
pub trait DiskLock: fmt::Debug + Send + Sync {}

/// The content of a file, shared and cheap to clone.
#[derive(Clone)]
pub struct Content(Arc<dyn AsRef<[u8]> + Send + Sync>);

impl Content {
    /// Wraps bytes, or what maps them.
    pub fn new(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        Self(Arc::new(bytes))
    }
}

impl Deref for Content {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}
