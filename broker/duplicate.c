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
    dedup_identify(ids, DEDUP_HEADER, name, ids->now_ms);
}

bool duplicate_ids(const struct server *s, const struct message *m, struct dedup_ids *ids)
{
    struct props props;
    struct fault f;
    bool good = props_decode(message_props(m), &props, &f);
    assertf(good, "properties were checked when they came: %s", f.text);
    *ids = (struct dedup_ids){.now_ms = clock_wall_ms(&s->clock)};
    if (props.flags & PROP_message_id && props.message_id.len)
        dedup_identify(ids, DEDUP_MESSAGE_ID, props.message_id, ids->now_ms);
    if (props.flags & PROP_headers) {
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

void duplicate_remember(struct vhost *v, struct exchange *x)
{
    if (x->args.len == 0)
        return;
    uint64_t id = memory_id(v, x);
    assert(x->memory == NULL);
    x->memory = dedup_of_args(&v->server->home.dedup, id, x->args);
    if (!x->memory)
        return;
    struct memory *memory = mem_alloc(sizeof(*memory));
    *memory = (struct memory){id, x->memory};
    map_put(&v->server->memories, slice_of(&memory->id, sizeof(memory->id)), memory);
}

void duplicate_forget(struct vhost *v, struct exchange *x)
{
    if (!x->memory)
        return;
    uint64_t id = memory_id(v, x);
    struct memory *memory = map_remove(&v->server->memories, slice_of(&id, sizeof(id)));
    assert(memory && memory->dedup == x->memory);
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
    } numbers[] = {{"x-cache-size", 1, DEDUP_MAX},         {"x-cache-ttl", 0, AGE_MAX_MS},
                   {"x-dedup-producers", 1, DEDUP_MAX},    {"x-dedup-window", 1, DEDUP_MAX},
                   {"x-dedup-window-age", 0, AGE_MAX_MS}};
    struct field field;
    bool flag;
    int64_t value;
    if (table_find(args, "x-message-deduplication", &field) && !field_bool(&field, &flag))
        return fault(f, PRECONDITION_FAILED, "invalid arg 'x-message-deduplication': a bool is expected");
    for (size_t i = 0; i < array_size(numbers); i++)
        if (table_find(args, numbers[i].name, &field) &&
            (!field_integer(&field, &value) || value < numbers[i].min || value > numbers[i].max))
            return fault(f, PRECONDITION_FAILED, "invalid arg '%s': expected %lld to %lld", numbers[i].name,
                         (long long)numbers[i].min, (long long)numbers[i].max);
    return true;
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
