/* file_name.h - the names of the store's numbered files: journal-000001.seg, pages-000001.dat. */
#ifndef STORE_FILE_NAME_H
#define STORE_FILE_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct file_kind {
    const char *prefix, *suffix; /* "journal-", ".seg" */
};

/* Writes the path of file `number`, which is not 0; false when it does not fit. */
bool file_name_path(const struct file_kind *kind, const char *dir, uint32_t number, char *path, size_t size);
/* The number in a name as file_name_path makes it, 0 for any other name. */
uint32_t file_name_number(const struct file_kind *kind, const char *name);

#endif
