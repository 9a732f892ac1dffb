/* lab.c - queues with settings by chance. */
#include "tests/sim/lab.h"

#include <jansson.h>
#include <stdio.h>

#include "broker/vhost.h"
#include "protocol/table.h"

static bool chance(struct lab *lab, uint64_t bound)
{
    return world_chance(lab->world, bound);
}

uint64_t lab_now_ms(const struct lab *lab)
{
    return 1700000000000u + lab->world->now_ns / 1000000; /* as the world's wall clock */
}

int lab_find(const struct lab *lab, struct slice name)
{
    for (int i = 0; i < LAB_QUEUES; i++)
        if (slice_is(name, lab->queues[i].name))
            return i;
    return -1;
}

static void choose(struct lab *lab, int i)
{
    struct lab_queue *q = &lab->queues[i];
    q->quorum = chance(lab, 4);
    q->single = chance(lab, 5);
    q->groups = chance(lab, 3);
    if (!q->groups && !q->quorum && chance(lab, 3))
        q->priority_max = 1 + (uint32_t)world_pick(lab->world, 9);
    q->window = chance(lab, 4);
    q->by_header = chance(lab, 4);
    if (chance(lab, 3))
        q->ttl_ms = 1 + (uint32_t)world_pick(lab->world, chance(lab, 2) ? 40 : 3000);
    if (chance(lab, 3)) {
        q->length_max = 1 + (uint32_t)world_pick(lab->world, 30);
        q->reject = chance(lab, 2);
        q->reject_dead = q->reject && !q->quorum && chance(lab, 2);
    }
    q->producers =
        !q->reject && chance(lab, 4); /* what was refused is not above what came after it */
    if (chance(lab, 4))
        q->delivery_limit = 1 + (uint32_t)world_pick(lab->world, 6);
    if (chance(lab, 3)) {
        q->retry_ms = 1 + (uint32_t)world_pick(lab->world, 400);
        if (chance(lab, 2))
            q->retry_limit = 1 + (uint32_t)world_pick(lab->world, 4);
    }
    if (!chance(lab, 3))
        q->dead = chance(lab, 2) ? LAB_TOMB : (int)world_pick(lab->world, LAB_QUEUES);
    if (q->dead == i)
        q->dead = -1;
    q->governed = chance(lab, 4);
    q->policy_dead = -1;
    if (q->governed && q->dead < 0 && chance(lab, 2))
        q->policy_dead = LAB_TOMB;
    if (q->governed && chance(lab, 2))
        q->policy_retry_ms = 20 + (uint32_t)world_pick(lab->world, 200);
    q->policy_refuses = q->governed && !q->producers && chance(lab, 3);
}

/* Leaves it by itself, though nobody rejects it. */
static bool dies(const struct lab_queue *q)
{
    return q->governed || q->ttl_ms || (q->length_max && (!q->reject || q->reject_dead)) ||
           q->delivery_limit ||
           q->retry_limit;
}

/* A queue that refuses also refuses dead letters; and a circle without a queue that only rejects is
 * cut by the broker. */
static bool keeps(const struct lab *lab, int start)
{
    bool rejects = false;
    int i = start;
    for (int steps = 0; steps <= LAB_QUEUES; steps++) {
        const struct lab_queue *q = &lab->queues[i];
        if (steps > 0 && (q->reject || q->policy_refuses))
            return false;
        if (q->dead < 0)
            return !dies(q);
        rejects |= !dies(q);
        i = q->dead;
    }
    for (int steps = 0, at = i; steps < LAB_QUEUES; steps++, at = lab->queues[at].dead)
        rejects = (steps ? rejects : false) || !dies(&lab->queues[at]);
    return rejects;
}

void lab_init(struct lab *lab, struct world *world)
{
    *lab = (struct lab){.world = world, .message_count = 1};
    lab->walker.world = world;
    for (int i = 0; i < LAB_QUEUES; i++) {
        snprintf(lab->queues[i].name, sizeof(lab->queues[i].name),
                 i == LAB_TOMB ? "letters" : "q%d", i);
        lab->queues[i].dead = lab->queues[i].policy_dead = -1;
        if (i != LAB_TOMB)
            choose(lab, i);
    }
    for (int i = 0; i < LAB_QUEUES; i++)
        lab->queues[i].keeps = keeps(lab, i);
    lab->user_count = 2 + (unsigned)world_pick(world, LAB_USERS - 1);
    for (unsigned i = 0; i < lab->user_count; i++)
        lab_user_init(&lab->users[i], lab, i);
}

void lab_free(struct lab *lab)
{
    for (unsigned i = 0; i < lab->user_count; i++) {
        client_free(&lab->users[i].client);
        publish_ring_free(&lab->users[i].sent);
        publish_ring_free(&lab->users[i].tx_sent);
        mem_free(lab->users[i].held);
    }
    doubt_ring_free(&lab->doubtful);
    mem_free(lab->messages);
}

static void put_arguments(const struct lab *lab, const struct lab_queue *q, struct buf *args)
{
    if (q->quorum)
        table_put_string(args, "x-queue-type", SLICE("quorum"));
    if (q->quorum || q->delivery_limit)
        table_put_int(args, "x-delivery-limit", q->delivery_limit ? q->delivery_limit : 1000000);
    if (q->single)
        table_put_bool(args, "x-single-active-consumer", true);
    if (q->groups)
        table_put_string(args, "x-group-by", SLICE("header:g"));
    if (q->priority_max)
        table_put_int(args, "x-max-priority", q->priority_max);
    if (q->window)
        table_put_int(args, "x-dedup-window", 500000);
    if (q->producers)
        table_put_int(args, "x-dedup-producers", 500000);
    if (q->by_header)
        table_put_bool(args, "x-message-deduplication", true),
            table_put_int(args, "x-cache-size", 500000);
    if (q->ttl_ms)
        table_put_int(args, "x-message-ttl", q->ttl_ms);
    if (q->length_max)
        table_put_int(args, "x-max-length", q->length_max);
    if (q->length_max && q->reject)
        table_put_string(args, "x-overflow",
                         q->reject_dead ? SLICE("reject-publish-dlx") : SLICE("reject-publish"));
    if (q->retry_ms)
        table_put_int(args, "x-retry-base", q->retry_ms);
    if (q->retry_limit)
        table_put_int(args, "x-retry-limit", q->retry_limit);
    if (q->dead >= 0) {
        table_put_string(args, "x-dead-letter-exchange", SLICE(""));
        table_put_string(args, "x-dead-letter-routing-key",
                         slice_of_string(lab->queues[q->dead].name));
    }
}

static struct exchange *add_exchange(struct vhost *v, struct slice name, const char *type,
                                     struct slice args)
{
    struct exchange_properties properties = {
        .type = exchange_type_find(slice_of_string(type)), .args = args, .durable = true};
    return vhost_add_exchange(v, name, &properties, true);
}

void lab_build(struct lab *lab)
{
    struct vhost *v = server_find_vhost(&lab->world->server, SLICE("/"));
    struct buf args = {0};
    struct fault f;
    table_put_string(&args, "x-delayed-type", SLICE("direct"));
    struct exchange *later = add_exchange(v, SLICE("later"), "x-delayed-message", buf_slice(&args));
    struct exchange *both = add_exchange(v, SLICE("both"), "fanout", SLICE(""));
    for (int i = 0; i < LAB_QUEUES; i++) {
        args.len = 0;
        put_arguments(lab, &lab->queues[i], &args);
        struct queue_properties properties = {.args = buf_slice(&args), .durable = true};
        struct queue *q =
            vhost_add_queue(v, slice_of_string(lab->queues[i].name), &properties, true);
        bool good =
            vhost_bind(v, later, &q->dest, q->name, SLICE(""), true, &f) &&
            ((i != 1 && i != 2) || vhost_bind(v, both, &q->dest, SLICE(""), SLICE(""), true, &f));
        assertf(good, "%s", f.text);
    }
    buf_free(&args);
    world_sync(lab->world);
    lab->built = true;
}

/* What of dead letters, retries, deliveries and refusals a policy says, this time. */
static void put_more(struct lab *lab, const struct lab_queue *q, json_t *definition)
{
    const char *tomb = q->policy_dead >= 0 ? lab->queues[q->policy_dead].name : NULL;
    if (tomb && !chance(lab, 3)) {
        json_object_set_new(definition, "dead-letter-exchange", json_string(""));
        json_object_set_new(definition, "dead-letter-routing-key", json_string(tomb));
    }
    if (q->policy_retry_ms && !chance(lab, 3)) {
        int base_ms = (int)q->policy_retry_ms + (int)world_pick(lab->world, 100);
        json_object_set_new(definition, "retry-base", json_integer(base_ms));
        json_object_set_new(definition, "retry-limit", json_integer(1 + (int)world_pick(lab->world, 4)));
    }
    if (chance(lab, 3))
        json_object_set_new(definition, "delivery-limit", json_integer(1 + (int)world_pick(lab->world, 6)));
    if (q->policy_refuses && chance(lab, 2))
        json_object_set_new(definition, "overflow", json_string("reject-publish"));
}

void lab_govern(struct lab *lab)
{
    int i = 1 + (int)world_pick(lab->world, LAB_QUEUES - 1);
    const struct lab_queue *q = &lab->queues[i];
    struct vhost *v = server_find_vhost(&lab->world->server, SLICE("/"));
    char pattern[16], reason[256];
    for (int n = 0; n < LAB_QUEUES && !q->governed; n++) /* the next one that is */
        i = i % (LAB_QUEUES - 1) + 1, q = &lab->queues[i];
    if (!q->governed)
        return;
    snprintf(pattern, sizeof(pattern), "^%s$", q->name);
    struct policy_given given = {slice_of_string(q->name), slice_of_string(pattern), SLICE("queues"), NULL,
                                 (int64_t)world_pick(lab->world, 5), false};
    if (chance(lab, 3)) {
        policies_clear(v, given.name, false);
        trace_line(&lab->world->trace, "no policy for %s", q->name);
        return;
    }
    json_t *definition = json_object();
    int ttl_ms = (int)world_pick(lab->world, 2000), length_max = 1 + (int)world_pick(lab->world, 40);
    if (!chance(lab, 3))
        json_object_set_new(definition, "message-ttl", json_integer(ttl_ms));
    if (!chance(lab, 3) || json_object_size(definition) == 0)
        json_object_set_new(definition, "max-length", json_integer(length_max));
    put_more(lab, q, definition);
    given.definition = definition;
    bool good = policies_set(v, &given, true, reason, sizeof(reason));
    assertf(good, "%s", reason);
    json_decref(definition);
    lab->counts.policies++;
    trace_line(&lab->world->trace, "a policy for %s: ttl %d, length %d", q->name, ttl_ms, length_max);
}

void lab_describe(const struct lab *lab)
{
    for (int i = 0; i < LAB_QUEUES; i++) {
        const struct lab_queue *q = &lab->queues[i];
        trace_line(&lab->world->trace,
                   "%s:%s%s%s%s%s%s%s%s%s priority %u, ttl %u, length %u, delivery limit %u, retry "
                   "%u/%u, dead letters %d",
                   q->name, q->keeps ? " keeps" : "", q->quorum ? " quorum" : "",
                   q->single ? " single" : "", q->groups ? " groups" : "",
                   q->window ? " window" : "", q->producers ? " producers" : "",
                   q->by_header ? " header" : "", q->governed ? " governed" : "",
                   q->reject_dead ? " reject-dlx"
                   : q->reject    ? " reject"
                                  : "",
                   q->priority_max, q->ttl_ms, q->length_max, q->delivery_limit, q->retry_ms,
                   q->retry_limit, q->dead);
    }
}
