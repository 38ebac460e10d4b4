//! A file's lines, gathered once: killed at any moment and started again, gathering goes on behind the last line that is
//! durable.
//!
//! Every record carries its position in the file, and the newest position in the topic says where to go on. How far back
//! to look for it is noted from time to time, as a group's committed offsets. When a run has come to its end, that is noted
//! in the same way: the next run over the same, unchanged file is a new pass over the whole of it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use topo_core::log::{FetchLimit, Log, LogError, Record, TopicInfo, TopicPartition};

use super::position::{Position, SourceId};
use super::{Gather, GatherError, blocks, lines};

/// Appends between two notes of how far back to look.
const APPENDS_PER_NOTE: u64 = 16;

/// Gathers a file's lines.
#[derive(Debug)]
pub struct FileLines {
    path: PathBuf,
    source: SourceId,
}

impl FileLines {
    /// The lines of the file at `path`.
    ///
    /// # Errors
    /// The system's, and one of its own where `path` is a directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        let metadata = File::open(path)?.metadata()?;
        if metadata.is_dir() {
            return Err(io::Error::other("it is a directory; name a file, or - for standard input"));
        }
        let source = SourceId { device: metadata.dev(), inode: metadata.ino() };
        Ok(Self { path: path.to_owned(), source })
    }

    /// The group whose committed offsets say from where on to look for the newest position.
    fn looking_group(&self) -> String {
        format!("topo.gather.{}", self.source)
    }

    /// The group whose committed offsets say up to where the topic held the file whole when a run ended.
    fn ended_group(&self) -> String {
        format!("topo.gathered.{}", self.source)
    }

    /// The newest position of this file in the topic, and whether a run that gathered that far came to its end.
    async fn newest(&self, log: &dyn Log, topic: &TopicInfo) -> Result<Option<(Position, bool)>, LogError> {
        let mut newest: Option<(Position, bool)> = None;
        for partition in 0..topic.partitions {
            let at = TopicPartition::new(Arc::clone(&topic.name), partition);
            let ended = log.committed(&self.ended_group(), &at).await?.unwrap_or(0);
            let held = log.offsets(&at).await?;
            let mut next = log.committed(&self.looking_group(), &at).await?.unwrap_or(0).max(held.log_start);
            while next < held.high_watermark {
                let fetched = log.fetch(&at, next, FetchLimit::default()).await?;
                for record in &fetched.records {
                    if let Some(position) = Position::of(record).filter(|found| found.source == self.source)
                        && newest.is_none_or(|(best, _)| {
                            (best.pass, best.bytes) <= (position.pass, position.bytes)
                        })
                    {
                        newest = Some((position, record.offset < ended));
                    }
                }
                if fetched.next_offset <= next {
                    break;
                }
                next = fetched.next_offset;
            }
        }
        Ok(newest)
    }

    /// Where this run begins.
    fn begin(&self, newest: Option<(Position, bool)>, length: u64) -> Position {
        let again = |pass| Position { source: self.source, pass, bytes: 0 };
        match newest {
            None => again(0),
            Some((position, _)) if position.bytes > length => {
                let path = self.path.display();
                tracing::warn!(%path, "the file is shorter than what was gathered of it; it is gathered anew");
                again(position.pass + 1)
            }
            Some((position, true)) if position.bytes == length => again(position.pass + 1),
            Some((position, _)) => position,
        }
    }

    async fn note_end(&self, log: &dyn Log, topic: &TopicInfo) -> Result<(), LogError> {
        let mut ends = Vec::new();
        for partition in 0..topic.partitions {
            let at = TopicPartition::new(Arc::clone(&topic.name), partition);
            let end = log.offsets(&at).await?.high_watermark;
            ends.push((at, end));
        }
        log.commit(&self.ended_group(), &ends).await
    }

    /// Appends one block of whole lines; gives how many they were, the position behind them and the first one's offset.
    async fn append(
        &self,
        log: &dyn Log,
        at: &TopicPartition,
        block: &Bytes,
        mut position: Position,
    ) -> Result<(u64, Position, i64), LogError> {
        let (key, end) = (Position::key(), position.bytes + block.len() as u64);
        let records: Vec<Record> = lines(block)
            .map(|line| {
                // The file's last line may lack its end.
                position.bytes = (position.bytes + line.len() as u64 + 1).min(end);
                Record { value: Some(line), headers: vec![position.header(&key)], ..Record::default() }
            })
            .collect();
        let count = records.len() as u64;
        let base_offset = log.append(at, records).await?;
        Ok((count, position, base_offset))
    }

    async fn append_all(&self, log: &dyn Log, topic: &TopicInfo) -> Result<u64, GatherError> {
        let mut gathered = 0;
        let failed = |lines| move |source| GatherError::Log { lines, source };
        let unread = |lines| move |source| GatherError::Read { lines, source };
        let mut file = File::open(&self.path).map_err(unread(0))?;
        let length = file.metadata().map_err(unread(0))?.len();
        let newest = self.newest(log, topic).await.map_err(failed(0))?;
        let mut position = self.begin(newest, length);
        file.seek(SeekFrom::Start(position.bytes)).map_err(unread(0))?;
        let watched =
            WatchedFile { file, path: self.path.clone(), source: self.source, read: position.bytes };
        let mut blocks = blocks(watched).map_err(unread(0))?;
        let mut appends = 0;
        while let Some(block) = blocks.recv().await {
            let block = block.map_err(|bad| GatherError::of_input(bad, gathered))?;
            let partition = (appends % u64::from(topic.partitions.max(1))) as u32;
            let at = TopicPartition::new(Arc::clone(&topic.name), partition);
            let appended = self.append(log, &at, &block, position).await;
            let (count, behind, base_offset) = appended.map_err(failed(gathered))?;
            (gathered, position) = (gathered + count, behind);
            // Only once the block is durable: what is looked for must lie behind where looking begins.
            if appends % APPENDS_PER_NOTE == 0 {
                let noted = log.commit(&self.looking_group(), &[(at, base_offset)]).await;
                noted.map_err(failed(gathered))?;
            }
            appends += 1;
        }
        Ok(gathered)
    }
}

#[async_trait]
impl Gather for FileLines {
    async fn gather(&mut self, log: &dyn Log, topic: &str) -> Result<u64, GatherError> {
        let failed = |source| GatherError::Log { lines: 0, source };
        let info = log.topic(topic).await.map_err(failed)?;
        let info = info.ok_or_else(|| failed(LogError::UnknownTopic(topic.into())))?;
        self.append_all(log, &info).await
    }

    async fn ended(&mut self, log: &dyn Log, topic: &str) -> Result<(), LogError> {
        let info = log.topic(topic).await?.ok_or_else(|| LogError::UnknownTopic(topic.into()))?;
        self.note_end(log, &info).await
    }
}

/// A file that is told to have shrunk or been replaced where its end is met.
struct WatchedFile {
    file: File,
    path: PathBuf,
    source: SourceId,
    /// Bytes from its start that were read or skipped.
    read: u64,
}

impl Read for WatchedFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.read += count as u64;
        if count == 0 && !buffer.is_empty() {
            self.check_end()?;
        }
        Ok(count)
    }
}

impl WatchedFile {
    fn check_end(&self) -> io::Result<()> {
        let path = self.path.display();
        if self.file.metadata()?.len() < self.read {
            return Err(io::Error::other(format!("{path} shrank while it was read")));
        }
        let now = self.path.metadata().map(|there| SourceId { device: there.dev(), inode: there.ino() });
        if now.ok() != Some(self.source) {
            return Err(io::Error::other(format!(
                "{path} was replaced while it was read; its old lines are in the log, run again for the new ones"
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use topo_core::log::TopicSpec;
    use topo_core::schedule::TokioScheduler;
    use topo_tests::memory_log::{Call, Fate, MemoryLog};

    use super::*;

    async fn log(partitions: u32) -> MemoryLog {
        let log = MemoryLog::new(Arc::new(TokioScheduler::current()));
        let spec = TopicSpec { partitions, ..TopicSpec::default() };
        log.create_topic("lines", &spec).await.unwrap();
        log
    }

    fn held(log: &MemoryLog, partitions: u32) -> Vec<String> {
        let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
        let all = (0..partitions).flat_map(|partition| log.records("lines", partition));
        all.map(|record| text(record.value.as_deref().unwrap())).collect()
    }

    async fn gather(log: &MemoryLog, path: &Path) -> Result<u64, GatherError> {
        FileLines::open(path).unwrap().gather(log, "lines").await
    }

    /// A file of many blocks: gathering reads 256 KiB at once.
    fn large(dir: &Path) -> (PathBuf, Vec<String>) {
        let path = dir.join("large.txt");
        let lines: Vec<String> = (0..60_000).map(|n| format!("line {n} {}", "x".repeat(n % 50))).collect();
        fs::write(&path, lines.join("\n")).unwrap();
        (path, lines)
    }

    #[tokio::test]
    async fn killed_at_any_append_it_goes_on_behind_the_last_durable_line() {
        let dir = tempfile::tempdir().unwrap();
        let (path, lines) = large(dir.path());
        for partitions in [1, 3] {
            let log = log(partitions).await;
            let mut runs = 0;
            // The second append of each run fails, as if the process ended there.
            loop {
                runs += 1;
                let mut appends = 0;
                log.judge(move |call| {
                    let is_append = matches!(call, Call::Append(..));
                    appends += u32::from(is_append);
                    if is_append && appends == 2 { Fate::fails() } else { Fate::default() }
                });
                if gather(&log, &path).await.is_ok() {
                    break;
                }
                assert!(runs < 100, "no progress");
            }
            assert!(runs > 3, "the file is one of many blocks");
            let mut gathered = held(&log, partitions);
            let mut expected = lines.clone();
            gathered.sort_unstable();
            expected.sort_unstable();
            assert_eq!(gathered.len(), expected.len());
            assert_eq!(gathered, expected);
        }
    }

    #[tokio::test]
    async fn a_run_that_ended_is_followed_by_a_new_pass_and_one_that_did_not_is_continued() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("two.txt");
        fs::write(&path, "one\ntwo\n").unwrap();
        let log = log(1).await;
        assert_eq!(gather(&log, &path).await.unwrap(), 2);
        assert_eq!(gather(&log, &path).await.unwrap(), 0);
        FileLines::open(&path).unwrap().ended(&log, "lines").await.unwrap();
        assert_eq!(gather(&log, &path).await.unwrap(), 2);
        assert_eq!(held(&log, 1), ["one", "two", "one", "two"]);
    }

    #[tokio::test]
    async fn lines_added_after_a_run_are_all_that_the_next_one_gathers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("grows.txt");
        fs::write(&path, "one\n").unwrap();
        let log = log(1).await;
        gather(&log, &path).await.unwrap();
        FileLines::open(&path).unwrap().ended(&log, "lines").await.unwrap();
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"two\n").unwrap();
        assert_eq!(gather(&log, &path).await.unwrap(), 1);
        assert_eq!(held(&log, 1), ["one", "two"]);
    }

    #[tokio::test]
    async fn a_file_that_has_become_shorter_is_gathered_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shrinks.txt");
        fs::write(&path, "a long first line\n").unwrap();
        let log = log(1).await;
        gather(&log, &path).await.unwrap();
        fs::write(&path, "short\n").unwrap();
        assert_eq!(gather(&log, &path).await.unwrap(), 1);
        assert_eq!(held(&log, 1), ["a long first line", "short"]);
    }

    #[test]
    fn a_file_that_shrinks_or_is_replaced_under_the_reader_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("watched.txt");
        let open = |text: &str| {
            fs::write(&path, text).unwrap();
            let FileLines { path, source } = FileLines::open(&path).unwrap();
            WatchedFile { file: File::open(&path).unwrap(), path, source, read: 0 }
        };
        let mut whole = String::new();
        let mut shrinking = open("one\ntwo\n");
        shrinking.read_exact(&mut [0; 6]).unwrap();
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(2).unwrap();
        assert!(
            shrinking
                .read_to_string(&mut whole)
                .unwrap_err()
                .to_string()
                .ends_with("shrank while it was read")
        );
        let mut replaced = open("one\n");
        fs::write(dir.path().join("new.txt"), "new\n").unwrap();
        fs::rename(dir.path().join("new.txt"), &path).unwrap();
        let noticed = replaced.read_to_string(&mut whole).unwrap_err().to_string();
        assert!(noticed.contains("was replaced while it was read"), "{noticed}");
        assert!(whole.contains("one"));
        assert_eq!(open("same\n").read_to_string(&mut whole).unwrap(), 5);
    }
}
