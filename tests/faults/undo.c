/* undo.c - what a power loss would take back.
 *
 * Owner: the preloaded library, under its lock. The first change of a sector keeps what was in it;
 * a sync forgets that. A name that was removed goes to a side directory until its directory is
 * synced. Directories themselves are durable at once. A loss decides for each file: all unsynced
 * sectors go, none, those behind a point, or each by chance; the size is the old one, the new one
 * or one between. Names go one by one; one that a surviving later change builds on stays.
 *
 * A killed process leaves what it did not sync to the kernel, where a later power cut may still take
 * it. So everything here is in the side directory as well, before the change that it would take back:
 *   file-N      a second name of a file, by which it is found again whatever became of the first
 *   file-N.log  its synced size, then each sector that was changed since: number and old bytes
 *   names       a line for each change of a name: C path, U path saved, R from to saved (or -)
 *   saved-…     what was unlinked or renamed over
 * Whoever dies between two steps has done a change that counts as durable, or noted one that it did not
 * do; both are what a disk may do to a call that has not returned. */
#include "tests/faults/undo.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECTOR = 512, FILES_MAX = 4096, NAMES_MAX = 65536, PATH_BYTES = 512, SIDE_BYTES = PATH_BYTES + 64 };

struct sector {
    uint64_t number;
    bool used, inherited;
    uint8_t before[SECTOR];
};

/* One sector in a file's log. */
struct logged {
    uint64_t number;
    uint8_t before[SECTOR];
};

struct undo_file {
    dev_t dev;
    ino_t ino;
    unsigned side;  /* its number in the side directory */
    int fd, log_fd; /* ours, from the first change on; -1 before */
    bool gone;      /* all its names are, durably */
    uint64_t synced_size;
    struct sector *sectors; /* by hash of the number */
    size_t count, capacity;
};

enum change { CREATED, UNLINKED, RENAMED };

struct name {
    enum change change;
    bool inherited;
    char *from, *to, *saved; /* saved: where the file of the name that went away is, or NULL */
};

static struct undo_file *files[FILES_MAX];
static size_t file_count;
static struct name names[NAMES_MAX];
static size_t name_count, saved_count;
static char side_dir[PATH_BYTES];
static unsigned side_count; /* the next file's number */
static uint64_t dice_state;

uint64_t undo_dice(uint64_t sides)
{
    dice_state ^= dice_state << 13;
    dice_state ^= dice_state >> 7;
    dice_state ^= dice_state << 17;
    return (dice_state >> 11) % sides;
}

/* Files. */

static uint64_t size_of(int fd)
{
    struct stat status;
    int failed = fstat(fd, &status);
    assert(!failed);
    return (uint64_t)status.st_size;
}

static void side_path(char path[SIDE_BYTES], unsigned side, const char *suffix)
{
    snprintf(path, SIDE_BYTES, "%s/file-%u%s", side_dir, side, suffix);
}

static struct undo_file *add_file(const struct stat *status, unsigned side)
{
    assert(file_count < FILES_MAX);
    struct undo_file *file = calloc(1, sizeof *file);
    assert(file);
    *file = (struct undo_file){.dev = status->st_dev,
                               .ino = status->st_ino,
                               .side = side,
                               .fd = -1,
                               .log_fd = -1,
                               .synced_size = (uint64_t)status->st_size};
    return files[file_count++] = file;
}

static void open_log(struct undo_file *file)
{
    char path[SIDE_BYTES];
    side_path(path, file->side, ".log");
    file->log_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert(file->log_fd >= 0);
}

/* In the log: nothing has changed since, and it is so long. */
static void log_synced(struct undo_file *file)
{
    int failed = ftruncate(file->log_fd, sizeof file->synced_size);
    ssize_t done = pwrite(file->log_fd, &file->synced_size, sizeof file->synced_size, 0);
    assert(!failed && done == sizeof file->synced_size);
}

struct undo_file *undo_file(int fd, const char *path)
{
    struct stat status;
    char second[SIDE_BYTES];
    int failed = fstat(fd, &status);
    assert(!failed);
    for (size_t i = 0; i < file_count; i++)
        if (files[i]->dev == status.st_dev && files[i]->ino == status.st_ino)
            return files[i];
    struct undo_file *file = add_file(&status, side_count++);
    open_log(file);
    log_synced(file);
    side_path(second, file->side, "");
    failed = link(path, second);
    assert(!failed);
    return file;
}

/* The file has no name any more: its number may be used again for another one. */
static void forget_file(size_t at)
{
    struct undo_file *file = files[at];
    char path[SIDE_BYTES];
    side_path(path, file->side, "");
    unlink(path);
    side_path(path, file->side, ".log");
    unlink(path);
    close(file->log_fd);
    /* Whoever has it open still holds the pointer: the struct stays, without its identity. */
    file->ino = 0;
    file->gone = true;
    files[at] = files[--file_count];
}

/* Before the name `saved` goes away for ever: with it and our own, the file has two names left. */
static void forget_saved(const char *saved)
{
    struct stat status;
    if (stat(saved, &status) != 0 || status.st_nlink > 2)
        return;
    for (size_t i = 0; i < file_count; i++)
        if (files[i]->dev == status.st_dev && files[i]->ino == status.st_ino) {
            forget_file(i);
            return;
        }
}

static struct sector *slot_of(struct undo_file *file, uint64_t number)
{
    size_t i = (size_t)(number * 0x9e3779b97f4a7c15u >> 20) & (file->capacity - 1);
    while (file->sectors[i].used && file->sectors[i].number != number)
        i = (i + 1) & (file->capacity - 1);
    return &file->sectors[i];
}

static void grow(struct undo_file *file)
{
    struct sector *old = file->sectors;
    size_t capacity = file->capacity;
    if (file->count * 2 < capacity)
        return;
    file->capacity = capacity ? capacity * 2 : 1024;
    file->sectors = calloc(file->capacity, sizeof *file->sectors);
    assert(file->sectors);
    for (size_t i = 0; i < capacity; i++)
        if (old[i].used)
            *slot_of(file, old[i].number) = old[i];
    free(old);
}

static void use_descriptor(struct undo_file *file, int fd)
{
    if (file->fd < 0)
        file->fd = dup(fd);
    assert(file->fd >= 0);
}

/* Appends to the log; the last `count` of file->count sectors. */
static void log_sectors(const struct undo_file *file, const struct logged *logged, size_t count)
{
    uint64_t offset = sizeof file->synced_size + (file->count - count) * sizeof *logged;
    ssize_t done = pwrite(file->log_fd, logged, count * sizeof *logged, (off_t)offset);
    assert(done == (ssize_t)(count * sizeof *logged));
}

static struct sector *add_sector(struct undo_file *file, const struct logged *logged)
{
    grow(file);
    struct sector *sector = slot_of(file, logged->number);
    if (sector->used)
        return NULL;
    *sector = (struct sector){.number = logged->number, .used = true};
    memcpy(sector->before, logged->before, SECTOR);
    file->count++;
    return sector;
}

/* Keeps what is in the sectors from `start` up to `end`, once. */
static void keep(struct undo_file *file, int fd, uint64_t start, uint64_t end)
{
    static struct logged logged[128];
    size_t count = 0;
    if (file->gone)
        return;
    use_descriptor(file, fd);
    for (uint64_t number = start / SECTOR; number * SECTOR < end; number++) {
        struct logged *next = &logged[count];
        if (file->count && slot_of(file, number)->used)
            continue;
        *next = (struct logged){.number = number};
        if (number * SECTOR < file->synced_size) {
            ssize_t got = pread(fd, next->before, SECTOR, (off_t)(number * SECTOR));
            assert(got >= 0);
        }
        add_sector(file, next);
        if (++count == sizeof logged / sizeof *logged) {
            log_sectors(file, logged, count);
            count = 0;
        }
    }
    if (count)
        log_sectors(file, logged, count);
}

void undo_before_write(struct undo_file *file, int fd, uint64_t offset, size_t size)
{
    keep(file, fd, offset, offset + size);
}

void undo_before_truncate(struct undo_file *file, int fd, uint64_t size)
{
    uint64_t now = size_of(fd);
    keep(file, fd, size, now > size ? now : size);
}

void undo_synced(struct undo_file *file, int fd)
{
    if (file->gone)
        return;
    use_descriptor(file, fd);
    file->synced_size = size_of(fd);
    log_synced(file);
    if (file->capacity > 65536) {
        free(file->sectors);
        file->sectors = NULL;
        file->capacity = 0;
    } else if (file->count)
        memset(file->sectors, 0, file->capacity * sizeof *file->sectors);
    file->count = 0;
}

void undo_synced_own(struct undo_file *file, int fd)
{
    struct sector *before = file->sectors;
    size_t capacity = file->capacity;
    file->sectors = NULL;
    file->count = file->capacity = 0;
    undo_synced(file, fd);
    for (size_t i = 0; i < capacity; i++) {
        struct logged logged = {.number = before[i].number};
        if (!before[i].used || !before[i].inherited)
            continue;
        memcpy(logged.before, before[i].before, SECTOR);
        add_sector(file, &logged)->inherited = true;
        log_sectors(file, &logged, 1);
    }
    free(before);
}

static void put(struct undo_file *file, const struct sector *sector)
{
    ssize_t done = pwrite(file->fd, sector->before, SECTOR, (off_t)(sector->number * SECTOR));
    assert(done == SECTOR);
}

static struct undo_loss lose_file(struct undo_file *file)
{
    struct undo_loss loss = {0};
    uint64_t now = size_of(file->fd), old = file->synced_size, size, highest = 0;
    uint64_t how = undo_dice(20);
    for (size_t i = 0; i < file->capacity; i++)
        if (file->sectors[i].used && file->sectors[i].number > highest)
            highest = file->sectors[i].number;
    uint64_t point = undo_dice(highest + 1);
    for (size_t i = 0; i < file->capacity; i++) {
        const struct sector *sector = &file->sectors[i];
        if (!sector->used)
            continue;
        bool goes =
            how < 5 || (how >= 8 && how < 12 ? sector->number >= point : how >= 12 && undo_dice(2));
        if (!goes)
            continue;
        put(file, sector);
        loss.all++;
        loss.inherited += sector->inherited;
    }
    size = undo_dice(2) ? now : old;
    if (now > old && undo_dice(3) == 0)
        size = old + undo_dice((now - old) / SECTOR + 1) * SECTOR;
    if (how < 5 && now > old)
        size = old;
    int failed = ftruncate(file->fd, (off_t)size);
    assert(!failed);
    undo_synced(file, file->fd);
    return loss;
}

/* Names. */

static void names_path(char path[SIDE_BYTES], const char *suffix)
{
    snprintf(path, SIDE_BYTES, "%s/names%s", side_dir, suffix);
}

static void write_name(int fd, const struct name *name)
{
    int done = dprintf(fd, "%c\t%s\t%s\t%s\n", "CUR"[name->change], name->from, name->to ? name->to : "-",
                       name->saved ? name->saved : "-");
    assert(done > 0);
}

static struct name *add_name(enum change change, const char *from, const char *to, const char *saved)
{
    assert(name_count < NAMES_MAX);
    names[name_count] =
        (struct name){change, false, strdup(from), to ? strdup(to) : NULL, saved ? strdup(saved) : NULL};
    return &names[name_count++];
}

static void remember(enum change change, const char *from, const char *to, const char *saved)
{
    char path[SIDE_BYTES];
    names_path(path, "");
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    assert(fd >= 0);
    write_name(fd, add_name(change, from, to, saved));
    close(fd);
}

/* All of them anew, in one step. */
static void rewrite_names(void)
{
    char path[SIDE_BYTES], fresh[SIDE_BYTES];
    names_path(path, "");
    names_path(fresh, ".new");
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert(fd >= 0);
    for (size_t i = 0; i < name_count; i++)
        write_name(fd, &names[i]);
    close(fd);
    int failed = rename(fresh, path);
    assert(!failed);
}

static void save_path(char *path)
{
    snprintf(path, SIDE_BYTES, "%s/saved-%d-%zu", side_dir, (int)getpid(), saved_count++);
}

void undo_created(const char *path)
{
    remember(CREATED, path, NULL, NULL);
}

int undo_unlink(const char *path)
{
    char saved[SIDE_BYTES];
    save_path(saved);
    if (rename(path, saved) != 0)
        return -1;
    remember(UNLINKED, path, NULL, saved);
    return 0;
}

int undo_rename(const char *from, const char *to)
{
    char saved[SIDE_BYTES];
    save_path(saved);
    bool replaces = link(to, saved) == 0;
    if (rename(from, to) != 0) {
        if (replaces)
            unlink(saved);
        return -1;
    }
    remember(RENAMED, from, to, replaces ? saved : NULL);
    return 0;
}

static bool in_dir(const char *path, const char *dir)
{
    size_t len = strlen(dir);
    while (len > 1 && dir[len - 1] == '/')
        len--;
    return strncmp(path, dir, len) == 0 && path[len] == '/' && !strchr(path + len + 1, '/');
}

static void settle(struct name *name)
{
    if (name->saved) {
        forget_saved(name->saved);
        unlink(name->saved);
    }
    free(name->from);
    free(name->to);
    free(name->saved);
}

void undo_synced_dir(const char *path)
{
    static struct name settled[NAMES_MAX];
    size_t left = 0, count = 0;
    for (size_t i = 0; i < name_count; i++) {
        if (in_dir(names[i].from, path))
            settled[count++] = names[i];
        else
            names[left++] = names[i];
    }
    name_count = left;
    if (count)
        rewrite_names(); /* before what they would be taken back with is gone */
    for (size_t i = 0; i < count; i++)
        settle(&settled[i]);
}

static bool touches(const struct name *name, const char *path)
{
    return strcmp(name->from, path) == 0 || (name->to && strcmp(name->to, path) == 0);
}

/* Does a change that stays build on this one? */
static bool is_needed(size_t at, const bool *stays)
{
    for (size_t i = at + 1; i < name_count; i++)
        if (stays[i] && (touches(&names[i], names[at].from) ||
                         (names[at].to && touches(&names[i], names[at].to))))
            return true;
    return false;
}

static void take_back(const struct name *name)
{
    if (name->change == CREATED)
        unlink(name->from);
    else if (name->change == UNLINKED)
        rename(name->saved, name->from);
    else {
        rename(name->to, name->from);
        if (name->saved)
            rename(name->saved, name->to);
    }
}

static struct undo_loss lose_names(void)
{
    bool *stays = calloc(name_count + 1, sizeof *stays);
    struct undo_loss loss = {0};
    uint64_t how = undo_dice(3); /* all go, or each by chance */
    assert(stays);
    for (size_t i = name_count; i--;) {
        stays[i] = is_needed(i, stays) || (how && undo_dice(2));
        if (stays[i])
            continue;
        take_back(&names[i]);
        loss.all++;
        loss.inherited += names[i].inherited;
    }
    free(stays);
    name_count = 0;
    rewrite_names();
    return loss;
}

struct undo_loss undo_lose(void)
{
    struct undo_loss loss = {0};
    for (size_t i = 0; i < file_count; i++) {
        if (!files[i]->count && (files[i]->fd < 0 || size_of(files[i]->fd) == files[i]->synced_size))
            continue;
        struct undo_loss of_file = lose_file(files[i]);
        loss.all += of_file.all;
        loss.inherited += of_file.inherited;
    }
    struct undo_loss of_names = lose_names();
    return (struct undo_loss){loss.all + of_names.all, loss.inherited + of_names.inherited};
}

/* What an earlier process left. */

static void inherit_sectors(struct undo_file *file)
{
    struct logged logged;
    ssize_t got = pread(file->log_fd, &file->synced_size, sizeof file->synced_size, 0);
    off_t offset = sizeof file->synced_size;
    if (got != sizeof file->synced_size) { /* it died before it had noted anything */
        file->synced_size = size_of(file->fd);
        log_synced(file);
    }
    while (pread(file->log_fd, &logged, sizeof logged, offset) == sizeof logged) {
        struct sector *sector = add_sector(file, &logged);
        assert(sector);
        sector->inherited = true;
        offset += sizeof logged;
    }
}

static void inherit_file(unsigned side)
{
    char path[SIDE_BYTES];
    struct stat status;
    side_path(path, side, "");
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert(fd >= 0);
    int failed = fstat(fd, &status);
    assert(!failed);
    struct undo_file *file = add_file(&status, side);
    open_log(file);
    if (status.st_nlink == 1) { /* its other names went with the power */
        forget_file(file_count - 1);
        close(fd);
        return;
    }
    file->fd = fd;
    inherit_sectors(file);
}

static void inherit_files(void)
{
    unsigned side;
    char rest;
    DIR *dir = opendir(side_dir);
    assert(dir);
    for (struct dirent *entry; (entry = readdir(dir));)
        if (sscanf(entry->d_name, "file-%u%c", &side, &rest) == 1) {
            inherit_file(side);
            side_count = side >= side_count ? side + 1 : side_count;
        }
    closedir(dir);
}

static void inherit_names(void)
{
    static char line[3 * PATH_BYTES + 64];
    static const char kinds[] = "CUR";
    char path[SIDE_BYTES];
    names_path(path, "");
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file) && strchr(line, '\n')) {
        char *rest = line, *kind = strsep(&rest, "\t"), *from = strsep(&rest, "\t"),
             *to = strsep(&rest, "\t"), *saved = strsep(&rest, "\n");
        assert(kind && *kind && strchr(kinds, *kind) && from && to && saved);
        add_name((enum change)(strchr(kinds, *kind) - kinds), from, strcmp(to, "-") ? to : NULL,
                 strcmp(saved, "-") ? saved : NULL)
            ->inherited = true;
    }
    if (file)
        fclose(file);
}

void undo_init(const char *side, uint64_t seed)
{
    snprintf(side_dir, sizeof side_dir, "%s", side);
    dice_state = seed * 0x9e3779b97f4a7c15u + 1;
    inherit_files();
    inherit_names();
}
