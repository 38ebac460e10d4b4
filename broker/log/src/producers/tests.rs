//! What producers may append, and what is remembered of it.

use topo_protocol::Attributes;

use super::*;

fn header(producer_id: i64, epoch: i16, base_sequence: i32, base_offset: i64) -> BatchHeader {
    BatchHeader {
        base_offset,
        batch_length: 49,
        partition_leader_epoch: 0,
        magic: 2,
        crc: 7,
        attributes: Attributes::default(),
        last_offset_delta: 1,
        base_timestamp: base_offset,
        max_timestamp: base_offset,
        producer_id,
        producer_epoch: epoch,
        base_sequence,
        record_count: 2,
    }
}

#[test]
fn the_last_five_are_known_again_and_gaps_are_not_let_through() {
    let mut producers = Producers::default();
    let start = i32::MAX - 5;
    for batch in 0..8 {
        let header = header(1, 0, advance(start, batch * 2), batch * 10);
        assert_eq!(producers.check(&header, None), Ok(None), "{batch}");
        producers.note(&header, None);
    }
    for batch in 3..8 {
        let again = producers.check(&header(1, 0, advance(start, batch * 2), 999), None).unwrap().unwrap();
        assert_eq!((again.base_offset, again.last_offset), (batch * 10, batch * 10 + 1));
    }
    let expected = advance(start, 16);
    assert_eq!(expected, 10, "numbers start over");
    for sequence in [advance(start, 4), expected + 1, expected + 2] {
        let refused = ProducerError::OutOfOrderSequence { producer_id: 1, sequence, expected };
        assert_eq!(producers.check(&header(1, 0, sequence, 999), None), Err(refused));
    }
    let longer = BatchHeader { last_offset_delta: 5, ..header(1, 0, advance(start, 14), 999) };
    assert!(producers.check(&longer, None).is_err(), "another batch under the same number");
}

#[test]
fn a_later_epoch_starts_at_zero_and_fences_the_one_before() {
    let mut producers = Producers::default();
    producers.note(&header(1, 3, 40, 0), None);
    assert!(matches!(
        producers.check(&header(1, 2, 42, 9), None),
        Err(ProducerError::Fenced { current: 3, .. })
    ));
    assert!(matches!(
        producers.check(&header(1, 4, 42, 9), None),
        Err(ProducerError::OutOfOrderSequence { expected: 0, .. })
    ));
    assert_eq!(producers.check(&header(1, 4, 0, 9), None), Ok(None));
    producers.note(&header(1, 4, 0, 9), None);
    assert!(producers.check(&header(1, 4, 0, 9), None).unwrap().is_some());
    assert!(producers.check(&header(1, 3, 42, 9), None).is_err());
    assert_eq!(
        producers.check(&header(2, 0, 77, 9), None),
        Ok(None),
        "whoever is unknown may start anywhere"
    );
    assert_eq!(producers.check(&header(-1, -1, -1, 9), None), Ok(None));
    for (epoch, sequence) in [(-1, 0), (0, -1)] {
        assert!(matches!(
            producers.check(&header(5, epoch, sequence, 9), None),
            Err(ProducerError::Invalid { .. })
        ));
    }
}

#[test]
fn those_that_are_old_or_too_many_are_forgotten() {
    let mut producers = Producers::default();
    for id in 0..100_000 {
        producers.note(&header(id, 0, 0, id), None);
        assert!(producers.by_id.len() <= MAX_PRODUCERS);
    }
    assert!(producers.check(&header(99_999, 0, 0, 0), None).unwrap().is_some());
    assert_eq!(producers.check(&header(0, 0, 0, 0), None), Ok(None));
    producers.expire(100_000, Duration::from_millis(10));
    assert_eq!(producers.by_id.len(), 10);
}
