/* undo.h - what a power loss would take back: the sectors, sizes and names that no sync has made
 * durable yet. Files stay as the program sees them until undo_lose. One caller at a time; offsets
 * and sizes in bytes. */
#ifndef TESTS_FAULTS_UNDO_H
#define TESTS_FAULTS_UNDO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct undo_file;

/* `side`: a directory on the same file system for all of this, so that it outlives the process. What is
 * there already was left by a killed one, and may still be lost. */
void undo_init(const char *side, uint64_t seed);
uint64_t undo_dice(uint64_t sides);

/* The file behind a descriptor that was just opened by that path; what is in it when it is first seen is
 * durable. */
struct undo_file *undo_file(int fd, const char *path);
/* Before the write or truncation. */
void undo_before_write(struct undo_file *file, int fd, uint64_t offset, size_t size);
void undo_before_truncate(struct undo_file *file, int fd, uint64_t size);
/* All of the file is durable. */
void undo_synced(struct undo_file *file, int fd);
/* So is what this process wrote, but not what an earlier one had left. */
void undo_synced_own(struct undo_file *file, int fd);

/* After a file was made; in place of an unlink and a rename (they do it, as the system's calls
 * would). */
void undo_created(const char *path);
int undo_unlink(const char *path);
int undo_rename(const char *from, const char *to);
/* All names in the directory are durable. */
void undo_synced_dir(const char *path);

/* How many sectors and names were taken back, and how many of these an earlier process had changed. */
struct undo_loss {
    size_t all, inherited;
};

/* The plug is pulled: leaves what was synced and a random part of the rest. */
struct undo_loss undo_lose(void);

#endif
