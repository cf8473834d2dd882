//! The measures of a server, ours or a peer, by what its process has used.

use std::io;
use std::path::{Path, PathBuf};

use hms_ops_benches::server::{Peer, Server};
use hms_ops_benches::table::Figures;
use hms_ops_benches::workload::Workload;
use hms_ops_core::clock::Stopwatch;
use hms_ops_core::time::Timestamp;

use crate::answer::Answer;
use crate::figures::{TICK, mean, of};
use crate::queries::{Query, RANGE, RANGES, asked_at};

/// A server that is measured, and what was found so far.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) note: String,
    pub(crate) figures: Figures,
    server: Server,
}

impl Subject {
    /// Starts a peer.
    pub(crate) fn peer(peer: &Peer, folder: &Path) -> io::Result<Self> {
        let note = peer.version().unwrap_or("which does not tell its version".to_owned());
        Ok(Self::new(peer.name, note, peer.start(folder)?))
    }

    pub(crate) fn new(name: &'static str, note: String, server: Server) -> Self {
        Self { name, note, figures: Figures::new(), server }
    }

    /// Sends a workload.
    pub(crate) fn write(&mut self, workload: Workload, requests: &[PathBuf]) -> io::Result<()> {
        let (before, watch) = (self.server.usage()?.cpu, Stopwatch::start());
        self.server.remote_write("/api/v1/write", requests)?;
        let (wall, cpu) = (watch.elapsed().as_secs_f64(), self.server.usage()?.cpu - before);
        let samples = workload.samples() as f64;
        self.figures.insert("write.per_cpu_s".to_owned(), samples / cpu.max(TICK));
        self.figures.insert("write.per_s".to_owned(), samples / wall);
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        let mean = mean(&self.figures, "http").expect("every query was asked");
        self.figures.insert("http.mean_ms".to_owned(), mean);
        self.figures.insert("http.peak_rss_mb".to_owned(), self.server.usage()?.peak_rss);
        Ok(())
    }
}

/// Asks all of them every query `rounds` times `repeats` times. They take turns, so that what else
/// the machine does hits all alike.
pub(crate) fn ask(
    subjects: &mut [Subject],
    end: Timestamp,
    rounds: usize,
    repeats: usize,
) -> io::Result<()> {
    for query in RANGES {
        eprintln!("  {} ...", query.name);
        let path = path(query, asked_at(end));
        let mut used = vec![0.0; subjects.len()];
        let mut answers = Vec::new();
        for subject in &*subjects {
            // Not counted: whoever is asked first has to fill its caches.
            answers.push((subject.name, Answer::read(&subject.server.call("GET", &path)?)?));
        }
        agree(query, &answers)?;
        for _ in 0..rounds {
            for (subject, used) in subjects.iter().zip(&mut used) {
                let before = subject.server.usage()?.cpu;
                for _ in 0..repeats {
                    subject.server.call("GET", &path)?;
                }
                *used += subject.server.usage()?.cpu - before;
            }
        }
        for (subject, used) in subjects.iter_mut().zip(used) {
            let each = used.max(TICK) * 1e3 / (rounds * repeats) as f64;
            subject.figures.insert(of("http", query.name), each);
        }
    }
    subjects.iter_mut().try_for_each(Subject::finish)
}

/// Complains unless the first two, which speak the same language, say the same. The others may have
/// another idea of a rate; they are here for their speed.
fn agree(query: &Query, answers: &[(&str, Answer)]) -> io::Result<()> {
    match answers {
        [first, second, ..] if query.is_undisputed && !first.1.is_like(&second.1) => {
            Err(io::Error::other(format!("{}: {first:?}, but {second:?}", query.name)))
        }
        _ => Ok(()),
    }
}

fn path(query: &Query, end: Timestamp) -> String {
    let seconds = |at: Timestamp| at.as_millis() / 1000;
    let text: String = query.text.bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!(
        "/api/v1/query_range?query={text}&start={}&end={}&step={}",
        seconds(end - RANGE),
        seconds(end),
        query.step.as_secs()
    )
}
