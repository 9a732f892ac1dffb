/* store.c - the store as the rest of the program sees it: the open batch, handing over, opening and
 * closing.
 *
 * Owner: the server, on the loop thread; the disk thread sees only the batch that was handed over.
 * Two batches: `open` is being filled; `flying`, if any, is the disk thread's until its number is
 * durable. Failure modes: opening and recovering tell; after that nothing here fails, the disk
 * thread ends the process. */
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mem.h"
#include "store/format.h"
#include "store/pages.h"
#include "store/recover.h"
#include "store/sync.h"

enum {
    SEGMENT_BYTES_DEFAULT = 16 * 1024 * 1024,
    RELAX_TURNS = 64, /* empty turns after which kept memory is halved */
    FOLD_ROWS = 256,  /* of pages that a batch writes, and one more ... */
    FOLD_BYTES = 4096, /* ... for each so many bytes of it */
    DIR_MAX = JOURNAL_PATH_MAX - 64
};

struct store {
    struct batch batches[2];
    struct batch *open, *flying;
    struct segments segments;
    struct pages pages;
    struct definitions definitions;
    struct sync sync;
    struct store_options options; /* io and dir set */
    uint64_t batch_count, queue_id_next;
    uint64_t notes_needed; /* oldest batch with a note that is needed; UINT64_MAX = none */
    uint64_t record_bytes, moved_bytes, open_moved; /* the last: in the open batch */
    size_t flying_bytes; /* as they were when it was handed over */
    unsigned idle_turns;
    int lock_fd;
    bool recovered, full;
    bool slow;  /* the disk was, with the last batch */
    bool folds; /* more rows of pages are to be written before the oldest segments can go */
    char dir[DIR_MAX];
};

/* Opening. */

/* `parent` holds DIR_MAX bytes. */
static void parent_of(const char *dir, char *parent)
{
    const char *slash = strrchr(dir, '/');
    if (!slash)
        snprintf(parent, DIR_MAX, ".");
    else
        snprintf(parent, DIR_MAX, "%.*s", slash == dir ? 1 : (int)(slash - dir), dir);
}

/* Makes the directory and those above it that are missing. */
static int make_dirs(const struct io *io, const char *dir)
{
    char path[DIR_MAX], parent[DIR_MAX];
    int failed = 0;
    for (size_t len = 1; len <= strlen(dir); len++) {
        if (dir[len] != '/' && dir[len] != 0)
            continue;
        memcpy(path, dir, len);
        path[len] = 0;
        failed = io->mkdir(io->arg, path, 0750);
        parent_of(path, parent);
        if (!failed)
            failed = io->sync_dir(io->arg, parent);
        /* A directory above that may not be made is there already, or the next one tells. */
    }
    if (failed != -EEXIST)
        return failed;
    /* Who made it may have been killed before its name was on disk. Where the one above is not ours to open,
     * it was not us. */
    failed = io->sync_dir(io->arg, parent);
    return failed == -EIO ? failed : 0;
}

static int who_locks(struct store *store, char *error, size_t error_size)
{
    char pid[24] = "";
    ssize_t got =
        store->options.io->pread(store->options.io->arg, store->lock_fd, pid, sizeof pid - 1, 0);
    long holder = got > 0 ? strtol(pid, NULL, 10) : 0;
    if (holder > 0)
        snprintf(error, error_size, "%s: in use by the process with pid %ld", store->dir, holder);
    else
        snprintf(error, error_size, "%s: in use by another process", store->dir);
    return -EWOULDBLOCK;
}

static int take_lock(struct store *store, char *error, size_t error_size)
{
    const struct io *io = store->options.io;
    char path[JOURNAL_PATH_MAX], pid[24];
    snprintf(path, sizeof path, "%s/lock", store->dir);
    int failed = io->open(io->arg, path, O_RDWR | O_CREAT, 0640);
    if (failed >= 0) {
        store->lock_fd = failed;
        failed = io->lock(io->arg, store->lock_fd);
        if (failed == -EWOULDBLOCK)
            return who_locks(store, error, error_size);
    }
    if (!failed)
        failed = io->truncate(io->arg, store->lock_fd, 0);
    if (!failed) {
        int len = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
        failed = io_write(io, store->lock_fd, pid, (size_t)len, 0);
        if (io_is_full(failed))
            failed = 0; /* the number is a courtesy; a broker must start on a full disk, to be drained */
    }
    if (failed == -ENOTDIR)
        snprintf(error, error_size, "%s: not a directory", store->dir);
    else if (failed)
        snprintf(error, error_size, "%s: cannot lock it: %s", path, strerror(-failed));
    return failed;
}

static void unlock(struct store *store)
{
    if (store->lock_fd >= 0)
        store->options.io->close(store->options.io->arg, store->lock_fd);
    store->lock_fd = -1;
}

static int open_dir(struct store *store, char *error, size_t error_size)
{
    int failed = make_dirs(store->options.io, store->dir);
    if (failed) {
        snprintf(error, error_size, "%s: cannot make the directory: %s", store->dir,
                 strerror(-failed));
        return failed;
    }
    return take_lock(store, error, error_size);
}

int store_open(struct store **out, const struct store_options *options, char *error,
               size_t error_size)
{
    size_t segment_bytes = options->segment_bytes ? options->segment_bytes : SEGMENT_BYTES_DEFAULT;
    size_t len = strlen(options->dir);
    assert(len > 0 && error_size > 0);
    *out = NULL;
    if (len >= DIR_MAX) {
        snprintf(error, error_size, "the data directory's path is longer than %d bytes",
                 DIR_MAX - 1);
        return -ENAMETOOLONG;
    }
    struct store *store = mem_zalloc(sizeof *store);
    memcpy(store->dir, options->dir, len + 1);
    store->options = *options;
    store->options.dir = store->dir;
    store->lock_fd = -1;
    store->notes_needed = UINT64_MAX;
    if (!options->io)
        store->options.io = io_system();
    int failed = open_dir(store, error, error_size);
    if (failed) {
        unlock(store);
        mem_free(store);
        return failed;
    }
    segments_init(&store->segments, (size_t)format_round_up(segment_bytes, FORMAT_BLOCK));
    sync_init(&store->sync, &store->options, &store->definitions);
    batch_init(&store->batches[0]);
    batch_init(&store->batches[1]);
    pages_init(&store->pages, &store->options);
    store->open = store->pages.open = &store->batches[0];
    *out = store;
    return 0;
}

int store_recover(struct store *store, const struct recovery_sink *sink, char *error,
                  size_t error_size)
{
    assert(!store->recovered && !store->definitions.db);
    struct recover recover = {.options = &store->options,
                              .sink = sink,
                              .definitions = &store->definitions,
                              .segments = &store->segments,
                              .pages = &store->pages,
                              .error = error,
                              .error_size = error_size};
    int failed =
        definitions_open(&store->definitions, store->options.io, store->dir, error, error_size);
    if (!failed)
        failed = recover_run(&recover);
    if (!failed && !store->options.without_thread) {
        failed = sync_start(&store->sync);
        if (failed)
            snprintf(error, error_size, "cannot start the disk thread: %s", strerror(-failed));
    }
    if (!failed) {
        failed = page_loader_start(&store->pages.loader);
        if (failed)
            snprintf(error, error_size, "cannot start the thread that reads pages: %s", strerror(-failed));
    }
    if (failed)
        return failed;
    store->notes_needed = recover.notes_needed;
    uint64_t defined = store->definitions.queue_id_max;
    store->queue_id_next = (recover.queue_id_max > defined ? recover.queue_id_max : defined) + 1;
    store->open->number = store->segments.previous + 1;
    atomic_store(&store->sync.durable, store->segments.previous);
    store->recovered = true;
    return 0;
}

uint64_t store_queue_id_next(const struct store *store)
{
    assert(store->recovered);
    return store->queue_id_next;
}

/* Filling the open batch. */

void store_define(struct store *store, const struct definition *definition)
{
    assert(store->recovered);
    definitions_encode(&store->open->definitions, definition, false);
}

void store_undefine(struct store *store, const struct definition *definition)
{
    assert(store->recovered);
    definitions_encode(&store->open->definitions, definition, true);
}

struct pages *store_pages(struct store *store)
{
    return &store->pages;
}

uint64_t store_message(struct store *store, const struct stored_message *message)
{
    assert(store->recovered);
    batch_message(store->open, message, false);
    return store->open->number;
}

uint64_t store_sparse_part(struct store *store)
{
    return segments_sparse_part(&store->segments, batch_journal_bytes(store->open));
}

uint64_t store_sparse_batch(struct store *store)
{
    return segments_sparse(&store->segments, store->open->number, batch_journal_bytes(store->open));
}

bool store_is_sparse(const struct store *store)
{
    return store->segments.sparse.at < store->segments.sparse.to;
}

uint64_t store_move(struct store *store, const struct stored_message *message)
{
    assert(store->recovered);
    size_t used = store->open->used;
    batch_message(store->open, message, true);
    store->open_moved += store->open->used - used;
    store->moved_bytes += store->open->used - used;
    return store->open->number;
}

void store_release(struct store *store, uint64_t batch)
{
    if (batch != store->open->number) {
        segments_release(&store->segments, batch);
        return;
    }
    assertf(store->open->live > 0, "batch %llu released too often", (unsigned long long)batch);
    store->open->live--;
}

void store_ack(struct store *store, struct store_run *run, uint64_t queue_id, uint64_t sequence)
{
    struct batch *open = store->open;
    if (run->ack_batch == open->number) {
        struct ack_range *range = &open->acks[run->ack_index];
        if (range->first + range->count == sequence) {
            range->count++;
            return;
        }
    }
    assert(store->recovered);
    run->ack_batch = open->number;
    run->ack_index = batch_ack(open, queue_id, sequence);
}

void store_ack_range(struct store *store, uint64_t queue_id, uint64_t first, uint64_t count)
{
    assert(store->recovered && count > 0);
    uint32_t index = batch_ack(store->open, queue_id, first);
    store->open->acks[index].count = count;
}

void store_delivered(struct store *store, struct store_run *run, uint64_t queue_id,
                     uint64_t sequence)
{
    struct batch *open = store->open;
    if (run->delivered_batch == open->number) {
        struct delivered_mark *mark = &open->delivered[run->delivered_index];
        if (mark->sequence < sequence)
            mark->sequence = sequence;
        return;
    }
    assert(store->recovered);
    run->delivered_batch = open->number;
    run->delivered_index = batch_delivered(open, queue_id, sequence);
}

void store_returned(struct store *store, uint64_t queue_id, uint64_t sequence, uint16_t count)
{
    assert(store->recovered && count > 0);
    batch_returned(store->open, &(struct return_mark){queue_id, sequence, count});
}

uint64_t store_note(struct store *store, struct store_note_run *run, const struct stored_note *note)
{
    struct batch *open = store->open;
    assert(store->recovered);
    if (run->batch != open->number)
        *run = (struct store_note_run){open->number, batch_note(open, note)};
    else
        open->notes[run->index] = *note;
    return open->number;
}

void store_keep_notes(struct store *store, uint64_t batch)
{
    assert(store->recovered);
    store->notes_needed = batch;
}

/* The journal may grow to twice what the notes take and two segments more; then those in the oldest segment
 * are written again. So whatever is written for that is half of what is let go, and it comes to an end. */
uint64_t store_stale_notes(const struct store *store, size_t count)
{
    const struct segments *segments = &store->segments;
    size_t enough = 2 + 2 * count * NOTE_BYTES / segments->segment_bytes;
    if (store->notes_needed == UINT64_MAX || segments->in_use.size <= enough)
        return 0;
    uint64_t dying = segments_dying(segments);
    const struct segment *oldest = *segment_ring_at(&segments->in_use, 0);
    return dying < store->notes_needed ? 0 : oldest->last_batch;
}

/* Handing over. */

uint64_t store_open_batch(const struct store *store)
{
    return store->open->number;
}

uint64_t store_durable(struct store *store)
{
    return atomic_load_explicit(&store->sync.durable, memory_order_acquire);
}

/* True while the disk thread has a batch; takes it back when it is done. */
static bool in_flight(struct store *store)
{
    if (store->flying && store_durable(store) >= store->flying->number) {
        if (store->flying->place.size)
            segments_written(&store->segments, &store->flying->place);
        pages_settled(&store->pages, store->flying);
        store->slow = store->flying->slow;
        store->flying = NULL;
        store->batch_count++;
    }
    return store->flying != NULL;
}

/* What the journal alone says of pages goes to their rows when its oldest segments have nothing else that is
 * needed. With random deadlines that may be all pages: they share batches, so that none takes long. */
static void fold(struct store *store)
{
    size_t rows = FOLD_ROWS + batch_pending_bytes(store->open) / FOLD_BYTES;
    store->folds = pages_fold(&store->pages, segments_dying(&store->segments), rows);
}

/* The open batch becomes the flying one; its bytes are the disk thread's from here on. */
static void hand_over(struct store *store)
{
    struct batch *batch = store->open;
    store->record_bytes += batch->used - BATCH_HEADER_BYTES - store->open_moved;
    store->open_moved = 0;
    uint64_t pages = pages_needed_batch(&store->pages);
    store->segments.needed = pages < store->notes_needed ? pages : store->notes_needed;
    store->flying_bytes = batch_pending_bytes(batch);
    batch->place.size = 0;
    if (batch_journal_bytes(batch))
        segments_place(&store->segments, batch, store_durable(store));
    segments_handed_over(&store->segments);
    store->flying = batch;
    store->idle_turns = 0;
    if (!store->options.without_thread)
        sync_post(&store->sync, batch);
}

/* Begins to fill the batch that is not under way. */
static void open_next(struct store *store, uint64_t number)
{
    store->open = store->open == &store->batches[0] ? &store->batches[1] : &store->batches[0];
    assert(store->open != store->flying && batch_empty(store->open));
    store->open->number = number;
    store->pages.open = store->open;
}

uint64_t store_last_batch(const struct store *store)
{
    return batch_empty(store->open) ? store->open->number - 1 : store->open->number;
}

bool store_full(const struct store *store)
{
    return atomic_load_explicit(&store->sync.full, memory_order_relaxed) != 0;
}

/* Says once that there is no space, and once that there is again. */
static void note_space(struct store *store)
{
    char text[DIR_MAX + 160];
    if (store_full(store) == store->full)
        return;
    store->full = !store->full;
    snprintf(text, sizeof text, "%s: %s", store->dir,
             store->full ? "no space left: nothing is confirmed until there is some again"
                         : "there is space again");
    if (store->options.note)
        store->options.note(store->options.note_arg,
                            store->full ? STORE_NOTE_ERROR : STORE_NOTE_INFO, text);
}

void store_commit(struct store *store)
{
    assert(store->recovered);
    note_space(store);
    if (in_flight(store))
        return;
    pages_prepare(&store->pages);
    if (store->folds || !batch_empty(store->open))
        fold(store);
    if (!batch_empty(store->open)) {
        uint64_t next = store->open->number + 1;
        hand_over(store);
        open_next(store, next);
    } else if (++store->idle_turns >= RELAX_TURNS) {
        store->idle_turns = 0;
        for (int i = 0; i < 2; i++)
            batch_relax(&store->batches[i]);
    }
}

bool store_busy(struct store *store)
{
    return in_flight(store) || !batch_empty(store->open);
}

size_t store_pending_bytes(struct store *store)
{
    size_t bytes = batch_pending_bytes(store->open) + (in_flight(store) ? store->flying_bytes : 0);
    return store->slow ? bytes + bytes / 3 : bytes;
}

size_t store_open_bytes(const struct store *store)
{
    return batch_pending_bytes(store->open);
}

size_t store_definition_bytes(const struct store *store)
{
    return store->open->definitions.len;
}

void store_sync_now(struct store *store)
{
    assert(store->options.without_thread);
    if (in_flight(store))
        sync_batch(&store->sync, store->flying);
}

int store_failed(const struct store *store)
{
    assert(store->options.without_thread);
    return store->sync.failed;
}

/* What a batch has while it flies only the disk thread may look at. */
static size_t buffers(const struct store *store)
{
    size_t bytes = store->flying ? store->flying_bytes : 0;
    for (int i = 0; i < 2; i++)
        if (&store->batches[i] != store->flying)
            bytes += batch_memory(&store->batches[i]);
    return bytes;
}

void store_stats(struct store *store, struct store_stats *stats)
{
    in_flight(store);
    *stats = (struct store_stats){
        .batches = store->batch_count,
        .syncs = atomic_load_explicit(&store->sync.syncs, memory_order_relaxed),
        .bytes_written = atomic_load_explicit(&store->sync.bytes_written, memory_order_relaxed),
        .journal_bytes = segments_file_bytes(&store->segments),
        .journal_live_bytes = segments_live_bytes(&store->segments),
        .record_bytes = store->record_bytes,
        .moved_bytes = store->moved_bytes,
        .thinned_bytes = store->pages.thinned_bytes,
        .buffer_bytes = buffers(store),
        .directory_bytes = pages_memory(&store->pages),
        .loading_bytes = store->pages.loader.bytes,
        .live_messages = store->segments.live + store->open->live,
        .page_bytes = store->pages.bytes,
        .page_live_bytes = store->pages.live_bytes,
        .pages = store->pages.count,
        .segments = (unsigned)store->segments.in_use.size,
        .spare_segments = (unsigned)(store->segments.spare.size + store->segments.odd.size),
    };
}

/* Closing. */

static void finish(struct store *store)
{
    if (!store->recovered)
        return;
    if (store->options.without_thread)
        store_sync_now(store);
    /* With a thread both batches may be its own from here on: nothing is filled any more. */
    bool stuck = store->options.without_thread && in_flight(store);
    if (!batch_empty(store->open) && !stuck)
        hand_over(store);
    if (store->options.without_thread)
        store_sync_now(store);
}

static void tear_down(struct store **store_at, bool crash)
{
    struct store *store = *store_at;
    sync_stop(&store->sync);
    pages_free(&store->pages);
    definitions_close(&store->definitions, crash || store->sync.failed);
    sync_free(&store->sync);
    segments_free(&store->segments);
    batch_free(&store->batches[0]);
    batch_free(&store->batches[1]);
    unlock(store);
    mem_free(store);
    *store_at = NULL;
}

void store_close(struct store **store)
{
    if (!*store)
        return;
    finish(*store);
    tear_down(store, false);
}

void store_abandon(struct store **store)
{
    if (*store)
        tear_down(store, true);
}
