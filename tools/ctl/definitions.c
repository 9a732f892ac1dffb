/* definitions.c - import_definitions and export_definitions: files in RabbitMQ's JSON.
 *
 * Files may be large: they go to the server in parts that its loop can take in between two messages, and
 * come from it object by object. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mem.h"
#include "tools/ctl/ctl.h"

enum { PART_BYTES = 128 * 1024 }; /* of a request, about; the server takes four times that */

/* In the order in which one needs the other. */
static const char *const sections[] = {
    "vhosts",   "users",     "permissions",       "parameters", "global_parameters",
    "policies", "exchanges", "topic_permissions", "queues",     "bindings"};

static enum ctl_status fail_file(const char *path)
{
    fprintf(stderr, "Error:\n%s: %s\n", path, strerror(errno));
    return CTL_FILE;
}

/* --- import --- */

struct import {
    struct ctl_link *link;
    json_t *part; /* objects of one section */
    const char *section;
    size_t bytes;
    json_int_t imported, skipped;
};

static enum ctl_status send_part(struct import *import)
{
    json_t *end;
    if (json_array_size(import->part) == 0)
        return CTL_OK;
    json_t *request = json_pack("{s:s, s:{s:O}}", "verb", "import_definitions", "definitions",
                                import->section, import->part);
    enum ctl_status status = ctl_ask(import->link, request, NULL, NULL, &end);
    const json_t *result = json_object_get(end, "result");
    import->imported += json_integer_value(json_object_get(result, "imported"));
    import->skipped += json_integer_value(json_object_get(result, "skipped"));
    json_decref(end);
    json_decref(request);
    json_array_clear(import->part);
    import->bytes = 0;
    return status;
}

static enum ctl_status send_section(struct import *import, const json_t *objects)
{
    enum ctl_status status = CTL_OK;
    for (size_t i = 0; i < json_array_size(objects) && status == CTL_OK; i++) {
        json_t *object = json_array_get(objects, i);
        size_t bytes = json_dumpb(object, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY);
        if (import->bytes + bytes > PART_BYTES)
            status = send_part(import);
        import->bytes += bytes;
        json_array_append(import->part, object);
    }
    return status == CTL_OK ? send_part(import) : status;
}

/* Before anything is taken in: what is no list has no objects, and would seem to be imported. */
static enum ctl_status check_sections(const json_t *root)
{
    for (size_t i = 0; i < array_size(sections); i++) {
        const json_t *section = json_object_get(root, sections[i]);
        if (section && !json_is_array(section)) {
            fprintf(stderr, "Error:\n'%s' is no list\n", sections[i]);
            return CTL_DATA;
        }
    }
    return CTL_OK;
}

enum ctl_status ctl_import(struct ctl_link *link, const char *path)
{
    json_error_t where;
    bool standard = !path || strcmp(path, "-") == 0;
    FILE *file = standard ? stdin : fopen(path, "rbe");
    if (!file)
        return fail_file(path);
    json_t *root = json_loadf(file, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &where);
    if (!standard)
        fclose(file);
    if (!json_is_object(root)) {
        fprintf(stderr, "Error:\n%s is no file of definitions: %s at line %d column %d\n",
                standard ? "standard input" : path, root ? "no object" : where.text, where.line,
                where.column);
        json_decref(root);
        return CTL_DATA;
    }
    struct import import = {.link = link, .part = json_array()};
    enum ctl_status status = check_sections(root);
    for (size_t i = 0; i < array_size(sections) && status == CTL_OK; i++) {
        import.section = sections[i];
        status = send_section(&import, json_object_get(root, sections[i]));
    }
    if (status == CTL_OK)
        fprintf(stderr, "%lld objects imported, %lld left out\n", (long long)import.imported,
                (long long)import.skipped);
    json_decref(import.part);
    json_decref(root);
    return status;
}

/* --- export --- */

struct export
{
    json_t *root;
};

static void keep_object(void *arg, const json_t *row)
{
    struct export *export = arg;
    const char *section;
    json_t *object;
    json_object_foreach((json_t *)(uintptr_t)row, section, object)
    {
        json_t *list = json_object_get(export->root, section);
        if (list)
            json_array_append(list, object);
    }
}

static bool write_text(FILE *file, const json_t *root)
{
    return json_dumpf(root, file, JSON_INDENT(2)) == 0 && fputc('\n', file) != EOF && fflush(file) == 0;
}

/* A file of its own, moved to its place when it is whole; it has password hashes. What is there and is no
 * plain file (a device, a pipe, a link) is written to and never replaced; what a link leads to is emptied
 * first, else the end of something longer would stay there. */
static enum ctl_status write_file(const char *path, const json_t *root)
{
    char temporary[4096];
    struct stat there;
    bool in_place = lstat(path, &there) == 0 && !S_ISREG(there.st_mode);
    snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path);
    int fd = in_place ? open(path, O_WRONLY | O_TRUNC | O_CLOEXEC) : mkstemp(temporary); /* mode 0600 */
    FILE *file = fd < 0 ? NULL : fdopen(fd, "wb");
    if (!file)
        return fail_file(path);
    bool good = write_text(file, root) && (in_place || fsync(fd) == 0);
    good = fclose(file) == 0 && good;
    if (good && (in_place || rename(temporary, path) == 0))
        return CTL_OK;
    enum ctl_status status = fail_file(path);
    if (!in_place)
        unlink(temporary);
    return status;
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The server has these in no order: in a file they have one, so that two files can be compared. */
static json_t *sorted(const json_t *list)
{
    size_t count = json_array_size(list);
    char **texts = mem_zalloc((count + 1) * sizeof(char *));
    json_t *result = json_array();
    for (size_t i = 0; i < count; i++)
        texts[i] = json_dumps(json_array_get(list, i), JSON_COMPACT);
    qsort(texts, count, sizeof(char *), compare);
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(result, json_loads(texts[i], JSON_ALLOW_NUL, NULL));
        free(texts[i]);
    }
    mem_free(texts);
    return result;
}

enum ctl_status ctl_export(struct ctl_link *link, const char *path)
{
    struct export export = {.root = json_object()};
    json_t *end, *request = json_pack("{s:s}", "verb", "export_definitions");
    /* Their order in the file. */
    json_t *versions = json_object();
    for (size_t i = 0; i < array_size(sections); i++)
        json_object_set_new(export.root, sections[i], json_array());
    enum ctl_status status = ctl_ask(link, request, keep_object, &export, &end);
    static const char *const unordered[] = {"vhosts",     "users",   "permissions", "topic_permissions",
                                            "parameters", "policies"};
    for (size_t i = 0; i < array_size(unordered); i++)
        json_object_set_new(export.root, unordered[i], sorted(json_object_get(export.root, unordered[i])));
    if (status == CTL_OK) {
        json_object_update(versions, json_object_get(end, "result"));
        json_object_update(versions, export.root);
        if (strcmp(path, "-") == 0)
            status =
                json_dumpf(versions, stdout, JSON_INDENT(2)) == 0 && puts("") != EOF ? CTL_OK : CTL_FILE;
        else
            status = write_file(path, versions);
    }
    json_decref(versions);
    json_decref(export.root);
    json_decref(request);
    json_decref(end);
    return status;
}
