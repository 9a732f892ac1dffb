/* judge.c - the model's verdict on the server's memory: after a restart, and when all is quiet. */
#include <stdio.h>
#include <stdlib.h>

#include "broker/vhost.h"
#include "queue/lane.h"
#include "tests/sim/model.h"

/* Of one publisher in one queue, in the order of the queue. */
enum { PUBLISHERS_MAX = 4096 };

/* entry.page of what was read from a page by this file. */
#define MADE_HERE UINT32_MAX

static void crash_cell(struct model *model, int queue, uint32_t id, uint64_t durable)
{
    struct cell *cell = &model->messages[id].cells[queue];
    bool on_disk = cell->batch <= durable, persistent = model->messages[id].persistent;
    bool kept = model->queues[queue].entity.durable && model_stays(model, queue, id);
    cell->buried = cell->buried && on_disk && persistent;
    if (cell->state == CELL_DROPPED || cell->state == CELL_GONE || !kept)
        cell->state = CELL_GONE;
    else if (cell->state == CELL_SETTLED)
        cell->state = on_disk ? CELL_GONE : CELL_MAYBE;
    else if (cell->state == CELL_SETTLING || (cell->state == CELL_MUST && !on_disk))
        cell->state = CELL_MAYBE;
    cell->batch = 0;
}

static void crash_entity(struct entity *entity)
{
    assert(entity->adding == 0 && entity->removing == 0);
    if (!entity->durable)
        entity->known = ABSENT;
}

void model_crash(struct model *model, uint64_t durable)
{
    assert(model->flying_count == 0);
    for (int q = 0; q < MODEL_QUEUES; q++) {
        assert(model->queues[q].purging == 0 && model->queues[q].leaks == 0);
        crash_entity(&model->queues[q].entity);
    }
    for (int x = 0; x < MODEL_EXCHANGES; x++) {
        crash_entity(&model->exchanges[x].entity);
        for (int dest = 0; dest < MODEL_DESTS; dest++)
            for (int key = 0; key < MODEL_KEYS; key++)
                crash_entity(&model->bindings[x][dest][key]);
    }
    for (uint32_t id = 1; id < model->message_count; id++)
        for (int q = 0; q < MODEL_QUEUES; q++)
            crash_cell(model, q, id, durable);
}

/* --- definitions --- */

static void judge_entity(struct entity *entity, bool there, const char *what, const char *name)
{
    assertf(entity->adding == 0 && entity->removing == 0, "%s %s", what, name);
    assertf(entity->known != PRESENT || there, "%s %s is not there", what, name);
    assertf(entity->known != ABSENT || !there, "%s %s is there", what, name);
    entity->known = there ? PRESENT : ABSENT;
}

static void judge_bindings(struct model *model, struct vhost *v, int source)
{
    struct exchange *x = vhost_find_exchange(v, slice_of_string(model->exchanges[source].name));
    for (int dest = 0; dest < MODEL_DESTS; dest++) {
        bool to_queue = dest < MODEL_QUEUES;
        const char *name =
            to_queue ? model->queues[dest].name : model->exchanges[dest - MODEL_QUEUES].name;
        struct queue *q = to_queue ? vhost_find_queue(v, slice_of_string(name)) : NULL;
        struct exchange *other = to_queue ? NULL : vhost_find_exchange(v, slice_of_string(name));
        struct dest *d = q ? &q->dest : other ? &other->dest : NULL;
        for (int key = 0; key < MODEL_KEYS; key++) {
            struct buf args = {0};
            model_binding_args(model, source, key, &args);
            bool there = x && d &&
                         exchange_find_binding(x, d, slice_of_string(model_binding_key(key)),
                                               buf_slice(&args));
            buf_free(&args);
            judge_entity(&model->bindings[source][dest][key], there, "the binding to", name);
        }
    }
}

static void judge_definitions(struct model *model, struct vhost *v)
{
    for (int i = 0; i < MODEL_QUEUES; i++) {
        struct model_queue *q = &model->queues[i];
        judge_entity(&q->entity, vhost_find_queue(v, slice_of_string(q->name)), "queue", q->name);
    }
    for (int i = 1; i < MODEL_EXCHANGES; i++) {
        struct model_exchange *x = &model->exchanges[i];
        judge_entity(&x->entity, vhost_find_exchange(v, slice_of_string(x->name)), "exchange",
                     x->name);
        judge_bindings(model, v, i);
    }
}

/* --- messages --- */

struct judgement {
    struct model *model;
    int queue;
    bool recovered;
    uint32_t *last; /* by publisher: the last of its messages in this queue, with this level */
    unsigned level;
};

/* What a client has seen and could have acked comes back with the flag, after a crash, too: the
 * mark of a delivery is on disk before the delivery leaves, or the message is not on disk either.
 * The flag may be there for more than was seen. */
static void judge_flag(struct judgement *j, struct cell *cell, uint32_t id, bool redelivered)
{
    const char *name = j->model->queues[j->queue].name;
    assertf(redelivered || !(cell->seen || cell->marked),
            "message %u in %s is not marked redelivered", id, name);
    j->model->counts.flagged_unseen += redelivered && !cell->ever;
    cell->marked |= redelivered;
}

static void judge_entry(void *arg, const struct entry *entry)
{
    struct judgement *j = arg;
    struct model *model = j->model;
    const char *name = model->queues[j->queue].name;
    uint32_t id = model_read_body(model, message_body(entry->message));
    struct model_message *m = &model->messages[id];
    struct cell *cell = &m->cells[j->queue];
    assertf(m->may >> j->queue & 1, "message %u is in %s, where it never went", id, name);
    assertf(!cell->there, "message %u is in %s twice", id, name);
    assertf(cell->state < CELL_SETTLING, "message %u is in %s, but is in state %u", id, name,
            cell->state);
    assertf(entry->message->persistent == m->persistent || model->queues[j->queue].quorum,
            "message %u in %s", id, name);
    assert(m->publisher < PUBLISHERS_MAX);
    unsigned level = model_level(model, j->queue, id);
    assertf(level <= j->level, "in %s message %u comes after lesser ones", name, id);
    if (level < j->level)
        memset(j->last, 0, PUBLISHERS_MAX * sizeof(*j->last));
    j->level = level;
    assertf(j->last[m->publisher] < id, "in %s message %u comes after %u", name, id,
            j->last[m->publisher]);
    j->last[m->publisher] = id;
    cell->there = true;
    judge_flag(j, cell, id, entry->redelivered);
}

static int by_sequence(const void *a, const void *b)
{
    const struct entry *one = a, *other = b;
    return (one->sequence > other->sequence) - (one->sequence < other->sequence);
}

/* What is in a page that is on disk, as its queue will see it; the messages are the caller's. */
static size_t read_page(const struct model *model, const struct queue *q, uint32_t slot,
                        struct entry *entries)
{
    const struct page *page = pages_at(store_pages(q->home->store), slot);
    uint64_t delivered = page->recovered ? page_delivered(page) : 0;
    char path[64];
    struct slice rest;
    size_t found = 0;
    snprintf(path, sizeof(path), "data/pages-%06u.dat", page->file->number);
    struct slice bytes = fakedisk_get(model->world->disk, path);
    assertf(bytes.len >= (size_t)page->offset + page->bytes, "%s ends before page %llu at %u", path,
            (unsigned long long)page->id, page->offset);
    bytes = slice_of(bytes.at + page->offset, page->bytes);
    assertf(page_check(bytes, page->id), "the page at %u of %s is not valid", page->offset, path);
    uint64_t sequence = page->first;
    struct page_record r;
    for (uint32_t left = page_open(bytes, &rest); left; left -= r.run, sequence += r.run) {
        page_next(&rest, &r);
        bool persistent = r.flags & PAGE_PERSISTENT;
        if (r.flags & PAGE_GONE)
            continue;
        if (page_is_taken(page, sequence) || page_is_acked(page, sequence))
            continue;
        if (page->recovered && !persistent)
            continue;
        struct message *m = message_new(q->home->pool, r.exchange, r.key, r.props, r.body.len);
        memcpy(message_body_at(m), r.body.at, r.body.len);
        m->persistent = persistent;
        bool redelivered = r.flags & PAGE_REDELIVERED || sequence <= delivered;
        entries[found++] = (struct entry){m, sequence, redelivered, .page = MADE_HERE};
    }
    return found;
}

/* Frees the message of an entry that read_page made; 1 when it is one. */
static size_t free_made(const struct queue *q, struct entry *entry)
{
    if (entry->page != MADE_HERE)
        return 0;
    message_unref(q->home->pool, &entry->message);
    return 1;
}

/* All waiting entries of one order as they would go out. */
static size_t each_of_order(struct model *model, const struct order *order,
                            void (*each)(void *arg, const struct entry *entry), void *arg)
{
    const struct queue *q = order->queue;
    size_t count = order_size(order), at = 0, paged;
    const struct backlog *backlog = order->backlog;
    struct entry *all = mem_alloc((count + PAGE_MESSAGES_MAX) * sizeof(*all));
    for (size_t i = 0; backlog && i < backlog->pages.size; i++)
        at += read_page(model, q, *page_slot_ring_at(&backlog->pages, i), &all[at]);
    paged = at;
    for (size_t i = 0; backlog && i < backlog->tail.size; i++)
        if (entry_ring_at(&backlog->tail, i)->message) /* else it was taken out of the middle */
            all[at++] = *entry_ring_at(&backlog->tail, i);
    for (size_t i = 0; i < order->fresh.size; i++)
        if (entry_ring_at(&order->fresh, i)->message)
            all[at++] = *entry_ring_at(&order->fresh, i);
    for (size_t i = 0; i < order->returned_size; i++)
        all[at++] = order->returned[i];
    assertf(at == count, "%zu messages, the order counts %zu", at, count);
    qsort(all, count, sizeof(*all), by_sequence);
    for (size_t i = 0; i < count; i++) {
        each(arg, &all[i]);
        paged -= free_made(q, &all[i]);
        model->counts.paged += all[i].page == MADE_HERE;
    }
    assert(paged == 0);
    mem_free(all);
    return count;
}

void model_each_entry(struct model *model, struct queue *q,
                      void (*each)(void *arg, const struct entry *entry), void *arg)
{
    size_t count = 0;
    for (unsigned lane = lane_count(q); lane-- > 0;)
        if (lane_at(q, lane))
            count += each_of_order(model, lane_at(q, lane), each, arg);
    assert(count == queue_ready(q) && q->unacked == 0);
}

static void judge_queue(struct judgement *j, struct vhost *v)
{
    struct model *model = j->model;
    struct model_queue *mq = &model->queues[j->queue];
    struct queue *q = vhost_find_queue(v, slice_of_string(mq->name));
    memset(j->last, 0, PUBLISHERS_MAX * sizeof(*j->last));
    j->level = UINT8_MAX;
    for (uint32_t id = 1; id < model->message_count; id++)
        model->messages[id].cells[j->queue].there = false;
    if (q)
        model_each_entry(model, q, judge_entry, j);
    for (uint32_t id = 1; id < model->message_count; id++) {
        struct cell *cell = &model->messages[id].cells[j->queue];
        bool buried = j->queue == MODEL_HAUNTED && cell->in_tomb;
        assertf(!buried || !cell->there, "message %u was dead-lettered, and is still there", id);
        assertf(cell->there || buried || cell->state != CELL_MUST, "message %u is not in %s", id, mq->name);
        model->counts.limited += buried && cell->state == CELL_MUST;
        cell->buried |= buried;
        if (j->queue == MODEL_ONCE && cell->there && j->recovered)
            model->messages[id].taken = true;
        model->counts.musts += cell->state == CELL_MUST;
        model->counts.checked++;
        cell->state = cell->there ? CELL_MUST : CELL_GONE;
        cell->batch = 0;
        if (j->recovered)
            cell->seen = false;
    }
}

/* Nothing but the end of the server can have taken the message from the queue. */
static bool is_witness(const struct model *model, const struct model_message *m, int queue)
{
    const struct model_queue *q = &model->queues[queue];
    bool kept = (m->persistent || q->quorum) && q->entity.durable;
    return kept && (m->must >> queue & 1) && q->cleared < m->stamp && !m->cells[queue].ever;
}

/* A transaction is in all queues that it certainly reached, or in none. Its messages have
 * consecutive ids, or nearly. */
static void judge_groups(const struct model *model)
{
    uint32_t group = 0, there = 0, missing = 0;
    for (uint32_t id = 1; id < model->message_count; id++) {
        const struct model_message *m = &model->messages[id];
        if (!m->group)
            continue;
        if (m->group != group)
            group = m->group, there = missing = 0;
        for (int q = 0; q < MODEL_QUEUES; q++) {
            bool is = m->cells[q].there || m->cells[q].in_tomb;
            there += is_witness(model, m, q) && is;
            missing += is_witness(model, m, q) && !is;
        }
        assertf(!there || !missing, "transaction %u is there in part: message %u", group, id);
    }
}

/* --- dead letters --- */

static void judge_tomb_entry(void *arg, const struct entry *entry)
{
    struct judgement *j = arg;
    uint32_t id = model_read_body(j->model, message_body(entry->message));
    struct cell *cell = &j->model->messages[id].cells[MODEL_HAUNTED];
    assertf(!cell->in_tomb, "message %u was dead-lettered twice", id);
    cell->in_tomb = true;
}

static void open_tomb(struct judgement *j, struct vhost *v)
{
    struct queue *tomb = vhost_find_queue(v, SLICE(MODEL_TOMB));
    assert(tomb && tomb->durable);
    for (uint32_t id = 1; id < j->model->message_count; id++)
        j->model->messages[id].cells[MODEL_HAUNTED].in_tomb = false;
    model_each_entry(j->model, tomb, judge_tomb_entry, j);
}

/* What was rejected, or came back too often, is in the tomb: once, and nowhere else. */
static void judge_tomb(const struct judgement *j)
{
    struct model *model = j->model;
    const struct model_queue *q = &model->queues[MODEL_HAUNTED];
    for (uint32_t id = 1; id < model->message_count; id++) {
        const struct model_message *m = &model->messages[id];
        const struct cell *cell = &m->cells[MODEL_HAUNTED];
        bool sure = cell->buried && q->cleared < m->stamp;
        assertf(!sure || cell->in_tomb, "message %u was rejected, and is nowhere", id);
        model->counts.buried += sure;
    }
}

void model_check_memory(struct model *model, bool recovered)
{
    struct vhost *v = server_find_vhost(&model->world->server, SLICE("/"));
    assert(v && model->flying_count == 0);
    struct judgement j = {.model = model, .recovered = recovered};
    j.last = mem_alloc(PUBLISHERS_MAX * sizeof(*j.last));
    judge_definitions(model, v);
    open_tomb(&j, v);
    for (j.queue = 0; j.queue < MODEL_QUEUES; j.queue++)
        judge_queue(&j, v);
    judge_tomb(&j);
    if (recovered)
        judge_groups(model);
    mem_free(j.last);
}
