<?php
// php_amqp_client.php - the core job with the amqp extension of PHP: php_amqp_client.php HOST PORT.

const KINDS = ["direct", "fanout", "topic", "headers"];

function name(string $of): string
{
    return "php-amqp." . getmypid() . "." . $of;
}

function equal($actual, $expected): void
{
    if ($actual !== $expected) {
        throw new Exception("expected " . json_encode($expected) . ", got " . json_encode($actual));
    }
}

function queue(AMQPChannel $channel, string $name = "", int $flags = AMQP_EXCLUSIVE): AMQPQueue
{
    $queue = new AMQPQueue($channel);
    if ($name !== "") {
        $queue->setName($name);
    }
    $queue->setFlags($flags);
    $queue->declareQueue();
    return $queue;
}

function exchange(AMQPChannel $channel, string $kind): AMQPExchange
{
    $exchange = new AMQPExchange($channel);
    $exchange->setName(name($kind));
    $exchange->setType($kind);
    $exchange->setFlags(AMQP_DURABLE);
    $exchange->declareExchange();
    return $exchange;
}

/** The next $count messages; $settle is called with each and its number. */
function consume(AMQPQueue $queue, int $count, callable $settle): array
{
    $got = [];
    $queue->consume(function ($message, $queue) use (&$got, $count, $settle) {
        $got[] = $message;
        $settle($message, count($got));
        return count($got) < $count;
    });
    $queue->cancel();
    return $got;
}

function bodies(array $messages): array
{
    return array_map(fn ($message) => $message->getBody(), $messages);
}

function refused(AMQPConnection $connection, int $code, callable $wrong): void
{
    try {
        $wrong(new AMQPChannel($connection));
    } catch (AMQPException $error) {
        equal($error->getCode(), $code);
        return;
    }
    throw new Exception("no $code");
}

$connection = new AMQPConnection(["host" => $argv[1], "port" => (int)$argv[2], "login" => "guest",
    "password" => "guest", "read_timeout" => 10, "heartbeat" => 30]);
$connection->connect();
$channel = new AMQPChannel($connection);
$default = new AMQPExchange($channel);

$checks = [
    "declare" => function () use ($channel) {
        foreach (KINDS as $kind) {
            exchange($channel, $kind);
        }
        $durable = queue($channel, name("durable"), AMQP_DURABLE);
        equal($durable->declareQueue(), 0);
    },
    "route by each type" => function () use ($channel) {
        $queue = queue($channel);
        $queue->bind(name("direct"), "key");
        $queue->bind(name("fanout"));
        $queue->bind(name("topic"), "*.z");
        $queue->bind(name("headers"), "", ["x-match" => "all", "n" => 5]);
        foreach ([["direct", "key"], ["fanout", ""], ["topic", "a.z"], ["headers", ""]] as [$kind, $key]) {
            exchange($channel, $kind)->publish($kind, $key, AMQP_NOPARAM, ["headers" => ["n" => 5]]);
        }
        $got = consume($queue, 4, fn ($message) => $queue->ack($message->getDeliveryTag()));
        equal(bodies($got), KINDS);
        $queue->unbind(name("direct"), "key");
    },
    "publish with confirms and consume" => function () use ($connection, $channel) {
        $publisher = new AMQPChannel($connection);
        $publisher->confirmSelect();
        $confirmed = 0;
        $publisher->setConfirmCallback(function ($tag, $multiple) use (&$confirmed) {
            $confirmed = $multiple ? $tag : max($confirmed, $tag);
            return $confirmed < 100;
        }, fn () => throw new Exception("nack"));
        $exchange = new AMQPExchange($publisher);
        for ($i = 0; $i < 100; $i++) {
            $exchange->publish("m$i", name("durable"), AMQP_NOPARAM, ["delivery_mode" => 2]);
        }
        $publisher->waitForConfirm(10.0);
        $channel->setPrefetchCount(20);
        $queue = queue($channel, name("durable"), AMQP_DURABLE);
        $got = consume($queue, 100, fn ($message) => $queue->ack($message->getDeliveryTag()));
        equal(bodies($got), array_map(fn ($i) => "m$i", range(0, 99)));
        $channel->setPrefetchCount(0);
        $publisher->close();
    },
    "nack requeues as redelivered" => function () use ($channel, $default) {
        $queue = queue($channel);
        $default->publish("again", $queue->getName());
        $got = consume($queue, 2, fn ($message, $nth) => $queue->nack($message->getDeliveryTag(),
            $nth === 1 ? AMQP_REQUEUE : AMQP_NOPARAM));
        equal([$got[0]->isRedelivery(), $got[1]->isRedelivery()], [false, true]);
        equal($queue->get(), false);
    },
    "mandatory is returned" => function () use ($connection) {
        $publisher = new AMQPChannel($connection);
        $returned = null;
        $publisher->setReturnCallback(function (...$parts) use (&$returned) {
            $returned = [$parts[0], $parts[5]];
            return false;
        });
        (new AMQPExchange($publisher))->publish("back", name("nobody"), AMQP_MANDATORY);
        $publisher->waitForBasicReturn(10.0);
        equal($returned, [312, "back"]);
        $publisher->close();
    },
    "transactions" => function () use ($connection, $channel) {
        $queue = queue($channel);
        $tx = new AMQPChannel($connection);
        $tx->startTransaction();
        $exchange = new AMQPExchange($tx);
        $exchange->publish("lost", $queue->getName());
        $tx->rollbackTransaction();
        $exchange->publish("kept", $queue->getName());
        equal($queue->get(), false);
        $tx->commitTransaction();
        equal($queue->get(AMQP_AUTOACK)->getBody(), "kept");
        equal($queue->get(), false);
        $tx->close();
    },
    "get" => function () use ($channel, $default) {
        $queue = queue($channel);
        $headers = ["text" => "한글", "n" => 1, "half" => 0.5, "yes" => true, "list" => ["one", "two"]];
        $default->publish(str_repeat("L", 300000), $queue->getName(), AMQP_NOPARAM,
            ["headers" => $headers, "message_id" => "m", "priority" => 3]);
        $message = $queue->get();
        equal([strlen($message->getBody()), $message->getPriority()], [300000, 3]);
        equal($message->getHeaders(), $headers);
        $queue->reject($message->getDeliveryTag(), AMQP_REQUEUE);
        $message = $queue->get(AMQP_AUTOACK);
        equal($message->isRedelivery(), true);
        equal($queue->purge(), true);
    },
    "channel errors leave the connection" => function () use ($connection) {
        refused($connection, 404, fn ($broken) => queue($broken, name("none"), AMQP_PASSIVE));
        refused($connection, 406, fn ($broken) => queue($broken, name("durable"), AMQP_NOPARAM));
        equal(queue(new AMQPChannel($connection))->getName() !== "", true);
    },
    "clean up" => function () use ($connection, $channel) {
        queue($channel, name("durable"), AMQP_DURABLE)->delete();
        foreach (KINDS as $kind) {
            exchange($channel, $kind)->delete();
        }
        $connection->disconnect();
    },
];

$failed = 0;
foreach ($checks as $label => $check) {
    try {
        $check();
        echo "ok $label\n";
    } catch (Throwable $error) {
        $failed++;
        echo "FAIL $label: ", get_class($error), " ", strtr($error->getMessage(), "\n", " "), "\n";
    }
}
exit($failed ? 1 : 0);
