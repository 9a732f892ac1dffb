/* damage.c - what a flipped bit costs.
 *
 * Owner: the simulation. Both recoveries go through a view, so what they write stays in memory. */
#include "tests/sim/damage.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"
#include "base/map.h"
#include "base/mem.h"
#include "store/journal.h"
#include "store/page_disk.h"
#include "store/pages.h"
#include "store/view.h"

enum { FILES_MAX = 64, TRIES = 64, HEADER = 4096 };

struct spot {
    uint64_t queue_id, sequence; /* the map's key */
    uint64_t batch, page;        /* where it lies: one of them is 0 */
    uint64_t hash;               /* of all that it is */
};

/* What a start finds. */
struct finding {
    struct map places; /* place by key */
    struct buf all;    /* pointers to them */
    struct buf delivered; /* pairs of queue id and sequence */
    struct buf slots;
    struct store *store;
    uint64_t last_batch;
    unsigned errors;
    char note[512], cut[512]; /* the last one; that of an unfinished write */
};

/* The disk with one bit turned over. */
struct flipped {
    struct io io;
    const struct io *base;
    char path[128];
    uint64_t offset;
    uint8_t mask;
    bool fds[65536]; /* descriptors of that file; the fake disk gives each number once */
    int fd_first;
};

static int open_file(void *arg, const char *path, int flags, unsigned mode)
{
    struct flipped *f = arg;
    int fd = f->base->open(f->base->arg, path, flags, mode);
    if (fd >= 0 && f->fd_first < 0)
        f->fd_first = fd;
    if (fd >= 0) {
        assert(fd >= f->fd_first && fd - f->fd_first < (int)array_size(f->fds));
        f->fds[fd - f->fd_first] = strcmp(path, f->path) == 0;
    }
    return fd;
}

static ssize_t read_at(void *arg, int fd, void *bytes, size_t size, uint64_t offset)
{
    struct flipped *f = arg;
    ssize_t got = f->base->pread(f->base->arg, fd, bytes, size, offset);
    if (got > 0 && f->fds[fd - f->fd_first] && f->offset >= offset && f->offset < offset + (uint64_t)got)
        ((uint8_t *)bytes)[f->offset - offset] ^= f->mask;
    return got;
}

static int close_file(void *arg, int fd)
{
    struct flipped *f = arg;
    return f->base->close(f->base->arg, fd);
}

static int64_t file_size(void *arg, int fd)
{
    struct flipped *f = arg;
    return f->base->size(f->base->arg, fd);
}

static int list_dir(void *arg, const char *path, void (*each)(void *ctx, const char *name), void *ctx)
{
    struct flipped *f = arg;
    return f->base->list(f->base->arg, path, each, ctx);
}

static int lock_file(void *arg, int fd)
{
    struct flipped *f = arg;
    return f->base->lock(f->base->arg, fd);
}

/* --- findings --- */

static void add(struct finding *f, struct spot place)
{
    struct spot *kept = mem_alloc(sizeof *kept);
    *kept = place;
    struct slice key = slice_of(&kept->queue_id, 2 * sizeof(uint64_t));
    assertf(!map_get(&f->places, key), "message %" PRIu64 ":%" PRIu64 " is found twice", place.queue_id,
            place.sequence);
    map_put(&f->places, slice_of(&kept->queue_id, 2 * sizeof(uint64_t)), kept);
    buf_append(&f->all, &kept, sizeof kept);
}

static struct spot *find(const struct finding *f, const struct spot *place)
{
    return map_get(&f->places, slice_of(&place->queue_id, 2 * sizeof(uint64_t)));
}

static uint64_t hash_of(struct slice exchange, struct slice key, struct slice props, struct slice body)
{
    uint64_t hash = slice_hash(exchange, 1);
    hash = slice_hash(key, hash);
    hash = slice_hash(props, hash);
    return slice_hash(body, hash);
}

static void on_definition(void *arg, const struct definition *definition)
{
    (void)arg, (void)definition;
}

static void on_message(void *arg, const struct stored_message *m, uint64_t batch)
{
    struct finding *f = arg;
    uint64_t hash = hash_of(m->exchange, m->key, m->props, m->body);
    for (size_t i = 0; i < m->target_count; i++)
        add(f, (struct spot){m->targets[i].queue_id, m->targets[i].sequence, batch, 0, hash});
    f->last_batch = batch > f->last_batch ? batch : f->last_batch;
}

static void on_delivered(void *arg, uint64_t queue_id, uint64_t sequence)
{
    uint64_t pair[2] = {queue_id, sequence};
    buf_append(&((struct finding *)arg)->delivered, pair, sizeof pair);
}

static void on_page(void *arg, uint64_t queue_id, uint32_t slot)
{
    (void)queue_id;
    buf_append(&((struct finding *)arg)->slots, &slot, sizeof slot);
}

static void on_note(void *arg, enum store_note level, const char *text)
{
    struct finding *f = arg;
    f->errors += level == STORE_NOTE_ERROR;
    if (level == STORE_NOTE_WARNING)
        snprintf(f->cut, sizeof f->cut, "%s", text);
    snprintf(f->note, sizeof f->note, "%s", text);
}

/* Everything of a page that a start would give to its queue. */
static void find_page(struct finding *f, uint32_t slot)
{
    struct pages *pages = store_pages(f->store);
    struct slice rest;
    bool asked = pages_load(pages, slot, f);
    assert(asked);
    struct page_load *load = pages_loaded(pages);
    assert(load);
    const struct page *page = pages_at(pages, slot);
    uint32_t count = load->failed ? 0 : page_open(slice_of(load->bytes, load->size), &rest);
    struct page_record r;
    for (uint64_t sequence = page->first; count; count -= r.run, sequence += r.run) {
        page_next(&rest, &r);
        if (r.flags & PAGE_GONE || !(r.flags & PAGE_PERSISTENT) || page_is_acked(page, sequence))
            continue;
        uint64_t hash = hash_of(r.exchange, r.key, r.props, r.body);
        add(f, (struct spot){page->queue_id, sequence, 0, page->id, hash});
    }
    page_load_free(&load);
}

static void recover(struct finding *f, const struct io *io, const char *dir, size_t segment_bytes)
{
    struct view *view = view_new(io);
    struct recovery_sink sink = {on_definition, on_message, on_delivered, f, on_page};
    struct store_options options = {.dir = dir,
                                    .io = view_io(view),
                                    .segment_bytes = segment_bytes,
                                    .quarantine = true,
                                    .without_thread = true,
                                    .note = on_note,
                                    .note_arg = f};
    char error[1024] = "";
    *f = (struct finding){0};
    map_init(&f->places, 0);
    int failed = store_open(&f->store, &options, error, sizeof error);
    if (!failed)
        failed = store_recover(f->store, &sink, error, sizeof error);
    assertf(!failed, "a flipped bit keeps the store from starting: %s", error);
    for (size_t at = 0; at < f->slots.len; at += sizeof(uint32_t)) {
        uint32_t slot;
        memcpy(&slot, f->slots.at + at, sizeof slot);
        find_page(f, slot);
    }
    store_abandon(&f->store);
    view_free(&view);
}

static void free_finding(struct finding *f)
{
    for (size_t at = 0; at < f->all.len; at += sizeof(struct spot *)) {
        struct spot *place;
        memcpy(&place, f->all.at + at, sizeof place);
        mem_free(place);
    }
    map_free(&f->places);
    buf_free(&f->all);
    buf_free(&f->delivered);
    buf_free(&f->slots);
}

static bool is_flagged(const struct finding *f, const struct spot *place)
{
    for (size_t at = 0; at < f->delivered.len; at += 2 * sizeof(uint64_t)) {
        uint64_t pair[2];
        memcpy(pair, f->delivered.at + at, sizeof pair);
        if (pair[0] == place->queue_id && pair[1] >= place->sequence)
            return true;
    }
    return false;
}

/* --- the flip --- */

struct files {
    char names[FILES_MAX][32];
    unsigned count;
};

static void collect(void *ctx, const char *name)
{
    struct files *files = ctx;
    if ((journal_slot(name) || page_disk_number(name)) && files->count < FILES_MAX)
        snprintf(files->names[files->count++], sizeof files->names[0], "%s", name);
}

/* Chooses a bit of a byte that is not zero: most of a journal's file is not written yet. */
static bool choose(struct flipped *f, const struct fakedisk *disk, const char *dir, struct rand *rand)
{
    struct files files = {0};
    int failed = f->base->list(f->base->arg, dir, collect, &files);
    if (failed || files.count == 0)
        return false;
    for (int i = 0; i < TRIES; i++) {
        const char *name = files.names[rand_below(rand, files.count)];
        snprintf(f->path, sizeof f->path, "%s/%s", dir, name);
        struct slice bytes = fakedisk_get(disk, f->path);
        if (bytes.len == 0)
            continue;
        f->offset = rand_below(rand, rand_below(rand, 3) || bytes.len < 2 * HEADER ? bytes.len : 2 * HEADER);
        f->mask = (uint8_t)(1u << rand_below(rand, 8));
        bool header = journal_slot(name) && f->offset < HEADER && f->offset >= 56;
        if (bytes.at[f->offset] && !header)
            return true;
    }
    return false;
}

static void compare(const struct finding *whole, const struct finding *rest, const struct flipped *f,
                    struct damage_counts *counts)
{
    const struct spot *first = NULL;
    bool cut = strcmp(rest->cut, whole->cut) != 0;
    uint64_t lost = 0;
    for (size_t at = 0; at < whole->all.len; at += sizeof first) {
        struct spot *place, *there;
        memcpy(&place, whole->all.at + at, sizeof place);
        there = find(rest, place);
        assertf(!there || there->hash == place->hash, "message %" PRIu64 ":%" PRIu64 " is another now",
                place->queue_id, place->sequence);
        if (there)
            continue;
        lost++;
        first = first ? first : place;
        /* One record is one message, in however many queues. */
        bool one = place->batch == first->batch && place->page == first->page &&
                   (place->page || cut || place->hash == first->hash);
        assertf(one && (!cut || place->batch > 0), "%s at %" PRIu64 ": more is lost than one record: %s",
                f->path, f->offset, rest->note);
    }
    assertf(!lost || rest->errors > whole->errors || cut || (first && first->page),
            "%s at %" PRIu64 ": %" PRIu64 " messages are lost without a word", f->path, f->offset, lost);
    for (size_t at = 0; at < rest->all.len; at += sizeof first) {
        struct spot *place;
        memcpy(&place, rest->all.at + at, sizeof place);
        if (find(whole, place))
            continue;
        counts->again++;
        assertf(cut || is_flagged(rest, place), "%s at %" PRIu64 ": %" PRIu64 ":%" PRIu64 " comes unflagged",
                f->path, f->offset, place->queue_id, place->sequence);
    }
    counts->lost += lost;
    counts->noted += rest->errors > whole->errors;
    counts->cut += cut;
    counts->flips++;
}

bool damage_try(const struct fakedisk *disk, const char *dir, size_t segment_bytes, struct rand *rand,
                struct damage_counts *counts)
{
    struct flipped *f = mem_zalloc(sizeof *f);
    struct finding whole, rest;
    f->base = fakedisk_io((struct fakedisk *)(uintptr_t)disk);
    f->fd_first = -1;
    f->io = (struct io){.open = open_file,
                        .close = close_file,
                        .pread = read_at,
                        .size = file_size,
                        .list = list_dir,
                        .lock = lock_file,
                        .arg = f};
    bool chosen = choose(f, disk, dir, rand);
    if (chosen) {
        recover(&whole, f->base, dir, segment_bytes);
        recover(&rest, &f->io, dir, segment_bytes);
        compare(&whole, &rest, f, counts);
        free_finding(&whole);
        free_finding(&rest);
    }
    mem_free(f);
    return chosen;
}
