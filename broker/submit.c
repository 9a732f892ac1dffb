/* submit.c - a complete message: may it be published, where does it go, and what becomes of it (semantics
 * 1.3, 2.1). It is journalled once, however many durable queues it reaches, and pushed to each. */
#include "broker/confirm.h"
#include "broker/delayed.h"
#include "broker/deliver.h"
#include "broker/duplicate.h"
#include "broker/pace.h"
#include "broker/reply.h"
#include "broker/submit.h"
#include "broker/trace.h"
#include "broker/tx.h"
#include "protocol/props.h"
#include "protocol/table.h"
#include "queue/excess.h"
#include "queue/lane.h"
#include "queue/record.h"

/* Ten years, the longest expiration (semantics 1.2). */
#define EXPIRATION_MAX_MS 315360000000u

/* Most keys that CC and BCC may add: routing is bounded work. Each is what basic.publish could carry. */
enum { KEYS_MAX = 256, KEY_BYTES_MAX = 255 };

/* The exchange, if it may be written: permission before existence (K62). */
static struct exchange *find_exchange(struct channel *ch, struct slice name, struct slice key,
                                      struct fault *f)
{
    struct vhost *v = ch->conn->vhost;
    struct exchange_memo *memo = &ch->memo;
    if (memo->exchange && memo->generation == v->router.generation &&
        slice_equal(buf_slice(&memo->name), name))
        return memo->exchange;
    if (!channel_permits(ch, ACCESS_WRITE, name, "exchange", f))
        return NULL;
    struct exchange *x = vhost_find_exchange(v, name);
    if (!x) {
        fault(f, NOT_FOUND, "no exchange '%.*s' in vhost '%.*s'", SLICE_ARG(name), SLICE_ARG(v->name));
        return NULL;
    }
    if (x->internal) {
        fault(f, ACCESS_REFUSED, "cannot publish to internal exchange '%.*s' in vhost '%.*s'",
              SLICE_ARG(name), SLICE_ARG(v->name));
        return NULL;
    }
    memo->exchange = NULL;
    if (!channel_permits_key(ch, ACCESS_WRITE, x, key, f))
        return NULL;
    if (!channel_remembers(ch, x))
        return x; /* every message is asked about */
    memo->exchange = x;
    memo->only = NULL;
    memo->generation = v->router.generation;
    memo->name.len = 0;
    buf_append_slice(&memo->name, name);
    return x;
}

/* Says what is wrong with an expiration in RabbitMQ's words (rabbit_basic, parse_expiration). */
static bool refuse_expiration(struct slice text, struct fault *f)
{
    size_t sign = text.len && (text.at[0] == '+' || text.at[0] == '-'), end = sign;
    while (end < text.len && text.at[end] >= '0' && text.at[end] <= '9')
        end++;
    size_t from = sign && text.at[0] == '+' ? 1 : 0;
    struct slice number = slice_of(text.at + from, end - from);
    struct slice rest = slice_of(text.at + end, text.len - end);
    if (end == sign)
        return fault(f, PRECONDITION_FAILED, "invalid expiration '%.*s': no_integer", SLICE_ARG(text));
    if (rest.len)
        return fault(f, PRECONDITION_FAILED, "invalid expiration '%.*s': {leftover_string,\"%.*s\"}",
                     SLICE_ARG(text), SLICE_ARG(rest));
    return fault(f, PRECONDITION_FAILED, "invalid expiration '%.*s': {%s,%.*s}", SLICE_ARG(text),
                 text.at[0] == '-' ? "value_negative" : "value_too_large", SLICE_ARG(number));
}

/* Decimal milliseconds with an optional plus sign (K64). */
static bool check_expiration(struct slice text, struct fault *f)
{
    uint64_t ms = 0;
    size_t i = text.len && text.at[0] == '+';
    bool good = i < text.len;
    for (; good && i < text.len; i++) {
        good = text.at[i] >= '0' && text.at[i] <= '9';
        ms = ms * 10 + (uint64_t)(text.at[i] - '0');
        good = good && ms <= EXPIRATION_MAX_MS;
    }
    return good || refuse_expiration(text, f);
}

static bool check_user_id(struct channel *ch, struct slice user_id, struct fault *f)
{
    const struct user *user = ch->conn->user;
    if (user->impersonator || slice_equal(user_id, user->name))
        return true;
    return fault(f, PRECONDITION_FAILED,
                 "user_id property set to '%.*s' but authenticated user was '%.*s'",
                 SLICE_ARG(user_id), SLICE_ARG(user->name));
}

struct keys {
    struct slice at[KEYS_MAX];
    size_t count;
};

/* Adds the keys of a CC or BCC header: an array of longstr (K65), none longer than a key can be: what matches
 * them, and what they are written to, has room for that. */
static bool add_keys(struct slice headers, const char *name, struct keys *keys, struct fault *f)
{
    struct field field, item;
    if (!table_find(headers, name, &field))
        return true;
    if (field.type != 'A')
        return fault(f, PRECONDITION_FAILED,
                     "invalid message: {unacceptable_type_in_header,\"%s\",%s}",
                     name, field_type_name(field.type));
    struct slice rest = field.bytes;
    while (array_next(&rest, &item)) {
        if (keys->count == KEYS_MAX)
            return fault(f, PRECONDITION_FAILED, "invalid message: more than %d routing keys in '%s'",
                         KEYS_MAX - 1, name);
        struct slice *key = &keys->at[keys->count++];
        if (!field_string(&item, key))
            return fault(f, PRECONDITION_FAILED,
                         "invalid message: {unacceptable_type_in_header,\"%s\",%s}",
                         name, field_type_name(item.type));
        if (key->len > KEY_BYTES_MAX)
            return fault(f, PRECONDITION_FAILED,
                         "invalid message: a routing key in '%s' has %zu bytes, more than %d", name, key->len,
                         KEY_BYTES_MAX);
    }
    return true;
}

/* A copy of the message without the BCC header; takes over the reference. */
static struct message *strip_bcc(struct server *s, struct message *m, struct props *props)
{
    struct buf headers = {0}, bytes = {0};
    struct slice rest = props->headers, name;
    struct field field;
    const uint8_t *from = rest.at;
    while (table_next(&rest, &name, &field)) {
        if (!slice_is(name, "BCC"))
            buf_append(&headers, from, (size_t)(rest.at - from));
        from = rest.at;
    }
    props->headers = buf_slice(&headers);
    props_encode(&bytes, props);
    struct message *copy = message_new(&s->messages, message_exchange(m), message_key(m),
                                       buf_slice(&bytes), m->body_size);
    copy->persistent = m->persistent;
    copy->has_headers = m->has_headers;
    copy->has_id = m->has_id;
    memcpy(message_body_at(copy), message_body(m).at, m->body_size);
    buf_free(&headers);
    buf_free(&bytes);
    message_unref(&s->messages, &m);
    return copy;
}

static __attribute__((cold, noinline)) bool refuses_still(struct queue *q, const struct message *m)
{
    deliver_to_make_room(q, m->body_size);
    return queue_refuses(q, m->body_size);
}

/* True when the queue is full and refuses the message, also after its consumers have taken what they can.
 * The answer stays until something is pushed to the queue. */
static bool refuses(struct queue *q, const struct message *m)
{
    return queue_refuses(q, m->body_size) && refuses_still(q, m);
}

/* One record for those of the queues that are durable; returns in how many it is. */
static size_t journal(struct server *s, struct dest *const *queues, size_t count, struct message *m)
{
    size_t durable = 0;
    bool keeps_birth = false;
    if (s->targets_capacity < count) {
        s->targets_capacity = count * 2;
        s->targets = mem_realloc(s->targets, s->targets_capacity * sizeof(*s->targets));
    }
    for (size_t i = 0; i < count; i++) {
        struct queue *q = queue_of_dest(queues[i]);
        if (!queue_stores(q, m) || refuses(q, m))
            continue;
        s->targets[durable++] = lane_target(q, m);
        keeps_birth |= queue_keeps_birth(q, m);
    }
    if (durable) {
        struct stored_message record = record_of(m, s->targets, durable, keeps_birth);
        m->batch = store_message(s->store, &record);
        m->journal_refs = (uint32_t)durable;
    }
    return durable;
}

/* `conn` NULL: nobody to hold up; `ids` NULL: nobody is to remember it. */
static struct submission enqueue(struct server *s, struct connection *conn, const struct route_set *set,
                                 struct message *m, const struct dedup_ids *ids)
{
    struct submission done = {0};
    size_t stored = 0;
    m->born_ms = s->home.now_ms;
    size_t durable = m->persistent || s->home.keeping_all ? journal(s, set->queues, set->size, m) : 0;
    if (durable)
        done.batch = m->batch;
    for (size_t i = 0; i < set->size; i++) {
        struct queue *q = queue_of_dest(set->queues[i]);
        if (refuses(q, m)) {
            done.refused = true;
            if (q->settings.limit.overflow == LIMIT_REJECT_DEAD_LETTER)
                outcome_put_refused(q, m);
            if (conn && excess_is_large(q))
                pace_note(conn, q);
            continue;
        }
        bool journalled = queue_stores(q, m);
        stored += journalled;
        queue_push(q, m, journalled);
        if (ids && q->dedup)
            dedup_take(q->dedup, ids, journalled ? s->store : NULL);
        if (!conn)
            continue;
        if (queue_is_behind(q) || excess_is_large(q))
            pace_note(conn, q);
        if (lane_for(q, m)->backlog)
            connection_throttle(conn); /* what is not persistent goes to disk too, and may not pile up */
    }
    if (!conn)
        s->company.copies += set->size;
    else if (set->size > 1)
        conn->share.effort += (unsigned)set->size;
    assertf(stored == durable, "the record names %zu queues, %zu got it", durable, stored);
    return done;
}

struct submission submit_enqueue(struct server *s, struct dest **queues, size_t count, struct message *m)
{
    struct route_set set = {.queues = queues, .size = count};
    return enqueue(s, NULL, &set, m, NULL);
}

static struct submission wait_for(const struct server *s, struct submission done, uint64_t batch)
{
    if (batch > s->durable_seen && batch > done.batch)
        done.batch = batch;
    return done;
}

/* A repeated message counts as taken, by the batch that has the first one: the confirm waits for that. */
static __attribute__((cold, noinline)) struct submission
enqueue_once(struct server *s, struct connection *conn, const struct route_set *set, struct message *m)
{
    struct dedup_ids ids;
    uint64_t before = 0;
    if (!duplicate_ids(s, m, conn != NULL, &ids))
        return enqueue(s, conn, set, m, NULL);
    struct route_set screened = duplicate_screen(s, set, &ids, &before);
    struct submission done = enqueue(s, conn, &screened, m, &ids);
    return wait_for(s, done, before);
}

static struct submission screen_and_enqueue(struct server *s, struct connection *conn,
                                            const struct route_set *set, struct message *m)
{
    if ((m->has_headers || m->has_id) && s->home.dedup.users)
        return enqueue_once(s, conn, set, m);
    return enqueue(s, conn, set, m, NULL);
}

static void send_return(struct channel *ch, struct message *m)
{
    struct method ret = {.id = METHOD_basic_return};
    ret.basic_return.reply_code = NO_ROUTE;
    ret.basic_return.reply_text = SLICE("NO_ROUTE");
    ret.basic_return.exchange = message_exchange(m);
    ret.basic_return.routing_key = message_key(m);
    channel_server(ch)->counters.returned++;
    bool fits = deliver_content(ch, &ret, m, message_props(m));
    assertf(fits, "%zu bytes of properties were let in", message_props(m).len); /* by publish_header */
}

/* Fills in what routing may look at; true when the message has BCC keys, which no consumer may see. */
static bool prepare(struct message *m, struct props *props, struct keys *keys,
                    struct route_input *input)
{
    struct fault f;
    keys->at[0] = message_key(m);
    keys->count = 1;
    size_t open = 1;
    if (m->has_headers) {
        bool good = props_decode(message_props(m), props, &f) &&
                    add_keys(props->headers, "CC", keys, &f);
        open = keys->count;
        good = good && add_keys(props->headers, "BCC", keys, &f);
        assertf(good, "headers were checked when they came: %s", f.text);
        input->headers = props->headers;
    }
    input->keys = keys->at;
    input->props = message_props(m);
    input->message = m;
    input->key_count = keys->count;
    return keys->count > open;
}

/* The keys that name no queue may name reply consumers; whom nobody got at all goes back, if it has to. */
static __attribute__((noinline)) void reach_beyond_queues(struct channel *ch, const struct exchange *x,
                                                          size_t taken, const struct route_input *input,
                                                          struct message *m, bool mandatory)
{
    if (x->is_default)
        taken += reply_deliver(ch->conn->vhost, input->keys, input->key_count, m);
    if (taken == 0 && mandatory)
        send_return(ch, m);
}

/* What it took to find the queues, beside what their copies cost. */
static void count_looks(struct connection *conn, const struct route_set *set)
{
    if (set->looks > set->size)
        conn->share.effort += (unsigned)((set->looks - set->size) / EFFORT_LOOKS);
}

/* A message with headers may have more than one key; an exchange may remember what it has seen. */
static __attribute__((noinline)) struct submission
route_special(struct channel *ch, struct exchange *x, struct message *m, bool mandatory)
{
    struct server *s = channel_server(ch);
    struct props props;
    struct keys keys;
    struct route_input input = {.pool = &s->messages, .remembered = &s->bounds.remembered_bytes};
    bool blind = prepare(m, &props, &keys, &input);
    struct submission later = {0};
    if (m->has_headers && x->delays && delayed_takes(ch->conn->vhost, x, m, &later)) {
        message_unref(&s->messages, &m);
        return later;
    }
    struct submission known = {0};
    if (x->memory && duplicate_known(s, x, m, true, &known)) {
        message_unref(&s->messages, &m);
        return known;
    }
    const struct route_set *set = route(&ch->conn->vhost->router, x, &input);
    count_looks(ch->conn, set);
    if (blind)
        m = strip_bcc(s, m, &props);
    if (set->size == 0 || keys.count > 1)
        reach_beyond_queues(ch, x, set->size, &input, m, mandatory);
    if (ch->conn->vhost->traced)
        trace_publish(ch, m, set);
    struct submission done = screen_and_enqueue(s, ch->conn, set, m);
    if (x->memory)
        duplicate_taken(s, x, m, true, &done);
    message_unref(&s->messages, &m);
    return done;
}

/* Most channels publish with one key to one queue, over and over. */
static inline bool memo_has(const struct exchange_memo *memo, struct slice key)
{
    return memo->only && memo->key_size == key.len &&
           memcmp(memo->key, key.at, key.len) == 0;
}

static inline void memo_take(struct exchange_memo *memo, struct slice key, const struct route_set *set)
{
    memo->only = NULL;
    if (set->size != 1 || !set->by_key || key.len > sizeof(memo->key))
        return;
    memo->only = set->queues[0];
    memo->key_size = (uint8_t)key.len;
    memcpy(memo->key, key.at, key.len);
}

static inline const struct route_set *find_queues(struct channel *ch, struct exchange *x,
                                                  const struct route_input *input, struct route_set *room)
{
    struct router *router = &ch->conn->vhost->router;
    struct exchange_memo *memo = &ch->memo;
    struct slice key = input->keys[0];
    bool fresh = memo->exchange == x && memo->generation == router->generation;
    if (fresh && memo_has(memo, key)) {
        *room = (struct route_set){.queues = &memo->only, .size = 1};
        return room;
    }
    const struct route_set *set = route(router, x, input);
    count_looks(ch->conn, set);
    if (fresh)
        memo_take(memo, key, set);
    return set;
}

struct submission submit_route(struct channel *ch, struct exchange *x, struct message **message,
                               bool mandatory)
{
    struct message *m = *message;
    struct server *s = channel_server(ch);
    struct vhost *v = ch->conn->vhost;
    *message = NULL;
    if (m->has_headers || x->memory)
        return route_special(ch, x, m, mandatory);
    struct slice key = message_key(m);
    struct route_input input = {
        .keys = &key, .key_count = 1, .props = message_props(m), .message = m,
        .pool = &s->messages, .remembered = &s->bounds.remembered_bytes};
    struct route_set room;
    const struct route_set *set = find_queues(ch, x, &input, &room);
    if (set->size == 0)
        reach_beyond_queues(ch, x, 0, &input, m, mandatory);
    if (v->traced)
        trace_publish(ch, m, set);
    struct submission done = screen_and_enqueue(s, ch->conn, set, m);
    message_unref(&s->messages, &m);
    return done;
}

struct submission submit_internal(struct vhost *v, struct dest *dest, struct message **message)
{
    struct server *s = v->server;
    struct message *m = *message;
    struct props props;
    struct keys keys;
    struct route_input input = {.pool = &s->messages, .remembered = &s->bounds.remembered_bytes};
    struct route_set alone = {.queues = &dest, .size = 1};
    const struct route_set *set = &alone;
    struct exchange *x = dest->kind == DEST_EXCHANGE ? container_of(dest, struct exchange, dest) : NULL;
    struct submission done = {0};
    *message = NULL;
    if (x && x->memory && duplicate_known(s, x, m, false, &done)) {
        message_unref(&s->messages, &m);
        return done;
    }
    bool blind = prepare(m, &props, &keys, &input);
    if (x) {
        set = route(&v->router, x, &input);
        s->company.copies += set->looks / EFFORT_LOOKS;
    }
    if (blind)
        m = strip_bcc(s, m, &props);
    done = screen_and_enqueue(s, NULL, set, m);
    if (x && x->memory)
        duplicate_taken(s, x, m, false, &done);
    message_unref(&s->messages, &m);
    return done;
}

/* The keys of CC and BCC; the routing key itself was asked about with the exchange. */
static bool permits_keys(struct channel *ch, const struct exchange *x, const struct keys *keys,
                         struct fault *f)
{
    for (size_t i = 1; i < keys->count && ch->memo.exchange != x; i++)
        if (!channel_permits_key(ch, ACCESS_WRITE, x, keys->at[i], f))
            return false;
    return true;
}

static __attribute__((noinline)) bool check_props(struct channel *ch, const struct exchange *x,
                                                  struct message *m, uint16_t prop_flags, struct fault *f)
{
    struct props props;
    struct keys keys; /* not zeroed: it is large, and used by few */
    if (!props_decode(message_props(m), &props, f))
        return false;
    m->has_headers = prop_flags & PROP_headers;
    keys.count = 1; /* the routing key's place */
    return (!(prop_flags & PROP_user_id) || check_user_id(ch, props.user_id, f)) &&
           (!(prop_flags & PROP_expiration) || check_expiration(props.expiration, f)) &&
           (!m->has_headers || ((!x->delays || delayed_check(channel_server(ch), m, f)) &&
                                add_keys(props.headers, "CC", &keys, f) &&
                                add_keys(props.headers, "BCC", &keys, f) &&
                                permits_keys(ch, x, &keys, f)));
}

/* What can be wrong with a message itself. */
static inline bool check_message(struct channel *ch, const struct exchange *x, struct message *m,
                                 uint16_t prop_flags, struct fault *f)
{
    m->has_id = prop_flags & PROP_message_id;
    return !(prop_flags & (PROP_headers | PROP_expiration | PROP_user_id)) ||
           check_props(ch, x, m, prop_flags, f);
}

bool submit_message(struct channel *ch, struct message **message, struct fault *f)
{
    struct server *s = channel_server(ch);
    struct exchange *x = find_exchange(ch, message_exchange(*message), message_key(*message), f);
    if (!x || !check_message(ch, x, *message, ch->assembly.prop_flags, f)) {
        if (f->code != 0) /* else it is to be submitted again, when a backend has answered */
            message_unref(&s->messages, message);
        return false;
    }
    s->counters.published++;
    if (ch->mode == CHANNEL_TX)
        return tx_publish(ch, message, ch->assembly.mandatory, f);
    struct submission done = submit_route(ch, x, message, ch->assembly.mandatory);
    if (ch->mode == CHANNEL_CONFIRM)
        confirm_publish(ch, done);
    if (done.batch)
        connection_throttle(ch->conn);
    return true;
}
