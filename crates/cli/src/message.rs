//! Errors: what is said, and with which exit code the program ends.

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser};
use thalweg::train::FitError;
use thalweg_zoo::ZooError;

use crate::output::{OutputError, note};

/// The exit code of a command that failed.
pub(crate) const FAILED: u8 = 1;

/// The command line of this process. One that cannot be followed gets a usage line, always, and ends the process with
/// exit code 2.
pub(crate) fn parse<C: Parser>() -> C {
    C::try_parse().unwrap_or_else(|mut error| {
        if error.use_stderr() && error.get(ContextKind::Usage).is_none() {
            let mut command = C::command();
            command.build();
            let name = std::env::args_os().nth(1).unwrap_or_default();
            let usage = match command.find_subcommand_mut(name) {
                Some(subcommand) => subcommand.render_usage(),
                None => command.render_usage(),
            };
            error.insert(ContextKind::Usage, ContextValue::StyledStr(usage));
        }
        error.exit()
    })
}

/// Says why `subcommand` failed, on standard error: a usage line if the command cannot be followed (exit code 2), else
/// one line with the causes (exit code 1). Nothing if standard output was closed.
pub(crate) fn report<C: CommandFactory>(subcommand: &str, error: &anyhow::Error) -> ExitCode {
    if error.downcast_ref::<OutputError>().is_some_and(OutputError::is_closed) {
        return ExitCode::SUCCESS;
    }
    if error.downcast_ref::<ZooError>().is_some_and(is_usage) {
        let mut command = C::command();
        command.build();
        if let Some(command) = command.find_subcommand_mut(subcommand) {
            command.error(ErrorKind::ValueValidation, one_line(error)).exit();
        }
    }
    note(format_args!("error: {}", one_line(error)));
    ExitCode::from(FAILED)
}

/// Whether the user asked for something that there is not.
fn is_usage(error: &ZooError) -> bool {
    match error {
        ZooError::Unknown { .. } | ZooError::Setting { .. } | ZooError::NeedsData { .. } => true,
        ZooError::Advised { .. } | ZooError::Picture { .. } => false,
        ZooError::Thalweg(error) => matches!(
            error,
            thalweg::Error::Model(_) | thalweg::Error::Fit(FitError::Setting { .. } | FitError::Model(_))
        ),
    }
}

/// The message with its causes, in one line. A cause whose message stands in that of what it caused is not said again.
pub(crate) fn one_line(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text += &format!(": {cause}");
        }
    }
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn causes_are_said_once_and_in_one_line() {
        let error = Err::<(), _>(anyhow!("disk on fire")).context("a.txt: cannot read: disk on fire").unwrap_err();
        assert_eq!(one_line(&error), "a.txt: cannot read: disk on fire");
        let error = Err::<(), _>(anyhow!("line 1\n  line 2\n")).context("a.txt").unwrap_err();
        assert_eq!(one_line(&error), "a.txt: line 1; line 2");
    }
}
