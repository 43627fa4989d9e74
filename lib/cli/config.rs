//! `payfleet config`: the settings in effect.

use super::arguments::Output;
use super::output::{self, Table};
use super::settings::Settings;
use crate::service::config::Loaded;

pub fn show(loaded: &Loaded<Settings>, output: Output) {
    let lines = loaded.lines();
    if output.json {
        return output::json(&lines);
    }
    let mut table = Table::new(&["setting", "value", "from"]);
    for line in lines {
        table.row([line.setting, line.value, line.origin.to_string()]);
    }
    table.print();
}
