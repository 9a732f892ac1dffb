/* model.c - what the server must, may and may not hold. */
#include "tests/sim/model.h"

static const struct {
    const char *name;
    bool durable, auto_delete, exclusive, leaky;
    const char *limit;
    uint32_t limit_value;
} queue_kinds[MODEL_QUEUES] = {
    {"durable-0", true, false, false, false, "x-queue-type", 0},
    {"durable-1", true, false, false, false, "x-max-priority", 3},
    {"durable-2", true, false, false, false, "x-delivery-limit", 3},
    {"durable-leaky", true, false, false, true, "x-max-priority", 250},
    {"transient-0", false, false, false, false, "x-max-priority", 5},
    {"transient-leaky", false, false, false, true, NULL, 0},
    {"auto-durable", true, true, false, false, "x-single-active-consumer", 1},
    {"auto-transient", false, true, false, true, NULL, 0},
    {"exclusive-0", false, false, true, false, NULL, 0},
    {"exclusive-1", false, false, true, false, "x-single-active-consumer", 1},
    {"durable-once", true, false, false, false, "x-dedup-window", 500000},
};

static const struct {
    const char *name, *type;
    bool durable, auto_delete;
} exchange_kinds[MODEL_EXCHANGES] = {
    {"", "direct", true, false},           {"x-direct", "direct", true, false},
    {"x-fanout", "fanout", true, false},   {"x-topic", "topic", true, false},
    {"x-headers", "headers", true, false}, {"x-transient", "topic", false, false},
    {"x-auto", "fanout", true, true},
};

void model_init(struct model *model, struct world *world)
{
    *model = (struct model){.world = world, .message_count = 1};
    for (int i = 0; i < MODEL_QUEUES; i++) {
        struct model_queue *q = &model->queues[i];
        q->name = queue_kinds[i].name;
        q->entity.durable = queue_kinds[i].durable;
        q->auto_delete = queue_kinds[i].auto_delete;
        q->exclusive = queue_kinds[i].exclusive;
        q->leaky = queue_kinds[i].leaky;
        q->limit = queue_kinds[i].limit;
        q->limit_value = queue_kinds[i].limit_value;
        if (q->limit && strcmp(q->limit, "x-max-priority") == 0)
            q->priority_max = q->limit_value;
        q->quorum = i == MODEL_QUORUM;
        if (q->quorum)
            q->priority_max = 31, q->priority_missing = 4;
    }
    for (int i = 0; i < MODEL_EXCHANGES; i++) {
        struct model_exchange *x = &model->exchanges[i];
        x->name = exchange_kinds[i].name;
        x->type = exchange_kinds[i].type;
        x->entity.durable = exchange_kinds[i].durable;
        x->auto_delete = exchange_kinds[i].auto_delete;
        for (int dest = 0; dest < MODEL_DESTS; dest++)
            for (int key = 0; key < MODEL_KEYS; key++)
                model->bindings[i][dest][key].durable =
                    exchange_kinds[i].durable &&
                    (dest < MODEL_QUEUES ? queue_kinds[dest].durable
                                         : exchange_kinds[dest - MODEL_QUEUES].durable);
    }
    model->exchanges[0].entity.known = PRESENT;
}

void model_free(struct model *model)
{
    mem_free(model->messages);
    mem_free(model->flying);
}

/* --- what is there --- */

static struct entity *entity_of(struct model *model, const struct model_op *op)
{
    if (op->kind == OP_QUEUE)
        return &model->queues[op->a].entity;
    if (op->kind == OP_EXCHANGE)
        return &model->exchanges[op->a].entity;
    return &model->bindings[op->a][op->b][op->key];
}

/* Calls `each` for all bindings that go when the queue or exchange goes. */
static void each_dependent(struct model *model, const struct model_op *op,
                           void (*each)(struct model *model, struct entity *binding, int source,
                                        bool flag),
                           bool flag)
{
    int dest = op->kind == OP_QUEUE ? op->a : MODEL_QUEUES + op->a;
    for (int source = 0; source < MODEL_EXCHANGES; source++)
        for (int key = 0; key < MODEL_KEYS; key++)
            each(model, &model->bindings[source][dest][key], source, flag);
    if (op->kind != OP_EXCHANGE)
        return;
    for (int other = 0; other < MODEL_DESTS; other++)
        for (int key = 0; key < MODEL_KEYS; key++)
            each(model, &model->bindings[op->a][other][key], op->a, flag);
}

static void begin_removing(struct entity *entity)
{
    entity->removing++;
    entity->removed++;
    if (entity->known == PRESENT)
        entity->known = UNSURE;
}

/* With its last binding an auto-delete exchange goes, too: as long as one may go, so may the
 * exchange. */
static void begin_binding_removal(struct model *model, struct entity *binding, int source,
                                  bool flag)
{
    (void)flag;
    if (model->exchanges[source].auto_delete)
        begin_removing(&model->exchanges[source].entity);
    begin_removing(binding);
}

static void end_binding_removal(struct model *model, struct entity *binding, int source, bool gone)
{
    assert(binding->removing > 0);
    binding->removing--;
    if (model->exchanges[source].auto_delete)
        model->exchanges[source].entity.removing--;
    if (gone) /* a bind that is still under way may succeed after a new declaration */
        binding->known = binding->adding ? UNSURE : ABSENT;
}

/* Messages under way may or may not find their way now. */
static void unsettle_routes(struct model *model, const struct model_op *op)
{
    for (size_t i = 0; i < model->flying_count; i++) {
        struct model_message *m = &model->messages[model->flying[i]];
        if (op->add)
            m->may = m->exchange ? (1 << MODEL_QUEUES) - 1 : m->may | 1 << m->queue;
        else if (op->kind == OP_QUEUE)
            m->must &= (uint16_t) ~(1 << op->a);
        else if (m->exchange)
            m->must = 0;
    }
}

/* What the queue holds may be dropped. */
static void unsettle_cells(struct model *model, int queue)
{
    model->queues[queue].cleared = ++model->stamp;
    for (uint32_t id = 1; id < model->message_count; id++) {
        struct cell *cell = &model->messages[id].cells[queue];
        if (cell->state == CELL_MUST)
            cell->state = CELL_MAYBE;
    }
    for (size_t i = 0; i < model->flying_count; i++)
        model->messages[model->flying[i]].must &= (uint16_t) ~(1 << queue);
}

static void drop_cells(struct model *model, int queue)
{
    for (uint32_t id = 1; id < model->message_count; id++) {
        struct model_message *m = &model->messages[id];
        struct cell *cell = &m->cells[queue];
        if (m->flown && !m->flying && cell->state != CELL_GONE && cell->state != CELL_SETTLED)
            cell->state = CELL_DROPPED;
    }
}

void model_begin(struct model *model, struct model_op *op)
{
    struct entity *entity = entity_of(model, op);
    op->clean = op->add ? entity->removing == 0 : entity->adding == 0;
    if (op->add) {
        op->snapshot = entity->removed;
        entity->adding++;
        entity->added++;
        if (entity->known == ABSENT)
            entity->known = UNSURE;
    } else {
        op->snapshot = entity->added;
        if (op->kind == OP_BINDING) {
            begin_binding_removal(model, entity, op->a, true);
        } else {
            begin_removing(entity);
            each_dependent(model, op, begin_binding_removal, true);
        }
        if (op->kind == OP_QUEUE)
            unsettle_cells(model, op->a);
    }
    unsettle_routes(model, op);
}

void model_end(struct model *model, const struct model_op *op, bool answered)
{
    struct entity *entity = entity_of(model, op);
    if (op->add) {
        assert(entity->adding > 0);
        entity->adding--;
        if (answered && op->clean && entity->removed == op->snapshot)
            entity->known = PRESENT;
        return;
    }
    bool gone = answered && op->clean && entity->added == op->snapshot;
    if (op->kind == OP_BINDING) {
        end_binding_removal(model, entity, op->a, gone);
        return;
    }
    assert(entity->removing > 0);
    entity->removing--;
    each_dependent(model, op, end_binding_removal, gone);
    if (gone)
        entity->known = ABSENT;
    if (op->kind == OP_QUEUE) /* when it went is not known; what was sent before may have gone with it */
        model->queues[op->a].cleared = ++model->stamp;
    if (op->kind == OP_QUEUE && gone)
        drop_cells(model, op->a);
}

bool model_was_there(const struct model *model, const struct model_op *op)
{
    struct model_op add = *op;
    const struct entity *entity = entity_of((struct model *)(uintptr_t)model, &add);
    return op->clean && op->add && entity->known == PRESENT && entity->removed == op->snapshot;
}

void model_purge(struct model *model, int queue, bool begin)
{
    struct model_queue *q = &model->queues[queue];
    assert(begin || q->purging > 0);
    q->purging += begin ? 1 : -1u;
    unsettle_cells(model, queue);
}

void model_leak(struct model *model, int queue, bool begin)
{
    struct model_queue *q = &model->queues[queue];
    assert(begin || q->leaks > 0);
    q->leaks += begin ? 1 : -1u;
    unsettle_cells(model, queue);
}

/* --- where messages go --- */

/* Binding keys and what they match; for headers, h = key number, with any other key matching all.
 */
static const char *const binding_keys[MODEL_KEYS] = {"k.0", "k.1", "k.*", "#"};

static bool matches(const struct model_exchange *x, int key, int route)
{
    if (slice_is(slice_of_string(x->type), "fanout"))
        return true;
    if (slice_is(slice_of_string(x->type), "topic"))
        return key == 3 || (route < 2 && (key == 2 || key == route));
    if (slice_is(slice_of_string(x->type), "headers"))
        return key == route || key == 3;
    return key == route && key < 2;
}

const char *model_binding_key(int key)
{
    return binding_keys[key];
}

/* The queues reached over what is there for certain (`sure`) or may be. */
static uint16_t reach(const struct model *model, const struct model_message *m, bool sure)
{
    uint16_t queues = 0;
    uint8_t seen = (uint8_t)(1 << m->exchange), todo = seen;
    if (m->exchange == 0)
        return !sure || model->queues[m->queue].entity.known == PRESENT ? (uint16_t)(1 << m->queue)
                                                                        : 0;
    while (todo) {
        int source = __builtin_ctz(todo);
        const struct model_exchange *x = &model->exchanges[source];
        todo &= (uint8_t)(todo - 1);
        if (sure ? x->entity.known != PRESENT : x->entity.known == ABSENT)
            continue;
        for (int dest = 0; dest < MODEL_DESTS; dest++) {
            bool bound = false;
            for (int key = 0; key < MODEL_KEYS; key++) {
                enum known known = model->bindings[source][dest][key].known;
                bound |= (sure ? known == PRESENT : known != ABSENT) && matches(x, key, m->route);
            }
            if (bound && dest < MODEL_QUEUES)
                queues |= (uint16_t)(1 << dest);
            else if (bound && !(seen >> (dest - MODEL_QUEUES) & 1))
                seen |= (uint8_t)(1 << (dest - MODEL_QUEUES)),
                    todo |= (uint8_t)(1 << (dest - MODEL_QUEUES));
        }
    }
    return queues;
}

/* --- messages on their way --- */

uint32_t model_new_message(struct model *model)
{
    if (model->message_count >= model->message_capacity) {
        model->message_capacity = model->message_capacity ? model->message_capacity * 2 : 256;
        model->messages =
            mem_realloc(model->messages, model->message_capacity * sizeof(*model->messages));
    }
    uint32_t id = model->message_count++;
    model->messages[id] = (struct model_message){.stamp = ++model->stamp};
    return id;
}

void model_fly(struct model *model, uint32_t id)
{
    struct model_message *m = &model->messages[id];
    m->stamp = ++model->stamp;
    m->flown = m->flying = true;
    m->may = reach(model, m, false);
    m->must = reach(model, m, true);
    for (int q = 0; q < MODEL_QUEUES; q++) {
        const struct model_queue *queue = &model->queues[q];
        if (queue->purging || queue->leaks || queue->entity.known != PRESENT)
            m->must &= (uint16_t) ~(1 << q);
    }
    if (model->flying_count == model->flying_capacity) {
        model->flying_capacity = model->flying_capacity ? model->flying_capacity * 2 : 64;
        model->flying = mem_realloc(model->flying, model->flying_capacity * sizeof(*model->flying));
    }
    model->flying[model->flying_count++] = id;
    model->counts.published++;
}

static void stop_flying(struct model *model, uint32_t id)
{
    size_t i = 0;
    while (i < model->flying_count && model->flying[i] != id)
        i++;
    assertf(i < model->flying_count, "message %u is not under way", id);
    model->flying[i] = model->flying[--model->flying_count];
    model->messages[id].flying = false;
}

void model_land(struct model *model, uint32_t id, uint64_t batch)
{
    struct model_message *m = &model->messages[id];
    stop_flying(model, id);
    for (int q = 0; q < MODEL_QUEUES; q++) {
        struct cell *cell = &m->cells[q];
        if (!(m->must >> q & 1))
            continue;
        assertf(!m->returned, "message %u was returned, but it had a way to %s", id,
                model->queues[q].name);
        if (cell->state == CELL_NONE)
            cell->state = CELL_MUST, cell->batch = batch;
        else if (cell->state == CELL_MUST && batch < cell->batch)
            cell->batch = batch;
    }
    model->counts.confirmed += batch == 0;
}

void model_lose(struct model *model, uint32_t id)
{
    stop_flying(model, id);
}

void model_roll_back(struct model *model, uint32_t id)
{
    for (int q = 0; q < MODEL_QUEUES; q++)
        model->messages[id].cells[q].state = CELL_GONE;
}

void model_return(struct model *model, uint32_t id)
{
    struct model_message *m = &model->messages[id];
    assertf(m->mandatory && !m->returned && m->flying, "message %u came back", id);
    assertf(m->must == 0, "message %u came back, but it had a way", id);
    m->returned = true;
    m->may = 0;
    model->counts.returned++;
}

bool model_may_repeat(const struct model *model, uint32_t id)
{
    const struct model_message *m = &model->messages[id];
    uint8_t state = m->cells[MODEL_ONCE].state;
    bool taken = m->taken || (state >= CELL_MUST && state <= CELL_SETTLED);
    return model->queues[MODEL_ONCE].entity.known == PRESENT && m->flown && !m->flying && taken;
}

void model_repeated(struct model *model, uint32_t id)
{
    struct cell *cell = &model->messages[id].cells[MODEL_ONCE];
    model->counts.repeated++;
    if (cell->state == CELL_MUST)
        cell->batch = 0;
}

/* --- deliveries --- */

void model_deliver(struct model *model, int queue, uint32_t id, bool redelivered,
                   enum manner manner)
{
    struct model_message *m = &model->messages[id];
    struct model_queue *q = &model->queues[queue];
    struct cell *cell = &m->cells[queue];
    const char *name = q->name;
    assertf(m->may >> queue & 1, "message %u from %s, where it never went", id, name);
    assertf(cell->state != CELL_GONE, "message %u from %s came back from the dead", id, name);
    model->counts.delivered++;
    model->counts.redelivered += redelivered;
    if (manner != MANNER_LATE && cell->state != CELL_DROPPED) {
        assertf(cell->state != CELL_SETTLED, "message %u from %s was settled before", id, name);
        assertf(cell->state != CELL_SETTLING || redelivered, "message %u from %s twice", id, name);
        assertf(redelivered || !(cell->seen || cell->marked),
                "message %u from %s is not marked redelivered", id, name);
        bool stable =
            q->entity.known == PRESENT && !q->purging && !q->leaks && m->stamp > q->cleared;
        if (stable && (cell->state == CELL_NONE || cell->state == CELL_MAYBE)) {
            cell->state = CELL_MUST;
            cell->batch = store_open_batch(model->world->server.store);
        }
    }
    cell->ever = true;
    cell->seen |= manner == MANNER_TO_ACK;
}

void model_settling(struct model *model, int queue, uint32_t id)
{
    struct cell *cell = &model->messages[id].cells[queue];
    if (cell->state != CELL_DROPPED && cell->state != CELL_SETTLED && cell->state != CELL_GONE)
        cell->state = CELL_SETTLING;
}

void model_settled(struct model *model, int queue, uint32_t id, bool rejected, uint64_t batch)
{
    struct cell *cell = &model->messages[id].cells[queue];
    if (cell->state == CELL_GONE || cell->state == CELL_DROPPED)
        return;
    cell->state = CELL_SETTLED;
    /* Where few letters are published in a turn, nobody knows when it is this one's; a transaction knows. */
    cell->batch = rejected && batch && model->world->late_letters ? UINT64_MAX : batch;
    cell->buried = rejected && queue == MODEL_HAUNTED;
    model->counts.settled++;
}

void model_unsettled(struct model *model, int queue, uint32_t id)
{
    struct cell *cell = &model->messages[id].cells[queue];
    if (cell->state == CELL_SETTLING)
        cell->state = CELL_MAYBE;
}
