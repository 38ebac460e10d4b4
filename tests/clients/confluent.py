"""librdkafka, as Python has it (confluent-kafka): produce, consume, be a member of a group, or one that processes
in transactions.

Records are lines of JSON: partition, timestamp (milliseconds since 1970), key, value and headers, bytes in base64 and null
where there are none; what is read has an offset, too.
"""

import signal
import sys

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition

from records import arguments, bytes_of, print_line, processed, read_records, record_line


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
        "isolation.level": options.isolation,
    })
    partitions = consumer.list_topics(options.topic, 30).topics[options.topic].partitions
    consumer.assign([TopicPartition(options.topic, number, OFFSET_BEGINNING) for number in partitions])
    for _ in range(options.count):
        message = consumer.poll(60)
        if message is None or message.error():
            sys.exit(f"instead of a record: {message and message.error()}")
        print_line(shown(message))
    consumer.close()


def join(options):
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
    return consumer


def member(options):
    consumer = join(options)
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


def transaction(options, consumer, producer, messages, is_committed):
    """One transaction with what becomes of the messages, and how far they were read."""
    written = []
    producer.begin_transaction()
    for message in messages:
        value, headers = processed(message.value(), message.offset(), is_committed)
        producer.produce(
            options.to,
            partition=message.partition(),
            timestamp=message.timestamp()[1],
            key=message.key(),
            value=value,
            headers=headers,
            on_delivery=lambda error, _: error or written.append(True),
        )
    producer.flush()
    ends = {message.partition(): message.offset() + 1 for message in messages}
    offsets = [TopicPartition(options.topic, partition, end) for partition, end in ends.items()]
    producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata())
    if is_committed:
        producer.commit_transaction()
    else:
        producer.abort_transaction()
    print_line({"event": "transaction", "committed": is_committed, "records": len(written)})


def process(options):
    consumer = join(options)
    producer = Producer({"bootstrap.servers": options.broker, "transactional.id": options.transactional_id})
    producer.init_transactions()
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    number = 0
    while not stopped:
        messages = [message for message in consumer.consume(20, 0.1) if not message.error()]
        if not messages:
            continue
        number += 1
        try:
            if number % 3 == 0:
                transaction(options, consumer, producer, messages, False)
            transaction(options, consumer, producer, messages, True)
        except KafkaException as exception:
            error = exception.args[0]
            if error.code() in (KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH):
                print_line({"event": "fenced", "error": error.name()})
                break
            if not error.txn_requires_abort():
                raise
            producer.abort_transaction()
            print(f"aborted, and done again: {error}", file=sys.stderr)
            for message in reversed(messages):
                if message.partition() in {one.partition for one in consumer.assignment()}:
                    consumer.seek(TopicPartition(options.topic, message.partition(), message.offset()))
    consumer.close()


if __name__ == "__main__":
    options = arguments()
    {"produce": produce, "consume": consume, "member": member, "process": process}[options.verb](options)
