//! Brings a run's servers, proxies and processes up, and takes them down whatever becomes of it.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;

use futures_util::FutureExt;
use futures_util::future::join_all;

use super::bound::Times;
use super::course;
use super::ground::{Ground, Ports};
use super::keeper;
use super::proxies::{self, Proxies};
use super::report::Run;
use super::schedule::{Hand, Schedule, Size};
use super::watch::Watch;
use crate::fleet::crew::{PLACES, Place};
use crate::fleet::process::Process;
use crate::fleet::site::{Evidence, Site};

pub struct Stand<'a> {
    pub site: &'a mut Site,
    pub ports: &'a Ports,
    pub ground: &'a Ground,
    pub proxies: &'a Proxies,
    pub watch: Watch,
    pub crew: Vec<(Place, Process)>,
    pub simulator: Process,
}

/// The run, or how it broke off; and where it left everything behind.
pub async fn with_stand(size: Size, times: Times, schedule: &Schedule) -> (Result<Run, Box<dyn Any + Send>>, PathBuf) {
    proxies::must_be_installed();
    let ports = Ports::choose();
    let mut site = Site::prepare_behind("chaos", &ports.doors()).await;
    let path = site.path().to_owned();
    std::fs::write(path.join("schedule.txt"), schedule.text()).unwrap();
    let ground = Ground::new(&site, &ports, times, size.seed);
    let proxies = Proxies::start(&path, &ports.lines(&site, ground.simulator)).await;
    let running = AssertUnwindSafe(async {
        let (crew, simulator) = bring_up(&site, &ground, schedule).await;
        let watch = Watch::new(&site.windows());
        let site = &mut site;
        let stand = Stand { site, ports: &ports, ground: &ground, proxies: &proxies, watch, crew, simulator };
        course::run(stand, size, times, schedule).await
    });
    // Processes that are left are killed when dropped, before the servers they stand on are stopped.
    let ended = running.catch_unwind().await;
    site.kafka.thaw();
    site.redis.thaw();
    proxies.stop().await;
    site.leave(Evidence::Kept).await;
    (ended, path)
}

async fn bring_up(site: &Site, ground: &Ground, schedule: &Schedule) -> (Vec<(Place, Process)>, Process) {
    site.command(&["migrate"]).await;
    site.command(&["seed", "--demo"]).await;
    let simulator = ground.start_simulator();
    let starting = PLACES.map(|place| {
        let armed = keeper::armed_at_first(&schedule.of(Hand::Place(place)));
        ground.start(place, armed)
    });
    let ready = join_all(starting.into_iter().map(Process::ready)).await;
    (PLACES.into_iter().zip(ready).collect(), simulator.ready().await)
}
