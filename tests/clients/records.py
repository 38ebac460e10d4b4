"""The command line and the form of records that the Python clients share."""

import argparse
import base64
import json
import sys


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=["produce", "consume", "member", "process"])
    parser.add_argument("--broker", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--codec", default="none")
    parser.add_argument("--idempotent", action="store_true")
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--to-end", action="store_true")
    parser.add_argument("--isolation", default="read_committed")
    parser.add_argument("--group")
    parser.add_argument("--name")
    parser.add_argument("--assignor", default="range")
    parser.add_argument("--instance")
    parser.add_argument("--to")
    parser.add_argument("--transactional-id")
    return parser.parse_args()


def bytes_of(text):
    return None if text is None else base64.b64decode(text)


def text_of(data):
    return None if data is None else base64.b64encode(data).decode()


def read_records(lines):
    return (json.loads(line) for line in lines if line.strip())


def record_line(partition, offset, timestamp, key, value, headers):
    return {
        "partition": partition,
        "offset": offset,
        "timestamp": timestamp,
        "key": text_of(key),
        "value": text_of(value),
        "headers": [[name, text_of(data)] for name, data in headers],
    }


def processed(value, offset, is_committed):
    """What `process` makes of a record: its value backwards, and headers that say where it was and what is to come of it."""
    headers = [("from", str(offset).encode()), ("is", b"committed" if is_committed else b"aborted")]
    return None if value is None else value[::-1], headers


def print_line(line):
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
