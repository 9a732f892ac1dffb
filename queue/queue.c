/* queue.c - a queue: entries in order, consumers in rotation.
 *
 * Invariants, checked by queue_check:
 * 1. ready_link is in home.ready iff an entry waits and a consumer rotates.
 * 2. A consumer rotates iff it has credit and is not parked.
 * 3. Sequences in the order are all smaller than next_sequence.
 * 4. With a drop-head limit no more waits than that, unless the queue is on the ready list: what consumers
 *    are about to take is not dropped, so that a burst which they could take loses nothing. */
#include "queue/queue.h"

#include "queue/paging.h"

/* Entries of a purged or deleted queue on their way out. */
struct grave {
    struct list link;
    struct order order;
    uint64_t queue_id;
    struct store_run run;
    bool forget; /* the queue is gone: its acks need not be journalled */
};

void queue_home_init(struct queue_home *home, struct slab_pool *pool, struct store *store)
{
    *home = (struct queue_home){.pool = pool, .store = store, .outcomes = {.retry_ms = UINT64_MAX}};
    list_init(&home->ready);
    list_init(&home->graveyard);
    paging_init(&home->paging);
    dedup_home_init(&home->dedup);
}

void queue_home_free(struct queue_home *home)
{
    outcomes_drop(home);
    while (queue_home_bury(home, SIZE_MAX))
        ;
    heap_free(&home->expiring);
    assert(list_empty(&home->ready));
}

/* Drops the oldest waiting entries beyond the limit. Apart, so that queues without one do not pay for it. */
static __attribute__((cold, noinline)) void shed(struct queue *q)
{
    const struct limit *limit = &q->settings.limit;
    while (order_loaded(&q->order) && limit_is_exceeded(limit, queue_ready(q), q->ready_bytes)) {
        struct entry entry = order_take(&q->order);
        q->ready_bytes -= entry.message->body_size;
        outcome_put(q, &entry, OUTCOME_MAXLEN);
    }
    if (q->order.backlog && limit_is_exceeded(limit, queue_ready(q), q->ready_bytes))
        paging_await(q); /* what goes must be read before: it may have somewhere to go to */
}

/* Puts the queue on the ready list or takes it off, as invariant 1 says; then sees to invariant 4. */
static inline void update_ready(struct queue *q)
{
    bool ready = order_loaded(&q->order) && !list_empty(&q->rotation) && !q->leaving.expiry.late;
    if (q->order.backlog)
        paging_want(q);
    if (ready != list_linked(&q->ready_link)) {
        if (ready)
            list_push_back(&q->home->ready, &q->ready_link);
        else
            list_remove(&q->ready_link);
    }
    if (q->settings.limit.overflow == LIMIT_DROP_HEAD && !ready)
        shed(q);
}

struct queue *queue_new(struct queue_home *home, struct slice name, struct slice args, uint64_t id)
{
    struct queue *q = mem_zalloc(sizeof(*q));
    q->home = home;
    q->name = slice_copy(name);
    q->args = slice_copy(args);
    struct settings settings = settings_of_args(q->args);
    q->settings = settings_copy(&settings);
    q->id = id;
    q->dedup = dedup_of_args(&home->dedup, id, q->args);
    q->next_sequence = 1;
    dest_init(&q->dest, DEST_QUEUE, q->name);
    list_init(&q->consumers);
    list_init(&q->rotation);
    list_init(&q->paced);
    home->queue_count++;
    return q;
}

void queue_configure(struct queue *q, const struct settings *settings)
{
    struct settings old = q->settings;
    q->settings = settings_copy(settings);
    if (old.ttl_ms != settings->ttl_ms)
        expiry_reset(q);
    settings_free(&old);
    update_ready(q); /* which sees to the limit */
}

void queue_release(struct queue *q)
{
    if (!q->deleted || q->unacked > 0 || q->leaving.outcomes > 0)
        return;
    assert(queue_ready(q) == 0);
    settings_free(&q->settings);
    order_free(&q->order);
    slice_free(&q->name);
    slice_free(&q->args);
    q->home->queue_count--;
    mem_free(q);
}

/* Moves all waiting entries to the graveyard; returns their number. */
static size_t dig_grave(struct queue *q, bool forget)
{
    size_t count = queue_ready(q);
    paging_leave(q);
    if (count == 0)
        return 0;
    struct grave *grave = mem_zalloc(sizeof(*grave));
    grave->order = q->order;
    grave->queue_id = q->id;
    grave->forget = forget;
    q->order = (struct order){0};
    q->ready_bytes = 0;
    list_push_back(&q->home->graveyard, &grave->link);
    update_ready(q);
    return count;
}

void queue_delete(struct queue **queue)
{
    struct queue *q = *queue;
    *queue = NULL;
    assert(list_empty(&q->consumers) && list_empty(&q->dest.bindings) && !q->deleted);
    assert(list_empty(&q->paced));
    dig_grave(q, true);
    list_unlink(&q->of_owner);
    q->exclusive_owner = NULL;
    if (q->dedup)
        dedup_free(&q->dedup);
    q->deleted = true;
    expiry_leave(q);
    queue_release(q);
}

/* `told`: its ack is in the journal. */
static void drop_message(struct queue_home *home, struct entry *entry, struct order *order, bool told)
{
    if (entry->page && home->store)
        pages_ack(store_pages(home->store), entry->page, entry->sequence, told);
    if (entry->page) {
        message_unref(home->pool, &entry->message);
        if (order->fresh.size == 0) /* as large as the page: there may be many such queues */
            entry_ring_free(&order->fresh);
    } else {
        paging_drop(home, entry);
    }
}

static size_t bury(struct queue_home *home, struct grave *grave, size_t budget)
{
    if (grave->order.backlog)
        budget = paging_bury(home, &grave->order, grave->forget ? 0 : grave->queue_id, budget);
    while (budget > 0 && order_size(&grave->order) > 0) {
        struct entry entry = order_take(&grave->order);
        bool told = entry.journalled && !grave->forget && home->store;
        if (told)
            store_ack(home->store, &grave->run, grave->queue_id, entry.sequence);
        drop_message(home, &entry, &grave->order, told);
        budget--;
    }
    return budget;
}

bool queue_home_bury(struct queue_home *home, size_t budget)
{
    while (budget > 0 && !list_empty(&home->graveyard)) {
        struct grave *grave = list_first(&home->graveyard, struct grave, link);
        budget = bury(home, grave, budget);
        if (order_size(&grave->order) > 0)
            break;
        order_free(&grave->order);
        list_remove(&grave->link);
        mem_free(grave);
    }
    return !list_empty(&home->graveyard);
}

static void add(struct queue *q, struct entry entry)
{
    q->next_sequence = entry.sequence + 1;
    q->ready_bytes += entry.message->body_size;
    order_push(&q->order, entry);
}

/* True when there may be something to page out, or the queue is to be known as one that has. */
static bool holds_much(const struct queue *q)
{
    const struct paging *paging = &q->home->paging;
    return q->order.backlog || q->ready_bytes > paging->resident_bytes ||
           q->order.fresh.size > paging->resident_max ||
           (q->order.fresh.size > paging->resident_min && !list_linked(&q->order.resident));
}

void queue_push(struct queue *q, struct message *m, bool journalled)
{
    assert(!q->deleted);
    q->counters.published++;
    struct entry entry = {message_ref(m), q->next_sequence, false, journalled, 0};
    add(q, entry);
    if (queue_keeps_birth(q, m))
        expiry_note(q, &entry);
    if (!list_linked(&q->ready_link))
        update_ready(q);
    if (holds_much(q))
        paging_check(q);
}

void queue_restore(struct queue *q, struct message *m, uint64_t sequence, bool redelivered)
{
    struct entry entry = {message_ref(m), sequence, redelivered, true, 0};
    assertf(sequence + 1 != q->next_sequence, "sequence %llu twice", (unsigned long long)sequence);
    assert(list_empty(&q->consumers));
    if (sequence >= q->next_sequence) {
        add(q, entry);
    } else { /* between pages, or it was moved within the journal */
        q->ready_bytes += m->body_size;
        order_return(&q->order, entry);
    }
    if (queue_keeps_birth(q, m))
        expiry_note(q, &entry);
}

void queue_restore_page(struct queue *q, uint32_t slot)
{
    const struct page *page = pages_at(store_pages(q->home->store), slot);
    assert(page->first >= q->next_sequence && list_empty(&q->consumers));
    order_add_page(&q->order, slot, page);
    q->next_sequence = page_last(page) + 1;
    q->ready_bytes += page->body_bytes;
    if (page->times.own_first < UINT64_MAX)
        expiry_note_page(q, page->first, page->times.own_first);
}

static void flag_redelivered(struct entry_ring *ring, uint64_t delivered)
{
    for (size_t i = 0; i < ring->size; i++)
        entry_ring_at(ring, i)->redelivered |= entry_ring_at(ring, i)->sequence <= delivered;
}

void queue_restore_delivered(struct queue *q, uint64_t delivered)
{
    flag_redelivered(&q->order.fresh, delivered);
    for (size_t i = 0; i < q->order.returned_size; i++)
        q->order.returned[i].redelivered |= q->order.returned[i].sequence <= delivered;
    if (q->order.backlog)
        flag_redelivered(&q->order.backlog->tail, delivered);
}

void queue_restored(struct queue *q)
{
    expiry_reset(q);
    update_ready(q);
}

void queue_refresh(struct queue *q)
{
    update_ready(q);
}

/* How far a mark may run ahead of deliveries. */
enum { MARK_AHEAD_MAX = 8192 };

static bool mark_covers(const struct delivery_mark *mark, const struct entry *entry)
{
    return entry->sequence <= mark->sequence && entry->message->batch <= mark->batch;
}

/* The entry has no mark yet; or a steady flow has not set its mark in this batch, and later deliveries
 * shall not wait. */
static bool mark_is_due(const struct queue *q, const struct entry *entry, uint64_t open_batch)
{
    const struct delivery_marks *marks = &q->marks;
    if (!mark_covers(&marks->recent[0], entry))
        return true;
    return marks->ahead && marks->recent[0].batch != open_batch && q->counters.acked > marks->acked;
}

/* Marks the entry as delivered, if it is not yet. */
static void mark_delivered(struct queue *q, const struct entry *entry)
{
    struct delivery_marks *marks = &q->marks;
    struct delivery_mark *newest = &marks->recent[0];
    struct store *store = q->home->store;
    uint64_t open_batch = store_open_batch(store);
    const struct page *page = entry->page ? pages_at(store_pages(store), entry->page) : NULL;
    if (page ? entry->sequence <= page_delivered(page) : !mark_is_due(q, entry, open_batch))
        return;
    uint64_t ahead = 2 * (q->counters.acked - marks->acked);
    uint64_t sequence = entry->sequence + (ahead < MARK_AHEAD_MAX ? ahead : MARK_AHEAD_MAX);
    if (page) { /* it keeps a mark of its own, for the time when the journal's is gone */
        sequence = sequence < page_last(page) ? sequence : page_last(page);
        pages_delivered(store_pages(store), entry->page, sequence);
    }
    if (newest->batch != open_batch)
        memmove(&marks->recent[1], newest, sizeof(*newest) * (array_size(marks->recent) - 1));
    newest->batch = open_batch;
    if (newest->sequence < sequence)
        newest->sequence = sequence;
    marks->acked = q->counters.acked;
    marks->ahead = ahead > 0;
    store_delivered(store, &q->run, q->id, newest->sequence);
}

uint64_t queue_delivery_batch(const struct queue *q, const struct entry *entry)
{
    if (!entry->journalled || !q->home->store)
        return 0;
    uint64_t durable = store_durable(q->home->store);
    if (entry->page) {
        const struct page *page = pages_at(store_pages(q->home->store), entry->page);
        assert(page_delivered(page) >= entry->sequence);
        return page->progress->marked <= durable ? 0 : page->progress->marked;
    }
    for (size_t i = 0; i < array_size(q->marks.recent); i++) {
        const struct delivery_mark *mark = &q->marks.recent[i];
        /* A moved message is still where it was, too. */
        bool together = entry->message->batch == mark->batch && !entry->message->moved;
        if (mark_covers(mark, entry) && (mark->batch <= durable || together))
            return 0;
    }
    assert(mark_covers(&q->marks.recent[0], entry));
    return q->marks.recent[0].batch;
}

/* Takes the first entry out and accounts for who gets it. */
static struct entry take(struct queue *q, bool no_ack)
{
    struct entry entry = order_take(&q->order);
    q->ready_bytes -= entry.message->body_size;
    q->counters.delivered++;
    q->counters.redelivered += entry.redelivered;
    if (!no_ack) {
        q->unacked++;
        if (entry.journalled && q->home->store)
            mark_delivered(q, &entry);
    }
    return entry;
}

bool queue_get(struct queue *q, bool no_ack, struct entry *entry)
{
    if (!order_loaded(&q->order))
        return false;
    *entry = take(q, no_ack);
    update_ready(q);
    return true;
}

struct consumer *queue_turn(const struct queue *q)
{
    return list_empty(&q->rotation) ? NULL : list_first(&q->rotation, struct consumer, place);
}

struct entry queue_next(struct queue *q, struct consumer *c)
{
    assert(c->state == CONSUMER_ROTATING && c->queue == q);
    struct entry entry = take(q, c->no_ack);
    if (!c->no_ack)
        c->unacked++;
    list_remove(&c->place);
    if (c->no_ack || consumer_has_credit(c))
        list_push_back(&q->rotation, &c->place);
    else
        c->state = CONSUMER_SATED;
    update_ready(q);
    return entry;
}

void queue_settle(struct queue *q, struct entry *entry, bool was_unacked)
{
    bool told = entry->journalled && !q->deleted && q->home->store;
    if (told)
        store_ack(q->home->store, &q->run, q->id, entry->sequence);
    drop_message(q->home, entry, &q->order, told);
    if (!was_unacked)
        return;
    assert(q->unacked > 0);
    q->unacked--;
    q->counters.acked++;
    if (q->deleted)
        queue_release(q);
}

void queue_reject(struct queue *q, struct entry *entry, enum outcome_reason reason)
{
    if (!q->settings.dead_letters || q->deleted) {
        queue_settle(q, entry, true);
        return;
    }
    assert(q->unacked > 0);
    q->unacked--;
    q->counters.acked++;
    outcome_put(q, entry, reason);
}

void queue_requeue(struct queue *q, struct entry *entry, bool seen)
{
    if (q->deleted) {
        queue_settle(q, entry, true);
        return;
    }
    assert(q->unacked > 0 && entry->sequence < q->next_sequence);
    q->unacked--;
    entry->redelivered |= seen;
    q->ready_bytes += entry->message->body_size;
    order_return(&q->order, *entry);
    if (queue_keeps_birth(q, entry->message))
        expiry_note(q, entry);
    entry->message = NULL;
    update_ready(q);
}

size_t queue_purge(struct queue *q)
{
    return dig_grave(q, false);
}

void queue_add_consumer(struct queue *q, struct consumer *c)
{
    assert(!q->deleted && !list_linked(&c->of_queue));
    c->queue = q;
    c->state = CONSUMER_ROTATING;
    list_push_back(&q->consumers, &c->of_queue);
    list_push_back(&q->rotation, &c->place);
    q->consumer_count++;
    q->had_consumers = true;
    q->exclusive_consumer |= c->exclusive;
    update_ready(q);
}

void queue_remove_consumer(struct consumer *c)
{
    struct queue *q = c->queue;
    assert(c->state != CONSUMER_GONE && q->consumer_count > 0);
    list_unlink(&c->place);
    list_remove(&c->of_queue);
    q->consumer_count--;
    if (c->exclusive)
        q->exclusive_consumer = false;
    c->state = CONSUMER_GONE;
    c->queue = NULL;
    update_ready(q);
}

static void resume(struct consumer *c)
{
    assert(!list_linked(&c->place));
    if (!consumer_has_credit(c)) {
        c->state = CONSUMER_SATED;
        return;
    }
    c->state = CONSUMER_ROTATING;
    list_push_back(&c->queue->rotation, &c->place);
    update_ready(c->queue);
}

void consumer_settled(struct consumer *c)
{
    assert(c->unacked > 0);
    c->unacked--;
    if (c->state == CONSUMER_SATED)
        resume(c);
}

void consumer_park(struct consumer *c, struct list *parked)
{
    assert(c->state == CONSUMER_ROTATING);
    list_remove(&c->place);
    list_push_back(parked, &c->place);
    c->state = CONSUMER_PARKED;
    update_ready(c->queue);
}

void consumer_unpark(struct consumer *c)
{
    assert(c->state == CONSUMER_PARKED);
    list_remove(&c->place);
    resume(c);
}

void queue_check(const struct queue *q)
{
    size_t consumers = 0, rotating = 0;
    list_each(node, &q->consumers) {
        struct consumer *c = container_of(node, struct consumer, of_queue);
        assert(c->queue == q && c->state != CONSUMER_GONE);
        assert(c->state != CONSUMER_ROTATING || consumer_has_credit(c));
        assert(c->state != CONSUMER_SATED || !consumer_has_credit(c));
        rotating += c->state == CONSUMER_ROTATING;
        consumers++;
    }
    assert(consumers == q->consumer_count);
    assert(list_linked(&q->ready_link) ==
           (order_loaded(&q->order) && rotating > 0 && !q->leaving.expiry.late));
    uint64_t bytes = 0;
    size_t holes = 0;
    for (size_t i = 0; i < q->order.fresh.size; i++) {
        struct entry *entry = entry_ring_at(&q->order.fresh, i);
        assert(entry->sequence < q->next_sequence && (entry->message ? entry->message->refs > 0 : i > 0));
        assert(i == 0 || entry_ring_at(&q->order.fresh, i - 1)->sequence < entry->sequence);
        holes += !entry->message;
        bytes += entry->message ? entry->message->body_size : 0;
    }
    for (size_t i = 0; i < q->order.returned_size; i++)
        bytes += q->order.returned[i].message->body_size;
    if (q->order.backlog) {
        bytes += q->order.backlog->tail_bytes + q->order.backlog->page_bytes;
        assert(q->order.backlog->pages.size > 0 || q->order.fresh.size > 0);
        for (size_t i = 0; i < q->order.backlog->tail.size; i++)
            holes += !entry_ring_at(&q->order.backlog->tail, i)->message;
        assert(holes == q->order.backlog->holes);
    }
    assertf(bytes == q->ready_bytes, "%llu of %llu", (unsigned long long)bytes,
            (unsigned long long)q->ready_bytes);
    assert(q->settings.limit.overflow != LIMIT_DROP_HEAD || list_linked(&q->ready_link) ||
           q->order.backlog || !limit_is_exceeded(&q->settings.limit, queue_ready(q), bytes));
}

void queue_home_each_buried(const struct queue_home *home, void (*each)(void *arg, const struct entry *entry),
                            void *arg)
{
    list_each(node, &home->graveyard) {
        const struct order *order = &container_of(node, struct grave, link)->order;
        for (size_t i = 0; i < order->fresh.size; i++)
            if (entry_ring_at(&order->fresh, i)->message)
                each(arg, entry_ring_at(&order->fresh, i));
        for (size_t i = 0; i < order->returned_size; i++)
            each(arg, &order->returned[i]);
        for (size_t i = 0; order->backlog && i < order->backlog->tail.size; i++)
            each(arg, entry_ring_at(&order->backlog->tail, i));
    }
}
