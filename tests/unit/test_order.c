/* test_order.c - the order of a queue's entries against a sorted array of sequences (SEED). */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/rand.h"
#include "queue/order.h"
#include "queue/queue.h"
#include "tests/unit/suite.h"

enum { STEPS = 200000, WAITING_MAX = 3000 };

/* A queue that is alone, and one of very many. */
static struct queue_home lonely = {.queue_count = 1}, crowded = {.queue_count = 100000};

static struct order order_of(struct queue_home *home)
{
    static struct queue queues[2];
    struct queue *q = &queues[home == &crowded];
    q->home = home;
    return (struct order){.queue = q};
}

static struct rand seeded(void)
{
    const char *text = getenv("SEED");
    struct rand secure = rand_secure();
    uint64_t seed = text ? strtoull(text, NULL, 0) : rand_u64(&secure);
    printf("SEED=%llu\n", (unsigned long long)seed);
    fflush(stdout);
    return rand_seeded(seed);
}

static struct entry numbered(uint64_t sequence)
{
    return (struct entry){.sequence = sequence};
}

/* What waits, ascending. */
struct model {
    uint64_t at[WAITING_MAX];
    size_t size;
};

static void model_add(struct model *model, uint64_t sequence)
{
    size_t i = model->size++;
    for (; i > 0 && model->at[i - 1] > sequence; i--)
        model->at[i] = model->at[i - 1];
    model->at[i] = sequence;
}

static uint64_t model_take(struct model *model)
{
    uint64_t first = model->at[0];
    memmove(model->at, model->at + 1, --model->size * sizeof(*model->at));
    return first;
}

static void compare(const struct order *order, const struct model *model)
{
    struct entry *first = order_first(order);
    ck_assert_uint_eq(order_size(order), model->size);
    if (model->size == 0)
        ck_assert_ptr_null(first);
    else
        ck_assert_uint_eq(first->sequence, model->at[0]);
}

/* Pushes, takes and returns with changing weights: from empty to full, from few to mostly returned. */
START_TEST(test_against_sorted_array)
{
    static struct model model;
    static struct entry taken[WAITING_MAX];
    size_t taken_size = 0;
    uint64_t next = 1;
    struct rand rand = seeded();
    struct order order = order_of(&lonely);
    uint64_t weights[3] = {1, 1, 1};
    for (unsigned step = 0; step < STEPS; step++) {
        if (step % 5000 == 0)
            for (int i = 0; i < 3; i++)
                weights[i] = 1 + rand_below(&rand, 8);
        uint64_t choice = rand_below(&rand, weights[0] + weights[1] + weights[2]);
        if (choice < weights[0] && model.size + taken_size < WAITING_MAX) {
            model_add(&model, next);
            order_push(&order, numbered(next++));
        } else if (choice < weights[0] + weights[1] && model.size > 0) {
            struct entry entry = order_take(&order);
            ck_assert_uint_eq(entry.sequence, model_take(&model));
            if (rand_below(&rand, 3))
                taken[taken_size++] = entry;
        } else if (taken_size > 0) {
            size_t i = rand_below(&rand, taken_size);
            model_add(&model, taken[i].sequence);
            order_return(&order, taken[i]);
            taken[i] = taken[--taken_size];
        }
        compare(&order, &model);
    }
    while (model.size) {
        ck_assert_uint_eq(order_take(&order).sequence, model_take(&model));
        compare(&order, &model);
    }
    order_free(&order);
}
END_TEST

/* Entries are moved whole: the flags come back with them. */
START_TEST(test_keeps_the_entry)
{
    struct order order = order_of(&lonely);
    order_push(&order, (struct entry){.sequence = 1, .journalled = true});
    order_push(&order, (struct entry){.sequence = 2});
    struct entry first = order_take(&order);
    ck_assert(first.journalled && !first.redelivered);
    first.redelivered = true;
    order_return(&order, first);
    ck_assert_uint_eq(order_size(&order), 2);
    struct entry again = order_take(&order), second = order_take(&order);
    ck_assert(again.journalled && again.redelivered);
    ck_assert_uint_eq(second.sequence, 2);
    ck_assert(!second.journalled && !second.redelivered);
    order_free(&order);
}
END_TEST

/* A large requeue, in the worst order, and its memory afterwards. */
START_TEST(test_returns_many_backwards)
{
    enum { MANY = 500000 };
    struct order order = order_of(&lonely);
    for (uint64_t i = 1; i <= MANY; i++)
        order_push(&order, numbered(i));
    for (uint64_t i = 1; i <= MANY; i++)
        ck_assert_uint_eq(order_take(&order).sequence, i);
    ck_assert_ptr_null(order.fresh.slots);
    order_push(&order, numbered(MANY + 1));
    for (uint64_t i = MANY; i > 0; i--)
        order_return(&order, numbered(i));
    for (uint64_t i = 1; i <= MANY + 1; i++)
        ck_assert_uint_eq(order_take(&order).sequence, i);
    ck_assert_ptr_null(order.returned);
    ck_assert_uint_eq(order.returned_capacity, 0);
    order_free(&order);
}
END_TEST

/* Room for a few hundred entries is kept, but not by a hundred thousand queues. */
START_TEST(test_room_of_many_queues)
{
    for (int many = 0; many < 2; many++) {
        struct order order = order_of(many ? &crowded : &lonely);
        for (uint64_t i = 1; i <= 600; i++)
            order_push(&order, numbered(i));
        for (uint64_t i = 1; i <= 600; i++)
            ck_assert_uint_eq(order_take(&order).sequence, i);
        ck_assert_int_eq(order.fresh.capacity == 0, many);
        for (uint64_t i = 600; i > 0; i--)
            order_return(&order, numbered(i));
        for (uint64_t i = 1; i <= 600; i++)
            ck_assert_uint_eq(order_take(&order).sequence, i);
        ck_assert_int_eq(order.returned_capacity == 0, many);
        order_push(&order, numbered(601));
        ck_assert_uint_eq(order_take(&order).sequence, 601);
        ck_assert_uint_gt(order.fresh.capacity, 0); /* so little always stays */
        order_free(&order);
    }
}
END_TEST

/* Numbers that are to be taken out, and those that were. */
struct swept {
    uint64_t divisor;
    size_t taken;
};

static bool is_multiple(void *arg, const struct entry *entry)
{
    return entry->sequence % ((struct swept *)arg)->divisor == 0;
}

static void count_multiple(void *arg, struct entry entry)
{
    ck_assert(is_multiple(arg, &entry));
    ((struct swept *)arg)->taken++;
}

/* In parts of any size: all that are due go, each once, and the others stay in order. */
START_TEST(test_sweep_in_parts)
{
    struct rand rand = seeded();
    for (int round = 0; round < 500; round++) {
        struct order order = order_of(&lonely);
        struct swept swept = {1 + rand_below(&rand, 5), 0};
        const struct order_sweep sweep = {is_multiple, count_multiple, &swept};
        size_t count = rand_below(&rand, 200), due = 0, at = 0;
        uint64_t step = 1 + rand_below(&rand, 200); /* to 211, a prime: each number once, out of order */
        for (uint64_t i = 0; i < count; i++) {
            uint64_t sequence = (i * step) % 211 + 1;
            order_return(&order, numbered(sequence));
            due += sequence % swept.divisor == 0;
        }
        while (at < order.returned_size)
            at = order_sweep_returned(&order, &sweep, at, 1 + rand_below(&rand, 50));
        ck_assert_uint_eq(swept.taken, due);
        ck_assert_uint_eq(order_size(&order), count - due);
        for (uint64_t before = 0; order_size(&order) > 0;) {
            uint64_t sequence = order_take(&order).sequence;
            ck_assert_uint_gt(sequence, before);
            ck_assert_uint_ne(sequence % swept.divisor, 0);
            before = sequence;
        }
        order_free(&order);
    }
}
END_TEST

START_TEST(test_take_from_empty)
{
    struct order order = order_of(&lonely);
    order_take(&order);
}
END_TEST

START_TEST(test_free_with_entries)
{
    struct order order = order_of(&lonely);
    order_return(&order, numbered(1));
    order_free(&order);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("order");
    TCase *tcase = tcase_create("order");
    tcase_add_test(tcase, test_against_sorted_array);
    tcase_add_test(tcase, test_keeps_the_entry);
    tcase_add_test(tcase, test_returns_many_backwards);
    tcase_add_test(tcase, test_room_of_many_queues);
    tcase_add_test(tcase, test_sweep_in_parts);
    tcase_add_test_raise_signal(tcase, test_take_from_empty, 6);
    tcase_add_test_raise_signal(tcase, test_free_with_entries, 6);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
