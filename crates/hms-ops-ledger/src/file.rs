//! The ledger in a folder.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use async_trait::async_trait;
use hms_ops_core::ledger::{Entry, Fence, History, Ledger, LedgerError, Recorded, Seq};
use hms_ops_wal::disk::{Disk, DiskLock, OsDisk};
use hms_ops_wal::log::{LogError, Recovery};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::spawn_blocking;

use crate::book::Chain;
use crate::files::{Files, Found};
use crate::record::{self, Record};
use crate::writer::{Request, What, Writer};
use crate::{FileLedgerError, FileLedgerOptions};

/// Bytes of JSON that one append may have.
const LARGEST_APPEND: usize = 16 << 20;
/// Kibibytes of appends that wait for the writer; more wait before it.
const WAITING: usize = 64 << 10;
/// Bytes of JSON of the entries that are kept in memory.
const RECENT_BYTES: usize = 16 << 20;
/// Entries of a page at most.
const PAGE: usize = 10_000;

/// Keeps the log in the files of one folder, which one process at a time may have open.
///
/// An append is on the disk when it returns. Entries beyond the bounds of [`FileLedgerOptions`] are
/// dropped, oldest first; claims and what the entries add up to are kept for good. A page has at
/// most 10,000 entries.
///
/// Leases are the process's own: who opens the folder after the last process has ended may have the
/// lease at once, with a higher epoch.
///
/// # Damage
///
/// It does not stop the ledger: an engine that does not start pages nobody. What is damaged is set
/// aside ([`FileLedger::recovery`]) and skipped, everything else is read, new entries follow the
/// last one that is whole, and [`Ledger::verify`] names the first one that is not what was written,
/// from then on and for as long as it is kept. A claim in a damaged record is lost, unless a later
/// snapshot has it. That the last records were cut off cannot be told from a crash that came before
/// they were acknowledged: who has to exclude that, keeps a hash elsewhere.
///
/// ```
/// use std::time::Duration;
/// use hms_ops_core::ledger::{Entry, Event, Ledger, Seq};
/// use hms_ops_core::time::Timestamp;
/// use hms_ops_ledger::{FileLedger, FileLedgerOptions};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// let ledger = FileLedger::open(folder.path().join("ledger"), FileLedgerOptions::default())?;
/// let fence = ledger.lease("me", Duration::from_secs(10)).await?.expect("nobody else is there");
/// let event = Event::Held { held: true, reason: "the network is being rebuilt".to_owned() };
/// let entry = Entry { at: Timestamp::from_millis(0), actor: "person/ana".to_owned(), event };
/// assert_eq!(ledger.append(&fence, vec![entry]).await?, Seq(1));
/// drop(ledger);
///
/// let ledger = FileLedger::open(folder.path().join("ledger"), FileLedgerOptions::default())?;
/// assert_eq!(ledger.history().await?.held.as_deref(), Some("the network is being rebuilt"));
/// assert_eq!(ledger.verify().await?, Seq(1));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FileLedger {
    shared: Arc<Shared>,
    recovery: Recovery,
    room: Arc<Semaphore>,
    /// `None` only while it is dropped.
    requests: Option<mpsc::Sender<Request>>,
    writer: Option<JoinHandle<()>>,
    /// Dropped last, when nobody writes any more.
    _lock: Box<dyn DiskLock>,
}

/// What the writer and those who read have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Locked for one write and sync, or for reading one segment.
    files: Mutex<Files>,
    view: Mutex<View>,
    head: watch::Sender<Seq>,
}

/// The end of the log in memory.
#[derive(Debug, Default)]
struct View {
    /// Each with its bytes as JSON.
    recent: VecDeque<(Arc<Recorded>, usize)>,
    bytes: usize,
    max: usize,
    history: History,
}

impl FileLedger {
    /// Opens a folder, or makes one.
    ///
    /// # Errors
    ///
    /// [`FileLedgerError::InUse`] when another process has it, [`FileLedgerError::Log`] and
    /// [`FileLedgerError::Snapshot`] when a newer release wrote it, [`FileLedgerError::Io`].
    pub fn open(
        folder: impl AsRef<Path>,
        options: FileLedgerOptions,
    ) -> Result<Self, FileLedgerError> {
        Self::open_on(Arc::new(OsDisk), folder, options)
    }

    /// Opens a folder on a disk of the caller's.
    ///
    /// # Errors
    ///
    /// As [`FileLedger::open`].
    pub fn open_on(
        disk: Arc<dyn Disk>,
        folder: impl AsRef<Path>,
        options: FileLedgerOptions,
    ) -> Result<Self, FileLedgerError> {
        let folder = folder.as_ref();
        disk.create_dir(folder).map_err(cannot("make", folder))?;
        let path = folder.join("lock");
        let lock = disk.lock(&path).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => FileLedgerError::InUse { folder: folder.to_owned() },
            _ => cannot("lock", &path)(error),
        })?;
        if let Some(above) = folder.parent().filter(|above| !above.as_os_str().is_empty()) {
            // The folder may be new.
            disk.sync_dir(above).map_err(cannot("sync", above))?;
        }
        let (files, found) = Files::open(disk, &folder.join("log"))?;
        let Found { book, history, recent, recovery, bad } = found;
        for damage in &recovery.damaged {
            tracing::error!(%damage, "entries of the ledger are lost");
        }
        if let Some(Seq(entry)) = bad {
            tracing::error!(entry, "the ledger is not what was written");
        }
        let mut view = View { max: options.recent, history, ..View::default() };
        recent.into_iter().for_each(|(recorded, bytes)| view.push(recorded, bytes));
        let head = watch::Sender::new(book.chain.seq);
        let (files, view) = (Mutex::new(files), Mutex::new(view));
        let shared = Arc::new(Shared { files, view, head });

        let (requests, waiting) = mpsc::channel();
        let writer = Writer { shared: shared.clone(), options, book, lease: None };
        let thread = thread::Builder::new().name("hms-ops-ledger".to_owned());
        let writer = thread.spawn(move || writer.run(&waiting)).map_err(cannot("serve", folder))?;
        Ok(Self {
            shared,
            recovery,
            room: Arc::new(Semaphore::new(WAITING)),
            requests: Some(requests),
            writer: Some(writer),
            _lock: lock,
        })
    }

    /// What was found when the folder was opened, damage above all.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// Hands a request to the writer, and waits for the answer.
    async fn ask<T>(
        &self,
        bytes: usize,
        what: impl FnOnce(oneshot::Sender<Result<T, LedgerError>>) -> What,
    ) -> Result<T, LedgerError> {
        let room = u32::try_from(bytes / 1024 + 1).expect("an append is far below 4 TiB");
        let room = self.room.clone().acquire_many_owned(room).await;
        let _room = room.map_err(|_| FileLedgerError::Closed)?;
        let (to, answer) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or(FileLedgerError::Closed)?;
        let request = Request { what: what(to), _room };
        requests.send(request).map_err(|_| FileLedgerError::Closed)?;
        answer.await.map_err(|_| FileLedgerError::Closed)?
    }

    /// Reads files where that delays nobody.
    async fn off_the_runtime<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Shared) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let shared = self.shared.clone();
        let read = spawn_blocking(move || read(&shared)).await;
        read.map_err(|_| FileLedgerError::Closed)?
    }
}

impl Drop for FileLedger {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(writer) = self.writer.take() {
            // One that has panicked has nothing more to write.
            let _ = writer.join();
        }
    }
}

#[async_trait]
impl Ledger for FileLedger {
    async fn lease(&self, holder: &str, ttl: Duration) -> Result<Option<Fence>, LedgerError> {
        self.ask(holder.len(), |to| What::Lease(holder.to_owned(), ttl, to)).await
    }

    async fn append(&self, fence: &Fence, entries: Vec<Entry>) -> Result<Seq, LedgerError> {
        // What is shown is what a later process will read.
        let json = |entry: Entry| {
            let json = record::json_of(&entry);
            let unwritable =
                |source| FileLedgerError::Unwritable { actor: entry.actor.clone(), source };
            Ok((serde_json::from_slice(&json).map_err(unwritable)?, json))
        };
        let entries: Vec<(Entry, Vec<u8>)> =
            entries.into_iter().map(json).collect::<Result<_, FileLedgerError>>()?;
        let bytes = entries.iter().map(|(_, json)| json.len()).sum();
        if bytes > LARGEST_APPEND {
            return Err(FileLedgerError::TooLarge { bytes, limit: LARGEST_APPEND }.into());
        }
        self.ask(bytes, |to| What::Append(fence.clone(), entries, to)).await
    }

    async fn read(&self, from: Seq, limit: usize) -> Result<Vec<Arc<Recorded>>, LedgerError> {
        let (from, limit) = (from.max(Seq(1)), limit.min(PAGE));
        if let Some(page) = self.shared.recent(from, limit) {
            return Ok(page);
        }
        self.off_the_runtime(move |shared| shared.page(from, limit)).await
    }

    async fn history(&self) -> Result<History, LedgerError> {
        Ok(self.shared.history())
    }

    async fn changed(&self, after: Seq) -> Result<Seq, LedgerError> {
        let mut head = self.shared.head.subscribe();
        let newest = head.wait_for(|head| *head > after).await;
        Ok(*newest.expect("the sender lives as long as self"))
    }

    async fn verify(&self) -> Result<Seq, LedgerError> {
        self.off_the_runtime(Shared::verify).await
    }
}

impl Shared {
    pub(crate) fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn history(&self) -> History {
        self.view().history.clone()
    }

    /// Shows entries that are on the disk, the last of which is `head`.
    pub(crate) fn publish(&self, head: Seq, entries: Vec<(Recorded, usize)>) {
        let mut view = self.view();
        for (recorded, bytes) in entries {
            view.history.apply(&recorded);
            view.push(recorded, bytes);
        }
        drop(view);
        self.head.send_if_modified(|known| std::mem::replace(known, head) != head);
    }

    /// A page from memory; `None` when it begins before what is there.
    fn recent(&self, from: Seq, limit: usize) -> Option<Vec<Arc<Recorded>>> {
        let view = self.view();
        let Some((first, _)) = view.recent.front() else {
            return (from > *self.head.borrow()).then(Vec::new);
        };
        if from < first.seq {
            return None;
        }
        let start = view.recent.partition_point(|(recorded, _)| recorded.seq < from);
        Some(
            view.recent
                .iter()
                .skip(start)
                .take(limit)
                .map(|(recorded, _)| recorded.clone())
                .collect(),
        )
    }

    /// A page from the disk. The log is let go between two segments.
    fn page(&self, from: Seq, limit: usize) -> Result<Vec<Arc<Recorded>>, LedgerError> {
        let mut page = Vec::new();
        let mut place = None;
        while page.len() < limit {
            let files = self.files();
            let at = place.unwrap_or_else(|| files.place(from)).max(files.first());
            if at >= files.log.next_seq() {
                break;
            }
            let next = files.log.read_segment(at, |_, record| {
                let Some(Record::Entries(entries)) = Record::decode(record) else { return Ok(()) };
                let wanted = entries.iter().filter(|stored| stored.seq >= from);
                for stored in wanted.take(limit - page.len()) {
                    let recorded = stored.read();
                    let unreadable = |source| FileLedgerError::Entry { seq: stored.seq, source };
                    page.push(Arc::new(recorded.map_err(unreadable)?));
                }
                Ok::<_, FileLedgerError>(())
            })?;
            place = Some(next);
        }
        Ok(page)
    }

    /// Follows the chain through every segment. The log is let go between two of them.
    fn verify(&self) -> Result<Seq, LedgerError> {
        let head = *self.head.borrow();
        let (mut chain, mut place) = (None::<Chain>, 0);
        loop {
            let files = self.files();
            if place < files.first() {
                // The beginning, or what came before was dropped meanwhile.
                (place, chain) = (files.first(), None);
            }
            if place >= files.log.next_seq() {
                break;
            }
            let mut bad = None;
            place = files
                .log
                .read_segment(place, |_, record| {
                    if bad.is_none() {
                        bad = follow(&mut chain, record).err();
                    }
                    Ok::<_, LogError>(())
                })
                .map_err(FileLedgerError::from)?;
            if let Some(seq) = bad {
                return Err(LedgerError::Tampered { seq });
            }
        }
        let end = chain.unwrap_or_default().seq;
        if end < head { Err(LedgerError::Tampered { seq: end.next() }) } else { Ok(end) }
    }
}

/// The chain of what is kept begins with a snapshot.
fn follow(chain: &mut Option<Chain>, record: &[u8]) -> Result<(), Seq> {
    let seq = chain.as_ref().map_or(Seq(1), |chain| chain.seq.next());
    let record = Record::decode(record).ok_or(seq)?;
    match (chain, &record) {
        (Some(chain), record) => chain.follow(record),
        (chain, Record::Snapshot(snapshot)) => {
            *chain = Some(Chain { seq: snapshot.seq, hash: snapshot.hash.to_owned() });
            Ok(())
        }
        (_, Record::Entries(entries)) => Err(entries[0].seq),
        (_, Record::Lease(_)) => Ok(()),
    }
}

impl View {
    fn push(&mut self, recorded: Recorded, bytes: usize) {
        self.recent.push_back((Arc::new(recorded), bytes));
        self.bytes += bytes;
        while self.recent.len() > self.max || self.bytes > RECENT_BYTES {
            let Some((_, bytes)) = self.recent.pop_front() else { return };
            self.bytes -= bytes;
        }
    }
}

fn cannot(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileLedgerError {
    move |source| FileLedgerError::Io { action, path: path.to_owned(), source }
}
