/* test_deliver.c - the one method that is written by hand is what the table would have written. */
#include <check.h>
#include <stdlib.h>

#include "broker/deliver.h"
#include "protocol/frame.h"
#include "tests/unit/suite.h"

static struct slab_pool pool;

static struct message *some_message(struct rand *rand)
{
    uint8_t bytes[512];
    rand_bytes(rand, bytes, sizeof(bytes));
    return message_new(&pool, slice_of(bytes, rand_below(rand, 256)),
                       slice_of(bytes + 256, rand_below(rand, 256)), SLICE("\0\0"), 0);
}

static size_t encode(uint8_t *at, size_t size, const struct method *m, uint16_t channel)
{
    struct writer w = writer_of(at + FRAME_HEAD_SIZE, size - FRAME_OVERHEAD);
    method_encode(&w, m);
    ck_assert(!w.bad);
    frame_write_head(at, FRAME_METHOD, channel, (uint32_t)(w.at - at) - FRAME_HEAD_SIZE);
    *w.at = FRAME_END;
    return (size_t)(w.at - at) + 1;
}

START_TEST(deliver_is_what_the_table_says)
{
    struct rand rand = rand_seeded(7);
    slab_pool_init(&pool);
    for (int i = 0; i < 1000; i++) {
        uint8_t by_hand[1024], by_table[1024], tag[255];
        struct channel ch = {.number = (uint16_t)rand_u64(&rand)};
        rand_bytes(&rand, tag, sizeof(tag));
        struct subscription sub = {.channel = &ch, .tag = slice_of(tag, rand_below(&rand, 256))};
        struct entry entry = {.message = some_message(&rand), .redelivered = i % 2};
        uint64_t number = rand_u64(&rand);
        struct method m = {.id = METHOD_basic_deliver};
        m.basic_deliver.consumer_tag = sub.tag;
        m.basic_deliver.delivery_tag = number;
        m.basic_deliver.redelivered = entry.redelivered;
        m.basic_deliver.exchange = message_exchange(entry.message);
        m.basic_deliver.routing_key = message_key(entry.message);
        size_t size = encode(by_table, sizeof(by_table), &m, ch.number);
        uint8_t *end = deliver_write_method(by_hand, &sub, number, &entry);
        ck_assert_uint_eq((size_t)(end - by_hand), size);
        ck_assert_mem_eq(by_hand, by_table, size);
        message_unref(&pool, &entry.message);
    }
    slab_pool_free(&pool);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("deliver");
    TCase *tcase = tcase_create("deliver");
    tcase_add_test(tcase, deliver_is_what_the_table_says);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
