/* bench_timers.c - the client of delays and expiries: publishes messages that have a time, or takes them and
 * says how late they came. Prints one line of JSON.
 *
 *     bench_timers publish PORT EXCHANGE KEY delay|expiration|ttl COUNT BYTES RATE FIRST FROM_MS TO_MS
 *     bench_timers consume PORT QUEUE COUNT IDLE_S FROM_MS
 *
 * A body begins with the message's number (FIRST and up) and its time, microseconds since 1970: random
 * between FROM_MS and TO_MS, milliseconds since 1970. With `expiration` the time is what is left when the
 * message is sent, so lateness counts the way to the broker too. With `ttl` it is the queue that has one: the
 * time is FROM_MS to TO_MS milliseconds after the message is sent. RATE 0: as fast as confirms come. The
 * consumer counts what came twice and what came early, leaves lateness out of what was due before FROM_MS,
 * and ends after COUNT messages or IDLE_S seconds without one. Meanwhile a thread sleeps a millisecond again
 * and again: how late that wakes is what the machine alone costs. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/buf.h"
#include "base/mem.h"
#include "base/rand.h"

enum { WINDOW_SMALL = 4000 /* of what has an expiration */, MOMENTS = 5, MOMENT_US = 100000 };
enum { WINDOW = 20000, ACK_EVERY = 250, PREFETCH = 20000, STEP_US = 100, STEPS = 200000, STAMP_BYTES = 16 };

struct lateness { /* in steps of 0.1 ms; the last is all beyond 20 s */
    uint32_t steps[STEPS];
    uint64_t count, max_us;
};

struct link {
    int fd;
    uint8_t in[1 << 20];
    size_t size, at;
    struct buf out;
};

static uint64_t wall_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void note(struct lateness *lateness, uint64_t us)
{
    uint64_t step = us / STEP_US;
    lateness->steps[step < STEPS ? step : STEPS - 1]++;
    lateness->count++;
    lateness->max_us = us > lateness->max_us ? us : lateness->max_us;
}

static double share(const struct lateness *lateness, double part)
{
    uint64_t seen = 0;
    for (int i = 0; i < STEPS; i++)
        if ((double)(seen += lateness->steps[i]) >= part * (double)lateness->count)
            return i * (STEP_US / 1000.0);
    return STEPS * (STEP_US / 1000.0);
}

static void print(const char *name, const struct lateness *lateness)
{
    uint64_t over = 0;
    for (int i = 100 * 1000 / STEP_US; i < STEPS; i++)
        over += lateness->steps[i];
    printf(", \"%s\": {\"count\": %" PRIu64 ", \"p50\": %.1f, \"p99\": %.1f, \"p999\": %.1f, "
           "\"max\": %.1f, \"over_100_ms\": %" PRIu64 "}",
           name, lateness->count, share(lateness, 0.5), share(lateness, 0.99), share(lateness, 0.999),
           (double)lateness->max_us / 1000, over);
}

/* --- bytes --- */

static void put(struct buf *out, uint64_t value, int bytes)
{
    while (bytes-- > 0)
        buf_append(out, &(uint8_t){(uint8_t)(value >> 8 * bytes)}, 1);
}

static void put_short(struct buf *out, const char *text)
{
    put(out, strlen(text), 1);
    buf_append(out, text, strlen(text));
}

static uint64_t get(const uint8_t *at, int bytes)
{
    uint64_t value = 0;
    while (bytes-- > 0)
        value = value << 8 | *at++;
    return value;
}

static void put_frame(struct buf *out, uint8_t type, unsigned channel, const struct buf *payload)
{
    put(out, type, 1);
    put(out, channel, 2);
    put(out, payload->len, 4);
    buf_append(out, payload->at, payload->len);
    put(out, 0xce, 1);
}

static void put_method(struct link *link, unsigned channel, uint32_t id, struct buf *fields)
{
    struct buf payload = {0};
    put(&payload, id, 4);
    buf_append(&payload, fields->at, fields->len);
    put_frame(&link->out, 1, channel, &payload);
    buf_free(&payload);
    buf_free(fields);
}

static void flush(struct link *link)
{
    for (size_t at = 0; at < link->out.len;) {
        ssize_t sent = write(link->fd, link->out.at + at, link->out.len - at);
        if (sent < 0 && errno != EINTR)
            panic("write: %s", strerror(errno));
        at += sent > 0 ? (size_t)sent : 0;
    }
    link->out.len = 0;
}

/* The next frame that is there; waits so long for one. False when none came. */
static bool next_frame(struct link *link, int wait_ms, uint8_t *type, const uint8_t **payload, size_t *size)
{
    for (;;) {
        size_t have = link->size - link->at;
        const uint8_t *at = link->in + link->at;
        if (have >= 8 && have >= get(at + 3, 4) + 8) {
            *type = at[0];
            *size = get(at + 3, 4);
            *payload = at + 7;
            link->at += *size + 8;
            return true;
        }
        memmove(link->in, at, have);
        link->at = 0;
        link->size = have;
        struct pollfd ready = {.fd = link->fd, .events = POLLIN};
        if (poll(&ready, 1, wait_ms) <= 0)
            return false;
        ssize_t got = read(link->fd, link->in + have, sizeof(link->in) - have);
        if (got <= 0)
            panic("the broker has closed the connection");
        link->size += (size_t)got;
    }
}

static void await(struct link *link, uint32_t id)
{
    uint8_t type;
    const uint8_t *payload;
    size_t size;
    flush(link);
    do {
        if (!next_frame(link, 30000, &type, &payload, &size))
            panic("no method %x", id);
        if (type == 1 && (get(payload, 4) == 0x140028 || get(payload, 4) == 0xa0032))
            panic("refused: %.*s", (int)payload[6], (const char *)payload + 7);
    } while (type != 1 || get(payload, 4) != id);
}

static struct link *open_link(const char *port)
{
    struct link *link = mem_zalloc(sizeof(*link));
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    struct buf fields = {0};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    link->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(link->fd, (struct sockaddr *)&to, sizeof(to)) < 0)
        panic("connect: %s", strerror(errno));
    setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    buf_append(&link->out, "AMQP\0\0\x09\x01", 8);
    await(link, 0xa000a);
    put(&fields, 0, 4);
    put_short(&fields, "PLAIN");
    put(&fields, 12, 4);
    buf_append(&fields, "\0guest\0guest", 12);
    put_short(&fields, "en_US");
    put_method(link, 0, 0xa000b, &fields);
    await(link, 0xa001e);
    put(&fields, UINT64_C(10) << 48 | UINT64_C(131072) << 16, 8);
    put_method(link, 0, 0xa001f, &fields);
    put_short(&fields, "/");
    put(&fields, 0, 2);
    put_method(link, 0, 0xa0028, &fields);
    await(link, 0xa0029);
    put(&fields, 0, 1);
    put_method(link, 1, 0x14000a, &fields);
    await(link, 0x14000b);
    return link;
}

/* --- publishing --- */

struct plan {
    const char *exchange, *key;
    struct lateness *confirms;
    uint64_t sent_us[WINDOW]; /* when number i modulo WINDOW was sent */
    bool delays, ttl;
    uint64_t count, bytes, rate, first, from_ms, to_ms;
    struct rand rand;
    struct buf body, head, method;
};

static void put_message(struct link *link, struct plan *plan, uint64_t number)
{
    uint64_t due_ms = plan->from_ms + rand_below(&plan->rand, plan->to_ms - plan->from_ms + 1);
    uint64_t now_us = wall_us(), due_us = due_ms * 1000;
    plan->method.len = plan->head.len = plan->body.len = 0;
    put(&plan->method, 0x3c0028, 4);
    put(&plan->method, 0, 2);
    put_short(&plan->method, plan->exchange);
    put_short(&plan->method, plan->key);
    put(&plan->method, 0, 1);
    put(&plan->head, 60, 2);
    put(&plan->head, 0, 2);
    put(&plan->head, plan->bytes, 8);
    plan->sent_us[number % WINDOW] = now_us;
    if (plan->delays) {
        put(&plan->head, 0x3000, 2);
        put(&plan->head, 22, 4);
        put_short(&plan->head, "x-deliver-at");
        put(&plan->head, 'l', 1);
        put(&plan->head, due_ms, 8);
        put(&plan->head, 2, 1);
    } else if (plan->ttl) {
        due_us = now_us + due_ms * 1000;
        put(&plan->head, 0x1000, 2);
        put(&plan->head, 2, 1);
    } else {
        char left[24];
        uint64_t left_ms = due_us > now_us ? (due_us - now_us) / 1000 : 0;
        due_us = now_us + left_ms * 1000;
        snprintf(left, sizeof(left), "%" PRIu64, left_ms);
        put(&plan->head, 0x1100, 2);
        put(&plan->head, 2, 1);
        put_short(&plan->head, left);
    }
    put(&plan->body, number, 8);
    put(&plan->body, due_us, 8);
    for (uint64_t i = STAMP_BYTES; i < plan->bytes; i++)
        put(&plan->body, 'x', 1);
    put_frame(&link->out, 1, 1, &plan->method);
    put_frame(&link->out, 2, 1, &plan->head);
    put_frame(&link->out, 3, 1, &plan->body);
}

static void take_confirms(struct link *link, int wait_ms, uint64_t *confirmed, uint64_t *refused)
{
    uint8_t type;
    const uint8_t *payload;
    size_t size;
    while (next_frame(link, wait_ms, &type, &payload, &size)) {
        uint32_t id = type == 1 ? (uint32_t)get(payload, 4) : 0;
        if (id == 0x140028 || id == 0xa0032)
            panic("closed: %.*s", (int)payload[6], (const char *)payload + 7);
        if (id != 0x3c0050 && id != 0x3c0078)
            continue;
        uint64_t tag = get(payload + 4, 8);
        if (id == 0x3c0078)
            ++*refused;
        *confirmed = payload[12] & 1 ? tag : *confirmed + 1; /* alone: in any order, so counted */
        wait_ms = 0;
    }
}

static int publish(char **argv)
{
    struct link *link = open_link(argv[2]);
    static struct plan plan;
    plan.exchange = argv[3], plan.key = argv[4];
    plan.confirms = mem_zalloc(sizeof(*plan.confirms));
    plan.delays = strcmp(argv[5], "delay") == 0, plan.ttl = strcmp(argv[5], "ttl") == 0;
    uint64_t window = plan.delays || plan.ttl ? WINDOW : WINDOW_SMALL;
    uint64_t *numbers[] = {&plan.count, &plan.bytes, &plan.rate, &plan.first, &plan.from_ms, &plan.to_ms};
    for (int i = 0; i < 6; i++)
        *numbers[i] = strtoull(argv[6 + i], NULL, 10);
    assert(plan.bytes >= STAMP_BYTES && plan.to_ms >= plan.from_ms);
    plan.rand = rand_seeded(plan.first + 1);
    struct buf fields = {0};
    put(&fields, 0, 1);
    put_method(link, 1, 0x55000a, &fields);
    await(link, 0x55000b);
    uint64_t began_us = wall_us(), sent = 0, confirmed = 0, refused = 0;
    while (confirmed < plan.count) {
        uint64_t may = confirmed + window < plan.count ? confirmed + window : plan.count;
        uint64_t paced = plan.rate ? (wall_us() - began_us) * plan.rate / 1000000 + 1 : may;
        uint64_t end = paced < may ? paced : may;
        if (end > sent + 500)
            end = sent + 500;
        bool idle = sent >= end;
        while (sent < end)
            put_message(link, &plan, plan.first + sent++);
        flush(link);
        uint64_t before = confirmed;
        take_confirms(link, idle ? 1 : 0, &confirmed, &refused);
        for (uint64_t now_us = wall_us(); before < confirmed; before++)
            note(plan.confirms, now_us - plan.sent_us[(plan.first + before) % WINDOW]);
    }
    double seconds = (double)(wall_us() - began_us) / 1e6;
    printf("{\"published\": %" PRIu64 ", \"refused\": %" PRIu64 ", \"seconds\": %.2f, \"rate\": %.0f",
           sent, refused, seconds, (double)sent / seconds);
    print("confirm_ms", plan.confirms);
    printf("}\n");
    return 0;
}

/* --- consuming --- */

struct baseline {
    struct lateness lateness;
    atomic_bool stop;
};

static void *sleep_again_and_again(void *arg)
{
    struct baseline *baseline = arg;
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    while (!baseline->stop) {
        struct timespec now;
        next.tv_nsec += 1000000;
        next.tv_sec += next.tv_nsec / 1000000000;
        next.tv_nsec %= 1000000000;
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
        clock_gettime(CLOCK_MONOTONIC, &now);
        int64_t late_us = (now.tv_sec - next.tv_sec) * 1000000 + (now.tv_nsec - next.tv_nsec) / 1000;
        note(&baseline->lateness, late_us > 0 ? (uint64_t)late_us : 0);
        next = now;
    }
    return NULL;
}

/* A tenth of a second, since 1970, and the worst that came in it. */
struct moment {
    uint64_t number, worst_us, late, count; /* late: by more than 100 ms */
};

struct taken {
    struct lateness lateness;
    struct moment now, worst[MOMENTS]; /* the worst first */
    uint8_t *seen; /* a bit for each number */
    uint64_t count, from_us, early, twice, tag, delivered;
};

static void end_moment(struct taken *taken)
{
    struct moment moment = taken->now;
    for (int i = 0; i < MOMENTS; i++) {
        struct moment other = taken->worst[i];
        if (moment.worst_us <= other.worst_us)
            continue;
        taken->worst[i] = moment;
        moment = other;
    }
    taken->now = (struct moment){0};
}

static void note_moment(struct taken *taken, uint64_t now_us, uint64_t late_us)
{
    if (taken->now.number != now_us / MOMENT_US)
        end_moment(taken);
    struct moment *now = &taken->now;
    now->number = now_us / MOMENT_US;
    now->count++;
    now->late += late_us > 100000;
    now->worst_us = late_us > now->worst_us ? late_us : now->worst_us;
}

static void print_moments(struct taken *taken)
{
    end_moment(taken);
    printf(", \"moments\": [");
    for (int i = 0; i < MOMENTS && taken->worst[i].count > 0; i++) {
        const struct moment *moment = &taken->worst[i];
        printf("%s{\"at\": %.1f, \"max\": %.1f, \"over_100_ms\": %" PRIu64 ", \"count\": %" PRIu64 "}",
               i ? ", " : "", (double)moment->number / 10, (double)moment->worst_us / 1000, moment->late,
               moment->count);
    }
    printf("]");
}

static void take(struct taken *taken, const uint8_t *body)
{
    uint64_t number = get(body, 8), due_us = get(body + 8, 8), now_us = wall_us();
    assertf(number < taken->count, "message %" PRIu64, number);
    taken->twice += taken->seen[number / 8] >> number % 8 & 1;
    taken->seen[number / 8] |= (uint8_t)(1u << number % 8);
    taken->delivered++;
    if (now_us + 1000 < due_us) /* clocks are read to the millisecond */
        taken->early++;
    if (due_us < taken->from_us)
        return;
    uint64_t late_us = now_us > due_us ? now_us - due_us : 0;
    note(&taken->lateness, late_us);
    note_moment(taken, now_us, late_us);
}

static void ack(struct link *link, uint64_t tag)
{
    struct buf fields = {0};
    put(&fields, tag, 8);
    put(&fields, 1, 1);
    put_method(link, 1, 0x3c0050, &fields);
    flush(link);
}

static int consume(char **argv)
{
    struct link *link = open_link(argv[2]);
    struct taken *taken = mem_zalloc(sizeof(*taken));
    struct baseline *baseline = mem_zalloc(sizeof(*baseline));
    taken->count = strtoull(argv[4], NULL, 10);
    taken->from_us = strtoull(argv[6], NULL, 10) * 1000;
    taken->seen = mem_zalloc(taken->count / 8 + 1);
    struct buf fields = {0};
    put(&fields, PREFETCH, 6);
    put(&fields, 0, 1);
    put_method(link, 1, 0x3c000a, &fields);
    await(link, 0x3c000b);
    put(&fields, 0, 2);
    put_short(&fields, argv[3]);
    put_short(&fields, "bench");
    put(&fields, 0, 5);
    put_method(link, 1, 0x3c0014, &fields);
    await(link, 0x3c0015);
    pthread_t thread;
    pthread_create(&thread, NULL, sleep_again_and_again, baseline);
    uint8_t type;
    const uint8_t *payload;
    size_t size;
    uint64_t acked = 0, distinct = 0;
    int idle_ms = atoi(argv[5]) * 1000, waited = 0;
    while (taken->delivered - taken->twice < taken->count && waited < idle_ms) {
        bool got = next_frame(link, 10, &type, &payload, &size);
        waited = got ? 0 : waited + 10;
        if (got && type == 1 && get(payload, 4) == 0x3c003c)
            taken->tag = get(payload + 5 + payload[4], 8);
        if (got && type == 3)
            take(taken, payload);
        if (taken->delivered - acked >= ACK_EVERY || (!got && taken->delivered > acked)) {
            ack(link, taken->tag);
            acked = taken->delivered;
        }
    }
    if (taken->delivered > acked)
        ack(link, taken->tag);
    fields.len = 0;
    put(&fields, 200 << 8, 3);
    put(&fields, 0, 4);
    put_method(link, 0, 0xa0032, &fields);
    await(link, 0xa0033); /* the acks have come */
    baseline->stop = true;
    pthread_join(thread, NULL);
    distinct = taken->delivered - taken->twice;
    printf("{\"delivered\": %" PRIu64 ", \"missing\": %" PRIu64 ", \"twice\": %" PRIu64 ", \"early\": %"
           PRIu64, taken->delivered, taken->count - distinct, taken->twice, taken->early);
    print("late_ms", &taken->lateness);
    print("timer_ms", &baseline->lateness);
    print_moments(taken);
    printf("}\n");
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 12 && strcmp(argv[1], "publish") == 0)
        return publish(argv);
    if (argc == 7 && strcmp(argv[1], "consume") == 0)
        return consume(argv);
    fprintf(stderr, "see the head of bench_timers.c, or use tests/bench/delays and tests/bench/expiries\n");
    return 2;
}
