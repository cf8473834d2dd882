//! The command line: what may be asked for, and what is said when it makes no sense.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use hms_ops::core::time::Timestamp;

use crate::commands::tsdb::{DEFAULT_DATA, parse_time};
use crate::failure::{self, MISUSE};

/// Monitoring and self-healing: watches services, and acts before people feel it.
#[derive(Debug, Parser)]
#[command(name = "hms-ops", version, disable_help_subcommand = true)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum Command {
    /// Runs the whole loop on this machine: a service in two clusters, users, a router, the engine
    Lab(LabArgs),
    /// Runs an engine: collects, evaluates, acts, and serves the page
    Serve {
        /// Reads what to watch from this file
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Serves the page and its API here [default: the config's, or 127.0.0.1:9110]
        #[arg(long, value_name = "ADDRESS")]
        listen: Option<String>,
        /// Keeps history in this folder [default: the config's, or hms-ops-data]
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
    },
    /// Opens the page of a service in a browser
    Dashboard {
        /// Which service
        service: String,
        /// Where the engine's page is
        #[arg(long, default_value = "http://127.0.0.1:9110/")]
        url: String,
        /// Only prints the URL
        #[arg(long)]
        no_open: bool,
    },
    /// Evaluates PromQL: at one instant, or at many, which are drawn
    Query(QueryArgs),
    /// Validates config files, and rule files of Prometheus, which end in .yml or .yaml
    Check {
        /// The files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Runs tests
    Test {
        #[command(subcommand)]
        what: TestCommand,
    },
    /// Looks after the history on disk, in a folder that no engine has open
    Tsdb(TsdbArgs),
    /// One cluster of the lab's service; its standard input says where the engine is
    #[command(hide = true)]
    LabService {
        #[arg(long)]
        cluster: String,
    },
    /// The lab's users
    #[command(hide = true)]
    LabUsers {
        #[arg(long)]
        url: String,
        #[arg(long)]
        users: u32,
        /// Requests a second, of all users together
        #[arg(long)]
        rate: u32,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum TestCommand {
    /// Runs unit tests of rules, as Prometheus writes them; the exit status is 1 if one fails
    Rules {
        /// The files of tests
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Prints one JSON object
        #[arg(long)]
        json: bool,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub(crate) struct LabArgs {
    /// Judges over 5 s and not over a minute or two
    #[arg(long)]
    pub(crate) fast: bool,
    /// Injects the fault, watches the recovery, and fails if any part of it is missing
    #[arg(long)]
    pub(crate) drill: bool,
    /// Fails if a part of the recovery takes too long
    #[arg(long, requires = "drill")]
    pub(crate) strict: bool,
    /// Prints JSON: an object a line, or one object for a drill
    #[arg(long)]
    pub(crate) json: bool,
    /// Serves the page at this port [default: 9110 if it is free, else any]
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// Keeps history in this folder [default: one that the next lab goes on with; of a drill, none]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub(crate) struct QueryArgs {
    /// The query, such as `rate(http_requests_total[5m])`
    pub(crate) query: String,
    /// Evaluates at this instant: RFC 3339, seconds since 1970, or `-90m` [default: now]
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    pub(crate) at: Option<Timestamp>,
    /// Evaluates at many instants, of which this is the first
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    #[arg(conflicts_with = "at")]
    pub(crate) start: Option<Timestamp>,
    /// The last of many instants [default: now]
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    #[arg(requires = "start")]
    pub(crate) end: Option<Timestamp>,
    /// How far apart they are: `15s`, `5m`, or seconds [default: 120 instants]
    #[arg(long, value_name = "DURATION", requires = "start")]
    pub(crate) step: Option<String>,
    /// Where the engine is
    #[arg(long, default_value = "http://127.0.0.1:9110/")]
    pub(crate) url: String,
    /// Sends the token in this file, which the engine wants
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Asks the history in this folder, which no engine has open
    #[arg(long, value_name = "DIR", conflicts_with_all = ["url", "token_file"])]
    pub(crate) data: Option<PathBuf>,
    /// Prints the data of Prometheus' API
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct TsdbArgs {
    /// The folder
    #[arg(long, global = true, value_name = "DIR", default_value = DEFAULT_DATA)]
    pub(crate) data: PathBuf,
    #[command(subcommand)]
    pub(crate) what: TsdbCommand,
}

#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub(crate) enum TsdbCommand {
    /// Reads everything and says how much there is, and what there is most of
    Stats {
        /// How many rows each table has
        #[arg(long, value_name = "N", default_value_t = 10)]
        top: usize,
        /// Prints one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Reads everything and says what is damaged; the exit status is 1 if something is
    Verify {
        /// Prints one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Writes samples as OpenMetrics text
    Export(ExportArgs),
    /// Adds samples of any age from OpenMetrics text; what is there already stays as it is
    Import {
        /// The files; `-` is standard input
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Makes a copy that can be opened as history
    Snapshot {
        /// A folder that does not exist yet
        to: PathBuf,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub(crate) struct ExportArgs {
    /// Only series that fit this, such as `http_requests_total{code=~"5.."}`; several: any of them
    #[arg(long = "match", value_name = "SELECTOR")]
    pub(crate) selectors: Vec<String>,
    /// Nothing older than this: RFC 3339, seconds since 1970, or `-90m`
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    pub(crate) from: Option<Timestamp>,
    /// Nothing newer than this
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    pub(crate) to: Option<Timestamp>,
    /// Writes to this file [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// What is said in place of doing something: help, or what is wrong with the command line.
#[derive(Debug)]
pub(crate) struct Said(clap::Error);

pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, Said> {
    Args::try_parse_from(args).map(|args| args.command).map_err(Said)
}

impl Said {
    /// Prints it; help goes to standard output, a complaint to standard error.
    pub(crate) fn print(self) -> ExitCode {
        match self.0.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                // Who closed the pipe has read enough.
                let _ = self.0.print();
                ExitCode::SUCCESS
            }
            ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
                let _ = self.0.print();
                ExitCode::from(MISUSE)
            }
            _ => {
                failure::say(&complaint(&self.0.to_string()));
                ExitCode::from(MISUSE)
            }
        }
    }
}

/// The first paragraph of what clap says, in one line, and where there is more.
fn complaint(said: &str) -> String {
    let first = said.split("\n\n").next().unwrap_or_default();
    let words: Vec<_> = first.split_whitespace().collect();
    let line = words.join(" ");
    let line = line.strip_prefix("error: ").unwrap_or(&line);
    let usage = said.lines().find_map(|line| line.strip_prefix("Usage: "));
    // `hms-ops`, and the subcommand if one was understood: words before the first option or value.
    let known = usage.unwrap_or("hms-ops").split_whitespace();
    let known: Vec<_> = known.take_while(|word| !word.starts_with(['[', '<', '-'])).collect();
    format!("{line} (see `{} --help`)", known.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Command, String> {
        let args = line.split_whitespace().map(OsString::from);
        parse(args).map_err(|said| complaint(&said.0.to_string()))
    }

    #[test]
    fn a_lab_is_slow_and_watched_by_a_person_unless_asked_otherwise() {
        assert_eq!(read("hms-ops lab"), Ok(Command::Lab(LabArgs::default())));
        let Ok(Command::Lab(args)) = read("hms-ops lab --fast --drill --strict --port 0") else {
            panic!("not a lab");
        };
        assert!(args.fast && args.drill && args.strict && !args.json);
        assert_eq!(args.port, Some(0));
    }

    #[test]
    fn a_complaint_is_one_line_that_names_what_is_wrong_and_where_help_is() {
        for (line, expected) in [
            ("hms-ops lab --fats", "unexpected argument '--fats' found (see `hms-ops lab --help`)"),
            ("hms-ops heal", "unrecognized subcommand 'heal' (see `hms-ops --help`)"),
            (
                "hms-ops check",
                "the following required arguments were not provided: <FILE>... \
                 (see `hms-ops check --help`)",
            ),
            (
                "hms-ops lab --port http",
                "invalid value 'http' for '--port <PORT>': invalid digit found in string \
                 (see `hms-ops --help`)",
            ),
        ] {
            assert_eq!(read(line), Err(expected.to_owned()));
        }
    }

    #[test]
    fn the_folder_of_the_history_may_stand_before_and_after_what_is_done_with_it() {
        for line in ["hms-ops tsdb --data x verify", "hms-ops tsdb verify --data x"] {
            let what = TsdbCommand::Verify { json: false };
            assert_eq!(read(line), Ok(Command::Tsdb(TsdbArgs { data: "x".into(), what })));
        }
        let what = TsdbCommand::Stats { top: 10, json: false };
        let expected = Command::Tsdb(TsdbArgs { data: DEFAULT_DATA.into(), what });
        assert_eq!(read("hms-ops tsdb stats"), Ok(expected));
    }

    #[test]
    fn a_time_that_is_none_is_told_what_one_looks_like() {
        assert_eq!(
            read("hms-ops tsdb export --from yesterday"),
            Err("invalid value 'yesterday' for '--from <TIME>': neither RFC 3339, such as \
                 2026-01-31T12:00:00Z, nor seconds since 1970, nor -90m (see `hms-ops --help`)"
                .to_owned())
        );
    }

    #[test]
    fn strictness_needs_a_drill() {
        assert!(read("hms-ops lab --strict").unwrap_err().contains("--drill"));
    }
}
