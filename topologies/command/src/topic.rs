//! `topo topic`: creating, listing, describing and deleting topics.

use std::collections::BTreeMap;
use std::io::{self, Write};

use clap::{Args, Subcommand};
use serde_json::json;
use topo_core::log::{Log, LogError, TopicPartition, TopicSpec};

use crate::failure::Failure;
use crate::json;
use crate::place::{self, Place};

/// `topo topic`.
#[derive(Debug, Args)]
#[command(after_help = place::HELP)]
pub(crate) struct Topic {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create a topic; where there is neither a broker nor a data directory, begin one
    Create(Create),
    /// Print the topics' names, one a line
    List {
        /// Print a JSON array of names
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Print a topic's configuration and the offsets that its partitions hold
    Describe {
        /// The topic
        topic: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Delete topics and all that they hold
    Delete {
        /// The topics
        #[arg(required = true, value_name = "TOPIC")]
        topics: Vec<String>,
        /// Do nothing for a topic that does not exist
        #[arg(long)]
        if_exists: bool,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, Args)]
struct Create {
    /// The new topic's name: letters, digits, `.`, `_` and `-`
    topic: String,
    /// How many partitions it has
    #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    partitions: u32,
    /// A setting by Kafka's name, such as segment.bytes=1048576; may be repeated
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = setting)]
    config: Vec<(String, String)>,
    /// Do nothing where the topic exists already
    #[arg(long)]
    if_not_exists: bool,
    #[command(flatten)]
    place: Place,
}

fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err("a setting is KEY=VALUE".into()),
    }
}

impl Topic {
    /// Does what was asked and prints to standard output.
    ///
    /// # Errors
    /// Those of the log and of standard output.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let out = &mut io::stdout().lock();
        match self.action {
            Action::Create(asked) => {
                let opened = asked.place.create().await?;
                let ended = create(&*opened.log, out, &asked).await;
                opened.close(ended).await
            }
            Action::List { place, json } => {
                let opened = place.open().await?;
                let ended = list(&*opened.log, out, json).await;
                opened.close(ended).await
            }
            Action::Describe { topic, place, json } => {
                let opened = place.open().await?;
                let ended = describe(&*opened.log, out, &topic, json).await;
                opened.close(ended).await
            }
            Action::Delete { topics, if_exists, place } => {
                let opened = place.open().await?;
                let ended = delete(&*opened.log, out, &topics, if_exists).await;
                opened.close(ended).await
            }
        }
    }
}

async fn create(log: &dyn Log, out: &mut impl Write, asked: &Create) -> Result<(), Failure> {
    let topic = &asked.topic;
    let config: BTreeMap<_, _> = asked.config.iter().cloned().collect();
    let spec = TopicSpec { partitions: asked.partitions, config };
    match log.create_topic(topic, &spec).await {
        Err(LogError::TopicExists(_)) if asked.if_not_exists => Ok(()),
        Err(error) => Err(error.into()),
        Ok(()) => {
            let plural = if asked.partitions == 1 { "" } else { "s" };
            writeln!(out, "created topic `{topic}` with {} partition{plural}", asked.partitions)
                .map_err(Failure::Output)
        }
    }
}

async fn list(log: &dyn Log, out: &mut impl Write, json: bool) -> Result<(), Failure> {
    let mut topics = log.topics().await?;
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    if json {
        let names: Vec<&str> = topics.iter().map(|topic| &*topic.name).collect();
        return json::line(out, &names).map_err(Failure::Output);
    }
    topics.iter().try_for_each(|topic| writeln!(out, "{}", topic.name)).map_err(Failure::Output)
}

async fn describe(log: &dyn Log, out: &mut impl Write, topic: &str, json: bool) -> Result<(), Failure> {
    let info = log.topic(topic).await?.ok_or_else(|| LogError::UnknownTopic(topic.into()))?;
    let mut held = Vec::new();
    for partition in 0..info.partitions {
        held.push(log.offsets(&TopicPartition::new(info.name.clone(), partition)).await?);
    }
    if json {
        let partitions: Vec<_> = held.iter().enumerate().map(|(partition, held)| json!({
            "partition": partition, "logStart": held.log_start, "highWatermark": held.high_watermark, "logEnd": held.log_end,
        })).collect();
        let described = json!({ "topic": &*info.name, "config": info.config, "partitions": partitions });
        return json::line(out, &described).map_err(Failure::Output);
    }
    let mut print = || {
        writeln!(out, "topic      {}", info.name)?;
        writeln!(out, "partitions {}", info.partitions)?;
        for (key, value) in &info.config {
            writeln!(out, "config     {key}={value}")?;
        }
        writeln!(out, "\n{:>9} {:>20} {:>20} {:>20}", "PARTITION", "LOG START", "HIGH WATERMARK", "LOG END")?;
        for (partition, held) in held.iter().enumerate() {
            let (start, high, end) = (held.log_start, held.high_watermark, held.log_end);
            writeln!(out, "{partition:>9} {start:>20} {high:>20} {end:>20}")?;
        }
        Ok(())
    };
    print().map_err(Failure::Output)
}

async fn delete(
    log: &dyn Log,
    out: &mut impl Write,
    topics: &[String],
    if_exists: bool,
) -> Result<(), Failure> {
    for topic in topics {
        match log.delete_topic(topic).await {
            Err(LogError::UnknownTopic(_)) if if_exists => continue,
            deleted => deleted?,
        }
        writeln!(out, "deleted topic `{topic}`").map_err(Failure::Output)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use clap::Parser;
    use topo_core::log::Record;
    use topo_core::schedule::TokioScheduler;
    use topo_tests::memory_log::MemoryLog;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        create: Create,
    }

    async fn created(log: &MemoryLog, line: &str) -> Result<String, Failure> {
        let asked = Line::try_parse_from(line.split(' ')).unwrap().create;
        let mut out = Vec::new();
        create(log, &mut out, &asked).await?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[tokio::test]
    async fn a_topic_lives_from_create_to_delete() {
        let log = MemoryLog::new(Arc::new(TokioScheduler::current()));
        assert_eq!(created(&log, "create b").await.unwrap(), "created topic `b` with 1 partition\n");
        let said = created(&log, "create a -p 2 -c segment.bytes=1024 -c retention.ms=5").await.unwrap();
        assert_eq!(said, "created topic `a` with 2 partitions\n");
        log.append(&TopicPartition::new("a", 1), vec![Record::default(), Record::default()]).await.unwrap();

        let mut out = Vec::new();
        list(&log, &mut out, false).await.unwrap();
        assert_eq!(out, b"a\nb\n");

        out.clear();
        describe(&log, &mut out, "a", false).await.unwrap();
        let said = String::from_utf8(out).unwrap();
        let words: Vec<Vec<&str>> = said.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(words[2..4], [["config", "retention.ms=5"], ["config", "segment.bytes=1024"]]);
        assert_eq!(words[6..], [["0", "0", "0", "0"], ["1", "0", "2", "2"]]);

        let mut out = Vec::new();
        delete(&log, &mut out, &["a".into(), "b".into()], false).await.unwrap();
        assert_eq!(out, b"deleted topic `a`\ndeleted topic `b`\n");
        assert!(log.topics().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_is_missing_or_there_already_is_said() {
        let log = MemoryLog::new(Arc::new(TokioScheduler::current()));
        created(&log, "create a").await.unwrap();
        let again = created(&log, "create a").await.unwrap_err();
        assert_eq!(again.to_string(), "topic `a` exists already");
        assert_eq!(created(&log, "create a --if-not-exists").await.unwrap(), "");
        for error in [
            describe(&log, &mut Vec::new(), "none", false).await.unwrap_err(),
            delete(&log, &mut Vec::new(), &["none".into()], false).await.unwrap_err(),
        ] {
            assert_eq!(
                error.to_string(),
                "there is no topic `none`; create it with `topo topic create none`"
            );
        }
    }

    #[test]
    fn settings_are_key_and_value() {
        assert_eq!(setting("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(setting("a").is_err() && setting("=b").is_err());
        assert!(Line::try_parse_from(["create", "a", "-p", "0"]).is_err());
    }
}
