//! What a request asks for: fields of its form and of its URL, and how they are read.
//!
//! Source: `prometheus/prometheus` 3.x, `web/api/v1/api.go`; the messages are its, because people
//! and programs know them.

use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{FromRequest, Request};
use axum::http::Method;
use axum::http::header::CONTENT_TYPE;
use hms_ops_core::matcher::Matcher;
use hms_ops_core::time::{TimeRange, Timestamp};

use super::Failure;

/// The longest form that is read, in bytes.
pub(crate) const MAX_FORM_BYTES: usize = 1 << 20;

/// What a request asks for: the fields of its form, up to 1 MiB, and then those of its URL.
#[derive(Debug, Default)]
pub struct Form {
    fields: Vec<(String, String)>,
}

impl<S: Sync> FromRequest<S> for Form {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let url = request.uri().query().unwrap_or_default().to_owned();
        let mut form = Self::default();
        let content_type = request.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
        let content_type = content_type.and_then(|v| v.split(';').next()).unwrap_or_default();
        let is_form = content_type.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded");
        if request.method() == Method::POST && is_form {
            let body = to_bytes(request.into_body(), MAX_FORM_BYTES).await;
            let body = body.map_err(|_| {
                let limit = format!("it breaks off, or has more than {MAX_FORM_BYTES} bytes");
                Failure::bad_data(format!("error parsing form values: {limit}"))
            })?;
            form.add(&body)?;
        }
        form.add(url.as_bytes())?;
        Ok(form)
    }
}

impl Form {
    /// Adds fields of `application/x-www-form-urlencoded`.
    fn add(&mut self, encoded: &[u8]) -> Result<(), Failure> {
        let malformed =
            |why: String| Failure::bad_data(format!("error parsing form values: {why}"));
        for field in encoded.split(|&b| b == b'&').filter(|field| !field.is_empty()) {
            let equals = field.iter().position(|&b| b == b'=').unwrap_or(field.len());
            let (name, value) = (&field[..equals], field.get(equals + 1..).unwrap_or_default());
            let name = decoded(name).map_err(malformed)?;
            let value = decoded(value).map_err(malformed)?;
            self.fields.push((name, value));
        }
        Ok(())
    }

    /// The first value of a field; one that is absent has the empty value.
    pub fn get(&self, name: &str) -> &str {
        let found = self.fields.iter().find(|(n, _)| n == name);
        found.map_or("", |(_, value)| value)
    }

    /// All values of a field.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// An instant that must be there.
    pub(crate) fn time(&self, name: &str) -> Result<Timestamp, Failure> {
        time(self.get(name)).map_err(|why| Failure::invalid(name, why))
    }

    /// An instant that may be left out.
    pub(crate) fn time_or(&self, name: &str, default: Timestamp) -> Result<Timestamp, Failure> {
        match self.get(name) {
            "" => Ok(default),
            text => time(text).map_err(|why| {
                Failure::invalid(name, format!("Invalid time value for '{name}': {why}"))
            }),
        }
    }

    /// `start` and `end`; all of time where they are left out.
    pub(crate) fn range(&self) -> Result<TimeRange, Failure> {
        let start = self.time_or("start", Timestamp::MIN)?;
        Ok(TimeRange::new(start, self.time_or("end", Timestamp::MAX)?))
    }

    /// `limit`; 0 and nothing are none.
    pub(crate) fn limit(&self) -> Result<usize, Failure> {
        let text = self.get("limit");
        match whole(text) {
            _ if text.is_empty() => Ok(usize::MAX),
            Ok(limit) if limit < 0 => {
                Err(Failure::invalid("limit", "limit must be non-negative".to_owned()))
            }
            Ok(0) => Ok(usize::MAX),
            Ok(limit) => Ok(usize::try_from(limit).unwrap_or(usize::MAX)),
            Err(why) => Err(Failure::invalid("limit", why)),
        }
    }

    /// A number of things; `None` where it is left out or negative.
    pub(crate) fn count(&self, name: &str) -> Result<Option<usize>, Failure> {
        match self.get(name) {
            "" => Ok(None),
            text => match whole(text) {
                Ok(count) => Ok(usize::try_from(count).ok()),
                Err(_) => Err(Failure::bad_data(format!("{name} must be a number"))),
            },
        }
    }

    /// The selectors of `match[]`.
    pub(crate) fn selectors(&self) -> Result<Vec<Vec<Matcher>>, String> {
        self.all("match[]").map(super::selector).collect()
    }
}

/// A piece of a form: `+` is a space, `%41` is an A.
fn decoded(piece: &[u8]) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(piece.len());
    let mut rest = piece;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        bytes.push(match first {
            b'+' => b' ',
            b'%' => {
                let hex = |at: usize| rest.get(at).and_then(|&b| char::from(b).to_digit(16));
                let (Some(high), Some(low)) = (hex(0), hex(1)) else {
                    let escape = &rest[..rest.len().min(2)];
                    let escape = String::from_utf8_lossy(escape);
                    return Err(format!("invalid URL escape \"%{}\"", escape.escape_default()));
                };
                rest = &rest[2..];
                (high * 16 + low) as u8
            }
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_| "a field is not UTF-8".to_owned())
}

/// As Go's `strconv.Atoi`.
fn whole(text: &str) -> Result<i64, String> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let all = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    let why = if all { "value out of range" } else { "invalid syntax" };
    text.parse().map_err(|_| format!("strconv.Atoi: parsing {text:?}: {why}"))
}

/// An instant: seconds since the epoch, rounded to milliseconds, or RFC 3339.
fn time(text: &str) -> Result<Timestamp, String> {
    // What Go's client sends for the beginning and the end of all time; the years have six digits.
    match text {
        "-292273086-05-16T16:47:06Z" => return Ok(Timestamp::MIN),
        "292277025-08-18T07:12:54.999999999Z" => return Ok(Timestamp::MAX),
        _ => {}
    }
    seconds(text)
        .or_else(|| text.parse().ok())
        .ok_or_else(|| format!("cannot parse {text:?} to a valid timestamp"))
}

fn seconds(text: &str) -> Option<Timestamp> {
    let seconds: f64 = text.parse().ok()?;
    let millis = (seconds * 1000.0).round();
    // Neither infinity nor NaN is in there.
    let fits = (-(2_f64.powi(63))..2_f64.powi(63)).contains(&millis);
    #[allow(clippy::cast_possible_truncation, reason = "it is a whole number that fits")]
    fits.then(|| Timestamp::from_millis(millis as i64))
}

/// A length of time, in milliseconds and possibly negative: seconds, or `1h30m`.
pub(crate) fn duration(text: &str) -> Result<i64, String> {
    let cannot = || format!("cannot parse {text:?} to a valid duration");
    if let Ok(seconds) = text.parse::<f64>() {
        // Go counts nanoseconds in 63 bits.
        if seconds.is_nan() || seconds.abs() * 1e9 > 2_f64.powi(63) {
            return Err(format!("{}. It overflows int64", cannot()));
        }
        #[allow(clippy::cast_possible_truncation, reason = "it is checked above")]
        return Ok((seconds * 1000.0).trunc() as i64);
    }
    units(text).ok_or_else(cannot)
}

/// `1y2w3d4h5m6s7ms`: each unit once, the longest first.
fn units(text: &str) -> Option<i64> {
    const UNITS: [(&str, i64); 7] = [
        ("y", 365 * 86_400_000),
        ("w", 7 * 86_400_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
        ("ms", 1),
    ];
    let (mut rest, mut shorter, mut millis) = (text, &UNITS[..], 0_i64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: i64 = rest[..digits].parse().ok()?;
        let end = rest[digits..].find(|c: char| c.is_ascii_digit());
        let (unit, after) = rest[digits..].split_at(end.unwrap_or(rest.len() - digits));
        let place = shorter.iter().position(|(name, _)| *name == unit)?;
        millis = millis.checked_add(number.checked_mul(shorter[place].1)?)?;
        (rest, shorter) = (after, &shorter[place + 1..]);
    }
    let fits = !text.is_empty() && millis <= i64::MAX / 1_000_000;
    fits.then_some(millis)
}

/// A length of time that is left out, or positive.
pub(crate) fn positive(millis: i64) -> Option<Duration> {
    u64::try_from(millis).ok().filter(|&millis| millis > 0).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Result<Form, Failure> {
        let mut form = Form::default();
        form.add(text.as_bytes()).map(|()| form)
    }

    #[test]
    fn fields_are_decoded_and_may_come_again() {
        let form = form("query=a%2Bb+c&match[]=x&match%5B%5D=%C3%A9&empty&=x&&q=1=2").unwrap();
        assert_eq!(form.get("query"), "a+b c");
        assert_eq!(form.all("match[]").collect::<Vec<_>>(), ["x", "é"]);
        assert_eq!((form.get("empty"), form.get("none"), form.get("q")), ("", "", "1=2"));
    }

    #[test]
    fn a_broken_form_is_refused() {
        for (text, why) in [
            ("query=%zz", "invalid URL escape \"%zz\""),
            ("query=%4", "invalid URL escape \"%4\""),
            ("query=%", "invalid URL escape \"%\""),
            ("query=%ff", "a field is not UTF-8"),
        ] {
            let expected = Failure::bad_data(format!("error parsing form values: {why}"));
            assert_eq!(form(text).unwrap_err(), expected);
        }
    }

    #[test]
    fn an_instant_is_seconds_or_rfc_3339() {
        for (text, millis) in [
            ("0", 0),
            ("1700000000.1234", 1_700_000_000_123),
            ("1e9", 1_000_000_000_000),
            ("-1.5", -1500),
            ("2023-11-14T22:13:20.5Z", 1_700_000_000_500),
            ("2023-11-14T23:13:20+01:00", 1_700_000_000_000),
            ("-292273086-05-16T16:47:06Z", i64::MIN),
            ("292277025-08-18T07:12:54.999999999Z", i64::MAX),
        ] {
            assert_eq!(time(text), Ok(Timestamp::from_millis(millis)), "{text}");
        }
        // Go's clients send the ends of all time in this form, too.
        assert!(time("-9223309901257974").is_ok() && time("9223309901257973.5").is_ok());
        for text in ["", "now", "NaN", "inf", "1e300", "-1e19", "2023-11-14", "0x10"] {
            let why = format!("cannot parse {text:?} to a valid timestamp");
            assert_eq!(time(text), Err(why));
        }
    }

    #[test]
    fn a_length_of_time_is_seconds_or_has_units() {
        for (text, millis) in [
            ("15", 15_000),
            ("0.25", 250),
            ("-3", -3000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1y1w1d1h1m1s1ms", 32_230_861_001),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Ok(millis), "{text}");
        }
        for text in ["", "m", "5 m", "1m1h", "1s1s", "-5m", "1.5h", "5µs", "300y", "99999999999w"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!(
            duration("1e300"),
            Err("cannot parse \"1e300\" to a valid duration. It overflows int64".to_owned())
        );
    }

    #[test]
    fn a_limit_of_zero_is_none_and_a_negative_one_an_error() {
        let limit = |text: &str| form(&format!("limit={text}")).unwrap().limit();
        assert_eq!(limit("0").unwrap(), usize::MAX);
        assert_eq!(limit("").unwrap(), usize::MAX);
        assert_eq!(limit("7").unwrap(), 7);
        for (text, why) in [
            ("-1", "limit must be non-negative"),
            ("x", "strconv.Atoi: parsing \"x\": invalid syntax"),
            ("1.5", "strconv.Atoi: parsing \"1.5\": invalid syntax"),
            (
                "99999999999999999999",
                "strconv.Atoi: parsing \"99999999999999999999\": value out of range",
            ),
        ] {
            let expected = Failure::bad_data(format!("invalid parameter \"limit\": {why}"));
            assert_eq!(limit(text).unwrap_err(), expected);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_form_makes_the_reader_panic(bytes: Vec<u8>) {
            let mut form = Form::default();
            let _ = form.add(&bytes);
        }

        #[test]
        fn no_text_makes_times_and_durations_panic(text in "[-+0-9.eymwdhsTZ:]{0,24}|.{0,12}") {
            let _ = (time(&text), duration(&text), whole(&text));
        }
    }
}
