//! `topo group`: consumer groups, how far they are, and where they go on.

use std::io::{self, IsTerminal, Write};
use std::ops::RangeInclusive;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;
use topo::launcher::Signals;
use topo_connectors::kafka::GroupMember;
use topo_core::log::{Log, LogError, TopicPartition};

use crate::failure::Failure;
use crate::json;
use crate::place::{self, Kind, Opened, Place};
use crate::start_at::{StartAt, at_time};

/// Moves a terminal's cursor to its upper left, and clears what is behind it.
const CLEAR: &str = "\x1b[H\x1b[2J";
/// How long may lie between two looks at a group.
const SECONDS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_hours(24);

/// `topo group`.
#[derive(Debug, Args)]
#[command(after_help = place::HELP)]
pub(crate) struct Group {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print the groups' names and states
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Print a group's members, and for each partition what it has committed and how far it lags behind the end
    Describe {
        /// The group
        group: String,
        /// Print it again and again, every two seconds or as many as are given, until Ctrl-C
        #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "2",
            value_parser = seconds)]
        watch: Option<Duration>,
        /// Print JSON; with --watch, a line each time
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Have a group without members go on from elsewhere
    Reset(Reset),
    /// Delete groups without members, and all that they have committed
    Delete {
        /// The groups
        #[arg(required = true, value_name = "GROUP")]
        groups: Vec<String>,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Debug, Args)]
struct Reset {
    /// The group
    group: String,
    /// The topic
    #[arg(long)]
    topic: String,
    /// This partition only
    #[arg(short, long)]
    partition: Option<u32>,
    #[command(flatten)]
    to: To,
    /// Print what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    place: Place,
}

/// Where it goes on.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct To {
    /// At the first record held
    #[arg(long)]
    to_earliest: bool,
    /// Behind the last record
    #[arg(long)]
    to_latest: bool,
    /// At this offset, or the nearest one held
    #[arg(long, value_name = "N")]
    to_offset: Option<i64>,
    /// At the first record of this time or later: milliseconds since 1970, or such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = at_time)]
    to_time: Option<i64>,
    /// So many records later, or earlier where negative, than what is committed
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    shift_by: Option<i64>,
}

/// A group as it stands.
struct Standing {
    state: String,
    members: Vec<GroupMember>,
    places: Vec<Progress>,
}

/// How far a group is in a partition.
struct Progress {
    at: TopicPartition,
    committed: Option<i64>,
    end: i64,
}

impl Progress {
    /// How many offsets lie between what is committed and the end.
    fn lag(&self) -> Option<i64> {
        self.committed.map(|committed| (self.end - committed).max(0))
    }
}

impl Group {
    /// Does what was asked and prints to standard output.
    ///
    /// # Errors
    /// Those of the log and of standard output.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let out = &mut io::stdout().lock();
        match self.action {
            Action::List { json, place } => {
                let opened = place.open().await?;
                let ended = list(&opened, out, json).await;
                opened.close(ended).await
            }
            Action::Describe { group, watch, json, place } => {
                let opened = place.open().await?;
                let ended = match watch {
                    Some(pause) => self::watch(&opened, out, &group, pause, json).await,
                    None => describe(&opened, out, &group, json).await,
                };
                opened.close(ended).await
            }
            Action::Reset(asked) => {
                let opened = asked.place.open().await?;
                let ended = reset(&opened, out, &asked).await;
                opened.close(ended).await
            }
            Action::Delete { groups, place } => {
                let opened = place.open().await?;
                let ended = delete(&opened, out, &groups).await;
                opened.close(ended).await
            }
        }
    }
}

async fn list(opened: &Opened, out: &mut impl Write, json: bool) -> Result<(), Failure> {
    let groups: Vec<(String, String)> = match &opened.kind {
        Kind::Kafka(log) => log.groups().await?.into_iter().map(|one| (one.name, one.state)).collect(),
        Kind::Embedded(log) => {
            let listed = log.broker().groups().list()?;
            listed.into_iter().map(|one| (one.group.to_string(), one.state.name().to_owned())).collect()
        }
    };
    if json {
        let groups: Vec<_> =
            groups.iter().map(|(group, state)| json!({ "group": group, "state": state })).collect();
        return json::line(out, &groups).map_err(Failure::Output);
    }
    let mut print = || {
        writeln!(out, "{:<20} GROUP", "STATE")?;
        groups.iter().try_for_each(|(group, state)| writeln!(out, "{state:<20} {group}"))
    };
    print().map_err(Failure::Output)
}

/// The group; `None` where there is none of that name.
async fn standing(opened: &Opened, group: &str) -> Result<Option<Standing>, Failure> {
    let (state, members, mut committed) = match &opened.kind {
        Kind::Kafka(log) => {
            let partitions = partitions(log, None).await?;
            let committed = log.committed_all(group, &partitions).await?;
            let committed: Vec<_> = partitions.into_iter().zip(committed).collect();
            let described = log.group(group).await?;
            let (state, members) =
                described.map_or(("Dead".to_owned(), Vec::new()), |it| (it.state, it.members));
            (state, members, committed)
        }
        Kind::Embedded(log) => {
            let groups = log.broker().groups();
            let state = groups.describe(group)?.state.name().to_owned();
            let at = |of: topo_broker::TopicPartition| TopicPartition::new(of.topic, of.partition);
            let committed = groups.fetch_all(group)?;
            let committed = committed.into_iter().map(|(of, to)| (at(of), Some(to.offset))).collect();
            (state, Vec::new(), committed)
        }
    };
    let is_read = |at: &TopicPartition| members.iter().any(|member| member.partitions.contains(at));
    committed.retain(|(at, offset)| offset.is_some() || is_read(at));
    if members.is_empty() && committed.is_empty() && state == "Dead" {
        return Ok(None);
    }
    let mut places = Vec::new();
    for (at, committed) in committed {
        let end = opened.log.offsets(&at).await?.high_watermark;
        places.push(Progress { at, committed, end });
    }
    Ok(Some(Standing { state, members, places }))
}

/// Every partition of a topic, or of all.
async fn partitions(log: &dyn Log, topic: Option<&str>) -> Result<Vec<TopicPartition>, Failure> {
    let topics = match topic {
        Some(topic) => vec![log.topic(topic).await?.ok_or_else(|| LogError::UnknownTopic(topic.into()))?],
        None => log.topics().await?,
    };
    let of = |info: &topo_core::log::TopicInfo| {
        let name = info.name.clone();
        (0..info.partitions).map(move |number| TopicPartition::new(name.clone(), number))
    };
    Ok(topics.iter().flat_map(of).collect())
}

async fn describe(opened: &Opened, out: &mut impl Write, group: &str, json: bool) -> Result<(), Failure> {
    let standing = standing(opened, group).await?.ok_or_else(|| Failure::NoGroup(group.to_owned()))?;
    if json { standing.print_json(out, group) } else { standing.print(out, group) }.map_err(Failure::Output)
}

/// Describes it every `pause`, until told to stop: on a terminal in the same place, elsewhere one below the other.
async fn watch(
    opened: &Opened,
    out: &mut (impl Write + IsTerminal),
    group: &str,
    pause: Duration,
    json: bool,
) -> Result<(), Failure> {
    if let Kind::Embedded(_) = &opened.kind {
        return Err(Failure::NothingMoves);
    }
    let mut signals = Signals::listen().map_err(Failure::System)?;
    let (is_screen, mut is_first) = (out.is_terminal() && !json, true);
    loop {
        // The screen is cleared once there is something to show.
        let mut shown = Vec::new();
        tokio::select! {
            () = signals.told_to_stop() => return Ok(()),
            described = describe(opened, &mut shown, group, json) => described?,
        }
        let before = match (is_screen, is_first || json) {
            (true, _) => CLEAR,
            (false, true) => "",
            (false, false) => "\n",
        };
        let written = out.write_all(before.as_bytes()).and_then(|()| out.write_all(&shown));
        written.and_then(|()| out.flush()).map_err(Failure::Output)?;
        is_first = false;
        tokio::select! {
            () = signals.told_to_stop() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// A number of seconds, such as 2 or 0.5.
fn seconds(text: &str) -> Result<Duration, String> {
    let given = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    given.filter(|pause| SECONDS.contains(pause)).ok_or_else(|| "seconds are 0.1 to 86400".to_owned())
}

impl Standing {
    /// Who reads a partition.
    fn reader(&self, at: &TopicPartition) -> Option<&GroupMember> {
        self.members.iter().find(|member| member.partitions.contains(at))
    }

    fn print(&self, out: &mut impl Write, group: &str) -> io::Result<()> {
        let shown = |number: Option<i64>| number.map_or("-".to_owned(), |number| number.to_string());
        writeln!(out, "group   {group}")?;
        writeln!(out, "state   {}", self.state)?;
        writeln!(out, "members {}", self.members.len())?;
        for member in &self.members {
            writeln!(out, "member  {} ({}, {})", member.id, member.client_id, member.host)?;
        }
        let lags: Option<i64> = self.places.iter().map(Progress::lag).sum();
        writeln!(out, "lag     {}", shown(lags))?;
        if self.places.is_empty() {
            return Ok(());
        }
        let names = self.places.iter().map(|place| place.at.topic.len());
        let width = names.max().unwrap_or_default().max("TOPIC".len());
        writeln!(
            out,
            "\n{:<width$} {:>9} {:>12} {:>12} {:>12} MEMBER",
            "TOPIC", "PARTITION", "COMMITTED", "END", "LAG"
        )?;
        for place in &self.places {
            let TopicPartition { topic, partition } = &place.at;
            let (committed, lag) = (shown(place.committed), shown(place.lag()));
            let reader = self.reader(&place.at).map_or("-", |member| &member.id);
            writeln!(
                out,
                "{topic:<width$} {partition:>9} {committed:>12} {:>12} {lag:>12} {reader}",
                place.end
            )?;
        }
        Ok(())
    }

    fn print_json(&self, out: &mut impl Write, group: &str) -> io::Result<()> {
        let member = |member: &GroupMember| json!({ "id": member.id, "clientId": member.client_id, "host": member.host });
        let members: Vec<_> = self.members.iter().map(member).collect();
        let place = |place: &Progress| {
            json!({
                "topic": &*place.at.topic,
                "partition": place.at.partition,
                "committed": place.committed,
                "end": place.end,
                "lag": place.lag(),
                "member": self.reader(&place.at).map(|member| &member.id),
            })
        };
        let partitions: Vec<_> = self.places.iter().map(place).collect();
        let state = &self.state;
        json::line(
            out,
            &json!({ "group": group, "state": state, "members": members, "partitions": partitions }),
        )
    }
}

async fn reset(opened: &Opened, out: &mut impl Write, asked: &Reset) -> Result<(), Failure> {
    let (group, log) = (&asked.group, &*opened.log);
    if let Kind::Kafka(kafka) = &opened.kind
        && kafka.group(group).await?.is_some_and(|it| !it.members.is_empty())
    {
        return Err(Failure::HasMembers(group.clone()));
    }
    let mut targets = partitions(log, Some(&asked.topic)).await?;
    let all = targets.len() as u32;
    targets.retain(|at| asked.partition.is_none_or(|partition| partition == at.partition));
    if let (Some(partition), true) = (asked.partition, targets.is_empty()) {
        return Err(Failure::NoPartition { topic: asked.topic.clone(), partition, partitions: all });
    }
    let mut moves = Vec::new();
    for at in targets {
        let held = log.offsets(&at).await?;
        let committed = log.committed(group, &at).await?;
        let to = match &asked.to {
            To { to_earliest: true, .. } => held.log_start,
            To { to_offset: Some(offset), .. } => *offset,
            To { to_time: Some(time), .. } => StartAt::Time(*time).find(log, &at, held).await?,
            To { shift_by: Some(by), .. } => committed.unwrap_or(held.log_start).saturating_add(*by),
            _ => held.high_watermark,
        };
        moves.push((at, committed, to.max(held.log_start).min(held.high_watermark)));
    }
    if !asked.dry_run {
        let offsets: Vec<_> = moves.iter().map(|(at, _, to)| (at.clone(), *to)).collect();
        log.commit(group, &offsets).await?;
    }
    let mut print = || {
        writeln!(out, "{:>9} {:>20} {:>20}", "PARTITION", "FROM", "TO")?;
        for (at, from, to) in &moves {
            let from = from.map_or("-".to_owned(), |from| from.to_string());
            writeln!(out, "{:>9} {from:>20} {to:>20}", at.partition)?;
        }
        if asked.dry_run { writeln!(out, "nothing was changed: this was a dry run") } else { Ok(()) }
    };
    print().map_err(Failure::Output)
}

async fn delete(opened: &Opened, out: &mut impl Write, groups: &[String]) -> Result<(), Failure> {
    for group in groups {
        if standing(opened, group).await?.is_none() {
            return Err(Failure::NoGroup(group.clone()));
        }
        match &opened.kind {
            Kind::Kafka(log) => log.delete_group(group).await?,
            Kind::Embedded(log) => log.broker().groups().delete(group).await?,
        }
        writeln!(out, "deleted group `{group}`").map_err(Failure::Output)?;
    }
    Ok(())
}
