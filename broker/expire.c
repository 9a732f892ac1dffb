/* expire.c - the broker's side of expiry: the clock, the share of a turn, queues that nobody uses.
 *
 * Deadlines are in milliseconds since 1970, because they outlive a restart. While the broker runs they follow
 * the monotonic clock from where the wall clock was at the start, so that setting the wall clock expires
 * nothing. */
#include "broker/expire.h"

#include "broker/vhost.h"

/* Messages that go in one turn, before and after delivering. */
enum { EXPIRE_TURN_MAX = 8192 };

/* Outcomes beyond which nothing more expires for now: memory. */
enum { OUTCOMES_MAX = 16 * 1024 };

static size_t budget(const struct server *s)
{
    return s->home.outcomes.fresh.size < OUTCOMES_MAX ? EXPIRE_TURN_MAX : 0;
}

void expire_read_clock(struct server *s)
{
    uint64_t now = server_now_ms(s);
    if (s->expire.offset_ms == 0)
        s->expire.offset_ms = s->clock.wall_us(s->clock.arg) / 1000 - now;
    s->home.now_ms = now + s->expire.offset_ms;
    s->expire.clock_is_read = true;
}

void expire_before_delivery(struct server *s)
{
    expire_input(s);
    expiry_run(&s->home, s->home.now_ms, budget(s));
}

void expire_after_delivery(struct server *s)
{
    expiry_run(&s->home, s->home.now_ms + 1, budget(s));
    s->expire.clock_is_read = false;
}

uint64_t expire_next_ms(const struct server *s)
{
    uint64_t next = budget(s) ? expiry_next_ms(&s->home) : UINT64_MAX, retry = s->home.outcomes.retry_ms;
    if (retry < next)
        next = retry;
    return next == UINT64_MAX ? next : next - s->expire.offset_ms;
}

/* --- queues that nobody uses --- */

static void on_unused(struct timer *timer)
{
    struct queue *q = container_of(timer, struct queue, leaving.unused);
    struct vhost *v = q->leaving.vhost;
    struct server *s = v->server;
    uint64_t now = server_now_ms(s), expires = q->settings.expires_ms;
    uint64_t due = (q->consumers.count > 0 ? now : q->leaving.used_ms) + expires;
    assert(!q->leaving.deleted && expires != SETTINGS_NEVER);
    if (due > now) {
        timer_set(&s->timers, timer, due);
        return;
    }
    chatter_line(s, CHATTER_QUEUES, LOG_INFO, 0,
                 "queue '%.*s' in vhost '%.*s' was not used for %llu ms and is deleted", SLICE_ARG(q->name),
                 SLICE_ARG(v->name), (unsigned long long)expires);
    vhost_delete_queue(v, q);
}

void expire_used(struct server *s, struct queue *q)
{
    q->leaving.used_ms = server_now_ms(s);
}

void expire_watch(struct server *s, struct queue *q)
{
    q->leaving.unused.fire = on_unused;
    timer_clear(&s->timers, &q->leaving.unused);
    if (q->settings.expires_ms != SETTINGS_NEVER)
        timer_set(&s->timers, &q->leaving.unused, q->leaving.used_ms + q->settings.expires_ms);
}

void expire_forget(struct server *s, struct queue *q)
{
    timer_clear(&s->timers, &q->leaving.unused);
}
