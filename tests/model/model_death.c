/* model_death.c - the history of dead letters against a plain list of all deaths: random deaths in
 * random queues by random reasons, and after each the x-death array has an entry a (queue, reason),
 * the newest first, counted and dated right; the first and the last are told; and a queue is a
 * cycle when the message died in it and nobody rejected it since. SEED=n repeats a run. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/rand.h"
#include "broker/death.h"
#include "protocol/table.h"
#include "tests/unit/world.h"

enum { QUEUES = 5, REASONS = 4, DEATHS_MAX = 60, RUNS = 400 };

static const char *const reasons[REASONS] = {"rejected", "expired", "maxlen", "delivery_limit"};
static const char *const queues[QUEUES] = {"a", "b", "queue with blanks", "", "d"};

struct past {
    int queue, reason;
    uint64_t time_s;
};

struct letter {
    struct past past[DEATHS_MAX];
    int count;
    struct buf headers;
};

#define expect_true(expr) expect(expr, "the SEED is printed above")

static struct rand dice;

static struct slice text_of(struct slice table, const char *name)
{
    struct field field;
    struct slice text = SLICE("(none)");
    if (table_find(table, name, &field))
        field_string(&field, &text);
    return text;
}

/* The i-th newest pair of queue and reason in the list; false when there are not so many. */
static bool newest_pair(const struct letter *letter, int wanted, struct past *pair)
{
    bool seen[QUEUES][REASONS] = {0};
    for (int i = letter->count; i-- > 0;) {
        const struct past *past = &letter->past[i];
        if (seen[past->queue][past->reason])
            continue;
        seen[past->queue][past->reason] = true;
        *pair = *past;
        if (wanted-- == 0)
            return true;
    }
    return false;
}

static void check_entry(const struct letter *letter, const struct past *pair, struct slice entry)
{
    struct field field;
    int64_t count = 0, times = 0;
    uint64_t first_s = 0;
    for (int i = letter->count; i-- > 0;)
        if (letter->past[i].queue == pair->queue && letter->past[i].reason == pair->reason)
            times++, first_s = letter->past[i].time_s;
    expect_true(slice_is(text_of(entry, "queue"), queues[pair->queue]));
    expect_true(slice_is(text_of(entry, "reason"), reasons[pair->reason]));
    expect_true(table_find(entry, "count", &field) && field_integer(&field, &count));
    expect_true(count == times);
    expect_true(table_find(entry, "time", &field) && field.type == 'T');
    uint64_t time_s = 0;
    for (size_t i = 0; i < field.bytes.len; i++)
        time_s = time_s << 8 | field.bytes.at[i];
    expect_true(time_s == first_s);
}

static void check_letter(const struct letter *letter)
{
    struct slice headers = buf_slice(&letter->headers);
    struct field deaths, item;
    struct past pair;
    int entries = 0;
    const struct past *first = &letter->past[0], *last = &letter->past[letter->count - 1];
    expect_true(table_check(headers));
    expect_true(table_find(headers, "x-death", &deaths) && deaths.type == 'A');
    for (struct slice rest = deaths.bytes; array_next(&rest, &item); entries++) {
        expect_true(newest_pair(letter, entries, &pair));
        check_entry(letter, &pair, item.bytes);
    }
    expect_true(!newest_pair(letter, entries, &pair));
    expect_true(slice_is(text_of(headers, "x-first-death-queue"), queues[first->queue]));
    expect_true(slice_is(text_of(headers, "x-first-death-reason"), reasons[first->reason]));
    expect_true(slice_is(text_of(headers, "x-last-death-queue"), queues[last->queue]));
    expect_true(slice_is(text_of(headers, "x-last-death-reason"), reasons[last->reason]));
    for (int q = 0; q < QUEUES; q++) {
        int i = letter->count - 1;
        while (i >= 0 && letter->past[i].queue != q && letter->past[i].reason != 0)
            i--;
        bool cycle = i >= 0 && letter->past[i].queue == q && letter->past[i].reason != 0;
        expect(death_is_cycle(headers, slice_of_string(queues[q])) == cycle,
               "queue %d after %d deaths", q, letter->count);
    }
}

static void die(struct letter *letter, struct slab_pool *pool)
{
    struct past past = {(int)rand_below(&dice, QUEUES), (int)rand_below(&dice, REASONS),
                        1700000000 + rand_below(&dice, 1000)};
    struct buf old = letter->headers, bytes = {0};
    struct props props = {.flags = PROP_headers, .headers = buf_slice(&old)};
    props_encode(&bytes, &props);
    struct message *m = message_new(pool, SLICE("x"), SLICE("k"), buf_slice(&bytes), 0);
    m->dead_letter = letter->count > 0;
    letter->headers = (struct buf){0};
    letter->past[letter->count++] = past;
    death_record(&letter->headers, m, &props,
                 &(struct death){slice_of_string(queues[past.queue]), reasons[past.reason],
                                 past.time_s, true});
    message_unref(pool, &m);
    buf_free(&old);
    buf_free(&bytes);
}

START_TEST(a_history_is_the_list_of_deaths)
{
    struct slab_pool pool;
    uint64_t seed = world_seed("model_death");
    dice = rand_seeded(seed);
    slab_pool_init(&pool);
    for (int run = 0; run < RUNS; run++) {
        struct letter letter = {0};
        if (rand_below(&dice, 2)) /* what a client says of deaths is not believed */
            table_put_string(&letter.headers, "x-first-death-queue", SLICE("nowhere"));
        table_put_string(&letter.headers, "other", SLICE("header"));
        for (uint64_t deaths = 1 + rand_below(&dice, DEATHS_MAX); deaths > 0; deaths--) {
            die(&letter, &pool);
            check_letter(&letter);
            expect_true(slice_is(text_of(buf_slice(&letter.headers), "other"), "header"));
        }
        buf_free(&letter.headers);
    }
    slab_pool_free(&pool);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("model_death");
    TCase *tcase = tcase_create("model");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, a_history_is_the_list_of_deaths);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
