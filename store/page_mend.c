/* page_mend.c - a damaged row of the directory of pages, made anew.
 *
 * Owner: the recovery, before there is a thread that reads pages.
 * In a page file pages follow each other without a gap, so one is looked for from header to header; behind a
 * damaged header nothing is found. */
#include "store/page_mend.h"

#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "store/format.h"
#include "store/page_disk.h"

enum { ALL_BAD = PAGE_ROW_BAD_SELF | PAGE_ROW_BAD_PLACE | PAGE_ROW_BAD_PROGRESS };

/* The header of what may be a page at that place of a file of so many bytes. */
static bool read_header(const struct pages *pages, const struct page_file *file, uint64_t offset,
                        uint8_t *header)
{
    char path[JOURNAL_PATH_MAX];
    const struct store_options *options = pages->options;
    if (offset > file->bytes || file->bytes - offset <= PAGE_HEADER_BYTES || file->bytes > UINT32_MAX ||
        !page_disk_path(options->dir, file->number, path, sizeof path) ||
        page_disk_read(options->io, path, header, PAGE_HEADER_BYTES, offset) != 0)
        return false;
    uint32_t size = format_u32(header + PAGE_SIZE);
    return size > PAGE_HEADER_BYTES && size <= file->bytes - offset;
}

/* The page at that place, whole; NULL when there is none. The caller frees it. */
static uint8_t *read_page(const struct pages *pages, const struct page_file *file, uint64_t offset,
                          const uint8_t *header)
{
    char path[JOURNAL_PATH_MAX];
    uint32_t size = format_u32(header + PAGE_SIZE);
    uint8_t *bytes = mem_alloc(size);
    if (page_disk_path(pages->options->dir, file->number, path, sizeof path) &&
        page_disk_read(pages->options->io, path, bytes, size, offset) == 0 &&
        page_check(slice_of(bytes, size), format_u64(header + PAGE_ID)))
        return bytes;
    mem_free(bytes);
    return NULL;
}

static uint8_t *find_in(const struct pages *pages, const struct page_file *file, uint64_t id,
                        uint64_t *offset)
{
    uint8_t header[PAGE_HEADER_BYTES], *bytes = NULL;
    for (*offset = 0; !bytes && read_header(pages, file, *offset, header);) {
        if (format_u64(header + PAGE_ID) == id)
            bytes = read_page(pages, file, *offset, header);
        if (!bytes)
            *offset += format_u32(header + PAGE_SIZE);
    }
    return bytes;
}

/* The page where the row says it is, or wherever it is: the newest of several. Sets the row's place. */
static uint8_t *find_page(const struct pages *pages, struct page_row *row)
{
    uint8_t header[PAGE_HEADER_BYTES], *bytes = NULL;
    uint64_t offset = row->offset;
    const struct page_file *file = NULL;
    list_each(node, &pages->files) {
        const struct page_file *one = container_of(node, struct page_file, link);
        file = one->number == row->file ? one : file;
    }
    if (file && read_header(pages, file, offset, header) &&
        (row->damage == ALL_BAD || format_u64(header + PAGE_ID) == row->id))
        bytes = read_page(pages, file, offset, header);
    for (const struct list *node = pages->files.prev; !bytes && node != &pages->files; node = node->prev) {
        file = container_of(node, struct page_file, link);
        bytes = find_in(pages, file, row->id, &offset);
    }
    if (bytes)
        row->file = file->number, row->offset = (uint32_t)offset;
    return bytes;
}

/* What the page says of itself. */
static void describe(struct page_row *row, const uint8_t *bytes)
{
    struct slice rest, page = slice_of(bytes, format_u32(bytes + PAGE_SIZE));
    struct page_record record;
    uint32_t left = page_open(page, &rest);
    bool born = true;
    row->id = format_u64(bytes + PAGE_ID);
    row->count = page_identity(page, &row->queue_id, &row->first);
    row->bytes = (uint32_t)page.len;
    row->persistent = 0, row->body_bytes = 0;
    row->times = (struct page_times){.own_first = 0}; /* not known: whoever wants to know reads it */
    for (; left; left -= record.run) {
        page_next(&rest, &record);
        row->persistent += record.flags & PAGE_PERSISTENT ? record.run : 0;
        row->body_bytes += record.body.len;
        born &= record.flags & PAGE_GONE || record.born_ms > 0;
        page_times_add(&row->times, &(struct page_times){record.born_ms, record.born_ms, 0});
    }
    if (!born)
        row->times.born_first = row->times.born_last = 0;
}

bool page_mend(const struct pages *pages, struct page_row *row)
{
    struct page_times times = row->times;
    bool self = !(row->damage & PAGE_ROW_BAD_SELF);
    assert(row->damage != 0 && pages->options->io);
    if (row->damage & (PAGE_ROW_BAD_SELF | PAGE_ROW_BAD_PLACE)) {
        uint8_t *bytes = find_page(pages, row);
        if (!bytes)
            return false;
        describe(row, bytes);
        mem_free(bytes);
        if (self)
            row->times = times;
    }
    if (row->damage & PAGE_ROW_BAD_PROGRESS || row->acked_size > (row->count + 7) / 8 + row->count) {
        row->acked = NULL, row->acked_size = 0;
        row->delivered = row->first + (row->count - 1);
    }
    return true;
}
