/* cost.h - what one thing costs when there are 1,000 others and when there are 100,000: about the same.
 * Counted in instructions of the whole server, from the client's bytes to the answer. */
#ifndef TESTS_UNIT_COST_H
#define TESTS_UNIT_COST_H

#include "tests/unit/server_world.h"
#include "tests/unit/steps.h"

enum { FEW = 1000, MANY = 100000, SLACK = 4000 };

static struct client client; /* who does it */
static struct client crowd;  /* whose the others are, when they are not the same one's */

static inline const char *name_of(const char *kind, int number)
{
    static char name[64];
    snprintf(name, sizeof(name), "%s.%d", kind, number);
    return name;
}

static inline void add_declare(struct buf *out, const char *queue)
{
    struct method m = {.id = METHOD_queue_declare};
    m.queue_declare.queue = slice_of_string(queue);
    m.queue_declare.no_wait = true;
    add_method(out, 1, &m);
}

static inline void add_bind(struct buf *out, const char *queue, const char *exchange, const char *key)
{
    struct method m = {.id = METHOD_queue_bind};
    m.queue_bind.queue = slice_of_string(queue);
    m.queue_bind.exchange = slice_of_string(exchange);
    m.queue_bind.routing_key = slice_of_string(key);
    m.queue_bind.no_wait = true;
    add_method(out, 1, &m);
}

/* One of them sends in portions what `add` makes for each number. */
static inline void repeat_by(struct client *who, void (*add)(struct buf *out, int number), int from, int to)
{
    for (int at = from; at < to;) {
        struct buf out = {0};
        for (int i = 0; i < 500 && at < to; i++)
            add(&out, at++);
        flush(who, &out);
        ck_assert_str_eq(hear(who), "");
    }
}

static inline void repeat(void (*add)(struct buf *out, int number), int from, int to)
{
    repeat_by(&client, add, from, to);
}

/* `work` among FEW and among MANY of what `more` makes; then it is done, and has to be answered so. */
struct cost {
    const char *what;
    void (*more)(int from, int to);
    void (*work)(void *arg);
    const char *answer;
};

/* The instructions of `work` among `few_count` and among `many_count` of them; it can be done again. */
struct measured {
    uint64_t few, many;
};

static inline struct measured cost_measure(const struct cost *cost, int few_count, int many_count)
{
    struct measured steps;
    set("connection_unacked_max", "1000000000");
    set("topology_memory", "1000000000");
    connect_client(&client, true, 0);
    connect_client(&crowd, true, 0);
    cost->more(0, few_count);
    steps.few = steps_of(cost->work, NULL);
    cost->more(few_count, many_count);
    steps.many = steps_of(cost->work, NULL);
    fprintf(stderr, "%s: %llu instructions with %d, %llu with %d\n", cost->what,
            (unsigned long long)steps.few, few_count, (unsigned long long)steps.many, many_count);
    return steps;
}

/* Does it, so that it is seen not to be refused. */
static inline void cost_finish(const struct cost *cost)
{
    cost->work(NULL);
    ck_assert_str_eq(hear(&client), cost->answer);
    hang_up(&client);
    hang_up(&crowd);
}

/* FEW and MANY others cost about the same. */
static inline void cost_check_others(const struct cost *cost)
{
    struct measured steps = cost_measure(cost, FEW, MANY);
    ck_assert_uint_lt(steps.many, steps.few * 2 + SLACK);
    cost_finish(cost);
}

#endif
