/* paging.c - long queues go to disk, page by page.
 *
 * What is paged is a run of sequences without a hole, from the front of the tail: so a page is a range. A
 * message leaves memory, and the journal may forget it, as soon as its page is in the open batch: the
 * store writes pages before the journal's next words.
 * Failure modes: a page that cannot be read is named in the log by the store, and its messages are gone
 * from the queue. */
#include "queue/paging.h"

#include <errno.h>

#include "queue/merge.h"

enum {
    HEAD_KEPT = 256,                        /* messages that stay in memory in front of the pages */
    HEAD_KEPT_PRESSED = 4,                  /* so when memory is short */
    RESIDENT_PAGES = 32,                    /* bodies that a queue keeps in memory, in pages */
    RESIDENT_MIN = 16,                      /* a queue with so few in memory is left alone */
    SHORT_MESSAGES = 1024, SHORT_BYTES = 1024 * 1024, /* a drop-head limit up to which nothing is paged */
    READ_AHEAD = 4096,                      /* messages in memory below which the next page is read */
    PENDING_MAX = 24 * 1024 * 1024,         /* bytes on their way to the disk beyond which no more are sent */
    BATCH_MAX = 4 * 1024 * 1024,            /* bytes of pages in a batch when memory is short */
    SQUEEZE_QUEUES = 1024, FETCH_QUEUES = 256, ARRIVE_PAGES = 8, /* a turn */
    FETCH_QUEUES_PRESSED = 8, FETCH_TURNS = 64,
    EXCESS_MAX = 16 * 1024 * 1024,          /* of memory, for what consumers wait for */
    QUEUE_BYTES = 512,                      /* that a long queue takes beside its messages, about */
    SLAB_BYTES = 64 * 1024
};

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

void paging_configure(struct paging *paging, uint32_t resident_max, uint32_t page_bytes, uint64_t memory_max)
{
    assert(resident_max > 0 && page_bytes > 0);
    paging->resident_max = resident_max;
    paging->resident_min = (uint32_t)least(resident_max, RESIDENT_MIN);
    paging->page_bytes = page_bytes;
    paging->resident_bytes = (uint64_t)page_bytes * RESIDENT_PAGES;
    paging->memory_max = memory_max;
}

void paging_init(struct paging *paging)
{
    list_init(&paging->resident);
    list_init(&paging->wanting);
    list_init(&paging->merges);
    paging_configure(paging, PAGING_RESIDENT_MAX, PAGING_PAGE_BYTES, PAGING_MEMORY_MAX);
}

/* Messages of a page: a quarter of what a queue may hold. */
static size_t page_messages_max(const struct paging *paging)
{
    size_t quarter = paging->resident_max / 4;
    return least(quarter ? quarter : 1, PAGE_MESSAGES_MAX);
}

/* --- out --- */

void paging_drop(struct queue_home *home, struct entry *entry)
{
    assert(entry->page == 0);
    if (entry->journalled) {
        assert(entry->message->journal_refs > 0);
        if (--entry->message->journal_refs == 0 && home->store)
            store_release(home->store, entry->message->batch);
    }
    message_unref(home->pool, &entry->message);
}

static struct page_record record_of(const struct entry *entry)
{
    const struct message *m = entry->message;
    uint8_t flags =
        (uint8_t)((m->persistent ? PAGE_PERSISTENT : 0) | (m->has_headers ? PAGE_HAS_HEADERS : 0) |
                  (entry->redelivered ? PAGE_REDELIVERED : 0));
    return (struct page_record){flags, message_exchange(m), message_key(m), message_props(m),
                                message_body(m)};
}

/* How many entries at the front of the tail make the next page, and their size. */
static size_t measure(const struct queue *q, size_t *bytes)
{
    const struct paging *paging = &q->home->paging;
    const struct entry_ring *tail = &q->order.backlog->tail;
    size_t max = least(page_messages_max(paging), tail->size), count = 0;
    uint64_t first = entry_ring_at(tail, 0)->sequence;
    for (*bytes = 0; count < max; count++) {
        const struct entry *entry = entry_ring_at(tail, count);
        struct page_record record = record_of(entry);
        size_t size = page_record_size(&record);
        /* Pages are on disk before the rest of their batch. */
        if (entry->journalled && entry->message->batch == paging->atomic_batch)
            break;
        if (entry->sequence != first + count || (count > 0 && *bytes + size > paging->page_bytes))
            break;
        assert(entry->page == 0);
        *bytes += size;
    }
    return count;
}

/* False when what comes next has to wait for a transaction. */
static bool write_page(struct queue *q)
{
    struct backlog *backlog = q->order.backlog;
    struct pages *pages = store_pages(q->home->store);
    size_t bytes, count = measure(q, &bytes);
    if (count == 0)
        return false;
    uint64_t first = entry_ring_at(&backlog->tail, 0)->sequence;
    struct page_draft draft;
    pages_begin(pages, &draft, bytes);
    for (size_t i = 0; i < count; i++) {
        struct entry entry = entry_ring_pop_front(&backlog->tail);
        struct page_record record = record_of(&entry);
        page_add(&draft, &record);
        backlog->tail_bytes -= entry.message->body_size;
        paging_drop(q->home, &entry);
    }
    uint32_t slot = pages_write(pages, &draft, q->id, first, q->durable);
    order_add_page(&q->order, slot, pages_at(pages, slot));
    if (backlog->tail.size == 0)
        entry_ring_free(&backlog->tail);
    merge_consider(q);
    return true;
}

/* Splits the order behind a few messages, and behind all that lie in pages already. */
static void split(struct queue *q, size_t kept_max)
{
    struct entry_ring *fresh = &q->order.fresh;
    size_t kept = 0;
    for (uint64_t bytes = 0; kept < fresh->size; kept++) {
        const struct entry *entry = entry_ring_at(fresh, kept);
        if (entry->page == 0 && kept > 0 && (kept >= kept_max || bytes > q->home->paging.page_bytes))
            break;
        bytes += entry->message->body_size;
    }
    if (kept < fresh->size)
        order_split(&q->order, kept);
}

/* With a drop-head limit the oldest must be at hand: a short queue stays in memory, and what consumers are
 * about to take is not written, for what they leave of it is dropped. */
static bool sheds(const struct queue *q)
{
    return q->limit.overflow == LIMIT_DROP_HEAD &&
           (q->limit.messages_max <= SHORT_MESSAGES || q->limit.bytes_max <= SHORT_BYTES ||
            list_linked(&q->ready_link));
}

static bool may_write(const struct queue *q)
{
    return q->home->store && !sheds(q) && store_pending_bytes(q->home->store) < PENDING_MAX;
}

/* Writes pages until at most that much is left in the tail. */
static void write_pages(struct queue *q, size_t messages, uint64_t bytes)
{
    const struct backlog *backlog = q->order.backlog;
    while ((backlog->tail.size > messages || backlog->tail_bytes > bytes) && may_write(q) &&
           write_page(q))
        continue;
}

/* It may be squeezed when memory is short. */
static void note_resident(struct queue *q)
{
    struct paging *paging = &q->home->paging;
    if (!list_linked(&q->order.resident) && order_resident(&q->order) > paging->resident_min)
        list_push_back(&paging->resident, &q->order.resident);
}

void paging_check(struct queue *q)
{
    struct order *order = &q->order;
    struct paging *paging = &q->home->paging;
    note_resident(q);
    uint64_t bytes_max = paging->resident_bytes / 4;
    size_t messages_max = paging->resident_max / 2;
    if (!order->backlog) {
        if (order->fresh.size <= paging->resident_max && q->ready_bytes <= paging->resident_bytes)
            return;
        if (may_write(q))
            split(q, least(HEAD_KEPT, page_messages_max(paging)));
        if (!order->backlog)
            return;
    }
    if (order->backlog->tail.size > messages_max || order->backlog->tail_bytes > bytes_max)
        write_pages(q, messages_max / 2, bytes_max / 2);
    order_join(order);
}

static uint64_t memory_used(const struct queue_home *home)
{
    const struct slab_pool *pool = home->pool;
    uint64_t used = pool->slab_bytes - pool->empty_count * SLAB_BYTES + pool->large_bytes;
    return used + home->queue_count * QUEUE_BYTES;
}

static bool memory_is_short(const struct queue_home *home)
{
    return memory_used(home) > home->paging.memory_max;
}

/* Drops a page that was read but nobody can take from now: it is still on disk. */
static void unload(struct queue *q)
{
    struct order *order = &q->order;
    struct entry_ring *fresh = &order->fresh;
    if (fresh->size == 0 || (order->backlog && order->backlog->loading) ||
        q->limit.overflow == LIMIT_DROP_HEAD || list_linked(&q->ready_link))
        return;
    uint32_t slot = entry_ring_at(fresh, fresh->size - 1)->page;
    if (slot == 0)
        return;
    const struct page *page = pages_at(store_pages(q->home->store), slot);
    if (fresh->size < page->count || entry_ring_at(fresh, fresh->size - page->count)->sequence != page->first)
        return; /* some of it was taken */
    for (uint32_t i = 0; i < page->count; i++) {
        struct entry entry = entry_ring_pop_back(fresh);
        assert(entry.page == slot);
        message_unref(q->home->pool, &entry.message);
    }
    order_unload_page(order, slot, page);
}

/* Writes out nearly all that the queue holds. */
static void squeeze(struct queue *q)
{
    unload(q);
    if (!may_write(q))
        return;
    if (!q->order.backlog)
        split(q, HEAD_KEPT_PRESSED);
    if (!q->order.backlog)
        return;
    if (q->order.backlog->tail.size + HEAD_KEPT_PRESSED >= q->home->paging.resident_min ||
        q->order.backlog->tail_bytes > q->home->paging.page_bytes)
        write_pages(q, 0, 0);
    order_join(&q->order);
}

void paging_squeeze(struct queue_home *home)
{
    struct list *resident = &home->paging.resident;
    for (int i = 0; i < SQUEEZE_QUEUES && !list_empty(resident); i++) {
        if (!memory_is_short(home) || pages_open_bytes(store_pages(home->store)) >= BATCH_MAX ||
            store_pending_bytes(home->store) >= PENDING_MAX)
            return;
        struct queue *q = container_of(list_pop_front(resident), struct queue, order.resident);
        if (order_resident(&q->order) <= home->paging.resident_min)
            continue;
        squeeze(q);
        if (order_resident(&q->order) > home->paging.resident_min)
            list_push_back(resident, &q->order.resident);
    }
}

/* --- back --- */

/* True when the next page should be on its way. */
static bool wants(const struct queue *q)
{
    const struct backlog *backlog = q->order.backlog;
    if (!backlog || backlog->loading || backlog->pages.size == 0)
        return false;
    if (backlog->awaited)
        return true;
    bool taken = !list_empty(&q->rotation) || q->limit.overflow == LIMIT_DROP_HEAD;
    return taken && q->order.fresh.size < least(READ_AHEAD, q->home->paging.resident_max / 2 + 1);
}

void paging_want(struct queue *q)
{
    if (!list_linked(&q->order.wanting) && wants(q))
        list_push_back(&q->home->paging.wanting, &q->order.wanting);
}

void paging_await(struct queue *q)
{
    struct backlog *backlog = q->order.backlog;
    assert(backlog);
    backlog->awaited = backlog->pages.size > 0;
    paging_want(q);
}

/* Asks for the queue's next page; false when it has to wait for the disk. */
static bool fetch(struct queue *q)
{
    struct store *store = q->home->store;
    uint32_t slot = *page_slot_ring_at(&q->order.backlog->pages, 0);
    merge_cancel(q, slot);
    if (pages_at(store_pages(store), slot)->batch > store_durable(store) ||
        !pages_load(store_pages(store), slot, q))
        return false;
    q->order.backlog->loading = true;
    return true;
}

/* How many queues may have a page read now. When memory is very short consumers should first take what is
 * there; but those of other queues cannot be kept waiting for that for long. */
static int fetches_max(struct queue_home *home)
{
    uint64_t used = memory_used(home), max = home->paging.memory_max;
    if (used <= max)
        return FETCH_QUEUES;
    bool idle = list_empty(&home->ready) && store_pages(home->store)->loader.under_way == 0;
    if (used - max <= EXCESS_MAX || idle)
        return FETCH_QUEUES_PRESSED;
    return ++home->paging.held_turns % FETCH_TURNS == 0;
}

/* While memory is short nothing is read ahead. */
void paging_fetch(struct queue_home *home)
{
    struct list waiting;
    list_init(&waiting);
    int fetches = fetches_max(home);
    bool pressed = fetches < FETCH_QUEUES;
    for (int i = 0; i < FETCH_QUEUES && fetches > 0 && !list_empty(&home->paging.wanting); i++) {
        struct list *node = list_pop_front(&home->paging.wanting);
        struct queue *q = container_of(node, struct queue, order.wanting);
        bool later = pressed && q->order.fresh.size > 0;
        if (!wants(q) || (later && list_empty(&q->rotation)))
            continue;
        if (later || !fetch(q))
            list_push_back(&waiting, node);
        else
            fetches--;
    }
    list_splice_back(&home->paging.wanting, &waiting);
    merge_begin(home);
}

/* Makes entries of a page's messages; returns the bytes of their bodies. */
static uint64_t unpack(struct queue *q, struct page *page, struct slice bytes)
{
    struct slice rest;
    uint64_t body_bytes = 0, delivered = page->recovered ? page_delivered(page) : 0;
    uint32_t count = page_open(bytes, &rest), live = 0;
    struct page_record record;
    for (uint64_t sequence = page->first; count > 0; count -= record.run, sequence += record.run) {
        page_next(&rest, &record);
        bool persistent = record.flags & PAGE_PERSISTENT;
        if (record.flags & PAGE_GONE || (page->recovered && (!persistent || page_is_acked(page, sequence))))
            continue;
        struct message *m =
            message_new(q->home->pool, record.exchange, record.key, record.props, record.body.len);
        if (record.body.len)
            memcpy(message_body_at(m), record.body.at, record.body.len);
        m->persistent = persistent;
        m->has_headers = record.flags & PAGE_HAS_HEADERS;
        bool redelivered = record.flags & PAGE_REDELIVERED || sequence <= delivered;
        entry_ring_push_back(&q->order.fresh, (struct entry){m, sequence, redelivered,
                                                             persistent && page->stored, page->slot});
        body_bytes += record.body.len;
        live++;
    }
    page->live = live;
    return body_bytes;
}

/* The queue's first page is here, or will never be. */
static void arrive(struct queue *q, struct pages *pages, const struct page_load *load)
{
    struct order *order = &q->order;
    struct backlog *backlog = order->backlog;
    struct page *page = pages_at(pages, load->slot);
    assert(backlog && backlog->loading && *page_slot_ring_at(&backlog->pages, 0) == load->slot);
    page_slot_ring_pop_front(&backlog->pages);
    backlog->loading = backlog->awaited = false;
    backlog->paged -= page->live;
    backlog->page_bytes -= page->body_bytes;
    q->ready_bytes -= page->body_bytes;
    if (!load->failed)
        q->ready_bytes += unpack(q, page, slice_of(load->bytes, load->size));
    if (load->failed && load->failed != -EILSEQ)
        pages_give_up(pages, load->slot);
    else if (load->failed || page->live == 0)
        pages_drop(pages, load->slot);
    if (backlog->pages.size > 0)
        backlog->first = pages_at(pages, *page_slot_ring_at(&backlog->pages, 0))->first;
    order_join(order);
    note_resident(q);
    queue_refresh(q);
}

void paging_arrive(struct queue_home *home)
{
    struct pages *pages = store_pages(home->store);
    struct page_load *load;
    int count = 0;
    while (count < ARRIVE_PAGES && (load = pages_loaded(pages))) {
        count++;
        if (merge_takes(load->owner, load))
            continue;
        arrive(load->owner, pages, load);
        page_load_free(&load);
    }
}

/* --- within the journal --- */

/* A deleted queue's message needs no journal. */
static void release(struct queue *q, struct entry *entry)
{
    entry->journalled = false;
    if (--entry->message->journal_refs == 0)
        store_release(q->home->store, entry->message->batch);
}

void paging_move(struct queue *q, struct entry *entry, uint64_t limit, bool seen)
{
    struct message *m = entry->message;
    struct store *store = q->home->store;
    uint64_t open = store_open_batch(store), batch = m->batch;
    if (!entry->journalled || entry->page || (batch > limit && !(m->moved && batch == open)))
        return;
    assert(batch > 0 && limit < open);
    if (q->deleted) {
        release(q, entry);
        return;
    }
    struct stored_target target = {q->id, entry->sequence};
    m->batch = store_move(store, &(struct stored_message){&target, 1, message_exchange(m), message_key(m),
                                                          message_props(m), message_body(m)});
    m->moved = true;
    store_release(store, batch); /* the old record, or one more of the same message in this batch */
    if (seen)
        store_delivered(store, &q->run, q->id, entry->sequence);
}

/* Entries of a ring are in the order in which they were published, but for those that were moved. */
static void move_ring(struct queue *q, struct entry_ring *ring, uint64_t limit)
{
    for (size_t i = 0; i < ring->size; i++) {
        struct entry *entry = entry_ring_at(ring, i);
        if (entry->journalled && !entry->page && entry->message->batch > limit && !entry->message->moved)
            return;
        paging_move(q, entry, limit, entry->redelivered);
    }
}

void paging_move_ready(struct queue *q, uint64_t limit)
{
    struct order *order = &q->order;
    move_ring(q, &order->fresh, limit);
    if (order->backlog)
        move_ring(q, &order->backlog->tail, limit);
    for (size_t i = 0; i < order->returned_size; i++)
        paging_move(q, &order->returned[i], limit, order->returned[i].redelivered);
}

/* --- away --- */

void paging_leave(struct queue *q)
{
    struct backlog *backlog = q->order.backlog;
    list_unlink(&q->order.resident);
    list_unlink(&q->order.wanting);
    if (backlog)
        merge_cancel(q, 0);
    if (!backlog || !backlog->loading)
        return;
    backlog->loading = false;
    if (q->home->store)
        pages_forget_load(store_pages(q->home->store), *page_slot_ring_at(&backlog->pages, 0));
}

size_t paging_bury(struct queue_home *home, struct order *order, uint64_t queue_id, size_t budget)
{
    struct backlog *backlog = order->backlog;
    struct pages *pages = home->store ? store_pages(home->store) : NULL;
    for (; budget > 0 && backlog->pages.size > 0; budget--) {
        uint32_t slot = page_slot_ring_pop_front(&backlog->pages);
        if (!pages)
            continue;
        const struct page *page = pages_at(pages, slot);
        backlog->paged -= page->live;
        if (queue_id && page->stored)
            store_ack_range(home->store, queue_id, page->first, page->count);
        pages_drop(pages, slot);
    }
    if (backlog->pages.size == 0) {
        backlog->paged = 0;
        order_join(order);
    }
    return budget;
}
