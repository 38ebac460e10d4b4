"""librdkafka, as Python has it (confluent-kafka): produce, consume, or be a member of a group.

Records are lines of JSON: partition, timestamp (milliseconds since 1970), key, value and headers, bytes in base64 and null
where there are none; what is read has an offset, too.
"""

import signal
import sys

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

from records import arguments, bytes_of, print_line, read_records, record_line


def produce(options):
    refused = []
    producer = Producer({
        "bootstrap.servers": options.broker,
        "compression.type": options.codec,
        "enable.idempotence": options.idempotent,
        "acks": "all",
        "message.max.bytes": 2_000_000,
    })
    for record in read_records(sys.stdin):
        producer.produce(
            options.topic,
            partition=record["partition"],
            timestamp=record["timestamp"],
            key=bytes_of(record["key"]),
            value=bytes_of(record["value"]),
            headers=[(name, bytes_of(value)) for name, value in record["headers"]],
            on_delivery=lambda error, _: error and refused.append(error),
        )
        producer.poll(0)
    left = producer.flush(60)
    if refused or left:
        sys.exit(f"{len(refused)} refused, {left} not acknowledged: {refused[:3]}")


def shown(message):
    _, timestamp = message.timestamp()
    return record_line(
        message.partition(), message.offset(), timestamp, message.key(), message.value(), message.headers() or []
    )


def consume(options):
    consumer = Consumer({
        "bootstrap.servers": options.broker,
        "group.id": "unused",
        "enable.auto.commit": False,
        "auto.offset.reset": "error",
    })
    partitions = consumer.list_topics(options.topic, 30).topics[options.topic].partitions
    consumer.assign([TopicPartition(options.topic, number, OFFSET_BEGINNING) for number in partitions])
    for _ in range(options.count):
        message = consumer.poll(60)
        if message is None or message.error():
            sys.exit(f"instead of a record: {message and message.error()}")
        print_line(shown(message))
    consumer.close()


def member(options):
    cooperative = options.assignor == "cooperative-sticky"
    owned = set()

    def tell(event):
        print_line({"event": event, "partitions": sorted(owned)})

    def assigned(consumer, partitions):
        owned.update(one.partition for one in partitions)
        (consumer.incremental_assign if cooperative else consumer.assign)(partitions)
        tell("assigned")

    def revoked(consumer, partitions):
        owned.difference_update(one.partition for one in partitions)
        (consumer.incremental_unassign(partitions) if cooperative else consumer.unassign())
        tell("revoked")

    settings = {
        "bootstrap.servers": options.broker,
        "group.id": options.group,
        "client.id": options.name,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "partition.assignment.strategy": options.assignor,
        "session.timeout.ms": 6_000,
        "heartbeat.interval.ms": 500,
    }
    if options.instance:
        settings["group.instance.id"] = options.instance
    consumer = Consumer(settings)
    consumer.subscribe([options.topic], on_assign=assigned, on_revoke=revoked)
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    while not stopped:
        message = consumer.poll(0.1)
        if message is None:
            continue
        if message.error():
            print(f"poll: {message.error()}", file=sys.stderr)
            continue
        print_line({"event": "record", **shown(message)})
        consumer.commit(message, asynchronous=True)
    consumer.close()


if __name__ == "__main__":
    options = arguments()
    {"produce": produce, "consume": consume, "member": member}[options.verb](options)
