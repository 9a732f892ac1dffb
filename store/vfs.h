/* vfs.h - SQLite's files through the store's table of calls, so that a fake disk sees its writes
 * and syncs. Exclusive locking mode only: the data directory's lock file keeps other processes out.
 */
#ifndef STORE_VFS_H
#define STORE_VFS_H

#include <stdbool.h>

#include <sqlite3.h>

#include "store/io.h"

struct vfs {
    sqlite3_vfs base;
    const struct io *io;
    const char *dir;
    char name[32];
    int error; /* the last failed call's -errno */
    bool sync_failed; /* nothing may be written any more */
    bool dead; /* nothing is written any more: the simulator's crash */
};

/* Makes it known to SQLite under vfs->name. The struct may not move until vfs_free. 0 or -errno. */
int vfs_init(struct vfs *vfs, const struct io *io, const char *dir)
    __attribute__((warn_unused_result));
void vfs_free(struct vfs *vfs);

#endif
