/* test_tls_keys.c - a client changes its keys of TLS 1.3: that is its right, but not all that it may do. */
#include <check.h>
#include <errno.h>

#include "net/net.h"
#include "tests/unit/suite.h"
#include "tests/unit/tls_world.h"

START_TEST(key_updates)
{
    uint8_t *room = mem_alloc(NET_READ_SIZE);
    size_t put;
    open_ends(TLS1_3_VERSION);
    shake();
    struct buf heard = {0};
    for (int i = 0; i < 20; i++) {
        ck_assert_int_eq(SSL_key_update(client, SSL_KEY_UPDATE_REQUESTED), 1);
        ck_assert_int_eq(SSL_write_ex(client, "again", 5, &put), 1);
        ck_assert_int_eq(tls_read(tls, room, NET_READ_SIZE), 5);
        struct iovec part = {room, 5};
        ck_assert_int_eq(tls_writev(tls, &part, 1), 5);
        hear(&heard);
    }
    ck_assert_uint_eq(heard.len, 100);
    buf_free(&heard);
    close_ends();
    mem_free(room);
}
END_TEST

/* The client's next `count` records are changes of its keys, written while the server reads; what the server
 * says to the last read. */
static ssize_t change_keys(uint8_t *room, size_t count)
{
    ssize_t said = -EAGAIN;
    for (size_t i = 0; i < count && (said > 0 || said == -EAGAIN); i++) {
        ck_assert_int_eq(SSL_key_update(client, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
        while (SSL_do_handshake(client) != 1 && (said > 0 || said == -EAGAIN))
            said = tls_read(tls, room, NET_READ_SIZE);
    }
    if (said > 0 || said == -EAGAIN)
        said = tls_read(tls, room, NET_READ_SIZE);
    return said;
}

/* A change of keys has 27 octets and costs as much as opening some 100 KB: thousands of them in a turn
 * would hold up everybody else. */
START_TEST(no_flood_of_key_updates)
{
    uint8_t *room = mem_alloc(NET_READ_SIZE);
    size_t put;
    open_ends(TLS1_3_VERSION);
    shake();
    ck_assert_int_eq(change_keys(room, 60), -EAGAIN);
    ck_assert_int_eq(change_keys(room, 60), -EPROTO);
    close_ends();
    /* Not even with a little data in between. */
    open_ends(TLS1_3_VERSION);
    shake();
    ssize_t said = 1;
    for (int i = 0; i < 200 && said > 0; i++) {
        ck_assert_int_eq(SSL_key_update(client, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
        ck_assert_int_eq(SSL_write_ex(client, "again", 5, &put), 1);
        said = tls_read(tls, room, NET_READ_SIZE);
    }
    ck_assert_int_eq(said, -EPROTO);
    close_ends();
    mem_free(room);
}
END_TEST

/* Who has much to say may change keys for ever. */
START_TEST(key_updates_with_data)
{
    enum { TIMES = 300, SIZE = 16384 };
    uint8_t *room = mem_alloc(NET_READ_SIZE), *said = mem_zalloc(SIZE);
    size_t total = 0, put;
    open_ends(TLS1_3_VERSION);
    shake();
    for (int i = 0; i < TIMES; i++) {
        ck_assert_int_eq(SSL_key_update(client, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
        for (int left = 4; left > 0;) {
            left -= SSL_write_ex(client, said, SIZE, &put);
            ssize_t got = tls_read(tls, room, NET_READ_SIZE);
            ck_assert(got > 0 || got == -EAGAIN);
            total += got > 0 ? (size_t)got : 0;
        }
    }
    ck_assert_uint_eq(total, 4 * SIZE * TIMES);
    close_ends();
    mem_free(said);
    mem_free(room);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tls keys");
    TCase *tcase = tcase_create("tls keys");
    tcase_add_unchecked_fixture(tcase, make_files, remove_files);
    tcase_add_test(tcase, key_updates);
    tcase_add_test(tcase, no_flood_of_key_updates);
    tcase_add_test(tcase, key_updates_with_data);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
