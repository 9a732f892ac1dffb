/* page_work.c - what a batch does to page files and their directory.
 *
 * Owner: the batch; the loop's while it fills and again when it is durable, the disk thread's in between. */
#include "store/page_work.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "base/assert.h"
#include "base/mem.h"

enum { JOBS_KEPT = 256, ROWS_KEPT = 64 * 1024, ROOM_MIN = 64 * 1024 };

/* Pages of memory of its own: it grows without being copied, and leaves no holes. */
static void resize(struct page_work *work, size_t room)
{
    void *bytes = NULL;
    if (work->bytes && room == 0)
        munmap(work->bytes, work->room);
    else if (work->bytes)
        bytes = mremap(work->bytes, work->room, room, MREMAP_MAYMOVE);
    else if (room)
        bytes = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assertf(bytes != MAP_FAILED, "no memory for pages of %zu bytes: %s", room, strerror(errno));
    work->bytes = bytes;
    work->room = room;
}

/* Keeps what batches have used lately: to give it back and ask for it again is as much work as filling it. */
static void shrink(struct page_work *work)
{
    size_t room = ROOM_MIN;
    assert(work->used == 0);
    while (room < work->recent)
        room *= 2;
    if (work->room > room)
        resize(work, room);
}

uint8_t *page_work_room(struct page_work *work, size_t size)
{
    size_t room = work->room ? work->room : ROOM_MIN;
    while (room < work->used + size)
        room *= 2;
    if (room > work->room)
        resize(work, room);
    work->used += size;
    return work->bytes + (work->used - size);
}

struct page_job *page_work_add(struct page_work *work, enum page_job_kind kind)
{
    if (work->count == work->capacity) {
        assert(work->capacity <= UINT32_MAX / 2);
        work->capacity = work->capacity ? work->capacity * 2 : 16;
        work->jobs = mem_realloc(work->jobs, work->capacity * sizeof *work->jobs);
    }
    struct page_job *job = &work->jobs[work->count++];
    *job = (struct page_job){.kind = kind};
    return job;
}

void page_work_row(struct page_work *work, const struct page_row *row)
{
    assert(row->id > 0 || row->kind == PAGE_ROW_DROP);
    struct page_row whole = *row;
    whole.acked_size += row->counts ? row->count : 0;
    whole.counts = NULL;
    buf_append(&work->rows, &whole, sizeof whole);
    buf_append(&work->rows, row->acked, row->acked_size);
    if (row->counts)
        buf_append(&work->rows, row->counts, row->count);
}

struct slice page_work_next_row(struct slice rows, struct page_row *row)
{
    assert(rows.len >= sizeof *row);
    memcpy(row, rows.at, sizeof *row);
    size_t used = sizeof *row + row->acked_size;
    assert(used <= rows.len);
    row->acked = rows.at + sizeof *row;
    return slice_of(rows.at + used, rows.len - used);
}

void page_work_stay(struct page_work *work, uint64_t id)
{
    for (size_t at = 0; at < work->rows.len;) {
        struct page_row row;
        assert(work->rows.len - at >= sizeof row);
        memcpy(&row, work->rows.at + at, sizeof row);
        if (row.kind == PAGE_ROW_MOVE && row.id == id) {
            row.kind = PAGE_ROW_NOTHING;
            memcpy(work->rows.at + at, &row, sizeof row);
        }
        at += sizeof row + row.acked_size;
    }
}

void page_work_reset(struct page_work *work, bool slow)
{
    size_t faded = work->recent - work->recent / 8;
    work->recent = slow ? 0 : work->used > faded ? work->used : faded;
    work->count = 0;
    work->used = work->moving = 0;
    work->written = false;
    shrink(work);
    work->rows.len = 0;
    if (work->capacity > JOBS_KEPT) {
        mem_free(work->jobs);
        work->jobs = NULL;
        work->capacity = 0;
    }
    if (work->rows.capacity > ROWS_KEPT)
        buf_free(&work->rows);
}

void page_work_relax(struct page_work *work)
{
    assert(page_work_empty(work));
    work->recent /= 2;
    shrink(work);
}

void page_work_free(struct page_work *work)
{
    page_work_reset(work, true);
    resize(work, 0);
    mem_free(work->jobs);
    buf_free(&work->rows);
    *work = (struct page_work){0};
}
