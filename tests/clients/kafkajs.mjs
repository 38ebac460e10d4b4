// kafkajs, JavaScript's client: produce, consume, be a member of a group, or one that processes in transactions.
//
// Its command line and its lines are those of confluent.py; of the codecs it has `none` and `gzip`, and its one assignor is
// offered under the name that the others give theirs.

import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import kafkajs from "kafkajs";

const { AssignerProtocol, CompressionTypes, Kafka, PartitionAssigners, logLevel } = kafkajs;

const bytesOf = (text) => (text === null ? null : Buffer.from(text, "base64"));
const textOf = (data) => (data === null || data === undefined ? null : Buffer.from(data).toString("base64"));
const printLine = (line) => process.stdout.write(JSON.stringify(line) + "\n");

const { positionals, values: options } = parseArgs({
  allowPositionals: true,
  options: {
    broker: { type: "string" },
    topic: { type: "string" },
    codec: { type: "string", default: "none" },
    idempotent: { type: "boolean", default: false },
    count: { type: "string", default: "0" },
    group: { type: "string" },
    name: { type: "string", default: "kafkajs" },
    assignor: { type: "string", default: "roundrobin" },
    isolation: { type: "string", default: "read_committed" },
    to: { type: "string" },
    "transactional-id": { type: "string" },
  },
});

const kafka = new Kafka({ clientId: options.name, brokers: [options.broker], logLevel: logLevel.WARN });

// Headers of one name are a list of values under it.
function headersOf(pairs) {
  const headers = {};
  for (const [name, value] of pairs) (headers[name] ??= []).push(bytesOf(value));
  return headers;
}

const pairsOf = (headers) =>
  Object.entries(headers ?? {}).flatMap(([name, values]) => [values].flat().map((value) => [name, textOf(value)]));

async function produce() {
  const messages = [];
  for await (const line of createInterface({ input: process.stdin })) {
    if (!line.trim()) continue;
    const record = JSON.parse(line);
    messages.push({
      partition: record.partition,
      timestamp: String(record.timestamp),
      key: bytesOf(record.key),
      value: bytesOf(record.value),
      headers: headersOf(record.headers),
    });
  }
  const producer = kafka.producer({ idempotent: options.idempotent, maxInFlightRequests: 1 });
  await producer.connect();
  const compression = { none: CompressionTypes.None, gzip: CompressionTypes.GZIP }[options.codec];
  // Some requests of many records rather than one of all.
  for (let from = 0; from < messages.length; from += 500)
    await producer.send({ topic: options.topic, acks: -1, compression, messages: messages.slice(from, from + 500) });
  await producer.disconnect();
}

const shown = (partition, message) => ({
  partition,
  offset: Number(message.offset),
  timestamp: Number(message.timestamp),
  key: textOf(message.key),
  value: textOf(message.value),
  headers: pairsOf(message.headers),
});

// kafkajs reads in groups only: this one is of its own.
async function consume() {
  const groupId = `consume-${process.pid}-${Date.now()}`;
  const consumer = kafka.consumer({ groupId, readUncommitted: options.isolation === "read_uncommitted" });
  await consumer.connect();
  await consumer.subscribe({ topic: options.topic, fromBeginning: true });
  let left = Number(options.count);
  await new Promise((resolve, reject) => {
    consumer.on(consumer.events.CRASH, ({ payload }) => reject(payload.error));
    consumer.run({
      autoCommit: false,
      eachMessage: async ({ partition, message }) => {
        if (left > 0) printLine(shown(partition, message));
        if (--left === 0) resolve();
      },
    });
  });
  await consumer.disconnect();
}

const named = (name) => (config) => {
  const assigner = PartitionAssigners.roundRobin(config);
  return {
    ...assigner,
    name,
    protocol: ({ topics }) => ({
      name,
      metadata: AssignerProtocol.MemberMetadata.encode({ version: 0, topics, userData: Buffer.alloc(0) }),
    }),
  };
};

async function join() {
  const consumer = kafka.consumer({
    groupId: options.group,
    sessionTimeout: 6_000,
    heartbeatInterval: 500,
    partitionAssigners: [named(options.assignor)],
  });
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) =>
    printLine({ event: "assigned", partitions: (payload.memberAssignment[options.topic] ?? []).sort((a, b) => a - b) }),
  );
  await consumer.connect();
  await consumer.subscribe({ topic: options.topic, fromBeginning: true });
  process.on("SIGTERM", () => consumer.disconnect().then(() => process.exit(0)));
  return consumer;
}

async function member() {
  const consumer = await join();
  await consumer.run({
    autoCommitThreshold: 1,
    eachMessage: async ({ partition, message }) => printLine({ event: "record", ...shown(partition, message) }),
  });
}

// One transaction with what becomes of the messages, and how far they were read.
async function transact(producer, partition, messages, isCommitted) {
  const transaction = await producer.transaction();
  try {
    await transaction.send({
      topic: options.to,
      messages: messages.map(({ key, value, timestamp, offset }) => ({
        partition,
        timestamp,
        key,
        value: value && Buffer.from(value).reverse(),
        headers: { from: offset, is: isCommitted ? "committed" : "aborted" },
      })),
    });
    const offset = String(Number(messages.at(-1).offset) + 1);
    const topics = [{ topic: options.topic, partitions: [{ partition, offset }] }];
    await transaction.sendOffsets({ consumerGroupId: options.group, topics });
    await (isCommitted ? transaction.commit() : transaction.abort());
  } catch (error) {
    if (transaction.isActive()) await transaction.abort().catch(() => {});
    throw error;
  }
  printLine({ event: "transaction", committed: isCommitted, records: messages.length });
}

async function processing() {
  const consumer = await join();
  const transactionalId = options["transactional-id"];
  const producer = kafka.producer({ transactionalId, idempotent: true, maxInFlightRequests: 1 });
  await producer.connect();
  let number = 0;
  await consumer.run({
    autoCommit: false,
    eachBatch: async ({ batch, resolveOffset, heartbeat, isRunning, isStale }) => {
      for (let from = 0; from < batch.messages.length && isRunning() && !isStale(); from += 20) {
        const messages = batch.messages.slice(from, from + 20);
        try {
          if (++number % 3 === 0) await transact(producer, batch.partition, messages, false);
          await transact(producer, batch.partition, messages, true);
        } catch (error) {
          if (!["INVALID_PRODUCER_EPOCH", "PRODUCER_FENCED"].includes(error.type)) throw error;
          printLine({ event: "fenced", error: error.type });
          // Outside of its own loop, which waits for the end of this.
          setImmediate(() => consumer.disconnect().then(() => process.exit(0)));
          return;
        }
        resolveOffset(messages.at(-1).offset);
        await heartbeat();
      }
    },
  });
}

await { produce, consume, member, process: processing }[positionals[0]]();
