//! `hms-ops query`: what PromQL evaluates to, of a running engine or of history that none has open.

use std::io::{self, IsTerminal, Write};

use anyhow::{Result, bail};
use hms_ops::core::clock::{Clock, SystemClock};
use hms_ops::core::time::Timestamp;
use hyper::StatusCode;

use crate::args::QueryArgs;
use crate::failure::{Misuse, say};
use crate::get::encoded;
use crate::log;
use crate::screen::{Paint, plain, width};

mod ask;
mod plot;
mod show;

use self::show::Reply;

/// How many points a line has if nobody says how far apart they are.
const POINTS: i64 = 120;

pub(crate) async fn run(args: &QueryArgs) -> Result<()> {
    log::start(log::Wanted::Trouble);
    let (status, body) = ask::ask(args, &path(args, SystemClock.now())?).await?;
    let reply = Reply::read(&body).ok_or_else(|| {
        Misuse(format!("{} is no engine: it answers {status} and no JSON of Prometheus", args.url))
    })?;
    if let Some(why) = reply.error() {
        // It is said of this very query.
        let why = why.strip_prefix("invalid parameter \"query\": ").unwrap_or(why);
        match status {
            StatusCode::BAD_REQUEST => return Err(Misuse(plain(why)).into()),
            _ => bail!("{}", plain(why)),
        }
    }
    reply.notices().for_each(|notice| say(&plain(notice)));
    let mut out = io::stdout().lock();
    let text = match args.json {
        true => format!("{}\n", reply.data()),
        false => {
            let width = if out.is_terminal() { width::of_terminal() } else { None };
            show::for_people(&reply, width.unwrap_or(80), Paint::of(&out))?
        }
    };
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Who closed the pipe has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// What is asked of the API.
fn path(args: &QueryArgs, now: Timestamp) -> Result<String> {
    let seconds = |at: Timestamp| {
        let millis = at.as_millis();
        let sign = if millis < 0 { "-" } else { "" };
        let millis = millis.unsigned_abs();
        format!("{sign}{}.{:03}", millis / 1000, millis % 1000)
    };
    let query = encoded(&args.query);
    let Some(start) = args.start else {
        let at = seconds(args.at.unwrap_or(now));
        return Ok(format!("api/v1/query?query={query}&time={at}"));
    };
    let end = args.end.unwrap_or(now);
    if end < start {
        return Err(Misuse(format!("--end {end} is before --start {start}")).into());
    }
    let step = args.step.clone().unwrap_or_else(|| {
        let length = end.as_millis().saturating_sub(start.as_millis());
        // Whole seconds, so that points stand at instants that people know.
        format!("{}", (length / 1000).div_euclid(POINTS).max(1))
    });
    let (start, end, step) = (seconds(start), seconds(end), encoded(&step));
    Ok(format!("api/v1/query_range?query={query}&start={start}&end={end}&step={step}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_without_a_step_has_a_hundred_points_or_so_at_whole_seconds() {
        let at = Timestamp::from_millis;
        let mut args = QueryArgs { query: "a+b".into(), ..QueryArgs::default() };
        let asked = path(&args, at(1_500)).unwrap();
        assert_eq!(asked, "api/v1/query?query=a%2Bb&time=1.500");
        args.start = Some(at(-60_001));
        let asked = path(&args, at(3_540_000)).unwrap();
        assert_eq!(asked, "api/v1/query_range?query=a%2Bb&start=-60.001&end=3540.000&step=30");
        args.step = Some("1m".into());
        assert!(path(&args, at(0)).unwrap().ends_with("&step=1m"));
        let error = path(&args, at(-70_000)).unwrap_err().to_string();
        assert_eq!(
            error,
            "--end 1969-12-31T23:58:50.000Z is before --start 1969-12-31T23:58:59.999Z"
        );
    }
}
