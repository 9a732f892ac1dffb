/* chatter.c - bounds what the log says of clients and of what they declare.
 *
 * Owner: the server. Invariants: an address is in the map and in by_age, and in left_out exactly while it
 * has lines that nobody was told of; the timer is set while any has. What is left out is counted and said:
 * "N more lines", never nothing. Failure mode: with more addresses than places the oldest quiet ones are
 * forgotten, and those then begin anew; all together keep to their allowance whatever the addresses are. */
#include "broker/chatter.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "broker/server.h"

enum { PREFIX_BYTES = 8, LINE_MAX_BYTES = 2048 };

struct speaker {
    struct list age, left_out;
    uint8_t key[16];
    size_t key_size;
    char address[sizeof(((struct peer *)0)->peer_host)];
    struct chatter_allowance allowance;
    uint64_t count; /* of lines left out, not told yet */
};

static bool take(struct chatter_allowance *allowance, uint64_t now_ms, uint64_t burst, uint64_t line_ms)
{
    assert(now_ms >= allowance->counted_ms);
    uint64_t gone = (now_ms - allowance->counted_ms) / line_ms;
    allowance->used -= gone < allowance->used ? gone : allowance->used;
    allowance->counted_ms += gone * line_ms;
    if (allowance->used >= burst)
        return false;
    allowance->used++;
    return true;
}

/* --- speakers --- */

static size_t read_address(const char *address, uint8_t key[16])
{
    if (inet_pton(AF_INET, address, key) == 1)
        return 4;
    return inet_pton(AF_INET6, address, key) == 1 ? PREFIX_BYTES : 0;
}

static void forget(struct chatter *chatter, struct speaker *speaker)
{
    map_remove(&chatter->by_address, slice_of(speaker->key, speaker->key_size));
    list_remove(&speaker->age);
    list_unlink(&speaker->left_out);
    mem_free(speaker);
}

static struct speaker *find(struct chatter *chatter, const char *address, uint64_t now_ms)
{
    uint8_t key[16];
    size_t size = read_address(address, key);
    struct speaker *speaker = map_get(&chatter->by_address, slice_of(key, size));
    if (speaker) {
        list_remove(&speaker->age);
    } else {
        struct speaker *oldest = list_first(&chatter->by_age, struct speaker, age);
        if (chatter->by_address.size == CHATTER_ADDRESSES_MAX && oldest->count == 0)
            forget(chatter, oldest);
        if (chatter->by_address.size == CHATTER_ADDRESSES_MAX)
            return oldest; /* each has something to tell: the newcomer is counted with the quietest */
        speaker = mem_zalloc(sizeof(*speaker));
        memcpy(speaker->key, key, size);
        speaker->key_size = size;
        snprintf(speaker->address, sizeof(speaker->address), "%s", address);
        speaker->allowance.counted_ms = now_ms;
        map_put(&chatter->by_address, slice_of(speaker->key, size), speaker);
    }
    list_push_back(&chatter->by_age, &speaker->age);
    assert(chatter->by_address.size <= CHATTER_ADDRESSES_MAX);
    return speaker;
}

/* --- telling --- */

static void tell(struct server *s)
{
    struct chatter *chatter = &s->chatter;
    uint64_t lines = 0, addresses = 0;
    for (int told = 0; !list_empty(&chatter->left_out); told++) {
        struct speaker *speaker = list_first(&chatter->left_out, struct speaker, left_out);
        list_remove(&speaker->left_out);
        if (told < CHATTER_TOLD_MAX)
            log_line(&s->log, LOG_WARNING, 0,
                     "%" PRIu64 " more lines about %s%s were left out", speaker->count,
                     speaker->address[0] ? "connections from " : "queues", speaker->address);
        else
            lines += speaker->count, addresses++;
        speaker->count = 0;
    }
    if (addresses > 0)
        log_line(&s->log, LOG_WARNING, 0,
                 "%" PRIu64 " more lines about connections from %" PRIu64 " other addresses were left out",
                 lines, addresses);
}

static void on_time(struct timer *timer)
{
    tell(container_of(timer, struct server, chatter.timer));
}

static void leave_out(struct server *s, struct speaker *speaker, uint64_t now_ms)
{
    struct chatter *chatter = &s->chatter;
    if (list_empty(&chatter->left_out))
        timer_set(&s->timers, &chatter->timer, now_ms + CHATTER_TELL_MS);
    if (speaker->count++ == 0)
        list_push_back(&chatter->left_out, &speaker->left_out);
    chatter->total++;
}

void chatter_line(struct server *s, const char *address, enum log_level level, uint64_t id,
                  const char *format, ...)
{
    uint64_t now_ms = server_now_ms(s);
    char line[LINE_MAX_BYTES];
    va_list args;
    if (!log_wants(&s->log, level))
        return;
    struct speaker *speaker = find(&s->chatter, address, now_ms);
    if (!take(&speaker->allowance, now_ms, CHATTER_BURST, CHATTER_LINE_MS) ||
        !take(&s->chatter.all, now_ms, CHATTER_BURST_ALL, CHATTER_LINE_ALL_MS)) {
        leave_out(s, speaker, now_ms);
        return;
    }
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    log_line(&s->log, level, id, "%s", line);
}

/* --- life --- */

void chatter_init(struct server *s, uint64_t seed)
{
    struct chatter *chatter = &s->chatter;
    *chatter = (struct chatter){.timer.fire = on_time, .all.counted_ms = server_now_ms(s)};
    map_init(&chatter->by_address, seed);
    list_init(&chatter->by_age);
    list_init(&chatter->left_out);
}

void chatter_free(struct server *s)
{
    struct chatter *chatter = &s->chatter;
    if (!chatter->by_age.next) /* never begun */
        return;
    tell(s);
    timer_clear(&s->timers, &chatter->timer);
    while (!list_empty(&chatter->by_age))
        forget(chatter, list_first(&chatter->by_age, struct speaker, age));
    map_free(&chatter->by_address);
}
