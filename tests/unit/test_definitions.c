/* test_definitions.c - definitions in SQLite: round trip, order within a batch, damage, crashes. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/schema.h"
#include "store/store.h"
#include "tests/sim/fakedisk.h"
#include "tests/sim/recovered.h"
#include "tests/unit/suite.h"

#define DB "data/definitions.db"

static struct fakedisk *disk;
static struct store *store;
static struct recovered found;
static struct buf wanted;
static char error[512];

static int try_start(void)
{
    struct store_options options = {
        .dir = "data", .io = fakedisk_io(disk), .segment_bytes = 16384, .without_thread = true};
    struct recovery_sink sink = recovered_sink(&found);
    recovered_free(&found);
    error[0] = 0;
    int failed = store_open(&store, &options, error, sizeof error);
    return failed ? failed : store_recover(store, &sink, error, sizeof error);
}

static void start(void)
{
    int failed = try_start();
    ck_assert_msg(failed == 0, "%s", error);
}

static void setup(void)
{
    disk = fakedisk_new(3);
    start();
}

static void teardown(void)
{
    store_abandon(&store);
    recovered_free(&found);
    buf_free(&wanted);
    fakedisk_free(&disk);
}

static void sync_all(void)
{
    store_commit(store);
    store_sync_now(store);
    ck_assert_int_eq(store_failed(store), 0);
}

static void restart(void)
{
    store_abandon(&store);
    fakedisk_crash(disk, FAKEDISK_LOSE_ALL);
    start();
}

static void define(struct definition definition)
{
    store_define(store, &definition);
}

static void undefine(struct definition definition)
{
    store_undefine(store, &definition);
}

static void want(struct definition definition)
{
    recovered_print_definition(&wanted, &definition);
}

static void expect_wanted(void)
{
    ck_assert_str_eq(recovered_text(&found.definitions), recovered_text(&wanted));
    wanted.len = 0;
}

#define VHOST(n)                                                                                   \
    (struct definition)                                                                            \
    {                                                                                              \
        .kind = DEFINITION_VHOST, .name = SLICE(n)                                                 \
    }
#define USER(n, hash, t)                                                                           \
    (struct definition)                                                                            \
    {                                                                                              \
        .kind = DEFINITION_USER, .name = SLICE(n), .password_hash = SLICE(hash), .tags = SLICE(t)  \
    }
#define PERMISSION(n, v, c, w, r)                                                                  \
    (struct definition)                                                                            \
    {                                                                                              \
        .kind = DEFINITION_PERMISSION, .name = SLICE(n), .vhost = SLICE(v), .configure = SLICE(c), \
        .write = SLICE(w), .read = SLICE(r)                                                        \
    }
#define EXCHANGE(v, n, t, a, i, x)                                                                 \
    (struct definition)                                                                            \
    {                                                                                              \
        .kind = DEFINITION_EXCHANGE, .vhost = SLICE(v), .name = SLICE(n), .type = SLICE(t),        \
        .auto_delete = a, .internal = i, .args = SLICE(x)                                          \
    }
#define QUEUE(i, v, n, a, x)                                                                       \
    (struct definition)                                                                            \
    {                                                                                              \
        .kind = DEFINITION_QUEUE, .id = i, .vhost = SLICE(v), .name = SLICE(n), .auto_delete = a,  \
        .args = SLICE(x)                                                                           \
    }
#define BINDING(v, s, q, n, k, x)                                                                  \
    (struct definition)                                                                            \
    {                                                                                              \
        .kind = DEFINITION_BINDING, .vhost = SLICE(v), .source = SLICE(s), .to_queue = q,          \
        .name = SLICE(n), .key = SLICE(k), .args = SLICE(x)                                        \
    }

START_TEST(every_kind_comes_back_in_order)
{
    struct definition all[] = {
        VHOST("/"),
        VHOST("prod"),
        USER("guest", "\x00\x01\xff hash", "administrator"),
        USER("plain", "", ""),
        PERMISSION("guest", "/", ".*", "^a$", ""),
        PERMISSION("guest", "prod", "", "", ".*"),
        {.kind = DEFINITION_TOPIC_PERMISSION, .name = SLICE("guest"), .vhost = SLICE("/"),
         .source = SLICE("amq.topic"), .write = SLICE("^a"), .read = SLICE(".*")},
        {.kind = DEFINITION_PARAMETER, .type = SLICE("cluster"), .name = SLICE("name"), .args = SLICE("1")},
        {.kind = DEFINITION_PARAMETER, .vhost = SLICE("/"), .type = SLICE("policy"), .name = SLICE("p"),
         .args = SLICE("{\"pattern\":\".*\"}")},
        EXCHANGE("/", "a", "topic", true, false, "args \x00 with zero"),
        EXCHANGE("/", "b", "headers", false, true, ""),
        QUEUE(1, "/", "q one", false, "\x00\x00\x00\x05"),
        QUEUE(2, "/", "", true, ""),
        QUEUE((uint64_t)STORE_QUEUE_ID_MAX, "prod", "q one", false, ""),
        BINDING("/", "a", false, "b", "#", ""),
        BINDING("/", "a", true, "q one", "", "x"),
        BINDING("/", "a", true, "q one", "k", ""),
        BINDING("/", "a", true, "q one", "k", "x"),
        BINDING("/", "zero \x00 inside", true, "q", "\x00\xff not utf-8", ""),
    };
    size_t count = sizeof all / sizeof all[0];
    for (size_t i = count; i--;)
        define(all[i]);
    for (size_t i = 0; i < count; i++)
        want(all[i]);
    sync_all();
    restart();
    expect_wanted();
    ck_assert_uint_eq(store_queue_id_next(store), STORE_QUEUE_ID_MAX + 1);
}
END_TEST

START_TEST(definitions_are_replaced_and_deleted_by_identity)
{
    define(USER("u", "old", "old"));
    define(USER("v", "h", "t"));
    define(PERMISSION("u", "/", "old", "old", "old"));
    define(EXCHANGE("/", "e", "direct", false, false, ""));
    define(QUEUE(1, "/", "q", false, "old"));
    define(QUEUE(2, "/", "r", false, ""));
    define(BINDING("/", "e", true, "q", "k", "x"));
    define(BINDING("/", "e", true, "q", "k", "y"));
    define(BINDING("/", "e", false, "q", "k", "y"));
    sync_all();
    define(USER("u", "new", "new"));
    define(PERMISSION("u", "/", "new", "new", "new"));
    define(EXCHANGE("/", "e", "fanout", true, true, "z"));
    define(QUEUE(1, "/", "q", true, "new"));
    undefine((struct definition){.kind = DEFINITION_USER, .name = SLICE("v")});
    undefine((struct definition){.kind = DEFINITION_QUEUE, .id = 2});
    undefine(BINDING("/", "e", true, "q", "k", "y"));
    undefine(BINDING("/", "e", true, "q", "no such", ""));
    undefine(PERMISSION("u", "no such", "", "", ""));
    sync_all();
    restart();
    want(USER("u", "new", "new"));
    want(PERMISSION("u", "/", "new", "new", "new"));
    want(EXCHANGE("/", "e", "fanout", true, true, "z"));
    want(QUEUE(1, "/", "q", true, "new"));
    want(BINDING("/", "e", false, "q", "k", "y"));
    want(BINDING("/", "e", true, "q", "k", "x"));
    expect_wanted();
}
END_TEST

START_TEST(changes_of_one_batch_act_in_order)
{
    define(QUEUE(1, "/", "q", false, ""));
    sync_all();
    undefine(QUEUE(1, "/", "q", false, ""));
    define(QUEUE(2, "/", "q", false, "redeclared"));
    define(VHOST("v"));
    undefine(VHOST("v"));
    undefine(VHOST("w"));
    define(VHOST("w"));
    sync_all();
    restart();
    want(VHOST("w"));
    want(QUEUE(2, "/", "q", false, "redeclared"));
    expect_wanted();
    ck_assert_uint_eq(store_queue_id_next(store), 3);
}
END_TEST

/* Twice as many as a growing log holds before it is folded into the file. */
START_TEST(many_definitions_in_many_batches)
{
    char name[32];
    for (unsigned i = 1; i <= 20000; i++) {
        int len = snprintf(name, sizeof name, "queue-%u", i * 7919 % 20011);
        define((struct definition){.kind = DEFINITION_QUEUE,
                                   .id = i,
                                   .vhost = SLICE("/"),
                                   .name = slice_of(name, (size_t)len),
                                   .args = SLICE("some arguments that take room")});
        if (i % 500 == 0)
            sync_all();
        if (i % 3 == 0)
            undefine((struct definition){.kind = DEFINITION_QUEUE, .id = i - 1});
    }
    sync_all();
    restart();
    unsigned lines = 0;
    for (size_t i = 0; i < found.definitions.len; i++)
        lines += found.definitions.at[i] == '\n';
    ck_assert_uint_eq(lines, 20000 - 6666);
}
END_TEST

START_TEST(clean_close_leaves_one_file)
{
    define(VHOST("/"));
    store_close(&store);
    ck_assert_ptr_nonnull(fakedisk_get(disk, DB).at);
    ck_assert_ptr_null(fakedisk_get(disk, DB "-wal").at);
    ck_assert_ptr_null(fakedisk_get(disk, DB ".new").at);
    start();
    want(VHOST("/"));
    expect_wanted();
}
END_TEST

START_TEST(damaged_file_is_named)
{
    store_close(&store);
    fakedisk_put(disk, DB,
                 SLICE("this is not a database, but it is long enough to look like a file of one, "
                       "which has a header of one hundred bytes at least"));
    ck_assert_int_eq(try_start(), -EILSEQ);
    ck_assert_msg(strncmp(error, DB ": ", strlen(DB) + 2) == 0, "%s", error);
}
END_TEST

START_TEST(newer_schema_is_refused)
{
    struct buf copy = {0};
    store_close(&store);
    buf_append_slice(&copy, fakedisk_get(disk, DB));
    ck_assert_uint_eq(copy.at[63], SCHEMA_VERSION); /* user_version in SQLite's header */
    copy.at[63] = SCHEMA_VERSION + 1;
    fakedisk_put(disk, DB, buf_slice(&copy));
    buf_free(&copy);
    ck_assert_int_eq(try_start(), -ENOTSUP);
    char expected[128];
    snprintf(expected, sizeof expected, DB ": its schema has version %d, this program knows version %d",
             SCHEMA_VERSION + 1, SCHEMA_VERSION);
    ck_assert_str_eq(error, expected);
}
END_TEST

START_TEST(journal_without_definitions_is_refused)
{
    const struct io *io = fakedisk_io(disk);
    store_message(store, &(struct stored_message){.targets = &(struct stored_target){1, 1},
                                                  .target_count = 1,
                                                  .body = SLICE("b")});
    store_close(&store);
    ck_assert_int_eq(io->unlink(io->arg, DB), 0);
    ck_assert_int_eq(try_start(), -EILSEQ);
    ck_assert_str_eq(error, DB ": missing, though the directory holds a journal");
}
END_TEST

/* The plug is pulled at every call of the first start: the next start finds nothing or all of it.
 */
START_TEST(first_start_may_be_interrupted_anywhere)
{
    for (uint64_t at = 1;; at++) {
        teardown();
        disk = fakedisk_new(at);
        fakedisk_fail_at(disk, at, EIO, true);
        int failed = try_start();
        if (failed)
            ck_assert_int_eq(failed, -EIO);
        store_abandon(&store);
        fakedisk_crash(disk, at % 3 ? FAKEDISK_LOSE_SOME : FAKEDISK_LOSE_NONE);
        start();
        define(VHOST("/"));
        sync_all();
        restart();
        want(VHOST("/"));
        expect_wanted();
        if (!failed)
            break;
    }
}
END_TEST

/* The plug is pulled at every call of a batch: its definitions are all there or none is. */
START_TEST(batch_of_definitions_is_all_or_nothing)
{
    for (uint64_t at = 1;; at++) {
        teardown();
        disk = fakedisk_new(1000 + at);
        start();
        define(VHOST("/"));
        sync_all();
        fakedisk_fail_at(disk, fakedisk_changes(disk) + at, ENOSPC, true);
        undefine(VHOST("/"));
        define(VHOST("a"));
        define(QUEUE(1, "a", "q", false, ""));
        store_commit(store);
        store_sync_now(store);
        /* Told of a lack of space by a write, or failed by a sync. */
        bool failed = store_full(store) || store_failed(store);
        store_abandon(&store);
        fakedisk_crash(disk, FAKEDISK_LOSE_SOME);
        start();
        bool old = found.definitions.len && strstr(recovered_text(&found.definitions), "|/|");
        ck_assert(failed || !old);
        if (old) {
            want(VHOST("/"));
        } else {
            want(VHOST("a"));
            want(QUEUE(1, "a", "q", false, ""));
        }
        expect_wanted();
        if (!failed)
            break;
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("definitions");
    TCase *tcase = tcase_create("definitions");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, every_kind_comes_back_in_order);
    tcase_add_test(tcase, definitions_are_replaced_and_deleted_by_identity);
    tcase_add_test(tcase, changes_of_one_batch_act_in_order);
    tcase_add_test(tcase, many_definitions_in_many_batches);
    tcase_add_test(tcase, clean_close_leaves_one_file);
    tcase_add_test(tcase, damaged_file_is_named);
    tcase_add_test(tcase, newer_schema_is_refused);
    tcase_add_test(tcase, journal_without_definitions_is_refused);
    tcase_add_test(tcase, first_start_may_be_interrupted_anywhere);
    tcase_add_test(tcase, batch_of_definitions_is_all_or_nothing);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
