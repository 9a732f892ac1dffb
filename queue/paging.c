/* paging.c - long queues go to disk, page by page.
 *
 * What is paged is a run of sequences without a hole, from the front of the tail: so a page is a range. A
 * message leaves memory, and the journal is told that it may forget it, as soon as its page is in the open
 * batch: the store forgets nothing before that batch is on disk.
 * Failure modes: a page that cannot be read is named in the log by the store, and its messages are gone
 * from the queue. */
#include "queue/paging.h"

#include <errno.h>

#include "queue/delay.h"
#include "queue/delay_look.h"
#include "queue/lane.h"
#include "queue/merge.h"
#include "queue/reading.h"

enum {
    HEAD_KEPT = 256,                        /* messages that stay in memory in front of the pages */
    HEAD_KEPT_PRESSED = 4,                  /* so when memory is short */
    RESIDENT_PAGES = 32,                    /* bodies that a queue keeps in memory, in pages */
    RESIDENT_MIN = 16,                      /* a queue with so few in memory is left alone */
    SHORT_MESSAGES = 1024, SHORT_BYTES = 1024 * 1024, /* a drop-head limit up to which nothing is paged */
    READ_AHEAD = 4096,                      /* messages in memory below which the next page is read */
    PENDING_MAX = 14 * 1024 * 1024,         /* bytes on their way to the disk beyond which no more are sent */
    BATCH_MAX = 2 * 1024 * 1024,            /* bytes of pages in a batch when memory is short */
    SQUEEZE_CALENDARS = 64, SMALL_SHARE = 8, SOON_MS = 2000,
    SQUEEZE_QUEUES = 1024, FETCH_QUEUES = 256, ARRIVE_PAGES = 8, ARRIVE_PARTS = 4096, /* a turn */
    FETCH_QUEUES_PRESSED = 8, FETCH_TURNS = 64,
    EXCESS_MAX = 16 * 1024 * 1024,          /* of memory, for what consumers wait for */
    QUEUE_BYTES = 512,                      /* that a long queue takes beside its messages, about */
    CALENDAR_EIGHTHS = 2,                   /* of that memory, beyond which calendars go to disk */
    BUSY_BYTES = 4 * 1024 * 1024            /* on their way to the disk that are not taken off that */
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
    list_init(&paging->calendars);
    list_init(&paging->wanting);
    list_init(&paging->merges);
    paging->batch_max = SIZE_MAX;
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

static struct page_record record_of(const struct queue *q, const struct entry *entry)
{
    const struct message *m = entry->message;
    if (!m)
        return (struct page_record){.flags = PAGE_GONE | PAGE_PERSISTENT, .run = 1};
    bool kept = m->persistent || entry->journalled;
    uint8_t flags =
        (uint8_t)((kept ? PAGE_PERSISTENT : 0) | (m->has_headers ? PAGE_HAS_HEADERS : 0) |
                  (entry->redelivered ? PAGE_REDELIVERED : 0) | (m->dead_letter ? PAGE_DEAD_LETTER : 0) |
                  (m->retried ? PAGE_RETRIED : 0) | (lane_records_birth(q, m) ? PAGE_HAS_BORN : 0));
    return (struct page_record){flags,           message_exchange(m), message_key(m),
                                message_props(m), message_body(m),     m->born_ms, 1};
}

/* How many entries at the front of the tail make the next page, and their size. */
static size_t measure(const struct order *order, size_t *bytes)
{
    const struct paging *paging = &order->queue->home->paging;
    const struct entry_ring *tail = &order->backlog->tail;
    size_t max = least(page_messages_max(paging), tail->size), count = 0;
    uint64_t first = entry_ring_at(tail, 0)->sequence;
    for (*bytes = 0; count < max; count++) {
        const struct entry *entry = entry_ring_at(tail, count);
        struct page_record record = record_of(order->queue, entry);
        size_t size = page_record_size(&record);
        if (entry->sequence != first + count || (count > 0 && *bytes + size > paging->page_bytes))
            break;
        assert(entry->page == 0);
        *bytes += size;
    }
    return count;
}

static void note_times(struct page_times *times, const struct message *m, uint64_t own)
{
    page_times_add(times, &(struct page_times){m->born_ms, m->born_ms, own});
}

/* What the record just written says of the message's own deadline goes to the agenda. */
static uint64_t note_deadline(struct order *order, const struct page_draft *draft, const struct entry *entry,
                              const struct page_record *record)
{
    uint64_t own = order->queue->kind.keeper ? UINT64_MAX : expiry_own_deadline(entry->message);
    if (own == UINT64_MAX)
        return own;
    size_t size = page_record_size(record);
    struct note place = agenda_place(draft->bytes, draft->used - size, size, record);
    agenda_add(order, own, entry->sequence, &place);
    return own;
}

static void write_page(struct order *order)
{
    struct queue *q = order->queue;
    struct backlog *backlog = order->backlog;
    struct pages *pages = store_pages(q->home->store);
    size_t bytes, count = measure(order, &bytes);
    assert(count > 0);
    uint64_t first = entry_ring_at(&backlog->tail, 0)->sequence;
    struct page_draft draft;
    struct page_times times = {.own_first = UINT64_MAX};
    pages_begin(pages, &draft, bytes);
    for (size_t i = 0; i < count; i++) {
        struct entry entry = entry_ring_pop_front(&backlog->tail);
        struct page_record record = record_of(q, &entry);
        page_add(&draft, &record);
        if (!entry.message) {
            backlog->holes--;
            continue;
        }
        note_times(&times, entry.message, note_deadline(order, &draft, &entry, &record));
        backlog->tail_bytes -= entry.message->body_size;
        paging_drop(q->home, &entry);
    }
    uint32_t slot = pages_write(pages, &draft, order->id, first, q->durable, &times);
    struct page *page = pages_at(pages, slot);
    order_add_page(order, slot, page);
    page->noted = true;
    page->plain = page->persistent == 0 || page->persistent == page->count;
    if (!q->kind.keeper)
        agenda_end_page(q->home);
    if (backlog->tail.size == 0)
        entry_ring_free(&backlog->tail);
    merge_consider(order);
}

/* Splits the order behind a few messages, and behind all that lie in pages already. */
static void split(struct order *order, size_t kept_max)
{
    struct entry_ring *fresh = &order->fresh;
    uint32_t page_bytes = order->queue->home->paging.page_bytes;
    size_t kept = 0;
    for (uint64_t bytes = 0; kept < fresh->size; kept++) {
        const struct entry *entry = entry_ring_at(fresh, kept);
        if (entry->page == 0 && kept > 0 && (kept >= kept_max || bytes > page_bytes))
            break;
        bytes += entry->message->body_size;
    }
    if (kept < fresh->size)
        order_split(order, kept);
}

/* With a drop-head limit the oldest must be at hand: a short queue stays in memory, and what consumers are
 * about to take is not written, for what they leave of it is dropped. */
static bool sheds(const struct queue *q)
{
    return q->settings.limit.overflow == LIMIT_DROP_HEAD &&
           (q->settings.limit.messages_max <= SHORT_MESSAGES || q->settings.limit.bytes_max <= SHORT_BYTES ||
            list_linked(&q->ready_link));
}

static bool may_write(const struct queue *q)
{
    return q->home->store && !sheds(q) && store_pending_bytes(q->home->store) < PENDING_MAX;
}

/* Writes pages until at most that much is left in the tail. */
static void write_pages(struct order *order, size_t messages, uint64_t bytes)
{
    const struct backlog *backlog = order->backlog;
    const struct queue_home *home = order->queue->home;
    for (;;) {
        order_trim_tail(order); /* a page begins with a message */
        if ((backlog->tail.size <= messages && backlog->tail_bytes <= bytes) || !may_write(order->queue))
            break;
        if (pages_open_bytes(store_pages(home->store)) >= home->paging.batch_max)
            break; /* what is over its measure goes with the next batches */
        write_page(order);
    }
}

/* It may be squeezed when memory is short. */
static void note_resident(struct order *order)
{
    struct paging *paging = &order->queue->home->paging;
    struct list *resident = order->queue->kind.keeper ? &paging->calendars : &paging->resident;
    if (!list_linked(&order->resident) && order_resident(order) > paging->resident_min)
        list_push_back(resident, &order->resident);
}

void paging_check(struct order *order)
{
    struct queue *q = order->queue;
    struct paging *paging = &q->home->paging;
    note_resident(order);
    uint64_t bytes_max = paging->resident_bytes / 4;
    size_t messages_max = paging->resident_max / 2;
    if (!order->backlog) {
        if (order->fresh.size <= paging->resident_max && order->bytes <= paging->resident_bytes)
            return;
        if (may_write(q))
            split(order, least(HEAD_KEPT, page_messages_max(paging)));
        if (!order->backlog)
            return;
    }
    if (order->backlog->tail.size > messages_max || order->backlog->tail_bytes > bytes_max)
        write_pages(order, messages_max / 2, bytes_max / 2);
    order_join(order);
}

static uint64_t memory_used(const struct queue_home *home)
{
    const struct slab_pool *pool = home->pool;
    uint64_t used = pool->slab_bytes - pool->empty_count * SLAB_SIZE + pool->large_bytes;
    uint64_t loading = home->store ? store_pages(home->store)->loader.bytes : 0;
    return used + loading + home->queue_count * QUEUE_BYTES;
}

/* Drops a page that was read but nobody can take from now: it is still on disk. */
static void unload(struct order *order)
{
    struct queue *q = order->queue;
    struct entry_ring *fresh = &order->fresh;
    if (fresh->size == 0 || (order->backlog && order->backlog->loading) ||
        q->settings.limit.overflow == LIMIT_DROP_HEAD || list_linked(&q->ready_link))
        return;
    uint32_t slot = entry_ring_at(fresh, fresh->size - 1)->page;
    if (slot == 0)
        return;
    const struct page *page = pages_at(store_pages(q->home->store), slot);
    if (page->live < page->count || (order->backlog && order->backlog->holes > 0))
        return;
    if (fresh->size < page->count || entry_ring_at(fresh, fresh->size - page->count)->sequence != page->first)
        return; /* some of it was taken */
    for (uint32_t i = 0; i < page->count; i++) {
        struct entry entry = entry_ring_pop_back(fresh);
        assert(entry.page == slot);
        message_unref(q->home->pool, &entry.message);
    }
    order_unload_page(order, slot, page);
    if (page->times.own_first < UINT64_MAX && !page->noted)
        expiry_note_page(order, page->first, page->times.own_first);
    if (q->kind.ordering != KIND_FIFO)
        lane_note(q, order); /* it may have nothing at hand now */
}

/* Writes out nearly all that the order holds. */
static void squeeze(struct order *order)
{
    const struct paging *paging = &order->queue->home->paging;
    unload(order);
    if (!may_write(order->queue))
        return;
    if (!order->backlog)
        split(order, HEAD_KEPT_PRESSED);
    if (!order->backlog)
        return;
    if (order->backlog->tail.size + HEAD_KEPT_PRESSED >= paging->resident_min ||
        order->backlog->tail_bytes > paging->page_bytes)
        write_pages(order, 0, 0);
    order_join(order);
}

/* A bucket of a calendar is open, or has so little that its page would be a small one. */
static bool is_spared(const struct order *order)
{
    const struct paging *paging = &order->queue->home->paging;
    uint64_t bytes = order->backlog ? order->backlog->tail_bytes : order->bytes;
    return order->queue->kind.keeper &&
           (delay_is_open(order) ||
            ((bytes < paging->page_bytes / SMALL_SHARE || delay_opens_within(order, SOON_MS)) &&
             memory_used(order->queue->home) <= paging->memory_max));
}

/* Squeezes orders of the list until so little memory is used. */
static void squeeze_list(struct queue_home *home, struct list *resident, uint64_t memory_max, int count)
{
    for (int i = 0; i < count && !list_empty(resident); i++) {
        if (memory_used(home) <= memory_max || pages_open_bytes(store_pages(home->store)) >= BATCH_MAX ||
            store_pending_bytes(home->store) >= PENDING_MAX)
            return;
        struct order *order = container_of(list_pop_front(resident), struct order, resident);
        if (order_resident(order) <= home->paging.resident_min)
            continue;
        if (!is_spared(order))
            squeeze(order);
        if (order_resident(order) > home->paging.resident_min)
            list_push_back(resident, &order->resident);
    }
}

/* What calendars may have in memory: a quarter of it when the disk is slow, and much is on its way there. */
static uint64_t calendars_max(const struct queue_home *home)
{
    uint64_t max = home->paging.memory_max / 8 * CALENDAR_EIGHTHS;
    size_t pending = store_pending_bytes(home->store);
    uint64_t excess = pending > BUSY_BYTES ? pending - BUSY_BYTES : 0;
    return max - (excess < max / 4 * 3 ? excess : max / 4 * 3);
}

/* What waits in a calendar is not needed soon: it goes to disk before anything else has to. */
void paging_squeeze(struct queue_home *home)
{
    struct paging *paging = &home->paging;
    if (!list_empty(&paging->calendars))
        squeeze_list(home, &paging->calendars, calendars_max(home), SQUEEZE_CALENDARS);
    squeeze_list(home, &paging->resident, paging->memory_max, SQUEEZE_QUEUES);
}

/* --- back --- */

/* True when the next page should be on its way. */
static bool wants(const struct order *order)
{
    const struct backlog *backlog = order->backlog;
    const struct queue *q = order->queue;
    if (!backlog || backlog->loading || backlog->pages.size == 0)
        return false;
    if (backlog->awaited)
        return true;
    bool taken = rotation_any(&q->consumers.rotation) || q->settings.limit.overflow == LIMIT_DROP_HEAD;
    return taken && order->fresh.size < least(READ_AHEAD, q->home->paging.resident_max / 2 + 1);
}

void paging_want(struct order *order)
{
    if (!list_linked(&order->wanting) && wants(order))
        list_push_back(&order->queue->home->paging.wanting, &order->wanting);
}

void paging_await(struct order *order)
{
    struct backlog *backlog = order->backlog;
    assert(backlog);
    backlog->awaited = backlog->pages.size > 0;
    paging_want(order);
}

/* Asks for a page of the order; false when it has to wait for the disk. */
static bool load(struct order *order, uint32_t slot)
{
    struct store *store = order->queue->home->store;
    const struct page *page = pages_at(store_pages(store), slot);
    merge_cancel(order, slot);
    if (page->load)
        return page->load->owner == order;
    return page->batch <= store_durable(store) && pages_load(store_pages(store), slot, order);
}

/* Asks for the order's next page. */
static bool fetch(struct order *order)
{
    if (!load(order, *page_slot_ring_at(&order->backlog->pages, 0)))
        return false;
    order->backlog->loading = true;
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
        struct order *order = container_of(node, struct order, wanting);
        bool later = pressed && order->fresh.size > 0;
        if (!wants(order) || (later && !rotation_any(&order->queue->consumers.rotation)))
            continue;
        if (later || !fetch(order))
            list_push_back(&waiting, node);
        else
            fetches--;
    }
    list_splice_back(&home->paging.wanting, &waiting);
    merge_begin(home);
}

/* Makes entries of a page's messages; returns the bytes of their bodies. */
static uint64_t unpack(struct order *order, struct page *page, const struct page_load *load)
{
    struct queue *q = order->queue;
    struct reading reading = reading_of(page, load);
    struct page_record record;
    struct entry entry;
    uint64_t body_bytes = 0;
    uint32_t live = 0;
    while (reading_next(&reading, &record, &entry)) {
        entry.message = reading_message(q, page, &record);
        entry_ring_push_back(&order->fresh, entry);
        if (queue_keeps_birth(q, entry.message))
            expiry_note(order, &entry);
        body_bytes += record.body.len;
        live++;
    }
    page->live = live + page->taken;
    return body_bytes;
}

/* The page is not the backlog's any more. */
static void uncount(struct order *order, const struct page *page)
{
    struct backlog *backlog = order->backlog;
    assertf(page->live >= page->taken, "%u live, %u taken", page->live, page->taken);
    backlog->paged -= page->live - page->taken;
    backlog->page_bytes -= page->body_bytes;
    order->bytes -= page->body_bytes;
    order->queue->ready_bytes -= page->body_bytes;
}

/* The order's first page is here, or will never be. */
static void arrive(struct order *order, struct pages *pages, const struct page_load *load)
{
    struct queue *q = order->queue;
    struct backlog *backlog = order->backlog;
    struct page *page = pages_at(pages, load->slot);
    assert(backlog && backlog->loading && *page_slot_ring_at(&backlog->pages, 0) == load->slot);
    page_slot_ring_pop_front(&backlog->pages);
    backlog->loading = backlog->awaited = false;
    uncount(order, page);
    uint64_t unpacked = load->failed ? 0 : unpack(order, page, load);
    order->bytes += unpacked;
    q->ready_bytes += unpacked;
    if (load->failed && load->failed != -EILSEQ)
        pages_give_up(pages, load->slot);
    else if (page->taken > 0) /* what waits to be acked keeps it */
        page->live = load->failed ? page->taken : page->live;
    else if (load->failed)
        pages_drop(pages, load->slot);
    else if (page->live == 0)
        pages_end(pages, load->slot);
    if (backlog->pages.size > 0)
        backlog->first = pages_at(pages, *page_slot_ring_at(&backlog->pages, 0))->first;
    order_join(order);
    note_resident(order);
    queue_order_changed(q, order);
}

/* A page of the backlog that has nothing left, or cannot be read, wherever it is in the row. */
static void remove_page(struct order *order, const struct page *page)
{
    struct page_slot_ring *ring = &order->backlog->pages;
    struct pages *pages = store_pages(order->queue->home->store);
    size_t at = order_find_page(order, pages, page->first);
    assert(at < ring->size && *page_slot_ring_at(ring, at) == page->slot);
    merge_cancel(order, ring->size > 1 ? page->slot : 0);
    uncount(order, page);
    for (; at > 0; at--)
        *page_slot_ring_at(ring, at) = *page_slot_ring_at(ring, at - 1);
    page_slot_ring_pop_front(ring);
    if (ring->size > 0)
        order->backlog->first = pages_at(pages, *page_slot_ring_at(ring, 0))->first;
}

/* A look at a calendar wants the message, which is made then. */
static bool is_looked_for(struct order *order, const struct page *page, const struct page_record *record,
                          struct entry *entry)
{
    struct queue *q = order->queue;
    struct message *m = reading_message(q, page, record);
    if (delay_look_picks(order, m, entry->sequence))
        entry->message = m;
    else
        message_unref(q->home->pool, &m);
    return entry->message != NULL;
}

/* Takes what is due, or wanted by a look at a calendar, out of a page that stays on disk; returns how many
 * are left in it. */
static uint32_t pick_due(struct order *order, struct page *page, const struct page_load *load,
                         struct entry_ring *due)
{
    struct queue *q = order->queue;
    struct reading reading = reading_of(page, load);
    struct page_record record;
    struct entry entry;
    uint32_t left = 0;
    while (reading_next(&reading, &record, &entry)) {
        uint64_t born = reading_born(q, page, &record);
        uint64_t own = q->kind.keeper ? UINT64_MAX : expiry_deadline_of(record.props, born);
        if (q->kind.keeper ? is_looked_for(order, page, &record, &entry) : expiry_is_due(q, own, born)) {
            entry.message = entry.message ? entry.message : reading_message(q, page, &record);
            entry_ring_push_back(due, entry);
            continue;
        }
        /* The times of the page stay: what goes now may be back after a crash. */
        if (own < UINT64_MAX && !page->noted) {
            size_t size = page_record_size(&record), offset = (size_t)(reading.record - load->bytes);
            struct note place = agenda_place(load->bytes, offset, size, &record);
            agenda_add(order, own, entry.sequence, &place);
        }
        if (entry.journalled)
            pages_stays(store_pages(q->home->store), page->slot, entry.sequence);
        left++;
    }
    return left;
}

/* A message leaves the queue while it is on disk. */
static void take_out(struct order *order, struct page *page, uint64_t sequence, uint32_t body_bytes)
{
    struct queue *q = order->queue;
    struct backlog *backlog = order->backlog;
    assertf(body_bytes <= page->body_bytes, "%u of %u bytes", body_bytes, page->body_bytes);
    pages_take(store_pages(q->home->store), page->slot, sequence);
    lane_lost(q, order);
    backlog->paged--;
    backlog->page_bytes -= body_bytes;
    order->bytes -= body_bytes;
    q->ready_bytes -= body_bytes;
    page->body_bytes -= body_bytes;
}

void paging_take_out(struct order *order, uint32_t slot, uint64_t sequence, uint32_t body_bytes)
{
    struct page *page = pages_at(store_pages(order->queue->home->store), slot);
    take_out(order, page, sequence, body_bytes);
    if (page->live > page->taken)
        return;
    remove_page(order, page);
    order_join(order);
}

void paging_expire_part(struct order *order, const struct page *page, const struct page_load *load)
{
    struct queue *q = order->queue;
    struct page_record record;
    struct slice rest = slice_of(load->bytes, load->size);
    page_next(&rest, &record);
    assert(rest.len == 0);
    uint64_t delivered = page->recovered ? page_delivered(page) : 0;
    struct entry entry = reading_entry(page, &record, load->sequence, delivered);
    entry.message = reading_message(q, page, &record);
    outcome_put(q, &entry, OUTCOME_EXPIRED);
}

/* A page that was read only because something in it is due. */
static void thin_out(struct order *order, struct pages *pages, const struct page_load *load)
{
    struct queue *q = order->queue;
    struct page *page = pages_at(pages, load->slot);
    struct entry_ring due = {0};
    uint64_t last = page_last(page);
    uint32_t left = load->failed ? 0 : pick_due(order, page, load, &due);
    if (!page->noted && !load->failed && !q->kind.keeper) {
        page->noted = true;
        page->plain = !page->strayed;
        agenda_end_page(q->home);
    }
    for (size_t i = 0; i < due.size; i++) {
        const struct entry *entry = entry_ring_at(&due, i);
        take_out(order, page, entry->sequence, entry->message->body_size);
    }
    if (left == 0)
        remove_page(order, page);
    if (load->failed && load->failed != -EILSEQ)
        pages_give_up(pages, load->slot);
    else if (left == 0 && page->taken == 0)
        pages_end(pages, load->slot);
    else if (left == 0)
        page->live = page->taken;
    for (size_t i = 0; i < due.size; i++) /* the last one may end the page */
        if (q->kind.keeper)
            delay_look_took(order, entry_ring_at(&due, i));
        else
            outcome_put(q, entry_ring_at(&due, i), OUTCOME_EXPIRED);
    if (q->kind.keeper)
        delay_look_saw(order, last);
    else
        q->counters.expired += due.size;
    entry_ring_free(&due);
    if (order->backlog)
        order_join(order);
    queue_order_changed(q, order);
}

bool paging_thin_out(struct order *order, uint32_t slot)
{
    uint32_t *place = expiry_find_page(&order->expiry, 0);
    if (expiry_find_page(&order->expiry, slot))
        return true;
    if (!place || !load(order, slot))
        return false;
    *place = slot;
    return true;
}

/* All that is in the page is done with; it was not read. */
static void forget_page(struct order *order, struct page *page)
{
    struct store *store = order->queue->home->store;
    remove_page(order, page);
    if (page->stored)
        store_ack_range(store, order->id, page->first, page->count);
    pages_drop(store_pages(store), page->slot);
    order_join(order);
}

bool paging_expire_first(struct order *order)
{
    struct queue *q = order->queue;
    struct backlog *backlog = order->backlog;
    struct pages *pages = store_pages(q->home->store);
    uint32_t slot = *page_slot_ring_at(&backlog->pages, 0);
    struct page *page = pages_at(pages, slot);
    if (q->settings.dead_letters || page->times.born_last == 0 || page->taken > 0 || page->load ||
        page->times.born_last + q->settings.ttl_ms >= q->home->now_ms)
        return false;
    assert(!backlog->loading);
    q->counters.expired += page->live;
    forget_page(order, page);
    return true;
}

bool paging_shed_first(struct order *order)
{
    struct queue *q = order->queue;
    const struct limit *limit = &q->settings.limit;
    const struct backlog *backlog = order->backlog;
    if (q->settings.dead_letters || backlog->pages.size == 0)
        return false;
    struct page *page = pages_at(store_pages(q->home->store), *page_slot_ring_at(&backlog->pages, 0));
    if (page->taken > 0 || page->load || queue_ready(q) < page->live || q->ready_bytes < page->body_bytes ||
        !(queue_ready(q) - page->live >= limit->messages_max ||
          q->ready_bytes - page->body_bytes > limit->bytes_max))
        return false;
    assert(!backlog->loading);
    forget_page(order, page);
    return true;
}

void paging_arrive(struct queue_home *home)
{
    struct pages *pages = store_pages(home->store);
    struct page_load *load;
    int count = 0, parts = 0;
    while (count < ARRIVE_PAGES && (load = pages_loaded(pages))) {
        count++;
        if (load->part) {
            agenda_arrive(home, load);
            page_load_free(&load);
            count -= parts++ < ARRIVE_PARTS;
            continue;
        }
        struct order *order = load->owner;
        const struct backlog *backlog = order->backlog;
        assert(backlog);
        if (merge_takes(order, load))
            continue;
        uint32_t *place = expiry_find_page(&order->expiry, load->slot);
        if (place) {
            *place = 0;
            expiry_page_came(order);
        }
        if (backlog->loading && *page_slot_ring_at(&backlog->pages, 0) == load->slot)
            arrive(order, pages, load);
        else
            thin_out(order, pages, load);
        page_load_free(&load);
    }
}

/* --- away --- */

static void forget_load(struct queue *q, uint32_t slot)
{
    if (pages_at(store_pages(q->home->store), slot)->load)
        pages_forget_load(store_pages(q->home->store), slot);
}

void paging_leave(struct order *order)
{
    struct backlog *backlog = order->backlog;
    struct queue *q = order->queue;
    list_unlink(&order->resident);
    list_unlink(&order->wanting);
    if (backlog)
        merge_cancel(order, 0);
    for (size_t i = 0; i < EXPIRY_PAGES; i++) {
        if (order->expiry.pages[i] && q->home->store)
            forget_load(q, order->expiry.pages[i]);
        order->expiry.pages[i] = 0;
    }
    if (!backlog || !backlog->loading)
        return;
    backlog->loading = false;
    if (q->home->store)
        forget_load(q, *page_slot_ring_at(&backlog->pages, 0));
}

/* Acks what is left in a page of which something was taken out: that keeps the page. The ack of a message
 * that is not persistent would count as another's. Those of the others must be told: the row may go with
 * what was taken out while the journal still holds them. */
static void bury_thinned(struct queue_home *home, const struct page *page, uint64_t queue_id)
{
    uint64_t last = page_last(page);
    bool told = queue_id && page->stored;
    for (uint64_t sequence = page->first; told && sequence <= last; sequence++)
        if (page_is_rest(page, sequence))
            store_ack_range(home->store, queue_id, sequence, 1);
    pages_ack_rest(store_pages(home->store), page->slot, told);
}

size_t paging_bury(struct queue_home *home, struct order *order, bool forget, size_t budget)
{
    struct backlog *backlog = order->backlog;
    struct pages *pages = home->store ? store_pages(home->store) : NULL;
    for (; budget > 0 && backlog->pages.size > 0; budget--) {
        uint32_t slot = page_slot_ring_pop_front(&backlog->pages);
        if (!pages)
            continue;
        const struct page *page = pages_at(pages, slot);
        backlog->paged -= page->live - page->taken;
        if (page->taken > 0) {
            bury_thinned(home, page, forget ? 0 : order->id);
            continue;
        }
        if (!forget && page->stored)
            store_ack_range(home->store, order->id, page->first, page->count);
        pages_drop(pages, slot);
    }
    if (backlog->pages.size == 0) {
        backlog->paged = 0;
        order_join(order);
    }
    return budget;
}
