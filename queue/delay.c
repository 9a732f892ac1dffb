/* delay.c - calendars of messages that wait for their time.
 *
 * Owner: a queue, or the broker for an exchange; the home (both heaps).
 * Invariants: a bucket is in home.delays.opening while anything waits in its order; it lives while anything
 * waits or is out of it, in the heap or handed over. What is out is in the journal as the bucket's.
 * Failure modes: a page that cannot be read is named by the store; its messages are gone. */
#include "queue/delay.h"

#include "queue/bucket.h"
#include "queue/delay_look.h"
#include "queue/lane.h"
#include "queue/paging.h"
#include "queue/record.h"

enum {
    NEAR_MAX = 16384,   /* messages in memory because they are due soon ... */
    NEAR_BYTES_MAX = 6 * 1024 * 1024, /* ... and bytes, but for the first one */
    NEAR_EARLY_MS = 64, /* before its time a finest bucket goes to the heap ... */
    READ_EARLY_MS = 512, /* ... and before that its first page is asked for */
    WAIT_MS = 3,        /* until a bucket is looked at again that waits for the disk or for room */
    OPEN_MAX = 24,      /* finest buckets of which pages are read at once */
    DEAL_MAX = 512,     /* messages dealt in a turn: what is due comes between */
    PENDING_MAX = 8 * 1024 * 1024, /* bytes on their way to the disk beyond which nothing is dealt */
    PROBES_MAX = DELAY_LEVEL_LANES
};

/* A bucket of a level is this many milliseconds, as a power of two. */
static const unsigned level_shift[DELAY_LEVELS] = {6, 13, 21, 30};

unsigned delay_bucket_shift(unsigned level)
{
    assert(level < DELAY_LEVELS);
    return level_shift[level];
}

/* --- buckets --- */

/* When a bucket is to be dealt: half its width before it begins, so that it goes at twice the pace at which
 * its messages are due. What goes to the finest has all its width: of one that is not dealt when it begins
 * something is late, and there may be very many in it. The finest is read shortly before. */
static uint64_t opens_ms(unsigned level, uint64_t number)
{
    uint64_t begins = number << level_shift[level];
    uint64_t lead = level ? UINT64_C(1) << (level_shift[level] - (level > 1)) : READ_EARLY_MS;
    return begins > lead ? begins - lead : 0;
}

/* When the messages of a finest bucket go to the heap. */
static uint64_t nears_ms(const struct bucket *bucket)
{
    uint64_t number = bucket->key >> 63 ? 0 : bucket->key & ((UINT64_C(1) << 56) - 1);
    uint64_t begins = number << level_shift[0];
    return begins > NEAR_EARLY_MS ? begins - NEAR_EARLY_MS : 0;
}

/* The coarsest level whose bucket of that time is not being dealt yet. */
static unsigned choose_level(uint64_t now_ms, uint64_t due_ms)
{
    unsigned level = DELAY_LEVELS - 1;
    while (level > 0 && opens_ms(level, due_ms >> level_shift[level]) <= now_ms)
        level--;
    return level;
}

static uint64_t key_of(unsigned level, uint64_t number)
{
    assert(number < UINT64_C(1) << 56);
    return (uint64_t)level << 56 | number;
}

static bool lane_is_used(const struct delay *delay, unsigned lane)
{
    unsigned i = lane - DELAY_LANE_FIRST;
    return delay->lanes[i / 64] >> i % 64 & 1;
}

static void flip_lane(struct delay *delay, unsigned lane)
{
    unsigned i = lane - DELAY_LANE_FIRST;
    delay->lanes[i / 64] ^= UINT64_C(1) << i % 64;
}

static unsigned level_of_lane(unsigned lane)
{
    assertf(lane >= DELAY_LANE_FIRST && lane < DELAY_LANE_FIRST + DELAY_LEVELS * DELAY_LEVEL_LANES,
            "lane %u is no calendar's", lane);
    return (lane - DELAY_LANE_FIRST) / DELAY_LEVEL_LANES;
}

/* 0 when the level has all its buckets. */
static unsigned free_lane(const struct delay *delay, unsigned level, uint64_t number)
{
    unsigned first = DELAY_LANE_FIRST + level * DELAY_LEVEL_LANES;
    for (unsigned i = 0; i < PROBES_MAX; i++) {
        unsigned lane = first + (unsigned)((number + i) % DELAY_LEVEL_LANES);
        if (!lane_is_used(delay, lane))
            return lane;
    }
    return 0;
}

static struct bucket *bucket_new(struct delay *delay, uint64_t key, unsigned lane)
{
    struct bucket *bucket = mem_zalloc(sizeof(*bucket));
    bucket->key = key;
    bucket->delay = delay;
    bucket->level = level_of_lane(lane);
    bucket->lane = lane;
    bucket->order.queue = delay->keeper;
    bucket->order.id = delay->keeper->id | (uint64_t)lane << STORE_LANE_SHIFT;
    bucket->order.next_sequence = delay->restoring ? 1 : delay->first_sequence;
    flip_lane(delay, lane);
    map_put(&delay->buckets, slice_of(&bucket->key, sizeof(bucket->key)), bucket);
    return bucket;
}

struct bucket *delay_find_bucket(const struct delay *delay, uint64_t key)
{
    return map_get(&delay->buckets, slice_of(&key, sizeof(key)));
}

static void bucket_free(struct bucket *bucket)
{
    struct delay *delay = bucket->delay;
    assert(bucket->out == 0 && order_size(&bucket->order) == 0);
    paging_leave(&bucket->order);
    if (heap_linked(&bucket->node))
        heap_remove(&delay->delays->opening, &bucket->node);
    if (delay->first_sequence < bucket->order.next_sequence)
        delay->first_sequence = bucket->order.next_sequence;
    if (bucket->open && bucket->level == 0)
        delay->delays->open_count--;
    map_remove(&delay->buckets, slice_of(&bucket->key, sizeof(bucket->key)));
    flip_lane(delay, bucket->lane);
    order_free(&bucket->order);
    mem_free(bucket);
}

/* It is looked at then. */
static void look_at(struct bucket *bucket, uint64_t when_ms)
{
    struct heap *heap = &bucket->delay->delays->opening;
    if (heap_linked(&bucket->node))
        heap_remove(heap, &bucket->node);
    bucket->node.key = when_ms;
    heap_push(heap, &bucket->node);
}

static void look_when_it_opens(struct bucket *bucket, uint64_t due_ms)
{
    if (!heap_linked(&bucket->node))
        look_at(bucket, opens_ms(bucket->level, due_ms >> level_shift[bucket->level]));
}

/* --- in and out --- */

/* The calendar holds so many more messages, or fewer. */
void delay_add(struct delay *delay, size_t more)
{
    delay->count += more;
    delay->delays->count += more;
}

/* The order has more or less in it than before. */
static void note(struct bucket *bucket)
{
    size_t size = order_size(&bucket->order);
    delay_add(bucket->delay, size - bucket->order.counted);
    bucket->order.counted = size;
}

static void count(struct bucket *bucket, const struct message *m, bool more)
{
    struct order *order = &bucket->order;
    uint64_t bytes = m->body_size;
    order->bytes += more ? bytes : -bytes;
    order->queue->ready_bytes += more ? bytes : -bytes;
}

/* A page came: what waits for it goes on in this turn, before memory is squeezed and the page has gone. */
void delay_order_changed(struct order *order)
{
    struct bucket *bucket = container_of(order, struct bucket, order);
    note(bucket);
    if (bucket->awaits && order_loaded(order))
        look_at(bucket, bucket->delay->home->now_ms); /* one that is not near yet stays: see delay_is_open */
}

static void put(struct bucket *bucket, struct message *m)
{
    struct order *order = &bucket->order;
    struct queue *keeper = order->queue;
    struct queue_home *home = keeper->home;
    delay_look_puts(bucket);
    struct entry entry = {message_ref(m), order->next_sequence++, .journalled = queue_stores(keeper, m)};
    assert(m->journal_refs == 0);
    m->batch = 0;
    m->moved = false;
    if (entry.journalled && home->store) {
        struct stored_target target = {order->id, entry.sequence};
        struct stored_message record = record_of(m, &target, 1, true);
        m->batch = store_message(home->store, &record);
        m->journal_refs = 1;
    }
    count(bucket, m, true);
    order_push(order, entry);
    note(bucket);
    look_when_it_opens(bucket, m->born_ms);
    if (order->backlog || order->fresh.size > home->paging.resident_min)
        paging_check(order);
}

/* The finest bucket of that time or the last before it. There is one: that all are used is for those of which
 * nobody has taken what was due, for a minute. */
static struct bucket *last_before(const struct delay *delay, uint64_t key)
{
    struct bucket *last = NULL, *any = NULL;
    map_each(&delay->buckets, i) {
        struct bucket *bucket = delay->buckets.slots[i].value;
        if (bucket->level > 0)
            continue;
        any = bucket;
        if (bucket->key <= key && (!last || bucket->key > last->key))
            last = bucket;
    }
    assert(any);
    return last ? last : any;
}

/* Where what is due then belongs; not `from`, out of which it is dealt: that may be of another time, too,
 * and what came back to it would be dealt again and again. Then, and when a level has all its buckets, it is
 * one of a finer level, at last one that is shared: it goes to the heap sooner than it had to, and from there
 * when it is due. */
static struct bucket *bucket_for(struct delay *delay, uint64_t when_ms, const struct bucket *from)
{
    for (unsigned level = choose_level(delay->home->now_ms, when_ms);; level--) {
        uint64_t number = when_ms >> level_shift[level], key = key_of(level, number);
        struct bucket *bucket = delay_find_bucket(delay, key);
        unsigned lane = bucket ? 0 : free_lane(delay, level, number);
        if (bucket && bucket != from)
            return bucket;
        if (lane)
            return bucket_new(delay, key, lane);
        if (level == 0)
            return last_before(delay, key);
    }
}

static void place(struct delay *delay, struct message *m, const struct bucket *from)
{
    /* What is overdue, after a long stop, goes to the bucket of now: the past has too many. */
    uint64_t now_ms = delay->home->now_ms;
    put(bucket_for(delay, m->born_ms > now_ms ? m->born_ms : now_ms, from), m);
}

static struct entry take_first(struct bucket *bucket)
{
    struct entry entry = order_take(&bucket->order);
    count(bucket, entry.message, false);
    note(bucket);
    delay_add(bucket->delay, 1);
    bucket->out++;
    return entry;
}

/* Drops an entry that is out. */
static void drop(struct bucket *bucket, struct entry *entry)
{
    const struct queue *keeper = bucket->order.queue;
    struct queue_home *home = keeper->home;
    bool told = entry->journalled && !keeper->leaving.deleted && home->store;
    assert(bucket->out > 0 && bucket->delay->count > 0);
    bucket->out--;
    delay_add(bucket->delay, -(size_t)1);
    if (told)
        store_ack(home->store, &bucket->order.run, bucket->order.id, entry->sequence);
    if (entry->page && home->store)
        pages_ack(store_pages(home->store), entry->page, entry->sequence, told);
    if (entry->page)
        message_unref(home->pool, &entry->message);
    else
        paging_drop(home, entry);
}

static void free_if_empty(struct bucket *bucket)
{
    if (bucket->out == 0 && order_size(&bucket->order) == 0)
        bucket_free(bucket);
}

/* --- the heap of what is due soon --- */

static bool is_before(const struct delayed *one, const struct delayed *other)
{
    uint64_t a = one->entry.message->born_ms, b = other->entry.message->born_ms;
    return a != b ? a < b : one->entry.sequence < other->entry.sequence;
}

static void near_push(struct delays *delays, struct delayed delayed)
{
    if (delays->near_size == delays->near_capacity) {
        delays->near_capacity = delays->near_capacity ? delays->near_capacity * 2 : 16;
        delays->near = mem_realloc(delays->near, delays->near_capacity * sizeof(*delays->near));
    }
    size_t i = delays->near_size++;
    delays->near_bytes += delayed.entry.message->body_size;
    for (; i > 0 && is_before(&delayed, &delays->near[(i - 1) / 2]); i = (i - 1) / 2)
        delays->near[i] = delays->near[(i - 1) / 2];
    delays->near[i] = delayed;
}

/* Puts what is at `i` where it belongs below. */
static void sift_down(struct delays *delays, size_t i)
{
    struct delayed delayed = delays->near[i];
    for (size_t child = 2 * i + 1; child < delays->near_size; child = 2 * i + 1) {
        if (child + 1 < delays->near_size && is_before(&delays->near[child + 1], &delays->near[child]))
            child++;
        if (!is_before(&delays->near[child], &delayed))
            break;
        delays->near[i] = delays->near[child];
        i = child;
    }
    delays->near[i] = delayed;
}

bool delay_take(struct delays *delays, uint64_t now_ms, struct delayed *delayed)
{
    if (delays->near_size == 0 || delays->near[0].entry.message->born_ms > now_ms)
        return false;
    *delayed = delays->near[0];
    delays->near_bytes -= delayed->entry.message->body_size;
    delays->near[0] = delays->near[--delays->near_size];
    if (delays->near_size > 0)
        sift_down(delays, 0);
    return true;
}

struct delay *delay_of(const struct delayed *delayed)
{
    return delayed->bucket->delay;
}

void delay_settle(struct delayed *delayed)
{
    struct bucket *bucket = delayed->bucket;
    drop(bucket, &delayed->entry);
    free_if_empty(bucket);
    delayed->bucket = NULL;
}

/* --- dealing --- */

static bool may_deal(const struct queue_home *home)
{
    return !home->store || store_pending_bytes(home->store) < PENDING_MAX;
}

void delay_bucket_took(struct bucket *bucket, const struct message *m)
{
    count(bucket, m, false);
    note(bucket);
    delay_add(bucket->delay, 1);
    bucket->out++;
}

void delay_bucket_drop(struct bucket *bucket, struct entry *entry)
{
    drop(bucket, entry);
    if (bucket->out == 0 && order_size(&bucket->order) == 0)
        look_at(bucket, bucket->delay->home->now_ms); /* and freed: somebody may be at it now */
}

struct entry delay_bucket_take_near(struct delays *delays, size_t i)
{
    assert(i < delays->near_size);
    struct entry entry = delays->near[i].entry;
    struct delayed last = delays->near[--delays->near_size];
    delays->near_bytes -= entry.message->body_size;
    if (i == delays->near_size)
        return entry;
    for (; i > 0 && is_before(&last, &delays->near[(i - 1) / 2]); i = (i - 1) / 2)
        delays->near[i] = delays->near[(i - 1) / 2];
    delays->near[i] = last;
    sift_down(delays, i);
    return entry;
}

/* To a finer bucket: a record and an ack in one batch. */
static void deal(struct bucket *bucket)
{
    struct queue_home *home = bucket->delay->home;
    delay_look_moves(bucket);
    struct entry entry = take_first(bucket);
    struct message *m = message_ref(entry.message);
    drop(bucket, &entry);
    place(bucket->delay, m, bucket);
    message_unref(home->pool, &m);
}

static bool near_has_room(const struct delays *delays)
{
    return delays->near_size < NEAR_MAX && (delays->near_bytes < NEAR_BYTES_MAX || delays->near_size == 0);
}

/* Asks for what comes next of an open bucket, if that is on disk. */
static void read_next(struct bucket *bucket)
{
    bucket->awaits = !order_loaded(&bucket->order);
    if (bucket->awaits)
        paging_await(&bucket->order);
}

/* What is at hand of a finest bucket goes to the heap. */
static void bring_near(struct bucket *bucket)
{
    struct delays *delays = bucket->delay->delays;
    while (order_loaded(&bucket->order) && near_has_room(delays)) {
        uint32_t looked = delay_look_nears(bucket);
        near_push(delays, (struct delayed){bucket, take_first(bucket), looked});
    }
}

/* After a long stop very many are due at once: they take turns. */
static bool try_to_open(struct bucket *bucket)
{
    struct delays *delays = bucket->delay->delays;
    if (bucket->open)
        return true;
    if (bucket->level == 0 && delays->open_count >= OPEN_MAX && order_size(&bucket->order) > 0)
        return false;
    delays->open_count += bucket->level == 0;
    return bucket->open = true;
}

/* Takes from a bucket what is at hand; returns what is left of the budget for dealing. */
static size_t open_bucket(struct bucket *bucket, size_t budget)
{
    const struct queue_home *home = bucket->delay->home;
    uint64_t again_ms = home->now_ms + WAIT_MS;
    if (!try_to_open(bucket)) {
        look_at(bucket, again_ms);
        return budget;
    }
    if (bucket->level == 0 && nears_ms(bucket) > home->now_ms)
        again_ms = nears_ms(bucket);
    else if (bucket->level == 0)
        bring_near(bucket);
    for (; bucket->level > 0 && budget > 0 && order_loaded(&bucket->order) && may_deal(home); budget--)
        deal(bucket);
    if (order_size(&bucket->order) == 0) {
        free_if_empty(bucket);
        return budget;
    }
    read_next(bucket);
    look_at(bucket, again_ms);
    return budget;
}

void delay_run(struct delays *delays, uint64_t now_ms)
{
    struct heap *opening = &delays->opening;
    size_t budget = DEAL_MAX;
    while (heap_min(opening) && heap_min(opening)->key <= now_ms) {
        struct bucket *bucket = container_of(heap_pop(opening), struct bucket, node);
        budget = open_bucket(bucket, budget);
    }
}

bool delay_is_open(const struct order *order)
{
    return container_of(order, struct bucket, order)->open;
}

bool delay_opens_within(const struct order *order, uint64_t ms)
{
    const struct bucket *bucket = container_of(order, struct bucket, order);
    return heap_linked(&bucket->node) && bucket->node.key <= order->queue->home->now_ms + ms;
}

uint64_t delay_next_ms(const struct delays *delays)
{
    const struct heap_node *node = heap_min(&delays->opening);
    uint64_t next = node ? node->key : UINT64_MAX;
    if (delays->near_size > 0 && delays->near[0].entry.message->born_ms < next)
        next = delays->near[0].entry.message->born_ms;
    return next;
}

/* --- a calendar's life --- */

struct delay *delay_new_among(struct delays *delays, struct queue_home *home, uint64_t id)
{
    struct delay *delay = mem_zalloc(sizeof(*delay));
    delay->home = home;
    delay->delays = delays;
    delay->keeper = queue_new(home, SLICE(""), SLICE(""), id);
    delay->keeper->kind.keeper = true;
    delay->first_sequence = home->store ? store_open_batch(home->store) << SEQUENCES_PER_BATCH_BITS : 1;
    map_init(&delay->buckets, id);
    list_push_back(&delays->all, &delay->link);
    return delay;
}

struct delay *delay_new(struct queue_home *home, uint64_t id, const struct queue *like, bool durable)
{
    struct delay *delay = delay_new_among(&home->delays, home, id);
    if (like) {
        delay->keeper->durable = like->durable;
        delay->keeper->stores = like->stores;
        home->keeping_all += like->stores == QUEUE_STORES_ALL;
    } else if (durable) {
        queue_make_durable(delay->keeper);
    }
    return delay;
}

struct delay *delay_for_queue(struct queue *q)
{
    if (!q->delay) {
        q->delay = delay_new(q->home, q->id, q, false);
        q->delay->queue = q;
    }
    return q->delay;
}

void delay_give_back(struct queue *q, struct message *m)
{
    bool journalled = queue_stores(q, m) && q->home->store;
    assert(m->retried && m->journal_refs == 0);
    m->born_ms = q->home->now_ms;
    if (journalled) {
        struct stored_target target = lane_target(q, m);
        struct stored_message record = record_of(m, &target, 1, lane_records_birth(q, m));
        m->batch = store_message(q->home->store, &record);
        m->journal_refs = 1;
    }
    queue_push(q, m, journalled);
}

/* Takes what is of a calendar that goes out of the heap. */
static void leave_near(struct delay *delay)
{
    struct delays *delays = delay->delays;
    size_t kept = 0;
    for (size_t i = 0; i < delays->near_size; i++) {
        struct delayed *delayed = &delays->near[i];
        if (delayed->bucket->delay == delay) {
            delays->near_bytes -= delayed->entry.message->body_size;
            drop(delayed->bucket, &delayed->entry);
        } else {
            delays->near[kept++] = *delayed;
        }
    }
    delays->near_size = kept;
    for (size_t i = kept / 2; i-- > 0;)
        sift_down(delays, i);
}

void delay_delete(struct delay **delay_at)
{
    struct delay *delay = *delay_at;
    struct queue *keeper = delay->keeper;
    *delay_at = NULL;
    delay_look_leave(delay);
    keeper->leaving.deleted = true;
    leave_near(delay);
    while (delay->buckets.size > 0)
        for (size_t i = delay->buckets.capacity; i-- > 0;) {
            struct bucket *bucket = delay->buckets.slots[i].value;
            if (!bucket)
                continue;
            queue_bury_order(keeper, &bucket->order, true);
            bucket_free(bucket);
        }
    delay->delays->count -= delay->count;
    keeper->ready_bytes = 0;
    keeper->leaving.deleted = false;
    queue_delete(&keeper);
    map_free(&delay->buckets);
    mem_free(delay);
}

uint64_t delay_id(const struct delay *delay)
{
    return delay->keeper->id;
}

void delays_init(struct delays *delays)
{
    list_init(&delays->all);
    list_init(&delays->walks);
}

void delays_free(struct delays *delays)
{
    assert(list_empty(&delays->all));
    assert(delays->near_size == 0 && delays->count == 0);
    mem_free(delays->near);
    heap_free(&delays->opening);
}

void delay_push(struct delay *delay, struct message *m, uint64_t due_ms)
{
    m->born_ms = due_ms;
    place(delay, m, NULL);
}

/* --- recovery --- */

/* The bucket of that lane. Two may be of one time, when the acks of what the first had are lost. */
static struct bucket *restore_bucket(struct delay *delay, unsigned lane, uint64_t due_ms)
{
    unsigned level = level_of_lane(lane);
    uint64_t key = key_of(level, due_ms >> level_shift[level]);
    uint64_t other = UINT64_C(1) << 63 | lane;
    delay->restoring = true;
    struct bucket *bucket = delay_find_bucket(delay, key);
    if (bucket && bucket->lane != lane) {
        bucket = delay_find_bucket(delay, other);
        key = other;
    }
    if (!bucket && !lane_is_used(delay, lane))
        bucket = bucket_new(delay, key, lane);
    if (!bucket) /* the lane was another time's before: it opens with that, and is dealt anew */
        map_each(&delay->buckets, i)
            if (((struct bucket *)delay->buckets.slots[i].value)->lane == lane)
                bucket = delay->buckets.slots[i].value;
    assert(bucket && bucket->lane == lane);
    return bucket;
}

/* However the bucket is shared, it is looked at in time for this. */
static void look_in_time(struct bucket *bucket, uint64_t due_ms)
{
    uint64_t opens = opens_ms(bucket->level, due_ms >> level_shift[bucket->level]);
    if (!heap_linked(&bucket->node) || bucket->node.key > opens)
        look_at(bucket, opens);
}

void delay_restore(struct delay *delay, unsigned lane, struct message *m, uint64_t sequence)
{
    struct bucket *bucket = restore_bucket(delay, lane, m->born_ms);
    struct order *order = &bucket->order;
    struct entry entry = {message_ref(m), sequence, .journalled = true};
    count(bucket, m, true);
    if (sequence < order->next_sequence) {
        order_return(order, entry);
    } else {
        order->next_sequence = sequence + 1;
        order_push(order, entry);
    }
    note(bucket);
    look_in_time(bucket, m->born_ms);
}

void delay_restore_page(struct delay *delay, uint32_t slot)
{
    const struct page *page = pages_at(store_pages(delay->home->store), slot);
    struct bucket *bucket = restore_bucket(delay, lane_of_id(page->queue_id), page->times.born_first);
    struct order *order = &bucket->order;
    assert(page->first >= order->next_sequence);
    order_add_page(order, slot, page);
    order->next_sequence = page_last(page) + 1;
    order->bytes += page->body_bytes;
    order->queue->ready_bytes += page->body_bytes;
    look_in_time(bucket, page->times.born_first);
    note(bucket);
}

void delay_restored(struct delay *delay, uint64_t floor)
{
    delay->restoring = false;
    if (delay->first_sequence < floor)
        delay->first_sequence = floor;
    map_each(&delay->buckets, i) {
        struct order *order = &((struct bucket *)delay->buckets.slots[i].value)->order;
        if (order->next_sequence < floor)
            order->next_sequence = floor;
        paging_check(order);
    }
}

static void move_buckets(struct delay *delay, uint64_t limit)
{
    map_each(&delay->buckets, i)
        paging_move_order(delay->keeper, &((struct bucket *)delay->buckets.slots[i].value)->order, limit);
}

void delays_move(struct delays *delays, uint64_t limit)
{
    list_each(node, &delays->all)
        move_buckets(container_of(node, struct delay, link), limit);
    for (size_t i = 0; i < delays->near_size; i++) {
        struct bucket *bucket = delays->near[i].bucket;
        paging_move_entry(bucket->delay->keeper, &bucket->order, &delays->near[i].entry, limit, false);
    }
}

void delay_check(const struct delay *delay)
{
    size_t waiting = 0;
    uint64_t bytes = 0;
    map_each(&delay->buckets, i) {
        const struct bucket *bucket = delay->buckets.slots[i].value;
        assert(bucket->delay == delay && lane_is_used(delay, bucket->lane));
        assert(order_size(&bucket->order) == 0 || heap_linked(&bucket->node));
        waiting += order_size(&bucket->order) + bucket->out;
        bytes += bucket->order.bytes;
    }
    assertf(waiting == delay->count, "%zu of %zu", waiting, delay->count);
    assert(bytes == delay->keeper->ready_bytes);
}
