/* fuzz_journal.c - any bytes as a segment file: recovery refuses with a sentence, or succeeds and
 * the store works. The first byte says how the rest is used: 0 as the whole file, 1 behind a valid
 * header, 2 as batches whose checksums are made right first, so that what is behind the checksums
 * is reached too. */
#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"
#include "store/format.h"
#include "store/store.h"
#include "tests/sim/fakedisk.h"

#define DB "data/definitions.db"
#define FIRST "data/journal-000001.seg"

enum { QUEUES = 4, LAST_QUEUE = 0x7654321 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t reported;

static void on_definition(void *arg, const struct definition *definition)
{
    (void)arg, (void)definition;
}

static void on_message(void *arg, const struct stored_message *message, uint64_t batch)
{
    uint64_t *sum = arg;
    assert(message->target_count > 0 && batch > 0);
    *sum += slice_hash(message->exchange, 1) + slice_hash(message->key, 1) +
            slice_hash(message->props, 1) + slice_hash(message->body, 1);
    reported++;
}

static void on_delivered(void *arg, uint64_t queue_id, uint64_t sequence)
{
    (void)arg;
    assert(queue_id > 0 && sequence > 0);
}

static int open_store(struct fakedisk *disk, struct store **store, uint64_t *sum)
{
    char error[512] = "";
    struct store_options options = {
        .dir = "data", .io = fakedisk_io(disk), .segment_bytes = 65536, .without_thread = true};
    struct recovery_sink sink = {
        .definition = on_definition, .message = on_message, .delivered = on_delivered, .arg = sum};
    *sum = reported = 0;
    int failed = store_open(store, &options, error, sizeof error);
    assertf(failed == 0, "%s", error);
    failed = store_recover(*store, &sink, error, sizeof error);
    assertf(!failed || failed == -EILSEQ || failed == -ENOTSUP, "%d: %s", failed, error);
    assertf(!failed || strncmp(error, "data", 4) == 0, "%s", error);
    return failed;
}

static void sync_all(struct store *store)
{
    store_commit(store);
    store_sync_now(store);
    assert(store_failed(store) == 0);
}

/* A disk whose definitions know a few queues; made once, as SQLite takes most of the time. */
static struct fakedisk *new_disk(void)
{
    static struct buf db;
    struct fakedisk *disk = fakedisk_new(1);
    struct store *store;
    uint64_t sum;
    if (db.len) {
        const struct io *io = fakedisk_io(disk);
        int failed = io->mkdir(io->arg, "data", 0750);
        assert(failed == 0);
        fakedisk_put(disk, DB, buf_slice(&db));
        return disk;
    }
    int failed = open_store(disk, &store, &sum);
    assert(failed == 0);
    for (uint64_t i = 1; i <= QUEUES; i++) {
        uint8_t name = (uint8_t)('0' + i);
        store_define(store, &(struct definition){.kind = DEFINITION_QUEUE,
                                                 .id = i == QUEUES ? LAST_QUEUE : i,
                                                 .name = slice_of(&name, 1)});
    }
    store_close(&store);
    buf_append_slice(&db, fakedisk_get(disk, DB));
    return disk;
}

static void append_header(struct buf *file)
{
    uint8_t *header = buf_reserve(file, SEGMENT_HEADER_BYTES);
    memset(header, 0, SEGMENT_HEADER_BYTES);
    memcpy(header, FORMAT_SEGMENT_MAGIC, 8);
    format_put_u32(header + SEGMENT_VERSION, FORMAT_VERSION);
    format_put_u32(header + SEGMENT_HEADER_SIZE, SEGMENT_HEADER_BYTES);
    format_put_u64(header + SEGMENT_EPOCH, 1);
    format_put_u64(header + SEGMENT_BYTES, 65536);
    format_put_u64(header + SEGMENT_CHECKSUM, format_segment_checksum(header));
    file->len += SEGMENT_HEADER_BYTES;
}

/* Makes magic, numbers, sizes and checksums right as far as the bytes allow; the rest stays as it
 * came. */
static void mend(struct buf *file)
{
    uint64_t number = 0;
    for (size_t at = SEGMENT_HEADER_BYTES; at + BATCH_HEADER_BYTES <= file->len;) {
        uint8_t *batch = file->at + at;
        size_t left = file->len - at, end = BATCH_HEADER_BYTES;
        uint32_t records = format_u32(batch + BATCH_RECORDS) % 8, done = 0;
        uint64_t seed = format_seed(1, 0, at);
        for (; done < records && left - end >= MARKS_HEADER_BYTES; done++) {
            uint32_t size = format_u32(batch + end) % 256;
            if (size < MARKS_HEADER_BYTES || size > left - end)
                break;
            format_put_u32(batch + end, size);
            format_put_u32(batch + end + RECORD_CHECKSUM,
                           format_record_checksum(batch + end, size, seed + end));
            end += size;
        }
        end = (size_t)format_round_up(end, BATCH_ALIGN);
        if (end > left)
            return;
        memcpy(batch, FORMAT_BATCH_MAGIC, 8);
        format_put_u64(batch + BATCH_PREVIOUS, number);
        number += 1 + batch[BATCH_NUMBER] % 4;
        format_put_u64(batch + BATCH_NUMBER, number);
        format_put_u64(batch + BATCH_SIZE, end);
        format_put_u64(batch + BATCH_OLDEST, batch[BATCH_OLDEST] % 3);
        format_put_u32(batch + BATCH_RECORDS, done);
        format_put_u64(batch + BATCH_CHECKSUM, format_batch_checksum(batch, seed));
        at += end;
    }
}

/* What was recovered once is recovered again, with what is put now. */
static void use(struct fakedisk *disk, struct store **store, uint64_t sum)
{
    size_t before = reported;
    uint64_t again, open = store_open_batch(*store);
    struct stored_target target = {LAST_QUEUE, UINT64_MAX};
    struct stored_message message = {.targets = &target, .target_count = 1, .body = SLICE("body")};
    if (open > UINT64_MAX - 10)
        return;
    store_message(*store, &message);
    sync_all(*store);
    store_abandon(store);
    fakedisk_crash(disk, FAKEDISK_LOSE_ALL);
    int failed = open_store(disk, store, &again);
    assert(failed == 0 && reported == before + 1 && store_open_batch(*store) == open + 1);
    uint64_t added = slice_hash(SLICE(""), 1) * 3 + slice_hash(SLICE("body"), 1);
    assert(again == sum + added);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf file = {0};
    struct store *store;
    uint64_t sum;
    if (size == 0 || size > 60000)
        return 0;
    struct fakedisk *disk = new_disk();
    if (data[0] % 3)
        append_header(&file);
    buf_append(&file, data + 1, size - 1);
    if (data[0] % 3 == 2)
        mend(&file);
    fakedisk_put(disk, FIRST, buf_slice(&file));
    if (open_store(disk, &store, &sum) == 0)
        use(disk, &store, sum);
    store_abandon(&store);
    fakedisk_free(&disk);
    buf_free(&file);
    return 0;
}
