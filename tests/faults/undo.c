/* undo.c - what a power loss would take back.
 *
 * Owner: the preloaded library, under its lock. The first change of a sector keeps what was in it;
 * a sync forgets that. A name that was removed goes to a side directory until its directory is
 * synced. Directories themselves are durable at once. A loss decides for each file: all unsynced
 * sectors go, none, those behind a point, or each by chance; the size is the old one, the new one
 * or one between. Names go one by one; one that a surviving later change builds on stays. */
#include "tests/faults/undo.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECTOR = 512, FILES_MAX = 4096, NAMES_MAX = 65536, PATH_BYTES = 512 };

struct sector {
    uint64_t number;
    bool used;
    uint8_t before[SECTOR];
};

struct undo_file {
    dev_t dev;
    ino_t ino;
    int fd; /* ours, from the first change on */
    uint64_t synced_size;
    struct sector *sectors; /* by hash of the number */
    size_t count, capacity;
};

enum change { CREATED, UNLINKED, RENAMED };

struct name {
    enum change change;
    char *from, *to, *saved; /* saved: where the file of the name that went away is, or NULL */
};

static struct undo_file *files[FILES_MAX];
static size_t file_count;
static struct name names[NAMES_MAX];
static size_t name_count, saved_count;
static char side_dir[PATH_BYTES];
static uint64_t dice_state;

void undo_init(const char *side, uint64_t seed)
{
    snprintf(side_dir, sizeof side_dir, "%s", side);
    dice_state = seed * 0x9e3779b97f4a7c15u + 1;
}

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

struct undo_file *undo_file(int fd)
{
    struct stat status;
    int failed = fstat(fd, &status);
    assert(!failed);
    for (size_t i = 0; i < file_count; i++)
        if (files[i]->dev == status.st_dev && files[i]->ino == status.st_ino)
            return files[i];
    assert(file_count < FILES_MAX);
    struct undo_file *file = calloc(1, sizeof *file);
    assert(file);
    *file = (struct undo_file){.dev = status.st_dev,
                               .ino = status.st_ino,
                               .fd = -1,
                               .synced_size = (uint64_t)status.st_size};
    return files[file_count++] = file;
}

/* A number may be used again for another file. */
static void forget_inode(const char *path)
{
    struct stat status;
    if (stat(path, &status) != 0 || status.st_nlink > 1)
        return;
    for (size_t i = 0; i < file_count; i++) {
        if (files[i]->dev != status.st_dev || files[i]->ino != status.st_ino)
            continue;
        /* Whoever has it open still holds the pointer: the struct stays, without its identity. */
        files[i]->ino = 0;
        files[i] = files[--file_count];
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

/* Keeps what is in the sectors from `start` up to `end`, once. */
static void keep(struct undo_file *file, int fd, uint64_t start, uint64_t end)
{
    if (file->fd < 0)
        file->fd = dup(fd);
    assert(file->fd >= 0);
    for (uint64_t number = start / SECTOR; number * SECTOR < end; number++) {
        grow(file);
        struct sector *sector = slot_of(file, number);
        if (sector->used)
            continue;
        sector->used = true;
        sector->number = number;
        memset(sector->before, 0, SECTOR);
        file->count++;
        if (number * SECTOR < file->synced_size) {
            ssize_t got = pread(fd, sector->before, SECTOR, (off_t)(number * SECTOR));
            assert(got >= 0);
        }
    }
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
    file->synced_size = size_of(fd);
    if (file->capacity > 65536) {
        free(file->sectors);
        file->sectors = NULL;
        file->capacity = 0;
    } else if (file->count)
        memset(file->sectors, 0, file->capacity * sizeof *file->sectors);
    file->count = 0;
}

static void put(struct undo_file *file, const struct sector *sector)
{
    ssize_t done = pwrite(file->fd, sector->before, SECTOR, (off_t)(sector->number * SECTOR));
    assert(done == SECTOR);
}

static size_t lose_file(struct undo_file *file)
{
    uint64_t now = size_of(file->fd), old = file->synced_size, size, highest = 0;
    uint64_t how = undo_dice(20), lost = 0;
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
        lost++;
    }
    size = undo_dice(2) ? now : old;
    if (now > old && undo_dice(3) == 0)
        size = old + undo_dice((now - old) / SECTOR + 1) * SECTOR;
    if (how < 5 && now > old)
        size = old;
    int failed = ftruncate(file->fd, (off_t)size);
    assert(!failed);
    return lost;
}

/* Names. */

static void remember(enum change change, const char *from, const char *to, const char *saved)
{
    assert(name_count < NAMES_MAX);
    names[name_count++] =
        (struct name){change, strdup(from), to ? strdup(to) : NULL, saved ? strdup(saved) : NULL};
}

static void save_path(char *path)
{
    snprintf(path, PATH_BYTES + 32, "%s/saved-%d-%zu", side_dir, (int)getpid(), saved_count++);
}

void undo_created(const char *path)
{
    remember(CREATED, path, NULL, NULL);
}

int undo_unlink(const char *path)
{
    char saved[PATH_BYTES + 32];
    save_path(saved);
    if (rename(path, saved) != 0)
        return -1;
    remember(UNLINKED, path, NULL, saved);
    return 0;
}

int undo_rename(const char *from, const char *to)
{
    char saved[PATH_BYTES + 32];
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
        forget_inode(name->saved);
        unlink(name->saved);
    }
    free(name->from);
    free(name->to);
    free(name->saved);
}

void undo_synced_dir(const char *path)
{
    size_t left = 0;
    for (size_t i = 0; i < name_count; i++) {
        if (in_dir(names[i].from, path))
            settle(&names[i]);
        else
            names[left++] = names[i];
    }
    name_count = left;
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

static size_t lose_names(void)
{
    bool *stays = calloc(name_count + 1, sizeof *stays);
    size_t lost = 0;
    uint64_t how = undo_dice(3); /* all go, or each by chance */
    assert(stays);
    for (size_t i = name_count; i--;) {
        stays[i] = is_needed(i, stays) || (how && undo_dice(2));
        if (stays[i])
            continue;
        take_back(&names[i]);
        lost++;
    }
    free(stays);
    return lost;
}

size_t undo_lose(void)
{
    size_t lost = 0;
    for (size_t i = 0; i < file_count; i++)
        if (files[i]->count ||
            (files[i]->fd >= 0 && size_of(files[i]->fd) != files[i]->synced_size))
            lost += lose_file(files[i]);
    return lost + lose_names();
}
