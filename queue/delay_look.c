/* delay_look.c - listing what waits in calendars, and cancelling it. */
#include "queue/delay_look.h"

#include "queue/bucket.h"
#include "queue/paging.h"

enum { STEP_MAX = 512 };

bool delay_look_begin(struct delay_look *look, struct queue_home *home)
{
    assert(!look->begun && look->picks);
    if (home->delays.look)
        return false;
    home->delays.look = look;
    look->home = home;
    look->begun = true;
    look->number = ++home->delays.looks;
    walk_begin(&home->delays.walks, &look->walk, home);
    look->walk.at[0] = home->delays.all.next;
    return true;
}

void delay_look_end(struct delay_look *look)
{
    if (!look->begun)
        return;
    assert(look->home->delays.look == look);
    look->home->delays.look = NULL;
    walk_end(&look->walk);
    look->begun = false;
    look->done = true;
}

/* --- what is at hand --- */

static bool picks(struct delay_look *look, const struct entry *entry)
{
    const struct message *m = entry->message;
    return m && (!look->due_ms || m->born_ms == look->due_ms) && look->picks(look->arg, look->delay, m);
}

static bool is_at(const struct delay_look *look, const struct bucket *bucket)
{
    return look && look->in_bucket && look->delay == bucket->delay && look->key == bucket->key;
}

/* It came after the list. */
static bool is_new(const struct delay_look *look, const struct bucket *bucket, uint64_t sequence)
{
    return look->lists && bucket->looked == look->number && sequence >= bucket->floor;
}

bool delay_look_picks(struct order *order, const struct message *m, uint64_t sequence)
{
    struct delay_look *look = order->queue->home->delays.look;
    const struct bucket *bucket = container_of(order, struct bucket, order);
    const struct entry entry = {.message = (struct message *)(uintptr_t)m};
    return is_at(look, bucket) && !(look->lists && sequence <= look->sequence) &&
           !is_new(look, bucket, sequence) && picks(look, &entry);
}

void delay_look_saw(struct order *order, uint64_t sequence)
{
    struct delay_look *look = order->queue->home->delays.look;
    if (is_at(look, container_of(order, struct bucket, order)))
        look->sequence = sequence;
}

void delay_look_took(struct order *order, struct entry *entry)
{
    struct bucket *bucket = container_of(order, struct bucket, order);
    bucket->out++;
    delay_add(bucket->delay, 1);
    delay_bucket_drop(bucket, entry);
}

/* What of the bucket is in the heap; true when there may be more, for another step. */
static bool look_at_near(struct delay_look *look, struct bucket *bucket)
{
    struct delays *delays = &look->home->delays;
    for (size_t i = 0, seen = 0; i < delays->near_size; i++) {
        struct delayed *delayed = &delays->near[i];
        if (delayed->bucket != bucket || (look->lists && delayed->looked == look->number) ||
            is_new(look, bucket, delayed->entry.sequence))
            continue;
        if (seen++ == STEP_MAX)
            return true;
        delayed->looked = look->number;
        if (!picks(look, &delayed->entry))
            continue;
        struct entry entry = delay_bucket_take_near(delays, i);
        delay_bucket_drop(bucket, &entry);
        break; /* what is taken out is one, and the heap has changed */
    }
    return false;
}

struct sweep {
    struct delay_look *look;
    struct entry_ring taken;
};

static bool sweep_picks(void *arg, const struct entry *entry)
{
    return picks(((struct sweep *)arg)->look, entry);
}

static void sweep_takes(void *arg, struct entry entry)
{
    entry_ring_push_back(&((struct sweep *)arg)->taken, entry);
}

static void drop_taken(struct bucket *bucket, struct entry entry)
{
    delay_bucket_took(bucket, entry.message);
    delay_bucket_drop(bucket, &entry); /* the bucket stays for this turn */
}

/* What recovery found out of order. */
static void look_at_returned(struct delay_look *look, struct bucket *bucket)
{
    struct sweep sweep = {.look = look};
    const struct order_sweep all = {sweep_picks, sweep_takes, &sweep};
    (void)order_sweep_returned(&bucket->order, &all, 0, SIZE_MAX);
    while (sweep.taken.size > 0)
        drop_taken(bucket, entry_ring_pop_front(&sweep.taken));
    entry_ring_free(&sweep.taken);
}

/* The first in the ring above that sequence. */
static size_t above(const struct entry_ring *ring, uint64_t sequence)
{
    size_t low = 0, high = ring->size;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (entry_ring_at(ring, middle)->sequence <= sequence)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* True when something was there to be seen. */
static bool look_at_ring(struct delay_look *look, struct bucket *bucket, const struct entry_ring *ring)
{
    size_t i = above(ring, look->sequence);
    if (i == ring->size)
        return false;
    for (size_t end = i + STEP_MAX; i < end && i < ring->size; i++) {
        const struct entry *entry = entry_ring_at(ring, i);
        look->sequence = entry->sequence;
        struct entry taken;
        if (is_new(look, bucket, entry->sequence) || !picks(look, entry))
            continue;
        if (order_pluck(&bucket->order, look->sequence, &taken))
            drop_taken(bucket, taken); /* the ring is another now */
        break;
    }
    return true;
}

/* True when there is a page to be seen: it is being read, or was just seen. */
static bool look_at_pages(struct delay_look *look, struct bucket *bucket)
{
    struct order *order = &bucket->order;
    const struct pages *pages = look->home->store ? store_pages(look->home->store) : NULL;
    size_t low = 0, high = order->backlog && pages ? order->backlog->pages.size : 0, size = high;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (page_last(pages_at(pages, *page_slot_ring_at(&order->backlog->pages, middle))) <= look->sequence)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == size)
        return false;
    uint32_t slot = *page_slot_ring_at(&order->backlog->pages, low);
    (void)paging_thin_out(order, slot); /* or another time */
    return true;
}

/* --- from bucket to bucket --- */

/* What is overdue may be in any finest bucket up to that of now: see place() in delay.c. */
static bool may_have(const struct delay_look *look, const struct bucket *bucket)
{
    unsigned shift = delay_bucket_shift(bucket->level);
    uint64_t due = look->due_ms >> shift, now = look->home->now_ms >> shift;
    if (!look->due_ms || bucket->key >> 63)
        return true;
    return bucket->key == ((uint64_t)bucket->level << 56 | due) ||
           (bucket->level == 0 && due <= now && bucket->key <= now);
}

static bool comes_before(const struct bucket *one, unsigned level, uint64_t key)
{
    return one->level != level ? one->level > level : one->key < key;
}

/* The next bucket of the calendar; NULL when there is none. */
static struct bucket *next_bucket(const struct delay_look *look)
{
    struct bucket *next = NULL;
    map_each(&look->delay->buckets, i) {
        struct bucket *bucket = look->delay->buckets.slots[i].value;
        bool seen = look->level < DELAY_LEVELS &&
                    (comes_before(bucket, look->level, look->key) || bucket->key == look->key);
        if (!seen && may_have(look, bucket) && (!next || comes_before(bucket, next->level, next->key)))
            next = bucket;
    }
    return next;
}

static bool enter_calendar(struct delay_look *look)
{
    struct list *node;
    do {
        node = look->walk.at[0];
        if (!node || node == &look->home->delays.all)
            return false;
        look->walk.at[0] = node->next;
        look->delay = container_of(node, struct delay, link);
    } while (look->id && delay_id(look->delay) != look->id);
    look->level = DELAY_LEVELS;
    look->in_bucket = false;
    look->delay->looked = look->number;
    return true;
}

void delay_look_step(struct delay_look *look)
{
    if (!look->delay && !enter_calendar(look)) {
        look->done = true;
        return;
    }
    struct bucket *bucket = look->in_bucket ? delay_find_bucket(look->delay, look->key) : NULL;
    if (!bucket) {
        bucket = next_bucket(look);
        look->in_bucket = bucket != NULL;
        if (!bucket) {
            look->delay = NULL;
            return;
        }
        look->key = bucket->key;
        look->level = bucket->level;
        look->sequence = 0;
        look_at_returned(look, bucket);
        return;
    }
    const struct backlog *backlog = bucket->order.backlog;
    if (!look_at_ring(look, bucket, &bucket->order.fresh) && !look_at_pages(look, bucket) &&
        !(backlog && look_at_ring(look, bucket, &backlog->tail))) {
        look->in_bucket = look_at_near(look, bucket); /* at last: what is read meanwhile goes there */
    }
}

/* --- what changes meanwhile --- */

void delay_look_puts(struct bucket *bucket)
{
    const struct delay_look *look = bucket->delay->delays->look;
    if (!look || bucket->delay->looked != look->number || bucket->looked == look->number)
        return;
    bucket->looked = look->number;
    bucket->floor = bucket->order.next_sequence;
}

/* The bucket's first entry was seen by the list where it is, or shall not be. */
static bool was_seen(const struct delay_look *look, const struct bucket *bucket)
{
    const struct order *order = &bucket->order;
    uint64_t sequence = order_first(order)->sequence;
    if (look->delay != bucket->delay)
        return bucket->delay->looked == look->number;
    if (is_new(look, bucket, sequence))
        return true;
    if (look->level == DELAY_LEVELS)
        return false;
    if (bucket->key != look->key)
        return comes_before(bucket, look->level, look->key);
    bool returned = order->returned_size > 0 && order->returned[0].sequence == sequence;
    return !look->in_bucket || returned || sequence <= look->sequence;
}

void delay_look_moves(struct bucket *bucket)
{
    struct delay_look *look = bucket->delay->delays->look;
    if (look && look->lists && look->delay == bucket->delay && !was_seen(look, bucket))
        picks(look, order_first(&bucket->order));
}

uint32_t delay_look_nears(const struct bucket *bucket)
{
    const struct delay_look *look = bucket->delay->delays->look;
    return look && look->lists && was_seen(look, bucket) ? look->number : 0;
}

void delay_look_leave(struct delay *delay)
{
    struct delay_look *look = delay->delays->look;
    walk_leave(&delay->delays->walks, &delay->link);
    list_remove(&delay->link);
    if (look && look->delay == delay)
        look->delay = NULL;
}
