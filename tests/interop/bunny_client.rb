# bunny_client.rb - the core job with bunny (Ruby): bunny_client.rb HOST PORT.
require "bunny"

HOST, PORT = ARGV
KINDS = %w[direct fanout topic headers].freeze
SECONDS = 10

def name(of)
  "bunny.#{Process.pid}.#{of}"
end

def equal(actual, expected)
  raise "expected #{expected.inspect}, got #{actual.inspect}" unless actual == expected
end

def fresh_queue
  $channel.queue("", exclusive: true)
end

# The next `count` deliveries as [delivery info, properties, body]; the block settles each.
def consume(queue, count)
  deliveries = ::Queue.new
  consumer = queue.subscribe(manual_ack: true) { |*delivery| deliveries << delivery }
  got = Array.new(count) do
    delivery = deliveries.pop(timeout: SECONDS)
    raise "no delivery" unless delivery
    yield delivery
    delivery
  end
  consumer.cancel
  got
end

# Ruby before 3.2 has no timeout for Queue#pop.
unless ::Queue.instance_method(:pop).parameters.include?([:key, :timeout])
  require "timeout"
  class ::Queue
    alias pop_without_timeout pop
    def pop(non_block = false, timeout: nil)
      timeout ? Timeout.timeout(timeout) { pop_without_timeout } : pop_without_timeout(non_block)
    end
  end
end

def ack
  ->(delivery) { $channel.ack(delivery[0].delivery_tag) }
end

def refused(error)
  yield $connection.create_channel
rescue error
  true
else
  raise "no #{error}"
end

CHECKS = {
  "declare" => lambda do
    KINDS.each { |kind| $channel.exchange(name(kind), type: kind.to_sym, durable: true) }
    queue = $channel.queue(name("durable"), durable: true)
    equal([queue.message_count, queue.consumer_count], [0, 0])
    equal($connection.queue_exists?(name("durable")), true)
    equal($connection.queue_exists?(name("none")), false)
    equal($connection.exchange_exists?(name("direct")), true)
  end,
  "route by each type" => lambda do
    queue = fresh_queue
    queue.bind(name("direct"), routing_key: "key").bind(name("fanout"))
    queue.bind(name("topic"), routing_key: "#.end")
    queue.bind(name("headers"), arguments: { "x-match" => "any", "n" => 5, "colour" => "blue" })
    [["direct", "key"], ["fanout", ""], ["topic", "the.end"], ["headers", ""]].each do |kind, key|
      $channel.basic_publish(kind, name(kind), key, headers: { "n" => 5 })
    end
    equal(consume(queue, 4, &ack).map(&:last), KINDS)
    queue.unbind(name("direct"), routing_key: "key")
  end,
  "publish with confirms and consume" => lambda do
    publisher = $connection.create_channel
    publisher.confirm_select
    100.times do |i|
      publisher.default_exchange.publish(i.to_s, routing_key: name("durable"), persistent: true)
    end
    equal(publisher.wait_for_confirms, true)
    queue = $channel.queue(name("durable"), durable: true)
    equal(queue.message_count, 100)
    $channel.prefetch(7)
    equal(consume(queue, 100, &ack).map(&:last), Array.new(100, &:to_s))
    $channel.prefetch(0)
    publisher.close
  end,
  "nack requeues as redelivered" => lambda do
    queue = fresh_queue
    queue.publish("again")
    nth = 0
    got = consume(queue, 2) { |info, _, _| $channel.nack(info.delivery_tag, false, (nth += 1) == 1) }
    equal(got.map { |info, _, body| [info.redelivered?, body] }, [[false, "again"], [true, "again"]])
    equal(queue.pop, [nil, nil, nil])
  end,
  "mandatory is returned" => lambda do
    publisher = $connection.create_channel
    publisher.confirm_select
    returned = ::Queue.new
    exchange = publisher.default_exchange
    exchange.on_return { |info, _, body| returned << [info.reply_code, body] }
    exchange.publish("back", routing_key: name("nobody"), mandatory: true)
    equal(publisher.wait_for_confirms, true)
    equal(returned.pop(timeout: SECONDS), [312, "back"])
    publisher.close
  end,
  "transactions" => lambda do
    queue = fresh_queue
    tx = $connection.create_channel
    tx.tx_select
    tx.default_exchange.publish("lost", routing_key: queue.name)
    tx.tx_rollback
    tx.default_exchange.publish("kept", routing_key: queue.name)
    equal(queue.pop.last, nil)
    tx.tx_commit
    equal(queue.pop.last, "kept")
    equal(queue.pop.last, nil)
    tx.close
  end,
  "get" => lambda do
    queue = fresh_queue
    headers = { "text" => "한글".b, "n" => 1, "big" => 2**40, "half" => 0.5, "list" => [1, "two"] }
    queue.publish("L" * 300_000, headers: headers, priority: 3, message_id: "m", content_type: "text/plain")
    queue.publish("two")
    info, properties, body = queue.pop(manual_ack: true)
    equal([body.bytesize, properties[:headers], properties[:message_id]], [300_000, headers, "m"])
    $channel.reject(info.delivery_tag, true)
    info, = queue.pop(manual_ack: true)
    equal(info.redelivered?, true)
    $channel.ack(info.delivery_tag)
    equal(queue.pop.last, "two")
  end,
  "channel errors leave the connection" => lambda do
    refused(Bunny::NotFound) { |broken| broken.queue_declare(name("none"), passive: true) }
    refused(Bunny::PreconditionFailed) { |broken| broken.queue(name("durable"), durable: false) }
    refused(Bunny::AccessRefused) { |broken| broken.exchange_declare("amq.mine", :direct) }
    equal($connection.create_channel.queue("", exclusive: true).message_count, 0)
  end,
  "an unknown tag is told" => lambda do
    broken = $connection.create_channel
    told = ::Queue.new
    broken.on_error { |_, close| told << close.reply_text }
    broken.ack(99)
    equal(told.pop(timeout: SECONDS), "PRECONDITION_FAILED - unknown delivery tag 99")
  end,
  "clean up" => lambda do
    equal($channel.queue_delete(name("durable")).message_count, 0)
    KINDS.each { |kind| $channel.exchange_delete(name(kind)) }
    $connection.close
  end
}.freeze

$stdout.sync = true
$connection = Bunny.new(host: HOST, port: PORT.to_i, heartbeat: 30, automatically_recover: false,
                        log_level: :fatal)
$connection.start
$channel = $connection.create_channel
failed = 0
CHECKS.each do |label, check|
  check.call
  puts "ok #{label}"
rescue StandardError => e
  failed += 1
  puts "FAIL #{label}: #{e.class} #{e.message}".tr("\n", " ")
end
exit(failed.zero? ? 0 : 1)
