//! The measures of a peer that is a server, by what its process has used.

use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use hms_ops_benches::server::{PROMETHEUS, Peer, Server, data};
use hms_ops_benches::table::Figures;
use hms_ops_benches::usage::bytes_below;
use hms_ops_benches::workload::{Workload, metrics};
use hms_ops_core::clock::Stopwatch;

use crate::figures;

const REMOTE_WRITE: &str = "/api/v1/write";

/// Sends a workload, and has it sealed.
pub(crate) fn ingest(
    peer: &Peer,
    workload: Workload,
    folder: &Path,
    requests: &[PathBuf],
    name: &str,
) -> io::Result<Figures> {
    let server = peer.start(folder)?;
    let (before, watch) = (server.usage()?, Stopwatch::start());
    server.remote_write(REMOTE_WRITE, requests)?;
    let mut figures = figures::ingested(name, workload, before, server.usage()?, watch.elapsed());
    let sealed = seal(peer, &server, folder)?;
    let bytes = bytes_below(&sealed)?;
    figures.extend(figures::sealed(name, workload, before, server.usage()?, bytes));
    has_all(&server, workload)?;
    Ok(figures)
}

/// Sends a workload, kills the peer, and starts it again.
pub(crate) fn restart(
    peer: &Peer,
    workload: Workload,
    folder: &Path,
    requests: &[PathBuf],
) -> io::Result<Figures> {
    let server = peer.start(folder)?;
    server.remote_write(REMOTE_WRITE, requests)?;
    drop(server);
    let watch = Stopwatch::start();
    let server = peer.start(folder)?;
    let figures = figures::restarted(0.0, server.usage()?, watch.elapsed());
    has_all(&server, workload)?;
    Ok(figures)
}

/// Complains unless the server has every sample: what loses some is cheaper.
fn has_all(server: &Server, workload: Workload) -> io::Result<()> {
    let mut has = 0;
    for metric in metrics() {
        has += server.samples(&metric, workload.end())?;
    }
    let sent = workload.samples() as u64;
    if has == sent {
        Ok(())
    } else {
        Err(io::Error::other(format!("it has {has} of {sent} samples")))
    }
}

/// Has everything brought into the form in which it stays; says where that is.
fn seal(peer: &Peer, server: &Server, folder: &Path) -> io::Result<PathBuf> {
    if peer.name == PROMETHEUS.name {
        server.call("POST", "/api/v1/admin/tsdb/snapshot")?;
        return Ok(data(folder).join("snapshots"));
    }
    server.call("GET", "/internal/force_flush")?;
    server.call("GET", "/internal/force_merge")?;
    // It answers before it has merged.
    wait_until_idle(server)?;
    Ok(data(folder))
}

/// Waits until the server has hardly run for a second.
fn wait_until_idle(server: &Server) -> io::Result<()> {
    let mut before = server.usage()?.cpu;
    loop {
        thread::sleep(Duration::from_secs(1));
        let now = server.usage()?.cpu;
        if now - before < 0.03 {
            return Ok(());
        }
        before = now;
    }
}
