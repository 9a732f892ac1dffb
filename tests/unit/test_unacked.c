/* test_unacked.c - what a channel has not settled: taking by tag, rollbacks, and memory with one
 * tag pinned. */
#include <check.h>
#include <stdlib.h>

#include "queue/unacked.h"
#include "tests/unit/suite.h"

/* Items are told apart by the sequence of their entry; the message is never looked at. */
static struct unacked_item numbered(uint64_t number)
{
    static struct message none;
    return (struct unacked_item){.entry = {.message = &none, .sequence = number}};
}

static void put(struct unacked *u, uint64_t tag)
{
    struct unacked_item item = numbered(tag * 10);
    unacked_put(u, tag, &item);
}

/* Millions of calls: ck_assert writes down its place even when all is well. */
static void take(struct unacked *u, uint64_t tag)
{
    struct unacked_item item;
    if (!unacked_has(u, tag) || !unacked_take(u, tag, &item) || item.entry.sequence != tag * 10 ||
        unacked_has(u, tag))
        ck_abort_msg("tag %llu", (unsigned long long)tag);
}

static void take_first(struct unacked *u, uint64_t expected)
{
    struct unacked_item item;
    uint64_t tag = 0;
    if (!unacked_take_first(u, UINT64_MAX, &tag, &item) || tag != expected ||
        item.entry.sequence != tag * 10)
        ck_abort_msg("tag %llu, expected %llu", (unsigned long long)tag, (unsigned long long)expected);
}

static size_t count_chunks(const struct unacked *u)
{
    size_t count = 0;
    list_each(node, &u->chunks)
        count++;
    return count;
}

START_TEST(test_take)
{
    struct unacked u;
    struct unacked_item item;
    unacked_init(&u);
    ck_assert(!unacked_has(&u, 0) && !unacked_has(&u, 1) && !unacked_has(&u, UINT64_MAX));
    for (uint64_t tag = 1; tag <= 100; tag++)
        put(&u, tag);
    ck_assert_uint_eq(u.size, 100);
    take(&u, 50);
    ck_assert(!unacked_take(&u, 50, &item));
    ck_assert(!unacked_take(&u, 0, &item));
    ck_assert(!unacked_take(&u, 101, &item));
    take(&u, 1);
    take(&u, 100);
    ck_assert_uint_eq(u.size, 97);
    for (uint64_t tag = 2; tag < 100; tag++)
        if (tag != 50)
            take_first(&u, tag);
    ck_assert_uint_eq(u.size, 0);
    unacked_free(&u);
}
END_TEST

START_TEST(test_take_first_up_to)
{
    struct unacked u;
    struct unacked_item item;
    uint64_t tag;
    unacked_init(&u);
    ck_assert(!unacked_take_first(&u, UINT64_MAX, &tag, &item));
    put(&u, 31);
    put(&u, 32);
    put(&u, 640);
    ck_assert(!unacked_take_first(&u, 30, &tag, &item));
    ck_assert(unacked_take_first(&u, 31, &tag, &item));
    ck_assert_uint_eq(tag, 31);
    ck_assert(!unacked_take_first(&u, 31, &tag, &item));
    ck_assert(unacked_take_first(&u, 639, &tag, &item));
    ck_assert_uint_eq(tag, 32);
    ck_assert(!unacked_take_first(&u, 639, &tag, &item));
    ck_assert_uint_eq(u.size, 1);
    take_first(&u, 640);
    unacked_free(&u);
}
END_TEST

/* Prefetch 1: the chunk that is filled is kept, and only that. */
START_TEST(test_one_at_a_time)
{
    struct unacked u;
    unacked_init(&u);
    for (uint64_t tag = 1; tag <= 100000; tag++) {
        put(&u, tag);
        take(&u, tag);
        if (count_chunks(&u) != 1 || u.directory.size > 2)
            ck_abort_msg("%zu chunks at tag %llu", count_chunks(&u), (unsigned long long)tag);
    }
    unacked_free(&u);
    ck_assert_uint_eq(u.directory.capacity, 0);
}
END_TEST

/* One tag is never acked, millions come and go behind it: one chunk, and the others as without it. */
START_TEST(test_pinned_oldest)
{
    enum { TAGS = 4000000, WINDOW = 100 };
    struct unacked u;
    unacked_init(&u);
    put(&u, 1);
    for (uint64_t tag = 2; tag <= TAGS; tag++) {
        put(&u, tag);
        if (tag > WINDOW + 1)
            take(&u, tag - WINDOW);
        if (tag % 10007 == 0)
            ck_assert_uint_le(count_chunks(&u), 1 + WINDOW / 32 + 2);
    }
    ck_assert_uint_le(u.directory.capacity, 128);
    take_first(&u, 1);
    ck_assert_uint_le(u.directory.size, WINDOW / 32 + 2);
    for (uint64_t tag = TAGS - WINDOW + 1; tag <= TAGS; tag++)
        take_first(&u, tag);
    ck_assert_uint_eq(u.size, 0);
    ck_assert_uint_le(u.directory.size, 1);
    unacked_free(&u);
}
END_TEST

/* One in so many is never acked: memory is a matter of these alone, and no step walks over the gaps. */
START_TEST(test_many_pinned)
{
    enum { PINNED = 20000 };
    const uint64_t each = 1000000;
    struct unacked u;
    uint64_t tag = 0;
    unacked_init(&u);
    for (uint64_t i = 1; i <= PINNED; i++) {
        put(&u, i * each);
        for (uint64_t later = 1; later <= 100; later++) {
            put(&u, i * each + later);
            take(&u, i * each + later);
        }
    }
    ck_assert_uint_le(count_chunks(&u), PINNED + 1);
    ck_assert_uint_le(u.directory.capacity, 128);
    for (uint64_t i = 1; i <= PINNED; i++) {
        ck_assert_ptr_nonnull(unacked_next(&u, i * each - 77777, &tag));
        ck_assert_uint_eq(tag, i * each);
    }
    for (uint64_t i = 2; i <= PINNED; i += 2)
        take(&u, i * each);
    for (uint64_t i = 2; i <= PINNED; i += 2) /* rolled back */
        put(&u, i * each);
    for (uint64_t i = 1; i <= PINNED; i++)
        take_first(&u, i * each);
    unacked_free(&u);
}
END_TEST

/* What was large once is given back when it is sparse. */
START_TEST(test_directory_shrinks)
{
    enum { MANY = 32 * 100000 };
    struct unacked u;
    unacked_init(&u);
    for (uint64_t tag = 1; tag <= MANY; tag += 32)
        put(&u, tag);
    ck_assert_uint_gt(u.directory.capacity, MANY / 32);
    for (uint64_t tag = 33; tag <= MANY; tag += 32)
        take(&u, tag);
    for (uint64_t tag = MANY + 1; tag <= MANY + 64; tag += 32)
        put(&u, tag);
    ck_assert_uint_le(u.directory.capacity, 128);
    for (uint64_t tag = MANY + 1; tag <= MANY + 64; tag += 32)
        take(&u, tag);
    take(&u, 1);
    unacked_free(&u);
}
END_TEST

/* Everything settled in a transaction, then put back, the last first. */
static void roll_back(struct unacked *u, const uint64_t *tags, size_t count)
{
    for (size_t i = 0; i < count; i++)
        take(u, tags[i]);
    while (count > 0)
        put(u, tags[--count]);
}

START_TEST(test_rollback)
{
    enum { TAGS = 200 };
    uint64_t tags[TAGS];
    struct unacked u;
    unacked_init(&u);
    for (uint64_t tag = 1; tag <= TAGS; tag++)
        put(&u, tag);
    for (size_t i = 0; i < TAGS; i++) /* all, oldest first: the directory empties */
        tags[i] = i + 1;
    roll_back(&u, tags, TAGS);
    for (size_t i = 0; i < TAGS; i++) /* all, newest first */
        tags[i] = TAGS - i;
    roll_back(&u, tags, TAGS);
    for (size_t i = 0; i < TAGS / 2; i++) /* holes in the middle, from there outwards */
        tags[i] = i % 2 ? TAGS / 2 + i : TAGS / 2 - i;
    roll_back(&u, tags, TAGS / 2);
    put(&u, TAGS + 1);
    for (uint64_t tag = 1; tag <= TAGS + 1; tag++)
        take_first(&u, tag);
    unacked_free(&u);
}
END_TEST

/* Large enough that a walk over the chunks for each of them would not end in time. */
START_TEST(test_rollback_of_many)
{
    enum { CHUNKS = 150000 };
    struct unacked u;
    unacked_init(&u);
    for (uint64_t i = 0; i <= 2 * CHUNKS; i++)
        put(&u, i * 32 + 7);
    for (uint64_t i = CHUNKS; i < 2 * CHUNKS; i++)
        take(&u, i * 32 + 7);
    for (uint64_t i = 2 * CHUNKS; i-- > CHUNKS;) /* the newest first: acked in order */
        put(&u, i * 32 + 7);
    for (uint64_t i = 2 * CHUNKS; i-- > CHUNKS;)
        take(&u, i * 32 + 7);
    for (uint64_t i = CHUNKS; i < 2 * CHUNKS; i++) /* the oldest first: acked backwards */
        put(&u, i * 32 + 7);
    for (uint64_t i = 0; i <= 2 * CHUNKS; i++)
        take_first(&u, i * 32 + 7);
    unacked_free(&u);
}
END_TEST

START_TEST(test_put_twice)
{
    struct unacked u;
    unacked_init(&u);
    put(&u, 5);
    put(&u, 5);
}
END_TEST

START_TEST(test_free_with_items)
{
    struct unacked u;
    unacked_init(&u);
    put(&u, 5);
    unacked_free(&u);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("unacked");
    TCase *tcase = tcase_create("unacked");
    tcase_add_test(tcase, test_take);
    tcase_add_test(tcase, test_take_first_up_to);
    tcase_add_test(tcase, test_one_at_a_time);
    tcase_add_test(tcase, test_pinned_oldest);
    tcase_add_test(tcase, test_many_pinned);
    tcase_add_test(tcase, test_directory_shrinks);
    tcase_add_test(tcase, test_rollback);
    tcase_add_test(tcase, test_rollback_of_many);
    tcase_add_test_raise_signal(tcase, test_put_twice, 6);
    tcase_add_test_raise_signal(tcase, test_free_with_items, 6);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
