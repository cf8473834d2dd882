//! What is asked of the operating system: time on a processor, a place to run, a name.

use std::fs;
use std::thread::available_parallelism;

#[cfg(target_os = "linux")]
pub(crate) use linux::{cpu_nanos, pin, process_cpu_nanos};
#[cfg(not(target_os = "linux"))]
pub(crate) use other::{cpu_nanos, pin, process_cpu_nanos};

/// Processor, cores and kernel.
pub fn machine() -> String {
    let line = |file: &str, key: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let found = text.lines().find_map(|line| line.strip_prefix(key).map(str::to_owned));
        found.map(|found| found.trim_matches([' ', '\t', ':']).to_owned())
    };
    let processor = line("/proc/cpuinfo", "model name").unwrap_or("unknown processor".to_owned());
    let kernel = line("/proc/sys/kernel/osrelease", "").unwrap_or_default();
    let cores = available_parallelism().map_or(1, |cores| cores.get());
    format!("{processor}, {cores} cores, {} {kernel}", std::env::consts::OS)
}

#[cfg(target_os = "linux")]
mod linux {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    use rustix::time::{ClockId, clock_gettime};

    /// How long this thread has run; unlike a wall clock it stands while others run.
    pub(crate) fn cpu_nanos() -> Option<u64> {
        Some(nanos(ClockId::ThreadCPUTime))
    }

    /// How long all threads of this process have run.
    pub(crate) fn process_cpu_nanos() -> Option<u64> {
        Some(nanos(ClockId::ProcessCPUTime))
    }

    fn nanos(clock: ClockId) -> u64 {
        let time = clock_gettime(clock);
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }

    /// Keeps this thread on the processor of this number, counted around those it may run on.
    pub(crate) fn pin(number: usize) {
        let Ok(allowed) = sched_getaffinity(None) else { return };
        let those: Vec<_> = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu)).collect();
        let mut only = CpuSet::new();
        only.set(those[number % those.len()]);
        // Where it is forbidden, the figures are less steady, and that is all.
        let _ = sched_setaffinity(None, &only);
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    pub(crate) fn cpu_nanos() -> Option<u64> {
        None
    }

    pub(crate) fn process_cpu_nanos() -> Option<u64> {
        None
    }

    pub(crate) fn pin(_number: usize) {}
}
