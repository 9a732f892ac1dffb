/* test_pages.c - page files and their directory: what a damaged page, a lost file or a row that lies costs,
 * and what the offline check and dump say of it. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store/check.h"
#include "store/definitions.h"
#include "store/dump.h"
#include "store/pages.h"
#include "store/store.h"
#include "tests/sim/fakedisk.h"
#include "tests/sim/recovered.h"
#include "tests/unit/suite.h"

enum { PAGES = 3, PER_PAGE = 5, BODY = 40 };

#define FILE_1 "data/pages-000001.dat"

static struct fakedisk *disk;
static const struct io *io; /* NULL = the disk's */
static struct store *store;
static struct recovered found;
static struct buf notes, saved;
static char error[512], *said;
static size_t said_size;
static uint32_t slots[4096];
static size_t segment_bytes; /* 0 = the default */
static unsigned slot_count;

static void keep_note(void *arg, enum store_note level, const char *text)
{
    (void)arg, (void)level;
    buf_printf(&notes, "%s\n", text);
}

static void keep_page(void *arg, uint64_t queue_id, uint32_t slot)
{
    (void)arg;
    ck_assert_uint_eq(queue_id, 1);
    slots[slot_count++] = slot;
}

static void start(void)
{
    struct store_options options = {
        .dir = "data", .io = io ? io : fakedisk_io(disk), .note = keep_note, .quarantine = true,
        .without_thread = 1, .segment_bytes = segment_bytes};
    struct recovery_sink sink = recovered_sink(&found);
    recovered_free(&found);
    sink.page = keep_page;
    slot_count = 0;
    notes.len = 0;
    int failed = store_open(&store, &options, error, sizeof error);
    if (!failed)
        failed = store_recover(store, &sink, error, sizeof error);
    ck_assert_msg(failed == 0, "%s", error);
}

static void stop(void)
{
    store_abandon(&store);
    fakedisk_crash(disk, FAKEDISK_LOSE_ALL);
}

static void sync_all(void)
{
    store_commit(store);
    store_sync_now(store);
    ck_assert_int_eq(store_failed(store), 0);
}

static struct page_record record_of(uint64_t sequence, uint8_t *body)
{
    memset(body, 'a' + (int)(sequence % 26), BODY);
    uint8_t flags = sequence % PER_PAGE ? PAGE_PERSISTENT : 0;
    return (struct page_record){flags, SLICE("ex"), SLICE("key"), SLICE("p\x01"), slice_of(body, BODY)};
}

static uint32_t write_page(uint64_t first)
{
    uint8_t body[BODY];
    struct page_draft draft;
    struct page_record record = record_of(first, body);
    pages_begin(store_pages(store), &draft, PER_PAGE * page_record_size(&record));
    for (uint64_t i = first; i < first + PER_PAGE; i++) {
        record = record_of(i, body);
        page_add(&draft, &record);
    }
    struct page_times times = {.own_first = UINT64_MAX};
    return pages_write(store_pages(store), &draft, 1, first, true, &times);
}

/* Three pages of five messages, the last of each transient; message 7 is acked. */
static void setup(void)
{
    struct store_run run = {0};
    disk = fakedisk_new(31);
    start();
    store_define(store, &(struct definition){.kind = DEFINITION_VHOST, .name = SLICE("/")});
    store_define(store, &(struct definition){
                            .kind = DEFINITION_QUEUE, .id = 1, .vhost = SLICE("/"), .name = SLICE("orders")});
    sync_all();
    for (uint64_t i = 0; i < PAGES; i++)
        slots[i] = write_page(1 + i * PER_PAGE);
    sync_all();
    store_ack(store, &run, 1, 7);
    pages_ack(store_pages(store), slots[1], 7, true);
    sync_all();
    stop();
}

static void teardown(void)
{
    store_abandon(&store);
    recovered_free(&found);
    buf_free(&notes);
    buf_free(&saved);
    free(said);
    said = NULL;
    fakedisk_free(&disk);
}

static void save(const char *path)
{
    struct slice bytes = fakedisk_get(disk, path);
    ck_assert_ptr_nonnull(bytes.at);
    saved.len = 0;
    buf_append_slice(&saved, bytes);
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

static void expect_said(const char *text)
{
    ck_assert_msg(strstr(said, text), "wanted '%s' in:\n%s", text, said);
}

static void expect_noted(const char *text)
{
    ck_assert_msg(strstr(recovered_text(&notes), text), "wanted '%s' in:\n%s", text, recovered_text(&notes));
}

/* Reads a page; its status, after a look at every message in it. */
static int read_page(uint32_t slot)
{
    uint8_t body[BODY];
    struct slice rest;
    struct pages *pages = store_pages(store);
    ck_assert(pages_load(pages, slot, &disk));
    struct page_load *load = pages_loaded(pages);
    ck_assert_ptr_nonnull(load);
    int failed = load->failed;
    if (!failed) {
        uint64_t sequence = pages_at(pages, slot)->first;
        uint32_t count = page_open(slice_of(load->bytes, load->size), &rest);
        ck_assert_uint_eq(count, PER_PAGE);
        for (; count; count--, sequence++) {
            struct page_record record, wanted = record_of(sequence, body);
            page_next(&rest, &record);
            ck_assert(slice_equal(record.body, wanted.body) && record.flags == wanted.flags);
            ck_assert(slice_is(record.exchange, "ex") && slice_is(record.key, "key"));
        }
    }
    page_load_free(&load);
    return failed;
}

START_TEST(every_flipped_bit_of_a_page_is_found)
{
    save(FILE_1);
    size_t size = saved.len / PAGES;
    ck_assert(page_check(slice_of(saved.at, size), 1));
    ck_assert(!page_check(slice_of(saved.at, size), 2));
    for (size_t bit = 0; bit < size * 8; bit++) {
        saved.at[bit / 8] ^= (uint8_t)(1u << bit % 8);
        ck_assert_msg(!page_check(slice_of(saved.at, size), 1), "bit %zu", bit);
        saved.at[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t part = 0; part < size; part++)
        ck_assert(!page_check(slice_of(saved.at, part), 1));
}
END_TEST

START_TEST(a_damaged_page_costs_itself)
{
    save(FILE_1);
    size_t size = saved.len / PAGES;
    saved.at[size + 100] ^= 32;
    fakedisk_put(disk, FILE_1, buf_slice(&saved));
    start();
    ck_assert_uint_eq(slot_count, 3);
    ck_assert_int_eq(read_page(slots[0]), 0);
    ck_assert_int_eq(read_page(slots[1]), -EILSEQ);
    ck_assert_int_eq(read_page(slots[2]), 0);
    char text[256];
    snprintf(text, sizeof text,
             FILE_1 ": damaged at offset %zu: a page of queue id 1, 3 messages with sequences from 6 to 10, "
                    "is left out; its bytes are kept in quarantine\n",
             size);
    expect_noted(text);
    snprintf(text, sizeof text, "data/quarantine/pages-000001.dat-page-2-offset-%zu", size);
    struct slice kept = fakedisk_get(disk, text);
    ck_assert_uint_eq(kept.len, size);
    ck_assert_mem_eq(kept.at, saved.at + size, size);
    pages_drop(store_pages(store), slots[1]); /* as its queue does */
    sync_all();
    stop();
    start();
    ck_assert_uint_eq(slot_count, 2);
}
END_TEST

START_TEST(a_page_that_cannot_be_read_comes_back)
{
    save(FILE_1);
    size_t size = saved.len / PAGES;
    fakedisk_put(disk, FILE_1, slice_of(saved.at, 2 * size + 10));
    ck_assert_int_eq(look(check_run), CHECK_DAMAGED);
    expect_said(": a page is there, says its row, but the file ends before (page 3, queue 1, seq");
    start();
    ck_assert_int_eq(read_page(slots[2]), -EIO);
    expect_noted("cannot be read at offset ");
    expect_noted("is left out until the next start\n");
    pages_give_up(store_pages(store), slots[2]);
    ck_assert_int_eq(read_page(slots[0]), 0);
    sync_all();
    stop();
    fakedisk_put(disk, FILE_1, buf_slice(&saved));
    start();
    ck_assert_uint_eq(slot_count, 3);
    ck_assert_int_eq(read_page(slots[2]), 0);
}
END_TEST

/* The journal's segments up to now are dead: what only they said has to be elsewhere. */
static void turn_over_journal(void)
{
    static const uint8_t body[3000];
    for (uint64_t sequence = 100; sequence < 112; sequence++) {
        struct store_run run = {0};
        struct stored_target target = {1, sequence};
        struct stored_message m = {.targets = &target, .target_count = 1};
        m.body = slice_of(body, sizeof body);
        uint64_t batch = store_message(store, &m);
        sync_all();
        store_ack(store, &run, 1, sequence);
        store_release(store, batch);
        sync_all();
    }
}

/* Message 7 was acked, which only the journal says. */
START_TEST(acks_of_a_page_that_cannot_be_read_are_kept)
{
    save(FILE_1);
    size_t size = saved.len / PAGES;
    fakedisk_put(disk, FILE_1, slice_of(saved.at, size + 10));
    segment_bytes = 8192;
    start();
    ck_assert_int_eq(read_page(slots[1]), -EIO);
    pages_give_up(store_pages(store), slots[1]);
    turn_over_journal();
    stop();
    fakedisk_put(disk, FILE_1, buf_slice(&saved));
    start();
    segment_bytes = 0;
    ck_assert_uint_eq(slot_count, 3);
    ck_assert_uint_eq(pages_at(store_pages(store), slots[1])->live, 3);
    ck_assert_int_eq(read_page(slots[1]), 0);
}
END_TEST

/* Message 12 has expired and is on its way to another queue; the others wait for the next start. */
START_TEST(a_page_that_cannot_be_read_outlives_what_was_taken_out)
{
    struct store_run run = {0};
    save(FILE_1);
    size_t size = saved.len / PAGES;
    fakedisk_put(disk, FILE_1, slice_of(saved.at, 2 * size + 10));
    segment_bytes = 8192;
    start();
    pages_take(store_pages(store), slots[2], 12);
    ck_assert_int_eq(read_page(slots[2]), -EIO);
    pages_give_up(store_pages(store), slots[2]);
    store_ack(store, &run, 1, 12);
    pages_ack(store_pages(store), slots[2], 12, true);
    turn_over_journal();
    stop();
    fakedisk_put(disk, FILE_1, buf_slice(&saved));
    start();
    segment_bytes = 0;
    ck_assert_uint_eq(slot_count, 3);
    ck_assert_uint_eq(pages_at(store_pages(store), slots[2])->live, 3);
    ck_assert_int_eq(read_page(slots[2]), 0);
}
END_TEST

/* So does one of which only that message cannot be read. */
START_TEST(a_message_that_cannot_be_read_keeps_its_page)
{
    segment_bytes = 8192;
    start();
    pages_take(store_pages(store), slots[2], 12);
    pages_leave(store_pages(store), slots[2]);
    pages_ack(store_pages(store), slots[2], 12, false);
    for (uint64_t sequence = 11; sequence <= 14; sequence++) {
        struct store_run run = {0};
        if (sequence == 12)
            continue;
        store_ack(store, &run, 1, sequence);
        pages_ack(store_pages(store), slots[2], sequence, true);
    }
    turn_over_journal();
    stop();
    start();
    segment_bytes = 0;
    ck_assert_uint_eq(slot_count, 3);
    ck_assert_uint_eq(pages_at(store_pages(store), slots[2])->live, 1);
    ck_assert(!page_is_acked(pages_at(store_pages(store), slots[2]), 12));
}
END_TEST

static struct io scarce;
static int failures_left, failure;

static int open_scarce(void *arg, const char *path, int flags, unsigned mode)
{
    if (failures_left > 0 && strcmp(path, FILE_1) == 0) {
        failures_left--;
        return failure;
    }
    return fakedisk_io(disk)->open(arg, path, flags, mode);
}

/* Another process may have all descriptors of the machine for a moment, and a disk has bad ones. */
START_TEST(a_bad_moment_costs_nothing)
{
    static const int moments[] = {-ENFILE, -EMFILE, -EIO};
    scarce = *fakedisk_io(disk);
    scarce.open = open_scarce;
    io = &scarce;
    start();
    for (size_t i = 0; i < array_size(moments); i++) {
        failures_left = 2;
        failure = moments[i];
        ck_assert_int_eq(read_page(slots[i]), 0);
        ck_assert_int_eq(failures_left, 0);
    }
    ck_assert_uint_eq(notes.len, 0);
    io = NULL;
}
END_TEST

START_TEST(a_missing_file)
{
    ck_assert_int_eq(fakedisk_io(disk)->unlink(disk, FILE_1), 0);
    ck_assert_int_eq(look(check_run), CHECK_DAMAGED);
    expect_said(FILE_1 ": damaged at offset 0: a page is there, says its row, but the file is missing (page");
    expect_said("data: damaged in 3 places; ");
    start();
    ck_assert_int_eq(read_page(slots[0]), -ENOENT);
}
END_TEST

START_TEST(check_and_dump_show_pages)
{
    char line[256];
    save(FILE_1);
    size_t size = saved.len / PAGES;
    ck_assert_int_eq(look(check_run), CHECK_CLEAN);
    snprintf(line, sizeof line, FILE_1 ": ok: 3 pages, 15 messages, %zu of %zu bytes\n", saved.len,
             saved.len);
    expect_said(line);
    expect_said("data: clean; a start recovers 11 messages\n"); /* of 12 persistent ones 1 is acked */
    ck_assert_int_eq(look(dump_run), CHECK_CLEAN);
    snprintf(line, sizeof line, "page 2 " FILE_1 " offset=%zu size=%zu queue=1 sequences=6-10\n", size,
             size);
    expect_said(line);
    expect_said("  1:6 exchange=\"ex\" key=\"key\" properties=2:\"p\\01\" body=40:\"ggggggg");
    expect_said("  1:10 transient exchange=\"ex\"");
    snprintf(line, sizeof line, "pages " FILE_1 " bytes=%zu pages=3\n", saved.len);
    expect_said(line);
    saved.at[size + 70] ^= 1;
    fakedisk_put(disk, FILE_1, buf_slice(&saved));
    ck_assert_int_eq(look(check_run), CHECK_DAMAGED);
    snprintf(line, sizeof line, FILE_1 ": damaged at offset %zu: the page is not valid (page 2, queue 1, ",
             size);
    expect_said(line);
    expect_said(FILE_1 ": damaged: 3 pages, 10 messages, ");
    ck_assert_int_eq(look(dump_run), CHECK_DAMAGED);
    snprintf(line, sizeof line, "DAMAGED " FILE_1 " offset=%zu the page is not valid", size);
    expect_said(line);
}
END_TEST

/* Puts rows into the directory that nobody should have written. */
static void put_row(struct page_row row)
{
    struct definitions d;
    struct page_work work = {0};
    row.kind = PAGE_ROW_PUT;
    ck_assert_int_eq(definitions_open(&d, fakedisk_io(disk), "data", error, sizeof error), 0);
    page_work_row(&work, &row);
    ck_assert_int_eq(definitions_apply(&d, slice_of("", 0), buf_slice(&work.rows)), 0);
    definitions_close(&d, false);
    page_work_free(&work);
}

/* Changes the row of the second page as nothing but damage would. */
static void change_rows(const char *what)
{
    struct definitions d;
    char sql[1024];
    if (store)
        store_close(&store);
    ck_assert_int_eq(definitions_open(&d, fakedisk_io(disk), "data", error, sizeof error), 0);
    ck_assert_int_eq(page_rows_learn_sum(d.db), SQLITE_OK);
    snprintf(sql, sizeof sql, "UPDATE page SET %s WHERE id = 2", what);
    ck_assert_int_eq(sqlite3_exec(d.db, sql, NULL, NULL, NULL), SQLITE_OK);
    definitions_close(&d, false);
}

#define ROW                                                                              \
    "id, queue_id, first, count, persistent, body_bytes, file, offset, bytes, delivered, "          \
    "born_first, born_last, own_first, acked"

START_TEST(rows_that_lie)
{
    static const struct page_row rows[] = {
        {.id = 50, .queue_id = 1, .first = 100, .count = 5000, .bytes = 500, .file = 1},
        {.id = 51, .queue_id = 1, .first = 200, .count = 5, .persistent = 9, .bytes = 500, .file = 1},
        {.id = 52, .queue_id = 1, .first = 300, .count = 5, .persistent = 5, .bytes = 20, .file = 1},
        {.id = 53, .queue_id = 1, .first = 400, .count = 5, .persistent = 5, .bytes = 500},
        {.id = 54, .queue_id = 1, .first = 3, .count = 2, .persistent = 1, .bytes = 500, .file = 1},
    };
    for (size_t i = 0; i < array_size(rows); i++)
        put_row(rows[i]);
    ck_assert_int_eq(look(check_run), CHECK_DAMAGED);
    expect_said("data/definitions.db: damaged at offset 0: the row of a page names an impossible number of "
                "messages (page 50, ");
    expect_said("data: damaged in 5 places; ");
    start();
    ck_assert_uint_eq(slot_count, 3);
    expect_noted("data/definitions.db: the row of a page names an impossible number of messages (id 50, ");
    expect_noted("(id 51, ");
    expect_noted("names an impossible size (id 52, ");
    expect_noted("has no id, no file or no sequence (id 53, ");
    expect_noted("names messages that another page holds (id 54, queue 1, sequence 3, 2 messages)");
    for (unsigned i = 0; i < slot_count; i++)
        ck_assert_int_eq(read_page(slots[i]), 0);
}
END_TEST

/* A whole page at the place that a row names, but not the row's. */
START_TEST(rows_of_other_pages)
{
    save(FILE_1);
    struct page_row row = {.id = 3,
                           .queue_id = 1,
                           .first = 20,
                           .count = PER_PAGE,
                           .persistent = 4,
                           .body_bytes = PER_PAGE * BODY,
                           .file = 1,
                           .offset = (uint32_t)(saved.len / PAGES) * 2,
                           .bytes = (uint32_t)(saved.len / PAGES)};
    struct page_row gone = {.kind = PAGE_ROW_DROP, .id = 3};
    struct definitions d;
    struct page_work work = {0};
    ck_assert_int_eq(definitions_open(&d, fakedisk_io(disk), "data", error, sizeof error), 0);
    page_work_row(&work, &gone);
    ck_assert_int_eq(definitions_apply(&d, slice_of("", 0), buf_slice(&work.rows)), 0);
    definitions_close(&d, false);
    page_work_free(&work);
    put_row(row);
    ck_assert_int_eq(look(check_run), CHECK_DAMAGED);
    expect_said("the page holds other messages than its row says (page 3, queue 1, sequences 20-24, ");
    start();
    ck_assert_uint_eq(slot_count, 3);
    ck_assert_int_eq(read_page(slots[2]), -EILSEQ); /* never a message under a wrong sequence */
}
END_TEST

/* Counts that are too small would let messages be taken out that were never counted. */
START_TEST(rows_with_other_counts)
{
    static const char *const changes[] = {"body_bytes = body_bytes - 1", "body_bytes = 0",
                                          "persistent = persistent - 1", "persistent = 0",
                                          "count = count - 1"};
    for (size_t i = 0; i < array_size(changes); i++) {
        teardown();
        setup();
        change_rows(changes[i]);
        change_rows("self_sum = page_sum(14, " ROW "), place_sum = page_sum(15, " ROW ")");
        start();
        for (unsigned slot = 0; slot < slot_count; slot++) {
            bool bad = pages_at(store_pages(store), slots[slot])->id == 2;
            ck_assert_int_eq(read_page(slots[slot]), bad ? -EILSEQ : 0);
        }
        store_close(&store);
    }
    start();
}
END_TEST

/* A page says itself what it is, so the row of it is made again whatever is wrong in it. */
START_TEST(damaged_rows_are_mended)
{
    static const char *const changes[] = {
        "id = 77",      "queue_id = 9",     "first = first + 1", "first = 1",      "count = 5000",
        "count = 1",    "persistent = 0",   "body_bytes = 3",    "file = 9",       "file = -1",
        "offset = 7",   "bytes = 80",       "bytes = -1",        "delivered = 8",  "born_last = 1",
        "own_first = 5", "acked = x'ffff'", "acked = x'1f'",     "self_sum = 1",   "place_sum = 1",
        "id = 77, offset = 0", "progress_sum = 2"};
    for (size_t i = 0; i < array_size(changes); i++) {
        bool gone = strchr(changes[i], ',') != NULL; /* neither the id nor the place says which page it was */
        teardown();
        setup();
        change_rows(changes[i]);
        ck_assert_int_eq(look(check_run), CHECK_DAMAGED);
        expect_said("the row of a page is damaged");
        start();
        expect_noted(gone ? "the row of a page" : "the row of a page was damaged");
        ck_assert_uint_eq(slot_count, gone ? 2 : 3);
        for (unsigned slot = 0; slot < slot_count; slot++) {
            const struct page *page = pages_at(store_pages(store), slots[slot]);
            ck_assert_uint_eq(page->first, gone && slot ? 11 : 1 + slot * PER_PAGE);
            ck_assert_uint_ge(page->live, slots[slot] == slots[1] ? 3 : 4);
            ck_assert_int_eq(read_page(slots[slot]), 0);
        }
        sync_all();
        store_close(&store);
        start(); /* and the mended row is on disk */
        ck_assert_uint_eq(slot_count, gone ? 2 : 3);
        ck_assert(gone || !strstr((const char *)notes.at, "damaged") || notes.len == 0);
        store_close(&store);
    }
    start();
}
END_TEST

/* One batch acks all of the first page, publishes some that it pages at once, and one that it does not. */
static void begin_batch_of_all_kinds(void)
{
    struct store_run run = {0};
    struct pages *pages = store_pages(store);
    uint8_t body[BODY];
    for (uint64_t i = 1; i < PER_PAGE; i++) {
        store_ack(store, &run, 1, i);
        pages_ack(pages, slots[0], i, true);
    }
    for (uint64_t i = 16; i <= 21; i++) {
        struct page_record record = record_of(i, body);
        struct stored_target target = {1, i};
        struct stored_message message = {&target,      1, record.exchange, record.key,
                                         record.props, record.body};
        if (i % PER_PAGE)
            store_message(store, &message);
    }
    write_page(16);
    for (uint64_t i = 16; i < 20; i++)
        store_release(store, store_open_batch(store));
}

static bool is_found(uint64_t sequence)
{
    char target[32];
    snprintf(target, sizeof target, "1:%d ", (int)sequence);
    bool is = strstr(recovered_text(&found.messages), target);
    for (unsigned i = 0; i < slot_count; i++) {
        const struct page *page = pages_at(store_pages(store), slots[i]);
        is |= sequence >= page->first && sequence <= page_last(page) && !page_is_acked(page, sequence);
    }
    return is;
}

/* Whatever of a batch concerns pages, it is there with the rest of the batch or not at all. */
START_TEST(a_batch_is_there_with_its_pages_or_not_at_all)
{
    unsigned whole = 0, lost = 0;
    for (uint64_t call = 1; whole < 2; call++) {
        teardown();
        setup();
        start();
        ck_assert_uint_eq(slot_count, PAGES);
        begin_batch_of_all_kinds();
        store_commit(store);
        fakedisk_fail_at(disk, fakedisk_changes(disk) + call, EIO, true);
        store_sync_now(store);
        bool failed = store_failed(store);
        stop();
        fakedisk_fail_at(disk, 0, 0, false);
        start();
        bool there = is_found(21);
        ck_assert(there || failed);
        for (uint64_t i = 16; i < 20; i++)
            ck_assert_msg(is_found(i) == there, "message %d, call %d", (int)i, (int)call);
        for (uint64_t i = 1; i < PER_PAGE; i++)
            ck_assert_msg(is_found(i) == !there, "message %d, call %d", (int)i, (int)call);
        ck_assert(is_found(6) && !is_found(7));
        whole += there;
        lost += !there;
    }
    ck_assert_uint_gt(lost, 2);
}
END_TEST

/* A batch that is about something else. */
static void busy_batch(void)
{
    store_define(store, &(struct definition){.kind = DEFINITION_VHOST, .name = SLICE("busy")});
    sync_all();
}

/* A file of which little is needed is not moved while it may be about to die: one whose queue is drained
 * would be written again for nothing. When there is nothing else to do, it is. */
START_TEST(a_file_is_given_time_to_die)
{
    enum { MANY = 40, WAITS = 60 };
    uint32_t many[MANY];
    start();
    struct pages *pages = store_pages(store);
    pages->file_bytes_max = 16 * 1024;
    for (int i = 0; i < MANY; i++)
        many[i] = write_page(100 + (uint64_t)i * PER_PAGE);
    sync_all();
    uint32_t file = pages_at(pages, many[MANY - 1])->file->number;
    for (int i = 0; i + 2 < MANY; i++)
        pages_drop(pages, many[i]);
    sync_all(); /* it is left now */
    for (int i = 0; i < WAITS; i++) {
        busy_batch();
        ck_assert_uint_eq(pages->open->pages.moving, 0);
        ck_assert_uint_eq(pages_at(pages, many[MANY - 1])->file->number, file);
    }
    if (_i == 0) { /* idle */
        sync_all();
        sync_all();
    } else if (_i == 1) { /* it has had its time */
        for (int i = 0; i < 10; i++)
            busy_batch();
    } else { /* dead before that: nothing was moved */
        pages_drop(pages, many[MANY - 1]);
        pages_drop(pages, many[MANY - 2]);
        busy_batch();
        busy_batch();
        ck_assert(list_empty(&pages->files) || pages->bytes < 16 * 1024);
    }
    if (_i < 2) {
        ck_assert_uint_ne(pages_at(pages, many[MANY - 1])->file->number, file);
        ck_assert_int_eq(read_page(many[MANY - 1]), 0);
    }
    stop();
}
END_TEST

enum { SMALL_BATCH = 160 * 1024 };

static void sync_little(void)
{
    store_commit(store);
    ck_assert_uint_lt(store_pending_bytes(store), SMALL_BATCH);
    store_sync_now(store);
}

/* Some segments of a journal with nothing in it that is needed. */
static void fill_segments(void)
{
    static uint8_t body[4096];
    const struct stored_target target = {1, 5000000};
    for (int i = 0; i < 12; i++) {
        uint64_t batch = store_message(store, &(struct stored_message){.targets = &target, .target_count = 1,
                                                                       .body = slice_of(body, sizeof body)});
        store_ack_range(store, 1, 5000000, 1);
        sync_little();
        store_release(store, batch);
    }
}

/* Random deadlines ack something in every page. What that makes of rows was one batch once, behind which
 * all others waited: 40 ms and more for 6,000 pages. */
START_TEST(rows_of_many_pages_are_shared_by_batches)
{
    enum { MANY = 4000, BATCHES = 40 };
    struct store_stats stats;
    struct store_run run = {0};
    segment_bytes = 16 * 1024;
    start();
    uint32_t *many = calloc(MANY, sizeof *many);
    for (int i = 0; i < MANY; i++) {
        many[i] = write_page(1000 + (uint64_t)i * PER_PAGE);
        if (i % 100 == 0)
            sync_all();
    }
    sync_all();
    for (int i = 0; i < MANY; i++) {
        uint64_t sequence = 1000 + (uint64_t)i * PER_PAGE + 1;
        store_ack(store, &run, 1, sequence);
        pages_ack(store_pages(store), many[i], sequence, true);
    }
    sync_all();
    fill_segments();
    for (int i = 0; i < BATCHES; i++)
        sync_little(); /* nobody gives it anything more */
    ck_assert(!store_busy(store));
    ck_assert_uint_eq(pages_needed_batch(store_pages(store)), UINT64_MAX);
    fill_segments();
    store_stats(store, &stats);
    ck_assert_uint_le(stats.segments, 4);
    stop();
    start();
    ck_assert_uint_eq(pages_at(store_pages(store), slots[slot_count - 1])->live, PER_PAGE - 2);
    stop();
    free(many);
    segment_bytes = 0;
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pages");
    TCase *tests = tcase_create("all");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, every_flipped_bit_of_a_page_is_found);
    tcase_add_test(tests, a_damaged_page_costs_itself);
    tcase_add_test(tests, a_page_that_cannot_be_read_comes_back);
    tcase_add_test(tests, acks_of_a_page_that_cannot_be_read_are_kept);
    tcase_add_test(tests, a_page_that_cannot_be_read_outlives_what_was_taken_out);
    tcase_add_test(tests, a_message_that_cannot_be_read_keeps_its_page);
    tcase_add_test(tests, a_bad_moment_costs_nothing);
    tcase_add_test(tests, a_missing_file);
    tcase_add_test(tests, check_and_dump_show_pages);
    tcase_add_test(tests, rows_that_lie);
    tcase_add_test(tests, rows_of_other_pages);
    tcase_add_test(tests, rows_with_other_counts);
    tcase_add_test(tests, damaged_rows_are_mended);
    tcase_add_test(tests, rows_with_other_counts);
    tcase_add_test(tests, damaged_rows_are_mended);
    tcase_add_test(tests, a_batch_is_there_with_its_pages_or_not_at_all);
    tcase_add_loop_test(tests, a_file_is_given_time_to_die, 0, 3);
    tcase_add_test(tests, rows_of_many_pages_are_shared_by_batches);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
