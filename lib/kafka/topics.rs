//! The topics, declared in one place. Made by `payfleet topics` and `payfleet migrate`, never by a broker on its own: one made with
//! other partitions than lanes would break the order of events.
//!
//! If it dies here: it is run again; topics that exist are left as they are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;

use super::Settings;
use crate::domain::event::{CALLBACKS, DEAD, EVENTS, commands_of};
use crate::domain::lane::LANES;
use crate::service::retry::policy;

/// How long one question to the brokers may take.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the brokers do not answer: {0}")]
    Brokers(#[from] KafkaError),
    #[error("topic {topic} could not be made: {code}")]
    Refused { topic: String, code: RDKafkaErrorCode },
    #[error("topic {topic} has {found} partitions where there are {expected} lanes; drain it and make it anew")]
    Partitions { topic: String, found: usize, expected: usize },
    #[error(
        "topic {topic} takes records of at most {found} bytes, but {expected} are to be sent: lower message_max_bytes or raise the topic's max.message.bytes"
    )]
    RecordSize { topic: String, found: usize, expected: usize },
    #[error(
        "topic {topic} has {found} copies of a partition where kafka.replication is {expected}: reassign its partitions, or set what is so"
    )]
    Copies { topic: String, found: usize, expected: i32 },
    #[error(
        "topic {topic} acknowledges a record that {found} copies have, which is lost with as many brokers: set its min.insync.replicas to {expected}"
    )]
    InSync { topic: String, found: i32, expected: i32 },
    #[error("topic {topic} was made, but the brokers do not show it")]
    Invisible { topic: String },
}

/// What was found and done, by the topics' names on the brokers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub made: Vec<String>,
    pub found: Vec<String>,
}

/// The names of all topics of a fleet with these gateways, without prefix.
pub fn declared<'a>(gateways: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<String> = gateways.into_iter().map(commands_of).collect();
    names.extend([CALLBACKS, EVENTS, DEAD].map(str::to_owned));
    names
}

/// Makes the topics that are missing and checks those that exist.
pub async fn ensure(settings: &Settings, names: &[String]) -> Result<Report, Error> {
    let admin: Arc<AdminClient<DefaultClientContext>> = Arc::new(settings.client().create()?);
    let wanted: Vec<String> = names.iter().map(|name| settings.topic(name)).collect();
    let present = partitions(&admin).await?;
    let (found, missing): (Vec<String>, Vec<String>) =
        wanted.iter().cloned().partition(|topic| present.contains_key(topic));
    if !missing.is_empty() {
        make(&admin, settings, &missing).await?;
    }
    check_partitions(&admin, settings, &wanted).await?;
    check_settings(&admin, settings, &wanted).await?;
    Ok(Report { made: missing, found })
}

/// What a topic of the brokers is like.
#[derive(Clone, Copy)]
struct Shape {
    partitions: usize,
    /// Of the partition that has the fewest.
    copies: usize,
}

async fn partitions(admin: &Arc<AdminClient<DefaultClientContext>>) -> Result<BTreeMap<String, Shape>, KafkaError> {
    let admin = Arc::clone(admin);
    let asked = tokio::task::spawn_blocking(move || {
        let metadata = admin.inner().fetch_metadata(None, PATIENCE)?;
        let shape = |topic: &MetadataTopic| Shape {
            partitions: topic.partitions().len(),
            copies: topic.partitions().iter().map(|partition| partition.replicas().len()).min().unwrap_or_default(),
        };
        Ok(metadata.topics().iter().map(|topic| (topic.name().to_owned(), shape(topic))).collect())
    });
    asked.await.unwrap_or_else(|_| Err(KafkaError::Canceled))
}

async fn make(admin: &AdminClient<DefaultClientContext>, settings: &Settings, topics: &[String]) -> Result<(), Error> {
    let retention = settings.retention_ms.to_string();
    // A batch has a header of its own: what one record may have must fit with it.
    let size = (settings.message_max_bytes + BATCH_OVERHEAD).to_string();
    let in_sync = settings.in_sync().to_string();
    let new: Vec<NewTopic> = topics
        .iter()
        .map(|topic| {
            NewTopic::new(topic, i32::from(LANES), TopicReplication::Fixed(settings.replication))
                .set("retention.ms", &retention)
                .set("max.message.bytes", &size)
                .set("min.insync.replicas", &in_sync)
        })
        .collect();
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE));
    for result in admin.create_topics(&new, &options).await? {
        match result {
            // Somebody else was faster; whether theirs is as it should be is checked next.
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => return Err(Error::Refused { topic, code }),
        }
    }
    Ok(())
}

/// Room for a batch's header and length fields.
const BATCH_OVERHEAD: usize = 1_024;

/// A topic just made takes a moment to be known to the broker that is asked.
async fn check_partitions(
    admin: &Arc<AdminClient<DefaultClientContext>>,
    settings: &Settings,
    wanted: &[String],
) -> Result<(), Error> {
    let expected = usize::from(LANES);
    let deadline = tokio::time::Instant::now() + policy::MADE.limit();
    loop {
        let present = partitions(admin).await?;
        let shape = |topic: &String| present.get(topic).copied().filter(|found| found.partitions > 0);
        let unseen = wanted.iter().find(|topic| shape(topic).is_none());
        match unseen {
            None => {
                for (topic, found) in wanted.iter().filter_map(|topic| Some((topic.clone(), shape(topic)?))) {
                    if found.partitions != expected {
                        return Err(Error::Partitions { topic, found: found.partitions, expected });
                    }
                    if i32::try_from(found.copies).is_ok_and(|copies| copies < settings.replication) {
                        return Err(Error::Copies { topic, found: found.copies, expected: settings.replication });
                    }
                }
                return Ok(());
            }
            Some(topic) if tokio::time::Instant::now() > deadline => {
                return Err(Error::Invisible { topic: topic.clone() });
            }
            Some(_) => tokio::time::sleep(policy::MADE.first()).await,
        }
    }
}

/// A record that the producer takes for small enough must not be refused by the topic: its neighbours would suffer with it. And what is
/// acknowledged must be on more brokers than may be lost.
async fn check_settings(
    admin: &AdminClient<DefaultClientContext>,
    settings: &Settings,
    wanted: &[String],
) -> Result<(), Error> {
    let resources: Vec<ResourceSpecifier> = wanted.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
    let options = AdminOptions::new().request_timeout(Some(PATIENCE));
    let described = admin.describe_configs(&resources, &options).await?;
    for (topic, resource) in wanted.iter().zip(described) {
        let resource = resource.map_err(|code| Error::Refused { topic: topic.clone(), code })?;
        let limit = resource.get("max.message.bytes").and_then(|entry| entry.value.as_ref()?.parse::<usize>().ok());
        if let Some(found) = limit.filter(|found| *found < settings.message_max_bytes) {
            return Err(Error::RecordSize { topic: topic.clone(), found, expected: settings.message_max_bytes });
        }
        let in_sync = resource.get("min.insync.replicas").and_then(|entry| entry.value.as_ref()?.parse::<i32>().ok());
        if let Some(found) = in_sync.filter(|found| *found < settings.in_sync()) {
            return Err(Error::InSync { topic: topic.clone(), found, expected: settings.in_sync() });
        }
    }
    Ok(())
}
