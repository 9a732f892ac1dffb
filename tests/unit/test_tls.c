/* test_tls.c - the server's end of TLS against OpenSSL's client, both in this thread over a socket pair; a
 * stream on top of it; and what a certificate says. The certificates are made here. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "net/carrier.h"
#include "net/certificate.h"
#include "net/net.h"
#include "net/stream.h"
#include "net/tls.h"
#include "tests/unit/suite.h"
#include "tests/unit/tls_world.h"

START_TEST(versions_and_ciphers)
{
    open_ends(_i);
    shake();
    ck_assert_str_eq(tls_version(tls), _i == TLS1_3_VERSION ? "TLSv1.3" : "TLSv1.2");
    ck_assert_ptr_nonnull(strstr(tls_cipher(tls), _i == TLS1_3_VERSION ? "TLS_AES" : "ECDHE-ECDSA"));
    ck_assert_ptr_null(tls_certificate(tls));
    ck_assert(!tls_has_news(tls));
    close_ends();
}
END_TEST

/* ---- reading ---- */

START_TEST(reads_what_came)
{
    enum { TOTAL = 700000 };
    uint8_t *said = mem_alloc(TOTAL), *room = mem_alloc(NET_READ_SIZE);
    struct buf got = {0};
    size_t put = 0, seed = 1;
    open_ends(_i);
    shake();
    fill(said, TOTAL, 0);
    size_t size = 1;
    while (got.len < TOTAL) {
        size_t now = 0;
        if (size > TOTAL - put)
            size = TOTAL - put;
        if (size > 0 && SSL_write_ex(client, said + put, size, &now) == 1) {
            put += now;
            size = 1 + (seed = seed * 1103515245 + 12345) % 30000; /* a retry has to say the same */
        }
        ssize_t n = tls_read(tls, room, _i == TLS1_3_VERSION ? NET_READ_SIZE : TLS_READ_MIN);
        ck_assert(n > 0 || n == -EAGAIN);
        if (n > 0)
            buf_append(&got, room, (size_t)n);
    }
    check_bytes(&got, TOTAL);
    ck_assert_int_eq(tls_read(tls, room, NET_READ_SIZE), -EAGAIN);
    ck_assert(!tls_has_news(tls));
    close_ends();
    buf_free(&got);
    mem_free(said);
    mem_free(room);
}
END_TEST

START_TEST(ends_of_the_peer)
{
    uint8_t *room = mem_alloc(NET_READ_SIZE);
    size_t put;
    open_ends(TLS1_3_VERSION);
    shake();
    /* Data and the end in one read: the end is news that the socket will not tell. */
    ck_assert_int_eq(SSL_write_ex(client, "bye", 3, &put), 1);
    SSL_shutdown(client);
    ck_assert_int_eq(tls_read(tls, room, NET_READ_SIZE), 3);
    ck_assert(tls_has_news(tls));
    ck_assert_int_eq(tls_read(tls, room, NET_READ_SIZE), 0);
    /* We may still speak, and end. */
    struct iovec part = {room, 3};
    ck_assert_int_eq(tls_writev(tls, &part, 1), 3);
    tls_finish(tls);
    struct buf heard = {0};
    ck_assert_uint_eq(hear(&heard), 1);
    ck_assert_uint_eq(heard.len, 3);
    ck_assert_int_eq(memcmp(heard.at, "bye", 3), 0);
    ck_assert(SSL_get_shutdown(client) & SSL_RECEIVED_SHUTDOWN);
    buf_free(&heard);
    close_ends();
    /* Without a word. */
    open_ends(TLS1_3_VERSION);
    shake();
    shutdown(ends[1], SHUT_WR);
    ck_assert_int_eq(tls_read(tls, room, NET_READ_SIZE), 0);
    close_ends();
    mem_free(room);
}
END_TEST

START_TEST(rubbish_is_an_error)
{
    uint8_t *room = mem_alloc(NET_READ_SIZE);
    open_ends(TLS1_3_VERSION);
    shake();
    ck_assert_int_eq(send(ends[1], "\x17\x03\x03\0\x20" "0123456789abcdef0123456789abcdef", 37, 0), 37);
    ck_assert_int_eq(tls_read(tls, room, NET_READ_SIZE), -EPROTO);
    ck_assert(tls_has_news(tls));
    struct iovec part = {room, 3};
    ck_assert_int_eq(tls_writev(tls, &part, 1), -EPROTO);
    tls_finish(tls);
    close_ends();
    mem_free(room);
}
END_TEST

/* ---- writing ---- */

START_TEST(small_parts_fill_records)
{
    enum { PARTS = 64, SIZE = 300 };
    uint8_t *said = mem_alloc(PARTS * SIZE);
    struct iovec parts[PARTS];
    struct buf heard = {0};
    open_ends(TLS1_3_VERSION);
    shake();
    fill(said, PARTS * SIZE, 0);
    for (size_t i = 0; i < PARTS; i++)
        parts[i] = (struct iovec){said + i * SIZE, SIZE};
    ck_assert_int_eq(tls_writev(tls, parts, PARTS), PARTS * SIZE);
    ck_assert_uint_eq(hear(&heard), 2); /* 19,200 bytes: a full record and the rest */
    check_bytes(&heard, PARTS * SIZE);
    close_ends();
    buf_free(&heard);
    mem_free(said);
}
END_TEST

/* Whatever the socket takes at a time, the bytes arrive once and in order, in full records, and what counts
 * as written has its records in the socket. */
START_TEST(short_writes)
{
    enum { TOTAL = 1000000 };
    uint8_t *said = mem_alloc(TOTAL);
    struct buf heard = {0};
    size_t done = 0, records = 0, waits = 0;
    open_ends(_i);
    shake();
    fill(said, TOTAL, 0);
    while (done < TOTAL) {
        struct iovec parts[3] = {{said + done, (TOTAL - done) / 3}, {NULL, 0}, {NULL, 0}};
        parts[1] = (struct iovec){said + done + parts[0].iov_len, (TOTAL - done) / 4};
        parts[2].iov_base = said + done + parts[0].iov_len + parts[1].iov_len;
        parts[2].iov_len = TOTAL - done - parts[0].iov_len - parts[1].iov_len;
        ssize_t n = tls_writev(tls, parts, 3);
        ck_assert(n > 0 || n == -EAGAIN);
        done += n > 0 ? (size_t)n : 0;
        waits += n == -EAGAIN;
        size_t before = heard.len;
        records += hear(&heard);
        ck_assert_uint_ge(heard.len, done); /* all that counts as written has come */
        ck_assert(heard.len > before || n > 0);
    }
    check_bytes(&heard, TOTAL);
    ck_assert_uint_gt(waits, 0);
    ck_assert_uint_le(records, TOTAL / 16384 + 20);
    close_ends();
    buf_free(&heard);
    mem_free(said);
}
END_TEST

/* ---- a stream on top ---- */

static size_t echo(struct stream *stream, struct slice in)
{
    stream_write(stream, in);
    return in.len;
}

static int closed;
static void on_closed(struct stream *stream, int error)
{
    (void)stream;
    ck_assert_int_eq(error, 0);
    closed++;
}

static const struct stream_events events = {.bytes = echo, .closed = on_closed};

static ssize_t io_readv(void *io, const struct iovec *parts, int count)
{
    ck_assert_int_eq(count, 1);
    return tls_read(io, parts->iov_base, parts->iov_len);
}

static ssize_t io_writev(void *io, const struct iovec *parts, int count)
{
    return tls_writev(io, parts, count);
}

static bool wants_read;
static void io_want(void *io, bool readable, bool writable)
{
    (void)io;
    (void)writable;
    wants_read = readable;
}

static void io_finish(void *io)
{
    tls_finish(io);
}

static void io_close(void *io)
{
    (void)io;
}

static const struct transport transport = {io_readv, io_writev, io_want, io_finish, io_close, true};

START_TEST(barriers_hold)
{
    struct net net;
    struct stream stream;
    struct buf heard = {0};
    static uint8_t said[100000];
    open_ends(TLS1_3_VERSION);
    shake();
    fill(said, sizeof(said), 0);
    net_init(&net);
    stream_init(&stream, &net, &transport, tls, &events);
    stream_write(&stream, slice_of(said, 1000));
    stream_limit(&stream, 1000);
    stream_write(&stream, slice_of(said + 1000, sizeof(said) - 1000));
    for (int i = 0; i < 10; i++) {
        net_flush_all(&net);
        stream_writable(&stream);
        hear(&heard);
    }
    check_bytes(&heard, 1000);
    stream_limit(&stream, 40000);
    for (int i = 0; i < 100; i++) {
        net_flush_all(&net);
        stream_writable(&stream);
        hear(&heard);
    }
    check_bytes(&heard, 40000);
    stream_limit(&stream, UINT64_MAX);
    stream_close(&stream);
    for (int i = 0; i < 100; i++) {
        net_flush_all(&net);
        stream_writable(&stream);
        hear(&heard);
    }
    check_bytes(&heard, sizeof(said));
    ck_assert(SSL_get_shutdown(client) & SSL_RECEIVED_SHUTDOWN);
    shutdown(ends[1], SHUT_WR);
    stream_readable(&stream);
    ck_assert_int_eq(closed, 1);
    stream_free(&stream);
    net_free(&net);
    close_ends();
    buf_free(&heard);
}
END_TEST

static void wake(void *arg)
{
    ck_assert_int_eq(write(*(int *)arg, "!", 1), 1);
}

/* A writing thread has the connection: nobody reads meanwhile. */
START_TEST(threads_take_turns)
{
    enum { TOTAL = 3000000 };
    struct net net;
    struct stream stream;
    struct buf heard = {0};
    int pipe_ends[2];
    uint8_t *said = mem_alloc(TOTAL);
    size_t put;
    open_ends(TLS1_3_VERSION);
    shake();
    fill(said, TOTAL, 0);
    ck_assert_int_eq(pipe2(pipe_ends, O_NONBLOCK), 0);
    net_init(&net);
    net.carrier = carrier_new(2, wake, &pipe_ends[1]);
    stream_init(&stream, &net, &transport, tls, &events);
    stream_write(&stream, slice_of(said, TOTAL));
    size_t jobs = 0;
    while (heard.len < TOTAL) {
        SSL_write_ex(client, "", 0, &put);
        net_flush_all(&net);
        if (stream.writing) {
            jobs++;
            ck_assert(!wants_read);
            stream_readable(&stream); /* is left for later */
            struct pollfd p = {.fd = pipe_ends[0], .events = POLLIN};
            char byte;
            ck_assert_int_eq(poll(&p, 1, 60000), 1);
            ck_assert_int_eq(read(pipe_ends[0], &byte, 1), 1);
            carrier_collect(net.carrier);
        } else {
            ck_assert(wants_read);
            stream_writable(&stream);
        }
        hear(&heard);
    }
    check_bytes(&heard, TOTAL);
    ck_assert_uint_gt(jobs, 0);
    stream_free(&stream);
    carrier_free(&net.carrier);
    net_free(&net);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
    close_ends();
    buf_free(&heard);
    mem_free(said);
}
END_TEST

/* A connection whose output never ends is read all the same: its acks and heartbeats are in there. */
START_TEST(endless_output_does_not_starve_input)
{
    struct net net;
    struct stream stream;
    struct buf heard = {0};
    static uint8_t zeros[512 * 1024];
    int pipe_ends[2];
    size_t put;
    open_ends(TLS1_3_VERSION);
    shake();
    ck_assert_int_eq(pipe2(pipe_ends, O_NONBLOCK), 0);
    net_init(&net);
    net.carrier = carrier_new(1, wake, &pipe_ends[1]);
    stream_init(&stream, &net, &transport, tls, &events);
    ck_assert_int_eq(SSL_write_ex(client, "hello", 5, &put), 1);
    for (int jobs = 0; stream.received < 5; jobs++) {
        ck_assert_int_lt(jobs, 4);
        stream_write(&stream, slice_of(zeros, sizeof(zeros)));
        net_flush_all(&net);
        for (int i = 0; !stream.writing; i++) { /* only a part of the job before fitted the socket */
            ck_assert_int_lt(i, 100);
            hear(&heard);
            stream_writable(&stream);
        }
        struct pollfd p = {.fd = pipe_ends[0], .events = POLLIN};
        char byte;
        ck_assert_int_eq(poll(&p, 1, 60000), 1);
        ck_assert_int_eq(read(pipe_ends[0], &byte, 1), 1);
        carrier_collect(net.carrier);
    }
    stream_free(&stream);
    carrier_free(&net.carrier);
    net_free(&net);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
    close_ends();
    buf_free(&heard);
}
END_TEST

START_TEST(ends_with_output_waiting)
{
    static const uint8_t zeros[SMALL_BUFFER * 2];
    struct iovec part = {(void *)(uintptr_t)zeros, sizeof(zeros)};
    open_ends(TLS1_3_VERSION);
    shake();
    while (tls_writev(tls, &part, 1) > 0) /* the client reads nothing */
        continue;
    close_ends();
}
END_TEST

/* ---- tickets ---- */

/* What the client may come back with; whether it had come back already. */
static SSL_SESSION *visit(int version, SSL_SESSION *session, bool *came_back)
{
    struct iovec part = {(void *)(uintptr_t)"hello", 5};
    struct buf heard = {0};
    open_client(version, session);
    tls = tls_new(context, ends[0]);
    shake();
    ck_assert_int_eq(tls_writev(tls, &part, 1), 5); /* with TLS 1.3 the ticket goes before it */
    hear(&heard);
    ck_assert_uint_eq(heard.len, 5);
    buf_free(&heard);
    *came_back = SSL_session_reused(client) == 1;
    SSL_SESSION *got = SSL_get1_session(client);
    ck_assert_int_eq(SSL_SESSION_has_ticket(got), 1);
    tls_free(&tls);
    close_client();
    return got;
}

static bool takes(int version, SSL_SESSION *session)
{
    bool taken;
    SSL_SESSION *next = visit(version, session, &taken);
    SSL_SESSION_free(next);
    return taken;
}

/* A ticket is good for those who made it, and for nobody who has the same certificate. */
START_TEST(tickets_are_of_one_start)
{
    bool came_back;
    open_context();
    SSL_SESSION *session = visit(_i, NULL, &came_back);
    ck_assert(!came_back);
    ck_assert(takes(_i, session));
    tls_context_unref(&context);
    open_context();
    ck_assert(!takes(_i, session));
    tls_context_unref(&context);
    SSL_SESSION_free(session);
}
END_TEST

/* A server with the same certificate whose ticket keys are all zero. */
static SSL_CTX *make_impostor(void)
{
    uint8_t keys[256] = {0};
    SSL_CTX *ssl = SSL_CTX_new(TLS_server_method());
    long size = SSL_CTX_set_tlsext_ticket_keys(ssl, NULL, 0);
    ck_assert(size > 0 && (size_t)size <= sizeof(keys));
    ck_assert_int_eq(SSL_CTX_set_tlsext_ticket_keys(ssl, keys, size), 1);
    ck_assert_int_eq(SSL_CTX_use_certificate_file(ssl, path_of("cert.pem"), SSL_FILETYPE_PEM), 1);
    ck_assert_int_eq(SSL_CTX_use_PrivateKey_file(ssl, path_of("key.pem"), SSL_FILETYPE_PEM), 1);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_session_id_context(ssl, (const unsigned char *)"leveret", 7);
    SSL_CTX_set_num_tickets(ssl, 1);
    return ssl;
}

static SSL_SESSION *visit_impostor(int version, SSL_CTX *impostor, SSL_SESSION *session, bool *came_back)
{
    struct buf heard = {0};
    int done = 0, accepted = 0;
    open_client(version, session);
    SSL *ssl = SSL_new(impostor);
    SSL_set_fd(ssl, ends[0]);
    for (int i = 0; i < 100 && (done != 1 || accepted != 1); i++) {
        done = SSL_connect(client);
        accepted = SSL_accept(ssl);
    }
    ck_assert_int_eq(SSL_write(ssl, "hello", 5), 5);
    hear(&heard);
    buf_free(&heard);
    *came_back = SSL_session_reused(client) == 1;
    SSL_SESSION *got = SSL_get1_session(client);
    ck_assert_int_eq(SSL_SESSION_has_ticket(got), 1);
    SSL_free(ssl);
    close_client();
    return got;
}

START_TEST(no_ticket_of_a_key_of_zeros)
{
    bool came_back;
    SSL_CTX *impostor = make_impostor();
    SSL_SESSION *session = visit_impostor(_i, impostor, NULL, &came_back);
    SSL_SESSION *next = visit_impostor(_i, impostor, session, &came_back);
    ck_assert(came_back); /* it is a ticket, and would be taken by one that has such a key */
    open_context();
    ck_assert(!takes(_i, session));
    tls_context_unref(&context);
    SSL_SESSION_free(session);
    SSL_SESSION_free(next);
    SSL_CTX_free(impostor);
}
END_TEST

/* ---- what a certificate says ---- */

START_TEST(texts_of_a_certificate)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x509 = make_certificate(key, "DNS:a.example.com,IP:192.0.2.7,email:me@example.com,DNS:b,URI:urn:x,"
                                 "IP:2001:db8::1,otherName:1.2.3.4;UTF8:other");
    struct certificate *c = certificate_new(x509);
    ck_assert_str_eq(c->subject, "CN=guest,O=Hase\\, Igel & Co,C=DE");
    ck_assert_str_eq(c->issuer, c->subject);
    ck_assert_str_eq(c->common_name, "guest");
    ck_assert_str_eq(c->serial, "ABCDEF");
    ck_assert_uint_eq(c->san_count, 7);
    ck_assert_str_eq(certificate_san(c, SAN_DNS, 0), "a.example.com");
    ck_assert_str_eq(certificate_san(c, SAN_DNS, 1), "b");
    ck_assert_ptr_null(certificate_san(c, SAN_DNS, 2));
    ck_assert_str_eq(certificate_san(c, SAN_IP, 0), "192.0.2.7");
    ck_assert_str_eq(certificate_san(c, SAN_IP, 1), "2001:db8::1");
    ck_assert_str_eq(certificate_san(c, SAN_EMAIL, 0), "me@example.com");
    ck_assert_str_eq(certificate_san(c, SAN_URI, 0), "urn:x");
    ck_assert_str_eq(certificate_san(c, SAN_OTHER, 0), "other");
    certificate_free(&c);
    ck_assert_ptr_null(c);
    certificate_free(&c);
    X509_free(x509);
    EVP_PKEY_free(key);
}
END_TEST

/* Names that try to be somebody else's. */
START_TEST(tricks_in_a_certificate)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x509 = make_certificate(key, NULL);
    add_name(X509_get_subject_name(x509), "CN", "zweite", -1);
    struct certificate *c = certificate_new(x509);
    ck_assert_str_eq(c->common_name, "guest,zweite"); /* as RabbitMQ joins them */
    certificate_free(&c);
    add_name(X509_get_subject_name(x509), "CN", "admin\0.example.com", 18);
    c = certificate_new(x509);
    ck_assert_str_eq(c->common_name, "");
    certificate_free(&c);
    X509_free(x509);
    struct buf sans = {0};
    for (int i = 0; i <= CERTIFICATE_SANS_MAX; i++)
        buf_printf(&sans, "%sDNS:n%d", i ? "," : "", i);
    buf_append(&sans, "", 1);
    x509 = make_certificate(key, (const char *)sans.at);
    ck_assert_ptr_null(certificate_new(x509));
    X509_free(x509);
    x509 = make_certificate(key, NULL);
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_IA5STRING *text = ASN1_IA5STRING_new();
    ck_assert_int_eq(ASN1_STRING_set(text, "admin\0.example.com", 18), 1);
    GENERAL_NAME_set0_value(name, GEN_DNS, text);
    sk_GENERAL_NAME_push(names, name);
    ck_assert_int_eq(X509_add1_ext_i2d(x509, NID_subject_alt_name, names, 0, X509V3_ADD_REPLACE), 1);
    GENERAL_NAMES_free(names);
    c = certificate_new(x509);
    ck_assert_str_eq(certificate_san(c, SAN_DNS, 0), "");
    certificate_free(&c);
    X509_free(x509);
    sans.len = 0; /* few, but long */
    for (int i = 0; i < 20; i++)
        buf_printf(&sans, "%sDNS:%0*d", i ? "," : "", CERTIFICATE_TEXT_MAX / 20, i);
    buf_append(&sans, "", 1);
    x509 = make_certificate(key, (const char *)sans.at);
    ck_assert_ptr_null(certificate_new(x509));
    buf_free(&sans);
    X509_free(x509);
    EVP_PKEY_free(key);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tls");
    TCase *tcase = tcase_create("tls");
    tcase_add_unchecked_fixture(tcase, make_files, remove_files);
    tcase_add_loop_test(tcase, versions_and_ciphers, TLS1_2_VERSION, TLS1_3_VERSION + 1);
    tcase_add_loop_test(tcase, reads_what_came, TLS1_2_VERSION, TLS1_3_VERSION + 1);
    tcase_add_test(tcase, ends_of_the_peer);
    tcase_add_test(tcase, rubbish_is_an_error);
    tcase_add_test(tcase, small_parts_fill_records);
    tcase_add_loop_test(tcase, short_writes, TLS1_2_VERSION, TLS1_3_VERSION + 1);
    tcase_add_test(tcase, barriers_hold);
    tcase_add_test(tcase, threads_take_turns);
    tcase_add_test(tcase, endless_output_does_not_starve_input);
    tcase_add_test(tcase, ends_with_output_waiting);
    tcase_add_loop_test(tcase, tickets_are_of_one_start, TLS1_2_VERSION, TLS1_3_VERSION + 1);
    tcase_add_loop_test(tcase, no_ticket_of_a_key_of_zeros, TLS1_2_VERSION, TLS1_3_VERSION + 1);
    tcase_add_test(tcase, texts_of_a_certificate);
    tcase_add_test(tcase, tricks_in_a_certificate);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
