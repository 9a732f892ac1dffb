<?php
// php_amqplib_client.php - the core job with php-amqplib: php_amqplib_client.php HOST PORT.
require "/usr/share/php/PhpAmqpLib/autoload.php";

use PhpAmqpLib\Connection\AMQPStreamConnection;
use PhpAmqpLib\Exception\AMQPProtocolChannelException;
use PhpAmqpLib\Message\AMQPMessage;
use PhpAmqpLib\Wire\AMQPTable;

const KINDS = ["direct", "fanout", "topic", "headers"];
const SECONDS = 10;

function name(string $of): string
{
    return "php-amqplib." . getmypid() . "." . $of;
}

function equal($actual, $expected): void
{
    if ($actual !== $expected) {
        throw new Exception("expected " . json_encode($expected) . ", got " . json_encode($actual));
    }
}

function fresh_queue($channel): string
{
    return $channel->queue_declare("", false, false, true, false)[0];
}

/** The next $count messages; $settle is called with each and its number. */
function consume($channel, string $queue, int $count, callable $settle): array
{
    $got = [];
    $tag = $channel->basic_consume($queue, "", false, false, false, false,
        function ($message) use (&$got, $settle, $count) {
            if (count($got) < $count) {
                $got[] = $message;
                $settle($message, count($got));
            }
        });
    while (count($got) < $count) {
        $channel->wait(null, false, SECONDS);
    }
    $channel->basic_cancel($tag);
    return $got;
}

function bodies(array $messages): array
{
    return array_map(fn ($message) => $message->getBody(), $messages);
}

function refused($connection, int $code, callable $wrong): void
{
    try {
        $wrong($connection->channel());
    } catch (AMQPProtocolChannelException $error) {
        equal($error->amqp_reply_code, $code);
        return;
    }
    throw new Exception("no $code");
}

$connection = new AMQPStreamConnection($argv[1], (int)$argv[2], "guest", "guest");
$channel = $connection->channel();
$ack = fn ($message) => $message->ack();

$checks = [
    "declare" => function () use ($channel) {
        foreach (KINDS as $kind) {
            $channel->exchange_declare(name($kind), $kind, false, true, false);
        }
        equal($channel->queue_declare(name("durable"), false, true, false, false), [name("durable"), 0, 0]);
    },
    "route by each type" => function () use ($channel, $ack) {
        $queue = fresh_queue($channel);
        $channel->queue_bind($queue, name("direct"), "key");
        $channel->queue_bind($queue, name("fanout"));
        $channel->queue_bind($queue, name("topic"), "a.#.z");
        $arguments = new AMQPTable(["x-match" => "all", "n" => 5]);
        $channel->queue_bind($queue, name("headers"), "", false, $arguments);
        $headers = ["application_headers" => new AMQPTable(["n" => 5])];
        foreach ([["direct", "key"], ["fanout", ""], ["topic", "a.b.z"], ["headers", ""]] as [$kind, $key]) {
            $channel->basic_publish(new AMQPMessage($kind, $headers), name($kind), $key);
        }
        equal(bodies(consume($channel, $queue, 4, $ack)), KINDS);
        $channel->queue_unbind($queue, name("direct"), "key");
    },
    "publish with confirms and consume" => function () use ($connection, $channel, $ack) {
        $publisher = $connection->channel();
        $publisher->confirm_select();
        $acked = 0;
        $publisher->set_ack_handler(function () use (&$acked) {
            $acked++;
        });
        for ($i = 0; $i < 100; $i++) {
            $message = new AMQPMessage("m$i", ["delivery_mode" => 2]);
            $publisher->batch_basic_publish($message, "", name("durable"));
        }
        $publisher->publish_batch();
        $publisher->wait_for_pending_acks(SECONDS);
        equal($acked, 100);
        $channel->basic_qos(0, 9, false);
        $got = consume($channel, name("durable"), 100, $ack);
        equal(bodies($got), array_map(fn ($i) => "m$i", range(0, 99)));
        $channel->basic_qos(0, 0, false);
        $publisher->close();
    },
    "nack requeues as redelivered" => function () use ($channel) {
        $queue = fresh_queue($channel);
        $channel->basic_publish(new AMQPMessage("again"), "", $queue);
        $got = consume($channel, $queue, 2, fn ($message, $nth) => $message->nack($nth === 1));
        equal([$got[0]->isRedelivered(), $got[1]->isRedelivered()], [false, true]);
        equal($channel->basic_get($queue), null);
    },
    "mandatory is returned" => function () use ($connection) {
        $publisher = $connection->channel();
        $publisher->confirm_select();
        $order = [];
        $publisher->set_return_listener(function ($code, $text, $exchange, $key, $message) use (&$order) {
            $order[] = "$code " . $message->getBody();
        });
        $publisher->set_ack_handler(function () use (&$order) {
            $order[] = "confirmed";
        });
        $publisher->basic_publish(new AMQPMessage("back"), "", name("nobody"), true);
        $publisher->wait_for_pending_acks_returns(SECONDS);
        equal($order, ["312 back", "confirmed"]);
        $publisher->close();
    },
    "transactions" => function () use ($connection, $channel) {
        $queue = fresh_queue($channel);
        $tx = $connection->channel();
        $tx->tx_select();
        $tx->basic_publish(new AMQPMessage("lost"), "", $queue);
        $tx->tx_rollback();
        $tx->basic_publish(new AMQPMessage("kept"), "", $queue);
        equal($channel->basic_get($queue), null);
        $tx->tx_commit();
        equal($channel->basic_get($queue, true)->getBody(), "kept");
        equal($channel->basic_get($queue), null);
        $tx->close();
    },
    "get" => function () use ($channel) {
        $queue = fresh_queue($channel);
        $headers = ["text" => "한글", "big" => 2 ** 40, "yes" => true, "none" => null, "list" => [1, "two"]];
        $channel->basic_publish(new AMQPMessage(str_repeat("L", 300000),
            ["application_headers" => new AMQPTable($headers), "message_id" => "m"]), "", $queue);
        $message = $channel->basic_get($queue);
        equal(strlen($message->getBody()), 300000);
        equal($message->get("application_headers")->getNativeData(), $headers);
        equal($message->has("priority"), false);
        $channel->basic_recover(true);
        equal($channel->basic_get($queue, true)->isRedelivered(), true);
        equal($channel->basic_get($queue), null);
    },
    "channel errors leave the connection" => function () use ($connection) {
        refused($connection, 404, fn ($broken) => $broken->queue_declare(name("none"), true));
        $again = fn ($broken) => $broken->queue_declare(name("durable"), false, false, false, false);
        refused($connection, 406, $again);
        refused($connection, 403, fn ($broken) => $broken->exchange_declare("amq.mine", "direct"));
        equal(fresh_queue($connection->channel()) !== "", true);
    },
    "clean up" => function () use ($connection, $channel) {
        $channel->queue_delete(name("durable"));
        foreach (KINDS as $kind) {
            $channel->exchange_delete(name($kind));
        }
        $channel->close();
        $connection->close();
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
