//! Remote write 1.0: samples as the requests that peers are sent, made before the clock runs.
//!
//! Protobuf by hand: `WriteRequest { repeated TimeSeries timeseries = 1; }`,
//! `TimeSeries { repeated Label labels = 1; repeated Sample samples = 2; }`,
//! `Label { string name = 1; string value = 2; }`, `Sample { double value = 1; int64 timestamp = 2; }`,
//! and Snappy's block format around it.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use hms_ops_core::labels::Labels;
use hms_ops_core::time::Timestamp;

use crate::workload::{Scrape, Workload, labels};

/// Series in a request, each with one sample.
const SERIES_A_REQUEST: usize = 2000;

/// Writes a workload as the requests of `connections` senders, one file each in `folder`.
///
/// A sender has instances of its own, so that the samples of a series stay in their order.
///
/// # Errors
///
/// When a file cannot be written.
pub fn write(workload: Workload, connections: usize, folder: &Path) -> io::Result<Vec<PathBuf>> {
    let files: Vec<_> = (0..connections).map(|n| folder.join(format!("requests-{n}"))).collect();
    let mut senders = files.iter().map(|file| Sender::new(file)).collect::<io::Result<Vec<_>>>()?;
    let mut heads: Vec<Vec<Vec<u8>>> = vec![Vec::new(); workload.instances];
    for Scrape { number, instance, values } in workload.scrapes() {
        let life = workload.life(instance, number);
        if number == 0 || life > workload.life(instance, number - 1) {
            heads[instance] = labels(instance, life).iter().map(head).collect();
        }
        for (head, value) in heads[instance].iter().zip(values) {
            senders[instance % connections].add(head, value, Workload::at(number))?;
        }
    }
    senders.into_iter().try_for_each(Sender::finish)?;
    Ok(files)
}

/// Reads the requests of a file, one after the other, into `into`.
///
/// # Errors
///
/// When the file cannot be read, or `each` fails.
pub fn read(file: &Path, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let size = file.metadata()?.len();
    let (mut from, mut done) = (BufReader::with_capacity(1 << 18, File::open(file)?), 0);
    let (mut length, mut request) = ([0; 4], Vec::new());
    while done < size {
        from.read_exact(&mut length)?;
        request.resize(u32::from_le_bytes(length) as usize, 0);
        from.read_exact(&mut request)?;
        each(&request)?;
        done += 4 + request.len() as u64;
    }
    Ok(())
}

/// One file of requests: the length of each in four bytes, then the request.
struct Sender {
    out: BufWriter<File>,
    request: Vec<u8>,
    series: usize,
    snappy: snap::raw::Encoder,
}

impl Sender {
    fn new(file: &Path) -> io::Result<Self> {
        let out = BufWriter::with_capacity(1 << 18, File::create(file)?);
        Ok(Self { out, request: Vec::new(), series: 0, snappy: snap::raw::Encoder::new() })
    }

    fn add(&mut self, head: &[u8], value: f64, at: Timestamp) -> io::Result<()> {
        series(&mut self.request, head, value, at);
        self.series += 1;
        if self.series == SERIES_A_REQUEST { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        let request = self.snappy.compress_vec(&self.request)?;
        self.out.write_all(&(request.len() as u32).to_le_bytes())?;
        self.out.write_all(&request)?;
        (self.series, self.request) = (0, Vec::new());
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        if self.series > 0 {
            self.flush()?;
        }
        self.out.into_inner()?.sync_all()
    }
}

/// The labels of a series, as they begin it in each request.
fn head(labels: &Labels) -> Vec<u8> {
    let mut head = Vec::new();
    for (name, value) in labels.iter() {
        let mut label = Vec::new();
        bytes(&mut label, 1, name.as_bytes());
        bytes(&mut label, 2, value.as_bytes());
        bytes(&mut head, 1, &label);
    }
    head
}

fn series(request: &mut Vec<u8>, head: &[u8], value: f64, at: Timestamp) {
    let mut sample = vec![1 << 3 | 1];
    sample.extend(value.to_le_bytes());
    sample.push(2 << 3);
    varint(&mut sample, at.as_millis() as u64);
    request.push(1 << 3 | 2);
    varint(request, (head.len() + 2 + sample.len()) as u64);
    request.extend(head);
    bytes(request, 2, &sample);
}

fn bytes(into: &mut Vec<u8>, field: u8, value: &[u8]) {
    into.push(field << 3 | 2);
    varint(into, value.len() as u64);
    into.extend(value);
}

fn varint(into: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_its_labels_and_its_sample() {
        let mut request = Vec::new();
        series(&mut request, &head(&Labels::metric("up")), 1.0, Timestamp::from_millis(300));
        let label = [b"\x0a\x08__name__".as_slice(), b"\x12\x02up"].concat();
        let sample = [b"\x09".as_slice(), &1.0f64.to_le_bytes(), b"\x10\xac\x02"].concat();
        let expected = [b"\x0a\x1e\x0a\x0e".as_slice(), &label, b"\x12\x0c", &sample].concat();
        assert_eq!(request, expected);
    }

    #[test]
    fn requests_are_full_but_the_last_and_carry_every_sample() {
        let folder = tempfile::tempdir().unwrap();
        let workload = Workload { instances: 3, scrapes: 50, churn: false };
        let (mut requests, mut samples) = (Vec::new(), 0);
        for file in write(workload, 2, folder.path()).unwrap() {
            read(&file, |request| {
                let plain = snap::raw::Decoder::new().decompress_vec(request)?;
                let count = plain.windows(8).filter(|bytes| *bytes == b"__name__").count();
                requests.push(count);
                samples += count;
                Ok(())
            })
            .unwrap();
        }
        assert_eq!(requests, [2000, 2000, 1000, 2000, 500]);
        assert_eq!(samples, workload.samples());
    }
}
