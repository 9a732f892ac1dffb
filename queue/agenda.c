/* agenda.c - notes of when messages on disk expire.
 *
 * Owner: the home. Invariants: a page with `noted` has a note of each message in it that has a deadline of
 * its own; a message whose record is being read is `taken` out of its page, counts nowhere any more, and is
 * acked when its dead letter is published.
 * Failure modes: a record that cannot be read leaves the queue and stays on disk for the next start; a page
 * that was written anew since is read as a whole (paging_thin_out). */
#include "queue/agenda.h"

#include <stdlib.h>

#include "protocol/message.h"
#include "queue/lane.h"
#include "queue/merge.h"
#include "queue/paging.h"

enum {
    SLOT_BITS = 6,          /* 64 ms */
    GROUP_BITS = 13,        /* 8 s: what a page has for that time waits together */
    FAR_BITS = 22,          /* 70 min */
    SOON_MS = 100,          /* before its time a slot goes to the heap */
    GROUP_EARLY_MS = 4000, FAR_EARLY_MS = 600000, /* before theirs groups are dealt */
    SOON_MAX = 65536,       /* notes in the heap beyond which no more are brought */
    NOTES_TURN = 16384,     /* notes dealt in a turn */
    WAIT_MS = 5,            /* until a note is looked at again that waits for the disk */
    READ_BYTES_MAX = 4 * 1024 * 1024,
    OUTCOMES_MAX = 16384,   /* dead letters that wait beyond which nothing is read */
    PENDING_MAX = 8 * 1024 * 1024 /* bytes on their way to the disk beyond which nothing expires */
};

/* No queue has that id; what is of it is in no journal. */
#define CALENDAR_ID ((UINT64_C(1) << STORE_LANE_SHIFT) - 1)

void agenda_init(struct agenda *agenda)
{
    *agenda = (struct agenda){0};
    delays_init(&agenda->delays);
    map_init(&agenda->orders, 0);
}

void agenda_free(struct queue_home *home)
{
    struct agenda *agenda = &home->agenda;
    if (agenda->calendar)
        delay_delete(&agenda->calendar);
    delays_free(&agenda->delays);
    assert(agenda->orders.size == 0);
    map_free(&agenda->orders);
    for (size_t i = 0; i < AGENDA_SLOTS; i++)
        mem_free(agenda->slots[i]);
    mem_free(agenda->page);
    mem_free(agenda->soon);
}

/* --- the heap of what is due soon --- */

static void soon_push(struct agenda *agenda, struct note note)
{
    if (agenda->soon_size == agenda->soon_capacity) {
        agenda->soon_capacity = agenda->soon_capacity ? agenda->soon_capacity * 2 : 256;
        agenda->soon = mem_realloc(agenda->soon, agenda->soon_capacity * sizeof(note));
    }
    size_t i = agenda->soon_size++;
    for (; i > 0 && agenda->soon[(i - 1) / 2].deadline_ms > note.deadline_ms; i = (i - 1) / 2)
        agenda->soon[i] = agenda->soon[(i - 1) / 2];
    agenda->soon[i] = note;
}

static struct note soon_pop(struct agenda *agenda)
{
    assert(agenda->soon_size > 0);
    struct note *heap = agenda->soon, first = heap[0], last = heap[--agenda->soon_size];
    size_t i = 0;
    for (size_t child = 1; child < agenda->soon_size; child = 2 * i + 1) {
        if (child + 1 < agenda->soon_size && heap[child + 1].deadline_ms < heap[child].deadline_ms)
            child++;
        if (heap[child].deadline_ms >= last.deadline_ms)
            break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = last;
    return first;
}

/* --- notes that wait --- */

/* The notes go to the calendar together, until then. */
static void put_group(struct queue_home *home, const struct note *notes, size_t count, uint64_t when_ms)
{
    struct agenda *agenda = &home->agenda;
    if (!agenda->calendar)
        agenda->calendar = delay_new_among(&agenda->delays, home, CALENDAR_ID);
    size_t size = count * sizeof(*notes);
    struct message *m = message_new(home->pool, SLICE(""), SLICE(""), SLICE("\0\0"), size);
    memcpy(message_body_at(m), notes, size);
    delay_push(agenda->calendar, m, when_ms);
    message_unref(home->pool, &m);
}

static uint64_t slot_near_ms(uint64_t number)
{
    uint64_t begins = number << SLOT_BITS;
    return begins > SOON_MS ? begins - SOON_MS : 0;
}

/* Slots whose time is near go to the heap. */
static void bring_slots(struct queue_home *home)
{
    struct agenda *agenda = &home->agenda;
    uint64_t end = (home->now_ms + SOON_MS) >> SLOT_BITS;
    for (; agenda->near_slot < end && agenda->slot_count > 0; agenda->near_slot++) {
        struct agenda_slot *slot = agenda->slots[agenda->near_slot % AGENDA_SLOTS];
        if (!slot || slot->count == 0)
            continue;
        assert(slot->number == agenda->near_slot);
        for (uint32_t i = 0; i < slot->count; i++)
            soon_push(agenda, slot->notes[i]);
        slot->count = 0;
        agenda->slot_count--;
    }
    if (agenda->near_slot < end)
        agenda->near_slot = end;
}

/* A note of the next half minute: to its slot, or to the heap. */
static void put_near(struct queue_home *home, const struct note *note)
{
    struct agenda *agenda = &home->agenda;
    uint64_t number = note->deadline_ms >> SLOT_BITS;
    if (number >= agenda->near_slot + AGENDA_SLOTS)
        bring_slots(home); /* time has passed since */
    if (number < agenda->near_slot) {
        soon_push(agenda, *note);
        return;
    }
    struct agenda_slot **at = &agenda->slots[number % AGENDA_SLOTS];
    if (!*at)
        *at = mem_zalloc(sizeof(**at));
    struct agenda_slot *slot = *at;
    assertf(slot->count == 0 || slot->number == number, "slot %llu is used", (unsigned long long)number);
    agenda->slot_count += slot->count == 0;
    slot->number = number;
    slot->notes[slot->count++] = *note;
    if (slot->count < AGENDA_SLOT_NOTES)
        return;
    put_group(home, slot->notes, slot->count, slot_near_ms(number));
    slot->count = 0;
    agenda->slot_count--;
}

/* Beyond the time of the slots a note waits with others of its page. */
static bool is_near(const struct queue_home *home, uint64_t deadline_ms)
{
    uint64_t end = (home->now_ms >> SLOT_BITS) + AGENDA_SLOTS / 2;
    return deadline_ms >> SLOT_BITS < end;
}

static int by_deadline(const void *a, const void *b)
{
    const struct note *one = a, *other = b;
    return (one->deadline_ms > other->deadline_ms) - (one->deadline_ms < other->deadline_ms);
}

/* Sorted notes that are far away: a group for each stretch of time. */
static void put_far(struct queue_home *home, const struct note *notes, size_t count)
{
    for (size_t i = 0, end; i < count; i = end) {
        bool far = notes[i].deadline_ms - home->now_ms > UINT64_C(1) << FAR_BITS;
        unsigned bits = far ? FAR_BITS : GROUP_BITS;
        uint64_t stretch = notes[i].deadline_ms >> bits, early = far ? FAR_EARLY_MS : GROUP_EARLY_MS;
        for (end = i + 1; end < count && notes[end].deadline_ms >> bits == stretch; end++)
            ;
        put_group(home, notes + i, end - i, notes[i].deadline_ms - early);
    }
}

/* Notes go where they wait next. */
static void deal(struct queue_home *home, struct note *notes, size_t count)
{
    size_t far = 0;
    for (size_t i = 0; i < count; i++)
        if (is_near(home, notes[i].deadline_ms))
            put_near(home, &notes[i]);
        else
            notes[far++] = notes[i];
    if (far == 0)
        return; /* and `notes` may be NULL, which qsort does not take */
    qsort(notes, far, sizeof(*notes), by_deadline);
    put_far(home, notes, far);
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

void agenda_add(struct order *order, uint64_t deadline_ms, uint64_t sequence, const struct note *place)
{
    struct agenda *agenda = &order->queue->home->agenda;
    if (agenda->page_size == agenda->page_capacity) {
        agenda->page_capacity = agenda->page_capacity ? agenda->page_capacity * 2 : 256;
        agenda->page = mem_realloc(agenda->page, agenda->page_capacity * sizeof(*agenda->page));
    }
    struct note *note = &agenda->page[agenda->page_size++];
    *note = *place;
    note->deadline_ms = deadline_ms;
    note->sequence = sequence;
    note->serial = serial_of(order);
}

void agenda_end_page(struct queue_home *home)
{
    struct agenda *agenda = &home->agenda;
    deal(home, agenda->page, agenda->page_size);
    agenda->page_size = 0;
}

/* --- notes that are due --- */

static void later(struct queue_home *home, struct note note)
{
    note.deadline_ms = home->now_ms + WAIT_MS;
    soon_push(&home->agenda, note);
}

/* Without a dead letter nobody asks what it was. */
static void drop_unread(struct order *order, const struct page *page, const struct note *note)
{
    struct queue *q = order->queue;
    struct store *store = q->home->store;
    bool told = note->persistent && page->stored && !q->deleted;
    if (told)
        store_ack(store, &order->run, order->id, note->sequence);
    pages_ack(store_pages(store), page->slot, note->sequence, told);
    settle(order, note->sequence);
}

static bool may_read(const struct queue_home *home, const struct note *note)
{
    const struct page_loader *loader = &store_pages(home->store)->loader;
    return (loader->bytes == 0 || loader->bytes + note->size <= READ_BYTES_MAX) &&
           home->outcomes.fresh.size < OUTCOMES_MAX;
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
    merge_cancel(order, slot);
    bool reads = q->settings.dead_letters, written = page->batch <= store_durable(q->home->store);
    if (!page->plain && order->expiry.page == 0 && written && paging_thin_out(order, slot))
        return; /* all that is due in it goes */
    if (page->load || !page->plain || (reads && (!written || !may_read(q->home, note)))) {
        later(q->home, *note);
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

void agenda_arrive(struct queue_home *home, struct page_load *load)
{
    struct pages *pages = store_pages(home->store);
    struct order *order = find_order(&home->agenda, load->serial);
    struct page *page = pages_at(pages, load->slot);
    assertf(page_is_taken(page, load->sequence), "sequence %llu", (unsigned long long)load->sequence);
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

/* --- the turn --- */

/* Groups whose time has come are dealt. */
static void deal_groups(struct queue_home *home)
{
    struct agenda *agenda = &home->agenda;
    struct delayed delayed;
    size_t dealt = 0;
    delay_run(&agenda->delays, home->now_ms);
    while (dealt < NOTES_TURN && agenda->soon_size < SOON_MAX &&
           delay_take(&agenda->delays, home->now_ms, &delayed)) {
        struct message *m = delayed.entry.message;
        size_t count = m->body_size / sizeof(struct note);
        struct note *notes = mem_copy(message_body(m).at, m->body_size);
        assert(count > 0 && m->body_size % sizeof(struct note) == 0);
        deal(home, notes, count);
        mem_free(notes);
        delay_settle(&delayed);
        dealt += count;
    }
}

size_t agenda_run(struct queue_home *home, uint64_t before_ms, size_t budget)
{
    struct agenda *agenda = &home->agenda;
    if (!agenda->calendar && agenda->slot_count + agenda->soon_size == 0)
        return budget;
    bring_slots(home);
    deal_groups(home);
    while (budget > 0 && agenda->soon_size > 0 && agenda->soon[0].deadline_ms < before_ms &&
           store_pending_bytes(home->store) < PENDING_MAX) {
        struct note note = soon_pop(agenda);
        struct order *order = find_order(agenda, note.serial);
        if (order && order->backlog)
            expire_in_page(order, &note);
        budget--;
    }
    return budget;
}

/* The first slot that holds notes goes to the heap then. */
static uint64_t next_slot_ms(const struct agenda *agenda)
{
    for (uint64_t number = agenda->near_slot; number < agenda->near_slot + AGENDA_SLOTS; number++) {
        const struct agenda_slot *slot = agenda->slots[number % AGENDA_SLOTS];
        if (slot && slot->count > 0)
            return slot_near_ms(number + 1);
    }
    panic("no slot holds a note");
}

uint64_t agenda_next_ms(const struct queue_home *home)
{
    const struct agenda *agenda = &home->agenda;
    uint64_t next = delay_next_ms(&agenda->delays);
    if (agenda->slot_count > 0) {
        uint64_t slot = next_slot_ms(agenda);
        next = slot < next ? slot : next;
    }
    if (agenda->soon_size > 0 && agenda->soon[0].deadline_ms < next)
        next = agenda->soon[0].deadline_ms;
    return next;
}
