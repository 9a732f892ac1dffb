/* queue.c - a queue: entries in order, consumers in rotation.
 *
 * Invariants, checked by queue_check:
 * 1. ready_link is in home.ready iff an entry waits and a consumer rotates.
 * 2. A consumer rotates iff it has credit and is not parked.
 * 3. Sequences in the order are all smaller than next_sequence.
 * 4. With a drop-head limit no more waits than that, unless the queue is on the ready list: what consumers
 *    are about to take is not dropped, so that a burst which they could take loses nothing. */
#include "queue/delay.h"
#include "queue/lane.h"
#include "queue/paging.h"
#include "queue/retry.h"

/* Entries of a purged or deleted queue on their way out. */
struct grave {
    struct list link;
    struct order order;
    bool forget; /* the queue is gone: its acks need not be journalled */
};

void queue_home_init(struct queue_home *home, struct slab_pool *pool, struct store *store)
{
    *home = (struct queue_home){.pool = pool, .store = store, .outcomes = {.retry_ms = UINT64_MAX}};
    list_init(&home->ready);
    list_init(&home->graveyard);
    paging_init(&home->paging);
    mover_init(&home->mover);
    dedup_home_init(&home->dedup);
    delays_init(&home->delays);
    agenda_init(&home->agenda);
}

void queue_home_free(struct queue_home *home)
{
    agenda_free(home);
    outcomes_drop(home);
    while (queue_home_bury(home, SIZE_MAX))
        ;
    heap_free(&home->expiring);
    delays_free(&home->delays);
    mover_free(&home->mover);
    assert(list_empty(&home->ready));
}

/* The order has more or less in it than before. */
static inline void changed(struct queue *q, struct order *order)
{
    if (q->kind.ordering != KIND_FIFO)
        lane_note(q, order);
}

/* The order's next entry, out of it. */
static inline struct entry take_first(struct queue *q, struct order *order)
{
    struct entry entry = order_take(order);
    order->bytes -= entry.message->body_size;
    q->ready_bytes -= entry.message->body_size;
    changed(q, order);
    return entry;
}

/* The next entry is at hand, nothing that is due is before it, and somebody rotates. */
static inline bool may_deliver(const struct queue *q)
{
    return order_loaded(q->front) && rotation_any(&q->consumers.rotation) && !q->front->expiry.late;
}

/* Puts the queue on the ready list or takes it off. */
static inline void set_ready(struct queue *q, bool ready)
{
    if (ready == list_linked(&q->ready_link))
        return;
    if (ready)
        list_push_back(&q->home->ready, &q->ready_link);
    else
        list_remove(&q->ready_link);
}

/* Drops the oldest waiting entries beyond the limit, until what is next then may be delivered. Apart, so that
 * queues without one do not pay for it. What lies on disk must be read before it goes, unless all of its page
 * does, and nowhere. */
static __attribute__((cold, noinline)) void shed(struct queue *q)
{
    const struct limit *limit = &q->settings.limit;
    if (q->consumers.rotation.held) /* what comes back is older: it goes first */
        return;
    while (!may_deliver(q) && limit_is_exceeded(limit, queue_ready(q), q->ready_bytes)) {
        struct order *order = lane_to_shed(q);
        if (order_loaded(order)) {
            struct entry entry = take_first(q, order);
            lane_lost(q, order);
            outcome_put(q, &entry, OUTCOME_MAXLEN);
        } else if (order->backlog && paging_shed_first(order)) {
            changed(q, order);
        } else {
            if (order->backlog)
                paging_await(order);
            break;
        }
    }
    set_ready(q, may_deliver(q));
}

/* Puts the queue on the ready list or takes it off, as invariant 1 says; then sees to invariant 4. */
static inline void update_ready(struct queue *q)
{
    bool ready = may_deliver(q);
    if (q->front->backlog)
        paging_want(q->front);
    set_ready(q, ready);
    if (q->settings.limit.overflow == LIMIT_DROP_HEAD && !ready)
        shed(q);
}

struct queue *queue_new(struct queue_home *home, struct slice name, struct slice args, uint64_t id)
{
    struct queue *q = mem_zalloc(sizeof(*q));
    q->home = home;
    mover_join(&home->mover, &q->moving);
    q->name = slice_copy(name);
    q->args = slice_copy(args);
    struct settings settings = settings_of_args(q->args);
    struct retry retry = retry_none();
    retry_apply_args(&retry, q->args);
    settings.retry = retry_is_set(&retry) ? &retry : NULL;
    q->settings = settings_copy(&settings);
    q->id = q->order.id = id;
    q->dedup = dedup_of_args(&home->dedup, id, q->args, false);
    q->order.next_sequence = 1;
    q->order.queue = q;
    q->front = &q->order;
    dest_init(&q->dest, DEST_QUEUE, q->name);
    list_init(&q->consumers.all);
    rotation_init(&q->consumers.rotation);
    list_init(&q->paced);
    q->kind = kind_of_args(q->args);
    if (q->kind.ordering == KIND_LEVELS)
        q->levels = levels_new(&q->order, q->kind.priority_max, q->kind.priority_missing);
    if (q->kind.ordering == KIND_GROUPS)
        q->groups = groups_new(q, &q->kind.group_by, q->kind.group_max);
    if (q->kind.single_active)
        rotation_make_single(&q->consumers.rotation, q->kind.type == KIND_QUORUM);
    q->consumers.rotation.groups = q->groups;
    q->consumers.rotation.special |= q->groups != NULL;
    home->queue_count++;
    return q;
}

void queue_make_durable(struct queue *q)
{
    assert(queue_ready(q) == 0 && q->unacked == 0);
    q->durable = true;
    q->stores = q->kind.type == KIND_QUORUM ? QUEUE_STORES_ALL : QUEUE_STORES_PERSISTENT;
    q->home->keeping_all += q->stores == QUEUE_STORES_ALL;
}

/* Calls `each` for all orders that were ever used. */
static void each_order(struct queue *q, void (*each)(struct order *order))
{
    for (unsigned lane = 0; lane < lane_count(q); lane++)
        if (lane_at(q, lane))
            each(lane_at(q, lane));
}

void queue_configure(struct queue *q, const struct settings *settings)
{
    struct settings old = q->settings;
    q->settings = settings_copy(settings);
    if (old.ttl_ms != settings->ttl_ms)
        each_order(q, expiry_reset);
    settings_free(&old);
    if (q->groups)
        groups_limited(q->groups);
    update_ready(q); /* which sees to the limit */
}

void queue_release(struct queue *q)
{
    if (!q->leaving.deleted || q->unacked > 0 || q->leaving.outcomes > 0)
        return;
    assert(queue_ready(q) == 0 && q->consumers.rotation.held == 0);
    settings_free(&q->settings);
    q->home->keeping_all -= q->stores == QUEUE_STORES_ALL;
    levels_free(&q->levels);
    groups_free(&q->groups);
    rotation_free(&q->consumers.rotation);
    order_free(&q->order);
    slice_free(&q->name);
    slice_free(&q->args);
    q->home->queue_count--;
    mem_free(q);
}

/* Moves what waits in one order to the graveyard. */
static void dig_grave(struct queue *q, struct order *order, bool forget)
{
    paging_leave(order);
    if (order_size(order) == 0)
        return;
    struct grave *grave = mem_zalloc(sizeof(*grave));
    grave->order = order_leave(order);
    grave->forget = forget;
    list_push_back(&q->home->graveyard, &grave->link);
    changed(q, order);
}

void queue_bury_order(struct queue *q, struct order *order, bool forget)
{
    dig_grave(q, order, forget);
}

/* Moves all waiting entries to the graveyard; returns their number. */
static size_t dig_graves(struct queue *q, bool forget)
{
    size_t count = queue_ready(q);
    for (unsigned lane = 0; lane < lane_count(q); lane++)
        if (lane_at(q, lane))
            dig_grave(q, lane_at(q, lane), forget);
    q->ready_bytes = 0;
    if (count)
        update_ready(q);
    return count;
}

void queue_delete(struct queue **queue)
{
    struct queue *q = *queue;
    *queue = NULL;
    assert(list_empty(&q->consumers.all) && list_empty(&q->dest.bindings) && !q->leaving.deleted);
    assert(list_empty(&q->paced));
    mover_leave(&q->home->mover, &q->moving);
    dig_graves(q, true);
    list_unlink(&q->owner.link);
    q->owner.connection = NULL;
    if (q->dedup)
        dedup_free(&q->dedup);
    if (q->delay)
        delay_delete(&q->delay);
    q->leaving.deleted = true;
    each_order(q, expiry_leave);
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
        budget = paging_bury(home, &grave->order, grave->forget, budget);
    while (budget > 0 && order_size(&grave->order) > 0) {
        struct entry entry = order_take(&grave->order);
        bool told = entry.journalled && !grave->forget && home->store;
        if (told)
            store_ack(home->store, &grave->order.run, grave->order.id, entry.sequence);
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

static inline void add(struct queue *q, struct order *order, struct entry entry)
{
    order->next_sequence = entry.sequence + 1;
    order->bytes += entry.message->body_size;
    q->ready_bytes += entry.message->body_size;
    order_push(order, entry);
    changed(q, order);
}

/* Puts back what was taken, or comes late. */
static void put_back(struct queue *q, struct order *order, struct entry entry)
{
    order->bytes += entry.message->body_size;
    q->ready_bytes += entry.message->body_size;
    order_return(order, entry);
    changed(q, order);
}

/* True when there may be something to page out, or the order is to be known as one that has. */
static bool holds_much(const struct paging *paging, const struct order *order)
{
    return order->backlog || order->bytes > paging->resident_bytes ||
           order->fresh.size > paging->resident_max ||
           (order->fresh.size > paging->resident_min && !list_linked(&order->resident));
}

void queue_push(struct queue *q, struct message *m, bool journalled)
{
    assert(!q->leaving.deleted);
    struct order *order = lane_for(q, m);
    q->counters.published++;
    struct entry entry = {message_ref(m), order->next_sequence, m->retried, .journalled = journalled};
    entry.lane = (uint16_t)lane_of_id(order->id);
    add(q, order, entry);
    if (queue_keeps_birth(q, m))
        expiry_note(order, &entry);
    if (!list_linked(&q->ready_link))
        update_ready(q);
    if (holds_much(&q->home->paging, order))
        paging_check(order);
}

/* --- recovery --- */

void queue_restore(struct queue *q, unsigned lane, struct message *m, uint64_t sequence, uint16_t returns)
{
    struct order *order = lane_use(q, lane);
    unsigned known = returns < ENTRY_RETURNS_MAX ? returns : ENTRY_RETURNS_MAX;
    struct entry entry = {
        message_ref(m), sequence, m->retried, .journalled = true,
        .returns = (uint16_t)(known & ENTRY_RETURNS_MAX)};
    entry.lane = (uint16_t)lane;
    assertf(sequence + 1 != order->next_sequence, "sequence %llu twice", (unsigned long long)sequence);
    assert(list_empty(&q->consumers.all) && order == lane_of(q, &entry));
    if (q->groups)
        groups_learn(q->groups, lane, m);
    if (sequence < order->next_sequence) { /* between pages, or it was moved within the journal */
        put_back(q, order, entry);
    } else if (returns == 0) {
        add(q, order, entry);
    } else { /* as any that came back it is not paged out: the count would be lost */
        order->next_sequence = sequence + 1;
        put_back(q, order, entry);
    }
    if (queue_keeps_birth(q, m))
        expiry_note(order, &entry);
}

void queue_restore_page(struct queue *q, uint32_t slot)
{
    const struct page *page = pages_at(store_pages(q->home->store), slot);
    struct order *order = lane_use(q, lane_of_id(page->queue_id));
    assert(page->first >= order->next_sequence && list_empty(&q->consumers.all));
    order_add_page(order, slot, page);
    order->next_sequence = page_last(page) + 1;
    order->bytes += page->body_bytes;
    q->ready_bytes += page->body_bytes;
    changed(q, order);
    if (page->times.own_first < UINT64_MAX)
        expiry_note_page(order, page->first, page->times.own_first);
}

static void flag_redelivered(struct entry_ring *ring, uint64_t delivered)
{
    for (size_t i = 0; i < ring->size; i++)
        entry_ring_at(ring, i)->redelivered |= entry_ring_at(ring, i)->sequence <= delivered;
}

void queue_restore_delivered(struct queue *q, unsigned lane, uint64_t delivered)
{
    struct order *order = lane < lane_count(q) ? lane_at(q, lane) : NULL;
    if (!order)
        return; /* all that was in it is settled */
    flag_redelivered(&order->fresh, delivered);
    for (size_t i = 0; i < order->returned_size; i++)
        order->returned[i].redelivered |= order->returned[i].sequence <= delivered;
    if (order->backlog)
        flag_redelivered(&order->backlog->tail, delivered);
}

void queue_restored(struct queue *q, uint64_t floor)
{
    if (q->order.next_sequence < floor)
        q->order.next_sequence = floor;
    if (q->levels)
        levels_raise(q->levels, floor);
    if (q->groups)
        groups_restored(q->groups, floor);
    each_order(q, expiry_reset);
    update_ready(q);
}

void queue_refresh(struct queue *q)
{
    update_ready(q);
}

void queue_order_changed(struct queue *q, struct order *order)
{
    if (q->kind.keeper && order != &q->order)
        delay_order_changed(order);
    changed(q, order);
    update_ready(q);
}

/* --- marks of deliveries --- */

/* How far a mark may run ahead of deliveries. */
enum { MARK_AHEAD_MAX = 8192 };

static bool mark_covers(const struct delivery_mark *mark, const struct entry *entry)
{
    return entry->sequence <= mark->sequence && entry->message->batch <= mark->batch;
}

/* The entry has no mark yet; or a steady flow has not set its mark in this batch, and later deliveries
 * shall not wait. */
static bool mark_is_due(const struct order *order, const struct entry *entry, uint64_t open_batch)
{
    const struct delivery_marks *marks = &order->marks;
    if (!mark_covers(&marks->recent[0], entry))
        return true;
    return marks->ahead && marks->recent[0].batch != open_batch &&
           order->queue->counters.acked > marks->acked;
}

/* Marks the entry as delivered, if it is not yet. */
static void mark_delivered(struct queue *q, struct order *order, const struct entry *entry)
{
    struct delivery_marks *marks = &order->marks;
    struct delivery_mark *newest = &marks->recent[0];
    struct store *store = q->home->store;
    uint64_t open_batch = store_open_batch(store);
    const struct page *page = entry->page ? pages_at(store_pages(store), entry->page) : NULL;
    if (page ? entry->sequence <= page_delivered(page) : !mark_is_due(order, entry, open_batch))
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
    store_delivered(store, &order->run, order->id, newest->sequence);
}

uint64_t queue_delivery_batch(struct queue *q, const struct entry *entry)
{
    if (!entry->journalled || !q->home->store)
        return 0;
    uint64_t durable = store_durable(q->home->store);
    const struct delivery_marks *marks = &lane_of(q, entry)->marks;
    if (entry->page) {
        const struct page *page = pages_at(store_pages(q->home->store), entry->page);
        assert(page_delivered(page) >= entry->sequence);
        return page->progress->marked <= durable ? 0 : page->progress->marked;
    }
    for (size_t i = 0; i < array_size(marks->recent); i++) {
        const struct delivery_mark *mark = &marks->recent[i];
        /* A moved message is still where it was, too. */
        bool together = entry->message->batch == mark->batch && !entry->message->moved;
        if (mark_covers(mark, entry) && (mark->batch <= durable || together))
            return 0;
    }
    assert(mark_covers(&marks->recent[0], entry));
    return marks->recent[0].batch;
}

/* Takes the first entry out and accounts for who gets it. */
static struct entry take(struct queue *q, struct order *order, struct consumer *c, bool no_ack)
{
    struct entry entry = take_first(q, order);
    if (q->kind.ordering == KIND_GROUPS)
        groups_out(q->groups, order, c, !no_ack);
    q->counters.delivered++;
    q->counters.redelivered += entry.redelivered;
    if (!no_ack) {
        q->unacked++;
        if (entry.journalled && q->home->store)
            mark_delivered(q, order, &entry);
    }
    return entry;
}

bool queue_get(struct queue *q, bool no_ack, struct entry *entry)
{
    struct order *order = lane_for_get(q);
    if (!order_loaded(order))
        return false;
    *entry = take(q, order, NULL, no_ack);
    update_ready(q);
    return true;
}

struct consumer *queue_turn(const struct queue *q)
{
    if (q->kind.ordering == KIND_GROUPS)
        return q->groups->turn;
    const struct rotation *rotation = &q->consumers.rotation;
    return rotation_any(rotation) ? list_first(rotation->turn, struct consumer, place) : NULL;
}

struct entry queue_next(struct queue *q, struct consumer *c)
{
    assert(c->state == CONSUMER_ROTATING && c->queue == q);
    struct entry entry = take(q, q->front, c, c->no_ack);
    if (!c->no_ack)
        c->unacked++;
    rotation_leave(&q->consumers.rotation, c);
    if (c->no_ack || consumer_has_credit(c))
        rotation_join(&q->consumers.rotation, c);
    else
        c->state = CONSUMER_SATED;
    update_ready(q);
    return entry;
}

void queue_settle(struct queue *q, struct entry *entry, bool was_unacked)
{
    bool told = entry->journalled && !q->leaving.deleted && q->home->store;
    struct order *order = lane_of(q, entry);
    if (told)
        store_ack(q->home->store, &order->run, order->id, entry->sequence);
    drop_message(q->home, entry, order, told);
    lane_settled(q, entry, was_unacked, true);
    if (!was_unacked)
        return;
    assert(q->unacked > 0);
    q->unacked--;
    q->counters.acked++;
    if (q->leaving.deleted)
        queue_release(q);
}

void queue_reject(struct queue *q, struct entry *entry, enum outcome_reason reason)
{
    if (!q->settings.dead_letters || q->leaving.deleted) {
        queue_settle(q, entry, true);
        return;
    }
    assert(q->unacked > 0);
    q->unacked--;
    q->counters.acked++;
    lane_settled(q, entry, true, false);
    outcome_put(q, entry, reason);
}

/* Counts the return of an entry; true when it has come back too often. A restart knows the count. */
static bool count_return(struct queue *q, const struct order *order, struct entry *entry)
{
    int64_t limit = q->settings.delivery_limit;
    if (limit < 0 && q->kind.type != KIND_QUORUM)
        return false;
    entry->returns = (uint16_t)((entry->returns + (entry->returns < ENTRY_RETURNS_MAX)) & ENTRY_RETURNS_MAX);
    if (limit >= 0 && entry->returns > limit)
        return true;
    if (!entry->journalled || !q->home->store)
        return false;
    store_returned(q->home->store, order->id, entry->sequence, entry->returns);
    if (entry->page)
        pages_returned(store_pages(q->home->store), entry->page, entry->sequence, entry->returns);
    return false;
}

void queue_requeue(struct queue *q, struct entry *entry, bool seen)
{
    if (q->leaving.deleted) {
        queue_settle(q, entry, true);
        return;
    }
    struct order *order = lane_of(q, entry);
    if (seen && count_return(q, order, entry)) {
        queue_reject(q, entry, OUTCOME_DELIVERY_LIMIT);
        update_ready(q);
        return;
    }
    assert(q->unacked > 0 && entry->sequence < order->next_sequence);
    q->unacked--;
    entry->redelivered |= seen;
    put_back(q, order, *entry);
    mover_came_back(q, entry);
    if (queue_keeps_birth(q, entry->message))
        expiry_note(order, entry);
    lane_settled(q, entry, true, true); /* the message may go with that, when the queue is full */
    entry->message = NULL;
    update_ready(q);
}

size_t queue_purge(struct queue *q)
{
    return dig_graves(q, false);
}

static void check_order(const struct order *order)
{
    uint64_t bytes = 0;
    size_t holes = 0;
    for (size_t i = 0; i < order->fresh.size; i++) {
        struct entry *entry = entry_ring_at(&order->fresh, i);
        assert(entry->sequence < order->next_sequence && (entry->message ? entry->message->refs > 0 : i > 0));
        assert(i == 0 || entry_ring_at(&order->fresh, i - 1)->sequence < entry->sequence);
        holes += !entry->message;
        bytes += entry->message ? entry->message->body_size : 0;
    }
    for (size_t i = 0; i < order->returned_size; i++)
        bytes += order->returned[i].message->body_size;
    if (order->backlog) {
        bytes += order->backlog->tail_bytes + order->backlog->page_bytes;
        assert(order->backlog->pages.size > 0 || order->fresh.size > 0);
        for (size_t i = 0; i < order->backlog->tail.size; i++)
            holes += !entry_ring_at(&order->backlog->tail, i)->message;
        assert(holes == order->backlog->holes);
    }
    assertf(bytes == order->bytes, "%llu of %llu", (unsigned long long)bytes,
            (unsigned long long)order->bytes);
}

static void check_orders(const struct queue *q)
{
    uint64_t bytes = 0;
    size_t ready = 0;
    for (unsigned lane = 0; lane < lane_count(q); lane++) {
        const struct order *order = lane_at((struct queue *)(uintptr_t)q, lane);
        if (!order)
            continue;
        check_order(order);
        assert(order->queue == q && lane_of_id(order->id) == lane);
        assert(q->kind.ordering == KIND_FIFO || order->counted == order_size(order));
        bytes += order->bytes;
        ready += order_size(order);
    }
    assertf(bytes == q->ready_bytes && ready == queue_ready(q), "%zu of %zu, %llu of %llu", ready,
            queue_ready(q), (unsigned long long)bytes, (unsigned long long)q->ready_bytes);
    size_t held = q->consumers.rotation.held;
    assert(q->groups || held || q->front == (q->levels ? levels_front(q->levels) : &q->order));
    assert(!held || (!order_loaded(q->front) && held <= q->unacked));
    if (q->groups)
        groups_check(q->groups);
}

static void check_consumer(const struct queue *q, const struct consumer *c)
{
    assert(c->queue == q && c->state != CONSUMER_GONE && c->rank);
    assert(c->state != CONSUMER_ROTATING || (consumer_has_credit(c) && c->active));
    assert(c->state != CONSUMER_SATED || (!consumer_has_credit(c) && c->active));
    assert((c->state != CONSUMER_WAITING && c->state != CONSUMER_FADING) || !c->active);
    assert(c->active || q->consumers.rotation.single);
    assert(!q->consumers.rotation.single || !c->active || c == q->consumers.rotation.active);
}

void queue_check(const struct queue *q)
{
    size_t consumers = 0, rotating = 0;
    const struct rotation *rotation = &q->consumers.rotation;
    list_each(node, &q->consumers.all) {
        struct consumer *c = container_of(node, struct consumer, of_queue);
        check_consumer(q, c);
        rotating += c->state == CONSUMER_ROTATING;
        assert(c->state != CONSUMER_WAITING || rotation->active);
        consumers++;
    }
    assert(consumers == q->consumers.count);
    assert(!rotation->active || (rotation->single && consumers > 0));
    assert(rotation_any(rotation) == (rotating > 0));
    assert(list_linked(&q->ready_link) == may_deliver(q));
    check_orders(q);
    assert(q->settings.limit.overflow != LIMIT_DROP_HEAD || list_linked(&q->ready_link) || rotation->held ||
           lane_to_shed(q)->backlog ||
           !limit_is_exceeded(&q->settings.limit, queue_ready(q), q->ready_bytes));
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
