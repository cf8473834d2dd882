//! A disk in memory that loses power, tears sectors, fills up and fails at any call.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hms_ops_wal::disk::{Content, Disk, DiskFile, DiskLock};

/// What a disk writes as a whole or not at all.
const SECTOR: usize = 512;

/// The folder above all others.
const ROOT: usize = 0;

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The device does not answer.
    Io,
    /// There is no room: [`io::ErrorKind::StorageFull`].
    Full,
    /// A write takes the first half of the bytes, which is no error. Other calls fail as with
    /// [`Fault::Io`].
    Short,
}

/// A [`Disk`] in memory, as unkind as [`Disk`] allows: what is not synced may be lost, in any part
/// and any order.
///
/// Clones are the same disk. The same calls and seeds give the same bytes.
///
/// ```
/// use std::path::Path;
/// use hms_ops_testkit::fault_disk::{Fault, FaultDisk};
/// use hms_ops_wal::disk::{Disk, DiskFileExt};
///
/// # fn main() -> std::io::Result<()> {
/// let disk = FaultDisk::new();
/// let (folder, path) = (Path::new("/data"), Path::new("/data/greeting"));
/// disk.create_dir(folder)?;
/// disk.sync_dir(Path::new("/"))?;
/// let mut file = disk.create(path)?;
/// disk.sync_dir(folder)?;
/// file.write_all(b"good ")?;
/// file.sync()?;
/// file.write_all(b"morning")?;
///
/// for seed in 0..100 {
///     let after = disk.crash(seed);
///     assert!(after.read(path)?.starts_with(b"good "));
/// }
///
/// disk.fail_at(1, Fault::Full);
/// let error = file.write_all(b"!").unwrap_err();
/// assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct FaultDisk(Arc<Mutex<State>>);

impl FaultDisk {
    /// An empty disk without faults.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(State::new(vec![Node::Folder(Folder::default())], 0))))
    }

    /// What a machine finds after it lost power now: a disk of its own, without locks and faults.
    ///
    /// Files have the bytes of their last sync, and of the later writes a prefix, or some sectors;
    /// where a length was written but no bytes, there are zeros or garbage. Of the changes of names
    /// that no [`Disk::sync_dir`] has covered, each is there or not.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        let state = self.state();
        let mut random = Random(seed);
        let kept = random.below(5);
        let mut nodes = state.nodes.clone();
        for change in &state.names {
            if random.odds(kept, 4) {
                change.apply(&mut nodes, |folder| &mut folder.durable);
            }
        }
        for node in &mut nodes {
            match node {
                Node::File(file) => {
                    file.durable = torn(&file.durable, &file.pending, &mut random);
                    file.pending.clear();
                    file.now = file.durable.clone();
                }
                Node::Folder(folder) => folder.now = folder.durable.clone(),
            }
        }
        let mut after = State::new(nodes, seed);
        after.capacity = state.capacity;
        Self(Arc::new(Mutex::new(after)))
    }

    /// Lets the `n`th call from now fail; 1 is the next one.
    pub fn fail_at(&self, n: u64, fault: Fault) {
        let mut state = self.state();
        let call = state.calls + n;
        state.fail_at.insert(call, fault);
    }

    /// Lets every call that writes fail, beginning with the `n`th call from now, until
    /// [`FaultDisk::heal`].
    pub fn fail_from(&self, n: u64, fault: Fault) {
        let mut state = self.state();
        state.fail_from = Some((state.calls + n, fault));
    }

    /// Takes back all faults that were set. What they have done stays.
    pub fn heal(&self) {
        let mut state = self.state();
        state.fail_at.clear();
        state.fail_from = None;
    }

    /// Calls so far, failed ones among them, of every method of [`Disk`] and [`DiskFile`].
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Makes room for so many bytes in all files; `None` for any number. A write takes what fits.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Turns a bit of a file over, also of what is synced.
    ///
    /// # Panics
    ///
    /// When the file does not have so many bits.
    pub fn flip_bit(&self, path: &Path, bit: u64) {
        self.damage(path, |bytes| bytes[(bit / 8) as usize] ^= 1 << (bit % 8));
    }

    /// Cuts a file to `len` bytes, also what is synced.
    ///
    /// # Panics
    ///
    /// When there is no such file.
    pub fn cut(&self, path: &Path, len: u64) {
        self.damage(path, |bytes| bytes.truncate(len as usize));
    }

    /// The path of every file, and its length.
    pub fn files(&self) -> BTreeMap<PathBuf, u64> {
        let state = self.state();
        let mut files = BTreeMap::new();
        let mut folders = vec![(PathBuf::from("/"), ROOT)];
        while let Some((path, folder)) = folders.pop() {
            for (name, &node) in &state.folder(folder).now {
                match &state.nodes[node] {
                    Node::File(file) => {
                        files.insert(path.join(name), file.now.len() as u64);
                    }
                    Node::Folder(_) => folders.push((path.join(name), node)),
                }
            }
        }
        files
    }

    fn damage(&self, path: &Path, change: impl Fn(&mut Vec<u8>)) {
        let mut state = self.state();
        let node = state.find(path).unwrap();
        let file = state.file(node);
        file.settle();
        change(&mut file.durable);
        file.now = file.durable.clone();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call, and lets it fail when it should.
    fn call(&self, writes: bool) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        match state.fault(writes) {
            Some(fault) => Err(fault.into()),
            None => Ok(state),
        }
    }
}

impl Default for FaultDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for FaultDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FaultDisk").field(&self.files()).finish()
    }
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Io | Fault::Short => io::Error::other("the fault disk was told to fail"),
            Fault::Full => io::ErrorKind::StorageFull.into(),
        }
    }
}

impl Disk for FaultDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.call(true)?;
        let mut folder = ROOT;
        for name in names(dir)? {
            folder = match state.folder(folder).now.get(name) {
                Some(&node) => node,
                None => state.add(folder, name, Node::Folder(Folder::default())),
            };
            if !matches!(state.nodes[folder], Node::Folder(_)) {
                return Err(io::ErrorKind::NotADirectory.into());
            }
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.call(false)?;
        let folder = state.find_folder(dir)?;
        Ok(state.folder(folder).now.keys().cloned().collect())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.call(true)?;
        let (folder, name) = state.place(path)?;
        if state.folder(folder).now.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let node = state.add(folder, name, Node::File(File::default()));
        Ok(Box::new(Handle { disk: self.clone(), node }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let state = self.call(false)?;
        let node = state.find_file(path)?;
        Ok(Box::new(Handle { disk: self.clone(), node }))
    }

    fn read(&self, path: &Path) -> io::Result<Content> {
        let mut state = self.call(false)?;
        let node = state.find_file(path)?;
        Ok(Content::new(state.file(node).now.clone()))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.call(true)?;
        let node = state.find(from)?;
        let (old, new) = (state.place(from)?, state.place(to)?);
        if old == new {
            return Ok(());
        }
        let there = state.folder(new.0).now.get(new.1);
        if there.is_some_and(|&there| matches!(state.nodes[there], Node::Folder(_))) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.change(Some(old), Some(new), node);
        Ok(())
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.call(true)?;
        let node = state.find_file(from)?;
        let new = state.place(to)?;
        if state.folder(new.0).now.contains_key(new.1) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.change(None, Some(new), node);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.call(true)?;
        let node = state.find_file(path)?;
        let old = state.place(path)?;
        state.change(Some(old), None, node);
        Ok(())
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.call(true)?;
        let folder = state.find_folder(dir)?;
        let old = state.place(dir)?;
        state.empty(folder);
        state.change(Some(old), None, folder);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.call(true)?;
        let folder = state.find_folder(dir)?;
        let State { nodes, names, .. } = &mut *state;
        names.retain(|change| {
            let touched = change.touches(folder);
            if touched {
                change.apply(nodes, |folder| &mut folder.durable);
            }
            !touched
        });
        state.forget();
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let mut state = self.call(true)?;
        let (folder, name) = state.place(path)?;
        let node = match state.folder(folder).now.get(name) {
            Some(&node) => node,
            None => state.add(folder, name, Node::File(File::default())),
        };
        if !state.locks.insert(node) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Lock { disk: self.clone(), node }))
    }
}

#[derive(Debug)]
struct Handle {
    disk: FaultDisk,
    node: usize,
}

impl DiskFile for Handle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.disk.state();
        let taken = match state.fault(true) {
            None => bytes.len(),
            Some(Fault::Short) => bytes.len().div_ceil(2),
            Some(fault) => return Err(fault.into()),
        };
        let taken = taken.min(state.room());
        if taken == 0 && !bytes.is_empty() {
            return Err(Fault::Full.into());
        }
        let file = state.file(self.node);
        let at = file.now.len();
        file.change(Change::Write { at, bytes: bytes[..taken].to_vec() });
        Ok(taken)
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.state();
        let fault = state.fault(true);
        let mut random = state.random.fork();
        let file = state.file(self.node);
        let Some(fault) = fault else {
            file.settle();
            return Ok(());
        };
        // A part was written, the rest is forgotten, and no later sync comes back to it.
        file.durable = torn(&file.durable, &file.pending, &mut random);
        file.pending.clear();
        Err(fault.into())
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        let mut state = self.disk.call(true)?;
        state.file(self.node).change(Change::Cut { len: len as usize });
        Ok(())
    }
}

#[derive(Debug)]
struct Lock {
    disk: FaultDisk,
    node: usize,
}

impl DiskLock for Lock {}

impl Drop for Lock {
    fn drop(&mut self) {
        self.disk.state().locks.remove(&self.node);
    }
}

struct State {
    /// Files and folders, known by their place here.
    nodes: Vec<Node>,
    /// Changes that no sync of their folder has covered, oldest first.
    names: Vec<NameChange>,
    locks: BTreeSet<usize>,
    calls: u64,
    fail_at: BTreeMap<u64, Fault>,
    fail_from: Option<(u64, Fault)>,
    capacity: Option<u64>,
    random: Random,
}

#[derive(Clone)]
enum Node {
    File(File),
    Folder(Folder),
}

#[derive(Clone, Default)]
struct Folder {
    now: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
}

#[derive(Clone, Default)]
struct File {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// Changes since the last sync, oldest first.
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Cut { len: usize },
}

/// A name that goes, one that comes, or both at once.
struct NameChange {
    old: Option<(usize, String)>,
    new: Option<(usize, String)>,
    node: usize,
}

impl State {
    fn new(nodes: Vec<Node>, seed: u64) -> Self {
        Self {
            nodes,
            names: Vec::new(),
            locks: BTreeSet::new(),
            calls: 0,
            fail_at: BTreeMap::new(),
            fail_from: None,
            capacity: None,
            random: Random(seed),
        }
    }

    fn fault(&mut self, writes: bool) -> Option<Fault> {
        self.calls += 1;
        let lasting = self.fail_from.filter(|(from, _)| writes && *from <= self.calls);
        self.fail_at.remove(&self.calls).or(lasting.map(|(_, fault)| fault))
    }

    fn folder(&self, node: usize) -> &Folder {
        match &self.nodes[node] {
            Node::Folder(folder) => folder,
            Node::File(_) => panic!("a file is not asked for names"),
        }
    }

    fn file(&mut self, node: usize) -> &mut File {
        match &mut self.nodes[node] {
            Node::File(file) => file,
            Node::Folder(_) => panic!("a folder is not asked for bytes"),
        }
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        let mut node = ROOT;
        for name in names(path)? {
            let Node::Folder(folder) = &self.nodes[node] else {
                return Err(io::ErrorKind::NotADirectory.into());
            };
            node = *folder.now.get(name).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(node)
    }

    fn find_folder(&self, path: &Path) -> io::Result<usize> {
        let node = self.find(path)?;
        match self.nodes[node] {
            Node::Folder(_) => Ok(node),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn find_file(&self, path: &Path) -> io::Result<usize> {
        let node = self.find(path)?;
        match self.nodes[node] {
            Node::File(_) => Ok(node),
            Node::Folder(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    /// The folder that has, or would have, the last name of `path`, and that name.
    fn place<'a>(&self, path: &'a Path) -> io::Result<(usize, &'a str)> {
        let name = names(path)?.pop().ok_or(io::ErrorKind::InvalidInput)?;
        Ok((self.find_folder(path.parent().unwrap_or(Path::new("/")))?, name))
    }

    fn add(&mut self, folder: usize, name: &str, node: Node) -> usize {
        self.nodes.push(node);
        let node = self.nodes.len() - 1;
        self.change(None, Some((folder, name)), node);
        node
    }

    fn change(&mut self, old: Option<(usize, &str)>, new: Option<(usize, &str)>, node: usize) {
        let owned = |(folder, name): (usize, &str)| (folder, name.to_owned());
        let change = NameChange { old: old.map(owned), new: new.map(owned), node };
        change.apply(&mut self.nodes, |folder| &mut folder.now);
        self.names.push(change);
    }

    fn empty(&mut self, folder: usize) {
        for (name, node) in self.folder(folder).now.clone() {
            if matches!(self.nodes[node], Node::Folder(_)) {
                self.empty(node);
            }
            self.change(Some((folder, &name)), None, node);
        }
    }

    /// Bytes that fit.
    fn room(&self) -> usize {
        let Some(capacity) = self.capacity else { return usize::MAX };
        let named = self.named(|folder| vec![&folder.now]);
        let used = named.iter().map(|&node| match &self.nodes[node] {
            Node::File(file) => file.now.len(),
            Node::Folder(_) => 0,
        });
        (capacity as usize).saturating_sub(used.sum())
    }

    /// Frees the bytes of files that have no name any more, and will have none after a crash.
    fn forget(&mut self) {
        let mut named = self.named(|folder| vec![&folder.now, &folder.durable]);
        named.extend(self.names.iter().map(|change| change.node));
        for (at, node) in self.nodes.iter_mut().enumerate() {
            if let Node::File(file) = node
                && !named.contains(&at)
            {
                *file = File::default();
            }
        }
    }

    fn named<'a>(
        &'a self,
        names: impl Fn(&'a Folder) -> Vec<&'a BTreeMap<String, usize>>,
    ) -> BTreeSet<usize> {
        let folders = self.nodes.iter().filter_map(|node| match node {
            Node::Folder(folder) => Some(folder),
            Node::File(_) => None,
        });
        folders.flat_map(names).flat_map(BTreeMap::values).copied().collect()
    }
}

impl NameChange {
    fn touches(&self, folder: usize) -> bool {
        [&self.old, &self.new].into_iter().flatten().any(|(touched, _)| *touched == folder)
    }

    /// Does to one of the two lists of names, as `which` says, what happened.
    fn apply(
        &self,
        nodes: &mut [Node],
        which: impl Fn(&mut Folder) -> &mut BTreeMap<String, usize>,
    ) {
        let mut names = |folder: usize, change: &dyn Fn(&mut BTreeMap<String, usize>)| {
            if let Node::Folder(folder) = &mut nodes[folder] {
                change(which(folder));
            }
        };
        if let Some((folder, name)) = &self.old {
            names(*folder, &|names| {
                // After a crash the name may still be that of another.
                if names.get(name) == Some(&self.node) {
                    names.remove(name);
                }
            });
        }
        if let Some((folder, name)) = &self.new {
            names(*folder, &|names| {
                names.insert(name.clone(), self.node);
            });
        }
    }
}

impl File {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.now);
        self.pending.push(change);
    }

    /// Makes every change durable, save those that a failed sync has forgotten.
    fn settle(&mut self) {
        for change in self.pending.drain(..) {
            change.apply(&mut self.durable);
        }
        self.durable.resize(self.now.len(), 0);
    }
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => overwrite(to, *at, bytes),
            Self::Cut { len } => to.truncate(*len),
        }
    }
}

/// What is on a disk that was left with `durable` and interrupted somewhere in `pending`.
fn torn(durable: &[u8], pending: &[Change], random: &mut Random) -> Vec<u8> {
    let mut disk = durable.to_vec();
    if random.odds(1, 2) {
        // In order, up to any byte.
        let done = random.below(pending.len() as u64 + 1) as usize;
        pending[..done].iter().for_each(|change| change.apply(&mut disk));
        if let Some(Change::Write { at, bytes }) = pending.get(done) {
            let some = random.below(bytes.len() as u64 + 1) as usize;
            overwrite(&mut disk, *at, &bytes[..some]);
        }
        return disk;
    }
    // In any order, sector by sector, the length by itself.
    let mut cache = durable.to_vec();
    let (kept, garbage) = (random.below(5), random.odds(1, 2));
    for change in pending {
        change.apply(&mut cache);
        match change {
            Change::Write { at, bytes } => {
                for sector in at / SECTOR..(at + bytes.len()).div_ceil(SECTOR) {
                    if random.odds(kept, 4) {
                        let from = sector * SECTOR;
                        grow(&mut disk, from, garbage, random);
                        overwrite(&mut disk, from, &cache[from..cache.len().min(from + SECTOR)]);
                    }
                }
            }
            Change::Cut { len } if random.odds(kept, 4) => disk.truncate(*len),
            Change::Cut { .. } => {}
        }
    }
    if random.odds(1, 2) {
        grow(&mut disk, cache.len(), garbage, random);
        disk.truncate(cache.len());
    }
    disk
}

fn overwrite(to: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if to.len() < end {
        to.resize(end, 0);
    }
    to[at..end].copy_from_slice(bytes);
}

fn grow(bytes: &mut Vec<u8>, len: usize, garbage: bool, random: &mut Random) {
    while bytes.len() < len {
        bytes.push(if garbage { random.next() as u8 } else { 0 });
    }
}

/// The names on the way to `path`; it makes no difference whether that is absolute.
fn names(path: &Path) -> io::Result<Vec<&str>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => {
                names.push(name.to_str().ok_or(io::ErrorKind::InvalidInput)?);
            }
            Component::ParentDir | Component::Prefix(_) => {
                return Err(io::ErrorKind::InvalidInput.into());
            }
        }
    }
    Ok(names)
}

/// SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    fn odds(&mut self, of: u64, all: u64) -> bool {
        self.below(all) < of
    }

    fn fork(&mut self) -> Self {
        Self(self.next())
    }
}

#[cfg(test)]
mod tests {
    use hms_ops_wal::disk::DiskFileExt;

    use super::*;

    /// A folder `/d` whose name is durable, and a file `/d/a` of which nothing is.
    fn disk_with(bytes: &[u8]) -> (FaultDisk, Box<dyn DiskFile>) {
        let disk = FaultDisk::new();
        disk.create_dir(Path::new("/d")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        let mut file = disk.create(Path::new("/d/a")).unwrap();
        file.write_all(bytes).unwrap();
        (disk, file)
    }

    /// What `/d` may be after a loss of power.
    fn outcomes(disk: &FaultDisk) -> BTreeSet<Vec<(String, Vec<u8>)>> {
        let found = |seed| {
            let disk = disk.crash(seed);
            let names = disk.list(Path::new("/d")).unwrap();
            let read = |name: String| {
                let bytes = disk.read(&Path::new("/d").join(&name)).unwrap().to_vec();
                (name, bytes)
            };
            names.into_iter().map(read).collect()
        };
        (0..200).map(found).collect()
    }

    fn file(name: &str, bytes: &[u8]) -> (String, Vec<u8>) {
        (name.into(), bytes.into())
    }

    #[test]
    fn what_is_synced_under_a_synced_name_survives_and_nothing_else_is_certain() {
        let (disk, mut a) = disk_with(b"");
        assert_eq!(outcomes(&disk), [vec![], vec![file("a", b"")]].into());
        disk.sync_dir(Path::new("/d")).unwrap();
        a.write_all(b"x").unwrap();
        let after = outcomes(&disk);
        assert!(after.contains(&vec![file("a", b"")]) && after.contains(&vec![file("a", b"x")]));
        a.sync().unwrap();
        assert_eq!(outcomes(&disk), [vec![file("a", b"x")]].into());
    }

    #[test]
    fn a_renamed_file_has_the_old_name_or_the_new_one() {
        let (disk, mut a) = disk_with(b"a");
        a.sync().unwrap();
        disk.create(Path::new("/d/b")).unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        disk.rename(Path::new("/d/a"), Path::new("/d/b")).unwrap();
        let old = vec![file("a", b"a"), file("b", b"")];
        let new = vec![file("b", b"a")];
        assert_eq!(outcomes(&disk), [old, new.clone()].into());
        disk.sync_dir(Path::new("/d")).unwrap();
        assert_eq!(outcomes(&disk), [new].into());
    }

    #[test]
    fn a_removed_file_may_come_back_until_its_folder_is_synced() {
        let (disk, mut a) = disk_with(b"a");
        a.sync().unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        disk.remove(Path::new("/d/a")).unwrap();
        assert!(disk.read(Path::new("/d/a")).is_err());
        assert_eq!(outcomes(&disk), [vec![], vec![file("a", b"a")]].into());
        disk.sync_dir(Path::new("/d")).unwrap();
        assert_eq!(outcomes(&disk), [vec![]].into());
    }

    #[test]
    fn sectors_are_lost_each_by_itself_and_synced_bytes_never() {
        let (disk, mut a) = disk_with(&[1; 700]);
        disk.sync_dir(Path::new("/d")).unwrap();
        a.sync().unwrap();
        a.write_all(&[2; 3000]).unwrap();
        let mut holes = 0;
        for seed in 0..200 {
            let found = disk.crash(seed).read(Path::new("/d/a")).unwrap();
            assert!(found[..700].iter().all(|&byte| byte == 1), "seed {seed}");
            let lost = found[700..].iter().position(|&byte| byte != 2);
            holes += u32::from(lost.is_some_and(|at| found[700 + at..].contains(&2)));
        }
        assert!(holes > 10, "{holes}");
    }

    #[test]
    fn a_sync_that_succeeds_after_one_that_failed_proves_nothing() {
        let (disk, mut a) = disk_with(b"old ");
        disk.sync_dir(Path::new("/d")).unwrap();
        a.sync().unwrap();
        let lost = (0..50).filter(|_| {
            a.truncate(4).unwrap();
            a.write_all(b"lost?").unwrap();
            disk.fail_at(1, Fault::Io);
            a.sync().unwrap_err();
            a.write_all(b" new").unwrap();
            a.sync().unwrap();
            let after = disk.crash(0).read(Path::new("/d/a")).unwrap();
            assert!(after.starts_with(b"old ") && after.ends_with(b" new"));
            &*after != b"old lost? new"
        });
        assert!((5..45).contains(&lost.count()));
    }

    #[test]
    fn faults_come_when_they_are_due_and_go_when_they_are_healed() {
        let (disk, mut a) = disk_with(b"");
        disk.fail_at(2, Fault::Io);
        disk.fail_at(3, Fault::Short);
        assert_eq!(a.write(b"1234").unwrap(), 4);
        assert_eq!(a.write(b"1234").unwrap_err().kind(), io::ErrorKind::Other);
        assert_eq!(a.write(b"5678").unwrap(), 2);
        disk.fail_from(2, Fault::Full);
        a.sync().unwrap();
        for _ in 0..3 {
            assert_eq!(a.write(b"!").unwrap_err().kind(), io::ErrorKind::StorageFull);
            assert_eq!(&*disk.read(Path::new("/d/a")).unwrap(), b"123456");
        }
        disk.heal();
        a.write_all(b"78").unwrap();
        assert_eq!(&*disk.read(Path::new("/d/a")).unwrap(), b"12345678");
    }

    #[test]
    fn a_full_disk_takes_what_fits_until_something_is_removed() {
        let (disk, mut a) = disk_with(b"12345678");
        disk.set_capacity(Some(10));
        assert_eq!(a.write(b"abcd").unwrap(), 2);
        assert_eq!(a.write(b"cd").unwrap_err().kind(), io::ErrorKind::StorageFull);
        let mut b = disk.create(Path::new("/d/b")).unwrap();
        assert_eq!(b.write(b"x").unwrap_err().kind(), io::ErrorKind::StorageFull);
        disk.remove(Path::new("/d/a")).unwrap();
        assert_eq!(b.write(b"x").unwrap(), 1);
    }

    #[test]
    fn a_lock_is_held_by_one_and_by_nobody_after_a_crash() {
        let (disk, _) = disk_with(b"");
        let path = Path::new("/d/lock");
        let held = disk.lock(path).unwrap();
        assert_eq!(disk.lock(path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        disk.sync_dir(Path::new("/d")).unwrap();
        disk.crash(1).lock(path).unwrap();
        drop(held);
        disk.lock(path).unwrap();
    }

    #[test]
    fn folders_move_and_go_with_all_that_is_in_them() {
        let (disk, _) = disk_with(b"a");
        disk.create_dir(Path::new("/e/f")).unwrap();
        disk.rename(Path::new("/d"), Path::new("/e/f/d")).unwrap();
        disk.hard_link(Path::new("/e/f/d/a"), Path::new("/b")).unwrap();
        let files = [("/b".into(), 1), ("/e/f/d/a".into(), 1)];
        assert_eq!(disk.files(), files.into());
        disk.remove_dir(Path::new("/e")).unwrap();
        assert_eq!(disk.files(), [("/b".into(), 1)].into());
        assert_eq!(disk.list(Path::new("/")).unwrap(), ["b"]);
        disk.flip_bit(Path::new("/b"), 1);
        assert_eq!(&*disk.read(Path::new("/b")).unwrap(), b"c");
    }

    #[test]
    fn the_same_seed_gives_the_same_disk() {
        let (disk, _) = disk_with(&[7; 5000]);
        disk.sync_dir(Path::new("/d")).unwrap();
        let read = |seed| disk.crash(seed).read(Path::new("/d/a")).unwrap().to_vec();
        assert!((0..20).all(|seed| read(seed) == read(seed)));
    }
}
