/* expiry.c - what is due leaves its queue.
 *
 * Owner: the order, the home (the heap of orders).
 * Invariants: a queue with a message that has a deadline is in home.expiring under a key that is not after
 * it, but for what is in a page that is being read: taking that sets the key anew. A note in `dues` may be
 * about a message that has left; notes are thrown out when there are more than twice as many as can be
 * needed. */
#include "queue/expiry.h"

#include <stdlib.h>

#include "base/sift.h"
#include "protocol/props.h"
#include "queue/lane.h"
#include "queue/paging.h"

enum {
    PAGE_WAIT_MS = 10,  /* until the queue is looked at again that waits for a page */
    UNREAD_EARLY_MS = 30000, /* before its time a page is read that was not since the start */
    THIN_MS = 50,       /* what is due in between in a page goes together */
    SWEEP_MS = 20,      /* between two parts of a walk over what was requeued, when that is much */
    SWEEP_SMALL = 4096,
    SWEEP_PART = 16384, /* that such a part looks at */
    GET_MESSAGES = 8192, /* that go before one is fetched */
    DUES_SPARE = 1024,
    KEPT_MAX = 16384,   /* dead letters of a queue that nobody takes, beyond which nothing expires ... */
    KEPT_BYTES_MAX = 64 * 1024 * 1024,
    KEPT_WAIT_MS = 500  /* ... until it is looked at again */
};

/* --- deadlines --- */

/* The longest time is ten years; nothing overflows. A queue without a ttl has the largest number. */
static uint64_t add_ms(uint64_t born_ms, uint64_t ms)
{
    return ms > UINT64_MAX - born_ms ? UINT64_MAX : born_ms + ms;
}

uint64_t expiry_deadline_of(struct slice bytes, uint64_t born_ms)
{
    struct props props;
    struct fault f;
    uint64_t ms = 0;
    if (!props_have(bytes, PROP_expiration) || !props_decode(bytes, &props, &f))
        return UINT64_MAX;
    size_t i = props.expiration.len && props.expiration.at[0] == '+';
    for (; i < props.expiration.len; i++)
        ms = ms * 10 + (uint64_t)(props.expiration.at[i] - '0');
    return add_ms(born_ms, ms);
}

uint64_t expiry_own_deadline(const struct message *m)
{
    return m->has_expiration ? expiry_deadline_of(message_props(m), m->born_ms) : UINT64_MAX;
}

static uint64_t ttl_deadline(const struct queue *q, const struct message *m)
{
    return add_ms(m->born_ms, q->settings.ttl_ms);
}

bool expiry_is_due(const struct queue *q, uint64_t own_ms, uint64_t born_ms)
{
    return own_ms < q->home->now_ms || add_ms(born_ms, q->settings.ttl_ms) < q->home->now_ms;
}

/* --- the heap of a queue's notes --- */

SIFT(due, deadline_ms);

static int by_sequence(const void *a, const void *b)
{
    uint64_t one = *(const uint64_t *)a, other = *(const uint64_t *)b;
    return (one > other) - (one < other);
}

static int by_deadline(const void *a, const void *b)
{
    const struct due *one = a, *other = b;
    if (one->deadline_ms != other->deadline_ms)
        return one->deadline_ms < other->deadline_ms ? -1 : 1;
    return by_sequence(&one->sequence, &other->sequence);
}

static struct pages *pages_of(const struct queue *q)
{
    return q->home->store ? store_pages(q->home->store) : NULL;
}

static bool is_needed(const struct order *order, const struct due *due, const uint64_t *returned)
{
    return order_find(order, due->sequence) ||
           bsearch(&due->sequence, returned, order->returned_size, sizeof(*returned), by_sequence);
}

/* Throws out notes about what has left, and those that are there twice. */
static void tidy_up(struct order *order)
{
    struct expiry *expiry = &order->expiry;
    size_t size = order->returned_size, kept = 0;
    uint64_t *returned = mem_alloc((size + 1) * sizeof(*returned));
    for (size_t i = 0; i < size; i++)
        returned[i] = order->returned[i].sequence;
    qsort(returned, size, sizeof(*returned), by_sequence);
    qsort(expiry->dues.at, expiry->dues.count, sizeof(*expiry->dues.at), by_deadline);
    for (size_t i = 0; i < expiry->dues.count; i++) {
        const struct due *due = &expiry->dues.at[i];
        bool again = kept > 0 && by_deadline(due, &expiry->dues.at[kept - 1]) == 0;
        if (!again && is_needed(order, due, returned))
            expiry->dues.at[kept++] = *due; /* sorted, so it is a heap */
    }
    expiry->dues.count = kept;
    mem_free(returned);
}

static size_t dues_max(const struct order *order)
{
    return 2 * (order_resident(order) + order->returned_size) + DUES_SPARE;
}

static void dues_push(struct dues *dues, struct due due)
{
    if (dues->count == dues->capacity) {
        dues->capacity = dues->capacity ? dues->capacity * 2 : 16;
        dues->at = mem_realloc(dues->at, dues->capacity * sizeof(*dues->at));
    }
    due_sift_up(dues->at, dues->count++, due);
}

static void push_due(struct order *order, uint64_t deadline_ms, uint64_t sequence)
{
    struct expiry *expiry = &order->expiry;
    if (expiry->dues.count >= dues_max(order))
        tidy_up(order);
    dues_push(&expiry->dues, (struct due){deadline_ms, sequence});
}

static struct due pop_due(struct dues *dues)
{
    assert(dues->count > 0);
    struct due due = dues->at[0];
    if (--dues->count > 0) {
        due_sift_down(dues->at, dues->count, dues->at[dues->count]);
    } else if (dues->capacity > DUES_SPARE) {
        mem_free(dues->at);
        *dues = (struct dues){0};
    }
    return due;
}

/* --- the heap of queues --- */

/* The queue is looked at then, or before. */
static void look_at(struct order *order, uint64_t when_ms)
{
    struct heap_node *node = &order->expiry.node;
    struct heap *heap = &order->queue->home->expiring;
    if (when_ms == UINT64_MAX || (heap_linked(node) && node->key <= when_ms))
        return;
    if (heap_linked(node))
        heap_remove(heap, node);
    node->key = when_ms;
    heap_push(heap, node);
}

void expiry_note(struct order *order, const struct entry *entry)
{
    const struct message *m = entry->message;
    const struct queue *q = order->queue;
    uint64_t own = expiry_own_deadline(m), ttl = ttl_deadline(q, m);
    if (own < ttl)
        push_due(order, own, entry->sequence);
    look_at(order, own < ttl ? own : ttl);
}

/* When a page is read of which nobody knows more than that. */
static uint64_t early(uint64_t deadline_ms)
{
    return deadline_ms > UNREAD_EARLY_MS ? deadline_ms - UNREAD_EARLY_MS : 0;
}

void expiry_note_page(struct order *order, uint64_t first, uint64_t deadline_ms)
{
    dues_push(&order->expiry.unread, (struct due){deadline_ms, first});
    look_at(order, early(deadline_ms));
}

uint32_t *expiry_find_page(struct expiry *expiry, uint32_t slot)
{
    for (size_t i = 0; i < EXPIRY_PAGES; i++)
        if (expiry->pages[i] == slot)
            return &expiry->pages[i];
    return NULL;
}

void expiry_reset(struct order *order)
{
    const struct queue *q = order->queue;
    if (q->settings.ttl_ms != SETTINGS_NEVER)
        look_at(order, q->home->now_ms);
}

void expiry_leave(struct order *order)
{
    struct expiry *expiry = &order->expiry;
    agenda_leave(order);
    if (heap_linked(&expiry->node))
        heap_remove(&order->queue->home->expiring, &expiry->node);
    mem_free(expiry->dues.at);
    mem_free(expiry->unread.at);
    *expiry = (struct expiry){0};
}

static uint64_t first_ms(const struct queue_home *home)
{
    const struct heap_node *node = heap_min(&home->expiring);
    return node ? node->key : UINT64_MAX;
}

uint64_t expiry_next_ms(const struct queue_home *home)
{
    uint64_t first = first_ms(home), noted = agenda_next_ms(home);
    return first < noted ? first : noted;
}

/* --- what is due goes --- */

/* One look at an order. */
struct look {
    struct queue *q;
    struct order *order;
    uint64_t before_ms; /* what is due before this goes */
    uint64_t again_ms;  /* when to look again, UINT64_MAX = not known yet */
    size_t budget;
    bool requeued;      /* something is due that can only be among the requeued */
};

static void again(struct look *look, uint64_t when_ms)
{
    if (when_ms < look->again_ms)
        look->again_ms = when_ms;
}

static void expire(struct look *look, struct entry entry)
{
    struct queue *q = look->q;
    look->order->bytes -= entry.message->body_size;
    q->ready_bytes -= entry.message->body_size;
    lane_lost(q, look->order);
    q->counters.expired++;
    if (look->budget > 0)
        look->budget--;
    outcome_put(q, &entry, OUTCOME_EXPIRED);
}

/* The first in order is in a page: true when that went as a whole, and there may be more. */
static bool expire_page(struct look *look, const struct page *page)
{
    struct queue *q = look->q;
    const struct page_times *times = &page->times;
    uint64_t due = add_ms(times->born_first, q->settings.ttl_ms);
    if (!q->settings.dead_letters && times->born_last <= times->born_first + THIN_MS)
        due = add_ms(times->born_last, q->settings.ttl_ms); /* it can go without being read */
    if (due >= look->before_ms) {
        again(look, due);
        return false;
    }
    if (paging_expire_first(look->order)) {
        look->budget--;
        return true;
    }
    paging_await(look->order);
    again(look, q->home->now_ms + PAGE_WAIT_MS);
    return false;
}

/* With a ttl of the queue the first in order goes first; true when there may be more. */
static bool expire_first(struct look *look)
{
    struct queue *q = look->q;
    struct order *order = look->order;
    const struct backlog *backlog = order->backlog;
    const struct entry *first = order_first(order);
    if (!first && (!backlog || backlog->pages.size == 0))
        return false;
    if (look->budget == 0) {
        again(look, look->before_ms - 1);
        return false;
    }
    if (!first)
        return expire_page(look, pages_at(pages_of(q), *page_slot_ring_at(&backlog->pages, 0)));
    uint64_t due = ttl_deadline(q, first->message);
    if (due >= look->before_ms) {
        again(look, due);
        return false;
    }
    expire(look, order_take(order));
    return true;
}

/* A note has come due: about a message, something requeued, or what has left. */
static void expire_noted(struct look *look, struct due due)
{
    struct order *order = look->order;
    struct entry entry;
    const struct entry *found = order_find(order, due.sequence);
    if (!found)
        look->requeued = true;
    else if (expiry_own_deadline(found->message) < look->before_ms &&
             order_pluck(order, due.sequence, &entry))
        expire(look, entry);
}

/* Something in a page that nobody has read since the start is due, or will be soon: it is read, and its
 * messages are noted in the agenda. A few at a time: the next when one of them has come. */
static void read_pages(struct look *look)
{
    struct order *order = look->order;
    struct dues *unread = &order->expiry.unread;
    uint64_t now_ms = look->q->home->now_ms;
    while (unread->count > 0 && early(unread->at[0].deadline_ms) < now_ms) {
        size_t at = order_find_page(order, pages_of(look->q), unread->at[0].sequence);
        if (at != SIZE_MAX && !paging_thin_out(order, *page_slot_ring_at(&order->backlog->pages, at))) {
            again(look, now_ms + PAGE_WAIT_MS);
            return;
        }
        pop_due(unread); /* asked for, or in memory by now, or gone */
    }
    if (unread->count > 0)
        again(look, early(unread->at[0].deadline_ms) + 1);
}

void expiry_page_came(struct order *order)
{
    if (order->expiry.unread.count > 0)
        look_at(order, order->queue->home->now_ms);
}

static bool is_due(void *arg, const struct entry *entry)
{
    const struct look *look = arg;
    return expiry_own_deadline(entry->message) < look->before_ms;
}

static void take_due(void *arg, struct entry entry)
{
    expire(arg, entry);
}

/* A part of the requeued at a time. A note that comes due meanwhile may be about one that was passed. */
static void expire_requeued(struct look *look)
{
    struct order *order = look->order;
    struct requeued_sweep *sweep = &order->expiry.sweep;
    uint64_t now_ms = look->q->home->now_ms, due_ms = sweep->ms + SWEEP_MS;
    const struct order_sweep what = {is_due, take_due, look};
    sweep->again |= look->requeued && sweep->at > 0;
    sweep->on |= look->requeued;
    if (!sweep->on)
        return;
    if (order->returned_size > SWEEP_SMALL && now_ms < due_ms) {
        again(look, due_ms);
        return;
    }
    sweep->ms = now_ms;
    sweep->at = order_sweep_returned(order, &what, sweep->at, SWEEP_PART);
    if (sweep->at >= order->returned_size) {
        sweep->on = sweep->again && order->returned_size > 0;
        sweep->at = 0;
        sweep->again = false;
    }
    if (sweep->on)
        again(look, now_ms + SWEEP_MS);
}

bool expiry_is_held_up(const struct queue *q)
{
    return settings_keep(&q->settings) &&
           (q->leaving.outcomes >= KEPT_MAX || q->leaving.outcome_bytes >= KEPT_BYTES_MAX);
}

/* What is due stays for now; while it is the next nothing is delivered. */
static void put_off(struct order *order)
{
    const struct queue *q = order->queue;
    const struct entry *first = order_first(order);
    const struct message *m = first ? first->message : NULL;
    order->expiry.late = m && expiry_is_due(q, expiry_own_deadline(m), m->born_ms);
    look_at(order, q->home->now_ms + KEPT_WAIT_MS);
    queue_order_changed(order->queue, order);
}

static size_t look_into(struct order *order, uint64_t before_ms, size_t budget)
{
    struct queue *q = order->queue;
    struct expiry *expiry = &order->expiry;
    struct look look = {q, order, before_ms, UINT64_MAX, budget, false};
    if (expiry_is_held_up(q)) {
        put_off(order);
        return budget;
    }
    while (q->settings.ttl_ms != SETTINGS_NEVER && expire_first(&look))
        ;
    while (look.budget > 0 && expiry->dues.count > 0 && expiry->dues.at[0].deadline_ms < before_ms)
        expire_noted(&look, pop_due(&expiry->dues));
    expire_requeued(&look);
    read_pages(&look);
    if (expiry->dues.count > 0)
        again(&look, expiry->dues.at[0].deadline_ms);
    expiry->late = look.again_ms < before_ms;
    look_at(order, look.again_ms);
    queue_order_changed(q, order);
    return look.budget;
}

void expiry_before_get(struct queue *q)
{
    struct order *order = lane_for_get(q);
    const struct heap_node *node = &order->expiry.node;
    uint64_t now = q->home->now_ms;
    if (!heap_linked(node) || node->key > now || list_linked(&q->ready_link))
        return;
    heap_remove(&q->home->expiring, &order->expiry.node);
    look_into(order, now + 1, GET_MESSAGES);
}

size_t expiry_run(struct queue_home *home, uint64_t before_ms, size_t budget)
{
    while (budget > 0 && first_ms(home) < before_ms) {
        struct heap_node *node = heap_pop(&home->expiring);
        struct order *order = container_of(node, struct order, expiry.node);
        budget = look_into(order, before_ms, budget);
    }
    return agenda_run(home, before_ms, budget);
}
