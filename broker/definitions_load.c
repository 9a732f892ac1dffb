/* definitions_load.c - definitions from files, taken in at the start of the server.
 *
 * Read in one go and as large as they are: nobody waits for the loop yet. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "broker/definitions_import.h"
#include "broker/json_in.h"
#include "broker/parameters.h"
#include "broker/server.h"

/* What all files together were when they were last taken in. */
struct load {
    struct server *server;
    uint64_t hash;
    size_t done, skipped;
};

static bool complain(const struct load *load, const char *path, const char *why)
{
    log_line(&load->server->log, LOG_CRITICAL, 0, "cannot load the definitions '%s': %s", path, why);
    return false;
}

static bool read_file(const struct load *load, const char *path, struct buf *text)
{
    FILE *file = fopen(path, "rbe");
    if (!file)
        return complain(load, path, strerror(errno));
    size_t got = 1;
    while (got > 0) {
        got = fread(buf_reserve(text, 65536), 1, 65536, file);
        text->len += got;
    }
    bool good = !ferror(file);
    fclose(file);
    return good || complain(load, path, "it cannot be read");
}

static bool import_text(struct load *load, const char *path, struct slice text)
{
    char error[512];
    json_t *root = json_in_parse(text, error, sizeof(error));
    if (!root)
        return complain(load, path, error);
    struct definitions_import *import =
        definitions_import_new(load->server, root, SLICE(""), error, sizeof(error));
    json_decref(root);
    if (!import)
        return complain(load, path, error);
    bool more = definitions_import_step(import, SIZE_MAX);
    assert(!more);
    bool good = !import->error[0] || complain(load, path, import->error);
    load->done += import->done, load->skipped += import->skipped;
    definitions_import_free(&import);
    return good;
}

static int is_json(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);
    return entry->d_name[0] != '.' && len > 5 && strcmp(entry->d_name + len - 5, ".json") == 0;
}

/* Calls `each` with every file that is meant, in the order of their names. */
static bool each_file(struct load *load, const char *path,
                      bool (*each)(struct load *load, const char *path, struct slice text))
{
    struct stat status;
    struct dirent **entries = NULL;
    struct buf text = {0};
    bool good = true;
    if (stat(path, &status) < 0)
        return complain(load, path, strerror(errno));
    if (!S_ISDIR(status.st_mode)) {
        good = read_file(load, path, &text) && each(load, path, buf_slice(&text));
        buf_free(&text);
        return good;
    }
    int count = scandir(path, &entries, is_json, alphasort);
    if (count < 0)
        return complain(load, path, strerror(errno));
    for (int i = 0; i < count; i++) {
        char whole[4096];
        snprintf(whole, sizeof(whole), "%s/%s", path, entries[i]->d_name);
        text.len = 0;
        good = good && read_file(load, whole, &text) && each(load, whole, buf_slice(&text));
        free(entries[i]);
    }
    free(entries);
    buf_free(&text);
    return good;
}

static bool hash_text(struct load *load, const char *path, struct slice text)
{
    (void)path;
    load->hash = slice_hash(text, load->hash);
    return true;
}

static void keep_hash(struct server *s, struct slice value)
{
    parameters_put(s,
                   &(struct parameter){.vhost = SLICE(""),
                                       .component = SLICE("global"),
                                       .name = slice_of_string(DEFINITIONS_HASH_PARAMETER),
                                       .value = value},
                   true);
}

bool definitions_import_configured(struct server *s)
{
    const struct config *config = s->config;
    const char *path = config->control.definitions;
    struct load load = {.server = s};
    char hash[32];
    if (!path[0])
        return true;
    if (!each_file(&load, path, hash_text))
        return false;
    snprintf(hash, sizeof(hash), "\"%016" PRIx64 "\"", load.hash);
    const struct parameter *before =
        parameters_find(s, SLICE(""), SLICE("global"), slice_of_string(DEFINITIONS_HASH_PARAMETER));
    if (config->control.skip_if_unchanged && before && slice_is(before->value, hash)) {
        log_line(&s->log, LOG_INFO, 0, "definitions '%s' are what they were: not loaded again", path);
        return true;
    }
    if (!each_file(&load, path, import_text))
        return false;
    if (config->control.skip_if_unchanged)
        keep_hash(s, slice_of_string(hash));
    log_line(&s->log, LOG_INFO, 0, "loaded definitions '%s': %zu objects, %zu of them left out", path,
             load.done, load.skipped);
    return true;
}
