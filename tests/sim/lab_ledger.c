/* lab_ledger.c - what is known of every copy of every message. */
#include <stdio.h>

#include "broker/vhost.h"
#include "protocol/props.h"
#include "protocol/table.h"
#include "protocol/wire.h"
#include "queue/lane.h"
#include "queue/retry.h"
#include "tests/sim/lab.h"

enum { ON_TIME_MS = 100 };

static bool may_leave(const struct lab *lab, const struct lab_message *m, int origin)
{
    const struct lab_queue *q = &lab->queues[origin];
    /* What is routed late finds a full queue, and nobody is told. */
    return !q->keeps || m->expires || (m->exchange == 2 && (q->reject || q->policy_refuses));
}

static bool deduplicates(const struct lab_queue *q)
{
    return q->window || q->producers || q->by_header;
}

void lab_sent(struct lab *lab, uint32_t id)
{
    struct lab_message *m = &lab->messages[id];
    for (int i = 0; i < LAB_QUEUES; i++) {
        struct copy *copy = &m->copies[i];
        if (!(m->origins >> i & 1))
            continue;
        bool again = m->repeated && deduplicates(&lab->queues[i]) && copy->taken;
        if (!again && (copy->state == COPY_NONE || copy->state == COPY_GONE))
            copy->state = COPY_MAYBE;
    }
    lab->counts.published++;
    lab->counts.repeated += m->repeated, lab->counts.transient += m->transient;
}

void lab_resolved(struct lab *lab, uint32_t id, bool confirmed)
{
    struct lab_message *m = &lab->messages[id];
    lab->counts.confirmed += confirmed, lab->counts.refused += !confirmed;
    for (int i = 0; i < LAB_QUEUES; i++) {
        struct copy *copy = &m->copies[i];
        const struct lab_queue *q = &lab->queues[i];
        bool only = m->origins == 1u << i;
        if (!(m->origins >> i & 1))
            continue;
        copy->taken |= confirmed && only && m->exchange == 0;
        if (copy->state != COPY_MAYBE)
            continue;
        if (confirmed && !may_leave(lab, m, i) && !(m->repeated && copy->seen))
            copy->state = COPY_MUST; /* else it may have been taken and acked long ago */
        else if (!confirmed && only && !q->reject_dead && !copy->taken && !m->repeated)
            copy->state = COPY_NONE;
        assertf(confirmed || !only || q->reject || q->policy_refuses || m->exchange == 2,
                "message %u was refused by %s", id, q->name);
    }
}

void lab_withdrawn(struct lab *lab, uint32_t id)
{
    for (int i = 0; i < LAB_QUEUES; i++) {
        struct copy *copy = &lab->messages[id].copies[i];
        if (copy->state == COPY_MAYBE && !copy->seen && !copy->taken)
            copy->state = COPY_NONE;
    }
}

/* --- what a message says --- */

static void check_deaths(const struct lab *lab, int queue, struct slice headers, struct slice first,
                         uint32_t id)
{
    struct field field, death, entry;
    struct slice items, name, last = SLICE("");
    bool good = table_find(headers, "x-death", &field) && field.type == 'A';
    assertf(good, "message %u was dead-lettered and does not say how", id);
    items = field.bytes;
    uint16_t seen[LAB_QUEUES] = {0};
    while (array_next(&items, &death)) {
        int64_t count = 0;
        good = death.type == 'F' && table_find(death.bytes, "queue", &entry) &&
               field_string(&entry, &name);
        int at = good ? lab_find(lab, name) : -1;
        assertf(at >= 0, "message %u died where there is no queue", id);
        good = table_find(death.bytes, "reason", &entry) &&
               table_find(death.bytes, "count", &field) && field_integer(&field, &count) &&
               count > 0;
        assert(good);
        unsigned reason = slice_is(entry.bytes, "rejected")  ? 0
                          : slice_is(entry.bytes, "expired") ? 1
                          : slice_is(entry.bytes, "maxlen")  ? 2
                                                             : 3;
        assertf(!(seen[at] >> reason & 1), "message %u has two entries of one queue and reason",
                id);
        seen[at] |= (uint16_t)(1u << reason);
        const struct copy *copy = &lab->messages[id].copies[lab_find(lab, first)];
        assertf(reason != 0 || count <= copy->rejects, "message %u was rejected %u times, not %lld",
                id, copy->rejects, (long long)count);
        if (last.len == 0)
            last = name;
    }
    const struct lab_queue *from = last.len ? &lab->queues[lab_find(lab, last)] : NULL;
    assertf(from && (from->dead == queue || (from->dead < 0 && from->policy_dead == queue)),
            "message %u came from %.*s to %s", id, SLICE_ARG(last), lab->queues[queue].name);
}

struct lab_reading lab_read(const struct lab *lab, int queue, struct slice props_bytes,
                            struct slice body)
{
    struct lab_reading reading = {.origin = queue};
    struct props props;
    struct field field;
    struct slice first;
    struct fault f;
    assertf(body.len >= 4, "a body of %zu bytes", body.len);
    reading.id = load_u32(body.at);
    assertf(reading.id > 0 && reading.id < lab->message_count, "message %u", reading.id);
    bool good = props_decode(props_bytes, &props, &f) && props.flags & PROP_headers;
    assert(good);
    if (table_find(props.headers, "x-first-death-queue", &field) && field_string(&field, &first)) {
        reading.origin = lab_find(lab, first);
        reading.died = true;
        assertf(reading.origin >= 0, "message %u died in no queue", reading.id);
        check_deaths(lab, queue, props.headers, first, reading.id);
    }
    if (table_find(props.headers, RETRY_HEADER, &field))
        field_integer(&field, &reading.retries);
    return reading;
}

/* --- deliveries --- */

static void check_sight(const struct lab *lab, int queue, const struct lab_reading *reading)
{
    const struct lab_message *m = &lab->messages[reading->id];
    const struct copy *copy = &m->copies[reading->origin];
    const char *name = lab->queues[queue].name, *origin = lab->queues[reading->origin].name;
    assertf(copy->state != COPY_NONE, "message %u is in %s, and never went to %s", reading->id,
            name, origin);
    assertf(copy->state != COPY_GONE, "message %u of %s is in %s again", reading->id, origin, name);
    assertf(m->due_ms <= lab_now_ms(lab), "message %u is in %s %llu ms early", reading->id, name,
            (unsigned long long)(m->due_ms - lab_now_ms(lab)));
}

void lab_delivered(struct lab *lab, int queue, const struct lab_reading *reading)
{
    struct copy *copy = &lab->messages[reading->id].copies[reading->origin];
    const struct lab_queue *q = &lab->queues[queue];
    check_sight(lab, queue, reading);
    copy->seen = true;
    lab->counts.delivered++;
    lab->counts.dead += reading->died;
    lab->counts.delayed += lab->messages[reading->id].due_ms > 0;
    if (reading->retries > copy->retries) {
        lab->counts.retried++;
        assertf(copy->nacks > 0, "message %u was retried, and nobody put it back", reading->id);
        assertf(!q->retry_limit || reading->retries <= q->retry_limit || queue != reading->origin,
                "message %u was retried %lld times", reading->id, (long long)reading->retries);
        const struct lab_queue *in = &lab->queues[copy->nacked_in];
        assertf(lab_now_ms(lab) - copy->nacked_ms >= (in->retry_ms ? in->retry_ms : in->policy_retry_ms),
                "message %u came back in %llu ms", reading->id,
                (unsigned long long)(lab_now_ms(lab) - copy->nacked_ms));
    }
    copy->retries = reading->retries;
}

void lab_acked(struct lab *lab, int queue, int origin, uint32_t id)
{
    (void)queue;
    lab->messages[id].copies[origin].state = COPY_SETTLING;
}

void lab_rejected(struct lab *lab, int queue, int origin, uint32_t id)
{
    struct copy *copy = &lab->messages[id].copies[origin];
    copy->rejects++;
    if (lab->queues[queue].dead < 0 && lab->queues[queue].policy_dead < 0)
        copy->state = COPY_SETTLING;
}

/* --- the whole --- */

struct count {
    struct lab *lab;
    int queue;
    bool recovered; /* no turn was since */
};

static void count_entry(void *arg, const struct entry *entry)
{
    struct count *count = arg;
    struct lab *lab = count->lab;
    const struct lab_queue *q = &lab->queues[count->queue];
    struct lab_reading reading =
        lab_read(lab, count->queue, message_props(entry->message), message_body(entry->message));
    struct copy *copy = &lab->messages[reading.id].copies[reading.origin];
    check_sight(lab, count->queue, &reading);
    assertf(!copy->found, "message %u of %s is there twice, the second in %s", reading.id,
            lab->queues[reading.origin].name, q->name);
    copy->found = true;
    lab->counts.found++;
    uint64_t born_ms = entry->message->born_ms;
    assertf(count->recovered || !q->ttl_ms || !entry->message->persistent || !born_ms ||
                entry->page || born_ms + q->ttl_ms + ON_TIME_MS > lab_now_ms(lab),
            "message %u should have left %s %llu ms ago", reading.id, q->name,
            (unsigned long long)(lab_now_ms(lab) - born_ms - q->ttl_ms));
}

static void look_into(struct lab *lab, int i, bool recovered)
{
    struct vhost *v = server_find_vhost(&lab->world->server, SLICE("/"));
    struct lab_queue *lq = &lab->queues[i];
    struct queue *q = vhost_find_queue(v, slice_of_string(lq->name));
    struct count count = {lab, i, recovered};
    assertf(q && q->durable, "queue %s is not there", lq->name);
    model_each_entry(&lab->walker, q, count_entry, &count);
    if (lq->length_max && !lq->reject && !lq->policy_refuses && !recovered)
        assertf(queue_ready(q) <= lq->length_max, "%zu messages in %s, %u are allowed",
                queue_ready(q), lq->name, lq->length_max);
    lq->active = 0;
    lq->top.known = false;
    if (recovered) /* what was dropped, and nobody was promised, may be back */
        memset(lq->last, 0, sizeof(lq->last));
}

/* A restart keeps only what is persistent, or in a quorum queue; where else it was is not known here. */
static void forget_transient(struct lab *lab)
{
    for (uint32_t id = 1; id < lab->message_count; id++)
        for (int i = 0; lab->messages[id].transient && i < LAB_QUEUES; i++)
            if (lab->messages[id].copies[i].state == COPY_MUST)
                lab->messages[id].copies[i].state = COPY_MAYBE;
}

/* Nothing but that transaction can have brought it, or taken it away. */
static bool tells(const struct lab *lab, const struct lab_doubt *doubt)
{
    const struct lab_message *m = &lab->messages[doubt->id];
    const struct lab_queue *q = &lab->queues[doubt->origin];
    if (m->transient || may_leave(lab, m, doubt->origin))
        return false;
    if (doubt->acked)
        return !m->repeated;
    return m->exchange == 0 && !q->reject && !q->policy_refuses && !m->copies[doubt->origin].seen;
}

/* A transaction whose commit was not answered is there as a whole, or not at all. */
static void check_doubtful(struct lab *lab, bool all_are_there)
{
    uint32_t tx = 0;
    bool some = false, missing = false;
    for (; lab->doubtful.size; doubt_ring_pop_front(&lab->doubtful)) {
        const struct lab_doubt *doubt = doubt_ring_at(&lab->doubtful, 0);
        bool found = lab->messages[doubt->id].copies[doubt->origin].found, done = found != doubt->acked;
        if (doubt->tx != tx)
            lab->counts.whole += some, some = missing = false;
        tx = doubt->tx;
        if (!tells(lab, doubt) || (!found && !all_are_there))
            continue;
        some |= done, missing |= !done;
        assertf(!some || !missing, "transaction %u is there in part, message %u was %s: %s", tx, doubt->id,
                doubt->acked ? "acked" : "published", done ? "done" : "not done");
    }
    lab->counts.whole += some;
}

void lab_check(struct lab *lab, bool recovered)
{
    if (recovered)
        forget_transient(lab);
    const struct queue_home *home = &lab->world->server.home; /* letters may be late, too */
    size_t waiting = home->delays.count + home->outcomes.fresh.size + home->outcomes.kept.size, missing = 0;
    for (uint32_t id = 1; id < lab->message_count; id++)
        for (int i = 0; i < LAB_QUEUES; i++)
            lab->messages[id].copies[i].found = false;
    for (int i = 0; i < LAB_QUEUES; i++)
        look_into(lab, i, recovered);
    if (recovered)
        check_doubtful(lab, waiting == 0);
    while (lab->doubtful.size)
        doubt_ring_pop_front(&lab->doubtful);
    for (uint32_t id = 1; id < lab->message_count; id++) {
        for (int i = 0; i < LAB_QUEUES; i++) {
            struct copy *copy = &lab->messages[id].copies[i];
            lab->counts.checked += copy->state != COPY_NONE;
            lab->counts.musts += copy->state == COPY_MUST;
            if (copy->found) {
                copy->state = may_leave(lab, &lab->messages[id], i) ? COPY_MAYBE : COPY_MUST;
                copy->taken = true;
            } else if (copy->state == COPY_MUST) {
                missing++;
                trace_line(&lab->world->trace, "message %u of %s is not in a queue", id,
                           lab->queues[i].name);
                assertf(missing <= waiting, "message %u of %s is nowhere, and %zu wait", id,
                        lab->queues[i].name, waiting);
            } else if (copy->state != COPY_NONE && waiting == 0) {
                lab->counts.lost += recovered && lab->messages[id].transient && copy->state == COPY_MAYBE;
                copy->state = COPY_GONE;
            }
        }
    }
}
