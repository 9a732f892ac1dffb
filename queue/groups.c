/* groups.c - the orders of a queue with x-group-by, and who may be served from which.
 *
 * Invariants, checked by groups_check:
 * 1. A seat's state is what its order, its unacked and its holder say, and it is in that state's list.
 * 2. A list's tickets rise.
 * 3. A consumer is in `owning` iff it rotates and a seat that it holds waits for it.
 * 4. While the crowd is not empty no group gets a seat that had none. So a group's messages are all in its
 *    seat, or all in the crowd.
 * Failure modes: after damage to the journal a lane may come back with messages of two groups, which are one
 * until they are gone; a page that cannot be read leaves its seat without a name, and the rest of its group
 * may overtake it. */
#include "queue/groups.h"

#include "queue/lane.h"
#include "queue/paging.h"
#include "store/pages_restore.h"

enum {
    IDLE_KEPT = 64, /* seats that keep their group's name beyond its last message */
    FAR_WANTED = 4, /* seats whose pages are asked for at a time */
    FAR_LOOKED = 16 /* seats that a basic.get looks at */
};

static struct seat *seat_of(const struct groups *groups, const struct order *order)
{
    unsigned lane = lane_of_id(order->id);
    assertf(lane < groups->count && groups->seats[lane]->order == order, "lane %u", lane);
    return groups->seats[lane];
}

static struct seat *new_seat(struct groups *groups, unsigned lane)
{
    struct seat *seat = mem_zalloc(sizeof *seat);
    struct queue *q = groups->queue;
    assert(lane <= STORE_LANE_MAX && lane == groups->count);
    if (groups->count == groups->capacity) {
        groups->capacity = groups->capacity ? groups->capacity * 2 : 8;
        groups->seats = mem_realloc(groups->seats, groups->capacity * sizeof(*groups->seats));
    }
    groups->seats[groups->count++] = seat;
    seat->order = lane == GROUPS_CROWD ? &q->order : &seat->own;
    seat->state = SEAT_WITHHELD;
    seat->order->queue = q;
    seat->order->id = q->id | (uint64_t)lane << STORE_LANE_SHIFT;
    seat->order->next_sequence = groups->first_sequence;
    return seat;
}

struct groups *groups_new(struct queue *q, const struct group_by *by, unsigned max)
{
    assert(order_size(&q->order) == 0 && max > 0 && max <= GROUP_MAX);
    struct groups *groups = mem_zalloc(sizeof *groups);
    groups->queue = q;
    groups->by = *by;
    groups->max = max + GROUPS_FIRST;
    groups->first_sequence = 1;
    groups->none.queue = q;
    list_init(&groups->idle);
    list_init(&groups->open);
    list_init(&groups->far);
    list_init(&groups->owning);
    uint64_t seed[] = {(uintptr_t)groups, q->home->now_ms, q->id}; /* nothing walks through it */
    map_init(&groups->by_name, slice_hash(slice_of(seed, sizeof(seed)), (uintptr_t)seed));
    new_seat(groups, GROUPS_CROWD);
    new_seat(groups, GROUPS_LOOSE);
    q->front = &groups->none;
    return groups;
}

void groups_free(struct groups **freed)
{
    struct groups *groups = *freed;
    *freed = NULL;
    if (!groups)
        return;
    assert(groups->ready == 0 && list_empty(&groups->owning));
    for (unsigned lane = 0; lane < groups->count; lane++) {
        struct seat *seat = groups->seats[lane];
        assertf(seat->out == 0, "%zu entries of lane %u are not settled", seat->out, lane);
        slice_free(&seat->name);
        if (lane != GROUPS_CROWD)
            order_free(seat->order);
        mem_free(seat);
    }
    mem_free(groups->seats);
    map_free(&groups->by_name);
    heap_free(&groups->longest);
    mem_free(groups);
}

/* --- who is next --- */

static struct seat *first_seat(const struct list *list)
{
    return list_empty(list) ? NULL : list_first(list, struct seat, place);
}

/* Asks for pages of seats that wait for them; others have their turn the next time. */
static void want_far(struct groups *groups)
{
    if (!rotation_any(&groups->queue->consumers.rotation))
        return;
    for (int i = 0; i < FAR_WANTED && !list_empty(&groups->far); i++) {
        struct seat *seat = first_seat(&groups->far);
        list_remove(&seat->place);
        list_push_back(&groups->far, &seat->place);
        paging_want(seat->order);
    }
}

/* Chooses who is served next, and from where. */
static void choose(struct groups *groups)
{
    struct queue *q = groups->queue;
    struct seat *seat = NULL, *open = first_seat(&groups->open);
    groups->turn = NULL;
    if (q->consumers.rotation.held) {
        seat = NULL;
    } else if (open && rotation_any(&q->consumers.rotation)) {
        groups->turn = list_first(q->consumers.rotation.turn, struct consumer, place);
        seat = first_seat(&groups->turn->groups);
        if (!seat || seat->ticket > open->ticket)
            seat = open;
    } else if (!list_empty(&groups->owning)) {
        groups->turn = list_first(&groups->owning, struct consumer, owning);
        seat = first_seat(&groups->turn->groups);
        assert(seat);
    }
    q->front = seat ? seat->order : &groups->none;
    want_far(groups);
}

/* It owns as long as it rotates and holds something that waits. */
static void see_owner(struct groups *groups, struct consumer *c)
{
    bool owns = c->state == CONSUMER_ROTATING && list_linked(&c->place) && !list_empty(&c->groups);
    if (owns == list_linked(&c->owning))
        return;
    if (owns)
        list_push_back(&groups->owning, &c->owning);
    else
        list_remove(&c->owning);
}

void groups_turned(struct groups *groups)
{
    choose(groups);
}

void groups_joined(struct groups *groups, struct consumer *c)
{
    see_owner(groups, c);
    choose(groups);
}

void groups_left(struct groups *groups, struct consumer *c)
{
    list_unlink(&c->owning);
    choose(groups);
}

/* --- where a seat is --- */

static enum seat_state state_of(const struct groups *groups, const struct seat *seat)
{
    const struct order *order = seat->order;
    if (order_size(order) == 0)
        return seat->out == 0 && seat != groups->seats[GROUPS_CROWD] && seat != groups->seats[GROUPS_LOOSE]
                   ? SEAT_IDLE
                   : SEAT_WITHHELD;
    if (!order_loaded(order) || order->expiry.late)
        return SEAT_FAR;
    if (seat->unacked == 0)
        return SEAT_OPEN;
    return seat->holder ? SEAT_HELD : SEAT_WITHHELD;
}

static void unlink_seat(struct groups *groups, struct seat *seat)
{
    struct consumer *holder = seat->state == SEAT_HELD ? seat->holder : NULL;
    groups->idle_count -= seat->state == SEAT_IDLE;
    list_unlink(&seat->place);
    if (holder)
        see_owner(groups, holder);
}

/* To the end of the list that its state says. */
static void link_seat(struct groups *groups, struct seat *seat, enum seat_state state)
{
    struct list *const lists[] = {[SEAT_IDLE] = &groups->idle,
                                  [SEAT_OPEN] = &groups->open,
                                  [SEAT_HELD] = seat->holder ? &seat->holder->groups : NULL,
                                  [SEAT_FAR] = &groups->far,
                                  [SEAT_WITHHELD] = NULL};
    seat->state = state;
    seat->ticket = ++groups->tickets;
    groups->idle_count += state == SEAT_IDLE;
    if (lists[state])
        list_push_back(lists[state], &seat->place);
    if (state == SEAT_HELD)
        see_owner(groups, seat->holder);
}

/* The longest goes first out of the heap. */
static void weigh(struct groups *groups, struct seat *seat)
{
    size_t size = order_size(seat->order);
    if (heap_linked(&seat->longest))
        heap_remove(&groups->longest, &seat->longest);
    seat->longest.key = UINT64_MAX - size;
    if (size > 0 && groups->queue->settings.limit.overflow == LIMIT_DROP_HEAD)
        heap_push(&groups->longest, &seat->longest);
}

/* Puts it where it belongs: behind all others there, if it was not there before. */
static void place(struct groups *groups, struct seat *seat)
{
    enum seat_state state = state_of(groups, seat);
    if (state != seat->state) {
        unlink_seat(groups, seat);
        link_seat(groups, seat, state);
    }
    choose(groups);
}

void groups_note(struct groups *groups, struct order *order)
{
    struct seat *seat = seat_of(groups, order);
    size_t size = order_size(order);
    assert(groups->ready >= order->counted);
    groups->ready += size - order->counted;
    order->counted = size;
    if (heap_linked(&seat->longest) || groups->queue->settings.limit.overflow == LIMIT_DROP_HEAD)
        weigh(groups, seat);
    place(groups, seat);
}

void groups_limited(struct groups *groups)
{
    for (unsigned lane = 0; lane < groups->count; lane++)
        weigh(groups, groups->seats[lane]);
}

/* --- whose a seat is --- */

static void name_seat(struct groups *groups, struct seat *seat, struct slice name)
{
    if (seat->name.len)
        map_remove(&groups->by_name, seat->name);
    slice_free(&seat->name);
    seat->name = slice_copy(name);
    map_put(&groups->by_name, seat->name, seat);
}

/* For a group that has none; NULL when there is none left. */
static struct seat *find_seat(struct groups *groups)
{
    const struct seat *crowd = groups->seats[GROUPS_CROWD];
    if (order_size(crowd->order) > 0 || crowd->out > 0)
        return NULL;
    bool full = groups->count == groups->max;
    if (groups->idle_count > (full ? 0 : IDLE_KEPT))
        return first_seat(&groups->idle);
    if (full)
        return NULL;
    struct seat *seat = new_seat(groups, groups->count);
    place(groups, seat);
    return seat;
}

struct order *groups_for(struct groups *groups, const struct message *m)
{
    uint8_t room[GROUP_NAME_MAX];
    struct slice name = group_of(&groups->by, m, room);
    if (name.len == 0)
        return groups->seats[GROUPS_LOOSE]->order;
    struct seat *seat = map_get(&groups->by_name, name);
    if (seat)
        return seat->order;
    seat = find_seat(groups);
    if (!seat)
        return groups->seats[GROUPS_CROWD]->order;
    assert(seat->state == SEAT_IDLE);
    name_seat(groups, seat, name);
    return seat->order;
}

/* --- recovery --- */

struct order *groups_use(struct groups *groups, unsigned lane)
{
    while (groups->count <= lane)
        place(groups, new_seat(groups, groups->count));
    return groups->seats[lane]->order;
}

void groups_learn(struct groups *groups, unsigned lane, const struct message *m)
{
    uint8_t room[GROUP_NAME_MAX];
    struct seat *seat = groups->seats[lane];
    if (lane < GROUPS_FIRST || seat->name.len)
        return;
    struct slice name = group_of(&groups->by, m, room);
    if (name.len && !map_get(&groups->by_name, name))
        name_seat(groups, seat, name);
}

/* All that waits in the seat is on disk: one of its messages tells the name. */
static void read_name(struct groups *groups, unsigned lane)
{
    const struct backlog *backlog = groups->seats[lane]->order->backlog;
    struct queue_home *home = groups->queue->home;
    if (!backlog || backlog->pages.size == 0)
        return;
    struct page_load *load = pages_read(store_pages(home->store), *page_slot_ring_at(&backlog->pages, 0));
    struct slice rest;
    struct page_record record;
    uint32_t left = load->failed ? 0 : page_open(slice_of(load->bytes, load->size), &rest);
    for (; left > 0; left -= record.run) {
        page_next(&rest, &record);
        if (record.flags & PAGE_GONE)
            continue;
        struct message *m = message_new(home->pool, record.exchange, record.key, record.props, 0);
        groups_learn(groups, lane, m);
        message_unref(home->pool, &m);
        break;
    }
    page_load_free(&load);
}

void groups_restored(struct groups *groups, uint64_t first_sequence)
{
    groups->first_sequence = first_sequence;
    for (unsigned lane = 0; lane < groups->count; lane++) {
        struct seat *seat = groups->seats[lane];
        if (seat->order->next_sequence < first_sequence)
            seat->order->next_sequence = first_sequence;
        if (lane >= GROUPS_FIRST && order_size(seat->order) > 0 && seat->name.len == 0)
            read_name(groups, lane);
    }
}

/* --- handing out --- */

void groups_out(struct groups *groups, struct order *order, struct consumer *c, bool unacked)
{
    struct seat *seat = seat_of(groups, order);
    bool holds = unacked && seat != groups->seats[GROUPS_LOOSE];
    assert(!holds || seat->unacked == 0 || seat->holder == c);
    unlink_seat(groups, seat);
    seat->out++;
    if (holds) {
        seat->unacked++;
        seat->holder = c;
    }
    link_seat(groups, seat, state_of(groups, seat));
    choose(groups);
}

void groups_lost(struct groups *groups, struct order *order)
{
    struct seat *seat = seat_of(groups, order);
    seat->out++;
    place(groups, seat);
}

void groups_settled(struct groups *groups, const struct entry *entry, bool was_unacked, bool gone)
{
    if (entry->sequence == 0) /* refused: it never was the queue's */
        return;
    struct seat *seat = groups->seats[entry->lane];
    assert(entry->lane < groups->count && seat->out > 0);
    seat->out -= gone;
    if (!was_unacked || seat->unacked == 0) { /* nobody holds it: loose, or no_ack */
        place(groups, seat);
    } else if (seat->unacked > 1) {
        seat->unacked--;
        place(groups, seat);
    } else {
        unlink_seat(groups, seat);
        seat->unacked = 0;
        seat->holder = NULL;
        link_seat(groups, seat, state_of(groups, seat));
        choose(groups);
    }
}

struct order *groups_for_get(struct groups *groups)
{
    const struct seat *seat = groups->queue->consumers.rotation.held ? NULL : first_seat(&groups->open);
    return seat ? seat->order : &groups->none;
}

struct order *groups_awaited(const struct groups *groups)
{
    int looked = 0;
    list_each(node, &groups->far) {
        const struct seat *seat = container_of(node, struct seat, place);
        if (seat->unacked == 0 && seat->order->backlog && seat->order->backlog->pages.size > 0)
            return seat->order;
        if (++looked == FAR_LOOKED)
            break;
    }
    return NULL;
}

struct order *groups_longest(struct groups *groups)
{
    struct heap_node *node = heap_min(&groups->longest);
    return node ? container_of(node, struct seat, longest)->order : &groups->none;
}

/* --- checking --- */

static void check_list(const struct list *list, enum seat_state state, const struct consumer *holder)
{
    uint64_t before = 0;
    list_each(node, list) {
        const struct seat *seat = container_of(node, struct seat, place);
        assert(seat->state == state && (!holder || seat->holder == holder));
        assert(seat->ticket > before || state == SEAT_FAR);
        before = seat->ticket;
    }
}

void groups_check(const struct groups *groups)
{
    const struct queue *q = groups->queue;
    size_t ready = 0;
    for (unsigned lane = 0; lane < groups->count; lane++) {
        const struct seat *seat = groups->seats[lane];
        assert(seat->state == state_of(groups, seat) && seat->unacked <= seat->out);
        assert(list_linked(&seat->place) == (seat->state != SEAT_WITHHELD));
        assert(seat->unacked > 0 || !seat->holder);
        assert(seat->name.len == 0 || map_get(&groups->by_name, seat->name) == seat);
        ready += order_size(seat->order);
    }
    assertf(ready == groups->ready, "%zu of %zu", ready, groups->ready);
    check_list(&groups->open, SEAT_OPEN, NULL);
    check_list(&groups->far, SEAT_FAR, NULL);
    check_list(&groups->idle, SEAT_IDLE, NULL);
    list_each(node, &q->consumers.all) {
        const struct consumer *c = container_of(node, struct consumer, of_queue);
        check_list(&c->groups, SEAT_HELD, c);
        assert(list_linked(&c->owning) == (c->state == CONSUMER_ROTATING && !list_empty(&c->groups)));
    }
    assert((groups->turn == NULL) == (q->front == &groups->none));
}
