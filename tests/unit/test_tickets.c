/* test_tickets.c - whose tickets a server takes: its own, and nobody else's. */
#include "tests/unit/tls_world.h"

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

int main(void)
{
    Suite *suite = suite_create("tickets");
    TCase *tcase = tcase_create("tickets");
    tcase_add_unchecked_fixture(tcase, make_files, remove_files);
    tcase_add_loop_test(tcase, tickets_are_of_one_start, TLS1_2_VERSION, TLS1_3_VERSION + 1);
    tcase_add_loop_test(tcase, no_ticket_of_a_key_of_zeros, TLS1_2_VERSION, TLS1_3_VERSION + 1);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
