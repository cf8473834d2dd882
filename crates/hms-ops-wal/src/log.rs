//! Logs: numbered records in checksummed segment files.
//!
//! The bytes are drawn in `docs/format.md`. What a [`Log`] promises of a record follows from how it
//! was appended:
//!
//! | appended | it survives |
//! |---|---|
//! | with an error | nothing, as soon as the log has removed it, which it does before all else |
//! | without `sync` | the end of the process |
//! | with `sync`, or followed by [`Log::sync`] | loss of power |
//!
//! Damage costs the records that it hits and no others: what is broken is counted, copied to
//! `quarantine/` below the log and skipped, and never delivered as something else.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hms_ops_core::random;

use crate::disk::{Disk, DiskFile, DiskFileExt};

mod format;
mod quarantine;
mod replay;

use self::format::{FRAME_BYTES, HEADER_BYTES, Header};
use self::replay::End;
pub use self::replay::{Damage, Recovery};

/// The number of a record. The first is 1; later ones are higher, mostly by one.
pub type Seq = u64;

/// Scratch memory that is kept from one append to the next.
const KEPT_BUFFER: usize = 1 << 20;

/// How a log is laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// What the records are, so that one log is not read as another; `log ` when nobody cares.
    pub kind: [u8; 4],
    /// Bytes at which a new segment begins; 32 MiB. What is appended at once stays in one segment,
    /// which may then be larger.
    pub segment_bytes: u64,
    /// Bytes of the largest record that is accepted; 64 MiB.
    pub max_record_bytes: usize,
    /// The number that the next record gets at least; 1. For an owner who has earlier records
    /// elsewhere.
    pub first_seq: Seq,
}

impl Default for LogOptions {
    fn default() -> Self {
        let (segment_bytes, max_record_bytes) = (32 << 20, 64 << 20);
        Self { kind: *b"log ", segment_bytes, max_record_bytes, first_seq: 1 }
    }
}

/// Why a log refused or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each message explains its fields")]
pub enum LogError {
    /// Written by a release that this one does not know. Nothing was changed.
    #[error("{} has format version {found}, this release reads up to {known}", path.display())]
    UnknownFormat { path: PathBuf, found: u16, known: u16 },

    /// The log of another. Nothing was changed.
    #[error("{} holds `{}`, not `{}`", path.display(), found.escape_ascii(), expected.escape_ascii())]
    OtherKind { path: PathBuf, found: [u8; 4], expected: [u8; 4] },

    /// Nothing was written.
    #[error("a record of {bytes} bytes is over the limit of {limit}")]
    TooLarge { bytes: usize, limit: usize },

    /// An earlier sync failed, so no later one proves that these are on the disk. See
    /// [`Log::take_suspect`].
    #[error("records {from} to {to} may not be on the disk, since a sync of them failed")]
    Suspect { from: Seq, to: Seq },

    /// The disk refused.
    #[error("cannot {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

impl LogError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}

/// A sequence of records in the segment files of one folder.
///
/// One `Log` at a time may have the folder open; its owner sees to that with a lock
/// ([`Disk::lock`]). The folders above it must be durable already; its own name is made so.
///
/// ```
/// use std::sync::Arc;
/// use hms_ops_wal::disk::OsDisk;
/// use hms_ops_wal::log::{Log, LogError, LogOptions};
///
/// # fn main() -> Result<(), LogError> {
/// # let folder = tempfile::tempdir().unwrap();
/// # let dir = folder.path().join("wal");
/// let options = LogOptions { kind: *b"docs", ..LogOptions::default() };
/// let ignore = |_, _: &[u8]| Ok::<_, LogError>(());
/// let (mut log, _) = Log::open(Arc::new(OsDisk), &dir, options.clone(), ignore)?;
/// assert_eq!(log.append(&[b"one", b"two"], true)?, 1..3);
/// drop(log);
///
/// let mut records = Vec::new();
/// let recovery = Log::read(&OsDisk, &dir, &options, |seq, record: &[u8]| {
///     records.push((seq, record.to_vec()));
///     Ok::<_, LogError>(())
/// })?;
/// assert_eq!(records, [(1, b"one".to_vec()), (2, b"two".to_vec())]);
/// assert_eq!((recovery.records, recovery.torn_bytes), (2, 0));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Log {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: LogOptions,
    /// Oldest first; the last one is `active`, if there is an active one.
    segments: VecDeque<Segment>,
    active: Option<Active>,
    next_seq: Seq,
    /// First record that no sync has covered yet.
    unsynced: Option<Seq>,
    suspect: Option<Range<Seq>>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Segment {
    first: Seq,
    bytes: u64,
}

/// The segment that grows.
#[derive(Debug)]
struct Active {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    salt: u64,
    /// Bytes up to the end of the last record that was accepted.
    bytes: u64,
    /// Whether there may be bytes behind that, which have to go before anything else is written.
    torn: bool,
}

impl Log {
    /// Opens the log in `dir`, or makes one, and hands every record to `replay` in the order of
    /// their numbers. Memory is bounded by one mapped segment. A tail that is torn is cut; what is
    /// damaged elsewhere is copied to `quarantine/` (up to 64 MiB in all) and stays where it is.
    /// All that was delivered is on the disk when this returns, unless a process before this one
    /// has seen a sync of it fail.
    ///
    /// # Errors
    ///
    /// The error of `replay`, at once; [`LogError::UnknownFormat`], [`LogError::OtherKind`],
    /// [`LogError::Io`]. No record is lost then.
    pub fn open<E: From<LogError>>(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: LogOptions,
        mut replay: impl FnMut(Seq, &[u8]) -> Result<(), E>,
    ) -> Result<(Self, Recovery), E> {
        disk.create_dir(dir).map_err(LogError::io("make", dir))?;
        let mut found = replay::run(&*disk, dir, &options, &mut replay)?;
        quarantine::copy(&*disk, dir, &mut found.recovery);
        let mut log = Self {
            disk,
            dir: dir.to_owned(),
            next_seq: found.next_seq.max(options.first_seq),
            options,
            segments: found.segments,
            active: None,
            unsynced: None,
            suspect: None,
            buffer: Vec::new(),
        };
        if let Some(end) = found.end {
            log.resume(end)?;
        }
        Ok((log, found.recovery))
    }

    /// Hands every record in `dir` to `replay` as [`Log::open`] does, and changes nothing. The log
    /// must not be open.
    ///
    /// # Errors
    ///
    /// As [`Log::open`]; also when there is no such folder.
    pub fn read<E: From<LogError>>(
        disk: &dyn Disk,
        dir: &Path,
        options: &LogOptions,
        mut replay: impl FnMut(Seq, &[u8]) -> Result<(), E>,
    ) -> Result<Recovery, E> {
        Ok(replay::run(disk, dir, options, &mut replay)?.recovery)
    }

    /// Writes records in one call to the operating system, and with `sync` to the disk. All of them
    /// or none: after an error none is in the log, or the log refuses everything until it has
    /// removed what was written of them, which each later call tries first.
    ///
    /// Gives their numbers.
    ///
    /// # Errors
    ///
    /// [`LogError::TooLarge`] or [`LogError::Io`]. When it was a sync that failed, see
    /// [`Log::take_suspect`].
    pub fn append(&mut self, records: &[&[u8]], sync: bool) -> Result<Range<Seq>, LogError> {
        let limit = self.options.max_record_bytes.min(u32::MAX as usize);
        if let Some(bytes) = records.iter().map(|r| r.len()).find(|&bytes| bytes > limit) {
            return Err(LogError::TooLarge { bytes, limit });
        }
        if records.is_empty() {
            if sync {
                self.sync()?;
            }
            return Ok(self.next_seq..self.next_seq);
        }
        self.mend()?;
        let more: usize = records.iter().map(|record| FRAME_BYTES + record.len()).sum();
        self.make_room(more as u64)?;
        if let Err(error) = self.write(records, sync) {
            // When this fails, too, the next call tries it first.
            let _ = self.mend();
            return Err(error);
        }
        let seqs = self.next_seq..self.next_seq + records.len() as u64;
        if !sync {
            self.unsynced.get_or_insert(seqs.start);
        }
        self.next_seq = seqs.end;
        Ok(seqs)
    }

    /// Makes every record durable that was appended so far.
    ///
    /// # Errors
    ///
    /// [`LogError::Io`]; [`LogError::Suspect`] when that can no longer be promised, until
    /// [`Log::take_suspect`] is called.
    pub fn sync(&mut self) -> Result<(), LogError> {
        self.mend()?;
        if self.unsynced.is_some() {
            self.sync_active()?;
        }
        match &self.suspect {
            None => Ok(()),
            Some(lost) => Err(LogError::Suspect { from: lost.start, to: lost.end - 1 }),
        }
    }

    /// The records that were appended without `sync` and were caught by a sync that failed. They
    /// can be read until the power is lost, but no later sync proves that they are on the disk: an
    /// operating system may mark pages as clean that it could not write. So the caller appends what
    /// they said anew, or does without.
    ///
    /// From then on the log does not speak of them again.
    #[must_use]
    pub fn take_suspect(&mut self) -> Option<Range<Seq>> {
        self.suspect.take()
    }

    /// Makes the next record the first of a new segment, so that [`Log::remove_before`] can remove
    /// all before it. What was appended so far is synced.
    ///
    /// # Errors
    ///
    /// [`LogError::Io`].
    pub fn rotate(&mut self) -> Result<(), LogError> {
        self.mend()?;
        if let Some(active) = &self.active {
            if active.bytes == HEADER_BYTES {
                return Ok(());
            }
            if self.unsynced.is_some() {
                self.sync_active()?;
            }
            self.active = None;
        }
        self.begin_segment()
    }

    /// Removes the segments all of whose records are before `seq`, except the last segment. After a
    /// loss of power some of them may be back.
    ///
    /// # Errors
    ///
    /// [`LogError::Io`]; then some may be removed.
    pub fn remove_before(&mut self, seq: Seq) -> Result<(), LogError> {
        let before = self.segments.len();
        while self.segments.get(1).is_some_and(|next| next.first <= seq) {
            let path = self.dir.join(format::name(self.segments[0].first));
            match self.disk.remove(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(LogError::io("remove", &path)(error));
                }
                _ => self.segments.pop_front(),
            };
        }
        if self.segments.len() < before {
            self.disk.sync_dir(&self.dir).map_err(LogError::io("sync", &self.dir))?;
        }
        Ok(())
    }

    /// The number of the first record of each segment, oldest first; the last segment may grow.
    pub fn segments(&self) -> impl ExactSizeIterator<Item = Seq> {
        self.segments.iter().map(|segment| segment.first)
    }

    /// Hands the records from `from` on that are in the same segment as it to `each`, in the order of
    /// their numbers, and gives the first number that is not in that segment. What is damaged is
    /// skipped. For an owner whose records are more than fit in memory.
    ///
    /// # Errors
    ///
    /// The error of `each`, at once; [`LogError::UnknownFormat`], [`LogError::Io`].
    pub fn read_segment<E: From<LogError>>(
        &self,
        from: Seq,
        mut each: impl FnMut(Seq, &[u8]) -> Result<(), E>,
    ) -> Result<Seq, E> {
        let after = self.segments.partition_point(|segment| segment.first <= from).max(1);
        let end = self.segments.get(after).map_or(self.next_seq, |next| next.first);
        let Some(segment) = self.segments.get(after - 1) else { return Ok(end) };
        let path = self.dir.join(format::name(segment.first));
        let content = self.disk.read(&path).map_err(LogError::io("read", &path))?;
        replay::whole(&content, segment, &path, &mut |seq, record| {
            if seq < from { Ok(()) } else { each(seq, record) }
        })?;
        Ok(end)
    }

    /// The number that the next record gets.
    pub fn next_seq(&self) -> Seq {
        self.next_seq
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Whether there are records that a loss of power could take, suspect ones among them.
    pub fn unsynced(&self) -> bool {
        self.unsynced.is_some() || self.suspect.is_some()
    }

    /// Goes on with the last segment that was found.
    fn resume(&mut self, end: End) -> Result<(), LogError> {
        let path = self.dir.join(format::name(end.first));
        let file = self.disk.open(&path).map_err(LogError::io("open", &path))?;
        let End { salt, bytes, torn, .. } = end;
        self.active = Some(Active { file, path, salt, bytes, torn });
        self.mend()?;
        // The process before may have ended between a write and its sync. What is delivered now is
        // acted upon, so it must not be gone tomorrow; nor may what is cut come back.
        self.sync_active()?;
        self.sync_names()?;
        if bytes <= HEADER_BYTES {
            // Whether its header is on the disk nobody knows. The next record begins it again.
            self.active = None;
            self.segments.pop_back();
            if end.first != self.next_seq {
                let path = self.dir.join(format::name(end.first));
                self.disk.remove(&path).map_err(LogError::io("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Sees to it that `more` bytes have a segment to go to.
    fn make_room(&mut self, more: u64) -> Result<(), LogError> {
        match &self.active {
            Some(active) if active.bytes == HEADER_BYTES => Ok(()),
            Some(active) if active.bytes + more <= self.options.segment_bytes => Ok(()),
            _ => self.rotate(),
        }
    }

    fn begin_segment(&mut self) -> Result<(), LogError> {
        let path = self.dir.join(format::name(self.next_seq));
        let salt = random::next_u64();
        let header = Header { kind: self.options.kind, first: self.next_seq, salt };
        let file = create_anew(&*self.disk, &path).and_then(|mut file| {
            file.write_all(&header.encode())?;
            file.sync()?;
            Ok(file)
        });
        let file = file.map_err(LogError::io("begin", &path))?;
        self.sync_names()?;
        self.active = Some(Active { file, path, salt, bytes: HEADER_BYTES, torn: false });
        self.segments.push_back(Segment { first: self.next_seq, bytes: HEADER_BYTES });
        Ok(())
    }

    /// Makes the names of the segments durable, and that of their folder.
    fn sync_names(&self) -> Result<(), LogError> {
        let above = self.dir.parent().filter(|above| !above.as_os_str().is_empty());
        for dir in [&*self.dir, above.unwrap_or(Path::new("."))] {
            self.disk.sync_dir(dir).map_err(LogError::io("sync", dir))?;
        }
        Ok(())
    }

    /// Writes frames behind the last one; after an error, any part of them may be there.
    fn write(&mut self, records: &[&[u8]], sync: bool) -> Result<(), LogError> {
        let active = self.active.as_mut().expect("room was made");
        self.buffer.clear();
        self.buffer.shrink_to(KEPT_BUFFER);
        for (seq, record) in (self.next_seq..).zip(records) {
            let at = active.bytes + self.buffer.len() as u64;
            format::encode_frame(&mut self.buffer, active.salt, at, seq, record);
        }
        active.torn = true;
        active.file.write_all(&self.buffer).map_err(LogError::io("write to", &active.path))?;
        if sync {
            self.sync_active()?;
        }
        let active = self.active.as_mut().expect("it was there above");
        active.torn = false;
        active.bytes += self.buffer.len() as u64;
        self.segments.back_mut().expect("the active one is among them").bytes = active.bytes;
        Ok(())
    }

    /// Removes what a write has left behind that failed.
    fn mend(&mut self) -> Result<(), LogError> {
        if let Some(active) = self.active.as_mut().filter(|active| active.torn) {
            active.file.truncate(active.bytes).map_err(LogError::io("cut", &active.path))?;
            // A cut that is not durable can bring the refused frames back, behind new ones.
            self.sync_active()?;
            self.active.as_mut().expect("it was there above").torn = false;
        }
        Ok(())
    }

    /// Syncs the active segment; when that fails, what no sync has covered is suspect for good.
    fn sync_active(&mut self) -> Result<(), LogError> {
        let Some(active) = &mut self.active else { return Ok(()) };
        let unsynced = self.unsynced.take();
        active.file.sync().map_err(|error| {
            if let Some(from) = unsynced {
                let from = self.suspect.as_ref().map_or(from, |suspect| suspect.start);
                self.suspect = Some(from..self.next_seq);
            }
            LogError::io("sync", &active.path)(error)
        })
    }
}

/// Makes an empty file, in place of what an earlier try has left that failed half way.
fn create_anew(disk: &dyn Disk, path: &Path) -> io::Result<Box<dyn DiskFile>> {
    match disk.create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let mut file = disk.open(path)?;
            file.truncate(0)?;
            Ok(file)
        }
        made => made,
    }
}
