/* test_io_faults.c - every call that the store makes to the file system fails once, in every way it can: the
 * n-th of a life that fills, pages, reads back, acks and recycles, for n = 1, 2, 3 … until a life has no n-th
 * call. After each the directory is opened again, and holds what was durable and nothing that was not put.
 *
 * The outcomes: short reads and writes are completed, as if nothing had been. A full disk is waited out. Any
 * other failure is told when opening, or ends the store, or costs a page until the next start. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/pages.h"
#include "store/store.h"
#include "tests/sim/fakedisk.h"
#include "tests/unit/suite.h"

enum { SEGMENT = 16 * 1024, MESSAGES = 64, PAGED = 12, BODY_MAX = 2600 };

/* --- a table of calls of which one fails --- */

enum fault_kind { FAULT_EIO, FAULT_FULL, FAULT_FILES, FAULT_SHORT, FAULT_KINDS };
enum call { CALL_OPEN, CALL_READ, CALL_WRITE, CALL_SYNC, CALL_OTHER };

static struct {
    struct io io;
    const struct io *base;
    enum fault_kind kind;
    uint64_t calls, at; /* so far; the one that fails, 0 = none */
    bool hit;
    enum call what;
} faulty;

/* True when this call is the one, and can fail in that way. */
static bool fails(enum call what, bool grows)
{
    static const bool full[] = {[CALL_WRITE] = true, [CALL_OTHER] = false};
    bool able = true;
    if (faulty.kind == FAULT_FULL)
        able = full[what] || grows;
    else if (faulty.kind == FAULT_FILES)
        able = what == CALL_OPEN;
    else if (faulty.kind == FAULT_SHORT)
        able = what == CALL_READ || what == CALL_WRITE;
    if (!able || ++faulty.calls != faulty.at)
        return false;
    faulty.hit = true;
    faulty.what = what;
    return true;
}

static int error_of(void)
{
    return faulty.kind == FAULT_EIO ? -EIO : faulty.kind == FAULT_FULL ? -ENOSPC : -EMFILE;
}

static int open_file(void *arg, const char *path, int flags, unsigned mode)
{
    if (fails(CALL_OPEN, flags & O_CREAT))
        return error_of();
    return faulty.base->open(arg, path, flags, mode);
}

static ssize_t read_at(void *arg, int fd, void *bytes, size_t size, uint64_t offset)
{
    if (fails(CALL_READ, false)) {
        if (faulty.kind != FAULT_SHORT)
            return error_of();
        size = size > 1 ? size / 2 : size;
    }
    return faulty.base->pread(arg, fd, bytes, size, offset);
}

static ssize_t write_at(void *arg, int fd, const void *bytes, size_t size, uint64_t offset)
{
    if (fails(CALL_WRITE, true)) {
        size = size > 1 ? size / 2 : size;
        if (faulty.kind != FAULT_SHORT) {
            (void)!faulty.base->pwrite(arg, fd, bytes, size, offset); /* a part of it, and then the error */
            return error_of();
        }
    }
    return faulty.base->pwrite(arg, fd, bytes, size, offset);
}

static int sync_file(void *arg, int fd)
{
    return fails(CALL_SYNC, false) ? error_of() : faulty.base->fdatasync(arg, fd);
}

static int truncate_file(void *arg, int fd, uint64_t size)
{
    return fails(CALL_OTHER, true) ? error_of() : faulty.base->truncate(arg, fd, size);
}

static int64_t file_size(void *arg, int fd)
{
    return fails(CALL_OTHER, false) ? error_of() : faulty.base->size(arg, fd);
}

static int unlink_file(void *arg, const char *path)
{
    return fails(CALL_OTHER, false) ? error_of() : faulty.base->unlink(arg, path);
}

static int rename_file(void *arg, const char *from, const char *to)
{
    return fails(CALL_OTHER, true) ? error_of() : faulty.base->rename(arg, from, to);
}

static int make_dir(void *arg, const char *path, unsigned mode)
{
    return fails(CALL_OTHER, true) ? error_of() : faulty.base->mkdir(arg, path, mode);
}

static int sync_dir(void *arg, const char *path)
{
    return fails(CALL_SYNC, false) ? error_of() : faulty.base->sync_dir(arg, path);
}

static int list_dir(void *arg, const char *path, void (*each)(void *ctx, const char *name), void *ctx)
{
    return fails(CALL_OTHER, false) ? error_of() : faulty.base->list(arg, path, each, ctx);
}

static int lock_file(void *arg, int fd)
{
    return fails(CALL_OTHER, false) ? error_of() : faulty.base->lock(arg, fd);
}

static void arm(const struct io *base, enum fault_kind kind, uint64_t at)
{
    faulty.io = *base;
    faulty.io.open = open_file, faulty.io.pread = read_at, faulty.io.pwrite = write_at;
    faulty.io.fdatasync = sync_file, faulty.io.truncate = truncate_file, faulty.io.size = file_size;
    faulty.io.unlink = unlink_file, faulty.io.rename = rename_file, faulty.io.mkdir = make_dir;
    faulty.io.sync_dir = sync_dir, faulty.io.list = list_dir, faulty.io.lock = lock_file;
    faulty.base = base, faulty.kind = kind, faulty.calls = 0, faulty.at = at, faulty.hit = false;
}

/* --- a life of the store --- */

struct letter {
    uint64_t put, acked; /* in which batch; 0 = not */
    uint64_t journal;    /* the batch that holds it in the journal, 0 = none does any more */
    uint32_t slot;       /* of its page, 0 = none */
    bool given_up, found;
};

static struct fakedisk *disk;
static struct store *store;
static struct letter letters[MESSAGES + 1]; /* by sequence */
static char error[512], saying[128];
static unsigned notes;
static bool judging; /* the second opening: what is found is compared */

static struct slice body_of(uint64_t sequence, uint8_t *body)
{
    size_t size = sequence % 5 ? 20 + (size_t)sequence : BODY_MAX;
    for (size_t i = 0; i < size; i++)
        body[i] = (uint8_t)(sequence * 41 + i * 3);
    return slice_of(body, size);
}

static void find(uint64_t sequence, struct slice body)
{
    uint8_t wanted[BODY_MAX];
    ck_assert_msg(sequence >= 1 && sequence <= MESSAGES, "%s: %" PRIu64, saying, sequence);
    struct slice whole = body_of(sequence, wanted);
    ck_assert_msg(body.len == whole.len && memcmp(body.at, whole.at, body.len) == 0,
                  "%s: message %" PRIu64 " is not what was put", saying, sequence);
    ck_assert_msg(!letters[sequence].found, "%s: message %" PRIu64 " is there twice", saying, sequence);
    letters[sequence].found = true;
}

static void on_definition(void *arg, const struct definition *definition)
{
    (void)arg, (void)definition;
}

static void on_message(void *arg, const struct stored_message *m, uint64_t batch)
{
    (void)arg, (void)batch;
    if (judging)
        for (size_t i = 0; i < m->target_count; i++)
            find(m->targets[i].sequence, m->body);
}

static void on_delivered(void *arg, uint64_t queue_id, uint64_t sequence)
{
    (void)arg, (void)queue_id, (void)sequence;
}

static uint32_t slots[MESSAGES];
static unsigned slot_count;

static void on_page(void *arg, uint64_t queue_id, uint32_t slot)
{
    (void)arg;
    ck_assert_uint_eq(queue_id, 1);
    slots[slot_count++] = slot;
}

static void on_note(void *arg, enum store_note level, const char *text)
{
    (void)arg, (void)level, (void)text;
    notes++;
}

static int open_store(const struct io *io)
{
    struct store_options options = {.dir = "data",
                                    .io = io,
                                    .segment_bytes = SEGMENT,
                                    .quarantine = true,
                                    .without_thread = true,
                                    .note = on_note};
    struct recovery_sink sink = {on_definition, on_message, on_delivered, NULL, on_page};
    slot_count = 0;
    error[0] = 0;
    int failed = store_open(&store, &options, error, sizeof error);
    if (!failed)
        failed = store_recover(store, &sink, error, sizeof error);
    return failed;
}

/* False when the store has failed for good. */
static bool sync_all(void)
{
    for (int i = 0; i < 4; i++) {
        store_commit(store);
        store_sync_now(store);
        if (store_failed(store))
            return false;
        if (!store_busy(store))
            return true;
    }
    ck_assert_msg(false, "%s: the store never comes to rest", saying);
    return false;
}

static void put(uint64_t sequence)
{
    uint8_t body[BODY_MAX];
    struct stored_target target = {1, sequence};
    struct stored_message message = {&target, 1, SLICE(""), SLICE("k"), SLICE(""), body_of(sequence, body)};
    uint64_t batch = store_message(store, &message);
    letters[sequence].put = letters[sequence].journal = batch;
}

static void ack(struct store_run *run, uint64_t sequence)
{
    struct letter *letter = &letters[sequence];
    if (letter->given_up)
        return;
    letter->acked = store_open_batch(store);
    store_ack(store, run, 1, sequence);
    if (letter->slot)
        pages_ack(store_pages(store), letter->slot, sequence, true);
    else
        store_release(store, letter->journal);
}

/* Puts messages that the journal holds into a page; the journal gives them up. */
static void page_out(uint64_t first, uint64_t last)
{
    uint8_t body[BODY_MAX];
    struct page_draft draft;
    size_t bytes = 0;
    for (uint64_t i = first; i <= last; i++) {
        struct page_record record = {PAGE_PERSISTENT, SLICE(""), SLICE("k"), SLICE(""), body_of(i, body)};
        bytes += page_record_size(&record);
    }
    pages_begin(store_pages(store), &draft, bytes);
    for (uint64_t i = first; i <= last; i++) {
        struct page_record record = {PAGE_PERSISTENT, SLICE(""), SLICE("k"), SLICE(""), body_of(i, body)};
        page_add(&draft, &record);
    }
    struct page_times times = {.own_first = UINT64_MAX};
    uint32_t slot = pages_write(store_pages(store), &draft, 1, first, true, &times);
    for (uint64_t i = first; i <= last; i++) {
        letters[i].slot = slot;
        store_release(store, letters[i].journal);
    }
}

/* Reads a page back and gives its messages to `find`; false when that failed. */
static bool read_back(uint32_t slot, bool compare)
{
    struct pages *pages = store_pages(store);
    struct slice rest;
    struct page_record record;
    ck_assert(pages_load(pages, slot, &letters));
    struct page_load *load = pages_loaded(pages);
    ck_assert_ptr_nonnull(load);
    bool good = load->failed == 0;
    ck_assert_msg(load->failed != -EILSEQ, "%s: a page counts as damaged", saying);
    if (good) {
        const struct page *page = pages_at(pages, slot);
        uint32_t count = page_open(slice_of(load->bytes, load->size), &rest);
        for (uint64_t sequence = page->first; count; count--, sequence++) {
            page_next(&rest, &record);
            if (compare && !page_is_acked(page, sequence))
                find(sequence, record.body);
        }
    }
    page_load_free(&load);
    return good;
}

/* As a queue does whose page cannot be read: its messages come at the next start. */
static void give_up(uint64_t first, uint64_t last)
{
    pages_give_up(store_pages(store), letters[first].slot);
    for (uint64_t i = first; i <= last; i++)
        letters[i].given_up = true;
}

/* All that the store can do; false when it failed on the way. */
static bool live(const struct io *io)
{
    struct store_run run = {0};
    if (open_store(io) != 0)
        return false;
    store_define(store, &(struct definition){.kind = DEFINITION_VHOST, .name = SLICE("/")});
    store_define(store,
                 &(struct definition){
                     .kind = DEFINITION_QUEUE, .id = 1, .vhost = SLICE("/"), .name = SLICE("orders")});
    if (!sync_all())
        return false;
    for (uint64_t i = 1; i <= MESSAGES; i++) {
        put(i);
        if (i > 24 && i % 2)
            ack(&run, i - 24);
        if (i % 4 == 0 && !sync_all())
            return false;
        if (i == 40) {
            page_out(25, 24 + PAGED);
            if (!sync_all())
                return false;
            if (!read_back(letters[25].slot, false))
                give_up(25, 24 + PAGED);
        }
    }
    return sync_all();
}

static void judge(uint64_t durable)
{
    judging = true;
    for (uint64_t i = 1; i <= MESSAGES; i++)
        letters[i].found = false;
    int failed = open_store(fakedisk_io(disk));
    ck_assert_msg(failed == 0, "%s: then it cannot be opened: %s", saying, error);
    for (unsigned i = 0; i < slot_count; i++)
        ck_assert_msg(read_back(slots[i], true), "%s: then a page cannot be read", saying);
    for (uint64_t i = 1; i <= MESSAGES; i++) {
        const struct letter *letter = &letters[i];
        bool was = letter->put && letter->put <= durable;
        if (was && !letter->acked)
            ck_assert_msg(letter->found, "%s: message %" PRIu64 " is lost", saying, i);
        if (letter->acked && letter->acked <= durable)
            ck_assert_msg(!letter->found, "%s: message %" PRIu64 " comes again", saying, i);
        if (letter->put == 0)
            ck_assert_msg(!letter->found, "%s: message %" PRIu64 " was never put", saying, i);
    }
    store_abandon(&store);
    judging = false;
}

/* One life in which the n-th call fails; false when it has no n-th. */
static bool try_fault(enum fault_kind kind, uint64_t at)
{
    static const char *const kinds[] = {"EIO", "ENOSPC", "EMFILE", "short"};
    disk = fakedisk_new(at * FAULT_KINDS + kind);
    memset(letters, 0, sizeof letters);
    arm(fakedisk_io(disk), kind, at);
    snprintf(saying, sizeof saying, "call %" PRIu64 " with %s", at, kinds[kind]);
    bool good = live(&faulty.io);
    uint64_t durable = store && good ? store_durable(store) : 0;
    if (store && !good)
        durable = error[0] ? 0 : store_durable(store);
    if (kind == FAULT_SHORT)
        ck_assert_msg(good, "%s: not completed: %s", saying, error);
    if (kind == FAULT_FULL && error[0] == 0)
        ck_assert_msg(good, "%s: not waited out", saying);
    if (!good && error[0] == 0)
        ck_assert_msg(store_failed(store) != 0, "%s: nothing says that it failed", saying);
    if (!good && error[0])
        ck_assert_msg(strstr(error, "data") != NULL, "%s: the error names no file: %s", saying, error);
    if (good && at % 2)
        store_close(&store); /* which may be what fails */
    store_abandon(&store);
    fakedisk_crash(disk, (enum fakedisk_loss)(at % 3));
    judge(durable);
    fakedisk_free(&disk);
    return faulty.hit;
}

static void try_all(enum fault_kind kind, uint64_t least)
{
    uint64_t at = 1;
    while (try_fault(kind, at))
        at++;
    ck_assert_msg(at > least, "only %" PRIu64 " calls", at);
}

START_TEST(every_call_fails_with_eio)
{
    try_all(FAULT_EIO, 190);
}
END_TEST

START_TEST(every_call_finds_no_space)
{
    try_all(FAULT_FULL, 80);
}
END_TEST

START_TEST(every_open_finds_no_descriptor)
{
    try_all(FAULT_FILES, 10);
}
END_TEST

START_TEST(every_read_and_write_is_short)
{
    try_all(FAULT_SHORT, 90);
}
END_TEST

static bool parent_synced;

static int watched_sync_dir(void *arg, const char *path)
{
    (void)arg;
    parent_synced |= strcmp(path, ".") == 0;
    return 0;
}

/* A process made it, and was killed before it had synced the name of it. */
START_TEST(the_name_of_the_directory_is_synced)
{
    disk = fakedisk_new(1);
    struct io io = *fakedisk_io(disk);
    io.sync_dir = watched_sync_dir;
    ck_assert_int_eq(io.mkdir(io.arg, "data", 0750), 0);
    struct store_options options = {.dir = "data", .io = &io, .without_thread = true};
    ck_assert_int_eq(store_open(&store, &options, error, sizeof error), 0);
    ck_assert(parent_synced);
    store_abandon(&store);
    fakedisk_free(&disk);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("io faults");
    TCase *tests = tcase_create("all");
    tcase_add_test(tests, every_call_fails_with_eio);
    tcase_add_test(tests, every_call_finds_no_space);
    tcase_add_test(tests, every_open_finds_no_descriptor);
    tcase_add_test(tests, every_read_and_write_is_short);
    tcase_add_test(tests, the_name_of_the_directory_is_synced);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
