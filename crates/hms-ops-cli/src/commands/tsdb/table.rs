//! Figures and tables for people.

use crate::screen::{Paint, plain};

/// The longest text in a table, in characters.
const LONGEST: usize = 72;

/// `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 sample`, `1,234 samples`.
pub(super) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(number), if number == 1 { one } else { many })
}

/// `987 bytes`, `1.2 MiB`.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return counted(bytes, "byte", "bytes");
    }
    #[allow(clippy::cast_precision_loss, reason = "one digit behind the point is shown")]
    let mut size = bytes as f64 / 1024.0;
    let mut unit = 0;
    // What would be shown as 1024.0 belongs to the next unit.
    while size >= 1023.95 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}

/// Rows below a line of headings: numbers stand right, and a text comes last, shortened if need be.
pub(super) fn table<const N: usize>(
    headings: [&str; N],
    what: &str,
    rows: impl IntoIterator<Item = ([u64; N], String)>,
    paint: Paint,
) -> String {
    let rows: Vec<_> =
        rows.into_iter().map(|(numbers, text)| (numbers.map(grouped), text)).collect();
    let mut widths = headings.map(str::len);
    for (numbers, _) in &rows {
        for (width, number) in widths.iter_mut().zip(numbers) {
            *width = number.len().max(*width);
        }
    }
    let line = |cells: [&str; N], text: &str| {
        let cells = cells.iter().zip(widths).map(|(cell, width)| format!("  {cell:>width$}"));
        format!("{}  {text}", cells.collect::<String>())
    };
    let mut table = format!("{}\n", paint.bold(&line(headings, what)));
    for (numbers, text) in &rows {
        let cells = numbers.each_ref().map(String::as_str);
        table += &format!("{}\n", line(cells, &short(text)));
    }
    table
}

/// Text from elsewhere, short enough for a table.
fn short(text: &str) -> String {
    let text = plain(text);
    match text.char_indices().nth(LONGEST) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_stand_in_groups_of_three() {
        for (number, text) in
            [(0, "0"), (999, "999"), (1000, "1,000"), (u64::MAX, "18,446,744,073,709,551,615")]
        {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn a_size_has_the_unit_that_keeps_it_short() {
        for (size, text) in [
            (1, "1 byte"),
            (1023, "1,023 bytes"),
            (1 << 10, "1.0 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (1 << 50, "1024.0 TiB"),
        ] {
            assert_eq!(bytes(size), text);
        }
    }

    #[test]
    fn numbers_stand_right_and_text_is_plain_and_short() {
        let rows = [([1, 1_000_000], "up\x1b[2J".to_owned()), ([20, 3], "é".repeat(100))];
        let expected = format!(
            "  series    samples  name\n       1  1,000,000  up\u{fffd}[2J\n      20          3  {}…\n",
            "é".repeat(LONGEST)
        );
        assert_eq!(table(["series", "samples"], "name", rows, Paint::NONE), expected);
    }
}
