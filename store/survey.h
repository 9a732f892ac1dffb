/* survey.h - all of a journal, damaged or not: every segment, batch and record that can be read,
 * and the place of everything that cannot. The recovery stops at the first damage; this goes on
 * behind it. */
#ifndef STORE_SURVEY_H
#define STORE_SURVEY_H

#include "store/reader.h"

enum survey_state {
    SURVEY_IN_USE,
    SURVEY_FREE,       /* its contents are dead: to be written over */
    SURVEY_BLANK,      /* made, never used */
    SURVEY_UNREADABLE, /* its header is damaged, or of a newer version */
};

struct survey_sink {
    /* A file begins. Files in use come in the order of the journal, those free before them. */
    void (*segment)(void *arg, const char *path, const struct segment *segment,
                    enum survey_state state);
    /* A batch of the segment in use, whole or what is left of it. */
    void (*batch)(void *arg, const struct segment *segment, const struct read_batch *batch);
    /* Something is wrong in the file (or directory) at this place. */
    void (*damage)(void *arg, const char *path, uint64_t offset, const char *why);
    /* The newest segment ends with a batch whose writing was interrupted: no damage. */
    void (*torn)(void *arg, const char *path, uint64_t offset);
    void *arg;
};

/* 0, or -errno when the directory cannot be listed. A file that cannot be read is damage. */
int survey_run(const struct io *io, const char *dir, const struct survey_sink *sink)
    __attribute__((warn_unused_result));

#endif
