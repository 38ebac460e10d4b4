//! Reading all that a partition holds, as is done with the broker's own topics when it is opened.

use bytes::Bytes;
use topo_protocol::BatchHeader;

use super::{Isolation, Partition};
use crate::error::BrokerError;

/// Bytes to read at a time.
const REPLAY_BYTES: usize = 1 << 20;

impl Partition {
    /// Hands on every batch below the high watermark, in order, whatever has become of its transaction. Blocks.
    ///
    /// # Errors
    /// What `take` returns; those of reading, and [`BrokerError::Corrupt`] where there is nothing though it is below the high watermark.
    pub(crate) fn replay(
        &self,
        mut take: impl FnMut(&BatchHeader, Bytes) -> Result<(), BrokerError>,
    ) -> Result<(), BrokerError> {
        let held = self.offsets()?;
        let mut offset = held.log_start;
        while offset < held.high_watermark {
            let mut batches = self.read(offset, REPLAY_BYTES, Isolation::ReadUncommitted)?.batches;
            if batches.is_empty() {
                return Err(BrokerError::Corrupt(format!(
                    "{} gives no record at offset {offset}, below its high watermark",
                    self.at
                )));
            }
            while !batches.is_empty() {
                let header = BatchHeader::parse(&batches)?;
                let batch = batches.split_to(header.total_bytes().min(batches.len()));
                take(&header, batch)?;
                offset = header.next_offset();
            }
        }
        Ok(())
    }
}
