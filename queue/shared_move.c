/* shared_move.c - messages of an old part of the journal that are in several queues.
 *
 * Owner: the mover. Invariants: between turns there are none; all queues that hold one are seen in the turn
 * in which it is written, but for those it was purged from, or a crash after its old record is gone would
 * lose it in some. From when it is one of them its batch is the open one. */
#include "queue/shared_move.h"

#include "base/mem.h"
#include "queue/record.h"

struct shared_move {
    struct list link; /* in shared_moves.in_order */
    struct message *message;
    uint64_t old_batch;
    struct stored_target *targets;
    uint32_t count, capacity;
    bool keeps_birth;
};

void shared_moves_init(struct shared_moves *moves, uint64_t seed)
{
    map_init(&moves->by_message, seed);
    list_init(&moves->in_order);
}

void shared_moves_free(struct shared_moves *moves)
{
    assert(moves->by_message.size == 0);
    map_free(&moves->by_message);
}

/* The address is the key: its bytes are wherever there is a pointer to the message. */
static struct slice key_of(struct message *const *m)
{
    return slice_of(m, sizeof(*m));
}

static struct shared_move *find(const struct shared_moves *moves, const struct message *m)
{
    struct message *key = (struct message *)(uintptr_t)m;
    return moves->by_message.size > 0 ? map_get(&moves->by_message, key_of(&key)) : NULL;
}

bool shared_move_has(const struct shared_moves *moves, const struct message *m)
{
    return find(moves, m) != NULL;
}

void shared_move_add(struct shared_moves *moves, struct message *m, struct stored_target target,
                     bool keeps_birth)
{
    struct shared_move *move = find(moves, m);
    if (!move) {
        assert(m->journal_refs > 1);
        move = mem_zalloc(sizeof(*move));
        move->message = m;
        move->old_batch = m->batch;
        move->capacity = m->journal_refs; /* so many there will be at most */
        move->targets = mem_alloc(move->capacity * sizeof(*move->targets));
        map_put(&moves->by_message, key_of(&move->message), move);
        list_push_back(&moves->in_order, &move->link);
    }
    assertf(move->count < move->capacity, "%u targets of %u", move->count, move->capacity);
    move->targets[move->count++] = target;
    move->keeps_birth |= keeps_birth;
}

static void write_one(struct shared_move *move, struct store *store)
{
    struct message *m = move->message;
    assertf(move->count > 0 && move->count <= m->journal_refs, "%u of %u queues", move->count,
            m->journal_refs);
    struct stored_message record = record_of(m, move->targets, move->count, move->keeps_birth);
    uint64_t batch = store_move(store, &record);
    assert(batch == m->batch);
    store_release(store, move->old_batch);
    mem_free(move->targets);
    mem_free(move);
}

void shared_moves_write(struct shared_moves *moves, struct store *store)
{
    if (moves->by_message.size == 0)
        return;
    map_free(&moves->by_message);
    while (!list_empty(&moves->in_order)) {
        struct shared_move *move = list_first(&moves->in_order, struct shared_move, link);
        list_remove(&move->link);
        write_one(move, store);
    }
}
