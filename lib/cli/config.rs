//! `payfleet config`: the settings in effect.

use std::process::ExitCode;

use super::arguments::Output;
use super::settings::Settings;
use crate::service::config::{self, EXIT_BAD_SETTINGS, Loaded};

pub fn run(output: &Output) -> ExitCode {
    let loaded: Loaded<Settings> = match config::load() {
        Ok(loaded) => loaded,
        Err(faults) => {
            eprint!("payfleet: {faults}");
            return ExitCode::from(EXIT_BAD_SETTINGS);
        }
    };
    let lines = loaded.lines();
    if output.json {
        println!("{}", serde_json::json!(lines));
        return ExitCode::SUCCESS;
    }
    let width = lines.iter().map(|line| line.setting.len()).max().unwrap_or(0);
    let value_width = lines.iter().map(|line| line.value.len().min(60)).max().unwrap_or(0);
    for line in lines {
        println!("{:width$}  {:value_width$}  {}", line.setting, line.value, line.origin);
    }
    ExitCode::SUCCESS
}
