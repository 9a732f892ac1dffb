/* deadletter.c - from the outcome list to the dead-letter exchange (semantics 2.2).
 *
 * A dead letter is a message of its own: the exchange's name, the queue's dead-letter key or the keys that
 * it came with, no expiration, and its history in the headers (death.c). It is published without
 * confirms and without mandatory: what no queue takes is gone. With at-least-once it is kept in the
 * list until all its queues take it; nothing has to be confirmed then, because its record and the ack of the
 * message that it was made of are in one batch of the journal. */
#include "broker/deadletter.h"

#include "broker/death.h"
#include "broker/submit.h"
#include "broker/vhost.h"
#include "protocol/table.h"

enum {
    KEYS_MAX = 256,      /* as when it was published */
    RETRY_MS = 1000,     /* between two tries of what is kept */
    RETRY_MESSAGES = 4096
};

/* What is being published. */
struct letter {
    struct server *server;
    struct vhost *vhost;
    struct outcome *outcome;
    struct exchange *exchange;
    struct message *message; /* the dead letter */
    struct props props;      /* its properties; headers in `headers` */
    struct buf headers;
    struct slice keys[KEYS_MAX];
    size_t key_count;
};

/* Its own key, or that and those of the CC header. */
static void choose_keys(struct letter *letter)
{
    const struct settings *settings = &letter->outcome->queue->settings;
    struct field cc, item;
    letter->key_count = 1;
    if (settings->has_dead_key) {
        letter->keys[0] = settings->dead_key;
        return;
    }
    letter->keys[0] = message_key(letter->outcome->entry.message);
    if (!table_find(buf_slice(&letter->headers), "CC", &cc) || cc.type != 'A')
        return;
    for (struct slice rest = cc.bytes; letter->key_count < KEYS_MAX && array_next(&rest, &item);)
        letter->key_count += field_string(&item, &letter->keys[letter->key_count]);
}

static void write(struct letter *letter)
{
    const struct outcome *outcome = letter->outcome;
    const struct settings *settings = &outcome->queue->settings;
    const struct message *old = outcome->entry.message;
    struct buf bytes = {0};
    struct fault f;
    bool good = props_decode(message_props(old), &letter->props, &f);
    assertf(good, "properties were checked when they came: %s", f.text);
    struct death death = {outcome->queue->name, outcome_word(outcome->reason),
                          letter->server->home.now_ms / 1000, !settings->has_dead_key};
    death_record(&letter->headers, old, &letter->props, &death);
    choose_keys(letter);
    letter->props.headers = buf_slice(&letter->headers);
    letter->props.flags = (uint16_t)((letter->props.flags | PROP_headers) & ~PROP_expiration);
    props_encode(&bytes, &letter->props);
    struct message *m = message_new(&letter->server->messages, settings->dead_exchange, letter->keys[0],
                                    buf_slice(&bytes), old->body_size);
    if (old->body_size)
        memcpy(message_body_at(m), message_body(old).at, old->body_size);
    m->persistent = old->persistent;
    m->has_headers = m->dead_letter = true;
    letter->message = m;
    buf_free(&bytes);
}

static void log_cycle(struct letter *letter, const struct queue *target)
{
    struct queue *q = letter->outcome->queue;
    if (q->leaving.cycle_told)
        return;
    q->leaving.cycle_told = true;
    chatter_line(letter->server, CHATTER_QUEUES, LOG_WARNING, 0,
                 "queue '%.*s' in vhost '%.*s': a dead letter that came back to queue '%.*s' without having "
                 "been rejected was dropped; this is not told again",
                 SLICE_ARG(q->name), SLICE_ARG(letter->vhost->name), SLICE_ARG(target->name));
}

/* Copies the queues that the letter may go to; a cycle ends here unless a client rejected the message. */
static void leave_cycles_out(struct letter *letter, const struct route_set *set, struct buf *queues)
{
    for (size_t i = 0; i < set->size; i++) {
        struct dest *dest = set->queues[i];
        if (letter->outcome->reason != OUTCOME_REJECTED &&
            death_is_cycle(buf_slice(&letter->headers), dest->name))
            log_cycle(letter, queue_of_dest(dest));
        else
            buf_append(queues, &dest, sizeof(dest));
    }
}

static bool any_refuses(struct dest *const *queues, size_t count, const struct message *m)
{
    for (size_t i = 0; i < count; i++)
        if (queue_refuses(queue_of_dest(queues[i]), m->body_size))
            return true;
    return false;
}

/* False when it may not be lost and could not be published now. */
static bool route_letter(struct letter *letter, bool at_least_once)
{
    struct route_input input = {.keys = letter->keys,
                                .key_count = letter->key_count,
                                .headers = buf_slice(&letter->headers),
                                .props = message_props(letter->message)};
    const struct route_set *set = route(&letter->vhost->router, letter->exchange, &input);
    struct buf queues = {0};
    size_t routed = set->size;
    letter->server->company.copies += set->looks / EFFORT_LOOKS;
    leave_cycles_out(letter, set, &queues);
    struct dest **targets = (struct dest **)queues.at;
    size_t count = queues.len / sizeof(*targets);
    bool published = !at_least_once || (routed > 0 && !any_refuses(targets, count, letter->message));
    if (published)
        submit_enqueue(letter->server, targets, count, letter->message);
    buf_free(&queues);
    return published;
}

static bool publish(struct server *s, struct outcome *outcome)
{
    struct queue *q = outcome->queue;
    bool at_least_once = settings_keep(&q->settings) && !q->leaving.deleted;
    struct letter letter = {.server = s, .vhost = q->leaving.vhost, .outcome = outcome};
    if (letter.vhost && q->settings.dead_letters)
        letter.exchange = vhost_find_exchange(letter.vhost, q->settings.dead_exchange);
    if (!letter.exchange)
        return !at_least_once || !letter.vhost || !q->settings.dead_letters;
    write(&letter);
    bool published = route_letter(&letter, at_least_once);
    s->counters.dead_lettered += published;
    message_unref(&s->messages, &letter.message);
    buf_free(&letter.headers);
    return published;
}

bool deadletter_waits(const struct server *s)
{
    return s->home.outcomes.fresh.size > 0 && store_pending_bytes(s->store) < QUEUE_PENDING_MAX;
}

static void publish_next(struct server *s, struct outcome *outcome)
{
    if (publish(s, outcome))
        outcome_settle(outcome);
    else
        outcome_keep(outcome);
}

/* One dead letter may make another, where it finds a full queue; cycles end by their rule. What is kept stays
 * in the journal as its queue's. */
void deadletter_finish(struct server *s)
{
    struct outcome outcome;
    while (outcome_take(&s->home, &outcome))
        publish_next(s, &outcome);
}

void deadletter_run(struct server *s, size_t budget)
{
    struct outcomes *outcomes = &s->home.outcomes;
    struct outcome outcome;
    if (outcomes->retry_ms <= s->home.now_ms) {
        outcome_retry(&s->home, RETRY_MESSAGES);
        outcomes->retry_ms = s->home.now_ms + RETRY_MS;
    }
    while (budget > 0 && store_pending_bytes(s->store) < QUEUE_PENDING_MAX) {
        uint64_t before = s->company.copies;
        if (!outcome_take(&s->home, &outcome))
            break;
        publish_next(s, &outcome);
        size_t cost = company_published(s, before);
        budget -= cost < budget ? cost : budget;
    }
    if (outcomes->kept.size == 0)
        outcomes->retry_ms = UINT64_MAX;
    else if (outcomes->retry_ms == UINT64_MAX)
        outcomes->retry_ms = s->home.now_ms + RETRY_MS;
}
