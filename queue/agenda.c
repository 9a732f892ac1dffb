/* agenda.c - notes of when messages on disk expire.
 *
 * Owner: the home. Invariants: a page with `noted` has a note of each message in it that has a deadline of
 * its own; a message whose record is being read is `taken` out of its page, counts nowhere any more, and is
 * acked when its dead letter is published.
 * Failure modes: a record that cannot be read leaves the queue and stays on disk for the next start; a page
 * that was written anew since is read as a whole (paging_thin_out). */
#include "queue/agenda.h"

#include <errno.h>

#include "queue/lane.h"
#include "queue/merge.h"
#include "queue/paging.h"
#include "queue/runs_merge.h"

enum {
    LEAD_MS = 300,          /* before its time a note is brought to the heap, or earlier ... */
    LEAD_FAR_MS = 4000,     /* ... by so much, while the heap has few */
    STEP_MS = 64,           /* what is brought within that time comes together */
    SOON_FEW = 16384,       /* notes in the heap beyond which no more are brought early ... */
    SOON_MAX = 65536,       /* ... or at all */
    NOTES_TURN = 16384,     /* brought in a turn */
    WAIT_MS = 5,            /* until a note is looked at again that waits for the disk */
    HELD_UP_MS = 500,       /* the same, for dead letters that nobody takes */
    READ_BYTES_MAX = 2 * 1024 * 1024, READS_MAX = 4096, /* under way */
    OUTCOMES_MAX = 8192     /* dead letters that wait beyond which nothing is read */
};

void agenda_init(struct agenda *agenda)
{
    *agenda = (struct agenda){0};
    runs_init(&agenda->runs);
    map_init(&agenda->orders, 0);
}

void agenda_free(struct queue_home *home)
{
    struct agenda *agenda = &home->agenda;
    assert(agenda->orders.size == 0);
    map_free(&agenda->orders);
    runs_free(&agenda->runs);
    notes_free(&agenda->soon);
}

struct note agenda_place(const uint8_t *page, size_t offset, size_t size, const struct page_record *record)
{
    return (struct note){.offset = (uint32_t)offset,
                         .size = (uint32_t)size,
                         .check = page_part_check(slice_of(page + offset, size)),
                         .body_bytes = (uint32_t)record->body.len,
                         .persistent = (record->flags & PAGE_PERSISTENT) != 0};
}

static uint32_t serial_of(struct order *order)
{
    struct agenda *agenda = &order->queue->home->agenda;
    struct expiry *expiry = &order->expiry;
    if (expiry->serial == 0) {
        expiry->serial = ++agenda->next_serial;
        assertf(expiry->serial > 0, "all numbers of orders are used");
        map_put(&agenda->orders, slice_of(&expiry->serial, sizeof(expiry->serial)), order);
    }
    return expiry->serial;
}

/* One that was taken out is done with. */
static void settle(struct order *order, uint64_t sequence)
{
    const struct entry entry = {.sequence = sequence, .lane = (uint16_t)lane_of_id(order->id)};
    lane_settled(order->queue, &entry, false, true);
}

void agenda_leave(struct order *order)
{
    struct expiry *expiry = &order->expiry;
    for (; expiry->reading > 0; expiry->reading--)
        settle(order, 1); /* nobody finds the order when they have been read */
    if (expiry->serial)
        map_remove(&order->queue->home->agenda.orders, slice_of(&expiry->serial, sizeof(expiry->serial)));
    expiry->serial = 0;
}

static struct order *find_order(const struct agenda *agenda, uint32_t serial)
{
    return map_get(&agenda->orders, slice_of(&serial, sizeof(serial)));
}

/* How far ahead notes are brought to the heap: as far as there is room. */
static uint64_t bring_before_ms(const struct queue_home *home)
{
    const struct agenda *agenda = &home->agenda;
    uint64_t lead = agenda->soon.size < SOON_FEW ? LEAD_FAR_MS : LEAD_MS;
    return home->now_ms + lead + STEP_MS;
}

void agenda_add(struct order *order, uint64_t deadline_ms, uint64_t sequence, const struct note *place)
{
    struct queue_home *home = order->queue->home;
    struct agenda *agenda = &home->agenda;
    struct note note = *place;
    note.deadline_ms = deadline_ms;
    note.sequence = sequence;
    note.serial = serial_of(order);
    if (deadline_ms < bring_before_ms(home) && agenda->soon.size < SOON_MAX)
        notes_push(&agenda->soon, note);
    else
        runs_push(&agenda->runs, &note);
}

void agenda_end_page(struct queue_home *home)
{
    runs_spill(home);
}

/* --- notes that are due --- */

static void later(struct queue_home *home, struct note note, uint64_t ms)
{
    note.deadline_ms = home->now_ms + ms;
    notes_push(&home->agenda.soon, note);
}

/* Without a dead letter nobody asks what it was. */
static void drop_unread(struct order *order, const struct page *page, const struct note *note)
{
    struct queue *q = order->queue;
    struct store *store = q->home->store;
    bool told = note->persistent && page->stored && !q->leaving.deleted;
    if (told)
        store_ack(store, &order->run, order->id, note->sequence);
    pages_ack(store_pages(store), page->slot, note->sequence, told);
    settle(order, note->sequence);
}

/* Otherwise what is due waits together: to look at each again and again would take all there is. */
static bool may_expire(const struct queue_home *home)
{
    const struct page_loader *loader = &store_pages(home->store)->loader;
    return loader->bytes < READ_BYTES_MAX && loader->under_way < READS_MAX &&
           home->outcomes.fresh.size < OUTCOMES_MAX && store_pending_bytes(home->store) < QUEUE_PENDING_MAX;
}

/* The message is on disk: takes it out of its page, or sees to it that it is. */
static void expire_in_page(struct order *order, const struct note *note)
{
    struct queue *q = order->queue;
    struct pages *pages = store_pages(q->home->store);
    uint32_t slot = order_page_with(order, pages, note->sequence);
    if (slot == 0)
        return; /* it has left, or is in memory, where expiry.c knows it */
    const struct page *page = pages_at(pages, slot);
    if (page_is_acked(page, note->sequence) || page_is_taken(page, note->sequence))
        return;
    if (expiry_is_held_up(q)) {
        later(q->home, *note, HELD_UP_MS);
        return;
    }
    merge_cancel(order, slot);
    bool reads = q->settings.dead_letters, written = page->batch <= store_durable(q->home->store);
    if (!page->plain && written && paging_thin_out(order, slot))
        return; /* all that is due in it goes */
    if (page->load || !page->plain || (reads && !written)) {
        later(q->home, *note, WAIT_MS);
        return;
    }
    q->counters.expired++;
    paging_take_out(order, slot, note->sequence, note->body_bytes);
    order->expiry.reading += reads;
    if (reads)
        pages_load_part(pages, slot,
                        &(struct page_load){.owner = &q->home->agenda,
                                            .serial = order->expiry.serial,
                                            .sequence = note->sequence,
                                            .part = note->offset,
                                            .size = note->size,
                                            .check = note->check});
    else
        drop_unread(order, page, note);
    queue_order_changed(q, order);
}

/* Notes were lost: all pages are read for them again, each when something in it is due. */
static void gather_anew(struct queue_home *home)
{
    struct pages *pages = store_pages(home->store);
    map_each(&home->agenda.orders, i) {
        struct order *order = home->agenda.orders.slots[i].value;
        for (size_t k = 0; order && order->backlog && k < order->backlog->pages.size; k++) {
            struct page *page = pages_at(pages, *page_slot_ring_at(&order->backlog->pages, k));
            if (!page->noted || page->times.own_first == UINT64_MAX)
                continue;
            expiry_note_page(order, page->first, page->times.own_first);
        }
    }
    for (uint32_t slot = 1; slot < pages->slot_count; slot++)
        if (pages->slots[slot])
            pages->slots[slot]->noted = false; /* also of those in memory, which may leave it again */
}

/* Its message is in a page, or may be again: what was read and is not taken can leave memory. */
static bool is_needed(const struct queue_home *home, const struct note *note)
{
    const struct pages *pages = store_pages(home->store);
    const struct order *order = find_order(&home->agenda, note->serial);
    uint32_t slot = order ? order_page_with(order, pages, note->sequence) : 0;
    if (slot == 0)
        return order && order_find(order, note->sequence);
    const struct page *page = pages_at(pages, slot);
    return !page_is_acked(page, note->sequence) && !page_is_taken(page, note->sequence);
}

static void notes_arrive(struct queue_home *home, const struct page_load *load)
{
    struct agenda *agenda = &home->agenda;
    bool merging = ((const struct run *)load->owner)->merging;
    size_t count = runs_arrive(home, load);
    for (size_t i = 0; i < count; i++) {
        struct note note = runs_note(load, i);
        if (!merging)
            notes_push(&agenda->soon, note);
        else if (is_needed(home, &note))
            runs_merge_add(&agenda->runs, &note);
    }
    if (count == 0)
        gather_anew(home);
    if (merging)
        runs_merge_step(home, bring_before_ms(home));
}

void agenda_arrive(struct queue_home *home, struct page_load *load)
{
    if (load->serial == 0) {
        notes_arrive(home, load);
        return;
    }
    struct pages *pages = store_pages(home->store);
    struct order *order = find_order(&home->agenda, load->serial);
    struct page *page = pages_at(pages, load->slot);
    assertf(page_is_taken(page, load->sequence), "sequence %llu", (unsigned long long)load->sequence);
    if (order && load->failed && load->failed != -EILSEQ) /* the next start may read it */
        pages_leave(pages, load->slot);
    if (!order || load->failed)
        pages_ack(pages, load->slot, load->sequence, false);
    if (!order)
        return;
    assert(order->expiry.reading > 0);
    order->expiry.reading--;
    if (load->failed)
        settle(order, load->sequence);
    else
        paging_expire_part(order, page, load);
}

size_t agenda_memory(const struct agenda *agenda)
{
    return agenda->soon.capacity * sizeof(struct note) + runs_memory(&agenda->runs);
}

/* --- the turn --- */

/* What is due soon comes to the heap. */
static void bring(struct queue_home *home)
{
    struct agenda *agenda = &home->agenda;
    uint64_t before_ms = bring_before_ms(home);
    struct note note;
    for (size_t i = 0; i < NOTES_TURN && agenda->soon.size < SOON_MAX; i++) {
        if (!runs_take(&agenda->runs, before_ms, &note))
            break;
        notes_push(&agenda->soon, note);
    }
    if (agenda->soon.size < SOON_MAX)
        runs_read(home, before_ms);
    runs_merge_step(home, before_ms);
}

size_t agenda_run(struct queue_home *home, uint64_t before_ms, size_t budget)
{
    struct agenda *agenda = &home->agenda;
    struct notes *soon = &agenda->soon;
    if (agenda->orders.size == 0 && soon->size == 0 && agenda->runs.run_count == 0 &&
        runs_next_ms(home) == UINT64_MAX)
        return budget;
    bring(home);
    while (budget > 0 && soon->size > 0 && soon->at[0].deadline_ms < before_ms && may_expire(home)) {
        struct note note = notes_pop(soon);
        struct order *order = find_order(agenda, note.serial);
        if (order && order->backlog)
            expire_in_page(order, &note);
        budget--;
    }
    return budget;
}

uint64_t agenda_next_ms(const struct queue_home *home)
{
    const struct agenda *agenda = &home->agenda;
    if (!home->store)
        return UINT64_MAX;
    uint64_t next = runs_next_ms(home);
    if (next < UINT64_MAX)
        next -= next < LEAD_MS ? next : LEAD_MS;
    if (agenda->soon.size >= SOON_MAX)
        next = UINT64_MAX; /* what is in it has to go first */
    if (agenda->soon.size > 0 && agenda->soon.at[0].deadline_ms < next)
        next = agenda->soon.at[0].deadline_ms;
    return next > home->now_ms || may_expire(home) ? next : home->now_ms + WAIT_MS;
}
