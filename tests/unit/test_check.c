/* test_check.c - the offline check and dump: what they say of whole, damaged and foreign
 * directories, and that they agree with what a start does. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/check.h"
#include "store/dump.h"
#include "store/format.h"
#include "store/store.h"
#include "tests/sim/fakedisk.h"
#include "tests/sim/recovered.h"
#include "tests/unit/suite.h"

enum { SEGMENT = 16 * 1024, HEADER = 4096 };

#define FIRST "data/journal-000001.seg"
#define SECOND "data/journal-000002.seg"
#define DEFINITIONS "data/definitions.db"

static struct fakedisk *disk;
static struct store *store;
static struct recovered found;
static struct buf saved;
static char *said;
static size_t said_size;

static int try_start(void)
{
    struct store_options options = {
        .dir = "data", .io = fakedisk_io(disk), .segment_bytes = SEGMENT, .without_thread = true};
    struct recovery_sink sink = recovered_sink(&found);
    char error[512];
    recovered_free(&found);
    int failed = store_open(&store, &options, error, sizeof error);
    return failed ? failed : store_recover(store, &sink, error, sizeof error);
}

static void stop(void)
{
    store_abandon(&store);
    fakedisk_crash(disk, FAKEDISK_LOSE_ALL);
}

static void setup(void)
{
    disk = fakedisk_new(23);
    ck_assert_int_eq(try_start(), 0);
    store_define(store, &(struct definition){.kind = DEFINITION_VHOST, .name = SLICE("/")});
    store_define(
        store, &(struct definition){
                   .kind = DEFINITION_QUEUE, .id = 1, .vhost = SLICE("/"), .name = SLICE("q\n1")});
    store_define(store, &(struct definition){.kind = DEFINITION_BINDING,
                                             .vhost = SLICE("/"),
                                             .source = SLICE("ex"),
                                             .to_queue = true,
                                             .name = SLICE("q\n1"),
                                             .key = SLICE("key")});
    store_commit(store);
    store_sync_now(store);
}

static void teardown(void)
{
    store_abandon(&store);
    recovered_free(&found);
    buf_free(&saved);
    free(said);
    said = NULL;
    fakedisk_free(&disk);
}

static void put(uint64_t sequence, const char *body)
{
    struct stored_target target = {1, sequence};
    store_message(store, &(struct stored_message){.targets = &target,
                                                  .target_count = 1,
                                                  .exchange = SLICE("ex"),
                                                  .key = SLICE("key"),
                                                  .props = SLICE("p\x01"),
                                                  .body = slice_of_string(body)});
}

static void sync_all(void)
{
    store_commit(store);
    store_sync_now(store);
    ck_assert_int_eq(store_failed(store), 0);
}

static enum check_status look(enum check_status (*tool)(const struct io *, const char *, FILE *))
{
    uint64_t before = fakedisk_changes(disk);
    free(said);
    FILE *out = open_memstream(&said, &said_size);
    enum check_status status = tool(fakedisk_io(disk), "data", out);
    fclose(out);
    ck_assert_msg(fakedisk_changes(disk) == before, "the directory was changed");
    return status;
}

static enum check_status check(void)
{
    return look(check_run);
}

static void expect_said(const char *text)
{
    ck_assert_msg(strstr(said, text), "wanted '%s' in:\n%s", text, said);
}

static void save(const char *path)
{
    struct slice bytes = fakedisk_get(disk, path);
    ck_assert_ptr_nonnull(bytes.at);
    saved.len = 0;
    buf_append_slice(&saved, bytes);
}

static uint64_t batch_size(uint64_t offset)
{
    return format_u64(saved.at + offset + BATCH_SIZE);
}

/* Three batches, in `saved` as well; returns where the second and the third begin and where that
 * ends. */
static void three_batches(uint64_t at[3])
{
    struct store_run run = {0};
    put(1, "first"), put(2, "first too");
    sync_all();
    put(3, "second");
    store_ack(store, &run, 1, 1), store_ack(store, &run, 1, 2);
    sync_all();
    put(4, "third");
    store_delivered(store, &(struct store_run){0}, 1, 3);
    sync_all();
    stop();
    save(FIRST);
    uint64_t offset = HEADER;
    for (int i = 0; i < 3; i++)
        at[i] = offset += batch_size(offset);
}

START_TEST(clean_directory)
{
    uint64_t at[3];
    char line[256];
    three_batches(at);
    ck_assert_int_eq(check(), CHECK_CLEAN);
    expect_said(DEFINITIONS
                ": ok: vhosts 1, users 0, permissions 0, topic_permissions 0, parameters 0, exchanges 0, "
                "queues 1, bindings 1; schema version 6\n");
    snprintf(line, sizeof line,
             FIRST ": ok: epoch 1, 3 batches, 4 messages, 1 ranges of acks, 1 delivered marks, "
                   "%llu of %d bytes\n",
             (unsigned long long)at[2], SEGMENT);
    expect_said(line);
    expect_said("data: clean; a start recovers 2 messages\n");
}
END_TEST

START_TEST(dump_prints_everything)
{
    uint64_t at[3];
    three_batches(at);
    ck_assert_int_eq(look(dump_run), CHECK_CLEAN);
    char wanted[2048];
    unsigned long long one = HEADER + 56, two = one + format_u32(saved.at + one), b2 = at[0],
                       b3 = at[1];
    unsigned long long acks = b2 + 56 + format_u32(saved.at + b2 + 56);
    unsigned long long marks = b3 + 56 + format_u32(saved.at + b3 + 56);
    snprintf(wanted, sizeof wanted,
             "vhost name=\"/\"\n"
             "queue 1 vhost=\"/\" name=\"q\\0a1\"\n"
             "binding vhost=\"/\" queue=\"q\\0a1\" source=\"ex\" key=\"key\"\n"
             "segment " FIRST " in use epoch=1 bytes=16384 after-batch=0\n"
             "batch 2 offset=4096 size=%llu oldest-epoch=1\n"
             "  %llu+52 message 1:1 exchange=\"ex\" key=\"key\" properties=2:\"p\\01\" "
             "body=5:\"first\"\n"
             "  %llu+56 message 1:2 exchange=\"ex\" key=\"key\" properties=2:\"p\\01\" "
             "body=9:\"first too\"\n"
             "batch 3 offset=%llu size=%llu oldest-epoch=1\n"
             "  %llu+53 message 1:3 exchange=\"ex\" key=\"key\" properties=2:\"p\\01\" "
             "body=6:\"second\"\n"
             "  %llu+40 acks 1:1-2\n"
             "batch 4 offset=%llu size=%llu oldest-epoch=1\n"
             "  %llu+52 message 1:4 exchange=\"ex\" key=\"key\" properties=2:\"p\\01\" "
             "body=5:\"third\"\n"
             "  %llu+32 delivered 1:3\n",
             at[0] - (unsigned long long)HEADER, one, two, b2, at[1] - b2, b2 + 56, acks, b3,
             at[2] - b3, b3 + 56, marks);
    ck_assert_str_eq(said, wanted);
}
END_TEST

START_TEST(long_parts_are_cut)
{
    char body[200], wanted[256];
    memset(body, 'x', sizeof body - 1);
    body[sizeof body - 1] = 0;
    put(1, body);
    sync_all();
    stop();
    ck_assert_int_eq(look(dump_run), CHECK_CLEAN);
    snprintf(wanted, sizeof wanted, " body=199:\"%.48s\"…\n", body);
    expect_said(wanted);
}
END_TEST

/* The check calls damaged exactly what a start refuses; what follows in the file stays as it was.
 */
static void agree(uint64_t at, const char *what)
{
    enum check_status status = check();
    ck_assert_msg(status == CHECK_CLEAN || status == CHECK_DAMAGED, "%s %llu: %s", what,
                  (unsigned long long)at, said);
    int failed = try_start();
    ck_assert_msg((failed == 0) == (status == CHECK_CLEAN),
                  "%s %llu: a start says %d, the check:\n%s", what, (unsigned long long)at, failed,
                  said);
    stop();
}

START_TEST(every_flipped_bit_is_found)
{
    uint64_t at[3], damaged = 0;
    three_batches(at);
    for (uint64_t i = 0; i < at[2]; i++) {
        if (i == SEGMENT_FIELDS_END)
            i = HEADER; /* zeros that mean nothing */
        saved.at[i] ^= (uint8_t)(1 << i % 8);
        fakedisk_put(disk, FIRST, buf_slice(&saved));
        saved.at[i] ^= (uint8_t)(1 << i % 8);
        enum check_status status = check();
        damaged += status == CHECK_DAMAGED;
        if (status == CHECK_DAMAGED)
            expect_said(FIRST ": damaged at offset ");
        if (i >= at[0] && i < at[1] && status == CHECK_DAMAGED)
            expect_said(" batches, "); /* the others are read all the same */
        agree(i, "flipped");
    }
    ck_assert_uint_gt(damaged, SEGMENT_FIELDS_END + (at[1] - HEADER) * 9 / 10);
}
END_TEST

START_TEST(every_damage_is_named)
{
    uint64_t at[3];
    char line[160];
    three_batches(at);
    saved.at[HEADER + 56 + 30] ^= 1; /* the first record */
    saved.at[at[0] + 20] ^= 1;       /* the second batch's header */
    fakedisk_put(disk, FIRST, buf_slice(&saved));
    ck_assert_int_eq(check(), CHECK_DAMAGED);
    snprintf(
        line, sizeof line,
        FIRST
        ": damaged at offset %d: the record is not valid, but a later batch at offset %llu is\n",
        HEADER + 56, (unsigned long long)at[1]);
    expect_said(line);
    snprintf(
        line, sizeof line,
        FIRST
        ": damaged at offset %llu: the batch is not valid, but a later batch at offset %llu is\n",
        (unsigned long long)at[0], (unsigned long long)at[1]);
    expect_said(line);
    expect_said(" 3 batches, 3 messages, 1 ranges of acks, 1 delivered marks, "); /* all but one record */
    expect_said("data: damaged in 2 places; a start recovers 2 messages, or refuses if store.quarantine = "
                "false\n");
    ck_assert_int_eq(look(dump_run), CHECK_DAMAGED);
    expect_said("DAMAGED " FIRST " offset=4152 ");
    expect_said(" body=5:\"third\"\n");
}
END_TEST

START_TEST(truncated_tails)
{
    uint64_t at[3], torn = 0;
    three_batches(at);
    for (uint64_t end = 0; end < at[2]; end += end < HEADER - 8 ? 8 : 1) {
        fakedisk_put(disk, FIRST, slice_of(saved.at, end));
        ck_assert_int_ne(check(), CHECK_CANNOT);
        torn += strstr(said, "an unfinished batch at offset") != NULL;
        agree(end, "cut at");
    }
    ck_assert_uint_gt(torn, 100);
}
END_TEST

static void three_segments(void)
{
    char body[3000];
    memset(body, 'b', sizeof body - 1);
    body[sizeof body - 1] = 0;
    for (uint64_t i = 1; i <= 10; i++) {
        put(i, body);
        sync_all();
    }
    stop();
    ck_assert_ptr_nonnull(fakedisk_get(disk, "data/journal-000003.seg").at);
}

START_TEST(missing_segment)
{
    three_segments();
    ck_assert_int_eq(check(), CHECK_CLEAN);
    ck_assert_int_eq(fakedisk_io(disk)->unlink(disk, SECOND), 0);
    ck_assert_int_eq(check(), CHECK_DAMAGED);
    expect_said("data: damaged: the journal's segment of epoch 2 is missing (the next is "
                "journal-000003.seg of "
                "epoch 3)\n");
    expect_said("journal-000003.seg: ok: ");
}
END_TEST

START_TEST(middle_segment_cut_short)
{
    three_segments();
    save(SECOND);
    uint64_t end = HEADER + batch_size(HEADER);
    fakedisk_put(disk, SECOND, slice_of(saved.at, end));
    agree(end, "cut at");
    ck_assert_int_eq(check(), CHECK_DAMAGED);
    expect_said("batches are missing, for later segments build on them");
    expect_said(FIRST ": ok: ");
}
END_TEST

START_TEST(newer_format)
{
    uint64_t at[3];
    three_batches(at);
    format_put_u32(saved.at + SEGMENT_VERSION, 7);
    format_put_u64(saved.at + SEGMENT_CHECKSUM, format_segment_checksum(saved.at));
    fakedisk_put(disk, FIRST, buf_slice(&saved));
    ck_assert_int_eq(check(), CHECK_DAMAGED);
    expect_said(FIRST
                ": damaged at offset 8: its format has version 7, this program knows version 2\n");
}
END_TEST

START_TEST(damaged_definitions)
{
    put(1, "one");
    sync_all();
    ck_assert_int_eq(store_failed(store), 0);
    store_close(&store);
    save(DEFINITIONS);
    unsigned damaged = 0, pages = (unsigned)(saved.len / 4096);
    for (unsigned page = 0; page < pages; page++) {
        for (unsigned i = 0; i < 100; i++)
            saved.at[page * 4096 + i] ^= 0x5a;
        fakedisk_put(disk, DEFINITIONS, buf_slice(&saved));
        if (check() == CHECK_DAMAGED) {
            damaged++;
            expect_said(DEFINITIONS);
        }
        for (unsigned i = 0; i < 100; i++)
            saved.at[page * 4096 + i] ^= 0x5a;
    }
    ck_assert_uint_ge(pages, 7);
    ck_assert_uint_eq(damaged, pages);
    fakedisk_put(disk, DEFINITIONS, buf_slice(&saved));
    ck_assert_int_eq(check(), CHECK_CLEAN);
    ck_assert_int_eq(fakedisk_io(disk)->unlink(disk, DEFINITIONS), 0);
    ck_assert_int_eq(check(), CHECK_DAMAGED);
    expect_said(DEFINITIONS ": missing, though the directory holds a journal");
}
END_TEST

/* The name is a client's, and goes to a terminal. */
START_TEST(damaged_names_are_escaped)
{
    store_close(&store);
    save(DEFINITIONS);
    unsigned changed = 0;
    for (uint8_t *at = saved.at; (at = memmem(at, (size_t)(saved.at + saved.len - at), "q\n1", 3)); changed++)
        at[2] = 0x1b;
    ck_assert_uint_gt(changed, 0);
    fakedisk_put(disk, DEFINITIONS, buf_slice(&saved));
    ck_assert_int_eq(check(), CHECK_DAMAGED);
    expect_said(": damaged: a row of the table queue has another checksum, perhaps that of \"q\\0a\\1b\"\n");
    ck_assert_ptr_null(strchr(said, 0x1b));
}
END_TEST

START_TEST(write_ahead_log_counts)
{
    uint64_t at[3];
    three_batches(at);
    ck_assert_uint_gt(fakedisk_get(disk, "data/definitions.db-wal").len, 0);
    ck_assert_int_eq(check(), CHECK_CLEAN);
    expect_said("queues 1, ");
}
END_TEST

START_TEST(what_cannot_be_entered)
{
    char wanted[128];
    ck_assert_int_eq(check(), CHECK_CANNOT);
    snprintf(wanted, sizeof wanted, "data: in use by the process with pid %ld\n", (long)getpid());
    ck_assert_str_eq(said, wanted);
    ck_assert_int_eq(look(dump_run), CHECK_CANNOT);
    ck_assert_str_eq(said, wanted);
    stop();
    ck_assert_int_eq(check(), CHECK_CLEAN);
    fakedisk_free(&disk);
    disk = fakedisk_new(1);
    ck_assert_int_eq(check(), CHECK_CANNOT);
    fakedisk_io(disk)->mkdir(disk, "data", 0755);
    ck_assert_int_eq(check(), CHECK_CANNOT);
    ck_assert_str_eq(said, "data: holds neither definitions.db nor a journal\n");
}
END_TEST

START_TEST(read_error_is_named)
{
    uint64_t at[3];
    three_batches(at);
    ck_assert_int_eq(fakedisk_io(disk)->unlink(disk, "data/lock"), 0);
    ck_assert_int_eq(check(), CHECK_CLEAN); /* a copy without the lock file */
    fakedisk_put(disk, "data/journal-000009.seg",
                 SLICE("garbage that is longer than a header's fields, all of it"));
    ck_assert_int_eq(check(), CHECK_DAMAGED);
    expect_said(
        "data/journal-000009.seg: damaged at offset 0: the segment's header is not valid\n");
    expect_said(FIRST ": ok: ");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("check");
    TCase *tests = tcase_create("all");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, clean_directory);
    tcase_add_test(tests, dump_prints_everything);
    tcase_add_test(tests, long_parts_are_cut);
    tcase_add_test(tests, every_flipped_bit_is_found);
    tcase_add_test(tests, every_damage_is_named);
    tcase_add_test(tests, truncated_tails);
    tcase_add_test(tests, missing_segment);
    tcase_add_test(tests, middle_segment_cut_short);
    tcase_add_test(tests, newer_format);
    tcase_add_test(tests, damaged_definitions);
    tcase_add_test(tests, damaged_names_are_escaped);
    tcase_add_test(tests, write_ahead_log_counts);
    tcase_add_test(tests, what_cannot_be_entered);
    tcase_add_test(tests, read_error_is_named);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
