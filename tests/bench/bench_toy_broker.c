/* bench_toy_broker.c - the least that leveret-perf takes for a broker, to measure the tool itself and to see
 * that it notices a broker's faults: every message goes to the connection that consumed last, nothing is
 * kept. One thread a connection; bodies of up to a frame.
 *
 * bench_toy_broker PORT [drop|repeat|swap|die|hang N]: that happens to every N-th message.
 * It prints "ready" when it listens and ends with its standard input. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/buf.h"
#include "base/mem.h"
#include "protocol/frame.h"
#include "protocol/method.h"

enum { READ_SIZE = 256 * 1024, METHOD_SIZE_MAX = 4096, BODY_FRAME_MAX = 131072 };

struct toy {
    const char *fault;  /* "" = none */
    uint64_t every;
    pthread_mutex_t mutex;
    int consumer_fd;    /* -1 = none; under the mutex */
    struct slice tag;   /* under the mutex */
    uint64_t delivered; /* delivery tag; under the mutex */
    _Atomic uint64_t messages;
};

struct peer {
    struct toy *toy;
    int fd;
    struct buf in, out, deliveries, held;
    bool confirms, greeted;
    uint64_t published;
};

static bool write_all(int fd, struct buf *out)
{
    for (size_t at = 0; at < out->len;) {
        ssize_t n = send(fd, out->at + at, out->len - at, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR)
            return false;
        at += n > 0 ? (size_t)n : 0;
    }
    out->len = 0;
    return true;
}

static void put_method(struct buf *out, uint16_t channel, const struct method *m)
{
    uint8_t *at = buf_reserve(out, METHOD_SIZE_MAX + FRAME_OVERHEAD);
    struct writer w = writer_of(at + FRAME_HEAD_SIZE, METHOD_SIZE_MAX);
    method_encode(&w, m);
    assert(!w.bad);
    uint32_t size = (uint32_t)(w.at - at) - FRAME_HEAD_SIZE;
    frame_write_head(at, FRAME_METHOD, channel, size);
    *w.at = FRAME_END;
    out->len += size + FRAME_OVERHEAD;
}

static bool misbehaves(const struct toy *toy, const char *fault, uint64_t n)
{
    return strcmp(toy->fault, fault) == 0 && n % toy->every == 0;
}

/* Appends deliver, header and body frame to what goes to the consumer. */
static void put_delivery(struct peer *p, const uint8_t *content, size_t size)
{
    static const uint8_t tail[] = {0, 0, 1, 'k', FRAME_END}; /* not redelivered, exchange "", key "k" */
    struct toy *toy = p->toy;
    size_t payload = 4 + 1 + toy->tag.len + 8 + 4;
    uint8_t *at = buf_reserve(&p->deliveries, payload + FRAME_OVERHEAD + size);
    uint64_t tag = __builtin_bswap64(++toy->delivered);
    p->deliveries.len += payload + FRAME_OVERHEAD + size;
    at = frame_write_head(at, FRAME_METHOD, 1, (uint32_t)payload);
    memcpy(at, "\0\x3c\0\x3c", 4);
    at[4] = (uint8_t)toy->tag.len;
    memcpy(at + 5, toy->tag.at, toy->tag.len);
    at += 5 + toy->tag.len;
    memcpy(at, &tag, sizeof(tag));
    memcpy(at + 8, tail, sizeof(tail));
    memcpy(at + 8 + sizeof(tail), content, size);
}

/* A whole publish frame, header and body frame are there: `content` begins at the header frame. */
static void take_publish(struct peer *p, const uint8_t *content, size_t size)
{
    struct toy *toy = p->toy;
    uint64_t n = atomic_fetch_add(&toy->messages, 1) + 1;
    p->published++;
    if (misbehaves(toy, "die", n))
        _exit(0);
    while (misbehaves(toy, "hang", n))
        pause();
    if (toy->consumer_fd < 0 || misbehaves(toy, "drop", n))
        return;
    if (misbehaves(toy, "swap", n)) {
        buf_append(&p->held, content, size);
        return;
    }
    put_delivery(p, content, size);
    if (misbehaves(toy, "repeat", n))
        put_delivery(p, content, size);
    if (p->held.len)
        put_delivery(p, p->held.at, p->held.len);
    p->held.len = 0;
}

static void answer(struct peer *p, uint16_t channel, uint32_t id)
{
    struct method m = {.id = id};
    if (id == METHOD_connection_tune)
        m.connection_tune.frame_max = BODY_FRAME_MAX, m.connection_tune.channel_max = 2047;
    if (id == METHOD_connection_start) {
        m.connection_start.version_minor = 9;
        m.connection_start.mechanisms = SLICE("PLAIN");
        m.connection_start.locales = SLICE("en_US");
    }
    put_method(&p->out, channel, &m);
}

static void take_method(struct peer *p, uint16_t channel, const struct method *m)
{
    struct toy *toy = p->toy;
    if (m->id == METHOD_basic_consume) {
        toy->consumer_fd = p->fd;
        slice_free(&toy->tag);
        toy->tag = slice_copy(m->basic_consume.consumer_tag);
    } else if (m->id == METHOD_connection_start_ok) {
        answer(p, 0, METHOD_connection_tune);
    } else if (m->id == METHOD_connection_close && toy->consumer_fd == p->fd) {
        toy->consumer_fd = -1;
        answer(p, channel, m->id + 1);
    } else if (m->id != METHOD_connection_tune_ok && m->id != METHOD_basic_ack) {
        p->confirms |= m->id == METHOD_confirm_select;
        answer(p, channel, m->id + 1);
    }
}

/* The size of the frame at `at`, 0 when it is not there as a whole. */
static size_t frame_at(const uint8_t *at, const uint8_t *end)
{
    if (end - at < FRAME_OVERHEAD)
        return 0;
    size_t size = load_u32(at + 3) + (size_t)FRAME_OVERHEAD;
    return (size_t)(end - at) < size ? 0 : size;
}

/* Uses whole messages and methods; returns how many bytes. */
static size_t take_input(struct peer *p)
{
    const uint8_t *at = p->in.at, *end = at + p->in.len;
    struct method m;
    struct fault f;
    for (size_t size = frame_at(at, end); size; size = frame_at(at, end)) {
        if (load_u32(at + FRAME_HEAD_SIZE) != METHOD_basic_publish) {
            if (!method_decode(slice_of(at + FRAME_HEAD_SIZE, size - FRAME_OVERHEAD), &m, &f))
                panic("%s", f.text);
            take_method(p, load_u16(at + 1), &m);
            at += size;
            continue;
        }
        size_t header = frame_at(at + size, end);
        uint64_t body_size = header ? load_u64(at + size + FRAME_HEAD_SIZE + 4) : 0;
        size_t body = header && body_size ? frame_at(at + size + header, end) : 0;
        if (!header || (body_size && !body))
            break;
        take_publish(p, at + size, header + body);
        at += size + header + body;
    }
    return (size_t)(at - p->in.at);
}

static bool turn(struct peer *p)
{
    ssize_t n = recv(p->fd, buf_reserve(&p->in, READ_SIZE), READ_SIZE, 0);
    if (n <= 0)
        return false;
    p->in.len += (size_t)n;
    if (!p->greeted) {
        if (p->in.len < 8)
            return true;
        buf_consume(&p->in, 8);
        p->greeted = true;
        answer(p, 0, METHOD_connection_start);
    }
    pthread_mutex_lock(&p->toy->mutex);
    uint64_t published = p->published;
    buf_consume(&p->in, take_input(p));
    if (p->confirms && p->published > published) {
        struct method ack = {.id = METHOD_basic_ack,
                             .basic_ack = {.delivery_tag = p->published, .multiple = true}};
        put_method(&p->out, 1, &ack);
    }
    if (p->deliveries.len && !write_all(p->toy->consumer_fd, &p->deliveries))
        p->toy->consumer_fd = -1;
    p->deliveries.len = 0;
    pthread_mutex_unlock(&p->toy->mutex);
    return write_all(p->fd, &p->out);
}

static void *run_peer(void *arg)
{
    struct peer *p = arg;
    while (turn(p))
        ;
    pthread_mutex_lock(&p->toy->mutex);
    if (p->toy->consumer_fd == p->fd)
        p->toy->consumer_fd = -1;
    pthread_mutex_unlock(&p->toy->mutex);
    close(p->fd);
    buf_free(&p->in);
    buf_free(&p->out);
    buf_free(&p->deliveries);
    buf_free(&p->held);
    mem_free(p);
    return NULL;
}

/* Ends the process with its standard input: no child outlives a test that dies. */
static void *watch_input(void *arg)
{
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
    _exit(arg ? 1 : 0);
}

static int listen_on(int port)
{
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                                .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    assert(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, (struct sockaddr *)&place, sizeof(place)) || listen(fd, 100))
        panic("port %d: %s", port, strerror(errno));
    return fd;
}

int main(int argc, char **argv)
{
    struct toy toy = {.fault = argc > 3 ? argv[2] : "", .every = argc > 3 ? strtoull(argv[3], NULL, 10) : 1,
                      .consumer_fd = -1};
    pthread_t thread;
    if (argc < 2 || toy.every == 0) {
        fprintf(stderr, "usage: bench_toy_broker PORT [drop|repeat|swap|die|hang N]\n");
        return 2;
    }
    pthread_mutex_init(&toy.mutex, NULL);
    int fd = listen_on(atoi(argv[1])), on = 1;
    pthread_create(&thread, NULL, watch_input, NULL);
    puts("ready");
    fflush(stdout);
    for (;;) {
        struct peer *p = mem_zalloc(sizeof(*p));
        p->toy = &toy;
        p->fd = accept(fd, NULL, NULL);
        assertf(p->fd >= 0, "%s", strerror(errno));
        setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        pthread_create(&thread, NULL, run_peer, p);
        pthread_detach(thread);
    }
}
