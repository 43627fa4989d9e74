//! `/_sim/lies` and `/_sim/script`: how the gateways lie is seen and changed while they run.
//!
//! A change is taken as a whole or refused as a whole, with everything that is wrong with it.

use std::convert::Infallible;

use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::chances::Lies;
use super::desk::{Run, Script};
use super::lie::Lie;
use crate::gateway_sim::house::Shared;
use crate::gateway_sim::line::{Reply, response};
use crate::gateway_sim::vendor::{PerGateway, Vendor};

pub fn routes(house: &Shared) -> BoxedFilter<(Response,)> {
    let house = house.clone();
    let house = warp::any().map(move || house.clone());
    let lies = warp::path!("_sim" / "lies");
    let script = warp::path!("_sim" / "script");
    let see_lies = lies.and(warp::get()).and(house.clone()).map(|house: Shared| told(&house.desk.lies()));
    let change_lies = lies.and(warp::put()).and(warp::body::bytes()).and(house.clone()).and_then(
        |body: Bytes, house: Shared| async move {
            let changed = gateways(&body).and_then(|given| house.desk.change(|before| merged(before, &given)));
            Ok::<_, Infallible>(match changed {
                Ok(()) => told(&house.desk.lies()),
                Err(problems) => refused(&problems),
            })
        },
    );
    let see_script = script.and(warp::get()).and(house.clone()).map(|house: Shared| told(&house.desk.scripts()));
    let change_script =
        script.and(warp::put()).and(warp::body::bytes()).and(house).and_then(|body: Bytes, house: Shared| async move {
            Ok::<_, Infallible>(match gateways(&body).and_then(|given| scripts(&given)) {
                Ok(scripts) => {
                    house.desk.follow(scripts);
                    told(&house.desk.scripts())
                }
                Err(problems) => refused(&problems),
            })
        });
    see_lies.or(change_lies).unify().or(see_script).unify().or(change_script).unify().boxed()
}

type Problems = Vec<String>;

fn told(state: &impl Serialize) -> Response {
    response(Reply::json(StatusCode::OK, &json!(state)))
}

fn refused(problems: &Problems) -> Response {
    response(Reply::json(StatusCode::BAD_REQUEST, &json!({ "error": problems.join("; ") })))
}

/// What is said of each gateway.
fn gateways(body: &Bytes) -> Result<Vec<(Vendor, Value)>, Problems> {
    let given: Map<String, Value> = read(body).map_err(|problem| vec![problem])?;
    let mut problems = Vec::new();
    let mut known = Vec::new();
    for (name, value) in given {
        match name.parse() {
            Ok(vendor) => known.push((vendor, value)),
            Err(_) => problems
                .push(format!("there is no gateway {name}; there are {}", Vendor::ALL.map(Vendor::as_str).join(", "))),
        }
    }
    if problems.is_empty() { Ok(known) } else { Err(problems) }
}

fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| format!("the body is not an object of gateways: {error}"))
}

/// The chances with those that are given in place of what they were.
fn merged(before: &PerGateway<Lies>, given: &[(Vendor, Value)]) -> Result<PerGateway<Lies>, Problems> {
    let mut after = before.clone();
    let mut problems = Vec::new();
    for (vendor, value) in given {
        let Some(fields) = value.as_object() else {
            problems.push(format!("{vendor}: is not an object of chances"));
            continue;
        };
        for (name, value) in fields {
            match changed(after.of(*vendor), name, value) {
                Ok(lies) => *after.of_mut(*vendor) = lies,
                Err(problem) => problems.push(format!("{vendor}.{problem}")),
            }
        }
    }
    if problems.is_empty() { Ok(after) } else { Err(problems) }
}

fn changed(before: &Lies, name: &str, value: &Value) -> Result<Lies, String> {
    let mut fields = json!(before);
    if fields.get(name).is_none() {
        let known: Vec<&str> = fields.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        return Err(format!("{name}: there is no such lie; there are {}", known.join(", ")));
    }
    fields[name] = value.clone();
    let lies: Lies = serde_json::from_value(fields).map_err(|error| format!("{name}: {error}"))?;
    match lies.problems().pop() {
        Some(problem) => Err(problem),
        None => Ok(lies),
    }
}

fn scripts(given: &[(Vendor, Value)]) -> Result<Vec<(Vendor, Script)>, Problems> {
    let mut scripts = Vec::new();
    let mut problems = Vec::new();
    for (vendor, value) in given {
        let Some(lines) = value.as_array() else {
            problems.push(format!("{vendor}: is not a list of lies"));
            continue;
        };
        let mut script = Script::new();
        for (at, line) in lines.iter().enumerate() {
            match run(line) {
                Ok(run) => script.push_back(run),
                Err(problem) => problems.push(format!("{vendor}[{at}]: {problem}")),
            }
        }
        scripts.push((*vendor, script));
    }
    if problems.is_empty() { Ok(scripts) } else { Err(problems) }
}

/// `{"lie": "reset", "times": 3}`
fn run(line: &Value) -> Result<Run, String> {
    let fields = line.as_object().ok_or("is not an object of lie and times")?;
    if let Some(unknown) = fields.keys().find(|name| !["lie", "times"].contains(&name.as_str())) {
        return Err(format!("there is no {unknown}; there are lie and times"));
    }
    let lie = match fields.get("lie").and_then(Value::as_str) {
        Some("none") => None,
        name => {
            let name = name.unwrap_or_default();
            let known = || Lie::ALL.map(Lie::as_str).join(", ");
            Some(name.parse().map_err(|_| format!("there is no lie {name}; there are none, {}", known()))?)
        }
    };
    let times = fields.get("times").map_or(Some(1), Value::as_u64).filter(|times| *times > 0);
    Ok(Run { lie, times: times.ok_or("times: is not a number above 0")? })
}
