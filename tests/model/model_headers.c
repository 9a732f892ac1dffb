/* model_headers.c - the headers exchange against the rules applied to each binding in turn, under random
 * binding and unbinding. SEED=n repeats a run. */
#include "base/rand.h"
#include "tests/unit/world.h"

enum { QUEUES = 24, BINDINGS_MAX = 120, STEPS = 20000 };

struct model {
    struct world w;
    struct rand rand;
    struct exchange *x;
    struct binding *bound[BINDINGS_MAX];
    size_t count;
    char names[QUEUES][8];
};

static void put_number(struct rand *rand, struct buf *table, const char *name)
{
    uint64_t value = rand_below(rand, 3);
    switch (rand_below(rand, 7)) {
    case 0:
        put_raw(table, name, 'b', value, 1);
        break;
    case 1:
        put_raw(table, name, 'I', value, 4);
        break;
    case 2:
        put_raw(table, name, 'l', value, 8);
        break;
    case 3:
        put_double(table, name, (double)value);
        break;
    case 4:
        put_float(table, name, (float)value);
        break;
    case 5:
        put_decimal(table, name, 1, (uint32_t)value * 10);
        break;
    default:
        put_raw(table, name, 'T', value, 8);
    }
}

static void put_random(struct rand *rand, struct buf *table, const char *name)
{
    static const char *const texts[] = {"0", "1", ""};
    struct buf inner = {0};
    switch (rand_below(rand, 12)) {
    case 0:
    case 1:
        put_void(table, name);
        break;
    case 2:
    case 3:
    case 4:
        put_text(table, name, texts[rand_below(rand, array_size(texts))]);
        break;
    case 5:
        put_raw(table, name, 't', rand_below(rand, 3), 1);
        break;
    case 6:
        put_number(rand, &inner, "i");
        if (rand_below(rand, 2))
            put_void(&inner, "j");
        table_put_table(table, name, buf_slice(&inner));
        buf_free(&inner);
        break;
    default:
        put_number(rand, table, name);
    }
}

/* Up to `max` fields of few names, now and then one name twice. */
static void random_table(struct rand *rand, struct buf *table, unsigned max)
{
    static const char *const names[] = {"a", "b", "c", "x-a", "x", "x-match-not", ""};
    table->len = 0;
    for (uint64_t n = rand_below(rand, max + 1); n > 0; n--)
        put_random(rand, table, names[rand_below(rand, array_size(names))]);
}

static void random_args(struct rand *rand, struct buf *table)
{
    static const char *const modes[] = {"all", "any", "all-with-x", "any-with-x"};
    random_table(rand, table, 4);
    if (rand_below(rand, 5) > 0)
        put_text(table, "x-match", modes[rand_below(rand, array_size(modes))]);
}

static bool naive_pair(struct slice headers, struct slice wanted, const struct field *value)
{
    struct slice name;
    struct field field;
    while (table_next(&headers, &name, &field))
        if (slice_equal(name, wanted))
            return value->type == 'V' || field_equal(value, &field);
    return false;
}

static bool naive_match(struct slice args, struct slice headers)
{
    struct slice mode = SLICE("all"), name;
    struct field field;
    if (table_find(args, "x-match", &field))
        mode = field.bytes;
    bool any = slice_starts_with(mode, "any"), with_x = mode.len > 3;
    size_t pairs = 0, met = 0;
    while (table_next(&args, &name, &field)) {
        if (slice_is(name, "x-match") || (!with_x && slice_starts_with(name, "x-")))
            continue;
        pairs++;
        met += naive_pair(headers, name, &field);
    }
    return any ? met > 0 : met == pairs;
}

static void bind_one(struct model *m, struct buf *args)
{
    random_args(&m->rand, args);
    struct dest *queue = &m->w.queues[rand_below(&m->rand, QUEUES)];
    struct binding *known = NULL;
    for (size_t i = 0; i < m->count; i++)
        if (m->bound[i]->dest == queue && table_equal(m->bound[i]->args, buf_slice(args)))
            known = m->bound[i];
    expect(exchange_find_binding(m->x, queue, SLICE(""), buf_slice(args)) == known, "%zu bound",
           m->count);
    if (!known)
        m->bound[m->count++] = world_bind_with(&m->w, m->x, queue, "", buf_slice(args));
}

static void route_one(struct model *m, struct buf *headers)
{
    bool wanted[QUEUES] = {0}, got[QUEUES] = {0};
    random_table(&m->rand, headers, 6);
    struct slice keys[] = {SLICE("")};
    struct route_input input = {.keys = keys, .key_count = 1, .headers = buf_slice(headers)};
    for (size_t i = 0; i < m->count; i++)
        if (naive_match(m->bound[i]->args, buf_slice(headers)))
            wanted[m->bound[i]->dest - m->w.queues] = true;
    const struct route_set *set = route(&m->w.router, m->x, &input);
    for (size_t i = 0; i < set->size; i++) {
        size_t queue = (size_t)(set->queues[i] - m->w.queues);
        expect(!got[queue], "queue %zu twice", queue);
        got[queue] = true;
    }
    for (size_t i = 0; i < QUEUES; i++)
        expect(wanted[i] == got[i], "queue %zu", i);
}

START_TEST(headers_agree_with_the_naive_rules)
{
    struct model m = {.rand = rand_seeded(world_seed("model_headers"))};
    struct buf table = {0};
    world_init(&m.w);
    m.x = world_exchange(&m.w, "h", "headers");
    for (size_t i = 0; i < QUEUES; i++) {
        snprintf(m.names[i], sizeof(m.names[i]), "q%zu", i);
        world_queue(&m.w, m.names[i]);
    }
    size_t aim = BINDINGS_MAX / 4;
    for (int step = 0; step < STEPS; step++) {
        if (rand_below(&m.rand, 300) == 0)
            aim = rand_below(&m.rand, BINDINGS_MAX);
        bool grow = m.count < aim ? rand_below(&m.rand, 4) > 0 : rand_below(&m.rand, 4) == 0;
        if (grow && m.count < BINDINGS_MAX) {
            bind_one(&m, &table);
        } else if (m.count > 0) {
            size_t i = rand_below(&m.rand, m.count);
            world_unbind(&m.w, m.bound[i]);
            m.bound[i] = m.bound[--m.count];
        }
        route_one(&m, &table);
    }
    buf_free(&table);
    world_free(&m.w);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("model_headers");
    TCase *model = tcase_create("model");
    tcase_set_timeout(model, 60);
    tcase_add_test(model, headers_agree_with_the_naive_rules);
    suite_add_tcase(suite, model);
    return suite_run(suite);
}
