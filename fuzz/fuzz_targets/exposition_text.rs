//! What a scraped target sends as Prometheus text.
#![no_main]

use hms_ops_collect::exposition::{Event, Exposition, Format, Pairs};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let Ok(mut events) = Exposition::new(body, Format::Text) else { return };
    let mut line = 0;
    while let Some(Ok(event)) = events.next() {
        assert!(events.line() > line, "one line, two events");
        line = events.line();
        match event {
            Event::Sample(sample) => {
                assert!(sample.series.starts_with(sample.name));
                assert!(sample.exemplar.is_none());
                read(sample.labels);
            }
            Event::Help { text, .. } => drop(text.decode()),
            Event::Type { .. } => {}
            Event::Unit { unit, .. } => panic!("text has no unit, this has {unit:?}"),
        }
    }
    assert!(events.next().is_none(), "after an error there is no more");
});

/// No name occurs twice.
fn read(labels: Pairs<'_>) {
    let mut names: Vec<_> = labels.iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
}
