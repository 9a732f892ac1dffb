/* pages.c - the second tier as the loop sees it.
 *
 * Owner: the store. Page files are appended to by one process only: a new one begins a new file.
 * Invariants: a file's live = the bytes of the pages that are in it or on their way into it; a page with a
 * row is in `dirty` exactly while something acked or delivered is told by the journal only.
 * Order within a batch: page files, journal, rows. So a row is never ahead of the record that it is the
 * effect of, and the journal gives up a message in the batch after the one that pages it. */
#include "store/pages_restore.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "store/page_disk.h"
#include "store/page_file.h"
#include "store/quarantine.h"

enum {
    FILE_BYTES_MAX = 64 * 1024 * 1024,
    THIN_BYTES_MAX = 4 * 1024 * 1024,  /* being read */
    THIN_BATCHES = 64,                 /* how long a page is given to die */
    SPARSE_BATCHES = 64,               /* and a file: one that is being drained dies soon by itself */
    MOVE_BYTES_MAX = 1024 * 1024,      /* in one batch, which others wait for */
    LOAD_BYTES_MAX = 6 * 1024 * 1024,  /* under way */
    PREPARE_FILES_MAX = 16             /* let go in one batch */
};

void pages_init(struct pages *pages, const struct store_options *options)
{
    *pages = (struct pages){.options = options, .id_next = 1, .file_next = 1, .slot_count = 1};
    pages->file_bytes_max = FILE_BYTES_MAX;
    if (options->segment_bytes && options->segment_bytes < FILE_BYTES_MAX / 4)
        pages->file_bytes_max = 4 * options->segment_bytes;
    list_init(&pages->files);
    list_init(&pages->sparse);
    list_init(&pages->dirty);
    list_init(&pages->thin);
    page_loader_init(&pages->loader, options);
}

/* --- pages and files --- */

static uint32_t give_slot(struct pages *pages, struct page *page)
{
    uint32_t slot;
    if (pages->free_slots.size) {
        slot = page_slot_ring_pop_front(&pages->free_slots);
    } else {
        if (pages->slot_count >= pages->slot_capacity) {
            assert(pages->slot_capacity <= UINT32_MAX / 2);
            pages->slot_capacity = pages->slot_capacity ? pages->slot_capacity * 2 : 64;
            pages->slots = mem_realloc(pages->slots, pages->slot_capacity * sizeof(struct page *));
        }
        slot = pages->slot_count++;
    }
    pages->slots[slot] = page;
    pages->count++;
    return page->slot = slot;
}

static size_t bitmap_bytes(const struct page *page)
{
    return (page->count + 7) / 8;
}

static size_t progress_size(const struct page *page)
{
    return sizeof *page->progress + 3 * bitmap_bytes(page);
}

static struct page_progress *progress_of(struct pages *pages, struct page *page)
{
    if (!page->progress) {
        page->progress = mem_zalloc(progress_size(page));
        page->progress->page = page;
        pages->progress_bytes += progress_size(page);
    }
    return page->progress;
}

size_t pages_memory(const struct pages *pages)
{
    return pages->slot_capacity * sizeof(struct page *) + pages->count * sizeof(struct page) +
           pages->free_slots.capacity * sizeof(uint32_t) + pages->progress_bytes;
}

static struct page_row row_of(const struct page *page, enum page_row_kind kind)
{
    struct page_row row = {.kind = kind,
                           .id = page->id,
                           .queue_id = page->queue_id,
                           .first = page->first,
                           .count = page->count,
                           .persistent = page->persistent,
                           .body_bytes = page->kept_bytes,
                           .file = page->file->number,
                           .offset = page->offset,
                           .bytes = page->bytes,
                           .delivered = page_delivered(page),
                           .times = page->times};
    if (page->progress) {
        row.acked = page->progress->acked;
        row.acked_size = (uint32_t)bitmap_bytes(page);
        row.counts = page->progress->counts;
    }
    return row;
}

static void put_row(struct pages *pages, const struct page *page, enum page_row_kind kind)
{
    struct page_row row = row_of(page, kind);
    page_work_row(&pages->open->pages, &row);
}

void pages_begin(struct pages *pages, struct page_draft *draft, size_t record_bytes)
{
    size_t size = PAGE_HEADER_BYTES + record_bytes;
    page_begin(draft, page_work_room(&pages->open->pages, size), size);
}

/* The page has its size, its slot and its id: gives it its place. */
static void put_page(struct pages *pages, struct page *page, struct page_draft *draft)
{
    page->file = page_file_reserve(pages, page->bytes, &page->offset);
    list_push_back(&page->file->pages, &page->of_file);
    page_seal(draft, page->id, page->queue_id, page->first);
    struct page_job *job = page_work_add(&pages->open->pages, PAGE_JOB_WRITE);
    job->slot = page->slot, job->id = page->id;
    job->at = (size_t)(draft->bytes - pages->open->pages.bytes), job->size = page->bytes;
    job->file = page->file->number, job->offset = page->offset;
    job->stored = page->stored;
    *draft = (struct page_draft){0};
}

uint32_t pages_write(struct pages *pages, struct page_draft *draft, uint64_t queue_id, uint64_t first,
                     bool stored, const struct page_times *times)
{
    struct page *page = mem_zalloc(sizeof *page);
    page->id = pages->id_next++;
    page->queue_id = queue_id;
    page->first = first;
    page->batch = pages->open->number;
    page->body_bytes = page->kept_bytes = draft->body_bytes;
    page->bytes = (uint32_t)draft->size;
    page->count = page->kept = draft->count;
    page->live = draft->count - draft->gone;
    page->times = *times;
    page->persistent = draft->persistent;
    page->stored = stored && draft->persistent > draft->gone;
    if (draft->gone > 0) /* as if they were there and acked, which the journal says they are */
        memcpy(progress_of(pages, page)->acked, draft->gone_bits, bitmap_bytes(page));
    uint32_t slot = give_slot(pages, page);
    put_page(pages, page, draft);
    if (page->stored)
        put_row(pages, page, PAGE_ROW_PUT);
    return slot;
}

/* --- what is needed of a page --- */

static void make_dirty(struct pages *pages, struct page_progress *progress, uint64_t batch)
{
    if (list_linked(&progress->dirty))
        return;
    progress->dirty_batch = batch;
    list_push_back(&pages->dirty, &progress->dirty);
}

static void free_page(struct pages *pages, uint32_t slot)
{
    struct page *page = pages->slots[slot];
    if (page->progress) {
        list_unlink(&page->progress->dirty);
        mem_free(page->progress->counts);
        list_unlink(&page->progress->thin);
        pages->progress_bytes -= progress_size(page);
        mem_free(page->progress);
    }
    if (page->load)
        page->load->owner = NULL;
    list_remove(&page->of_file);
    mem_free(page);
    pages->slots[slot] = NULL;
    pages->count--;
    page_slot_ring_push_back(&pages->free_slots, slot);
}

void pages_drop(struct pages *pages, uint32_t slot)
{
    struct page *page = pages_at(pages, slot);
    if (page->stored)
        put_row(pages, page, PAGE_ROW_DROP);
    page_file_take_live(pages, page->file, page->bytes);
    free_page(pages, slot);
}

/* Less than half of it is needed: it may be written anew. */
static void note_thin(struct pages *pages, struct page *page)
{
    struct page_progress *progress = page->progress;
    if (page->live * 2 > page->kept || list_linked(&progress->thin) || page->alone)
        return;
    progress->thin_batch = pages->open->number;
    list_push_back(&pages->thin, &progress->thin);
}

void pages_give_up(struct pages *pages, uint32_t slot)
{
    struct page *page = pages_at(pages, slot);
    page->left = true;
    page->live = page->taken;
    if (page->live > 0)
        return;
    if (!page->stored) {
        pages_drop(pages, slot);
        return;
    }
    if (page->progress && list_linked(&page->progress->dirty)) /* nobody looks at it again in this process */
        put_row(pages, page, PAGE_ROW_PROGRESS);
    free_page(pages, slot); /* its file's live bytes still count it */
}

void pages_leave(struct pages *pages, uint32_t slot)
{
    struct page *page = pages_at(pages, slot);
    assert(page->taken > 0);
    page->left = true;
}

void pages_end(struct pages *pages, uint32_t slot)
{
    const struct page *page = pages_at(pages, slot);
    assert(page->taken == 0);
    if (page->left)
        pages_give_up(pages, slot);
    else
        pages_drop(pages, slot);
}

void pages_ack(struct pages *pages, uint32_t slot, uint64_t sequence, bool journalled)
{
    struct page *page = pages_at(pages, slot);
    assert(page->live > 0 && sequence >= page->first && sequence - page->first < page->count);
    if (page->taken > 0 && page_is_taken(page, sequence))
        page->taken--;
    if (--page->live == 0 && !page->left) {
        pages_drop(pages, slot);
        return;
    }
    if (journalled && page->stored) {
        struct page_progress *progress = progress_of(pages, page);
        uint64_t i = sequence - page->first;
        assert(!page_is_acked(page, sequence));
        progress->acked[i / 8] |= (uint8_t)(1u << i % 8);
        make_dirty(pages, progress, pages->open->number);
    }
    if (page->live == 0)
        pages_give_up(pages, slot);
    else if (journalled && page->stored)
        note_thin(pages, page);
}

void pages_take(struct pages *pages, uint32_t slot, uint64_t sequence)
{
    struct page *page = pages_at(pages, slot);
    struct page_progress *progress = progress_of(pages, page);
    uint64_t i = sequence - page->first;
    assert(i < page->count && !page_is_taken(page, sequence));
    progress->acked[bitmap_bytes(page) + i / 8] |= (uint8_t)(1u << i % 8);
    page->taken++;
    page->alone = true; /* it may be on disk only: nobody else writes it anew */
    assertf(page->taken <= page->live, "%u taken of %u", page->taken, page->live);
}

/* In a page that is not mixed all have acks of their own. */
static bool is_mixed(const struct page *page)
{
    return page->persistent < page->count;
}

void pages_stays(struct pages *pages, uint32_t slot, uint64_t sequence)
{
    struct page *page = pages_at(pages, slot);
    uint64_t i = sequence - page->first;
    assert(i < page->count && !page_is_taken(page, sequence));
    if (is_mixed(page) && page->stored)
        progress_of(pages, page)->acked[2 * bitmap_bytes(page) + i / 8] |= (uint8_t)(1u << i % 8);
}

bool page_is_rest(const struct page *page, uint64_t sequence)
{
    uint64_t i = sequence - page->first;
    assert(i < page->count && page->progress);
    if (page_is_acked(page, sequence) || page_is_taken(page, sequence))
        return false;
    return !is_mixed(page) || page->progress->acked[2 * bitmap_bytes(page) + i / 8] >> i % 8 & 1;
}

void pages_ack_rest(struct pages *pages, uint32_t slot, bool journalled)
{
    struct page *page = pages_at(pages, slot);
    struct page_progress *progress = progress_of(pages, page);
    assert(page->taken > 0 && page->live >= page->taken);
    page->live = page->taken;
    if (!journalled || !page->stored)
        return;
    for (uint32_t i = 0; i < page->count; i++)
        if (page_is_rest(page, page->first + i))
            progress->acked[i / 8] |= (uint8_t)(1u << i % 8);
    make_dirty(pages, progress, pages->open->number);
}

bool page_is_taken(const struct page *page, uint64_t sequence)
{
    uint64_t i = sequence - page->first;
    return page->progress && page->progress->acked[bitmap_bytes(page) + i / 8] >> i % 8 & 1;
}

void pages_delivered(struct pages *pages, uint32_t slot, uint64_t sequence)
{
    struct page *page = pages_at(pages, slot);
    struct page_progress *progress = progress_of(pages, page);
    assert(sequence >= page->first && sequence <= page_last(page));
    if (progress->delivered >= sequence)
        return;
    progress->delivered = sequence;
    progress->marked = pages->open->number;
    if (page->stored)
        make_dirty(pages, progress, pages->open->number);
}

static void count_return(struct pages *pages, struct page *page, uint64_t sequence, uint16_t count,
                         uint64_t batch)
{
    assert(sequence >= page->first && sequence <= page_last(page));
    struct page_progress *progress = progress_of(pages, page);
    if (!progress->counts)
        progress->counts = mem_zalloc(page->count);
    progress->counts[sequence - page->first] = count < UINT8_MAX ? (uint8_t)count : UINT8_MAX;
    if (page->stored)
        make_dirty(pages, progress, batch);
}

void pages_returned(struct pages *pages, uint32_t slot, uint64_t sequence, uint16_t count)
{
    count_return(pages, pages_at(pages, slot), sequence, count, pages->open->number);
}

uint16_t page_returns(const struct page *page, uint64_t sequence)
{
    const struct page_progress *progress = page->progress;
    assert(sequence >= page->first && sequence <= page_last(page));
    return progress && progress->counts ? progress->counts[sequence - page->first] : 0;
}

/* --- reading back --- */

static void tell_failure(struct pages *pages, const struct page_load *load)
{
    char path[JOURNAL_PATH_MAX], text[JOURNAL_PATH_MAX + 320];
    if (!pages->options->note || !page_disk_path(pages->options->dir, load->file, path, sizeof path))
        return;
    const struct page *page = pages_at(pages, load->slot);
    int len = snprintf(text, sizeof text, "%s: damaged at offset %u: ", path, load->offset);
    if (load->failed != -EILSEQ)
        len = snprintf(text, sizeof text, "%s: cannot be read at offset %u (%s): ", path, load->offset,
                       strerror(-load->failed));
    assert(len > 0 && (size_t)len < sizeof text);
    snprintf(text + len, sizeof text - (size_t)len,
             "a page of queue id %llu, %u messages with sequences from %llu to %llu, %s",
             (unsigned long long)page->queue_id, page->live, (unsigned long long)page->first,
             (unsigned long long)page_last(page),
             load->failed != -EILSEQ ? "is left out until the next start"
             : load->kept            ? "is left out; its bytes are kept in " QUARANTINE_DIR
                                     : "is left out, and its bytes could not be kept");
    pages->options->note(pages->options->note_arg, STORE_NOTE_ERROR, text);
}

static struct page_load *new_load(const struct page *page)
{
    struct page_load *load = mem_zalloc(sizeof *load);
    load->slot = page->slot, load->id = page->id;
    load->file = page->file->number, load->offset = page->offset, load->size = page->bytes;
    return load;
}

struct page_load *pages_read(struct pages *pages, uint32_t slot)
{
    struct page_load *load = new_load(pages_at(pages, slot));
    page_loader_read(&pages->loader, load);
    return load;
}

bool pages_load(struct pages *pages, uint32_t slot, void *owner)
{
    struct page *page = pages_at(pages, slot);
    assert(!page->load && owner);
    if (pages->loader.bytes > 0 && pages->loader.bytes + page->bytes > LOAD_BYTES_MAX)
        return false;
    struct page_load *load = new_load(page);
    load->owner = owner;
    page->load = load;
    page_loader_ask(&pages->loader, load);
    return true;
}

void pages_load_part(struct pages *pages, uint32_t slot, const struct page_load *part)
{
    const struct page *page = pages_at(pages, slot);
    assert(part->part >= PAGE_HEADER_BYTES && part->part + part->size <= page->bytes);
    assert(part->owner);
    struct page_load *load = new_load(page);
    load->owner = part->owner;
    load->serial = part->serial, load->sequence = part->sequence, load->check = part->check;
    load->part = part->part, load->size = part->size;
    load->offset += part->part;
    page_loader_ask(&pages->loader, load);
}

void pages_forget_load(struct pages *pages, uint32_t slot)
{
    struct page *page = pages_at(pages, slot);
    assert(page->load && page->load->owner);
    page->load->owner = NULL;
    page->load = NULL;
}

/* It was moved, and its old file went, while it was being read. */
static bool read_again(struct pages *pages, struct page_load *load)
{
    struct page *page = pages_at(pages, load->slot);
    if (!load->failed || (load->file == page->file->number && load->offset == page->offset + load->part))
        return false;
    mem_free(load->bytes);
    load->bytes = NULL;
    load->failed = 0;
    load->file = page->file->number, load->offset = page->offset + load->part;
    page_loader_ask(&pages->loader, load);
    return true;
}

/* A page that is whole may still not be what the directory says. */
static bool matches(const struct page *page, const struct page_load *load)
{
    uint64_t queue_id, first;
    struct slice bytes = slice_of(load->bytes, load->size), rest;
    uint32_t count = page_identity(bytes, &queue_id, &first), persistent = 0;
    if (queue_id != page->queue_id || first != page->first || count != page->count)
        return false;
    if (!page->recovered)
        return true;
    struct page_record record;
    uint64_t body_bytes = 0;
    for (uint32_t left = page_open(bytes, &rest); left; left -= record.run) {
        page_next(&rest, &record);
        persistent += record.flags & PAGE_PERSISTENT ? record.run : 0;
        body_bytes += record.body.len;
    }
    return persistent == page->persistent && body_bytes == page->kept_bytes;
}

/* --- pages of which little is needed --- */

/* Writes what is needed of a page anew, in its name. All of it is in memory, so nobody reads it meanwhile. */
static void thin(struct pages *pages, struct page *page, struct slice bytes)
{
    struct page_draft draft;
    const uint8_t *acked = page->progress->acked;
    size_t size = page_thin(NULL, bytes, acked, page->recovered), before = page->bytes;
    if (page->moving || PAGE_HEADER_BYTES + size > before - before / 4)
        return;
    pages_begin(pages, &draft, size);
    page_thin(&draft, bytes, acked, page->recovered);
    assert(draft.count == page->count && !page->load);
    page_file_take_live(pages, page->file, page->bytes);
    list_remove(&page->of_file);
    page->bytes = (uint32_t)draft.size;
    page->body_bytes = page->kept_bytes = draft.body_bytes;
    page->batch = pages->open->number;
    page->kept = page->live;
    page->plain = false;
    page->strayed |= page->noted;
    put_page(pages, page, &draft);
    put_row(pages, page, PAGE_ROW_MOVE);
    pages->thinned_bytes += before - page->bytes;
}

/* Reads pages that have been mostly acked for a while: most die soon by themselves. `idle`: there is nothing
 * else to do. */
static void begin_thinning(struct pages *pages, bool idle)
{
    uint64_t open = pages->open->number;
    while (!list_empty(&pages->thin) && pages->loader.bytes < THIN_BYTES_MAX) {
        struct page_progress *progress = list_first(&pages->thin, struct page_progress, thin);
        struct page *page = progress->page;
        if ((!idle && progress->thin_batch + THIN_BATCHES > open) || page->batch > pages->settled)
            return;
        list_remove(&progress->thin);
        if (page->stored && !page->moving && !page->load && page->live * 2 <= page->kept &&
            !pages_load(pages, page->slot, pages))
            return;
    }
}

struct page_load *pages_loaded(struct pages *pages)
{
    for (struct page_load *load; (load = page_loader_take(&pages->loader));) {
        if (!load->owner) {
            page_load_free(&load);
            continue;
        }
        if (read_again(pages, load))
            continue;
        if (load->part) {
            if (load->failed)
                tell_failure(pages, load);
            return load;
        }
        struct page *page = pages_at(pages, load->slot);
        page->load = NULL;
        if (!load->failed && !matches(page, load))
            load->failed = -EILSEQ;
        if (load->failed)
            tell_failure(pages, load);
        if (load->owner != pages)
            return load;
        if (load->failed)
            page->alone = true;
        else
            thin(pages, page, slice_of(load->bytes, load->size));
        page_load_free(&load);
    }
    return NULL;
}

bool pages_have_loaded(const struct pages *pages)
{
    return pages->options->without_thread && pages->loader.under_way > 0;
}

/* --- batches --- */

static void move_page(struct pages *pages, struct page *page)
{
    uint32_t offset;
    struct page_file *from = page->file, *to = page_file_reserve(pages, page->bytes, &offset);
    struct page_job *job = page_work_add(&pages->open->pages, PAGE_JOB_MOVE);
    assert(to != from);
    job->slot = page->slot, job->id = page->id;
    job->size = page->bytes;
    job->from_file = from->number, job->from_offset = page->offset;
    job->file = to->number, job->offset = offset;
    job->stored = page->stored;
    pages->open->pages.moving += page->bytes;
    page->moving = true;
    if (page->stored) {
        struct page_row row = row_of(page, PAGE_ROW_MOVE);
        row.file = to->number, row.offset = offset;
        page_work_row(&pages->open->pages, &row);
    }
}

/* Moves the pages of a file that is mostly dead; false when the batch is full. */
static bool empty_file(struct pages *pages, struct page_file *file)
{
    list_each(node, &file->pages) {
        struct page *page = container_of(node, struct page, of_file);
        if (page->moving || page->batch >= pages->open->number)
            continue;
        if (pages->open->pages.moving >= MOVE_BYTES_MAX)
            return false;
        move_page(pages, page);
    }
    return true;
}

static void let_go(struct pages *pages, struct page_file *file)
{
    struct page_job *job = page_work_add(&pages->open->pages, PAGE_JOB_UNLINK);
    job->file = file->number;
    page_file_free(pages, file);
}

/* The file being written is left when most of it is dead. */
static void leave_current(struct pages *pages)
{
    struct page_file *file = pages->current;
    if (!file || file->bytes < pages->file_bytes_max / 8 || file->live * 2 >= file->bytes)
        return;
    pages->current = NULL;
    file->finished = true;
    page_file_note_sparse(pages, file);
}

void pages_prepare(struct pages *pages)
{
    bool idle = batch_empty(pages->open);
    leave_current(pages);
    begin_thinning(pages, idle);
    for (int files = 0; files < PREPARE_FILES_MAX && !list_empty(&pages->sparse); files++) {
        struct page_file *file = list_first(&pages->sparse, struct page_file, sparse);
        if (file->live == 0)
            let_go(pages, file);
        else if (!idle && file->sparse_batch + SPARSE_BATCHES > pages->open->number)
            return;
        else if (empty_file(pages, file))
            list_remove(&file->sparse); /* it comes back when it is empty */
        else
            return;
    }
}

bool pages_fold(struct pages *pages, uint64_t batch, size_t rows_max)
{
    for (size_t rows = 0; !list_empty(&pages->dirty); rows++) {
        struct page_progress *progress = list_first(&pages->dirty, struct page_progress, dirty);
        if (progress->dirty_batch > batch)
            return false;
        if (rows == rows_max)
            return true;
        list_remove(&progress->dirty);
        put_row(pages, progress->page, PAGE_ROW_PROGRESS);
    }
    return false;
}

uint64_t pages_needed_batch(const struct pages *pages)
{
    if (list_empty(&pages->dirty))
        return UINT64_MAX;
    return list_first(&pages->dirty, struct page_progress, dirty)->dirty_batch;
}

/* The page is where it was moved to, unless it died meanwhile. */
static void moved(struct pages *pages, const struct page_job *job)
{
    struct page_file *to = page_file_find(pages, job->file);
    struct page *page = pages->slots[job->slot];
    assertf(to, "page file %u", job->file);
    if (!page || page->id != job->id) {
        page_file_take_live(pages, to, job->size);
        return;
    }
    if (job->failed) {
        page->moving = false;
        page_file_take_live(pages, to, job->size);
        return;
    }
    struct page_file *from = page->file;
    list_remove(&page->of_file);
    list_push_back(&to->pages, &page->of_file);
    page->file = to;
    page->offset = job->offset;
    page->moving = false;
    page_file_take_live(pages, from, job->size);
}

void pages_settled(struct pages *pages, struct batch *batch)
{
    for (uint32_t i = 0; i < batch->pages.count; i++)
        if (batch->pages.jobs[i].kind == PAGE_JOB_MOVE)
            moved(pages, &batch->pages.jobs[i]);
    pages->settled = batch->number;
    page_work_reset(&batch->pages, batch->slow);
}

/* --- recovery --- */

void pages_restore_file(struct pages *pages, uint32_t number, uint64_t bytes)
{
    struct list *at = pages->files.prev;
    while (at != &pages->files && container_of(at, struct page_file, link)->number > number)
        at = at->prev;
    struct page_file *file = page_file_new(pages, number);
    list_remove(&file->link); /* from the end to its place */
    list_insert_before(at->next, &file->link);
    file->bytes = bytes;
    file->finished = true;
    pages->bytes += bytes;
}

struct page *pages_restore(struct pages *pages, const struct page_row *row)
{
    struct page_file *file = page_file_find(pages, row->file);
    if (!file) { /* reading the page will tell */
        pages_restore_file(pages, row->file, 0);
        file = page_file_find(pages, row->file);
    }
    struct page *page = mem_zalloc(sizeof *page);
    page->file = file;
    page->id = row->id, page->queue_id = row->queue_id, page->first = row->first;
    page->body_bytes = page->kept_bytes = (uint32_t)row->body_bytes;
    page->offset = row->offset, page->bytes = row->bytes;
    page->count = page->kept = row->count, page->persistent = page->live = row->persistent;
    page->stored = page->recovered = true;
    page->times = row->times;
    list_push_back(&file->pages, &page->of_file);
    page_file_add_live(pages, file, page->bytes);
    give_slot(pages, page);
    if (pages->id_next <= page->id)
        pages->id_next = page->id + 1;
    if (row->acked_size || row->delivered) {
        struct page_progress *progress = progress_of(pages, page);
        size_t size = bitmap_bytes(page);
        progress->delivered = row->delivered;
        if (row->acked_size)
            memcpy(progress->acked, row->acked, row->acked_size < size ? row->acked_size : size);
        if (row->acked_size == size + page->count) {
            progress->counts = mem_alloc(page->count);
            memcpy(progress->counts, row->acked + size, page->count);
        }
        for (uint32_t i = 0; i < page->count; i++)
            page->live -= page->live > 0 && progress->acked[i / 8] >> i % 8 & 1;
    }
    return page;
}

void pages_restore_row(struct pages *pages, const struct page *page, uint64_t id)
{
    struct page_row gone = {.kind = PAGE_ROW_DROP, .id = id};
    assert(page->stored && page->recovered);
    page_work_row(&pages->open->pages, &gone);
    put_row(pages, page, PAGE_ROW_PUT);
}

void pages_restore_hold(struct pages *pages, uint32_t number, uint32_t bytes)
{
    struct page_file *file = page_file_find(pages, number);
    if (file && bytes <= file->bytes)
        page_file_add_live(pages, file, bytes);
}

void pages_restore_acks(struct pages *pages, struct page *page, uint64_t first, uint64_t last)
{
    struct page_progress *progress = progress_of(pages, page);
    first = first < page->first ? page->first : first;
    last = last > page_last(page) ? page_last(page) : last;
    for (uint64_t i = first - page->first; i <= last - page->first; i++) {
        uint8_t bit = (uint8_t)(1u << i % 8);
        page->live -= page->live > 0 && !(progress->acked[i / 8] & bit);
        progress->acked[i / 8] |= bit;
    }
    make_dirty(pages, progress, 1);
}

void pages_restore_delivered(struct pages *pages, struct page *page, uint64_t sequence)
{
    struct page_progress *progress = progress_of(pages, page);
    sequence = sequence > page_last(page) ? page_last(page) : sequence;
    if (sequence < page->first || progress->delivered >= sequence)
        return;
    progress->delivered = sequence;
    make_dirty(pages, progress, 1);
}

void pages_restore_returned(struct pages *pages, struct page *page, uint64_t sequence, uint16_t count)
{
    count_return(pages, page, sequence, count, 1);
}

void pages_restored(struct pages *pages)
{
    list_each(node, &pages->files)
        page_file_note_sparse(pages, container_of(node, struct page_file, link));
}

void pages_free(struct pages *pages)
{
    page_loader_free(&pages->loader);
    pages->current = NULL;
    for (uint32_t slot = 1; slot < pages->slot_count; slot++) {
        if (!pages->slots[slot])
            continue;
        pages->slots[slot]->load = NULL; /* the loader has dropped it */
        page_file_take_live(pages, pages->slots[slot]->file, pages->slots[slot]->bytes);
        free_page(pages, slot);
    }
    while (!list_empty(&pages->files)) {
        struct page_file *file = list_first(&pages->files, struct page_file, link);
        file->live = 0; /* where pages were to be moved to */
        page_file_free(pages, file);
    }
    page_slot_ring_free(&pages->free_slots);
    mem_free(pages->slots);
}
