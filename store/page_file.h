/* page_file.h - the files that pages lie in: how much of each is needed, and where the next page goes. */
#ifndef STORE_PAGE_FILE_H
#define STORE_PAGE_FILE_H

#include "store/pages.h"

/* A file behind all others; it belongs to `pages` until page_file_free, when nothing is in it any more. */
struct page_file *page_file_new(struct pages *pages, uint32_t number);
void page_file_free(struct pages *pages, struct page_file *file);
/* NULL when there is none of that number. */
struct page_file *page_file_find(struct pages *pages, uint32_t number);
/* A file of which little is needed is looked at when the next batch goes. */
void page_file_note_sparse(struct pages *pages, struct page_file *file);
/* That many bytes of it are needed from now on; are not any more. */
void page_file_add_live(struct pages *pages, struct page_file *file, uint32_t bytes);
void page_file_take_live(struct pages *pages, struct page_file *file, uint32_t bytes);
/* Room at the end of the current file, or of a new one; the bytes count as needed. */
struct page_file *page_file_reserve(struct pages *pages, uint32_t bytes, uint32_t *offset);

#endif
