/* alarm.c - memory and disk alarms.
 *
 * Owner: the server. What the process uses is asked for on a timer, and between its ticks when the messages
 * in memory have grown by a good part of the limit. An alarm goes off and clears at the same limit, as in
 * RabbitMQ.
 *
 * Invariant: a connection in `publishers` is paused with FLOW_ALARM iff an alarm is on; none other is. */
#include "broker/alarm.h"

#include <inttypes.h>

#include "base/mem.h"
#include "broker/connection.h"
#include "broker/status.h"

enum {
    PERIOD_MS = 1000,
    ALARMED_PERIOD_MS = 250, /* publishers wait: they should not wait longer than they must */
    TRIM_PERIOD_MS = 5000,
    HOLES_MAX = 32 * 1024 * 1024, /* bytes of large messages that have gone */
    EARLY_PART = 16, /* of the memory limit: growth that makes it time to look */
    EARLY_BYTES_MIN = 1024 * 1024,
    MIB = 1024 * 1024,
};

void alarm_init(struct alarms *alarms)
{
    *alarms = (struct alarms){0};
    list_init(&alarms->publishers);
}

/* --- limits --- */

static uint64_t part(uint64_t total, uint64_t ppm)
{
    return total / 1000000 * ppm + total % 1000000 * ppm / 1000000;
}

static uint64_t limit_of(uint64_t bytes, uint64_t ppm, uint64_t total, uint64_t fallback)
{
    if (bytes != CONFIG_NONE)
        return bytes;
    return ppm != CONFIG_NONE && total != PROBE_UNKNOWN ? part(total, ppm) : fallback;
}

uint64_t alarm_memory_limit(const struct config_alarms *config, uint64_t total)
{
    return limit_of(config->memory_bytes, config->memory_ppm, total, UINT64_MAX);
}

uint64_t alarm_disk_limit(const struct config_alarms *config, uint64_t total)
{
    return limit_of(config->disk_bytes, config->disk_ppm, total, 0);
}

const char *alarm_reason(unsigned on)
{
    static const char *const reasons[] = {
        [ALARM_MEMORY] = "low on memory",
        [ALARM_DISK] = "low on disk",
        [ALARM_MEMORY | ALARM_DISK] = "low on memory & disk",
    };
    assertf(on > 0 && on < array_size(reasons), "alarms %u", on);
    return reasons[on];
}

/* --- what is looked at --- */

/* What large messages left in the allocator's heap when they went: holes, mostly. */
static bool left_holes(const struct slab_pool *messages)
{
    return messages->large_peak - messages->large_bytes >= HOLES_MAX;
}

/* Freed memory that the allocator keeps is not in use, but the system counts it: before it is called too
 * much, and now and then while it is, it is given back. So is what a backlog of large messages leaves. */
static uint64_t use_memory(struct server *s)
{
    struct alarms *alarms = &s->alarms;
    uint64_t used = alarms->probe.memory_used(alarms->probe.arg), now = server_now_ms(s);
    bool holes = left_holes(&s->messages);
    if (used == PROBE_UNKNOWN || (used <= alarms->memory_limit && !holes) || now < alarms->trim_due_ms)
        return used;
    alarms->trim_due_ms = now + TRIM_PERIOD_MS;
    s->messages.large_peak = s->messages.large_bytes;
    mem_trim();
    return alarms->probe.memory_used(alarms->probe.arg);
}

static uint64_t message_bytes(const struct server *s)
{
    return s->messages.slab_bytes + s->messages.large_bytes;
}

static unsigned measure(struct server *s)
{
    struct alarms *alarms = &s->alarms;
    uint64_t used = use_memory(s), free = alarms->probe.disk_free(alarms->probe.arg);
    if (used != PROBE_UNKNOWN)
        alarms->memory_used = used;
    if (free != PROBE_UNKNOWN)
        alarms->disk_free = free;
    /* A quota may be used up on a disk with space; the store is the one that notices. */
    bool short_of_disk = alarms->disk_free < alarms->disk_limit || (s->store && store_full(s->store));
    uint64_t step = alarms->memory_limit / EARLY_PART;
    alarms->early_bytes = message_bytes(s) + (step > EARLY_BYTES_MIN ? step : EARLY_BYTES_MIN);
    return (alarms->memory_used > alarms->memory_limit ? ALARM_MEMORY : 0) |
           (short_of_disk ? ALARM_DISK : 0);
}

/* --- publishers --- */

static void block(struct connection *conn)
{
    flow_pause(conn, FLOW_ALARM);
    if (!conn->capabilities.connection_blocked)
        return;
    struct method m = {.id = METHOD_connection_blocked};
    m.connection_blocked.reason = slice_of_string(alarm_reason(conn->server->alarms.on));
    connection_send(conn, 0, &m);
}

static void unblock(struct connection *conn)
{
    flow_resume(conn, FLOW_ALARM);
    if (conn->capabilities.connection_blocked)
        connection_send(conn, 0, &(struct method){.id = METHOD_connection_unblocked});
}

void alarm_publishes(struct connection *conn)
{
    struct alarms *alarms = &conn->server->alarms;
    assert(!list_linked(&conn->flow.publishing) && conn->state == CONNECTION_OPEN);
    list_push_back(&alarms->publishers, &conn->flow.publishing);
    if (alarms->on)
        block(conn);
}

void alarm_forget(struct connection *conn)
{
    list_unlink(&conn->flow.publishing);
}

/* --- going off and clearing --- */

/* While memory is short queues keep less of it than they may, so that it does not depend on consumers alone
 * when publishers may go on. */
static void press(struct server *s, bool on)
{
    uint64_t own = s->config->resident_memory, most = s->alarms.memory_limit / 2;
    s->home.paging.memory_max = on && most < own ? most : own;
}

static void log_change(struct server *s, unsigned kind, bool on)
{
    const struct alarms *alarms = &s->alarms;
    char node[SERVER_NODE_SIZE];
    server_node(node);
    event_alarm(s, kind == ALARM_MEMORY ? "memory" : "disk", on);
    if (kind == ALARM_MEMORY)
        log_line(&s->log, LOG_INFO, 0,
                 "vm_memory_high_watermark %s. Memory used:%" PRIu64 " allowed:%" PRIu64,
                 on ? "set" : "clear", alarms->memory_used, alarms->memory_limit);
    else
        log_line(&s->log, LOG_INFO, 0,
                 "Free disk space is %s. Free bytes: %" PRIu64 ". Limit: %" PRIu64,
                 on ? "insufficient" : "sufficient", alarms->disk_free, alarms->disk_limit);
    log_line(&s->log, LOG_WARNING, 0, "%s resource limit alarm %s on node %s%s",
             kind == ALARM_MEMORY ? "memory" : "disk", on ? "set" : "cleared", node,
             on ? ": publishers will be blocked until it clears" : "");
    if (kind == ALARM_DISK && on && s->store)
        status_log(s);
}

void alarm_look(struct server *s)
{
    struct alarms *alarms = &s->alarms;
    unsigned before = alarms->on, now = measure(s);
    if (now == before)
        return;
    alarms->on = now;
    for (unsigned kind = ALARM_MEMORY; kind <= ALARM_DISK; kind *= 2)
        if ((before ^ now) & kind)
            log_change(s, kind, now & kind);
    press(s, now & ALARM_MEMORY);
    if (!before) {
        list_each(node, &alarms->publishers)
            block(container_of(node, struct connection, flow.publishing));
    } else if (!now) {
        for (struct list *node; (node = list_pop_front(&alarms->publishers));)
            unblock(container_of(node, struct connection, flow.publishing));
    }
}

static void tick(struct timer *timer)
{
    struct alarms *alarms = container_of(timer, struct alarms, timer);
    struct server *s = container_of(alarms, struct server, alarms);
    alarm_look(s);
    timer_set(&s->timers, timer, server_now_ms(s) + (alarms->on ? ALARMED_PERIOD_MS : PERIOD_MS));
}

void alarm_watch(struct server *s)
{
    if (s->alarms.watching && message_bytes(s) >= s->alarms.early_bytes)
        alarm_look(s);
}

void alarm_start(struct server *s, const struct probe *probe)
{
    struct alarms *alarms = &s->alarms;
    const struct config_alarms *config = &s->config->alarms;
    assert(!alarms->watching);
    alarms->probe = *probe;
    alarms->watching = true;
    alarms->memory_total = config->memory_total_bytes != CONFIG_NONE ? config->memory_total_bytes
                                                                     : probe->memory_total(probe->arg);
    alarms->memory_limit = alarm_memory_limit(config, alarms->memory_total);
    alarms->disk_limit = alarm_disk_limit(config, alarms->memory_total);
    alarms->disk_free = UINT64_MAX; /* until it is known */
    if (alarms->memory_limit == UINT64_MAX)
        log_line(&s->log, LOG_WARNING, 0, "There is no memory high watermark");
    else
        log_line(&s->log, LOG_INFO, 0,
                 "Memory high watermark set to %" PRIu64 " MiB (%" PRIu64 " bytes) of %" PRIu64
                 " MiB (%" PRIu64 " bytes) total",
                 alarms->memory_limit / MIB, alarms->memory_limit, alarms->memory_total / MIB,
                 alarms->memory_total);
    log_line(&s->log, LOG_INFO, 0, "Disk free limit set to %" PRIu64 "MB", alarms->disk_limit / 1000000);
    alarms->timer.fire = tick;
    tick(&alarms->timer);
}
