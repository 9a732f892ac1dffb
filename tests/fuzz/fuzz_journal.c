/* fuzz_journal.c - any bytes as a segment file: recovery refuses with a sentence that names the
 * place, or succeeds, and does so again. The first byte says how the rest is used: 0 as the whole
 * file, 1 behind a valid header, 2 as batches whose checksums are made right first, so that what is
 * behind the checksums is reached too. SQLite takes most of an opening's time, so the definitions
 * stay open from input to input; one input in 64 goes through a whole store, which must then go on
 * writing where the recovery ended. */
#include <errno.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"
#include "base/mem.h"
#include "store/format.h"
#include "store/pages.h"
#include "store/recover.h"
#include "store/store.h"
#include "tests/fuzz/fuzz.h"
#include "tests/sim/fakedisk.h"

#define DB "data/definitions.db"
#define FIRST "data/journal-000001.seg"

enum { QUEUES = 4, LAST_QUEUE = 0x7654321, SEGMENT_SIZE = 65536 };

#define ZERO4 "\0\0\0\0"
#define ZERO8 ZERO4 ZERO4
/* What mend() does not make right; numbers below 256. */
#define BATCH(records) ZERO8 ZERO8 ZERO8 ZERO8 ZERO8 ZERO8 records "\0\0\0" ZERO4
#define NUMBER(low) low "\0\0\0" ZERO4
#define MESSAGE(queue, sequence)                                                                   \
    "\x30\0\0\0" ZERO4 "\x01\0\x02\0\x03\0\0\0\x02\0\0\0\x01\0\0\0" NUMBER(queue)                  \
        NUMBER(sequence) "exkeyppb"
#define ACKS(queue, first, count)                                                                  \
    "\x28\0\0\0" ZERO4 "\x02\0\0\0\x01\0\0\0" NUMBER(queue) NUMBER(first) NUMBER(count)
#define DELIVERED(queue, sequence)                                                                 \
    "\x20\0\0\0" ZERO4 "\x03\0\0\0\x01\0\0\0" NUMBER(queue) NUMBER(sequence)

const struct slice fuzz_seeds[] = {
    FUZZ_SEED("\x02" BATCH("\x02") MESSAGE("\x01", "\x01") MESSAGE("\x02", "\x01") BATCH("\x01")
                  ACKS("\x01", "\x01", "\x01") BATCH("\x01") DELIVERED("\x02", "\x01") BATCH("\x01")
                      MESSAGE("\x03", "\x05")),
    FUZZ_SEED("\x02" BATCH("\x03") MESSAGE("\x01", "\x01") ACKS("\x01", "\x01", "\x05")
                  DELIVERED("\x01", "\x01") BATCH("\x01") MESSAGE("\x01", "\x01")),
    FUZZ_SEED("\x02" BATCH("\x01") MESSAGE("\x01", "\x02") BATCH("\x01") MESSAGE("\x01", "\x01")),
    FUZZ_SEED("\x01LEVBATCH" ZERO8 ZERO8),
    FUZZ_SEED(ZERO8),
};
const size_t fuzz_seeds_count = array_size(fuzz_seeds);

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

static void check_error(int failed, const char *error)
{
    assertf(!failed || failed == -EILSEQ || failed == -ENOTSUP, "%d: %s", failed, error);
    assertf(!failed || strncmp(error, "data", 4) == 0, "%s", error);
}

static struct recovery_sink sink_to(uint64_t *sum)
{
    *sum = reported = 0;
    return (struct recovery_sink){
        .definition = on_definition, .message = on_message, .delivered = on_delivered, .arg = sum};
}

static int open_store(struct fakedisk *disk, struct store **store, uint64_t *sum)
{
    char error[512] = "";
    struct store_options options = {.dir = "data",
                                    .io = fakedisk_io(disk),
                                    .segment_bytes = SEGMENT_SIZE,
                                    .without_thread = true};
    struct recovery_sink sink = sink_to(sum);
    int failed = store_open(store, &options, error, sizeof error);
    assertf(failed == 0, "%s", error);
    failed = store_recover(*store, &sink, error, sizeof error);
    check_error(failed, error);
    return failed;
}

static void sync_all(struct store *store)
{
    store_commit(store);
    store_sync_now(store);
    assert(store_failed(store) == 0);
}

/* The bytes of a definitions' file that knows a few queues. */
static struct slice definitions_file(void)
{
    static struct buf db;
    if (db.len)
        return buf_slice(&db);
    struct fakedisk *disk = fakedisk_new(1);
    struct store *store;
    uint64_t sum;
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
    fakedisk_free(&disk);
    return buf_slice(&db);
}

static struct fakedisk *new_disk(void)
{
    struct fakedisk *disk = fakedisk_new(1);
    const struct io *io = fakedisk_io(disk);
    int failed = io->mkdir(io->arg, "data", 0750);
    assert(failed == 0);
    return disk;
}

/* One connection for all inputs, on a disk of its own. */
static struct definitions *open_definitions(void)
{
    static struct definitions definitions;
    static struct fakedisk *disk;
    char error[512];
    if (disk)
        return &definitions;
    disk = new_disk();
    fakedisk_put(disk, DB, definitions_file());
    int failed = definitions_open(&definitions, fakedisk_io(disk), "data", error, sizeof error);
    assertf(failed == 0, "%s", error);
    return &definitions;
}

/* Only what store_recover does with the journal. */
static int recover(struct fakedisk *disk, uint64_t *sum)
{
    char error[512] = "";
    struct segments segments;
    struct pages pages;
    struct store_options options = {.dir = "data", .io = fakedisk_io(disk)};
    struct recovery_sink sink = sink_to(sum);
    struct recover r = {.options = &options,
                        .sink = &sink,
                        .definitions = open_definitions(),
                        .segments = &segments,
                        .pages = &pages,
                        .error = error,
                        .error_size = sizeof error};
    segments_init(&segments, SEGMENT_SIZE);
    pages_init(&pages, &options);
    int failed = recover_run(&r);
    check_error(failed, error);
    assert(failed || segments.live == reported);
    segments_free(&segments);
    pages_free(&pages);
    return failed;
}

static void append_header(struct buf *file)
{
    uint8_t *header = buf_reserve(file, SEGMENT_HEADER_BYTES);
    memset(header, 0, SEGMENT_HEADER_BYTES);
    memcpy(header, FORMAT_SEGMENT_MAGIC, 8);
    format_put_u32(header + SEGMENT_VERSION, FORMAT_VERSION);
    format_put_u32(header + SEGMENT_HEADER_SIZE, SEGMENT_HEADER_BYTES);
    format_put_u64(header + SEGMENT_EPOCH, 1);
    format_put_u64(header + SEGMENT_BYTES, SEGMENT_SIZE);
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

/* The store writes on behind what it recovered, and recovers both. */
static void write_on(struct fakedisk *disk, uint64_t sum)
{
    struct store *store;
    uint64_t again;
    fakedisk_put(disk, DB, definitions_file());
    int failed = open_store(disk, &store, &again);
    assert(failed == 0 && again == sum);
    size_t before = reported;
    uint64_t open = store_open_batch(store);
    struct stored_target target = {LAST_QUEUE, UINT64_MAX};
    struct stored_message message = {.targets = &target, .target_count = 1, .body = SLICE("body")};
    if (open < UINT64_MAX - 10) {
        store_message(store, &message);
        sync_all(store);
        store_abandon(&store);
        fakedisk_crash(disk, FAKEDISK_LOSE_ALL);
        failed = open_store(disk, &store, &again);
        assert(failed == 0 && reported == before + 1 && store_open_batch(store) == open + 1);
        assert(again == sum + slice_hash(SLICE(""), 1) * 3 + slice_hash(SLICE("body"), 1));
    }
    store_abandon(&store);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf file = {0};
    uint64_t sum, again;
    if (size == 0 || size > SEGMENT_SIZE - SEGMENT_HEADER_BYTES)
        return 0;
    struct fakedisk *disk = new_disk();
    if (data[0] % 3)
        append_header(&file);
    buf_append(&file, data + 1, size - 1);
    if (data[0] % 3 == 2)
        mend(&file);
    fakedisk_put(disk, FIRST, buf_slice(&file));
    if (recover(disk, &sum) == 0) {
        int failed = recover(disk, &again);
        assert(failed == 0 && again == sum);
        if (slice_hash(slice_of(data, size), 0) % 64 == 0)
            write_on(disk, sum);
    }
    fakedisk_free(&disk);
    buf_free(&file);
    return 0;
}
