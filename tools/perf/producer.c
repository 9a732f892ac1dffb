/* producer.c - a connection that publishes.
 * A batch is filled into the empty out-buffer and written as a whole; the next follows when it is gone. */
#include "tools/perf/producer.h"

#include <endian.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"

enum { BATCH_BYTES = 128 * 1024, READ_BYTES = 64 * 1024 };

static enum turn take_turn(struct link *link);

bool producer_init(struct producer *p, const struct topology *topology, const struct templates *templates,
                   struct producer_place place)
{
    const struct options *o = topology->options;
    struct client *c = &p->link.client;
    assert(place.id < place.count && c->fd >= 0);
    p->link.turn = take_turn;
    p->options = o;
    p->templates = templates;
    p->id = place.id;
    p->run = place.run;
    p->template = place.id % templates->count;
    p->template_step = templates->count >= place.count ? place.count : templates->count;
    p->next = mem_zalloc(topology_streams(topology) * sizeof(*p->next));
    if (o->publish.rate)
        p->offset_ns = 1000000000 / o->publish.rate * place.id / place.count;
    struct method select_tx = {.id = METHOD_tx_select}, select_confirm = {.id = METHOD_confirm_select};
    if (o->publish.tx && !client_call(c, &select_tx, METHOD_tx_select_ok, NULL))
        return false;
    if (o->publish.window == 0)
        return true;
    uint64_t slots = 1024;
    while (slots < o->publish.window * 2)
        slots *= 2;
    p->pending = mem_zalloc(slots * sizeof(*p->pending));
    p->pending_mask = slots - 1;
    return client_call(c, &select_confirm, METHOD_confirm_select_ok, NULL);
}

void producer_free(struct producer *p)
{
    mem_free(p->next);
    mem_free(p->pending);
    p->next = p->pending = NULL;
}

/* When message n is due. */
static uint64_t due_ns(const struct producer *p, uint64_t n)
{
    uint64_t rate = p->options->publish.rate;
    assert(rate > 0);
    return p->link.worker->control->start_ns + p->offset_ns + n / rate * 1000000000 +
           n % rate * 1000000000 / rate;
}

/* How many messages of a rated producer are due, at most `max`. */
static uint64_t due_count(const struct producer *p, uint64_t now, uint64_t max)
{
    uint64_t n = 0;
    while (n < max && due_ns(p, p->sent + n) <= now)
        n++;
    return n;
}

static inline uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* How many messages may go into the next batch, were they due. */
static uint64_t allowance(const struct producer *p)
{
    const struct publish_options *o = &p->options->publish;
    if (p->finished || p->committing || control_phase(p->link.worker->control) != PHASE_RUN)
        return 0;
    uint64_t n = BATCH_BYTES / p->templates->message_max;
    n = n ? n : 1;
    if (o->messages)
        n = least(n, o->messages - p->sent);
    if (o->window) {
        n = least(n, o->window - p->unconfirmed);
        n = least(n, p->pending_mask + 1 - (p->sent - p->confirmed_to));
    }
    if (o->tx)
        n = least(n, o->tx - p->in_tx);
    return n;
}

/* Puts `count` messages into the out-buffer: the hot loop. */
static void fill(struct producer *p, uint64_t count, uint64_t now)
{
    const struct templates *t = p->templates;
    struct buf *out = &p->link.client.out;
    uint64_t size = p->options->publish.size, template = p->template;
    bool rated = p->options->publish.rate != 0;
    uint8_t *at = buf_reserve(out, count * t->message_max), *start = at;
    for (uint64_t i = 0; i < count; i++) {
        const struct template *item = &t->items[template];
        memcpy(at, item->at, item->size);
        at += item->size;
        memcpy(at, t->body.at, t->body.len);
        uint64_t id = htole64(stamp_id(p->run, p->id, p->next[item->stream]++));
        uint64_t time = rated ? due_ns(p, p->sent + i) : now;
        uint64_t stamp[2] = {id, htole64(time)};
        if (size >= STAMP_SIZE)
            memcpy(at + t->stamp_at, stamp, STAMP_SIZE);
        else if (size >= STAMP_ID_SIZE)
            memcpy(at + t->stamp_at, stamp, STAMP_ID_SIZE);
        at += t->body.len;
        if (p->pending)
            p->pending[(p->sent + i) & p->pending_mask] = time;
        template += p->template_step;
        if (template >= t->count)
            template = t->count > p->template_step ? p->id % p->template_step : p->id % t->count;
    }
    out->len += (size_t)(at - start);
    p->template = template;
    p->sent += count;
    p->unconfirmed += p->pending ? count : 0;
    p->in_tx += count;
    worker_count(p->link.worker, COUNT_SENT, count);
}

/* Ends a transaction that is full, or the last one. */
static void commit(struct producer *p, bool last)
{
    uint64_t tx = p->options->publish.tx;
    if (tx == 0 || p->committing || p->in_tx == 0 || (p->in_tx < tx && !last))
        return;
    struct method m = {.id = METHOD_tx_commit};
    client_put(&p->link.client, CLIENT_CHANNEL, &m);
    p->committing = true;
}

static bool take_confirm(struct producer *p, const struct scan_event *e, uint64_t now)
{
    uint64_t n = e->tag - 1; /* publish sequence numbers begin at 1 */
    uint64_t from = e->multiple ? p->confirmed_to : n, to = e->multiple && e->tag == 0 ? p->sent : n + 1;
    struct worker *w = p->link.worker;
    if (!p->pending || to > p->sent || (!e->multiple && n < p->confirmed_to))
        return client_fail(&p->link.client, "the broker confirmed message %llu, which is not outstanding",
                           (unsigned long long)e->tag);
    uint64_t count = 0;
    for (uint64_t i = from; i < to; i++) {
        uint64_t *slot = &p->pending[i & p->pending_mask];
        if (*slot == 0)
            continue;
        histogram_record(&w->confirm, now > *slot ? (now - *slot) / 1000 : 0);
        *slot = 0;
        count++;
    }
    while (p->confirmed_to < p->sent && p->pending[p->confirmed_to & p->pending_mask] == 0)
        p->confirmed_to++;
    assert(count <= p->unconfirmed);
    p->unconfirmed -= count;
    worker_count(w, e->nack ? COUNT_NACKED : COUNT_CONFIRMED, count);
    return true;
}

static bool take_method(struct producer *p, struct slice payload)
{
    if (p->committing && payload.len == 4 && load_u32(payload.at) == METHOD_tx_commit_ok) {
        worker_count(p->link.worker, COUNT_CONFIRMED, p->in_tx);
        p->committing = false;
        p->in_tx = 0;
        return true;
    }
    if (p->syncing && payload.len == 4 && load_u32(payload.at) == METHOD_basic_qos_ok) {
        p->synced = true;
        return true;
    }
    return link_take_method(&p->link, payload);
}

static bool take_input(struct producer *p)
{
    struct scan_event e;
    bool ok = link_read(&p->link, READ_BYTES);
    uint64_t now = ok ? clock_now_ns() : 0;
    while (ok) {
        switch (scan_next(&p->link.scan, &e)) {
        case SCAN_MORE:
            link_keep_rest(&p->link);
            return true;
        case SCAN_CONFIRM:
            ok = take_confirm(p, &e, now);
            break;
        case SCAN_RETURN:
            worker_count(p->link.worker, COUNT_RETURNED, 1);
            break;
        case SCAN_METHOD:
            ok = take_method(p, e.payload);
            break;
        case SCAN_DELIVER:
        case SCAN_BAD:
            ok = client_fail(&p->link.client, "the broker sent what a producer cannot expect");
            break;
        }
    }
    return false;
}

/* Without confirms, a call behind the last message tells when the broker has taken them all. */
static void put_sync(struct producer *p)
{
    struct method m = {.id = METHOD_basic_qos};
    assert(!p->syncing && !p->pending);
    client_put(&p->link.client, CLIENT_CHANNEL, &m);
    p->syncing = true;
}

/* Notes that nothing more will be published and nothing is outstanding. */
static void check_finished(struct producer *p)
{
    const struct publish_options *o = &p->options->publish;
    struct control *control = p->link.worker->control;
    bool all = control_phase(control) != PHASE_RUN || (o->messages && p->sent == o->messages);
    if (p->finished || !all)
        return;
    commit(p, true);
    if (!p->pending && p->options->publish.tx == 0 && !p->syncing)
        put_sync(p);
    if (p->link.client.out.len || p->unconfirmed || p->committing || p->syncing != p->synced)
        return;
    p->finished = true;
    atomic_fetch_sub(&control->producers_left, 1);
    control_notify(control);
}

static enum turn take_turn(struct link *link)
{
    struct producer *p = container_of(link, struct producer, link);
    if (link->readable && !take_input(p))
        return TURN_FAILED;
    if (link->writable && link->client.out.len == 0) {
        uint64_t now = clock_now_ns(), count = allowance(p);
        if (p->options->publish.rate)
            count = due_count(p, now, count);
        if (count)
            fill(p, count, now);
        commit(p, false);
    }
    check_finished(p);
    if (link->writable && link->client.out.len && !link_write(link))
        return TURN_FAILED;
    check_finished(p);
    if (link->readable)
        return TURN_AGAIN;
    if (p->finished || !link->writable || allowance(p) == 0)
        return TURN_WAIT;
    if (p->options->publish.rate == 0)
        return TURN_AGAIN;
    link->due.key = due_ns(p, p->sent);
    return TURN_DUE;
}
