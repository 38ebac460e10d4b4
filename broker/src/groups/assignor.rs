//! How a leader in this process shares partitions among members, whatever those are written in: as Kafka's `RangeAssignor`
//! and `RoundRobinAssignor` do.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::topic::TopicPartition;

/// A way to share partitions; members elect one that all of them have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Assignor {
    /// Each topic by itself, in ranges: members get the same partitions of topics that are partitioned alike.
    Range,
    /// All partitions of all topics in turn: the numbers of partitions differ least.
    RoundRobin,
}

/// A member to share among.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subscriber {
    /// Its id.
    pub member_id: Arc<str>,
    /// Its `group.instance.id`; those that have one come first, in its order.
    pub instance_id: Option<Arc<str>>,
    /// The topics it wants to read.
    pub topics: Vec<Arc<str>>,
}

impl Assignor {
    /// What members call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::RoundRobin => "roundrobin",
        }
    }

    /// The one that members call so.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Range, Self::RoundRobin].into_iter().find(|assignor| assignor.name() == name)
    }

    /// Gives every partition of the topics that somebody wants, of `counts` partitions each, to one who wants it. All
    /// members are in the result, by their ids.
    pub fn assign(
        self,
        members: &[Subscriber],
        counts: &BTreeMap<Arc<str>, u32>,
    ) -> BTreeMap<Arc<str>, Vec<TopicPartition>> {
        let mut ordered: Vec<&Subscriber> = members.iter().collect();
        ordered.sort_by_key(|member| order(member));
        let mut shares = members.iter().map(|member| (member.member_id.clone(), Vec::new())).collect();
        match self {
            Self::Range => range(&ordered, counts, &mut shares),
            Self::RoundRobin => round_robin(&ordered, counts, &mut shares),
        }
        shares
    }
}

type Shares = BTreeMap<Arc<str>, Vec<TopicPartition>>;

fn order(member: &Subscriber) -> (bool, &Arc<str>) {
    match &member.instance_id {
        Some(instance) => (false, instance),
        None => (true, &member.member_id),
    }
}

fn give(shares: &mut Shares, member: &Subscriber, topic: &Arc<str>, partition: u32) {
    if let Some(share) = shares.get_mut(&member.member_id) {
        share.push(TopicPartition::new(topic.clone(), partition));
    }
}

fn range(members: &[&Subscriber], counts: &BTreeMap<Arc<str>, u32>, shares: &mut Shares) {
    for (topic, count) in counts {
        let subscribers: Vec<&&Subscriber> = members.iter().filter(|m| m.topics.contains(topic)).collect();
        let mut next = 0;
        for (index, member) in subscribers.iter().enumerate() {
            // The first ones get the rest, one each.
            let all = *count as usize;
            let share = all / subscribers.len() + usize::from(index < all % subscribers.len());
            for _ in 0..share {
                give(shares, member, topic, next);
                next += 1;
            }
        }
    }
}

fn round_robin(members: &[&Subscriber], counts: &BTreeMap<Arc<str>, u32>, shares: &mut Shares) {
    let mut turn = 0;
    for (topic, count) in counts {
        if !members.iter().any(|member| member.topics.contains(topic)) {
            continue;
        }
        for partition in 0..*count {
            while !members[turn % members.len()].topics.contains(topic) {
                turn += 1;
            }
            give(shares, members[turn % members.len()], topic, partition);
            turn += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ASSIGNORS: [Assignor; 2] = [Assignor::Range, Assignor::RoundRobin];

    fn member(id: &str, topics: &[&str]) -> Subscriber {
        let topics = topics.iter().map(|topic| (*topic).into()).collect();
        Subscriber { member_id: id.into(), instance_id: None, topics }
    }

    fn counts(counts: &[(&str, u32)]) -> BTreeMap<Arc<str>, u32> {
        counts.iter().map(|(topic, count)| ((*topic).into(), *count)).collect()
    }

    fn shown(assigned: &BTreeMap<Arc<str>, Vec<TopicPartition>>) -> Vec<String> {
        let joined = |partitions: &Vec<TopicPartition>| {
            partitions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assigned.iter().map(|(id, partitions)| format!("{id}: {}", joined(partitions))).collect()
    }

    #[test]
    fn examples_come_out_as_kafkas_do() {
        let two = [member("c0", &["t0", "t1"]), member("c1", &["t0", "t1"])];
        let three_each = counts(&[("t0", 3), ("t1", 3)]);
        assert_eq!(
            shown(&Assignor::Range.assign(&two, &three_each)),
            ["c0: t0-0 t0-1 t1-0 t1-1", "c1: t0-2 t1-2"]
        );
        assert_eq!(
            shown(&Assignor::RoundRobin.assign(&two, &three_each)),
            ["c0: t0-0 t0-2 t1-1", "c1: t0-1 t1-0 t1-2"]
        );
        let uneven = [member("c0", &["t0"]), member("c1", &["t0", "t1"]), member("c2", &["t0", "t1", "t2"])];
        assert_eq!(
            shown(&Assignor::RoundRobin.assign(&uneven, &counts(&[("t0", 1), ("t1", 2), ("t2", 3)]))),
            ["c0: t0-0", "c1: t1-0", "c2: t1-1 t2-0 t2-1 t2-2"]
        );
    }

    #[test]
    fn static_members_come_first_by_their_names() {
        let mut members = [member("a", &["t"]), member("x", &["t"]), member("y", &["t"])];
        members[1].instance_id = Some("2".into());
        members[2].instance_id = Some("1".into());
        let assigned = Assignor::Range.assign(&members, &counts(&[("t", 2)]));
        assert_eq!(shown(&assigned), ["a: ", "x: t-1", "y: t-0"]);
    }

    #[test]
    fn nothing_to_share_and_nobody_to_share_with() {
        for assignor in ASSIGNORS {
            assert!(assignor.assign(&[], &counts(&[("t", 2)])).is_empty());
            assert_eq!(shown(&assignor.assign(&[member("a", &["none"])], &counts(&[("t", 2)]))), ["a: "]);
            assert_eq!(Assignor::from_name(assignor.name()), Some(assignor));
        }
        assert_eq!(Assignor::from_name("sticky"), None);
    }

    proptest! {
        /// Every partition that somebody wants has one owner, who wants it; nothing else is given to anyone.
        #[test]
        fn every_partition_has_one_owner(
            wanted in proptest::collection::vec(proptest::collection::btree_set(0_usize..5, 0..5), 1..8),
            sizes in proptest::collection::vec(0_u32..9, 5),
        ) {
            let topic = |index: &usize| -> Arc<str> { format!("t{index}").into() };
            let members: Vec<Subscriber> = wanted.iter().enumerate().map(|(index, topics)| Subscriber {
                member_id: format!("m{index}").into(),
                instance_id: (index % 3 == 0).then(|| format!("i{}", 9 - index).into()),
                topics: topics.iter().map(topic).collect(),
            }).collect();
            let counts: BTreeMap<Arc<str>, u32> =
                sizes.iter().enumerate().map(|(index, size)| (topic(&index), *size)).collect();
            for assignor in ASSIGNORS {
                let shares = assignor.assign(&members, &counts);
                prop_assert_eq!(shares.len(), members.len());
                let mut given: Vec<&TopicPartition> = shares.values().flatten().collect();
                given.sort_unstable();
                let wanted = |topic: &Arc<str>| members.iter().any(|member| member.topics.contains(topic));
                let expected: Vec<TopicPartition> = counts
                    .iter()
                    .filter(|(topic, _)| wanted(topic))
                    .flat_map(|(topic, count)| (0..*count).map(|p| TopicPartition::new(topic.clone(), p)))
                    .collect();
                prop_assert_eq!(given, expected.iter().collect::<Vec<_>>());
                for member in &members {
                    let share = &shares[&member.member_id];
                    prop_assert!(share.iter().all(|partition| member.topics.contains(&partition.topic)));
                }
            }
        }

        /// Those who want the same get the same, but for one partition: in each topic under range, of all under roundrobin.
        #[test]
        fn equals_get_equal_shares(members in 1_usize..8, sizes in proptest::collection::vec(0_u32..20, 1..4)) {
            let counts: BTreeMap<Arc<str>, u32> =
                sizes.iter().enumerate().map(|(index, size)| (format!("t{index}").into(), *size)).collect();
            let members: Vec<Subscriber> = (0..members).map(|index| Subscriber {
                member_id: format!("m{index}").into(),
                instance_id: None,
                topics: counts.keys().cloned().collect(),
            }).collect();
            let all = Assignor::RoundRobin.assign(&members, &counts);
            let sizes = |of: &dyn Fn(&TopicPartition) -> bool, shares: &BTreeMap<Arc<str>, Vec<TopicPartition>>| {
                let sizes: Vec<usize> = shares.values().map(|s| s.iter().filter(|p| of(p)).count()).collect();
                sizes.iter().max().unwrap() - sizes.iter().min().unwrap()
            };
            prop_assert!(sizes(&|_| true, &all) <= 1);
            let ranges = Assignor::Range.assign(&members, &counts);
            for topic in counts.keys() {
                prop_assert!(sizes(&|partition| partition.topic == *topic, &ranges) <= 1);
            }
            for share in ranges.values() {
                let broken = share.windows(2).find(|w| w[0].topic == w[1].topic && w[0].partition + 1 != w[1].partition);
                prop_assert_eq!(broken, None);
            }
        }
    }
}
