/* page_file.c - the files that pages lie in, as the loop counts them.
 *
 * Owner: struct pages. Invariants: `files` is in order of the numbers; a file that is finished and of which
 * less than half is needed is in `sparse`. */
#include "store/page_file.h"

#include "base/assert.h"
#include "base/mem.h"

struct page_file *page_file_new(struct pages *pages, uint32_t number)
{
    struct page_file *file = mem_zalloc(sizeof *file);
    file->number = number;
    list_init(&file->pages);
    list_push_back(&pages->files, &file->link);
    if (pages->file_next <= number)
        pages->file_next = number + 1;
    return file;
}

void page_file_free(struct pages *pages, struct page_file *file)
{
    assert(list_empty(&file->pages) && file->live == 0 && file != pages->current);
    list_remove(&file->link);
    list_unlink(&file->sparse);
    pages->bytes -= file->bytes;
    mem_free(file);
}

void page_file_note_sparse(struct pages *pages, struct page_file *file)
{
    if (file->finished && file->live * 2 < file->bytes + (file->bytes == 0) && !list_linked(&file->sparse))
        list_push_back(&pages->sparse, &file->sparse);
}

void page_file_add_live(struct pages *pages, struct page_file *file, uint32_t bytes)
{
    file->live += bytes;
    pages->live_bytes += bytes;
}

void page_file_take_live(struct pages *pages, struct page_file *file, uint32_t bytes)
{
    assert(file->live >= bytes && pages->live_bytes >= bytes);
    file->live -= bytes;
    pages->live_bytes -= bytes;
    page_file_note_sparse(pages, file);
}

struct page_file *page_file_reserve(struct pages *pages, uint32_t bytes, uint32_t *offset)
{
    struct page_file *file = pages->current;
    if (file && file->bytes > 0 && file->bytes + bytes > pages->file_bytes_max) {
        file->finished = true;
        page_file_note_sparse(pages, file);
        file = NULL;
    }
    if (!file)
        file = pages->current = page_file_new(pages, pages->file_next);
    *offset = (uint32_t)file->bytes;
    file->bytes += bytes;
    pages->bytes += bytes;
    page_file_add_live(pages, file, bytes);
    return file;
}

struct page_file *page_file_find(struct pages *pages, uint32_t number)
{
    for (struct list *node = pages->files.prev; node != &pages->files; node = node->prev) {
        struct page_file *file = container_of(node, struct page_file, link);
        if (file->number <= number)
            return file->number == number ? file : NULL;
    }
    return NULL;
}
