// amqplib_client.js - the core job with amqplib (Node.js): amqplib_client.js HOST PORT.
// amqplib knows no transactions; all else of the core job is here.
"use strict";
const amqplib = require("amqplib");
const assert = require("assert");

const [host, port] = process.argv.slice(2);
const name = (of) => `amqplib.${process.pid}.${of}`;
const KINDS = ["direct", "fanout", "topic", "headers"];
let connection, channel;

const freshQueue = async () => (await channel.assertQueue("", { exclusive: true })).queue;

// Consumes `count` messages, each settled by `settle`, and then cancels.
function consume(queue, count, settle) {
    return new Promise((resolve, reject) => {
        const got = [];
        const timer = setTimeout(() => reject(new Error(`only ${got.length} came`)), 10000);
        const take = (message) => {
            if (!message || got.length === count) return;
            got.push(message);
            settle(message, got.length);
            if (got.length < count) return;
            clearTimeout(timer);
            channel.cancel(message.fields.consumerTag).then(() => resolve(got), reject);
        };
        channel.consume(queue, take).catch(reject);
    });
}

const texts = (messages) => messages.map((message) => message.content.toString());
const ack = (message) => channel.ack(message);

// A channel on which `wrong` fails with this reply code.
async function refused(code, wrong) {
    const broken = await connection.createChannel();
    const closed = new Promise((resolve) => broken.on("error", resolve));
    await assert.rejects(wrong(broken));
    assert.strictEqual((await closed).code, code);
}

const checks = {
    async declare() {
        for (const kind of KINDS) await channel.assertExchange(name(kind), kind, { durable: true });
        const queue = await channel.assertQueue(name("durable"), { durable: true });
        assert.deepStrictEqual({ ...queue }, { queue: name("durable"), messageCount: 0, consumerCount: 0 });
        await channel.checkQueue(name("durable"));
        await channel.checkExchange(name("direct"));
    },
    async routeByEachType() {
        const queue = await freshQueue();
        await channel.bindQueue(queue, name("direct"), "key");
        await channel.bindQueue(queue, name("fanout"), "");
        await channel.bindQueue(queue, name("topic"), "*.b.#");
        await channel.bindQueue(queue, name("headers"), "", { "x-match": "all", colour: "red", n: 5 });
        for (const [kind, key] of [["direct", "key"], ["fanout", ""], ["topic", "a.b"], ["headers", ""]]) {
            channel.publish(name(kind), key, Buffer.from(kind), { headers: { colour: "red", n: 5 } });
        }
        assert.deepStrictEqual(texts(await consume(queue, 4, ack)), KINDS);
        await channel.unbindQueue(queue, name("direct"), "key");
    },
    async exchangeToExchange() {
        const queue = await freshQueue();
        await channel.bindExchange(name("fanout"), name("direct"), "through");
        await channel.bindQueue(queue, name("fanout"), "");
        channel.publish(name("direct"), "through", Buffer.from("x"));
        assert.deepStrictEqual(texts(await consume(queue, 1, ack)), ["x"]);
        await channel.unbindExchange(name("fanout"), name("direct"), "through");
    },
    async publishWithConfirmsAndConsume() {
        const publisher = await connection.createConfirmChannel();
        const expected = [];
        for (let i = 0; i < 200; i++) {
            expected.push(`message ${i}`);
            publisher.sendToQueue(name("durable"), Buffer.from(`message ${i}`), { persistent: true });
        }
        await publisher.waitForConfirms();
        await channel.prefetch(10);
        assert.deepStrictEqual(texts(await consume(name("durable"), 200, ack)), expected);
        await channel.prefetch(0);
        await publisher.close();
    },
    async nackRequeuesAsRedelivered() {
        const queue = await freshQueue();
        channel.sendToQueue(queue, Buffer.from("again"));
        const got = await consume(queue, 2, (message, nth) => channel.nack(message, false, nth === 1));
        assert.deepStrictEqual(got.map((message) => message.fields.redelivered), [false, true]);
        assert.strictEqual(await channel.get(queue), false);
    },
    async mandatoryIsReturned() {
        const publisher = await connection.createConfirmChannel();
        const order = [];
        publisher.on("return", (message) => order.push(`${message.fields.replyCode} ${message.content}`));
        await new Promise((resolve, reject) => {
            publisher.publish("", name("nobody"), Buffer.from("back"), { mandatory: true },
                (error) => (error ? reject(error) : resolve(order.push("confirmed"))));
        });
        assert.deepStrictEqual(order, ["312 back", "confirmed"]);
        await publisher.close();
    },
    async get() {
        const queue = await freshQueue();
        const publisher = await connection.createConfirmChannel();
        const headers = { text: "한글", big: 2 ** 40, half: 0.5, yes: true, none: null, list: [1, { a: 1 }] };
        const sent = { headers, priority: 3, messageId: "m", timestamp: 5 };
        publisher.sendToQueue(queue, Buffer.alloc(500000, "L"), sent);
        publisher.sendToQueue(queue, Buffer.from("two"));
        await publisher.waitForConfirms();
        const one = await channel.get(queue);
        assert.strictEqual(one.fields.messageCount, 1);
        assert.strictEqual(one.content.length, 500000);
        assert.deepStrictEqual({ ...one.properties.headers }, headers);
        assert.deepStrictEqual([one.properties.priority, one.properties.messageId, one.properties.timestamp],
            [3, "m", 5]);
        assert.strictEqual((await channel.get(queue, { noAck: true })).content.toString(), "two");
        assert.strictEqual(await channel.get(queue), false);
        channel.ackAll();
        await channel.recover();
        assert.strictEqual(await channel.get(queue), false);
        await publisher.close();
    },
    async channelErrorsLeaveTheConnection() {
        await refused(404, (broken) => broken.checkQueue(name("none")));
        await refused(406, (broken) => broken.assertQueue(name("durable"), { durable: false }));
        await refused(403, (broken) => broken.assertExchange("amq.mine", "direct"));
        assert.strictEqual((await channel.purgeQueue(name("durable"))).messageCount, 0);
    },
    async smallFrames() {
        const url = { hostname: host, port: Number(port), frameMax: 4096 };
        const small = await amqplib.connect(url);
        const other = await small.createConfirmChannel();
        other.sendToQueue(name("durable"), Buffer.alloc(20000, "s"));
        await other.waitForConfirms();
        assert.strictEqual((await other.get(name("durable"), { noAck: true })).content.length, 20000);
        await small.close();
    },
    async cleanUp() {
        await channel.deleteQueue(name("durable"));
        for (const kind of KINDS) await channel.deleteExchange(name(kind));
        await channel.close();
        await connection.close();
    },
};

async function main() {
    let failed = 0;
    connection = await amqplib.connect({ hostname: host, port: Number(port), heartbeat: 30 });
    channel = await connection.createChannel();
    for (const [label, check] of Object.entries(checks)) {
        try {
            await check();
            console.log(`ok ${label}`);
        } catch (error) {
            failed++;
            console.log(`FAIL ${label}: ${String(error).replace(/\s+/g, " ")}`);
        }
    }
    process.exit(failed ? 1 : 0);
}

main().catch((error) => {
    console.log(`FAIL connect: ${error}`);
    process.exit(1);
});
