/* page_survey.h - all pages that the directory of pages names, damaged or not: each is read and held against
 * its row. */
#ifndef STORE_PAGE_SURVEY_H
#define STORE_PAGE_SURVEY_H

#include "store/definitions.h"
#include "store/page_work.h"

/* A page file, after all pages. */
struct page_survey_file {
    uint32_t number;
    uint64_t bytes;                          /* of the file */
    uint64_t pages, messages, needed, damages; /* that rows name: all but `damages` are whole */
};

struct page_survey_sink {
    /* A page that is as its row says; queues come in the order of their ids, pages in that of sequences. */
    void (*page)(void *arg, const char *path, const struct page_row *row, struct slice bytes);
    /* Something is wrong in the file (or with the row that says so). */
    void (*damage)(void *arg, const char *path, uint64_t offset, const char *why);
    void (*file)(void *arg, const char *path, const struct page_survey_file *file);
    void *arg;
};

/* 0, or -errno when the directory or its table cannot be read: a sentence in `error`. */
int page_survey_run(const struct io *io, const char *dir, struct definitions *definitions,
                    const struct page_survey_sink *sink, char *error, size_t error_size)
    __attribute__((warn_unused_result));

#endif
