//! What a process has used so far.

use std::fs;
use std::io;
use std::path::Path;

use crate::host;

/// Processor time and memory of a process, by `/proc`.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Seconds that all its threads have run; of another process in steps of the kernel's tick.
    pub cpu: f64,
    /// Megabytes that were resident at most.
    pub peak_rss: f64,
}

impl Usage {
    /// What the process with this number has used.
    ///
    /// # Errors
    ///
    /// When it is gone, or this system has no `/proc`.
    pub fn of(pid: u32) -> io::Result<Self> {
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}"));
        let (stat, status) = (read("stat")?, read("status")?);
        let missing = |what: &str| io::Error::other(format!("process {pid} has no {what}"));
        let ticks = cpu_ticks(&stat).ok_or_else(|| missing("times"))?;
        let peak = peak_bytes(&status).ok_or_else(|| missing("peak of memory"))?;
        Ok(Self { cpu: ticks as f64 / ticks_per_second(), peak_rss: peak as f64 / 1e6 })
    }

    /// What this process has used.
    ///
    /// # Panics
    ///
    /// Where there is no `/proc`: then there is nothing to measure.
    pub fn own() -> Self {
        let usage = Self::of(std::process::id()).expect("this system has /proc");
        // Of itself a process can know more than ticks.
        let cpu = host::process_cpu_nanos().map_or(usage.cpu, |nanos| nanos as f64 / 1e9);
        Self { cpu, ..usage }
    }
}

/// Bytes of all files below `folder`, as long as they say they are.
///
/// # Errors
///
/// When the folder cannot be read.
pub fn bytes_below(folder: &Path) -> io::Result<u64> {
    fs::read_dir(folder)?.try_fold(0, |sum, entry| {
        let entry = entry?;
        let metadata = entry.metadata()?;
        let bytes = if metadata.is_dir() { bytes_below(&entry.path())? } else { metadata.len() };
        Ok(sum + bytes)
    })
}

/// User and system time, which are the 14th and 15th of `stat`.
fn cpu_ticks(stat: &str) -> Option<u64> {
    // The second is the name of the program in brackets, and may hold anything.
    let mut rest = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    Some(rest.next()?.parse::<u64>().ok()? + rest.next()?.parse::<u64>().ok()?)
}

fn peak_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

#[cfg(target_os = "linux")]
fn ticks_per_second() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

#[cfg(not(target_os = "linux"))]
fn ticks_per_second() -> f64 {
    100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 9 9 20 0 3 0 99";
        assert_eq!(cpu_ticks(stat), Some(200));
        assert_eq!(cpu_ticks("7 (short) S 1"), None);
    }

    #[test]
    fn the_peak_is_in_bytes() {
        assert_eq!(peak_bytes("VmPeak:\t 9 kB\nVmHWM:\t    2 kB\nVmRSS:\t 1 kB\n"), Some(2048));
    }

    #[test]
    fn files_of_folders_within_count() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("within")).unwrap();
        fs::write(folder.path().join("one"), "123").unwrap();
        fs::write(folder.path().join("within/two"), "4567").unwrap();
        assert_eq!(bytes_below(folder.path()).unwrap(), 7);
    }
}
