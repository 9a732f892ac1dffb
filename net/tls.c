/* tls.c - the server's end of one TLS connection.
 *
 * Owner: the arrival, then the tcp that carries it.
 *
 * OpenSSL does not see the socket, but two functions here, so that a turn costs one recv and one send
 * however many records there are:
 *   in:  recv puts ciphertext into the reader's buffer, SLACK behind where its plaintext goes; records are
 *        taken from there and decrypted to the front. Plaintext is shorter, so it never catches up.
 *   out: up to eight full records are sealed into borrowed memory, then sent. What the socket does not take
 *        is kept in memory of its own (`out`), and the plaintext of it counts as not written (`ahead`).
 * What OpenSSL itself has to say (handshake, tickets, alerts) goes to `out` too, in front.
 *
 * Failure modes: after an error of OpenSSL a connection is of no use; reads and writes say -EPROTO. So they
 * do when a client sends little but records without data: a change of keys has 27 octets and takes 30 us, and
 * a turn's read of them would hold up everybody for a quarter of a second. */
#include "net/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/assert.h"
#include "base/buf.h"
#include "base/mem.h"
#include "net/certificate.h"

enum {
    RECORD = 16384,         /* plaintext of a full record */
    RECORDS_MAX = 8,        /* sealed before they are sent */
    SLACK = 40 * 1024,      /* more than two records */
    CONTROL_MAX = 16384,    /* of TLS's own may wait to be sent; then OpenSSL waits */
    BARE_MAX = 64,          /* records without data that a client may send ... */
    BARE_BYTES = 64 * 1024, /* ... and one more for so much data */
    REASON_SIZE = 256,
};
static_assert(RECORDS_MAX * (RECORD + 512) <= sizeof(((struct tls_scratch *)0)->cipher), "they fit");
static_assert(TLS_READ_MIN >= SLACK + 1024, "room behind the slack");
static_assert(SLACK >= 2 * (RECORD + 2048 + 5), "a record kept from before and a whole one");

struct tls {
    SSL *ssl;
    struct tls_context *context;
    int fd;
    bool direct;                  /* handshake: records are taken from the socket */
    bool ended, finishing, finished;
    int error;                    /* of the socket or -EPROTO; 0 = none */
    struct slice in;              /* ciphertext received and not taken, only within tls_read */
    struct tls_scratch *sealing;  /* only within tls_writev */
    struct buf out;               /* ciphertext to send, from out_at on */
    size_t out_at;
    size_t ahead;                 /* plaintext whose records wait in `out` */
    size_t bare, credit;          /* records without data that may still come; data towards one more */
    char reason[REASON_SIZE];
};

struct tls *tls_new(struct tls_context *context, int fd)
{
    struct tls *tls = mem_zalloc(sizeof(*tls));
    tls->fd = fd;
    tls->direct = true;
    tls->bare = BARE_MAX;
    tls->ssl = tls_context_session(context, tls);
    if (!tls->ssl) {
        mem_free(tls);
        return NULL;
    }
    tls->context = tls_context_ref(context);
    return tls;
}

void tls_free(struct tls **tls_at)
{
    struct tls *tls = *tls_at;
    *tls_at = NULL;
    if (!tls)
        return;
    assert(tls->sealing == NULL && tls->in.len == 0);
    SSL_free(tls->ssl);
    tls_context_unref(&tls->context);
    buf_free(&tls->out);
    mem_free(tls);
}

/* ---- the socket ---- */

static ssize_t receive(struct tls *tls, void *bytes, size_t size)
{
    ssize_t got = recv(tls->fd, bytes, size, 0);
    if (got >= 0)
        return got;
    return errno == EINTR || errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

/* Sends what it can; returns how much, or -errno other than -EAGAIN. */
static ssize_t send_some(struct tls *tls, const uint8_t *bytes, size_t size)
{
    size_t sent = 0;
    while (sent < size) {
        ssize_t put = send(tls->fd, bytes + sent, size - sent, MSG_NOSIGNAL);
        if (put >= 0)
            sent += (size_t)put;
        else if (errno == EWOULDBLOCK)
            break;
        else if (errno != EINTR)
            return -errno;
    }
    return (ssize_t)sent;
}

/* Sends what waits. 0, -EAGAIN when some is left, other -errno. */
static int send_out(struct tls *tls)
{
    if (tls->out.len == tls->out_at)
        return 0;
    ssize_t sent = send_some(tls, tls->out.at + tls->out_at, tls->out.len - tls->out_at);
    if (sent < 0)
        return (int)sent;
    tls->out_at += (size_t)sent;
    if (tls->out_at < tls->out.len)
        return -EAGAIN;
    buf_free(&tls->out); /* an idle connection has none */
    tls->out_at = 0;
    return 0;
}

/* ---- what OpenSSL calls ---- */

ssize_t tls_take(void *arg, void *bytes, size_t size)
{
    struct tls *tls = arg;
    if (tls->direct)
        return receive(tls, bytes, size);
    size_t take = size < tls->in.len ? size : tls->in.len;
    if (take == 0)
        return -EAGAIN;
    memcpy(bytes, tls->in.at, take);
    tls->in = slice_of(tls->in.at + take, tls->in.len - take);
    return (ssize_t)take;
}

ssize_t tls_put(void *arg, const void *bytes, size_t size)
{
    struct tls *tls = arg;
    struct tls_scratch *scratch = tls->sealing;
    if (scratch) {
        assertf(size <= sizeof(scratch->cipher) - scratch->sealed, "%zu bytes behind %zu", size,
                scratch->sealed);
        memcpy(scratch->cipher + scratch->sealed, bytes, size);
        scratch->sealed += size;
        return (ssize_t)size;
    }
    if (tls->out.len - tls->out_at > CONTROL_MAX)
        return -EAGAIN;
    buf_append(&tls->out, bytes, size);
    return (ssize_t)size;
}

/* ---- handshake ---- */

static void note_reason(struct tls *tls, int code)
{
    unsigned long error = ERR_peek_error();
    const char *reason = ERR_reason_error_string(error);
    long verified = SSL_get_verify_result(tls->ssl);
    if (code == SSL_ERROR_SYSCALL || code == SSL_ERROR_ZERO_RETURN ||
        ERR_GET_REASON(error) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
        snprintf(tls->reason, sizeof(tls->reason), "the client closed during the handshake");
    else if (verified != X509_V_OK && ERR_GET_REASON(error) == SSL_R_CERTIFICATE_VERIFY_FAILED)
        snprintf(tls->reason, sizeof(tls->reason), "the client's certificate is refused: %s",
                 X509_verify_cert_error_string(verified));
    else
        snprintf(tls->reason, sizeof(tls->reason), "%s", reason ? reason : "OpenSSL does not say why");
}

enum tls_status tls_handshake(struct tls *tls)
{
    assert(tls->direct && tls->sealing == NULL);
    int status = send_out(tls);
    while (status == 0) {
        ERR_clear_error();
        int result = SSL_do_handshake(tls->ssl);
        int code = result == 1 ? SSL_ERROR_NONE : SSL_get_error(tls->ssl, result);
        if (code != SSL_ERROR_NONE && code != SSL_ERROR_WANT_READ && code != SSL_ERROR_WANT_WRITE)
            note_reason(tls, code);
        status = send_out(tls); /* an alert too */
        if (code == SSL_ERROR_NONE) {
            tls->direct = false;
            assert(SSL_is_init_finished(tls->ssl));
            /* A ticket that is not sent yet goes out with what is written. */
            return status == 0 || status == -EAGAIN ? TLS_DONE : TLS_FAILED;
        }
        if (tls->reason[0])
            return TLS_FAILED;
        if (code == SSL_ERROR_WANT_READ)
            return status == 0 ? TLS_READ : status == -EAGAIN ? TLS_WRITE : TLS_FAILED;
    }
    if (status == -EAGAIN)
        return TLS_WRITE;
    snprintf(tls->reason, sizeof(tls->reason), "%s", strerror(-status));
    return TLS_FAILED;
}

const char *tls_reason(const struct tls *tls)
{
    return tls->reason[0] ? tls->reason : "the client closed during the handshake";
}

struct certificate *tls_certificate(const struct tls *tls)
{
    X509 *x509 = SSL_get1_peer_certificate(tls->ssl);
    bool verified = x509 && SSL_get_verify_result(tls->ssl) == X509_V_OK &&
                    (SSL_get_verify_mode(tls->ssl) & SSL_VERIFY_PEER);
    struct certificate *certificate = verified ? certificate_new(x509) : NULL;
    X509_free(x509);
    return certificate;
}

const char *tls_version(const struct tls *tls)
{
    return SSL_get_version(tls->ssl);
}

const char *tls_cipher(const struct tls *tls)
{
    return SSL_get_cipher_name(tls->ssl);
}

/* ---- reading ---- */

/* Data has been read: some more records without any may come. */
static void trust(struct tls *tls, size_t plain)
{
    tls->credit += plain;
    size_t more = tls->credit / BARE_BYTES, most = BARE_MAX - tls->bare;
    tls->credit %= BARE_BYTES;
    tls->bare += more < most ? more : most;
}

/* Decrypts what `in` has to the front of `bytes`; returns how much. Notes an end or an error. */
static size_t open_records(struct tls *tls, uint8_t *bytes)
{
    size_t plain = 0;
    for (;;) {
        size_t room = (size_t)(tls->in.at - (bytes + plain)), got = 0;
        assertf(room >= RECORD, "%zu bytes before the ciphertext", room);
        ERR_clear_error();
        if (SSL_read_ex(tls->ssl, bytes + plain, RECORD, &got) == 1) {
            assert(got > 0 && got <= RECORD);
            plain += got;
            trust(tls, got);
            continue;
        }
        int code = SSL_get_error(tls->ssl, 0);
        if (code == SSL_ERROR_ZERO_RETURN)
            tls->ended = true;
        else if (code != SSL_ERROR_WANT_READ) /* also who asks for new keys and does not read the answers */
            tls->error = -EPROTO;
        /* Without SSL_MODE_AUTO_RETRY a record without data (a key update) ends a read. */
        if (tls->ended || tls->error || tls->in.len == 0)
            return plain;
        if (tls->bare == 0) {
            tls->error = -EPROTO;
            return plain;
        }
        tls->bare--;
    }
}

ssize_t tls_read(struct tls *tls, void *bytes, size_t size)
{
    uint8_t *front = bytes;
    assert(size >= TLS_READ_MIN && !tls->direct && tls->sealing == NULL);
    if (tls->error || tls->ended)
        return tls->error;
    ssize_t got = receive(tls, front + SLACK, size - SLACK);
    if (got <= 0)
        return got;
    tls->in = slice_of(front + SLACK, (size_t)got);
    size_t plain = open_records(tls, front);
    tls->in = (struct slice){0};
    int status = send_out(tls); /* answers, or the alert that says what was wrong */
    if (status < 0 && status != -EAGAIN && !tls->error)
        tls->error = status;
    if (plain > 0)
        return (ssize_t)plain;
    return tls->error ? tls->error : tls->ended ? 0 : -EAGAIN;
}

bool tls_has_news(const struct tls *tls)
{
    return tls->ended || tls->error;
}

/* ---- writing ---- */

/* Where a writev is in its parts. */
struct place {
    const struct iovec *part, *end;
    size_t offset;
};

/* Steps over at most `size` bytes, copying them to `to` if it is not NULL; returns how many. */
static size_t pass(struct place *place, size_t size, uint8_t *to)
{
    size_t passed = 0;
    while (passed < size && place->part < place->end) {
        size_t left = place->part->iov_len - place->offset;
        size_t take = left < size - passed ? left : size - passed;
        if (to)
            memcpy(to + passed, (const uint8_t *)place->part->iov_base + place->offset, take);
        passed += take;
        place->offset += take;
        if (place->offset == place->part->iov_len) {
            place->part++;
            place->offset = 0;
        }
    }
    return passed;
}

/* The next record's plaintext: where it lies if it is a whole record, else put together. */
static struct slice next_record(struct place *place, uint8_t *room)
{
    if (place->part->iov_len - place->offset >= RECORD) {
        const uint8_t *at = (const uint8_t *)place->part->iov_base + place->offset;
        return slice_of(at, pass(place, RECORD, NULL));
    }
    return slice_of(room, pass(place, RECORD, room));
}

/* Seals up to RECORDS_MAX records; returns how much plaintext. */
static size_t seal(struct tls *tls, struct tls_scratch *scratch, struct place *place)
{
    size_t sealed = 0;
    tls->sealing = scratch;
    scratch->sealed = 0;
    for (int i = 0; i < RECORDS_MAX && place->part < place->end && !tls->error; i++) {
        struct slice plain = next_record(place, scratch->plain);
        size_t taken = 0;
        if (plain.len == 0)
            break;
        ERR_clear_error();
        if (SSL_write_ex(tls->ssl, plain.at, plain.len, &taken) != 1)
            tls->error = -EPROTO;
        assert(tls->error || taken == plain.len);
        sealed += taken;
    }
    tls->sealing = NULL;
    return sealed;
}

/* Sends what was sealed and keeps what the socket does not take. 0, -EAGAIN or other -errno. */
static int send_sealed(struct tls *tls, const struct tls_scratch *scratch)
{
    assert(tls->out.len == tls->out_at);
    ssize_t sent = send_some(tls, scratch->cipher, scratch->sealed);
    if (sent < 0)
        return (int)sent;
    if ((size_t)sent == scratch->sealed)
        return 0;
    buf_append(&tls->out, scratch->cipher + sent, scratch->sealed - (size_t)sent);
    return -EAGAIN;
}

ssize_t tls_writev(struct tls *tls, const struct iovec *parts, int count)
{
    assert(count > 0 && !tls->direct && !tls->finishing);
    int status = tls->error ? tls->error : send_out(tls);
    if (status < 0)
        return status;
    struct place place = {parts, parts + count, 0};
    size_t done = pass(&place, tls->ahead, NULL);
    tls->ahead = 0;
    struct tls_scratch *scratch = tls_context_borrow(tls->context);
    while (status == 0 && place.part < place.end) {
        size_t sealed = seal(tls, scratch, &place);
        status = tls->error ? tls->error : send_sealed(tls, scratch);
        if (status == 0)
            done += sealed;
        else if (status == -EAGAIN)
            tls->ahead = sealed;
    }
    tls_context_give(tls->context, &scratch);
    return done > 0 ? (ssize_t)done : status;
}

bool tls_wants_write(const struct tls *tls)
{
    return tls->out.len > tls->out_at && tls->ahead == 0;
}

static void shut(struct tls *tls)
{
    tls->finished = true;
    /* Fails only when the peer is gone already, which the next read tells. */
    (void)shutdown(tls->fd, SHUT_WR);
}

void tls_flush(struct tls *tls)
{
    int status = send_out(tls);
    if (status < 0 && status != -EAGAIN) {
        tls->error = status;
        buf_free(&tls->out);
        tls->out_at = 0;
    }
    if (tls->finishing && !tls->finished && status != -EAGAIN)
        shut(tls);
}

void tls_finish(struct tls *tls)
{
    assert(tls->ahead == 0 && tls->sealing == NULL);
    tls->finishing = true;
    ERR_clear_error();
    if (!tls->error)
        (void)SSL_shutdown(tls->ssl); /* only says close_notify; the peer's is not waited for */
    tls_flush(tls);
}
