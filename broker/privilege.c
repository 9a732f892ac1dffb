/* privilege.c - gives up root, at the start.
 *
 * Failure modes: an unknown name, or a process that may not become somebody else, does not start. Nothing is
 * opened or given away by name but a directory that was just made: who can write beside it could have put
 * something else there. */
#include "broker/privilege.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "broker/server.h"

enum { DIRECTORY_MODE = 0750, LOOKUP_SIZE = 16384 };

struct identity {
    uid_t uid;
    gid_t gid;
    char user[64];
};

static bool refuse(struct server *s, const char *what, const char *name, int error)
{
    log_line(&s->log, LOG_CRITICAL, 0, "%s '%s': %s", what, name,
             error ? strerror(error) : "there is no such name");
    return false;
}

static bool find_identity(struct server *s, struct identity *identity)
{
    const struct config_identity *wanted = &s->config->identity;
    char buffer[LOOKUP_SIZE];
    struct passwd user, *found_user = NULL;
    struct group group, *found_group = NULL;
    int error = getpwnam_r(wanted->user, &user, buffer, sizeof(buffer), &found_user);
    if (!found_user)
        return refuse(s, "cannot become the user", wanted->user, error);
    *identity = (struct identity){.uid = user.pw_uid, .gid = user.pw_gid};
    memcpy(identity->user, wanted->user, sizeof(identity->user));
    if (!wanted->group[0])
        return true;
    error = getgrnam_r(wanted->group, &group, buffer, sizeof(buffer), &found_group);
    if (!found_group)
        return refuse(s, "cannot become the group", wanted->group, error);
    identity->gid = group.gr_gid;
    return true;
}

/* The directory itself is all that is made as root. */
static bool give_directory(struct server *s, const struct identity *identity)
{
    const char *path = s->config->data_dir;
    if (mkdir(path, DIRECTORY_MODE) < 0)
        return true; /* it is there, or the store will say why it cannot be */
    int fd = open(path, O_DIRECTORY | O_NOFOLLOW | O_RDONLY | O_CLOEXEC);
    bool given = fd >= 0 && fchown(fd, identity->uid, identity->gid) == 0;
    int error = errno;
    if (fd >= 0)
        close(fd);
    return given || refuse(s, "cannot give away the data directory", path, error);
}

/* The C library tells all threads. The group goes first: afterwards there is no right to. */
static bool become(const struct identity *identity)
{
    return initgroups(identity->user, identity->gid) == 0 &&
           setresgid(identity->gid, identity->gid, identity->gid) == 0 &&
           setresuid(identity->uid, identity->uid, identity->uid) == 0;
}

/* A process that could go back would still be root to whoever takes it over. */
static void check_gone(const struct identity *identity)
{
    uid_t real, effective, saved;
    gid_t real_group, effective_group, saved_group;
    int got = getresuid(&real, &effective, &saved) | getresgid(&real_group, &effective_group, &saved_group);
    assert(got == 0 && real == identity->uid && effective == identity->uid && saved == identity->uid);
    assert(real_group == identity->gid && effective_group == identity->gid && saved_group == identity->gid);
    assert(setuid(0) < 0 && seteuid(0) < 0);
}

bool privilege_drop(struct server *s)
{
    const struct config_identity *wanted = &s->config->identity;
    struct identity identity;
    if (!wanted->user[0] && !wanted->group[0]) {
        if (geteuid() == 0)
            log_line(&s->log, LOG_WARNING, 0,
                     "running as root, with all its rights: the key 'user' names whom to become instead "
                     "(user = root, if it has to be root)");
        return true;
    }
    if (!wanted->user[0]) {
        log_line(&s->log, LOG_CRITICAL, 0, "'group' is given without 'user'");
        return false;
    }
    if (!find_identity(s, &identity))
        return false;
    if (identity.uid == geteuid() && (identity.gid == getegid() || !wanted->group[0]))
        return true;
    if (geteuid() != 0)
        return refuse(s, "cannot become the user", wanted->user, EPERM);
    if (identity.uid == 0) {
        log_line(&s->log, LOG_CRITICAL, 0, "'group' is given, and 'user' is root");
        return false;
    }
    if (!give_directory(s, &identity))
        return false;
    if (!become(&identity))
        return refuse(s, "cannot become the user", wanted->user, errno);
    check_gone(&identity);
    privilege_set_dumps(s->config->identity.core_dumps);
    log_line(&s->log, LOG_INFO, 0, "running as %s (%u:%u)", wanted->user, (unsigned)identity.uid,
             (unsigned)identity.gid);
    return true;
}

void privilege_set_dumps(bool allowed)
{
    int set = prctl(PR_SET_DUMPABLE, allowed ? 1 : 0, 0, 0, 0);
    assert(set == 0);
}
