/* test_quarantine.c - damage in the journal: what is damaged is named, kept aside and left out; everything
 * else is recovered, and nothing that was not written. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store/format.h"
#include "store/store.h"
#include "tests/sim/fakedisk.h"
#include "tests/sim/recovered.h"
#include "tests/unit/suite.h"

enum { SEGMENT = 16 * 1024, HEADER = 4096, MESSAGES = 60, BODY = 400, RECORDS_MAX = 256 };

#define FIRST "data/journal-000001.seg"
#define SECOND "data/journal-000002.seg"
#define THIRD "data/journal-000003.seg"

/* A record of the journal as it was written. */
struct written {
    const char *path;
    unsigned slot;
    uint64_t offset, size;
    uint64_t sequence; /* of a message; 0 = acks or marks */
    bool header;       /* a batch's */
};

static struct fakedisk *disk;
static struct store *store;
static struct recovered found;
static struct buf notes, saved;
static char error[512];
static struct written records[RECORDS_MAX];
static size_t record_count;

static void keep_note(void *arg, enum store_note level, const char *text)
{
    (void)arg;
    buf_printf(&notes, "%s%s\n", level == STORE_NOTE_ERROR ? "ERROR " : "", text);
}

static int try_start(const struct io *io, bool quarantine)
{
    struct store_options options = {.dir = "data",
                                    .io = io ? io : fakedisk_io(disk),
                                    .segment_bytes = SEGMENT,
                                    .quarantine = quarantine,
                                    .without_thread = true,
                                    .note = keep_note};
    struct recovery_sink sink = recovered_sink(&found);
    recovered_free(&found);
    notes.len = 0;
    error[0] = 0;
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
    disk = fakedisk_new(29);
    record_count = 0;
    ck_assert_int_eq(try_start(NULL, true), 0);
    store_define(store, &(struct definition){.kind = DEFINITION_VHOST, .name = SLICE("/")});
    store_define(store, &(struct definition){
                            .kind = DEFINITION_QUEUE, .id = 1, .vhost = SLICE("/"), .name = SLICE("orders")});
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

static void sync_all(void)
{
    store_commit(store);
    store_sync_now(store);
    ck_assert_int_eq(store_failed(store), 0);
}

static void put(uint64_t sequence)
{
    char body[BODY];
    struct stored_target target = {1, sequence};
    memset(body, 'a' + (int)(sequence % 26), sizeof body);
    store_message(store, &(struct stored_message){.targets = &target,
                                                  .target_count = 1,
                                                  .exchange = SLICE("ex"),
                                                  .key = SLICE("key"),
                                                  .body = slice_of(body, sizeof body)});
}

static void save(const char *path)
{
    struct slice bytes = fakedisk_get(disk, path);
    ck_assert_ptr_nonnull(bytes.at);
    saved.len = 0;
    buf_append_slice(&saved, bytes);
}

/* Notes where each record of a file is. */
static uint64_t map_file(const char *path, unsigned slot)
{
    save(path);
    uint64_t offset = HEADER;
    while (offset + 64 < saved.len && memcmp(saved.at + offset, "LEVBATCH", 8) == 0) {
        uint64_t size = format_u64(saved.at + offset + BATCH_SIZE), at = offset + BATCH_HEADER_BYTES;
        records[record_count++] = (struct written){path, slot, offset, BATCH_HEADER_BYTES, 0, true};
        for (uint32_t left = format_u32(saved.at + offset + BATCH_RECORDS); left; left--) {
            uint32_t part = format_u32(saved.at + at);
            bool message = saved.at[at + RECORD_TYPE] == RECORD_MESSAGE;
            ck_assert_uint_lt(record_count, RECORDS_MAX);
            records[record_count++] =
                (struct written){path, slot, at, part,
                                 message ? format_u64(saved.at + at + 32) : 0, false};
            at += part;
        }
        offset += size;
    }
    return offset;
}

/* 60 messages in batches of three, over three segments; every tenth is acked, and the first 30 may have been
 * delivered. */
static void fill(void)
{
    struct store_run run = {0}, mark = {0};
    for (uint64_t i = 1; i <= MESSAGES; i++) {
        put(i);
        if (i % 10 == 1)
            store_ack(store, &run, 1, i);
        if (i == 30)
            store_delivered(store, &mark, 1, 30);
        if (i % 3 == 0)
            sync_all();
    }
    stop();
    map_file(FIRST, 1), map_file(SECOND, 2), map_file(THIRD, 3);
    ck_assert_ptr_null(fakedisk_get(disk, "data/journal-000004.seg").at);
}

static bool is_there(uint64_t sequence)
{
    char line[64];
    snprintf(line, sizeof line, "1:%llu ex|key|", (unsigned long long)sequence);
    const char *text = recovered_text(&found.messages);
    const char *at = strstr(text, line);
    return at && (at == text || at[-1] == '\n');
}

/* The bodies are what was written: one line for each, with the hash of its bytes. */
static void check_bodies(struct buf *whole)
{
    char *lines = strdup(recovered_text(&found.messages)), *rest = lines;
    for (char *line; (line = strsep(&rest, "\n")) && *line;)
        ck_assert_msg(strstr(recovered_text(whole), line), "never written: %s", line);
    free(lines);
}

static uint64_t delivered_up_to(void)
{
    unsigned long long id = 0, up_to = 0;
    sscanf(recovered_text(&found.delivered), "%llu %llu", &id, &up_to);
    return up_to;
}

/* What a start with quarantine must have found when that byte was flipped. */
static void check_flip(const struct written *hit, uint64_t offset)
{
    char text[256];
    snprintf(text, sizeof text, "ERROR %s: damaged at offset %llu: ", hit->path,
             (unsigned long long)hit->offset);
    ck_assert_msg(strstr(recovered_text(&notes), text), "flipped at %llu of %s, wanted '%s' in '%s'",
                  (unsigned long long)offset, hit->path, text, recovered_text(&notes));
    for (uint64_t i = 1; i <= MESSAGES; i++) {
        bool acked = i % 10 == 1;
        if (!acked)
            ck_assert_msg(is_there(i) == (i != hit->sequence), "flipped at %llu of %s: %llu",
                          (unsigned long long)offset, hit->path, (unsigned long long)i);
        else if (is_there(i)) /* its ack was lost: then it is flagged */
            ck_assert_uint_ge(delivered_up_to(), i);
    }
}

static void check_kept(const struct written *hit)
{
    char path[128];
    snprintf(path, sizeof path, "data/quarantine/journal-%06u.seg-epoch-%u-offset-%llu", hit->slot, hit->slot,
             (unsigned long long)hit->offset);
    struct slice kept = fakedisk_get(disk, path);
    ck_assert_msg(kept.len >= hit->size, "%s has %zu bytes", path, kept.len);
    ck_assert(memcmp(kept.at, saved.at + hit->offset, hit->size) == 0);
}

START_TEST(every_flipped_bit_costs_its_record_only)
{
    struct buf whole = {0};
    uint64_t flips = 0;
    fill();
    ck_assert_int_eq(try_start(NULL, true), 0);
    ck_assert_uint_eq(notes.len, 0);
    /* Acked messages are written too, and may come again. */
    for (uint64_t i = 1; i <= MESSAGES; i++) {
        char body[BODY];
        struct stored_target target = {1, i};
        memset(body, 'a' + (int)(i % 26), sizeof body);
        recovered_print_message(&whole, &(struct stored_message){.targets = &target,
                                                                 .target_count = 1,
                                                                 .exchange = SLICE("ex"),
                                                                 .key = SLICE("key"),
                                                                 .body = slice_of(body, BODY)});
    }
    stop();
    size_t last = record_count;
    while (!records[--last].header)
        ; /* damage of the last batch looks like an interrupted write */
    for (size_t i = 0; i < last; i++) {
        const struct written *hit = &records[i];
        for (uint64_t at = hit->offset; at < hit->offset + hit->size; at += hit->header ? 3 : 17) {
            save(hit->path);
            saved.at[at] ^= (uint8_t)(1u << at % 8);
            fakedisk_put(disk, hit->path, buf_slice(&saved));
            ck_assert_int_eq(try_start(NULL, false), -EILSEQ);
            stop();
            int failed = try_start(NULL, true);
            ck_assert_msg(failed == 0, "%s at %llu: %s", hit->path, (unsigned long long)at, error);
            check_flip(hit, at);
            check_bodies(&whole);
            check_kept(hit);
            stop();
            saved.at[at] ^= (uint8_t)(1u << at % 8);
            fakedisk_put(disk, hit->path, buf_slice(&saved));
            flips++;
        }
    }
    ck_assert_uint_gt(flips, 1500);
    buf_free(&whole);
}
END_TEST

static void flip(const char *path, uint64_t offset, uint8_t mask)
{
    save(path);
    ck_assert_uint_lt(offset, saved.len);
    saved.at[offset] ^= mask;
    fakedisk_put(disk, path, buf_slice(&saved));
}

START_TEST(the_guess_names_queue_and_sequence)
{
    fill();
    const struct written *hit = &records[1];
    flip(hit->path, hit->offset + hit->size - 5, 4);
    ck_assert_int_eq(try_start(NULL, true), 0);
    const char *guess =
        "it seems to have held a message for queue 'orders' in vhost '/' (id 1), sequence 1\n";
    ck_assert_msg(strstr(recovered_text(&notes), guess), "%s", recovered_text(&notes));
    ck_assert_ptr_nonnull(strstr(recovered_text(&notes),
                                 "kept in quarantine/journal-000001.seg-epoch-1-offset-4152; it seems"));
}
END_TEST

START_TEST(every_header_bit_is_mended)
{
    fill();
    for (uint64_t bit = 0; bit < SEGMENT_FIELDS_END * 8; bit++) {
        flip(SECOND, bit / 8, (uint8_t)(1u << bit % 8));
        ck_assert_int_eq(try_start(NULL, false), -EILSEQ);
        stop();
        ck_assert_int_eq(try_start(NULL, true), 0);
        for (uint64_t i = 1; i <= MESSAGES; i++)
            ck_assert(is_there(i) == (i % 10 != 1));
        ck_assert_ptr_nonnull(strstr(recovered_text(&notes), "ERROR " SECOND ": damaged at offset 0: "));
        stop();
        flip(SECOND, bit / 8, (uint8_t)(1u << bit % 8));
    }
    flip(SECOND, 20, 3); /* two bits cannot be found */
    ck_assert_int_eq(try_start(NULL, true), -EILSEQ);
    ck_assert_ptr_nonnull(strstr(error, SECOND ": damaged at offset 0: the segment's header is not valid"));
}
END_TEST

START_TEST(many_places_at_once)
{
    unsigned lost = 0;
    fill();
    for (size_t i = 1; i + 4 < record_count; i++)
        if (records[i].sequence % 10 == 5) {
            flip(records[i].path, records[i].offset + 100, 1);
            lost++;
        }
    flip(records[0].path, records[0].offset + 20, 1); /* and a batch's header */
    ck_assert_int_eq(try_start(NULL, true), 0);
    ck_assert_uint_eq(lost, 6);
    for (uint64_t i = 1; i <= MESSAGES; i++)
        if (i % 10 != 1)
            ck_assert(is_there(i) == (i % 10 != 5));
}
END_TEST

START_TEST(a_stretch_of_garbage)
{
    fill();
    save(SECOND);
    for (uint64_t at = HEADER + 1000; at < HEADER + 4000; at++)
        saved.at[at] = (uint8_t)(at * 31 >> 3);
    fakedisk_put(disk, SECOND, buf_slice(&saved));
    ck_assert_int_eq(try_start(NULL, true), 0);
    for (size_t i = 0; i < record_count; i++) {
        const struct written *r = &records[i];
        bool hit = r->slot == 2 && r->offset < HEADER + 4000 && r->offset + r->size > HEADER + 1000;
        if (r->sequence && r->sequence % 10 != 1)
            ck_assert_msg(is_there(r->sequence) == !hit, "%llu", (unsigned long long)r->sequence);
    }
}
END_TEST

START_TEST(a_segment_cut_short)
{
    fill();
    save(SECOND);
    for (uint64_t end = HEADER + 1; end < saved.len; end += 613) {
        fakedisk_put(disk, SECOND, slice_of(saved.at, end));
        ck_assert_int_eq(try_start(NULL, false), -EILSEQ);
        stop();
        int failed = try_start(NULL, true);
        ck_assert_msg(failed == 0, "%s", error);
        for (size_t i = 0; i < record_count; i++) {
            const struct written *r = &records[i];
            bool cut = r->slot == 2 && r->offset + r->size > end;
            if (r->sequence && r->sequence % 10 != 1)
                ck_assert_msg(is_there(r->sequence) == !cut, "cut at %llu: %llu", (unsigned long long)end,
                              (unsigned long long)r->sequence);
        }
        stop();
        if (end < HEADER + 9000 && end + 613 > HEADER + 9000)
            break; /* behind what was written nothing is missing */
    }
}
END_TEST

/* The damage stays where it is: what is written behind it is recovered with it. */
START_TEST(life_goes_on)
{
    fill();
    size_t third = 0;
    while (records[third].slot != 3 || !records[third].sequence)
        third++;
    flip(THIRD, records[third].offset + 50, 8);
    uint64_t lost = records[third].sequence;
    for (int life = 0; life < 5; life++) {
        int failed = try_start(NULL, true);
        ck_assert_msg(failed == 0, "life %d: %s", life, error);
        for (uint64_t i = 1; i <= MESSAGES + (uint64_t)life; i++)
            if (i % 10 != 1)
                ck_assert_msg(is_there(i) == (i != lost), "life %d: %llu", life, (unsigned long long)i);
        put((uint64_t)(MESSAGES + life + 1));
        sync_all();
        stop();
    }
}
END_TEST

/* A batch that was cut off was never confirmed, and its sequences are given to others: when the last batch in
 * its segment loses its header, nobody knows where that ended, but records behind it are not its own. */
START_TEST(what_was_cut_off_stays_away)
{
    for (uint64_t i = 1; i <= 20; i++)
        put(i);
    sync_all();
    stop();
    map_file(FIRST, 1);
    flip(FIRST, records[20].offset + 100, 1); /* its last record: as if the write had not ended */
    ck_assert_int_eq(try_start(NULL, true), 0);
    ck_assert_uint_eq(found.message_count, 0);
    ck_assert_ptr_nonnull(strstr(recovered_text(&notes), "cut off an unfinished batch"));
    put(1);
    sync_all();
    for (uint64_t i = 101; i <= 130; i++) /* has no room in the first segment */
        put(i);
    sync_all();
    stop();
    flip(FIRST, HEADER + 20, 1);
    ck_assert_int_eq(try_start(NULL, true), 0);
    ck_assert(is_there(1) && is_there(101) && is_there(130));
    ck_assert_msg(found.message_count == 31, "%s", recovered_text(&found.messages));
}
END_TEST

/* A count that the header vouches for and the records do not bear out. */
START_TEST(a_header_that_lies)
{
    static const uint32_t counts[] = {0, 1, 3, 5, 1000000, UINT32_MAX}; /* it is 4 */
    fill();
    for (size_t i = 0; i < array_size(counts); i++) {
        ck_assert(records[0].header && records[1].sequence == 1);
        save(FIRST);
        uint8_t *header = saved.at + HEADER;
        uint64_t epoch = format_u64(saved.at + SEGMENT_EPOCH), salt = format_u64(saved.at + SEGMENT_SALT);
        uint64_t seed = format_seed(epoch, salt, HEADER);
        format_put_u32(header + BATCH_RECORDS, counts[i]);
        format_put_u64(header + BATCH_CHECKSUM, format_batch_checksum(header, seed));
        fakedisk_put(disk, FIRST, buf_slice(&saved));
        ck_assert_int_eq(try_start(NULL, false), -EILSEQ);
        stop();
        ck_assert_int_eq(try_start(NULL, true), 0);
        for (uint64_t k = 1; k <= MESSAGES; k++)
            ck_assert_msg(is_there(k) == (k % 10 != 1), "count %u: %llu", counts[i], (unsigned long long)k);
        stop();
    }
}
END_TEST

START_TEST(what_is_recovered_can_be_released)
{
    fill();
    /* The first batch's header: its records get a number all the same. */
    flip(FIRST, records[0].offset + 20, 1);
    ck_assert_int_eq(try_start(NULL, true), 0);
    struct store_run run = {0};
    for (uint64_t i = 1; i <= MESSAGES; i++)
        if (is_there(i))
            store_ack(store, &run, 1, i);
    for (size_t i = 0; i < found.message_count; i++)
        store_release(store, found.batches[i]);
    sync_all();
    put(1000);
    sync_all();
    struct store_stats stats;
    store_stats(store, &stats);
    ck_assert_uint_eq(stats.segments, 1);
    stop();
    ck_assert_int_eq(try_start(NULL, true), 0);
    ck_assert_uint_eq(found.message_count, 1);
    ck_assert(is_there(1000));
}
END_TEST

START_TEST(no_space_to_keep_it)
{
    fill();
    flip(FIRST, records[1].offset + 50, 8);
    fakedisk_fail_at(disk, fakedisk_changes(disk) + 1, ENOSPC, true);
    /* The lock's number and the copy do without; SQLite and the journal's last sync may not. */
    int failed = try_start(NULL, true);
    ck_assert_msg(failed == 0 || failed == -ENOSPC || failed == -EIO, "%s", error);
    if (failed == 0)
        ck_assert_ptr_nonnull(strstr(recovered_text(&notes), "no space to keep them in"));
}
END_TEST

/* --- bytes that the disk cannot read --- */

static struct io blind;
static const char *blind_path;
static int blind_fd = -1;
static uint64_t blind_from, blind_to;

static int blind_open(void *arg, const char *path, int flags, unsigned mode)
{
    int fd = fakedisk_io(disk)->open(arg, path, flags, mode);
    if (fd >= 0 && strcmp(path, blind_path) == 0)
        blind_fd = fd;
    return fd;
}

static ssize_t blind_read(void *arg, int fd, void *bytes, size_t size, uint64_t offset)
{
    if (fd == blind_fd && offset < blind_to && offset + size > blind_from) {
        if (offset >= blind_from)
            return -EIO;
        size = (size_t)(blind_from - offset); /* a short read up to the bad block */
    }
    return fakedisk_io(disk)->pread(arg, fd, bytes, size, offset);
}

START_TEST(blocks_that_cannot_be_read)
{
    fill();
    blind = *fakedisk_io(disk);
    blind.open = blind_open, blind.pread = blind_read;
    blind_path = SECOND;
    for (blind_from = HEADER; blind_from < 3 * HEADER; blind_from += HEADER) {
        blind_to = blind_from + HEADER;
        ck_assert_int_eq(try_start(&blind, false), -EIO);
        ck_assert_ptr_nonnull(strstr(error, SECOND));
        stop();
        int failed = try_start(&blind, true);
        ck_assert_msg(failed == 0, "%s", error);
        ck_assert_ptr_nonnull(strstr(recovered_text(&notes), "4096 bytes cannot be read"));
        for (size_t i = 0; i < record_count; i++) {
            const struct written *r = &records[i];
            bool hit = r->slot == 2 && r->offset < blind_to && r->offset + r->size > blind_from;
            if (r->sequence && r->sequence % 10 != 1)
                ck_assert_msg(is_there(r->sequence) == !hit, "%llu", (unsigned long long)r->sequence);
        }
        stop();
    }
}
END_TEST

/* What cannot be read at the journal's end may have been confirmed: nothing is cut off or written over. */
START_TEST(an_end_that_cannot_be_read)
{
    char path[64];
    fill();
    const struct written *last = &records[record_count - 1];
    snprintf(path, sizeof path, "data/journal-%06u.seg", last->slot);
    blind = *fakedisk_io(disk);
    blind.open = blind_open, blind.pread = blind_read;
    blind_path = path;
    blind_from = last->offset / HEADER * HEADER, blind_to = last->offset + last->size;
    ck_assert_int_eq(try_start(&blind, true), -EIO);
    ck_assert_ptr_nonnull(strstr(error, "cannot be read at offset"));
    stop();
    int failed = try_start(fakedisk_io(disk), true);
    ck_assert_msg(failed == 0, "%s", error);
    for (size_t i = 0; i < record_count; i++)
        if (records[i].sequence && records[i].sequence % 10 != 1)
            ck_assert(is_there(records[i].sequence));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("quarantine");
    TCase *tests = tcase_create("all");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, every_flipped_bit_costs_its_record_only);
    tcase_add_test(tests, an_end_that_cannot_be_read);
    tcase_add_test(tests, the_guess_names_queue_and_sequence);
    tcase_add_test(tests, every_header_bit_is_mended);
    tcase_add_test(tests, many_places_at_once);
    tcase_add_test(tests, a_stretch_of_garbage);
    tcase_add_test(tests, a_segment_cut_short);
    tcase_add_test(tests, life_goes_on);
    tcase_add_test(tests, what_was_cut_off_stays_away);
    tcase_add_test(tests, a_header_that_lies);
    tcase_add_test(tests, what_is_recovered_can_be_released);
    tcase_add_test(tests, no_space_to_keep_it);
    tcase_add_test(tests, blocks_that_cannot_be_read);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
