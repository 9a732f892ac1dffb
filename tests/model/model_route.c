/* model_route.c - routing over random graphs of exchanges, with cycles and alternate exchanges, against a
 * naive search; the topology changes all the time, so a stale cache would show. SEED=n repeats a run. */
#include "base/rand.h"
#include "tests/unit/world.h"

enum { QUEUES = 12, EXCHANGES = 8, BINDINGS_MAX = 60, STEPS = 20000 };

static const char *const keys[] = {"a", "b", "a.b", ""};
static const char *const names[EXCHANGES] = {"x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7"};

struct model {
    struct world w;
    struct rand rand;
    struct exchange *exchanges[EXCHANGES]; /* NULL = not declared */
    struct binding *bound[BINDINGS_MAX];
    size_t count;
    char queue_names[QUEUES][8];
};

/* What the naive search knows of the message. */
struct message {
    struct slice keys[3];
    size_t key_count;
    struct slice headers;
};

static int number_of(const struct model *m, struct slice name)
{
    for (int i = 0; i < EXCHANGES; i++)
        if (m->exchanges[i] && slice_is(name, names[i]))
            return i;
    return -1;
}

static bool naive_topic(struct slice pattern, struct slice key)
{
    if (slice_is(pattern, "#"))
        return true;
    if (slice_is(pattern, "*"))
        return key.len > 0 && !memchr(key.at, '.', key.len);
    if (slice_is(pattern, "a.#"))
        return slice_is(key, "a") || slice_starts_with(key, "a.");
    return slice_equal(pattern, key);
}

static bool naive_binding(const struct binding *b, const struct message *message)
{
    const char *type = b->source->type->name;
    struct field field;
    if (strcmp(type, "fanout") == 0)
        return true;
    if (strcmp(type, "headers") == 0)
        return b->args.len == 0 || table_find(message->headers, "h", &field);
    for (size_t i = 0; i < message->key_count; i++)
        if (strcmp(type, "topic") == 0 ? naive_topic(b->key, message->keys[i])
                                       : slice_equal(b->key, message->keys[i]))
            return true;
    return false;
}

/* Visits an exchange and everything behind it; order does not matter. */
static void naive_visit(const struct model *m, int number, const struct message *message, bool *seen,
                        bool *queues)
{
    bool found = false;
    if (number < 0 || seen[number])
        return;
    seen[number] = true;
    for (size_t i = 0; i < m->count; i++) {
        const struct binding *b = m->bound[i];
        if (b->source != m->exchanges[number] || !naive_binding(b, message))
            continue;
        found = true;
        if (b->dest->kind == DEST_QUEUE)
            queues[b->dest - m->w.queues] = true;
        else
            naive_visit(m, number_of(m, b->dest->name), message, seen, queues);
    }
    if (!found)
        naive_visit(m, number_of(m, m->exchanges[number]->alternate), message, seen, queues);
}

static void declare(struct model *m, size_t i)
{
    static const char *const types[] = {"direct", "fanout", "topic", "headers"};
    const char *type = types[rand_below(&m->rand, array_size(types))];
    const char *alternate = names[rand_below(&m->rand, EXCHANGES)];
    m->exchanges[i] = rand_below(&m->rand, 2) ? world_exchange_alt(&m->w, names[i], type, alternate)
                                              : world_exchange(&m->w, names[i], type);
}

static void delete(struct model *m, size_t i)
{
    struct dest *dest = &m->exchanges[i]->dest;
    for (size_t n = m->count; n-- > 0;)
        if (m->bound[n]->source == m->exchanges[i] || m->bound[n]->dest == dest)
            m->bound[n] = m->bound[--m->count];
    world_delete(&m->w, m->exchanges[i]);
    m->exchanges[i] = NULL;
}

static void bind_one(struct model *m, struct exchange *x)
{
    static const char *const patterns[] = {"a", "b", "a.b", "", "#", "*", "a.#"};
    const char *key = patterns[rand_below(&m->rand, array_size(patterns))];
    struct exchange *to = m->exchanges[rand_below(&m->rand, EXCHANGES)];
    struct dest *dest = &m->w.queues[rand_below(&m->rand, QUEUES)];
    struct buf args = {0};
    if (to && rand_below(&m->rand, 2))
        dest = &to->dest;
    if (rand_below(&m->rand, 2))
        put_void(&args, "h");
    if (!exchange_find_binding(x, dest, slice_of_string(key), buf_slice(&args)))
        m->bound[m->count++] = world_bind_with(&m->w, x, dest, key, buf_slice(&args));
    buf_free(&args);
}

static void unbind_one(struct model *m)
{
    size_t i = rand_below(&m->rand, m->count);
    world_unbind(&m->w, m->bound[i]);
    m->bound[i] = m->bound[--m->count];
}

static void change(struct model *m)
{
    size_t i = rand_below(&m->rand, EXCHANGES);
    uint64_t dice = rand_below(&m->rand, 100);
    if (!m->exchanges[i])
        declare(m, i);
    else if (dice < 5)
        delete (m, i);
    else if (dice < 55 && m->count < BINDINGS_MAX)
        bind_one(m, m->exchanges[i]);
    else if (m->count > 0)
        unbind_one(m);
}

static void route_one(struct model *m)
{
    struct buf headers = {0};
    struct message message = {.key_count = 1 + (rand_below(&m->rand, 4) == 0 ? rand_below(&m->rand, 3) : 0)};
    bool seen[EXCHANGES] = {0}, wanted[QUEUES] = {0}, got[QUEUES] = {0};
    size_t from = rand_below(&m->rand, EXCHANGES);
    if (!m->exchanges[from])
        return;
    if (rand_below(&m->rand, 2))
        put_void(&headers, "h");
    message.headers = buf_slice(&headers);
    for (size_t i = 0; i < message.key_count; i++)
        message.keys[i] = slice_of_string(keys[rand_below(&m->rand, array_size(keys))]);
    naive_visit(m, (int)from, &message, seen, wanted);
    struct route_input input = {message.keys, message.key_count, message.headers};
    const struct route_set *set = route(&m->w.router, m->exchanges[from], &input);
    for (size_t i = 0; i < set->size; i++) {
        size_t queue = (size_t)(set->queues[i] - m->w.queues);
        expect(queue < QUEUES && !got[queue], "queue %zu twice", queue);
        got[queue] = true;
    }
    for (size_t i = 0; i < QUEUES; i++)
        expect(wanted[i] == got[i], "from x%zu, queue %zu", from, i);
    buf_free(&headers);
}

START_TEST(routes_agree_with_a_naive_search)
{
    struct model m = {.rand = rand_seeded(world_seed("model_route"))};
    world_init(&m.w);
    for (size_t i = 0; i < QUEUES; i++) {
        snprintf(m.queue_names[i], sizeof(m.queue_names[i]), "q%zu", i);
        world_queue(&m.w, m.queue_names[i]);
    }
    for (int step = 0; step < STEPS; step++) {
        change(&m);
        for (uint64_t n = rand_below(&m.rand, 12); n > 0; n--)
            route_one(&m);
    }
    world_free(&m.w);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("model_route");
    TCase *model = tcase_create("model");
    tcase_set_timeout(model, 60);
    tcase_add_test(model, routes_agree_with_a_naive_search);
    suite_add_tcase(suite, model);
    return suite_run(suite);
}
