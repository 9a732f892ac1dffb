/* test_journal.c - the journal's bytes: where they are, which damage is cut off, which is refused.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "store/format.h"
#include "store/store.h"
#include "tests/sim/fakedisk.h"
#include "tests/sim/recovered.h"
#include "tests/unit/suite.h"

enum { SEGMENT = 16 * 1024, HEADER = 4096 };

#define FIRST "data/journal-000001.seg"
#define SECOND "data/journal-000002.seg"

static struct fakedisk *disk;
static struct store *store;
static struct recovered found;
static char error[512];
static struct buf notes, saved;

static void keep_note(void *arg, enum store_note level, const char *text)
{
    (void)arg;
    buf_printf(&notes, "%d %s\n", (int)level, text);
}

static int try_start(void)
{
    struct store_options options = {.dir = "data",
                                    .io = fakedisk_io(disk),
                                    .segment_bytes = SEGMENT,
                                    .without_thread = true,
                                    .note = keep_note};
    struct recovery_sink sink = recovered_sink(&found);
    recovered_free(&found);
    notes.len = 0;
    error[0] = 0;
    int failed = store_open(&store, &options, error, sizeof error);
    return failed ? failed : store_recover(store, &sink, error, sizeof error);
}

static void start(void)
{
    int failed = try_start();
    ck_assert_msg(failed == 0, "%s", error);
}

static void stop(void)
{
    store_abandon(&store);
    fakedisk_crash(disk, FAKEDISK_LOSE_ALL);
}

static void setup(void)
{
    disk = fakedisk_new(11);
    start();
    for (uint64_t id = 1; id <= 2; id++) {
        char name[] = {'q', (char)('0' + id)};
        store_define(store, &(struct definition){
                                .kind = DEFINITION_QUEUE, .id = id, .name = slice_of(name, 2)});
    }
    store_commit(store);
    store_sync_now(store);
}

static void teardown(void)
{
    store_abandon(&store);
    recovered_free(&found);
    buf_free(&notes);
    buf_free(&saved);
    fakedisk_free(&disk);
}

static void put_slice(uint64_t queue_id, uint64_t sequence, struct slice body)
{
    struct stored_target target = {queue_id, sequence};
    store_message(store, &(struct stored_message){.targets = &target,
                                                  .target_count = 1,
                                                  .exchange = SLICE("ex"),
                                                  .key = SLICE("key"),
                                                  .props = SLICE("prp"),
                                                  .body = body});
}

static void put(uint64_t queue_id, uint64_t sequence, const char *body)
{
    put_slice(queue_id, sequence, slice_of_string(body));
}

static void sync_all(void)
{
    store_commit(store);
    store_sync_now(store);
    ck_assert_int_eq(store_failed(store), 0);
}

/* A private copy of a file, in `saved`. */
static void save(const char *path)
{
    struct slice bytes = fakedisk_get(disk, path);
    ck_assert_ptr_nonnull(bytes.at);
    saved.len = 0;
    buf_append_slice(&saved, bytes);
}

static void expect_refused(const char *path, uint64_t offset)
{
    char wanted[128];
    ck_assert_msg(try_start() == -EILSEQ, "offset %llu: %s", (unsigned long long)offset, error);
    snprintf(wanted, sizeof wanted, "%s: damaged at offset %llu: ", path,
             (unsigned long long)offset);
    ck_assert_msg(strncmp(error, wanted, strlen(wanted)) == 0, "wanted '%s', got '%s'", wanted,
                  error);
    stop();
}

static uint64_t batch_size(const uint8_t *bytes, uint64_t offset)
{
    return format_u64(bytes + offset + 16 + 16);
}

/* The offsets of docs/format.md, read without the store's own names for them. */
START_TEST(bytes_are_where_the_format_says)
{
    struct store_run run = {0};
    put(1, 7, "body!");
    put(2, 9, "");
    store_ack(store, &run, 1, 7);
    store_delivered(store, &(struct store_run){0}, 2, 9);
    sync_all();
    put(1, 8, "next");
    sync_all();
    struct slice file = fakedisk_get(disk, FIRST);
    const uint8_t *h = file.at, *b = file.at + HEADER;
    ck_assert_mem_eq(h, "LEVERETJ", 8);
    ck_assert_uint_eq(format_u32(h + 8), FORMAT_VERSION);
    ck_assert_uint_eq(format_u32(h + 12), HEADER);
    ck_assert_uint_eq(format_u64(h + 16), 1);
    ck_assert_uint_eq(format_u64(h + 32), SEGMENT);
    ck_assert_uint_eq(format_u64(h + 40), 0);
    ck_assert_uint_eq(format_u64(h + 48), XXH3_64bits(h, 48));
    uint64_t seed = format_u64(h + 16) + format_u64(h + 24);

    ck_assert_mem_eq(b, "LEVBATCH", 8);
    ck_assert_uint_eq(format_u64(b + 8), XXH3_64bits_withSeed(b + 16, 40, seed + HEADER));
    ck_assert_uint_eq(format_u64(b + 16), 2); /* batch 1 had definitions only */
    ck_assert_uint_eq(format_u64(b + 24), 0);
    ck_assert_uint_eq(format_u64(b + 40), 1);
    ck_assert_uint_eq(format_u32(b + 48), 4);
    const uint8_t *m = b + 56;
    uint32_t size = format_u32(m);
    ck_assert_uint_eq(size, 24 + 16 + 2 + 3 + 3 + 5);
    ck_assert_uint_eq(format_u32(m + 4),
                      (uint32_t)XXH3_64bits_withSeed(m + 8, size - 8, seed + HEADER + 56));
    ck_assert_uint_eq(m[8], 1);
    ck_assert_uint_eq(format_u16(m + 10), 2);
    ck_assert_uint_eq(format_u16(m + 12), 3);
    ck_assert_uint_eq(format_u32(m + 16), 3);
    ck_assert_uint_eq(format_u32(m + 20), 1);
    ck_assert_uint_eq(format_u64(m + 24), 1);
    ck_assert_uint_eq(format_u64(m + 32), 7);
    ck_assert_mem_eq(m + 40, "exkeyprpbody!", 13);
    const uint8_t *a = m + size + format_u32(m + size);
    ck_assert_uint_eq(format_u32(a), 16 + 24);
    ck_assert_uint_eq(a[8], 2);
    ck_assert_uint_eq(format_u32(a + 12), 1);
    ck_assert_uint_eq(format_u64(a + 16), 1);
    ck_assert_uint_eq(format_u64(a + 24), 7);
    ck_assert_uint_eq(format_u64(a + 32), 1);
    const uint8_t *d = a + 40;
    ck_assert_uint_eq(format_u32(d), 16 + 16);
    ck_assert_uint_eq(d[8], 3);
    ck_assert_uint_eq(format_u64(d + 16), 2);
    ck_assert_uint_eq(format_u64(d + 24), 9);
    uint64_t second = format_u64(b + 32);
    ck_assert_uint_eq(second, ((uint64_t)(d + 32 - b) + 7) / 8 * 8);
    ck_assert_mem_eq(b + second, "LEVBATCH", 8);
    ck_assert_uint_eq(format_u64(b + second + 24), 2);
}
END_TEST

/* Three batches; returns where the last one begins and ends. */
static void three_batches(uint64_t *last, uint64_t *end)
{
    put(1, 1, "first"), put(1, 2, "first too");
    sync_all();
    put(1, 3, "second");
    sync_all();
    put(1, 4, "third"), put(2, 1, "third too");
    sync_all();
    stop();
    save(FIRST);
    *last = HEADER + batch_size(saved.at, HEADER);
    *last += batch_size(saved.at, *last);
    *end = *last + batch_size(saved.at, *last);
}

#define FIRST_TWO "1:1 ex|key|prp|first\n1:2 ex|key|prp|first\\20too\n1:3 ex|key|prp|second\n"

/* Cuts the last batch at every byte: the file ends there, or zeros, or an earlier use's bytes
 * follow. */
static void check_torn(uint64_t at, uint64_t last, uint64_t end, int tail)
{
    struct buf torn = {0};
    buf_append(&torn, saved.at, tail == 0 ? at : saved.len);
    for (uint64_t i = at; tail && i < torn.len; i++)
        torn.at[i] = tail == 1 ? 0 : (uint8_t)(i * 31 + 7);
    fakedisk_put(disk, FIRST, buf_slice(&torn));
    buf_free(&torn);
    start();
    uint32_t pad = (uint32_t)(end - at);
    if (pad < 8 && found.message_count == 5) {
        stop(); /* only padding was cut */
        return;
    }
    ck_assert_msg(strcmp(recovered_text(&found.messages), FIRST_TWO) == 0, "cut at %llu, tail %d",
                  (unsigned long long)at, tail);
    if (at >= last + BATCH_HEADER_BYTES)
        ck_assert_msg(strstr(recovered_text(&notes), FIRST ": cut off"), "cut at %llu",
                      (unsigned long long)at);
    /* What is written next takes the place of what was cut. */
    put(1, 4, "again");
    sync_all();
    stop();
    start();
    ck_assert_str_eq(recovered_text(&found.messages), FIRST_TWO "1:4 ex|key|prp|again\n");
    ck_assert_str_eq(recovered_text(&notes), "");
    stop();
}

START_TEST(torn_tail_is_cut_at_every_byte)
{
    uint64_t last, end;
    three_batches(&last, &end);
    for (int tail = 0; tail < 3; tail++)
        for (uint64_t at = last; at < end; at++)
            check_torn(at, last, end, tail);
}
END_TEST

START_TEST(flipped_bit_in_the_last_batch_cuts_it)
{
    uint64_t last, end;
    three_batches(&last, &end);
    for (uint64_t at = last; at < end; at++) {
        saved.at[at] ^= 0x10;
        fakedisk_put(disk, FIRST, buf_slice(&saved));
        saved.at[at] ^= 0x10;
        start();
        if (end - at < 8 && found.message_count == 5) {
            stop();
            continue;
        }
        ck_assert_str_eq(recovered_text(&found.messages), FIRST_TWO);
        stop();
    }
}
END_TEST

/* Any flipped bit before the last batch is refused, and the place is named. */
START_TEST(flipped_bit_in_the_middle_is_refused)
{
    uint64_t last, end, second;
    three_batches(&last, &end);
    second = HEADER + batch_size(saved.at, HEADER);
    for (uint64_t at = HEADER; at < last; at++) {
        uint64_t batch = at < second ? HEADER : second;
        uint64_t next = at < second ? second : last;
        uint64_t record = batch + BATCH_HEADER_BYTES, named = batch;
        for (uint64_t r = record; r < next; r += format_u32(saved.at + r)) {
            if (next - r < 8)
                break; /* the padding */
            if (at >= r)
                named = r;
        }
        uint64_t records_end = named > batch ? named + format_u32(saved.at + named) : 0;
        saved.at[at] ^= 0x04;
        fakedisk_put(disk, FIRST, buf_slice(&saved));
        saved.at[at] ^= 0x04;
        if (named > batch && at >= records_end) {
            start(); /* padding holds nothing */
            ck_assert_uint_eq(found.message_count, 5);
            stop();
        } else {
            expect_refused(FIRST, named);
        }
    }
}
END_TEST

START_TEST(damaged_header_is_refused)
{
    uint64_t last, end;
    three_batches(&last, &end);
    for (unsigned at = 0; at < SEGMENT_FIELDS_END; at++) {
        saved.at[at] ^= 0x80;
        fakedisk_put(disk, FIRST, buf_slice(&saved));
        saved.at[at] ^= 0x80;
        expect_refused(FIRST, 0);
    }
    memset(saved.at, 0, HEADER);
    fakedisk_put(disk, FIRST, buf_slice(&saved));
    expect_refused(FIRST, 0);
}
END_TEST

START_TEST(format_1_is_read)
{
    put(1, 1, "x");
    sync_all();
    stop();
    save(FIRST);
    format_put_u32(saved.at + SEGMENT_VERSION, 1);
    format_put_u64(saved.at + SEGMENT_CHECKSUM, format_segment_checksum(saved.at));
    fakedisk_put(disk, FIRST, buf_slice(&saved));
    ck_assert_int_eq(try_start(), 0);
}
END_TEST

START_TEST(newer_format_is_refused)
{
    put(1, 1, "x");
    sync_all();
    stop();
    save(FIRST);
    format_put_u32(saved.at + SEGMENT_VERSION, 3);
    format_put_u64(saved.at + SEGMENT_CHECKSUM, format_segment_checksum(saved.at));
    fakedisk_put(disk, FIRST, buf_slice(&saved));
    ck_assert_int_eq(try_start(), -ENOTSUP);
    ck_assert_str_eq(error, FIRST ": its format has version 3, this program knows version 2");
}
END_TEST

/* Fills three segments with live messages. */
static void three_segments(void)
{
    char body[3000];
    memset(body, 'b', sizeof body - 1);
    body[sizeof body - 1] = 0;
    for (uint64_t i = 1; i <= 10; i++) {
        put(1, i, body);
        sync_all();
    }
    stop();
    ck_assert_ptr_nonnull(fakedisk_get(disk, "data/journal-000003.seg").at);
}

START_TEST(damage_before_the_last_segment_is_refused)
{
    three_segments();
    save(SECOND);
    uint64_t last = HEADER;
    while (memcmp(saved.at + last + batch_size(saved.at, last), "LEVBATCH", 8) == 0)
        last += batch_size(saved.at, last);
    ck_assert_uint_gt(last, HEADER);
    saved.at[last + 100] ^= 1; /* a record of the segment's last batch */
    fakedisk_put(disk, SECOND, buf_slice(&saved));
    expect_refused(SECOND, last + BATCH_HEADER_BYTES);
    saved.at[last + 100] ^= 1;
    saved.at[last + 20] ^=
        1; /* its header: nothing seems to be there, but the next segment knows better */
    fakedisk_put(disk, SECOND, buf_slice(&saved));
    expect_refused(SECOND, last);
}
END_TEST

START_TEST(missing_segment_is_refused)
{
    const struct io *io = fakedisk_io(disk);
    three_segments();
    ck_assert_int_eq(io->unlink(io->arg, SECOND), 0);
    ck_assert_int_eq(try_start(), -EILSEQ);
    ck_assert_str_eq(error, "data: the journal's segment of epoch 2 is missing (the next is "
                            "journal-000003.seg of epoch 3)");
    stop(); /* the name comes back: it was not synced */
    ck_assert_int_eq(io->unlink(io->arg, FIRST), 0);
    ck_assert_int_eq(try_start(), -EILSEQ);
    ck_assert_ptr_nonnull(strstr(error, "epoch 1 is missing"));
}
END_TEST

START_TEST(blank_and_foreign_files_are_no_harm)
{
    put(1, 1, "x");
    sync_all();
    stop();
    fakedisk_put(disk, SECOND, SLICE(""));
    fakedisk_put(disk, "data/journal-000003.seg", SLICE("\0\0\0"));
    fakedisk_put(disk, "data/journal-4.seg", SLICE("not one of ours"));
    fakedisk_put(disk, "data/journal-000005.seg.bak", SLICE("not one of ours"));
    start();
    ck_assert_uint_eq(found.message_count, 1);
    char body[3000];
    memset(body, 'b', sizeof body - 1);
    body[sizeof body - 1] = 0;
    for (uint64_t i = 2; i <= 12; i++) {
        put(1, i, body);
        sync_all();
    }
    stop();
    start();
    ck_assert_uint_eq(found.message_count, 12);
    ck_assert(slice_is(fakedisk_get(disk, "data/journal-4.seg"), "not one of ours"));
}
END_TEST

/* Bytes of an earlier use of the file lie behind every batch of the next one, and are never
 * believed. */
START_TEST(recycled_bytes_never_look_valid)
{
    struct store_run run = {0};
    char body[700];
    memset(body, 'b', sizeof body - 1);
    body[sizeof body - 1] = 0;
    uint64_t before = 0;
    for (uint64_t i = 1; i <= 200; i++) {
        if (i > 1) {
            store_ack(store, &run, 1, i - 1);
            store_release(store, before);
        }
        before = store_open_batch(store);
        put(1, i, body);
        sync_all();
        if (i < 60)
            continue;
        stop();
        start();
        run = (struct store_run){0};
        ck_assert_uint_eq(found.message_count, 1);
        ck_assert_str_eq(recovered_text(&notes), "");
    }
    /* All batches of one size: an old one begins exactly where a new one will. */
    struct slice file = fakedisk_get(disk, FIRST);
    unsigned headers = 0;
    for (size_t at = HEADER; at + 8 <= file.len; at += 8)
        headers += memcmp(file.at + at, "LEVBATCH", 8) == 0;
    ck_assert_uint_gt(headers, 5);
    struct store_stats stats;
    store_stats(store, &stats);
    ck_assert_uint_le(stats.segments + stats.spare_segments, 4);
}
END_TEST

/* A publisher who knows the format puts a batch into a body; torn, it must not come to life. */
START_TEST(body_that_looks_like_a_batch_is_a_body)
{
    put(1, 1, "first");
    sync_all();
    put(1, 2, "copied");
    sync_all();
    stop();
    save(FIRST);
    uint64_t second = HEADER + batch_size(saved.at, HEADER), size = batch_size(saved.at, second);
    struct buf forged = {0};
    for (unsigned pad = 0; pad < 8; pad++) { /* at any alignment */
        buf_append(&forged, "12345678", 8 + (pad > 0));
        buf_append(&forged, saved.at + second, size);
        format_put_u64(forged.at + forged.len - size + 16, 1000 + pad);
    }
    start();
    put_slice(1, 3, buf_slice(&forged));
    sync_all();
    stop();
    save(FIRST);
    saved.at[second + size] ^= 1; /* its own header is lost */
    fakedisk_put(disk, FIRST, buf_slice(&saved));
    start();
    ck_assert_str_eq(recovered_text(&found.messages),
                     "1:1 ex|key|prp|first\n1:2 ex|key|prp|copied\n");
    buf_free(&forged);
}
END_TEST

/* Writes a field of the batch's header and makes its checksum right again. */
static void forge(uint64_t batch, unsigned field, uint64_t value)
{
    uint8_t *b = saved.at + batch;
    format_put_u64(b + field, value);
    uint64_t seed = format_u64(saved.at + 16) + format_u64(saved.at + 24) + batch;
    format_put_u64(b + 8, XXH3_64bits_withSeed(b + 16, 40, seed));
    fakedisk_put(disk, FIRST, buf_slice(&saved));
}

/* A write that the disk lost, or one that went to the wrong place, leaves batches valid in
 * themselves. */
START_TEST(batches_must_follow_each_other)
{
    uint64_t last, end, second;
    three_batches(&last, &end);
    second = HEADER + batch_size(saved.at, HEADER);
    uint64_t previous = format_u64(saved.at + second + 24), size = batch_size(saved.at, second);
    forge(second, 24, previous - 1);
    expect_refused(FIRST, second);
    forge(second, 24, previous);
    forge(second, 32, size - 8);
    expect_refused(FIRST, second + BATCH_HEADER_BYTES);
    forge(second, 32, end); /* beyond the end of the file */
    forge(second, 32, UINT64_MAX - 7);
    expect_refused(FIRST, second);
    forge(second, 32, size);
    forge(last, 32, end - last + 8);
    start(); /* the last one is taken for unfinished */
    ck_assert_str_eq(recovered_text(&found.messages), FIRST_TWO);
}
END_TEST

START_TEST(sequences_must_not_go_back)
{
    put(1, 5, "five");
    put(1, 5, "five again");
    sync_all();
    stop();
    ck_assert_int_eq(try_start(), -EILSEQ);
    ck_assert_ptr_nonnull(strstr(error, "a queue's sequence goes back"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("journal");
    TCase *tcase = tcase_create("journal");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 300);
    tcase_add_test(tcase, bytes_are_where_the_format_says);
    tcase_add_test(tcase, torn_tail_is_cut_at_every_byte);
    tcase_add_test(tcase, flipped_bit_in_the_last_batch_cuts_it);
    tcase_add_test(tcase, flipped_bit_in_the_middle_is_refused);
    tcase_add_test(tcase, damaged_header_is_refused);
    tcase_add_test(tcase, format_1_is_read);
    tcase_add_test(tcase, newer_format_is_refused);
    tcase_add_test(tcase, damage_before_the_last_segment_is_refused);
    tcase_add_test(tcase, missing_segment_is_refused);
    tcase_add_test(tcase, blank_and_foreign_files_are_no_harm);
    tcase_add_test(tcase, recycled_bytes_never_look_valid);
    tcase_add_test(tcase, body_that_looks_like_a_batch_is_a_body);
    tcase_add_test(tcase, batches_must_follow_each_other);
    tcase_add_test(tcase, sequences_must_not_go_back);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
