/* test_listener.c - listeners and TCP streams, over real loopback sockets. The client's ends are
 * plain sockets of this same thread. */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "net/listener.h"
#include "net/local.h"
#include "net/tcp.h"
#include "tests/unit/suite.h"

enum { CONNECTIONS_MAX = 300, TURNS_MAX = 100000 };

struct connection {
    struct stream stream;
    struct peer peer;
    int closed, error;
    int sndbuf, recbuf; /* as the kernel says */
};

static struct net net;
static struct loop *loop;
static struct listener *listener;
static struct connection connections[CONNECTIONS_MAX];
static size_t accepted, refused;
static bool refuse, close_listener, abort_on_bytes, silent;
static int pauses, pause_error;

static size_t echo(struct stream *stream, struct slice in)
{
    if (abort_on_bytes)
        stream_abort(stream, -EPROTO);
    if (!silent)
        stream_write(stream, in);
    return in.len;
}

static void on_closed(struct stream *stream, int error)
{
    struct connection *connection = container_of(stream, struct connection, stream);
    connection->closed++;
    connection->error = error;
}

static const struct stream_events events = {.bytes = echo, .closed = on_closed};

static int option(int fd, int name)
{
    int value = 0;
    socklen_t size = sizeof(value);
    ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, name, &value, &size), 0);
    return value;
}

static void on_accept(void *arg, const struct transport *transport, void *io,
                      const struct peer *peer)
{
    ck_assert_ptr_eq(arg, connections);
    if (close_listener)
        listener_close(&listener);
    if (refuse) {
        refused++;
        transport->close(io);
        return;
    }
    ck_assert_uint_lt(accepted, CONNECTIONS_MAX);
    struct connection *connection = &connections[accepted++];
    connection->peer = *peer;
    connection->sndbuf = option(tcp_fd(io), SO_SNDBUF);
    connection->recbuf = option(tcp_fd(io), SO_RCVBUF);
    stream_init(&connection->stream, &net, transport, io, &events);
    tcp_attach(io, &connection->stream);
}

static void on_pause(void *arg, int error)
{
    ck_assert_ptr_eq(arg, connections);
    pauses++;
    pause_error = error;
}

static void on_signal(void *arg, int signal)
{
    (void)arg;
    ck_abort_msg("signal %d", signal);
}

static struct listener_options options_for(const char *host, uint16_t port)
{
    return (struct listener_options){.host = host,
                                     .port = port,
                                     .tcp = {.backlog = LISTENER_BACKLOG, .nodelay = true, .keepalive = true},
                                     .arrivals_max = 100,
                                     .on_accept = on_accept,
                                     .arg = connections};
}

static int open_at(struct listener **at, const char *host, uint16_t port, char *error, size_t size)
{
    struct listener_options options = options_for(host, port);
    return listener_open(at, loop, &options, error, size);
}

static void listen_at(const char *host)
{
    char error[200];
    int result = open_at(&listener, host, 0, error, sizeof(error));
    ck_assert_msg(result == 0, "%s", error);
    ck_assert_uint_ne(listener_port(listener), 0);
    listener_on_pause(listener, on_pause);
}

static void setup(void)
{
    net_init(&net);
    loop = loop_new(&net, on_signal, NULL);
}

static void teardown(void)
{
    for (size_t i = 0; i < accepted; i++)
        stream_free(&connections[i].stream);
    if (listener)
        listener_close(&listener);
    loop_free(&loop);
    net_free(&net);
}

/* One turn; there must be something to wait for. */
static void turn(void)
{
    loop_poll(loop, 10000);
    net_flush_all(&net);
}

#define turn_until(condition)                                                                      \
    for (int turns_ = 0; !(condition); turns_++) {                                                 \
        ck_assert_int_lt(turns_, TURNS_MAX);                                                       \
        turn();                                                                                    \
    }

static int connect_at(const char *host, uint16_t port)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    bool is_v6 = inet_pton(AF_INET, host, &v4.sin_addr) != 1;
    ck_assert(!is_v6 || inet_pton(AF_INET6, host, &v6.sin6_addr) == 1);
    int fd = socket(is_v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    int result = is_v6 ? connect(fd, (struct sockaddr *)&v6, sizeof(v6))
                       : connect(fd, (struct sockaddr *)&v4, sizeof(v4));
    if (result == 0)
        return fd;
    close(fd);
    return -1;
}

/* A client's socket of which the server's end is the next in `connections`. */
static int connect_accepted(void)
{
    size_t before = accepted;
    int fd = connect_at("127.0.0.1", listener_port(listener));
    ck_assert_int_ge(fd, 0);
    turn_until(accepted > before);
    return fd;
}

/* ---- addresses ---- */

START_TEST(test_ipv4)
{
    listen_at("127.0.0.1");
    close(connect_accepted());
    struct peer *peer = &connections[0].peer;
    ck_assert_str_eq(peer->host, "127.0.0.1");
    ck_assert_str_eq(peer->peer_host, "127.0.0.1");
    ck_assert_uint_eq(peer->port, listener_port(listener));
    ck_assert_uint_ne(peer->peer_port, 0);
    ck_assert_uint_ne(peer->peer_port, peer->port);
    ck_assert(peer->loopback);
}
END_TEST

START_TEST(test_all_addresses)
{
    listen_at("");
    int v4 = connect_accepted();
    struct peer *peer = &connections[0].peer;
    ck_assert(peer->loopback);
    int v6 = connect_at("::1", listener_port(listener));
    if (v6 < 0) { /* a machine without IPv6 */
        ck_assert_str_eq(peer->peer_host, "127.0.0.1");
    } else {
        ck_assert_str_eq(peer->peer_host, "127.0.0.1"); /* one socket for both, shown as what it is */
        turn_until(accepted == 2);
        ck_assert_str_eq(connections[1].peer.peer_host, "::1");
        ck_assert_str_eq(connections[1].peer.host, "::1");
        ck_assert(connections[1].peer.loopback);
        close(v6);
    }
    close(v4);
}
END_TEST

/* What the kernel makes of it: it doubles a size, and has a maximum. */
static int as_kernel(int name, int size)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, name, &size, sizeof(size)), 0);
    int value = option(fd, name);
    close(fd);
    return value;
}

START_TEST(test_local_peers_have_short_buffers)
{
    listen_at("127.0.0.1");
    close(connect_accepted());
    ck_assert_int_eq(connections[0].sndbuf, as_kernel(SO_SNDBUF, LISTENER_LOCAL_BUFFER));
    ck_assert_int_eq(connections[0].recbuf, as_kernel(SO_RCVBUF, LISTENER_LOCAL_BUFFER));
    listener_close(&listener);
    struct listener_options options = options_for("127.0.0.1", 0);
    options.tcp.sndbuf = 70000;
    char error[200];
    ck_assert_int_eq(listener_open(&listener, loop, &options, error, sizeof(error)), 0);
    close(connect_accepted());
    ck_assert_int_eq(connections[1].sndbuf, as_kernel(SO_SNDBUF, 70000));
    ck_assert_int_eq(connections[1].recbuf, as_kernel(SO_RCVBUF, LISTENER_LOCAL_BUFFER));
}
END_TEST

START_TEST(test_cannot_listen)
{
    char error[200];
    struct listener *other = NULL;
    listen_at("127.0.0.1");
    uint16_t port = listener_port(listener);
    int result = open_at(&other, "127.0.0.1", port, error, sizeof(error));
    ck_assert_int_eq(result, -EADDRINUSE);
    char expected[200];
    snprintf(expected, sizeof(expected),
             "cannot listen on 127.0.0.1 port %u: Address already in use", (unsigned)port);
    ck_assert_str_eq(error, expected);
    result = open_at(&other, "256.1.1.1.", 0, error, sizeof(error));
    ck_assert_int_lt(result, 0);
    ck_assert_ptr_nonnull(strstr(error, "cannot listen on 256.1.1.1. port 0: "));
    result = open_at(&other, "192.0.2.1", 0, error, sizeof(error));
    ck_assert_int_eq(result, -EADDRNOTAVAIL); /* a documentation address: never ours */
    ck_assert_ptr_null(other);
}
END_TEST

/* ---- accepting ---- */

START_TEST(test_more_than_one_turn_accepts)
{
    static int fds[CONNECTIONS_MAX];
    listen_at("127.0.0.1");
    for (size_t i = 0; i < CONNECTIONS_MAX; i++)
        ck_assert_int_ge(fds[i] = connect_at("127.0.0.1", listener_port(listener)), 0);
    turn();
    ck_assert_uint_eq(accepted, LISTENER_ACCEPTS_MAX);
    turn_until(accepted == CONNECTIONS_MAX);
    for (size_t i = 0; i < CONNECTIONS_MAX; i++)
        close(fds[i]);
    for (size_t i = 0; i < CONNECTIONS_MAX; i++)
        turn_until(connections[i].closed == 1);
    ck_assert_int_eq(pauses, 0);
}
END_TEST

START_TEST(test_refuse)
{
    char byte;
    listen_at("127.0.0.1");
    refuse = true;
    int fd = connect_at("127.0.0.1", listener_port(listener));
    turn_until(refused == 1);
    ck_assert_int_eq(read(fd, &byte, 1), 0);
    close(fd);
}
END_TEST

START_TEST(test_listener_closes_inside_its_handler)
{
    listen_at("127.0.0.1");
    uint16_t port = listener_port(listener);
    int one = connect_at("127.0.0.1", port), two = connect_at("127.0.0.1", port);
    close_listener = true;
    turn_until(accepted == 1);
    loop_poll(loop, 0);
    ck_assert_uint_eq(accepted, 1);
    ck_assert_int_lt(connect_at("127.0.0.1", port), 0);
    close(one);
    close(two);
}
END_TEST

START_TEST(test_out_of_descriptors)
{
    listen_at("127.0.0.1");
    int one = connect_at("127.0.0.1", listener_port(listener));
    int two = connect_at("127.0.0.1", listener_port(listener));
    struct rlimit limit, tight;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    tight = (struct rlimit){(rlim_t)two + 1, limit.rlim_max}; /* none left */
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &tight), 0);
    turn_until(pauses == 1);
    ck_assert_int_eq(pause_error, -EMFILE);
    for (int i = 0; i < 4; i++) /* the retry is due, then it fails: no second word about it */
        turn();
    ck_assert_int_eq(pauses, 1);
    ck_assert_uint_eq(accepted, 0);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    turn_until(accepted == 2);
    close(one);
    close(two);
    ck_assert_int_eq(pauses, 1);
}
END_TEST

/* The socket of the machine's own clients waits, too, and the loop sleeps meanwhile. */
START_TEST(test_local_without_descriptors)
{
    char path[64], error[200];
    struct local *local;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(path, sizeof(path), "/tmp/leveret-local-%d", (int)getpid());
    int result = local_open(&local, loop, path, on_accept, connections, error, sizeof(error));
    ck_assert_msg(result == 0, "%s", error);
    memcpy(address.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    struct rlimit limit, tight;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    tight = (struct rlimit){(rlim_t)fd + 1, limit.rlim_max}; /* none left */
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &tight), 0);
    uint64_t begin_ns = clock_now_ns();
    for (int i = 0; i < 6; i++)
        turn();
    ck_assert_uint_ge(clock_now_ns() - begin_ns, LISTENER_RETRY_MS * UINT64_C(1000000));
    ck_assert_uint_eq(accepted, 0);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    turn_until(accepted == 1);
    close(fd);
    local_close(&local);
}
END_TEST

/* Who has to open a file still can when clients have to wait. */
START_TEST(test_some_descriptors_are_not_for_clients)
{
    struct rlimit limit, tight;
    int held[48], count = 0;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    tight = (struct rlimit){64, limit.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &tight), 0);
    listen_at("127.0.0.1");
    int one = connect_at("127.0.0.1", listener_port(listener));
    turn_until(accepted == 1);
    do
        ck_assert_int_ge(held[count] = open("/dev/null", O_RDONLY), 0);
    while (held[count++] < 64 - 64 / 4);
    int two = connect_at("127.0.0.1", listener_port(listener));
    turn_until(pauses == 1);
    ck_assert_int_eq(pause_error, -EMFILE);
    int file = open("/dev/null", O_RDONLY);
    ck_assert_int_ge(file, 0);
    close(file);
    ck_assert_uint_eq(accepted, 1);
    while (count > 0)
        close(held[--count]);
    turn_until(accepted == 2);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    close(one);
    close(two);
}
END_TEST

/* ---- streams ---- */

START_TEST(test_echo)
{
    listen_at("127.0.0.1");
    int fd = connect_accepted();
    ck_assert_int_eq(write(fd, "hello", 5), 5);
    turn_until(connections[0].stream.sent == 5);
    char answer[6] = {0};
    ck_assert_int_eq(read(fd, answer, 6), 5);
    ck_assert_str_eq(answer, "hello");
    close(fd);
    turn_until(connections[0].closed == 1);
    ck_assert_int_eq(connections[0].error, 0);
}
END_TEST

START_TEST(test_peer_resets)
{
    listen_at("127.0.0.1");
    silent = true; /* so that only reading can find out */
    int fd = connect_accepted();
    struct linger reset = {1, 0};
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
    ck_assert_int_eq(write(fd, "hello", 5), 5);
    close(fd); /* RST: the socket has bytes and an error */
    turn_until(connections[0].closed == 1);
    ck_assert_uint_eq(connections[0].stream.received, 5);
    ck_assert_int_eq(connections[0].error, -ECONNRESET);
}
END_TEST

/* More than the kernel keeps for a client that does not read: the rest waits for it. */
START_TEST(test_large_output_and_close)
{
    enum { SIZE = 24 << 20 };
    listen_at("127.0.0.1");
    int fd = connect_accepted();
    ck_assert_int_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    uint8_t *bytes = mem_alloc(SIZE);
    for (size_t i = 0; i < SIZE; i++)
        bytes[i] = (uint8_t)(i * 2654435761u >> 16);
    struct stream *stream = &connections[0].stream;
    stream_write(stream, slice_of(bytes, SIZE));
    stream_close(stream);
    net_flush_all(&net);
    loop_poll(loop, 0);
    ck_assert_uint_gt(stream->output.pending, 0);
    ck_assert(stream->want_write);
    size_t heard = 0;
    static uint8_t part[1 << 16];
    for (;;) {
        ssize_t got = read(fd, part, sizeof(part));
        if (got == 0)
            break;
        if (got < 0) {
            ck_assert_int_eq(errno, EAGAIN);
            turn();
            continue;
        }
        ck_assert(memcmp(part, bytes + heard, (size_t)got) == 0);
        heard += (size_t)got;
    }
    ck_assert_uint_eq(heard, SIZE);
    ck_assert_int_eq(connections[0].closed, 0);
    close(fd);
    turn_until(connections[0].closed == 1);
    ck_assert_int_eq(connections[0].error, 0);
    mem_free(bytes);
}
END_TEST

/* Who does not read what was said to him has ten minutes for it; the loop has not. */
START_TEST(test_lingering_holds_up_nobody)
{
    enum { SIZE = 24 << 20 };
    static uint8_t bytes[SIZE], part[1 << 16];
    char error[200];
    struct listener_options options = options_for("127.0.0.1", 0);
    options.tcp.linger = true;
    options.tcp.linger_s = 600;
    ck_assert_int_eq(listener_open(&listener, loop, &options, error, sizeof(error)), 0);
    int fd = connect_accepted();
    struct stream *stream = &connections[0].stream;
    stream_write(stream, slice_of(bytes, SIZE));
    net_flush_all(&net);
    ck_assert_uint_gt(stream->output.pending, 0);
    size_t sent = stream->sent, heard = 0;
    stream_abort(stream, 0);
    errno = 0;
    for (ssize_t got; (got = read(fd, part, sizeof(part))) > 0;)
        heard += (size_t)got;
    ck_assert_uint_eq(heard, sent); /* and an end, no reset */
    ck_assert_int_eq(errno, 0);
    close(fd);
}
END_TEST

START_TEST(test_abort_inside_the_event)
{
    char byte;
    listen_at("127.0.0.1");
    int fd = connect_accepted();
    abort_on_bytes = true;
    ck_assert_int_eq(write(fd, "x", 1), 1);
    turn_until(connections[0].closed == 1);
    ck_assert_int_eq(connections[0].error, -EPROTO);
    ck_assert_int_eq(read(fd, &byte, 1), 0);
    close(fd);
}
END_TEST

START_TEST(test_pause_and_resume)
{
    listen_at("127.0.0.1");
    int fd = connect_accepted();
    struct stream *stream = &connections[0].stream;
    stream_pause(stream);
    ck_assert_int_eq(write(fd, "hello", 5), 5);
    int other = connect_accepted(); /* turns in which the first is not read */
    loop_poll(loop, 0);
    ck_assert_uint_eq(stream->received, 0);
    stream_resume(stream);
    turn_until(stream->received == 5);
    close(other);
    close(fd);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("listener");
    TCase *tcase = tcase_create("listener");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, test_ipv4);
    tcase_add_test(tcase, test_all_addresses);
    tcase_add_test(tcase, test_local_peers_have_short_buffers);
    tcase_add_test(tcase, test_cannot_listen);
    tcase_add_test(tcase, test_more_than_one_turn_accepts);
    tcase_add_test(tcase, test_refuse);
    tcase_add_test(tcase, test_listener_closes_inside_its_handler);
    tcase_add_test(tcase, test_out_of_descriptors);
    tcase_add_test(tcase, test_local_without_descriptors);
    tcase_add_test(tcase, test_some_descriptors_are_not_for_clients);
    tcase_add_test(tcase, test_echo);
    tcase_add_test(tcase, test_peer_resets);
    tcase_add_test(tcase, test_large_output_and_close);
    tcase_add_test(tcase, test_lingering_holds_up_nobody);
    tcase_add_test(tcase, test_abort_inside_the_event);
    tcase_add_test(tcase, test_pause_and_resume);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
