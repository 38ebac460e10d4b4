//! The contract of a log, over the memory log, the embedded log, and a broker behind the Kafka client.

mod memory {
    use std::sync::Arc;

    use topo_core::schedule::TokioScheduler;
    use topo_tests::log_contract::Tried;
    use topo_tests::memory_log::MemoryLog;

    async fn open() -> (Tried, ()) {
        (Arc::new(MemoryLog::new(Arc::new(TokioScheduler::current()))), ())
    }

    topo_tests::log_contract!(open);
}

mod embedded {
    use std::sync::Arc;

    use topo::embedded::{EmbeddedConfig, EmbeddedLog};
    use topo_core::schedule::TokioScheduler;
    use topo_tests::log_contract::Tried;

    async fn open() -> (Tried, tempfile::TempDir) {
        let dir = tempfile::tempdir().expect("a directory for temporary files");
        let clock = Arc::new(TokioScheduler::current());
        let log = EmbeddedLog::open(dir.path(), EmbeddedConfig::default(), clock).expect("it is new");
        (Arc::new(log), dir)
    }

    topo_tests::log_contract!(open, brokers);
}

mod kafka {
    use std::sync::Arc;
    use std::time::Duration;

    use topo_broker::{Broker, BrokerConfig, Leaving, ListenAddress, Server, ServerConfig};
    use topo_connectors::kafka::{KafkaConfig, KafkaLog};
    use topo_core::log::{
        Change, Joining, Log, LogError, Membership, Record, TopicPartition, TopicSpec, TransactionalConfig,
    };
    use topo_tests::log_contract::Tried;

    /// How long anything may take before the test gives up.
    const PATIENCE: Duration = Duration::from_secs(90);

    /// A client of its own, and what must live as long.
    async fn client() -> (KafkaLog, Lives) {
        let dir = tempfile::tempdir().expect("a directory for temporary files");
        let broker = Broker::open(dir.path(), BrokerConfig::default()).expect("it is new");
        let config = ServerConfig { listen: vec![ListenAddress::localhost(0)], ..ServerConfig::default() };
        let server = Server::bind(broker.clone(), config).expect("a free port");
        let brokers = server.local_addrs()[0].to_string().parse().expect("an address");
        let log = KafkaLog::connect(&brokers, KafkaConfig::default()).await.expect("it listens");
        (log, Lives { broker, _server: server, _dir: dir })
    }

    /// What is behind a client.
    struct Lives {
        broker: Broker,
        _server: Server,
        _dir: tempfile::TempDir,
    }

    async fn open() -> (Tried, Lives) {
        let (log, lives) = client().await;
        (Arc::new(log), lives)
    }

    topo_tests::log_contract!(open, brokers);

    /// Topic `t` of 3 partitions, each of 10 records.
    async fn filled(log: &KafkaLog) -> Vec<TopicPartition> {
        let spec = TopicSpec { partitions: 3, ..TopicSpec::default() };
        log.create_topic("t", &spec).await.expect("it is not there yet");
        let partitions = [0, 1, 2].map(|partition| TopicPartition::new("t", partition));
        for at in &partitions {
            log.append(at, vec![Record::default(); 10]).await.expect("the topic takes them");
        }
        partitions.to_vec()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn members_share_partitions_and_go_on_where_their_group_has_committed() {
        let (log, _lives) = client().await;
        let partitions = filled(&log).await;
        let member = log.member("g", &["t"], true).expect("a name");
        let mut seen = Vec::new();
        while seen.len() < 30 {
            seen.extend(member.next().await.expect("the broker is there"));
        }
        let group = log.group("g").await.expect("the broker is there").expect("it has a member");
        assert_eq!((&*group.state, group.members.len()), ("Stable", 1));
        let mut assigned = group.members[0].partitions.clone();
        assigned.sort();
        assert_eq!(assigned, partitions);
        assert!(matches!(log.delete_group("g").await, Err(LogError::Invalid(_))), "it has a member");
        assert!(matches!(log.commit("g", &[(partitions[0].clone(), 0)]).await, Err(LogError::Invalid(_))));

        let committed: Vec<_> = partitions.iter().cloned().zip([10, 4, 10]).collect();
        member.commit(&committed).await.expect("it is a member");
        member.leave().await;
        let member = log.member("g", &["t"], true).expect("a name");
        let (at, record) = member.next().await.expect("the broker is there").remove(0);
        assert_eq!((at.partition, record.offset), (1, 4));
        member.leave().await;
        let told = log.committed_all("g", &partitions).await.expect("the broker is there");
        assert_eq!(told, [Some(10), Some(4), Some(10)]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn groups_are_listed_and_deleted() {
        let (log, _lives) = client().await;
        let partitions = filled(&log).await;
        assert!(log.groups().await.expect("the broker is there").is_empty());
        assert_eq!(log.group("one").await.expect("the broker is there"), None);
        for group in ["two", "one"] {
            log.commit(group, &[(partitions[1].clone(), 3)]).await.expect("it has no members");
        }
        let groups = log.groups().await.expect("the broker is there");
        let names: Vec<_> = groups.iter().map(|group| (&*group.name, &*group.state)).collect();
        assert_eq!(names, [("one", "Empty"), ("two", "Empty")]);
        log.delete_group("one").await.expect("it has no members");
        assert!(matches!(log.delete_group("one").await, Err(LogError::Invalid(_))));
        assert_eq!(log.committed("one", &partitions[1]).await.expect("the broker is there"), None);
        assert_eq!(log.groups().await.expect("the broker is there").len(), 1);
    }

    async fn until_assigned(member: &dyn Membership, lost: bool) {
        let mut has_lost = false;
        loop {
            match member.changed().await.expect("it is a member") {
                Change::Assigned(all) if all.len() == 3 => break,
                Change::Assigned(_) => {}
                Change::Revoked => member.release(),
                Change::Lost => has_lost = true,
            }
        }
        assert_eq!(has_lost, lost);
    }

    /// A member that the group did not wait for is told by the broker, before it knows itself.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_member_that_was_put_out_of_its_group_commits_nothing_in_a_transaction() {
        let (log, lives) = client().await;
        let partitions = filled(&log).await;
        let joining =
            Joining { group: "g".into(), topic: "t".into(), client_id: "worker".into(), task: 0, tasks: 1 };
        let member = log.join(&joining).await.expect("the topic is there");
        let assigned = tokio::time::timeout(PATIENCE, until_assigned(&*member, false)).await;
        assigned.expect("it is assigned all three");
        let groups = lives.broker.groups();
        let described = groups.describe("g").expect("it has a member");
        let leaving: Vec<_> = described
            .members
            .iter()
            .map(|one| Leaving { member_id: one.member_id.clone(), instance_id: None })
            .collect();
        assert_eq!(leaving.len(), 1);
        let mut holder = log.transactional(&TransactionalConfig::new("id")).await.expect("nobody has it");
        holder.append(&partitions[1], vec![Record::default()]).await.expect("the topic takes it");
        groups.leave("g", &leaving).expect("a name");
        let offsets = [(partitions[0].clone(), 7)];
        let late = holder.commit_offsets("g", Some(&*member), &offsets).await;
        assert!(matches!(late, Err(LogError::CommitFailed(_))), "{late:?}");
        let refused = holder.commit().await;
        assert!(matches!(refused, Err(LogError::Invalid(_))), "{refused:?}");
        holder.abort().await.expect("nobody else has the id");
        assert_eq!(log.committed("g", &partitions[0]).await.expect("the broker is there"), None);

        // It is let in again, and what it is assigned then is its own.
        let assigned = tokio::time::timeout(PATIENCE, until_assigned(&*member, true)).await;
        assigned.expect("it is assigned all three");
        holder.commit_offsets("g", Some(&*member), &offsets).await.expect("they are the member's");
        holder.commit().await.expect("nobody else has the id");
        assert_eq!(log.committed("g", &partitions[0]).await.expect("the broker is there"), Some(7));
        member.leave().await;
        let described = groups.describe("g").expect("it has committed");
        assert!(described.members.is_empty(), "{described:?}");
    }

    /// The client takes appends on trust; what it hears of them later is said where one waits for it.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_record_that_its_topic_does_not_take_is_said_to_be_invalid_where_one_waits_for_it() {
        let (log, _lives) = client().await;
        let config = [("cleanup.policy".to_owned(), "compact".to_owned())].into();
        log.create_topic("last", &TopicSpec { partitions: 1, config }).await.expect("it is not there yet");
        let at = TopicPartition::new("last", 0);
        let mut holder = log.transactional(&TransactionalConfig::new("id")).await.expect("nobody has it");
        let appended = holder.append(&at, vec![Record::default()]).await;
        let taken = match appended {
            Ok(()) => holder.flush().await,
            refused => refused,
        };
        assert!(matches!(taken, Err(LogError::Invalid(_))), "it has no key: {taken:?}");
        holder.abort().await.expect("nobody else has the id");
        let record = Record { key: Some("k".into()), ..Record::default() };
        holder.append(&at, vec![record]).await.expect("it has a key");
        holder.flush().await.expect("it has a key");
        holder.commit().await.expect("nobody else has the id");
    }
}
