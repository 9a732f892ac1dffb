/* duplicate.c - messages that are published twice.
 *
 * Only messages with headers or a message_id come here, and only while a queue remembers anything. */
#include "broker/duplicate.h"

#include "protocol/props.h"
#include "protocol/table.h"

/* Ten years, the longest time that an argument may say. */
#define AGE_MAX_MS 315360000000

static void identify_producer(struct dedup_ids *ids, struct slice headers)
{
    struct field producer, sequence;
    struct slice name;
    int64_t number;
    if (table_find(headers, "x-producer", &producer) && field_string(&producer, &name) &&
        table_find(headers, "x-sequence", &sequence) && field_integer(&sequence, &number) && number >= 0)
        dedup_identify(ids, DEDUP_PRODUCER, name, (uint64_t)number);
}

/* Any value will do; integers are the same whatever width they came in. */
static void identify_header(struct dedup_ids *ids, struct slice headers)
{
    struct field field;
    int64_t number;
    if (!table_find(headers, "x-deduplication-header", &field))
        return;
    struct slice name = field.bytes;
    if (field_integer(&field, &number))
        name = slice_of(&number, sizeof(number));
    uint64_t value = ids->now_ms;
    if (table_find(headers, "x-cache-ttl", &field) && field_integer_or_text(&field, &number) && number > 0 &&
        number <= AGE_MAX_MS)
        value = DEDUP_EXPIRES | (ids->now_ms + (uint64_t)number);
    dedup_identify(ids, DEDUP_HEADER, name, value);
}

bool duplicate_ids(const struct server *s, const struct message *m, bool in_turn, struct dedup_ids *ids)
{
    struct props props;
    struct fault f;
    bool good = props_decode(message_props(m), &props, &f);
    assertf(good, "properties were checked when they came: %s", f.text);
    *ids = (struct dedup_ids){.now_ms = clock_wall_ms(&s->clock)};
    if (props.flags & PROP_message_id && props.message_id.len)
        dedup_identify(ids, DEDUP_MESSAGE_ID, props.message_id, ids->now_ms);
    if (props.flags & PROP_headers) {
        if (in_turn)
            identify_producer(ids, props.headers);
        identify_header(ids, props.headers);
    }
    bool any = false;
    for (int kind = 0; kind < DEDUP_KINDS; kind++)
        any |= ids->of[kind].present;
    return any;
}

/* An exchange's memory; in server.memories by its id. */
struct memory {
    uint64_t id;
    struct dedup *dedup;
};

/* Ids of queues are small numbers; those of exchanges have the highest bit. */
static uint64_t memory_id(const struct vhost *v, const struct exchange *x)
{
    struct buf name = {0};
    uint64_t digest[2];
    buf_append_slice(&name, v->name);
    buf_append(&name, "", 1);
    buf_append_slice(&name, x->name);
    slice_digest(buf_slice(&name), digest);
    buf_free(&name);
    return digest[0] | UINT64_C(1) << 63;
}

static bool is_deduplication(struct slice type)
{
    return slice_is(type, "x-message-deduplication");
}

/* By its type, or by the type that a delayed exchange routes as. */
static bool deduplicates(const struct exchange *x)
{
    struct field field;
    struct slice type;
    return is_deduplication(slice_of_string(x->type->name)) ||
           (table_find(x->args, "x-delayed-type", &field) && field_string(&field, &type) &&
            is_deduplication(type));
}

static void put_memory(struct server *s, struct exchange *x, uint64_t id)
{
    struct memory *memory = mem_alloc(sizeof(*memory));
    *memory = (struct memory){id, x->memory};
    dedup_set_owner(x->memory, id);
    map_put(&s->memories, slice_of(&memory->id, sizeof(memory->id)), memory);
    x->memory_id = id;
}

static struct memory *take_memory(struct server *s, const struct exchange *x)
{
    struct memory *memory = map_remove(&s->memories, slice_of(&x->memory_id, sizeof(x->memory_id)));
    assert(memory && memory->dedup == x->memory);
    return memory;
}

/* An exchange that is declared anew must not get the notes of the one before it: its id is a new one. */
void duplicate_remember(struct vhost *v, struct exchange *x, bool declared)
{
    struct server *s = v->server;
    if (x->args.len == 0)
        return;
    assert(x->memory == NULL);
    x->memory = dedup_of_args(&s->home.dedup, 0, x->args, deduplicates(x));
    if (!x->memory)
        return;
    bool stored = declared && x->durable;
    put_memory(s, x, stored ? s->next_queue_id++ : memory_id(v, x));
    if (stored)
        vhost_define_keeper(v, x, DUPLICATE_NAME_PREFIX, DUPLICATE_ARGUMENT, x->memory_id, true);
}

bool duplicate_return(struct vhost *v, struct exchange *x, uint64_t id)
{
    if (!x->memory)
        return false;
    mem_free(take_memory(v->server, x));
    put_memory(v->server, x, id);
    return true;
}

void duplicate_forget(struct vhost *v, struct exchange *x, bool stored)
{
    if (!x->memory)
        return;
    struct memory *memory = take_memory(v->server, x);
    if (stored && x->durable && memory->id <= STORE_QUEUE_ID_MAX)
        vhost_define_keeper(v, x, DUPLICATE_NAME_PREFIX, DUPLICATE_ARGUMENT, memory->id, false);
    x->memory = NULL;
    dedup_free(&memory->dedup);
    mem_free(memory);
}

struct dedup *duplicate_memory(const struct server *s, uint64_t owner_id)
{
    const struct memory *memory = map_get(&s->memories, slice_of(&owner_id, sizeof(owner_id)));
    return memory ? memory->dedup : NULL;
}

void duplicate_restored(struct server *s)
{
    map_each(&s->memories, i) {
        struct memory *memory = s->memories.slots[i].value;
        dedup_restored(memory->dedup);
    }
}

bool duplicate_check_args(struct slice args, struct fault *f)
{
    static const struct {
        const char *name;
        int64_t min, max;
    } numbers[] = {{"x-cache-size", 1, INT64_MAX},         {"x-cache-ttl", 0, AGE_MAX_MS},
                   {"x-dedup-producers", 1, DEDUP_MAX},    {"x-dedup-window", 1, DEDUP_MAX},
                   {"x-dedup-window-age", 0, AGE_MAX_MS}};
    struct field field;
    bool flag;
    int64_t value;
    if (table_find(args, "x-message-deduplication", &field) && !field_bool(&field, &flag))
        return fault(f, PRECONDITION_FAILED, "invalid arg 'x-message-deduplication': a bool is expected");
    for (size_t i = 0; i < array_size(numbers); i++)
        if (table_find(args, numbers[i].name, &field) &&
            (!field_integer_or_text(&field, &value) || value < numbers[i].min || value > numbers[i].max))
            return fault(f, PRECONDITION_FAILED, "invalid arg '%s': expected %lld to %lld", numbers[i].name,
                         (long long)numbers[i].min, (long long)numbers[i].max);
    return true;
}

bool duplicate_known(struct server *s, const struct exchange *x, const struct message *m, bool in_turn,
                     struct submission *done)
{
    struct dedup_ids ids;
    uint64_t batch = 0;
    if (!x->memory || !(m->has_headers || m->has_id) || !duplicate_ids(s, m, in_turn, &ids) ||
        !dedup_knows(x->memory, &ids, &batch))
        return false;
    if (batch > s->durable_seen && batch > done->batch)
        done->batch = batch;
    return true;
}

/* What a queue refused is not remembered: the publisher is to try again. */
void duplicate_taken(struct server *s, const struct exchange *x, const struct message *m, bool in_turn,
                     struct submission *done)
{
    struct dedup_ids ids;
    if (!x->memory || done->refused || !(m->has_headers || m->has_id) || !duplicate_ids(s, m, in_turn, &ids))
        return;
    uint64_t batch = store_open_batch(s->store);
    enum dedup_keeping keeping = dedup_keeping(x->memory);
    bool all = keeping == DEDUP_KEEP_ALL;
    bool kept = x->durable && (all || (keeping == DEDUP_KEEP_WITH_MESSAGE && done->batch == batch));
    dedup_take(x->memory, &ids, kept ? s->store : NULL);
    if (kept)
        done->batch = batch;
}

struct route_set duplicate_screen(struct server *s, const struct route_set *set, const struct dedup_ids *ids,
                                  uint64_t *batch)
{
    size_t kept = 0;
    if (s->screened_capacity < set->size) {
        s->screened_capacity = set->size * 2;
        s->screened = mem_realloc(s->screened, s->screened_capacity * sizeof(struct dest *));
    }
    struct dest **queues = s->screened;
    for (size_t i = 0; i < set->size; i++) {
        const struct queue *q = queue_of_dest(set->queues[i]);
        if (!q->dedup || !dedup_knows(q->dedup, ids, batch))
            queues[kept++] = set->queues[i];
    }
    return (struct route_set){.queues = queues, .size = kept};
}
