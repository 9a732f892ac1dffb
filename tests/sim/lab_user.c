/* lab_user.c - a client of the laboratory: publishes with confirms on channel 1, consumes from every
 * queue on channel 2, and publishes and settles in transactions on channel 3. */
#include <stdio.h>

#include "broker/channel.h"
#include "protocol/props.h"
#include "protocol/table.h"
#include "tests/sim/lab.h"

enum {
    PUBLISHES = LAB_PUBLISHES,
    CONSUMES = LAB_CONSUMES,
    TRANSACTS = LAB_TRANSACTS,
    TX_MAX = 6,
    BURST = 10,
    BODY_MAX = 400,
    DEAF_TURNS = 60,
    REPEATED_BACK = 200
};

#define SAY(user, format, ...)                                                                     \
    trace_line(&(user)->lab->world->trace, "user %u: " format, (user)->index, __VA_ARGS__)

static uint64_t pick(const struct lab_user *user, uint64_t bound)
{
    return world_pick(user->lab->world, bound);
}

static bool chance(const struct lab_user *user, uint64_t bound)
{
    return world_chance(user->lab->world, bound);
}

/* --- what it does --- */

static uint32_t invent(struct lab_user *user)
{
    struct lab *lab = user->lab;
    if (lab->message_count >= lab->message_capacity) {
        lab->message_capacity = lab->message_capacity ? lab->message_capacity * 2 : 256;
        lab->messages = mem_realloc(lab->messages, lab->message_capacity * sizeof(*lab->messages));
    }
    uint32_t id = lab->message_count++;
    struct lab_message *m = &lab->messages[id];
    *m = (struct lab_message){.epoch = user->epoch, .publisher = (uint8_t)user->index};
    m->exchange = chance(user, 4) ? 2 : chance(user, 4) ? 1 : 0;
    m->target = (uint8_t)(1 + pick(user, LAB_QUEUES - 1));
    m->origins = (uint8_t)(m->exchange == 1 ? 1 << 1 | 1 << 2 : 1 << m->target);
    m->group = (uint8_t)(chance(user, 2) ? 0 : pick(user, LAB_GROUPS));
    m->priority = (uint8_t)pick(user, LAB_PRIORITIES);
    m->expires = chance(user, 12);
    m->transient = chance(user, 6);
    if (m->exchange == 2 && !chance(user, 5))
        m->delay_ms = 1 + (uint32_t)pick(user, chance(user, 2) ? 200 : 20000);
    return id;
}

static void put_headers(const struct lab_message *m, uint32_t id, struct buf *headers)
{
    char text[24];
    snprintf(text, sizeof(text), "g%u", m->group);
    if (m->group) /* 0 has none */
        table_put_string(headers, "g", slice_of_string(text));
    if (m->delay_ms)
        table_put_int(headers, "x-delay", m->delay_ms);
    table_put_int(headers, "x-deduplication-header", id);
    snprintf(text, sizeof(text), "%u.%llu%s", m->publisher, (unsigned long long)m->epoch, m->tx ? ".tx" : "");
    table_put_string(headers, "x-producer", slice_of_string(text));
    table_put_int(headers, "x-sequence", id);
}

static void publish(struct lab_user *user, uint32_t id)
{
    static const char *const exchanges[] = {"", "both", "later"};
    struct lab *lab = user->lab;
    struct lab_message *m = &lab->messages[id];
    struct buf headers = {0}, props_bytes = {0}, body = {0};
    char name[24], expiration[24];
    put_headers(m, id, &headers);
    snprintf(name, sizeof(name), "message %u", id);
    snprintf(expiration, sizeof(expiration), "%u", id % 300);
    struct props props = {.flags =
                              PROP_headers | PROP_delivery_mode | PROP_message_id | PROP_priority,
                          .headers = buf_slice(&headers),
                          .delivery_mode = m->transient ? 1 : 2,
                          .priority = m->priority,
                          .message_id = slice_of_string(name)};
    if (m->expires)
        props.flags |= PROP_expiration, props.expiration = slice_of_string(expiration);
    props_encode(&props_bytes, &props);
    buf_append(
        &body,
        (uint8_t[]){(uint8_t)(id >> 24), (uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id}, 4);
    for (uint64_t i = pick(user, BODY_MAX); i > 0; i--)
        buf_append(&body, "", 1);
    if (m->delay_ms && !m->repeated)
        m->due_ms = lab_now_ms(lab) + m->delay_ms;
    SAY(user, "publish %u to '%s' %s, group %u, delay %u%s%s", id, exchanges[m->exchange],
        lab->queues[m->target].name, m->group, m->delay_ms, m->transient ? ", transient" : "",
        m->repeated ? ", again" : "");
    lab_sent(lab, id);
    user->published += !m->tx;
    publish_ring_push_back(m->tx ? &user->tx_sent : &user->sent, id);
    struct method method = {.id = METHOD_basic_publish};
    method.basic_publish.exchange = slice_of_string(exchanges[m->exchange]);
    method.basic_publish.routing_key = slice_of_string(lab->queues[m->target].name);
    client_publish(&user->client, m->tx ? TRANSACTS : PUBLISHES, &method,
                   &(struct content){buf_slice(&props_bytes), buf_slice(&body)});
    buf_free(&headers);
    buf_free(&props_bytes);
    buf_free(&body);
}

/* Of what the transaction's channel was handed, some is settled in it. */
static void settle_in_tx(struct lab_user *user)
{
    for (size_t i = 0; i < user->held_count && user->tx_held_count < LAB_TX_HELD;) {
        struct lab_held held = user->held[i];
        if (held.channel != TRANSACTS || chance(user, 3)) {
            i++;
            continue;
        }
        uint64_t dice = pick(user, 10);
        held.how = dice < 6 ? LAB_ACK : dice < 8 ? LAB_REJECT : LAB_REQUEUE;
        struct method m = {.id = METHOD_basic_ack, .basic_ack = {.delivery_tag = held.tag}};
        if (held.how != LAB_ACK)
            m = (struct method){.id = METHOD_basic_reject,
                                .basic_reject = {held.tag, held.how == LAB_REQUEUE}};
        SAY(user, "settles %u of %s in %s, %u, in the transaction", held.id,
            user->lab->queues[held.origin].name, user->lab->queues[held.queue].name, held.how);
        client_send(&user->client, TRANSACTS, &m);
        user->held[i] = user->held[--user->held_count];
        user->tx_held[user->tx_held_count++] = held;
    }
}

/* The commit is on its way: what it settles may be gone from now on. */
static void commit_settlements(struct lab_user *user)
{
    for (unsigned i = 0; i < user->tx_held_count; i++) {
        struct lab_held *held = &user->tx_held[i];
        struct copy *copy = &user->lab->messages[held->id].copies[held->origin];
        held->before = copy->state;
        if (held->how == LAB_ACK)
            lab_acked(user->lab, held->queue, held->origin, held->id);
        else if (held->how == LAB_REJECT)
            lab_rejected(user->lab, held->queue, held->origin, held->id);
        else
            copy->nacks++, copy->nacked_ms = lab_now_ms(user->lab), copy->nacked_in = (uint8_t)held->queue;
    }
}

/* Some messages that are there together or not at all. */
static void transact(struct lab_user *user)
{
    struct lab *lab = user->lab;
    if (!user->tx_ready || user->tx_ends)
        return;
    assert(user->tx_sent.size == 0);
    lab->tx++;
    for (uint64_t i = 1 + pick(user, TX_MAX); i > 0; i--) {
        uint32_t id = invent(user);
        lab->messages[id].tx = lab->tx;
        publish(user, id);
    }
    settle_in_tx(user);
    user->tx_ends = true;
    user->tx_rolls = chance(user, 4);
    if (!user->tx_rolls)
        commit_settlements(user);
    SAY(user, "%s %u", user->tx_rolls ? "rollback" : "commit", lab->tx);
    client_send(&user->client, TRANSACTS,
                &(struct method){.id = user->tx_rolls ? METHOD_tx_rollback : METHOD_tx_commit});
}

static void hold(struct lab_user *user, const struct lab_held *held)
{
    if (user->held_count == user->held_capacity) {
        user->held_capacity = user->held_capacity ? user->held_capacity * 2 : 16;
        user->held = mem_realloc(user->held, user->held_capacity * sizeof(*user->held));
    }
    user->held[user->held_count++] = *held;
}

/* What an answered commit acked is gone, also after a crash; what was rolled back is held as before. */
static void end_settlements(struct lab_user *user, bool known)
{
    for (unsigned i = 0; i < user->tx_held_count; i++) {
        const struct lab_held *held = &user->tx_held[i];
        struct lab_message *m = &user->lab->messages[held->id];
        struct copy *copy = &m->copies[held->origin];
        if (user->tx_rolls && known)
            hold(user, held);
        user->lab->counts.tx_settled += known;
        if (known && !user->tx_rolls && held->how == LAB_ACK && !m->repeated && copy->state == COPY_SETTLING)
            copy->state = COPY_GONE;
    }
    user->tx_held_count = 0;
}

/* The transaction is over: committed, rolled back, or nobody knows. */
static void end_tx(struct lab_user *user, bool known)
{
    struct lab *lab = user->lab;
    for (; user->tx_sent.size; publish_ring_pop_front(&user->tx_sent)) {
        uint32_t id = *publish_ring_at(&user->tx_sent, 0);
        if (user->tx_rolls)
            lab_withdrawn(lab, id);
        else if (known)
            lab_resolved(lab, id, true);
    }
    end_settlements(user, known);
    lab->counts.committed += known && !user->tx_rolls, lab->counts.rolled += known && user->tx_rolls;
    user->tx_ends = user->tx_rolls = false;
}

/* One of its last, to a queue that takes nothing twice. */
static void repeat(struct lab_user *user)
{
    struct lab *lab = user->lab;
    if (lab->message_count < 2)
        return;
    uint32_t last = lab->message_count - 1, back = last < REPEATED_BACK ? last : REPEATED_BACK;
    uint32_t id = last - (uint32_t)pick(user, back);
    struct lab_message *m = &lab->messages[id];
    const struct lab_queue *q = &lab->queues[m->target];
    /* What is refused with a dead letter is a dead letter each time. */
    if (m->tx || m->transient || m->exchange != 0 || q->reject_dead ||
        !(q->window || q->producers || q->by_header))
        return;
    if (q->producers && !m->copies[m->target].taken)
        return; /* what was lost must be said again in order, and this is not */
    for (unsigned i = 0; i < lab->user_count; i++) /* who is still waiting does not say it again */
        for (size_t at = 0; at < lab->users[i].sent.size; at++)
            if (*publish_ring_at(&lab->users[i].sent, at) == id)
                return;
    m->repeated = true;
    publish(user, id);
}

static void settle(struct lab_user *user)
{
    struct lab *lab = user->lab;
    size_t i = (size_t)pick(user, user->held_count);
    struct lab_held held = user->held[i];
    if (held.channel == TRANSACTS)
        return;
    struct copy *copy = &lab->messages[held.id].copies[held.origin];
    uint64_t dice = pick(user, 100);
    struct method m = {.id = METHOD_basic_ack, .basic_ack = {.delivery_tag = held.tag}};
    user->held[i] = user->held[--user->held_count];
    if (dice < 55) {
        lab_acked(lab, held.queue, held.origin, held.id);
    } else {
        m = (struct method){.id = METHOD_basic_reject, .basic_reject = {held.tag, dice >= 75}};
        if (m.basic_reject.requeue)
            copy->nacks++, copy->nacked_ms = lab_now_ms(lab), copy->nacked_in = (uint8_t)held.queue;
        else
            lab_rejected(lab, held.queue, held.origin, held.id);
    }
    SAY(user, "%s %u of %s in %s",
        dice < 55   ? "ack"
        : dice < 75 ? "reject"
                    : "put back",
        held.id, lab->queues[held.origin].name, lab->queues[held.queue].name);
    client_send(&user->client, CONSUMES, &m);
}

static void connect(struct lab_user *user)
{
    user->ready = false;
    user->epoch = ++user->lab->epoch;
    user->published = user->resolved = 0;
    user->tx_ready = false;
    memset(user->last, 0, sizeof(user->last));
    client_connect(&user->client);
}

void lab_user_step(struct lab_user *user)
{
    if (user->client.state == CLIENT_OFF) {
        if (chance(user, 8))
            connect(user);
        return;
    }
    if (user->client.state != CLIENT_OPEN || !user->ready)
        return;
    if (chance(user, 400))
        client_drop(&user->client, chance(user, 2));
    else if (chance(user, 100))
        user->client.deaf = 1 + (unsigned)pick(user, DEAF_TURNS);
    else if (chance(user, 3))
        for (uint64_t i = 1 + pick(user, BURST); i > 0; i--)
            publish(user, invent(user));
    else if (chance(user, 4))
        repeat(user);
    else if (chance(user, 6))
        transact(user);
    else
        for (uint64_t i = pick(user, 20); i > 0 && user->held_count; i--)
            settle(user);
}

/* --- what it is told --- */

static void consume(struct lab_user *user, uint16_t channel, uint64_t left_out)
{
    const struct lab *lab = user->lab;
    struct method qos = {.id = METHOD_basic_qos};
    qos.basic_qos.prefetch_count = (uint16_t)(1 + pick(user, 12));
    client_send(&user->client, channel, &qos);
    for (int i = 1; i < LAB_QUEUES; i++) { /* nobody looks at the letters but the ledger */
        struct method m = {.id = METHOD_basic_consume};
        if (pick(user, 8) < left_out)
            continue;
        m.basic_consume.queue = m.basic_consume.consumer_tag = slice_of_string(lab->queues[i].name);
        client_send(&user->client, channel, &m);
    }
}

/* When the channels are open. */
static void begin(struct lab_user *user)
{
    client_send(&user->client, PUBLISHES, &(struct method){.id = METHOD_confirm_select});
    consume(user, CONSUMES, 2);
    user->ready = true;
}

static void on_settled(struct lab_user *user, uint64_t tag, bool multiple, bool confirmed)
{
    assertf(tag > 0 && tag <= user->published, "confirm of %llu", (unsigned long long)tag);
    /* They may come in any order: those that were told of are 0 in the ring. */
    uint64_t first = multiple ? user->resolved + 1 : tag;
    for (uint64_t n = first; n <= tag; n++) {
        assertf(n > user->resolved, "publish %llu was confirmed twice", (unsigned long long)n);
        uint32_t *id = publish_ring_at(&user->sent, (size_t)(n - user->resolved - 1));
        if (*id == 0 && multiple)
            continue;
        assertf(*id, "publish %llu was confirmed twice", (unsigned long long)n);
        SAY(user, "%u is %s", *id, confirmed ? "confirmed" : "refused");
        lab_resolved(user->lab, *id, confirmed);
        *id = 0;
    }
    while (user->sent.size && *publish_ring_at(&user->sent, 0) == 0)
        publish_ring_pop_front(&user->sent), user->resolved++;
}

/* The server's end is there and takes part. */
static bool is_alive(const struct lab_user *user)
{
    const struct connection *conn = client_peer(&user->client);
    return user->client.state == CLIENT_OPEN && conn && conn->state == CONNECTION_OPEN;
}

/* NULL when the server has closed it, as it does after a transaction that is done in part. */
static const struct channel *open_channel(const struct connection *conn, uint16_t number)
{
    for (size_t i = 0; i < conn->channels.capacity; i++) {
        const struct channel *ch = conn->channels.slots[i];
        if (ch && ch->number == number)
            return ch->state == CHANNEL_OPEN ? ch : NULL;
    }
    return NULL;
}

static bool has_unacked(const struct lab_user *user, uint16_t channel, uint64_t tag)
{
    const struct channel *ch = open_channel(client_peer(&user->client), channel);
    return ch && unacked_has(&ch->unacked, tag);
}

static void check_group(struct lab_user *user, int queue, const struct lab_reading *r,
                        bool redelivered)
{
    struct lab *lab = user->lab;
    struct lab_queue *q = &lab->queues[queue];
    const struct lab_message *m = &lab->messages[r->id];
    if (!q->groups || m->group == 0)
        return;
    lab->counts.grouped++;
    for (unsigned i = 0; i < lab->user_count; i++) {
        const struct lab_user *other = &lab->users[i];
        for (size_t h = 0; other != user && is_alive(other) && h < other->held_count; h++)
            assertf(other->held[h].queue != queue ||
                        (other->tx_ends && other->held[h].channel == TRANSACTS) || /* closed, it may be */
                        lab->messages[other->held[h].id].group != m->group,
                    "message %u of group %u of %s came while user %u has %u", r->id, m->group,
                    q->name, i, other->held[h].id);
    }
    if (redelivered || r->died || m->repeated || m->delay_ms || m->tx)
        return;
    uint32_t last =
        q->last[m->group][m->publisher].epoch == m->epoch ? q->last[m->group][m->publisher].id : 0;
    assertf(last < r->id, "message %u of group %u of %s came after %u", r->id, m->group, q->name,
            last);
    q->last[m->group][m->publisher].epoch = m->epoch;
    q->last[m->group][m->publisher].id = r->id;
}

/* Of one publisher and one priority each client gets what comes for the first time in order. */
static void check_order(struct lab_user *user, int queue, const struct lab_reading *r, bool redelivered)
{
    const struct lab_queue *q = &user->lab->queues[queue];
    const struct lab_message *m = &user->lab->messages[r->id];
    if (q->groups || redelivered || r->died || m->repeated || m->delay_ms || m->tx)
        return;
    unsigned level = q->quorum                         ? m->priority
                     : m->priority < q->priority_max ? m->priority
                                                     : q->priority_max;
    uint64_t *epoch = &user->last[queue][level][m->publisher].epoch;
    uint32_t *id = &user->last[queue][level][m->publisher].id;
    assertf(*epoch != m->epoch || *id < r->id, "message %u of %s came after %u", r->id, q->name, *id);
    *epoch = m->epoch, *id = r->id;
    user->lab->counts.ordered++;
}

static void check_single(struct lab_user *user, int queue, uint16_t channel)
{
    struct lab_queue *q = &user->lab->queues[queue];
    uint64_t id = user->client.server_id;
    if (!q->single)
        return;
    const struct connection *active =
        q->active ? world_connection(user->lab->world, q->active) : NULL;
    assertf((q->active == id && q->active_channel == channel) || !active ||
                active->state != CONNECTION_OPEN || !open_channel(active, q->active_channel),
            "%s has a single active consumer, and another gets messages", q->name);
    q->active = id, q->active_channel = channel;
    user->lab->counts.alone++;
}

static void on_deliver(struct lab_user *user, uint16_t channel, const struct amqp_basic_deliver *deliver,
                       const struct content *content)
{
    struct lab *lab = user->lab;
    int queue = lab_find(lab, deliver->consumer_tag);
    assert(queue > 0);
    struct lab_reading reading = lab_read(lab, queue, content->props, content->body);
    SAY(user, "message %u of %s in %s%s", reading.id, lab->queues[reading.origin].name,
        lab->queues[queue].name, deliver->redelivered ? ", again" : "");
    if (!is_alive(user) || !has_unacked(user, channel, deliver->delivery_tag))
        return; /* it is somebody else's already */
    lab_delivered(lab, queue, &reading);
    check_group(user, queue, &reading, deliver->redelivered);
    check_order(user, queue, &reading, deliver->redelivered);
    check_single(user, queue, channel);
    hold(user, &(struct lab_held){deliver->delivery_tag, reading.id, queue, reading.origin, channel, 0, 0});
}

/* What a channel held when it was closed is others' again. */
static void let_go(struct lab_user *user, uint16_t channel)
{
    for (size_t i = user->held_count; i-- > 0;)
        if (user->held[i].channel == channel)
            user->held[i] = user->held[--user->held_count];
    user->seen_tag[channel] = 0;
    for (int i = 0; i < LAB_QUEUES; i++) {
        struct lab_queue *q = &user->lab->queues[i];
        if (q->active == user->client.server_id && q->active_channel == channel)
            q->active = 0;
    }
}

static void on_method(void *arg, uint16_t channel, const struct method *m,
                      const struct content *content)
{
    struct lab_user *user = arg;
    if (m->id == METHOD_connection_open_ok) {
        for (uint16_t i = PUBLISHES; i <= TRANSACTS; i++)
            client_send(&user->client, i, &(struct method){.id = METHOD_channel_open});
    } else if (m->id == METHOD_channel_open_ok) {
        if (channel == CONSUMES)
            begin(user);
        else if (channel == TRANSACTS)
            client_send(&user->client, TRANSACTS, &(struct method){.id = METHOD_tx_select});
    } else if (m->id == METHOD_tx_select_ok) {
        user->tx_ready = true;
        consume(user, TRANSACTS, 5);
    } else if (m->id == METHOD_tx_commit_ok || m->id == METHOD_tx_rollback_ok) {
        assertf(user->tx_ends && user->tx_rolls == (m->id == METHOD_tx_rollback_ok), "%s came",
                method_name(m->id));
        SAY(user, "%s", method_name(m->id));
        end_tx(user, true);
    } else if (m->id == METHOD_channel_close) { /* a queue was full: the rest is done */
        bool partial = user->tx_ends && !user->tx_rolls && m->channel_close.reply_code == 406;
        assertf(channel == TRANSACTS && partial,
                "channel %u is closed: %.*s", channel, SLICE_ARG(m->channel_close.reply_text));
        SAY(user, "%s", "the transaction is done in part");
        end_tx(user, false);
        user->tx_ready = false;
        let_go(user, TRANSACTS);
        client_send(&user->client, TRANSACTS, &(struct method){.id = METHOD_channel_close_ok});
        client_send(&user->client, TRANSACTS, &(struct method){.id = METHOD_channel_open});
    } else if (m->id == METHOD_basic_ack) {
        on_settled(user, m->basic_ack.delivery_tag, m->basic_ack.multiple, true);
    } else if (m->id == METHOD_basic_nack) {
        on_settled(user, m->basic_nack.delivery_tag, m->basic_nack.multiple, false);
    } else if (m->id == METHOD_basic_deliver) {
        on_deliver(user, channel, &m->basic_deliver, content);
    } else if (m->id == METHOD_connection_close) {
        SAY(user, "told to close: %.*s", SLICE_ARG(m->connection_close.reply_text));
        client_send(&user->client, 0, &(struct method){.id = METHOD_connection_close_ok});
    } else {
        assertf(m->id == METHOD_confirm_select_ok || m->id == METHOD_basic_qos_ok ||
                    m->id == METHOD_basic_consume_ok,
                "%s came", method_name(m->id));
    }
}

static void on_ended(void *arg)
{
    struct lab_user *user = arg;
    SAY(user, "%s", "the connection ended");
    user->dying = true;
    user->held_count = 0;
    end_tx(user, false);
    while (user->sent.size)
        publish_ring_pop_front(&user->sent);
}

static const struct client_events events = {on_method, on_ended};

void lab_user_init(struct lab_user *user, struct lab *lab, unsigned index)
{
    user->lab = lab;
    user->index = index;
    client_init(&user->client, lab->world, &events, user);
}

void lab_user_turn(struct lab_user *user)
{
    client_turn(&user->client);
}

void lab_user_look(struct lab_user *user)
{
    if (!user->dying || client_peer(&user->client))
        return;
    user->dying = false;
    client_forget(&user->client);
}

void lab_user_bury(struct lab_user *user)
{
    bool doubtful = user->tx_ends && !user->tx_rolls;
    struct lab *lab = user->lab;
    for (size_t i = 0; doubtful && i < user->tx_sent.size; i++) {
        uint32_t id = *publish_ring_at(&user->tx_sent, i);
        const struct lab_message *m = &lab->messages[id];
        doubt_ring_push_back(&lab->doubtful, (struct lab_doubt){id, m->tx, m->target, false});
    }
    for (unsigned i = 0; doubtful && i < user->tx_held_count; i++) {
        const struct lab_held *held = &user->tx_held[i];
        uint32_t tx = lab->messages[*publish_ring_at(&user->tx_sent, 0)].tx;
        if (held->how == LAB_ACK && held->before == COPY_MUST)
            doubt_ring_push_back(&lab->doubtful,
                                 (struct lab_doubt){held->id, tx, (uint8_t)held->origin, true});
    }
    client_drop(&user->client, true);
    user->dying = false;
    if (user->client.state != CLIENT_OFF)
        client_forget(&user->client);
}

bool lab_user_is_quiet(const struct lab_user *user)
{
    return user->client.state != CLIENT_OPEN ||
           (user->ready && user->sent.size == 0 && !user->tx_ends && user->client.out.len == 0);
}

bool lab_user_is_off(const struct lab_user *user)
{
    return user->client.state == CLIENT_OFF;
}
