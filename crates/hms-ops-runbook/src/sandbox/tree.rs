//! Ends a process and all that it started.

use std::fs;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// How often to look for new descendants; a process that forks faster than it is killed ends here.
const ROUNDS: usize = 1000;

/// Kills the process `root` and its descendants.
///
/// The process is stopped first, so that it cannot reap or start anything; orphans below it are
/// adopted by it, not by init, as it is a subreaper. So while it stands still, every descendant
/// is found below it. `root` must not have been waited for.
pub(super) fn kill(root: u32) {
    let Some(pid) = Pid::from_raw(root.cast_signed()) else { return };
    let _ = kill_process(pid, Signal::STOP);
    for _ in 0..ROUNDS {
        let below = descendants(root);
        if below.is_empty() {
            break;
        }
        for descendant in below.into_iter().filter_map(|id| Pid::from_raw(id.cast_signed())) {
            let _ = kill_process(descendant, Signal::KILL);
        }
    }
    let _ = kill_process_group(pid, Signal::KILL);
    let _ = kill_process(pid, Signal::KILL);
}

/// Kills what is left of the group that `leader` led, when `leader` itself is gone. What had left
/// the group by then is out of reach.
pub(super) fn kill_group(leader: u32) {
    if let Some(pid) = Pid::from_raw(leader.cast_signed()) {
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

/// The living descendants of `root`; zombies do not count, they only wait to be reaped.
fn descendants(root: u32) -> Vec<u32> {
    let mut all = Vec::new();
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|id| Some((id, living_parent(id)?)))
        .collect();
    let mut below = vec![root];
    while let Some(parent) = below.pop() {
        for (id, _) in parents.iter().filter(|(_, p)| *p == parent) {
            all.push(*id);
            below.push(*id);
        }
    }
    all
}

/// The parent of a process that is not a zombie, from `/proc/ID/stat`: `ID (name) state parent …`.
fn living_parent(id: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name may hold anything, parentheses too; what follows the last one does not.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.next()?.parse().ok()
}
