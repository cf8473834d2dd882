//! What a scraped target sends as OpenMetrics.
#![no_main]

use hms_ops_collect::exposition::{Event, Exposition, Format, Pairs};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let Ok(mut events) = Exposition::new(body, Format::OpenMetrics) else { return };
    let mut line = 0;
    while let Some(Ok(event)) = events.next() {
        assert_eq!(events.line(), line + 1, "every line is an event");
        line = events.line();
        match event {
            Event::Sample(sample) => {
                assert!(sample.series.starts_with(sample.name));
                read(sample.labels);
                sample.exemplar.iter().for_each(|exemplar| read(exemplar.labels));
            }
            Event::Help { text, .. } => drop(text.decode()),
            Event::Type { .. } | Event::Unit { .. } => {}
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
