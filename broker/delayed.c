/* delayed.c - messages that are routed later (RabbitMQ's plugin rabbitmq_delayed_message_exchange, and any
 * exchange that is told to), and messages that come back to their queue later.
 *
 * A message that waits is a message of its own, with its number in a header; it is in the journal as its
 * calendar's. When it is due the one that is published, or goes back, and the ack of the one that waited are
 * in one batch: a crash leaves one of them. */
#include "broker/delayed.h"

#include "protocol/table.h"
#include "queue/lane.h"
#include "queue/retry.h"

enum { DUE_TURN_MAX = 8192 };

/* --- who delays --- */

static bool delays_by_args(const struct exchange *x)
{
    struct field field;
    bool flag;
    return slice_is(slice_of_string(x->type->name), "x-delayed-message") ||
           (table_find(x->args, "x-delayed-message", &field) && field_bool(&field, &flag) && flag);
}

bool delayed_check_args(struct slice args, struct fault *f)
{
    struct field field;
    bool flag;
    if (table_find(args, "x-delayed-message", &field) && !field_bool(&field, &flag))
        return fault(f, PRECONDITION_FAILED, "invalid arg 'x-delayed-message': a bool is expected");
    return true;
}

void delayed_govern(struct exchange *x, bool wanted)
{
    x->delays = wanted || delays_by_args(x);
}

/* --- until when --- */

/* A number, in whatever type, or as text. */
static bool read_number(const struct field *field, int64_t *number)
{
    struct slice text;
    if (field_integer(field, number))
        return true;
    if (!field_string(field, &text) || text.len == 0 || text.len > 18)
        return false;
    *number = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] < '0' || text.at[i] > '9')
            return false;
        *number = *number * 10 + (text.at[i] - '0');
    }
    return true;
}

static uint64_t read_seconds(struct slice bytes)
{
    uint64_t seconds = 0;
    assert(bytes.len == sizeof(seconds));
    for (size_t i = 0; i < bytes.len; i++)
        seconds = seconds << 8 | bytes.at[i];
    return seconds;
}

/* When the headers want the message to be routed: at `now_ms` or before when they say nothing of it. */
static bool read_due(struct slice headers, uint64_t now_ms, uint64_t *due_ms, struct fault *f)
{
    struct field field;
    int64_t number;
    *due_ms = now_ms;
    if (table_find(headers, "x-deliver-at", &field)) {
        uint64_t at_ms;
        if (field.type == 'T') {
            uint64_t seconds = read_seconds(field.bytes);
            at_ms = seconds > UINT64_MAX / 1000 ? UINT64_MAX : seconds * 1000;
        } else if (read_number(&field, &number)) {
            at_ms = number > 0 ? (uint64_t)number : 0;
        } else {
            return fault(f, PRECONDITION_FAILED,
                         "invalid header 'x-deliver-at': a timestamp or milliseconds since 1970 expected");
        }
        if (at_ms > now_ms && at_ms - now_ms > DELAY_MAX_MS)
            return fault(f, PRECONDITION_FAILED, "invalid header 'x-deliver-at': more than ten years ahead");
        *due_ms = at_ms;
    } else if (table_find(headers, "x-delay", &field)) {
        if (!read_number(&field, &number))
            return fault(f, PRECONDITION_FAILED, "invalid header 'x-delay': milliseconds are expected");
        if (number > 0 && (uint64_t)number > DELAY_MAX_MS)
            return fault(f, PRECONDITION_FAILED, "invalid header 'x-delay': more than ten years");
        *due_ms = number > 0 ? now_ms + (uint64_t)number : now_ms;
    }
    return true;
}

static struct slice headers_of(const struct message *m)
{
    struct props props;
    struct fault f;
    bool good = props_decode(message_props(m), &props, &f);
    assertf(good, "properties were checked when they came: %s", f.text);
    return props.headers;
}

bool delayed_check(struct server *s, const struct message *m, struct fault *f)
{
    uint64_t due_ms;
    return read_due(headers_of(m), s->home.now_ms, &due_ms, f);
}

/* --- messages with other headers --- */

/* The same with other properties; one reference, the caller's. */
static struct message *remake(struct server *s, const struct message *old, struct slice props)
{
    struct message *m =
        message_new(&s->messages, message_exchange(old), message_key(old), props, old->body_size);
    if (old->body_size)
        memcpy(message_body_at(m), message_body(old).at, old->body_size);
    m->persistent = old->persistent;
    m->dead_letter = old->dead_letter;
    m->retried = old->retried;
    m->born_ms = old->born_ms;
    m->has_headers = props_have(props, PROP_headers);
    m->has_id = props_have(props, PROP_message_id);
    return m;
}

/* With a number, by which it can be cancelled. */
static struct message *number(struct server *s, const struct message *m)
{
    struct buf props = {0};
    props_put_header(&props, message_props(m), DELAYED_ID_HEADER, (int64_t)(rand_u64(&s->rand) >> 1));
    struct message *made = remake(s, m, buf_slice(&props));
    buf_free(&props);
    return made;
}

/* As the plugin writes it: a signed int (I), if it fits. */
static void put_negated(struct buf *headers, int64_t ms)
{
    static const char name[] = "x-delay";
    uint32_t bits = (uint32_t)-ms;
    if (ms > INT32_MAX) {
        table_put_int(headers, name, -ms);
        return;
    }
    buf_append(headers, &(uint8_t){sizeof(name) - 1}, 1);
    buf_append(headers, name, sizeof(name) - 1);
    buf_append(headers, &(uint8_t[]){'I', (uint8_t)(bits >> 24), (uint8_t)(bits >> 16), (uint8_t)(bits >> 8),
                                     (uint8_t)bits}, 5);
}

/* Without the number; x-delay, if it is more than 0, is negated as by RabbitMQ's plugin. */
static struct message *unnumber(struct server *s, const struct message *m)
{
    struct props props;
    struct fault f;
    struct buf headers = {0}, bytes = {0};
    struct slice name;
    struct field field;
    bool good = props_decode(message_props(m), &props, &f);
    assertf(good, "properties were checked when they came: %s", f.text);
    const uint8_t *from = props.headers.at;
    for (struct slice rest = props.headers; table_next(&rest, &name, &field); from = rest.at) {
        int64_t ms;
        if (slice_is(name, DELAYED_ID_HEADER))
            continue;
        if (slice_is(name, "x-delay") && read_number(&field, &ms) && ms > 0 && !m->retried)
            put_negated(&headers, ms);
        else
            buf_append(&headers, from, (size_t)(rest.at - from));
    }
    props.headers = buf_slice(&headers);
    if (headers.len == 0)
        props.flags &= (uint16_t)~PROP_headers;
    props_encode(&bytes, &props);
    struct message *made = remake(s, m, buf_slice(&bytes));
    buf_free(&headers);
    buf_free(&bytes);
    return made;
}

/* --- exchanges --- */

struct delay *delayed_calendar(struct vhost *v, struct exchange *x, uint64_t id)
{
    struct server *s = v->server;
    if (x->delay)
        return x->delay;
    bool known = id > 0;
    struct delay *delay = delay_new(&s->home, known ? id : s->next_queue_id++, NULL, x->durable);
    delay->exchange = x;
    delay->vhost = v;
    x->delay = delay;
    if (!known && x->durable)
        vhost_define_calendar(v, x, delay->keeper->id, true);
    return delay;
}

void delayed_forget(struct vhost *v, struct exchange *x, bool stored)
{
    struct delay *delay = x->delay;
    if (!delay)
        return;
    if (stored && x->durable)
        vhost_define_calendar(v, x, delay->keeper->id, false);
    x->delay = NULL;
    delay_delete(&delay);
}

bool delayed_takes(struct vhost *v, struct exchange *x, struct message *m, struct submission *done)
{
    struct server *s = v->server;
    uint64_t due_ms;
    struct fault f;
    if (!read_due(headers_of(m), s->home.now_ms, &due_ms, &f) || due_ms <= s->home.now_ms)
        return false;
    if (s->home.delays.count >= s->config->delayed_messages_max) {
        done->refused = true;
        return true;
    }
    struct delay *delay = delayed_calendar(v, x, 0);
    struct message *made = number(s, m);
    delay_push(delay, made, due_ms);
    if (made->batch)
        done->batch = made->batch;
    message_unref(&s->messages, &made);
    return true;
}

static void publish(struct server *s, const struct delay *delay, const struct message *waited)
{
    struct exchange *x = delay->exchange;
    struct message *m = unnumber(s, waited);
    submit_internal(delay->vhost, &x->dest, &m);
}

/* --- queues --- */

/* How often it came back by a retry. */
static int64_t retries_of(const struct message *m)
{
    struct field field;
    int64_t count = 0;
    if (m->retried && table_find(headers_of(m), RETRY_HEADER, &field))
        field_integer(&field, &count);
    return count;
}

static void go_back(struct server *s, const struct delay *delay, const struct message *waited)
{
    struct queue *q = delay->queue;
    struct message *m = unnumber(s, waited);
    delay_give_back(q, m);
    message_unref(&s->messages, &m);
}

void delayed_retry(struct server *s, struct queue *q, struct entry *entry)
{
    struct message *m = entry->message;
    int64_t times = retries_of(m) + 1;
    const struct retry *retry = q->settings.retry;
    int64_t limit = retry_limit(retry, q->settings.delivery_limit);
    struct buf props = {0};
    if (limit >= 0 && times > limit) {
        queue_reject(q, entry, OUTCOME_DELIVERY_LIMIT);
        return;
    }
    if (s->home.delays.count >= s->config->delayed_messages_max) {
        queue_requeue(q, entry, true);
        return;
    }
    uint64_t due_ms = s->home.now_ms + retry_delay_ms(retry, times, rand_u64(&s->rand));
    props_put_header(&props, message_props(m), RETRY_HEADER, times);
    struct message *counted = remake(s, m, buf_slice(&props));
    struct message *made = number(s, counted);
    made->retried = true;
    message_unref(&s->messages, &counted);
    buf_free(&props);
    delay_push(delay_for_queue(q), made, due_ms);
    message_unref(&s->messages, &made);
    queue_settle(q, entry, true);
}

/* --- the turn --- */

void delayed_run(struct server *s)
{
    struct delayed delayed;
    delay_run(&s->home.delays, s->home.now_ms);
    for (size_t cost = 0; cost < DUE_TURN_MAX && store_pending_bytes(s->store) < QUEUE_PENDING_MAX;) {
        uint64_t before = s->company.copies;
        if (!delay_take(&s->home.delays, s->home.now_ms, &delayed))
            break;
        const struct delay *delay = delay_of(&delayed);
        assert((delay->exchange != NULL) != (delay->queue != NULL));
        if (delay->exchange)
            publish(s, delay, delayed.entry.message);
        else
            go_back(s, delay, delayed.entry.message);
        delay_settle(&delayed);
        cost += company_published(s, before);
    }
}

uint64_t delayed_next_ms(const struct server *s)
{
    uint64_t next = delay_next_ms(&s->home.delays);
    return next == UINT64_MAX ? next : next < s->expire.offset_ms ? 0 : next - s->expire.offset_ms;
}
