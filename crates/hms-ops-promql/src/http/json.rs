//! JSON as Prometheus writes it, straight into bytes.
//!
//! Source: `prometheus/prometheus` 3.x, `web/api/v1/json_codec.go` and `util/jsonutil`; numbers
//! follow Go's `strconv.AppendFloat` with the shortest digits that read back as the same number.

use hms_ops_core::labels::Labels;
use hms_ops_core::time::Timestamp;

/// Writes a text in quotes.
pub(crate) fn text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|&b| b < 0x20 || b == b'"' || b == b'\\') {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', b]),
            b => {
                let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(b >> 4), digit(b & 15)]);
            }
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Writes a label set as an object, sorted by name.
pub(crate) fn labels(out: &mut Vec<u8>, labels: &Labels) {
    out.push(b'{');
    for (place, (name, value)) in labels.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        text(out, name);
        out.push(b':');
        text(out, value);
    }
    out.push(b'}');
}

/// Writes a list; `write` does one item of it.
pub(crate) fn list<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, T),
) {
    out.push(b'[');
    for (place, item) in items.into_iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}

/// Writes seconds with three digits behind the point, or none.
pub(crate) fn timestamp(out: &mut Vec<u8>, at: Timestamp) {
    let millis = at.as_millis();
    if millis < 0 {
        out.push(b'-');
    }
    let millis = millis.unsigned_abs();
    out.extend_from_slice(itoa::Buffer::new().format(millis / 1000).as_bytes());
    let digit = |of: u64| b"0123456789"[(millis / of % 10) as usize];
    if !millis.is_multiple_of(1000) {
        out.extend_from_slice(&[b'.', digit(100), digit(10), digit(1)]);
    }
}

/// Writes seconds as Go writes any number: zeros at the end are left out. Scalars and texts have
/// their instant in this form.
pub(crate) fn plain_timestamp(out: &mut Vec<u8>, at: Timestamp) {
    let start = out.len();
    timestamp(out, at);
    if out[start..].contains(&b'.') {
        while out.ends_with(b"0") {
            out.pop();
        }
    }
}

/// Writes a number: with an exponent below 1e-6 and from 1e21 on.
pub(crate) fn number(out: &mut Vec<u8>, v: f64) {
    // Counts, and most gauges. A whole number up to 2^53 has its digits as an integer.
    #[allow(clippy::cast_possible_truncation, reason = "the cast saturates, and is checked")]
    let whole = v as i64;
    #[allow(clippy::cast_precision_loss, reason = "a loss makes the comparison fail")]
    if whole as f64 == v && whole.unsigned_abs() < 1 << 53 && (whole != 0 || v.is_sign_positive()) {
        out.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes());
        return;
    }
    if thousandths(out, v) {
        return;
    }
    let huge_or_tiny = !(1e-6..1e21).contains(&v.abs()) && v != 0.0;
    if v.is_finite() {
        digits(out, v, huge_or_tiny);
    } else {
        not_finite(out, v);
    }
}

/// Writes a number that has up to three digits behind the point and fifteen in all, as most
/// measurements do; `false` if it has more.
///
/// A double is never nearest to two texts of fifteen digits. So the one that is found here, by a
/// division that rounds to the nearest, is the shortest.
fn thousandths(out: &mut Vec<u8>, v: f64) -> bool {
    let all = (v * 1000.0).round();
    if v == 0.0 || all.abs() >= 1e15 || all / 1000.0 != v {
        return false;
    }
    if v < 0.0 {
        out.push(b'-');
    }
    #[allow(clippy::cast_possible_truncation, reason = "it is a whole number that fits")]
    let all = (all as i64).unsigned_abs();
    out.extend_from_slice(itoa::Buffer::new().format(all / 1000).as_bytes());
    let digit = |of: u64| b'0' + (all / of % 10) as u8;
    let behind = [b'.', digit(100), digit(10), digit(1)];
    let zeros = behind.iter().rev().take_while(|&&digit| digit == b'0').count();
    // Without any digit there is no point either.
    let kept = if zeros == 3 { 0 } else { 4 - zeros };
    out.extend_from_slice(&behind[..kept]);
    true
}

/// Writes a number as Prometheus hands them over: in quotes, because JSON has no infinity.
pub(crate) fn quoted_number(out: &mut Vec<u8>, v: f64) {
    out.push(b'"');
    number(out, v);
    out.push(b'"');
}

/// Writes a number without an exponent, however long it gets.
pub(crate) fn plain_number(out: &mut Vec<u8>, v: f64) {
    if v.is_finite() { digits(out, v, false) } else { not_finite(out, v) }
}

fn not_finite(out: &mut Vec<u8>, v: f64) {
    out.extend_from_slice(match v {
        f64::INFINITY => b"+Inf",
        f64::NEG_INFINITY => b"-Inf",
        _ => b"NaN",
    });
}

/// Writes the shortest digits, with an exponent of at least two digits or none.
fn digits(out: &mut Vec<u8>, v: f64, exponent: bool) {
    let mut buffer = zmij::Buffer::new();
    let shortest = buffer.format_finite(v);
    let (mantissa, power) = match shortest.split_once('e') {
        None if exponent => (shortest, 0),
        None => {
            out.extend_from_slice(shortest.strip_suffix(".0").unwrap_or(shortest).as_bytes());
            return;
        }
        Some((mantissa, power)) => {
            (mantissa, power.parse::<i32>().expect("an exponent is a whole number"))
        }
    };
    // The value is 0.DIGITS times ten to the power of `point`.
    let unsigned = mantissa.trim_start_matches('-');
    let (before, after) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let all: Vec<u8> = before.bytes().chain(after.bytes()).collect();
    let zeros = all.iter().take_while(|&&b| b == b'0').count();
    let end = all.len() - all.iter().rev().take_while(|&&b| b == b'0').count();
    let digits = &all[zeros..end];
    let point = power + before.len() as i32 - zeros as i32;
    if v < 0.0 {
        out.push(b'-');
    }
    if exponent {
        out.push(digits[0]);
        if digits.len() > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        let power = point - 1;
        out.extend_from_slice(if power < 0 { b"e-" } else { b"e+" });
        if power.abs() < 10 {
            out.push(b'0');
        }
        out.extend_from_slice(itoa::Buffer::new().format(power.unsigned_abs()).as_bytes());
    } else if point <= 0 {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + point.unsigned_abs() as usize, b'0');
        out.extend_from_slice(digits);
    } else {
        // Without an exponent, a fraction was written above.
        out.extend_from_slice(digits);
        out.resize(out.len() + (point as usize).saturating_sub(digits.len()), b'0');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    /// What Go writes, by way of what Rust prints.
    fn slow(v: f64, exponent: bool) -> String {
        if !v.is_finite() {
            return if v.is_nan() {
                "NaN"
            } else if v > 0.0 {
                "+Inf"
            } else {
                "-Inf"
            }
            .to_owned();
        }
        let text = format!("{:e}", v.abs());
        let (mantissa, power) = text.split_once('e').unwrap();
        let (mut digits, power): (_, i32) = (mantissa.replace('.', ""), power.parse().unwrap());
        // Half-way between two shortest texts Rust goes away from zero, and Go to the even one.
        let exact = format!("{:.770e}", v.abs()).replace('.', "");
        let rest = exact[digits.len()..].split('e').next().unwrap().trim_end_matches('0');
        let before = exact.as_bytes()[digits.len() - 1];
        if rest == "5" && before.is_multiple_of(2) {
            digits = exact[..digits.len()].to_owned();
        }
        let sign = if v.is_sign_negative() { "-" } else { "" };
        if exponent {
            let (first, rest) = digits.split_at(1);
            let point = if rest.is_empty() { "" } else { "." };
            let e = if power < 0 { '-' } else { '+' };
            return format!("{sign}{first}{point}{rest}e{e}{:02}", power.abs());
        }
        let before = usize::try_from(power + 1).unwrap_or(0);
        let zeros = "0".repeat(usize::try_from(-power - 1).unwrap_or(0));
        if before == 0 {
            return format!("{sign}0.{zeros}{digits}");
        }
        let digits = format!("{digits:0<before$}");
        let (whole, fraction) = digits.split_at(before);
        format!("{sign}{whole}{}{fraction}", if fraction.is_empty() { "" } else { "." })
    }

    /// Whether Go writes an exponent.
    fn exponent(v: f64) -> bool {
        v != 0.0 && !(1e-6..1e21).contains(&v.abs())
    }

    #[test]
    fn numbers_are_short_and_have_an_exponent_only_where_go_has_one() {
        for (v, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-17.25, "-17.25"),
            (0.1 + 0.2, "0.30000000000000004"),
            // Half-way between two shortest texts it is the even one.
            (5_700_943_979_406_970.0 / 8.0, "712617997425871.2"),
            (5_700_943_979_406_974.0 / 8.0, "712617997425871.8"),
            (1e-6, "0.000001"),
            (9.99e-7, "9.99e-07"),
            (1.5e-5, "0.000015"),
            (123_456_789_012_345_680.0, "123456789012345680"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (-1.25e300, "-1.25e+300"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (9_007_199_254_740_993.0, "9007199254740992"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(written(|out| number(out, v)), text);
        }
    }

    #[test]
    fn a_plain_number_has_no_exponent_at_all() {
        assert_eq!(written(|out| plain_number(out, 1.5e22)), "15000000000000000000000");
        assert_eq!(written(|out| plain_number(out, -2.5e-9)), "-0.0000000025");
        assert_eq!(written(|out| plain_number(out, 5e-324)).len(), 326);
    }

    #[test]
    fn an_instant_has_three_digits_behind_the_point_or_none() {
        for (millis, text, plain) in [
            (0, "0", "0"),
            (1_700_000_000_000, "1700000000", "1700000000"),
            (1_700_000_000_100, "1700000000.100", "1700000000.1"),
            (-1, "-0.001", "-0.001"),
            (-61_020, "-61.020", "-61.02"),
            (i64::MIN, "-9223372036854775.808", "-9223372036854775.808"),
        ] {
            let at = Timestamp::from_millis(millis);
            assert_eq!(written(|out| timestamp(out, at)), text);
            assert_eq!(written(|out| plain_timestamp(out, at)), plain);
        }
    }

    #[test]
    fn hostile_text_stays_between_its_quotes() {
        let hostile = "a\"b\\c\n\r\t\u{0}\u{1f}é\u{2028}</script>";
        let json = written(|out| text(out, hostile));
        assert_eq!(json, "\"a\\\"b\\\\c\\n\\r\\t\\u0000\\u001fé\u{2028}</script>\"");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), hostile);
    }

    proptest::proptest! {
        #[test]
        fn every_number_is_written_as_go_writes_it(bits: u64) {
            let v = f64::from_bits(bits);
            let fast = written(|out| number(out, v));
            proptest::prop_assert_eq!(&fast, &slow(v, exponent(v)));
            proptest::prop_assert!(v.is_nan() || fast.parse::<f64>().unwrap() == v);
            proptest::prop_assert_eq!(written(|out| plain_number(out, v)),
                slow(v, false));
        }

        #[test]
        fn numbers_of_usual_size_too(whole: i32, thousandths in 0..1_000_000_000_u32, power in -12..25) {
            for v in [f64::from(whole), f64::from(whole) / 1e3, f64::from(thousandths) / 1e7,
                f64::from(whole) * 10_f64.powi(power)] {
                proptest::prop_assert_eq!(written(|out| number(out, v)), slow(v, exponent(v)));
            }
        }

        #[test]
        fn every_text_reads_back(of in ".{0,40}") {
            let json = written(|out| text(out, &of));
            proptest::prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), of);
        }
    }
}
