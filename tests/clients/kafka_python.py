"""kafka-python, the client written in Python alone: produce, consume, or be a member of a group.

Its command line and its lines are those of confluent.py.
"""

import signal
import sys

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

from records import arguments, bytes_of, print_line, read_records, record_line

ASSIGNORS = {"range": RangePartitionAssignor, "roundrobin": RoundRobinPartitionAssignor}


def produce(options):
    producer = KafkaProducer(
        bootstrap_servers=options.broker,
        compression_type=None if options.codec == "none" else options.codec,
        enable_idempotence=options.idempotent,
        acks="all",
        max_request_size=2_000_000,
    )
    sent = [
        producer.send(
            options.topic,
            partition=record["partition"],
            timestamp_ms=record["timestamp"],
            key=bytes_of(record["key"]),
            value=bytes_of(record["value"]),
            headers=[(name, bytes_of(value)) for name, value in record["headers"]],
        )
        for record in read_records(sys.stdin)
    ]
    producer.flush()
    for one in sent:
        one.get(60)
    producer.close()


def shown(record):
    return record_line(
        record.partition, record.offset, record.timestamp, record.key, record.value, record.headers
    )


def consume(options):
    consumer = KafkaConsumer(
        bootstrap_servers=options.broker,
        enable_auto_commit=False,
        consumer_timeout_ms=60_000,
        isolation_level=options.isolation,
    )
    numbers = consumer.partitions_for_topic(options.topic)
    partitions = [TopicPartition(options.topic, number) for number in numbers]
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    if options.to_end:
        ends = consumer.end_offsets(partitions)
        while any(consumer.position(partition) < ends[partition] for partition in partitions):
            polled = consumer.poll(timeout_ms=100)
            for record in (record for records in polled.values() for record in records):
                print_line(shown(record))
        consumer.close()
        return
    left = options.count
    for record in consumer:
        print_line(shown(record))
        left -= 1
        if left == 0:
            break
    if left:
        sys.exit(f"{left} records are missing")
    consumer.close()


class Told(ConsumerRebalanceListener):
    """Says which partitions the member has."""

    def on_partitions_assigned(self, assigned):
        print_line({"event": "assigned", "partitions": sorted(one.partition for one in assigned)})

    def on_partitions_revoked(self, revoked):
        print_line({"event": "revoked", "partitions": []})


def member(options):
    consumer = KafkaConsumer(
        bootstrap_servers=options.broker,
        group_id=options.group,
        client_id=options.name,
        group_instance_id=options.instance,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        partition_assignment_strategy=[ASSIGNORS[options.assignor]],
        session_timeout_ms=6_000,
        heartbeat_interval_ms=500,
    )
    consumer.subscribe([options.topic], listener=Told())
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    while not stopped:
        polled = consumer.poll(timeout_ms=100)
        for record in (record for records in polled.values() for record in records):
            print_line({"event": "record", **shown(record)})
        if polled:
            consumer.commit_async()
    consumer.close()


if __name__ == "__main__":
    options = arguments()
    {"produce": produce, "consume": consume, "member": member}[options.verb](options)
