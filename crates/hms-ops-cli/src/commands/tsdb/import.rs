//! `hms-ops tsdb import`: history from OpenMetrics text.
//!
//! A file may be longer than memory, so it is stored piece by piece; each piece becomes a block.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, anyhow, bail};
use hms_ops::collect::exposition::{Event, ExpositionError, Sample as Exposed, openmetrics_line};
use hms_ops::core::labels::{Labels, NAME};
use hms_ops::core::sample::Sample;
use hms_ops::core::time::Timestamp;
use hms_ops::tsdb::Tsdb;

use super::progress::Progress;
use super::table::counted;
use crate::failure::{Misuse, line, say};
use crate::screen::plain;

/// Bytes of memory that a piece takes, about: 5 million samples.
const PIECE_BYTES: usize = 128 << 20;
/// A longer line is refused.
const LINE_BYTES: usize = 1 << 20;
/// Lines between two looks at the clock.
const LINES_BETWEEN: u64 = 4096;

pub(super) fn run(dir: &Path, files: &[PathBuf]) -> Result<()> {
    // All, before the first changes anything.
    let files: Vec<_> = files.iter().map(|path| Source::open(path)).collect::<Result<_>>()?;
    let store = super::open_or_make(dir)?;
    for file in files {
        let name = file.name.clone();
        let Imported { samples, exemplars } = import(&store, file)?;
        super::print(&format!("{name}: {}\n", counted(samples, "sample", "samples")))?;
        if exemplars > 0 {
            let exemplars = counted(exemplars, "exemplar", "exemplars");
            say(&format!("{name}: left out {exemplars}, which history does not have"));
        }
    }
    Ok(store.close()?)
}

/// A file that is read, or standard input.
struct Source {
    name: String,
    /// Bytes, where they are known beforehand.
    length: Option<u64>,
    from: Box<dyn Read>,
}

impl Source {
    fn open(path: &Path) -> Result<Self> {
        if path == Path::new("-") {
            let from = Box::new(io::stdin());
            return Ok(Self { name: "standard input".to_owned(), length: None, from });
        }
        let name = plain(&path.display().to_string());
        let cannot =
            |error| Misuse(line(&Error::from(error).context(format!("cannot read {name}"))));
        let file = File::open(path).map_err(cannot)?;
        let metadata = file.metadata().map_err(cannot)?;
        if metadata.is_dir() {
            return Err(Misuse(format!("{name} is a folder")).into());
        }
        let length = metadata.is_file().then_some(metadata.len());
        Ok(Self { name, length, from: Box::new(file) })
    }
}

/// What was read of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Imported {
    samples: u64,
    exemplars: u64,
}

fn import(store: &Tsdb, source: Source) -> Result<Imported> {
    let Source { name, length, from } = source;
    let mut progress = Progress::new();
    let mut lines = Lines::new(BufReader::with_capacity(1 << 16, from));
    // Up to this line, everything is stored.
    let mut stored = 0;
    let read = read(&mut lines, PIECE_BYTES, |piece, now| {
        match piece {
            Some(piece) => {
                let done = store.import(piece.into_series());
                done.with_context(|| format!("{}: cannot store what is before it", now.line))?;
                stored = now.line;
            }
            None => progress.show(|| {
                let samples = counted(now.samples, "sample", "samples");
                match length {
                    Some(length) => {
                        let percent = now.bytes.saturating_mul(100) / length.max(1);
                        format!("{name}: {} %, {samples}", percent.min(100))
                    }
                    None => format!("{name}: {samples}"),
                }
            }),
        }
        Ok(())
    });
    read.map_err(|error| {
        let place = format!("{name}:{}", line(&error));
        match stored {
            0 => anyhow!("{place}; nothing of the file is stored"),
            stored => anyhow!("{place}; what stands up to line {stored} is stored"),
        }
    })
}

/// How far a file is read.
#[derive(Clone, Copy, Debug)]
struct Now {
    line: u64,
    bytes: u64,
    samples: u64,
}

/// Reads up to `# EOF`. `with` is given each piece that has about `piece_bytes`, and the last; and
/// nothing now and then, to show how far it is. An error begins with the line.
fn read(
    lines: &mut Lines<impl BufRead>,
    piece_bytes: usize,
    mut with: impl FnMut(Option<Piece>, Now) -> Result<()>,
) -> Result<Imported> {
    let mut piece = Piece::default();
    let mut imported = Imported::default();
    let mut ended = false;
    while lines.advance()? {
        let number = lines.number;
        if ended {
            bail!("{number}: text after # EOF");
        }
        match openmetrics_line(lines.text()?) {
            Ok(Some(Event::Sample(sample))) => {
                let Some(at) = sample.timestamp else {
                    bail!("{number}: {} has no timestamp, which history needs", sample.name);
                };
                imported.samples += 1;
                imported.exemplars += u64::from(sample.exemplar.is_some());
                piece.add(&sample, at);
            }
            // History has no types.
            Ok(Some(_)) => {}
            Ok(None) => ended = true,
            Err(ExpositionError { column: Some(column), reason, .. }) => {
                bail!("{number}:{column}: {reason}");
            }
            Err(error) => bail!("{number}: {}", error.reason),
        }
        let now = Now { line: number, bytes: lines.bytes, samples: imported.samples };
        if piece.bytes >= piece_bytes {
            with(Some(std::mem::take(&mut piece)), now)?;
        } else if number.is_multiple_of(LINES_BETWEEN) {
            with(None, now)?;
        }
    }
    let number = lines.number.max(1);
    if !ended {
        bail!("{number}: the text ends without # EOF");
    }
    if piece.bytes > 0 {
        let now = Now { line: number, bytes: lines.bytes, samples: imported.samples };
        with(Some(piece), now)?;
    }
    Ok(imported)
}

/// Lines with their numbers, one at a time.
struct Lines<R> {
    from: R,
    line: Vec<u8>,
    /// Of the last line, from 1.
    number: u64,
    /// All that was read.
    bytes: u64,
}

impl<R: BufRead> Lines<R> {
    fn new(from: R) -> Self {
        Self { from, line: Vec::new(), number: 0, bytes: 0 }
    }

    /// Goes to the next line; `false` after the last. An error begins with the line.
    fn advance(&mut self) -> Result<bool> {
        self.line.clear();
        self.number += 1;
        let mut limited = (&mut self.from).take(LINE_BYTES as u64 + 1);
        let read = limited.read_until(b'\n', &mut self.line);
        let read = read.with_context(|| format!("{}: cannot be read", self.number))?;
        self.bytes += read as u64;
        if read == 0 {
            self.number -= 1;
        } else if self.line.last() == Some(&b'\n') {
            self.line.pop();
        } else if read > LINE_BYTES {
            bail!("{}: the line has more than {LINE_BYTES} bytes", self.number);
        }
        Ok(read > 0)
    }

    /// The line, without its line feed. An error begins with the line.
    fn text(&self) -> Result<&str> {
        str::from_utf8(&self.line).map_err(|error| {
            let byte = self.line[error.valid_up_to()];
            anyhow!("{}: byte {byte:#04x} is not UTF-8", self.number)
        })
    }
}

/// Samples that are stored together.
#[derive(Debug, Default)]
struct Piece {
    /// Series by their text; the same series may have several.
    places: HashMap<String, usize>,
    series: Vec<(Labels, Vec<(i64, f64)>)>,
    /// Of the sample before, whose series the next mostly has, too.
    place: usize,
    text: String,
    /// What it takes, about.
    bytes: usize,
}

impl Piece {
    fn add(&mut self, sample: &Exposed<'_>, at: i64) {
        if self.series.is_empty() || self.text != sample.series {
            self.place = self.place_of(sample);
            self.text.clear();
            self.text.push_str(sample.series);
        }
        self.series[self.place].1.push((at, sample.value));
        // A vector that grows has room for some more.
        self.bytes += size_of::<(i64, f64)>() * 3 / 2;
    }

    fn place_of(&mut self, sample: &Exposed<'_>) -> usize {
        if let Some(place) = self.places.get(sample.series) {
            return *place;
        }
        let name = (NAME, sample.name.into());
        let labels = Labels::from_pairs([name].into_iter().chain(sample.labels.iter()));
        // The text, its copy in the labels, and what holds them.
        self.bytes += 256 + 2 * sample.series.len() + 32 * labels.len();
        self.series.push((labels, Vec::new()));
        self.places.insert(sample.series.to_owned(), self.series.len() - 1);
        self.series.len() - 1
    }

    /// In the order of labels, each series once.
    fn into_series(mut self) -> impl Iterator<Item = (Labels, Vec<Sample>)> {
        // Stable: of two samples at one time, the one that was read first is first.
        self.series.sort_by(|a, b| a.0.cmp(&b.0));
        let mut series = self.series.into_iter().peekable();
        std::iter::from_fn(move || {
            let (labels, mut pairs) = series.next()?;
            while let Some((_, more)) = series.next_if(|(other, _)| *other == labels) {
                pairs.extend(more);
            }
            pairs.sort_by_key(|(at, _)| *at);
            let sample = |(at, value): (i64, f64)| Sample {
                at: Timestamp::from_millis(at),
                value: value.into(),
            };
            Some((labels, pairs.into_iter().map(sample).collect()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pieces of a text, as `series: time=value …`, and how it ended.
    fn pieces(text: &[u8], piece_bytes: usize) -> (Vec<Vec<String>>, Result<Imported, String>) {
        let mut pieces = Vec::new();
        let read = read(&mut Lines::new(text), piece_bytes, |piece, _| {
            let series = piece.into_iter().flat_map(Piece::into_series).map(|(labels, samples)| {
                let samples = samples.iter().map(|sample| {
                    let value = sample.value.as_float().unwrap();
                    format!(" {}={value}", sample.at.as_millis())
                });
                format!("{labels}:{}", samples.collect::<String>())
            });
            pieces.push(series.collect());
            Ok(())
        });
        (pieces, read.map_err(|error| line(&error)))
    }

    fn error(text: &[u8]) -> String {
        pieces(text, usize::MAX).1.unwrap_err()
    }

    #[test]
    fn series_come_in_the_order_of_labels_with_samples_in_the_order_of_time() {
        let text = b"# TYPE up gauge\nup{b=\"1\",a=\"2\"} 1 2\nup 5 1\nup{a=\"2\",b=\"1\"} 3 1.5\n\
                     Up 0 0\nup 4 0.5\nup{c=\"\"} 6 3\n# EOF\n";
        let (pieces, read) = pieces(text, usize::MAX);
        let expected = ["Up: 0=0", "up: 500=4 1000=5 3000=6", "up{a=\"2\",b=\"1\"}: 1500=3 2000=1"];
        assert_eq!(pieces, [expected]);
        assert_eq!(read, Ok(Imported { samples: 6, exemplars: 0 }));
    }

    #[test]
    fn a_text_that_is_too_long_for_memory_comes_in_pieces() {
        let lines: String = (0..10).map(|i| format!("up {i} {i}\n")).collect();
        let (pieces, read) = pieces(format!("{lines}# EOF").as_bytes(), 350);
        assert!(pieces.len() > 2 && read.is_ok());
        let samples: Vec<_> =
            pieces.iter().flatten().map(|series| series.strip_prefix("up:").unwrap()).collect();
        let expected: String = (0..10).map(|i| format!(" {}={i}", i * 1000)).collect();
        assert_eq!(samples.concat(), expected);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, message) in [
            (&b"up 1 1\nup one 2\n# EOF\n"[..], "2:4: value \"one\" is not a number"),
            (b"up 1\n# EOF\n", "1: up has no timestamp, which history needs"),
            (b"up 1 1\n", "1: the text ends without # EOF"),
            (b"", "1: the text ends without # EOF"),
            (b"# EOF\n\n", "2: text after # EOF"),
            (b"up 1 1\n\xff\n# EOF\n", "2: byte 0xff is not UTF-8"),
            (b"up 1 1\n\n# EOF\n", "2:1: expected a metric name, the line ends"),
        ] {
            assert_eq!(error(text), message);
        }
        let long = error("x".repeat(LINE_BYTES + 1).as_bytes());
        assert_eq!(long, "1: the line has more than 1048576 bytes");
    }

    #[test]
    fn exemplars_are_counted_and_left_out() {
        let text = b"a_total 1 1 # {trace_id=\"x\"} 0.5\na_total 2 2\n# EOF\n";
        let (_, read) = pieces(text, usize::MAX);
        assert_eq!(read, Ok(Imported { samples: 2, exemplars: 1 }));
    }
}
