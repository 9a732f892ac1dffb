/* test_rand.c - random numbers: repeatable when seeded, within bounds, names well formed. */
#include <check.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/rand.h"
#include "tests/unit/suite.h"

START_TEST(test_seeded_is_repeatable)
{
    struct rand a = rand_seeded(42), b = rand_seeded(42), c = rand_seeded(43);
    unsigned same = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t number = rand_u64(&a);
        ck_assert_uint_eq(number, rand_u64(&b));
        same += number == rand_u64(&c);
    }
    ck_assert_uint_eq(same, 0);
}
END_TEST

START_TEST(test_secure_is_not)
{
    struct rand a = rand_secure(), b = rand_secure();
    unsigned same = 0;
    for (int i = 0; i < 1000; i++)
        same += rand_u64(&a) == rand_u64(&b);
    ck_assert_uint_eq(same, 0);
    ck_assert_uint_eq(a.state, 0); /* nothing is kept that the next one could be computed from */
}
END_TEST

START_TEST(test_below)
{
    struct rand rand = rand_seeded(1);
    unsigned seen[10] = {0};
    for (int i = 0; i < 10000; i++)
        seen[rand_below(&rand, 10)]++;
    for (int i = 0; i < 10; i++)
        ck_assert(seen[i] > 800 && seen[i] < 1200); /* a fixed seed: no luck in it */
    ck_assert_uint_eq(rand_below(&rand, 1), 0);
    ck_assert_uint_lt(rand_below(&rand, UINT64_MAX), UINT64_MAX);
}
END_TEST

START_TEST(test_bytes)
{
    struct rand secure = rand_secure(), seeded = rand_seeded(1);
    struct rand *both[] = {&secure, &seeded};
    for (int which = 0; which < 2; which++)
        for (size_t size = 0; size < 40; size++) {
            unsigned char bytes[42] = {0}, changed[42] = {0};
            for (int again = 0; again < 64; again++) {
                rand_bytes(both[which], bytes + 1, size);
                for (size_t i = 0; i < sizeof(bytes); i++)
                    changed[i] |= bytes[i];
            }
            for (size_t i = 0; i < sizeof(bytes); i++) /* all of them, no more than them */
                ck_assert_int_eq(changed[i] != 0, i >= 1 && i <= size);
        }
}
END_TEST

START_TEST(test_names)
{
    struct rand rand = rand_secure();
    char one[64], two[64];
    memset(one, 'x', sizeof(one));
    rand_name(&rand, "amq.gen-", one);
    rand_name(&rand, "amq.gen-", two);
    ck_assert_uint_eq(strlen(one), 8 + 22);
    ck_assert_int_eq(one[31], 'x');
    ck_assert(strncmp(one, "amq.gen-", 8) == 0);
    for (const char *c = one + 8; *c; c++)
        ck_assert(isalnum((unsigned char)*c) || *c == '-' || *c == '_');
    ck_assert_str_ne(one, two);
    rand_name(&rand, "", one);
    ck_assert_uint_eq(strlen(one), 22);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rand");
    TCase *tcase = tcase_create("rand");
    tcase_add_test(tcase, test_seeded_is_repeatable);
    tcase_add_test(tcase, test_secure_is_not);
    tcase_add_test(tcase, test_below);
    tcase_add_test(tcase, test_bytes);
    tcase_add_test(tcase, test_names);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
