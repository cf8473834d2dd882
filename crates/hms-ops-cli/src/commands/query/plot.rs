//! Lines drawn with the dots of Braille: two across and four down in each character.

use super::show::time;
use crate::screen::Paint;

/// Rows of a plot that stands alone, and of one among others.
const ROWS: (usize, usize) = (10, 4);
/// Characters for the numbers at the axis.
const AXIS: usize = 10;

/// A series of points; those that are not finite are left out.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// A plot for each line, with its name above it, and the time below the last. All have one scale,
/// so that they can be compared.
pub(super) fn plots(lines: &[Line], width: usize, paint: Paint) -> String {
    let finite = || lines.iter().flat_map(|line| &line.points).filter(|(_, v)| v.is_finite());
    let times = Scale::of(lines.iter().flat_map(|line| &line.points).map(|(at, _)| *at));
    let values = Scale::of(finite().map(|(_, value)| *value));
    let (Some(times), Some(values)) = (times, values) else {
        return "no value is a number that could be drawn\n".to_owned();
    };
    let columns = width.saturating_sub(AXIS + 3).clamp(10, 500);
    let rows = if lines.len() == 1 { ROWS.0 } else { ROWS.1 };
    let mut text = String::new();
    for line in lines {
        text += &format!("{}{}\n", paint.bold(&line.name), paint.dim(&last(line)));
        let canvas = Canvas::draw(&line.points, times, values, (columns, rows));
        for (row, dots) in canvas.rows().enumerate() {
            let label = match row {
                0 => short(values.max),
                _ if row + 1 == rows => short(values.min),
                _ => String::new(),
            };
            text += &format!("{label:>AXIS$} ┤{}\n", paint.cyan(dots.trim_end_matches('\u{2800}')));
        }
    }
    let (start, end) = (time(times.min), time(times.max));
    let gap = columns.saturating_sub(start.len() + end.len()).max(2);
    text += &format!("{:AXIS$} └{}\n", "", "─".repeat(columns));
    text += &format!("{:AXIS$}  {}\n", "", paint.dim(&format!("{start}{:gap$}{end}", "")));
    text
}

/// What a line comes to: ` = 17.5`.
fn last(line: &Line) -> String {
    line.points.last().map(|(_, value)| format!(" = {}", short(*value))).unwrap_or_default()
}

/// From where to where an axis goes.
#[derive(Clone, Copy, Debug)]
struct Scale {
    min: f64,
    max: f64,
}

impl Scale {
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let grow = |scale: Option<Self>, v: f64| {
            let Self { min, max } = scale.unwrap_or(Self { min: v, max: v });
            Some(Self { min: min.min(v), max: max.max(v) })
        };
        values.fold(None, grow)
    }

    /// Which of `dots` a value falls on; in the middle where all are the same.
    fn place(self, value: f64, dots: usize) -> usize {
        // Halves, because the length of the whole may be more than a number can be.
        let length = self.max / 2.0 - self.min / 2.0;
        let part = if length > 0.0 { (value / 2.0 - self.min / 2.0) / length } else { 0.5 };
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "it is between 0 and the number of dots"
        )]
        let place = (part * (dots - 1) as f64).round() as usize;
        place.min(dots - 1)
    }
}

/// Dots, by row and column of characters.
struct Canvas {
    columns: usize,
    cells: Vec<u8>,
}

impl Canvas {
    fn draw(
        points: &[(f64, f64)],
        times: Scale,
        values: Scale,
        (columns, rows): (usize, usize),
    ) -> Self {
        let mut canvas = Self { columns, cells: vec![0; columns * rows] };
        let gaps = points.windows(2).map(|pair| pair[1].0 - pair[0].0);
        let step = gaps.fold(f64::INFINITY, f64::min);
        let mut before: Option<(f64, usize, usize)> = None;
        for &(at, value) in points.iter().filter(|(_, value)| value.is_finite()) {
            let x = times.place(at, columns * 2);
            let y = rows * 4 - 1 - values.place(value, rows * 4);
            match before {
                // A step is joined; a gap stays one.
                Some((earlier, left, from)) if at - earlier <= step * 1.5 => {
                    canvas.join((left, from), (x, y));
                }
                _ => canvas.dot(x, y),
            }
            before = Some((at, x, y));
        }
        canvas
    }

    /// Dots from one place to another to its right, without a hole.
    fn join(&mut self, (left, from): (usize, usize), (right, to): (usize, usize)) {
        let (mut y, length) = (from, right.saturating_sub(left).max(1));
        for part in 1..=length {
            let next = (from * (length - part) + to * part + length / 2) / length;
            (y.min(next)..=y.max(next)).for_each(|y| self.dot((left + part).min(right), y));
            y = next;
        }
    }

    fn dot(&mut self, x: usize, y: usize) {
        // Unicode 16, "Braille Patterns": which bit is which dot.
        const BITS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
        self.cells[y / 4 * self.columns + x / 2] |= BITS[y % 4][x % 2];
    }

    fn rows(&self) -> impl Iterator<Item = String> {
        let character = |cell: &u8| char::from_u32(0x2800 + u32::from(*cell)).unwrap_or(' ');
        self.cells.chunks(self.columns).map(move |row| row.iter().map(character).collect())
    }
}

/// A number in at most ten characters, with four digits that count.
fn short(v: f64) -> String {
    let size = v.abs();
    if v == 0.0 || !v.is_finite() {
        return format!("{v}").replace("inf", "Inf");
    }
    if !(1e-3..1e6).contains(&size) {
        return format!("{v:.2e}");
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 6")]
    let decimals = (3.0 - size.log10().floor()).clamp(0.0, 6.0) as usize;
    let text = format!("{v:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_from_its_smallest_value_to_its_largest() {
        let points = (0..=40).map(|i| (f64::from(i) * 60.0, f64::from(i * i))).collect();
        let line = Line { name: "square".to_owned(), points };
        let expected = "\
square = 1600
      1600 ┤⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⡼
           ┤⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⢀⡼⠁
           ┤⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⢀⡞
           ┤⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⢠⠏
           ┤⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⣰⠋
           ┤⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⢀⡞⠁
           ┤⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⢀⡴⠋
           ┤⠀⠀⠀⠀⠀⠀⠀⠀⠀⣠⠏
           ┤⠀⠀⠀⠀⠀⠀⣀⡤⠞⠁
         0 ┤⣀⣀⣠⠤⠖⠚⠁
           └────────────────────
            1970-01-01T00:00:00Z  1970-01-01T00:40:00Z
";
        let text = plots(&[line], 33, Paint::NONE);
        assert_eq!(text, expected);
    }

    #[test]
    fn several_lines_have_one_scale_and_a_gap_stays_a_gap() {
        let gap = (0..=40).filter(|i| !(10..30).contains(i)).map(|i| (f64::from(i), 5.0)).collect();
        let low = [(0.0, 0.0), (40.0, f64::NAN)].to_vec();
        let lines =
            [Line { name: "a".into(), points: gap }, Line { name: "b".into(), points: low }];
        let expected = "\
a = 5
         5 ┤⠉⠉⠉⠉⠉⠀⠀⠀⠀⠀⠀⠀⠀⠀⠈⠉⠉⠉⠉⠉
           ┤
           ┤
         0 ┤
b = NaN
         5 ┤
           ┤
           ┤
         0 ┤⡀
           └────────────────────
            1970-01-01T00:00:00Z  1970-01-01T00:00:40Z
";
        assert_eq!(plots(&lines, 33, Paint::NONE), expected);
    }

    #[test]
    fn a_few_points_are_joined_across_the_whole_width() {
        let points = [(0.0, 0.0), (10.0, 3.0), (20.0, 0.0)].to_vec();
        let text = plots(&[Line { name: "few".into(), points }], 23, Paint::NONE);
        let filled = text.chars().filter(|c| ('\u{2801}'..='\u{28ff}').contains(c)).count();
        assert!(filled >= 20, "{text}");
    }

    #[test]
    fn what_cannot_be_drawn_is_said() {
        let line = Line { name: "x".into(), points: vec![(0.0, f64::NAN), (1.0, f64::INFINITY)] };
        assert_eq!(plots(&[line], 80, Paint::NONE), "no value is a number that could be drawn\n");
    }

    #[test]
    fn numbers_at_the_axis_are_short() {
        for (v, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (-12.3456, "-12.35"),
            (999_999.9, "1000000"),
            (1_234_567.0, "1.23e6"),
            (0.000_123, "1.23e-4"),
            (0.001_234_56, "0.001235"),
            (f64::MIN, "-1.80e308"),
        ] {
            assert_eq!(short(v), text);
            assert!(text.len() <= AXIS);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_values_make_it_panic(
            points in proptest::collection::vec(proptest::prelude::any::<(i32, u64)>(), 0..50),
            width in 0_usize..200,
        ) {
            let points = points.iter().map(|(at, bits)| (f64::from(*at), f64::from_bits(*bits)));
            let line = Line { name: String::new(), points: points.collect() };
            let _ = plots(&[line], width, Paint::NONE);
        }
    }
}
