/* file_name.c - the names of the store's numbered files. */
#include "store/file_name.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

enum { NUMBER_MAX = 999999999, NAME_MAX_BYTES = 32 };

bool file_name_path(const struct file_kind *kind, const char *dir, uint32_t number, char *path, size_t size)
{
    assert(number > 0);
    int len = snprintf(path, size, "%s/%s%06u%s", dir, kind->prefix, number, kind->suffix);
    return len > 0 && (size_t)len < size;
}

uint32_t file_name_number(const struct file_kind *kind, const char *name)
{
    size_t prefix = strlen(kind->prefix);
    char again[NAME_MAX_BYTES];
    if (strncmp(name, kind->prefix, prefix) != 0)
        return 0;
    /* What strtoul takes besides digits does not come out the same. */
    unsigned long number = strtoul(name + prefix, NULL, 10);
    if (number == 0 || number > NUMBER_MAX)
        return 0;
    snprintf(again, sizeof again, "%s%06lu%s", kind->prefix, number, kind->suffix);
    return strcmp(name, again) == 0 ? (uint32_t)number : 0;
}
