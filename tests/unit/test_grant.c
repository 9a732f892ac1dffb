/* test_grant.c - scopes with wildcards, tokens from end to end, and how guessing gets slow. */
#include <check.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "auth/backend.h"
#include "auth/grant.h"
#include "auth/oauth2.h"
#include "auth/token.h"
#include "base/mem.h"
#include "broker/guard.h"
#include "tests/unit/suite.h"

static bool wild(const char *pattern, const char *text)
{
    return wildcard_matches(slice_of_string(pattern), slice_of_string(text));
}

START_TEST(wildcards)
{
    ck_assert(wild("*", "") && wild("*", "any") && wild("", "") && !wild("", "x"));
    ck_assert(wild("a*c", "ac") && wild("a*c", "abbc") && !wild("a*c", "acb") && !wild("a*c", "ca"));
    ck_assert(wild("*ab", "abab") && wild("**a**", "a") && wild("a*b*c", "a-b-b-c"));
    ck_assert(wild("%2F", "/") && wild("%2f", "/") && wild("%2A", "*") && !wild("%2A", "x"));
    ck_assert(!wild("%2", "%2") && !wild("%zz", "z") && wild("a+b", "a b"));
    char many[256], text[256];
    memset(many, '*', sizeof(many) - 1), memset(text, 'a', sizeof(text) - 1);
    many[254] = 'b', many[255] = text[255] = 0;
    for (int i = 0; i < 254; i += 2)
        many[i] = 'a';
    ck_assert(!wild(many, text)); /* and it ends */
}
END_TEST

START_TEST(scopes)
{
    struct grant *grant = grant_new();
    const char *const texts[] = {"read:v*/q*", "write:%2F/amq.topic/a.*", "configure:{vhost}/{vhost}-*",
                                 "read", "read:", "read:v", "read:a/b/c/d", "own:*/*", ""};
    for (size_t i = 0; i < array_size(texts); i++)
        ck_assert(grant_add(grant, slice_of_string(texts[i])));
    ck_assert_uint_eq(grant->scope_count, 3);
    ck_assert(grant_allows_vhost(grant, SLICE("v1")) && grant_allows_vhost(grant, SLICE("/")));
    ck_assert(grant_allows(grant, ACCESS_READ, SLICE("v1"), SLICE("q")));
    ck_assert(!grant_allows(grant, ACCESS_WRITE, SLICE("v1"), SLICE("q")));
    ck_assert(!grant_allows(grant, ACCESS_READ, SLICE("w"), SLICE("q")));
    ck_assert(grant_allows(grant, ACCESS_WRITE, SLICE("/"), SLICE("amq.topic")));
    ck_assert(grant_allows_key(grant, ACCESS_WRITE, SLICE("/"), SLICE("amq.topic"), SLICE("a.b")));
    ck_assert(!grant_allows_key(grant, ACCESS_WRITE, SLICE("/"), SLICE("amq.topic"), SLICE("b.a")));
    ck_assert(!grant_allows_key(grant, ACCESS_READ, SLICE("v1"), SLICE("q"), SLICE("a")));
    ck_assert(grant_allows(grant, ACCESS_CONFIGURE, SLICE("x*y"), SLICE("x*y-1")));
    ck_assert(!grant_allows(grant, ACCESS_CONFIGURE, SLICE("x*y"), SLICE("xzy-1"))); /* no star of its own */
    for (int i = 0; i < GRANT_SCOPES_MAX - 3; i++)
        ck_assert(grant_add(grant, SLICE("read:*/*")));
    ck_assert(!grant_add(grant, SLICE("read:*/*")));
    grant_drop(&grant);
}
END_TEST

/* --- tokens, signed here --- */

static EVP_PKEY *key;
static struct jwk_set keys;
static char reason[200];

static void make_key(void)
{
    char path[] = "/tmp/leveret-key-XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    key = EVP_EC_gen("P-256");
    FILE *file = fdopen(fd, "w");
    ck_assert_int_eq(PEM_write_PUBKEY(file, key), 1);
    fclose(file);
    jwk_set_init(&keys, 1);
    ck_assert_msg(jwk_add_pem_file(&keys, SLICE("k"), path, reason, sizeof(reason)), "%s", reason);
    ck_assert(!jwk_add_pem_file(&keys, SLICE("k"), "/dev/null", reason, sizeof(reason)));
    unlink(path);
}

static void drop_key(void)
{
    jwk_set_free(&keys);
    EVP_PKEY_free(key);
}

static void add_base64(struct buf *out, const void *bytes, size_t size)
{
    unsigned char text[64 * 1024];
    ck_assert_uint_lt(size, sizeof(text) / 2);
    int len = EVP_EncodeBlock(text, bytes, (int)size);
    for (int i = 0; i < len && text[i] != '='; i++)
        buf_append(out, text[i] == '+' ? "-" : text[i] == '/' ? "_" : (char *)&text[i], 1);
}

/* The two numbers in a DER signature, 32 bytes each. */
static void cut_signature(const unsigned char *der, unsigned char raw[64])
{
    size_t at = 2;
    memset(raw, 0, 64);
    for (int i = 0; i < 2; i++) {
        size_t size = der[at + 1];
        const unsigned char *from = der + at + 2;
        for (; size > 32; size--)
            from++;
        memcpy(raw + 32 * i + (32 - size), from, size);
        at += 2u + der[at + 1];
    }
}

static struct buf make_token(const char *head, const char *payload)
{
    struct buf token = {0};
    unsigned char der[200], raw[64];
    size_t size = sizeof(der);
    add_base64(&token, head, strlen(head));
    buf_append(&token, ".", 1);
    add_base64(&token, payload, strlen(payload));
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    ck_assert_int_eq(EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key), 1);
    ck_assert_int_eq(EVP_DigestSign(context, der, &size, token.at, token.len), 1);
    EVP_MD_CTX_free(context);
    cut_signature(der, raw);
    buf_append(&token, ".", 1);
    add_base64(&token, raw, sizeof(raw));
    return token;
}

static const struct token_rules rules = {.resource_server_id = "r",
                                         .scope_prefix = "r.",
                                         .default_key = "",
                                         .username_claims = "nick,sub",
                                         .additional_scopes = "roles extra.deep",
                                         .verify_aud = true,
                                         .require_exp = true};

static enum token_result verify(const char *head, const char *payload, struct token_claims *claims)
{
    struct buf token = make_token(head, payload);
    enum token_result result =
        token_verify(buf_slice(&token), &rules, &keys, 1000, claims, reason, sizeof(reason));
    buf_free(&token);
    return result;
}

#define HEAD "{\"alg\":\"ES256\",\"kid\":\"k\"}"

START_TEST(good_tokens)
{
    struct token_claims claims;
    ck_assert_msg(verify(HEAD,
                         "{\"aud\":\"x r\",\"exp\":1001.5,\"sub\":\"me*\","
                         "\"scope\":\"r.read:*/{sub} s.read:*/*\","
                         "\"roles\":[\"r.tag:administrator\",\"r.tag:x\",7],"
                         "\"extra\":[{\"deep\":\"r.write:*/*\"},1]}",
                         &claims) == TOKEN_GOOD,
                  "%s", reason);
    ck_assert(slice_is(claims.user, "me*") && slice_is(claims.tags, "administrator,x"));
    ck_assert_uint_eq(claims.grant->expires_s, 1001);
    ck_assert_uint_eq(claims.grant->scope_count, 2);
    ck_assert(grant_allows(claims.grant, ACCESS_READ, SLICE("v"), SLICE("me*")));
    ck_assert(!grant_allows(claims.grant, ACCESS_READ, SLICE("v"), SLICE("mexico")));
    ck_assert(grant_allows(claims.grant, ACCESS_WRITE, SLICE("v"), SLICE("any")));
    slice_free(&claims.user);
    slice_free(&claims.tags);
    grant_drop(&claims.grant);
}
END_TEST

START_TEST(refused_tokens)
{
    static const char *const payloads[] = {
        "{\"aud\":\"r\",\"exp\":1000}", "{\"aud\":\"r\",\"exp\":-5}", "{\"aud\":\"r\"}",
        "{\"aud\":\"rr\",\"exp\":2000}", "{\"aud\":{},\"exp\":2000}", "{\"exp\":2000}",
        "{\"aud\":\"r\",\"exp\":2000,\"nbf\":1061}",
        "{\"aud\":\"r\",\"exp\":2000,\"nbf\":\"1\"}", "{\"aud\":\"r\",\"exp\":2000,\"sub\":\"\"}",
        "[]", "", "{\"aud\":\"r\",\"exp\":2000,\"exp\":3000}"};
    static const char *const heads[] = {
        "{\"alg\":\"none\",\"kid\":\"k\"}", "{\"alg\":\"HS256\",\"kid\":\"k\"}",
        "{\"alg\":\"RS256\",\"kid\":\"k\"}",
        "{\"alg\":\"ES384\",\"kid\":\"k\"}", "{\"kid\":\"k\"}", "{\"alg\":1}", "{}", "null", ""};
    struct token_claims claims;
    for (size_t i = 0; i < array_size(payloads); i++)
        ck_assert_msg(verify(HEAD, payloads[i], &claims) == TOKEN_BAD && !claims.grant, "%s", payloads[i]);
    for (size_t i = 0; i < array_size(heads); i++)
        ck_assert_msg(verify(heads[i], "{\"aud\":\"r\",\"exp\":2000}", &claims) == TOKEN_BAD, "%s", heads[i]);
    struct buf many = {0};
    buf_printf(&many, "{\"aud\":\"r\",\"exp\":2000,\"sub\":\"me\",\"scope\":\"r.tag:administrator");
    for (int i = 0; i <= GRANT_SCOPES_MAX; i++)
        buf_printf(&many, " r.read:v/%d", i);
    buf_append(&many, "\"}", 3);
    ck_assert(verify(HEAD, (const char *)many.at, &claims) == TOKEN_BAD && !claims.grant);
    ck_assert_str_eq(reason, "the token has more than 2048 scopes");
    buf_free(&many);
    ck_assert(verify("{\"alg\":\"ES256\",\"kid\":\"z\"}", "{}", &claims) == TOKEN_KEY_MISSING);
    ck_assert_str_eq(reason, "the token's key 'z' is not known");
    ck_assert(verify("{\"alg\":\"ES256\"}", "{}", &claims) == TOKEN_KEY_MISSING);
}
END_TEST

/* Every cut and every changed byte of a good token is refused. */
START_TEST(damaged_tokens)
{
    struct token_claims claims;
    struct buf token = make_token(HEAD, "{\"aud\":\"r\",\"exp\":2000}");
    for (size_t len = 0; len < token.len; len++) {
        uint8_t *exact = malloc(len ? len : 1);
        memcpy(exact, token.at, len);
        ck_assert(token_verify(slice_of(exact, len), &rules, &keys, 1000, &claims, reason, sizeof(reason)) !=
                  TOKEN_GOOD);
        free(exact);
    }
    for (size_t i = 0; i < token.len; i++) {
        uint8_t old = token.at[i];
        token.at[i] = old == 'A' ? 'B' : 'A';
        ck_assert(token_verify(buf_slice(&token), &rules, &keys, 1000, &claims, reason, sizeof(reason)) !=
                  TOKEN_GOOD);
        token.at[i] = old;
    }
    buf_free(&token);
}
END_TEST

START_TEST(key_sets)
{
    static const char *const bad[] = {
        "", "[]", "{}", "{\"keys\":[]}", "{\"keys\":{}}",
        "{\"keys\":[{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}]}",
        "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}", "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\"}]}",
        ("{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\","
         "\"y\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}]}")};
    for (size_t i = 0; i < array_size(bad); i++)
        ck_assert_msg(!jwk_set_load(&keys, slice_of_string(bad[i]), reason, sizeof(reason)), "%s", bad[i]);
    ck_assert_ptr_nonnull(jwk_find(&keys, SLICE("k"))); /* what there was is kept */
    struct buf many = {0};
    buf_printf(&many, "{\"keys\":[");
    for (int i = 0; i < 300; i++)
        buf_printf(&many, "%s{\"kty\":\"EC\",\"crv\":\"P-256\",\"kid\":\"k%d\",\"x\":"
                          "\"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY\",\"y\":"
                          "\"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU\"}",
                   i ? "," : "", i);
    buf_printf(&many, "]}");
    ck_assert(jwk_set_load(&keys, buf_slice(&many), reason, sizeof(reason)));
    ck_assert_uint_eq(keys.by_id.size, 256);
    ck_assert(jwk_find(&keys, SLICE("k255")) && !jwk_find(&keys, SLICE("k256")));
    buf_free(&many);
}
END_TEST

/* --- several resource servers, aliases, authorization_details --- */

static void drop(struct token_claims *claims)
{
    slice_free(&claims->user);
    slice_free(&claims->tags);
    grant_drop(&claims->grant);
}

/* The rights of a payload under these rules, as a token that was signed says them. */
static struct token_claims claims_of(const struct token_rules *with, const char *payload)
{
    struct token_claims claims;
    struct buf token = make_token(HEAD, payload);
    ck_assert_msg(token_verify(buf_slice(&token), with, &keys, 1000, &claims, reason,
                               sizeof(reason)) == TOKEN_GOOD,
                  "%s", reason);
    buf_free(&token);
    return claims;
}

START_TEST(scope_aliases)
{
    static const struct token_alias aliases[] = {{"admin", "r.tag:administrator r.read:v/q"},
                                                 {"api://x.dev", "admin r.write:v/q s.read:*/*"},
                                                 {"admin", "r.configure:v/q"}};
    struct token_rules with = rules;
    with.aliases = aliases;
    with.alias_count = array_size(aliases);
    struct token_claims claims = claims_of(
        &with, "{\"aud\":\"r\",\"exp\":2000,\"scope\":\"admin x\",\"roles\":\"api://x.dev\"}");
    ck_assert(slice_is(claims.tags, "administrator"));
    ck_assert_uint_eq(claims.grant->scope_count,
                      3); /* an alias in an alias is none: no tag twice */
    ck_assert(grant_allows(claims.grant, ACCESS_CONFIGURE, SLICE("v"), SLICE("q")));
    ck_assert(!grant_allows(claims.grant, ACCESS_READ, SLICE("v"), SLICE("x")));
    drop(&claims);
    claims = claims_of(&with, "{\"aud\":\"r\",\"exp\":2000,\"scope\":\"administrator r.admin\"}");
    ck_assert_uint_eq(claims.grant->scope_count, 0);
    drop(&claims);
}
END_TEST

/* {"id": scopes without the prefix}, where scopes hang from the resource server. */
START_TEST(scopes_by_server)
{
    struct token_claims claims = claims_of(
        &rules,
        "{\"aud\":\"r\",\"exp\":2000,\"roles\":{\"r\":[\"read:a/b\",\"tag:t\"],\"s\":\"read:*/*\"},"
        "\"extra\":{\"deep\":{\"r\":\"write:a/b configure:a/b\"}}}");
    ck_assert_uint_eq(claims.grant->scope_count, 3);
    ck_assert(slice_is(claims.tags, "t") &&
              !grant_allows(claims.grant, ACCESS_READ, SLICE("x"), SLICE("y")));
    drop(&claims);
}
END_TEST

START_TEST(authorization_details)
{
    struct token_rules with = rules;
    static const char details[] =
        "{\"aud\":\"r\",\"exp\":2000,\"authorization_details\":["
        "{\"type\":\"rabbitmq\",\"locations\":[\"cluster:r/vhost:v/queue:q*\",\"cluster:*/vhost:w/"
        "exchange:x/"
        "routing-key:k.*\",\"vhost:z\",\"cluster:other/vhost:z\",\"cluster:r/vhost:z/queue:a/"
        "exchange:b\",7],"
        "\"actions\":[\"read\",\"administrator\",\"dance\"]},"
        "{\"type\":\"rabbitmq\",\"locations\":\"cluster:r\",\"actions\":\"write\"},"
        "{\"type\":\"else\",\"locations\":\"cluster:r\",\"actions\":\"configure\"},"
        "{\"type\":\"rabbitmq\"},\"x\",{}]}";
    struct token_claims claims = claims_of(&with, details);
    ck_assert_uint_eq(claims.grant->scope_count, 0); /* no resource_server_type, no details */
    drop(&claims);
    with.server_type = "rabbitmq";
    claims = claims_of(&with, details);
    const struct grant *grant = claims.grant;
    ck_assert(slice_is(claims.tags, "administrator"));
    ck_assert(grant_allows(grant, ACCESS_READ, SLICE("v"), SLICE("q1")));
    ck_assert(!grant_allows(grant, ACCESS_READ, SLICE("v"), SLICE("x")));
    ck_assert(!grant_allows(grant, ACCESS_READ, SLICE("z"), SLICE("a")));
    ck_assert(!grant_allows(grant, ACCESS_CONFIGURE, SLICE("v"), SLICE("q1")));
    ck_assert(grant_allows_key(grant, ACCESS_READ, SLICE("w"), SLICE("x"), SLICE("k.1")));
    ck_assert(!grant_allows_key(grant, ACCESS_READ, SLICE("w"), SLICE("x"), SLICE("l")));
    ck_assert(grant_allows(grant, ACCESS_WRITE, SLICE("any"), SLICE("thing")));
    drop(&claims);
}
END_TEST

static size_t choose(const struct token_rules *servers, size_t count, const char *payload)
{
    struct buf token = make_token(HEAD, payload);
    size_t place = token_choose(buf_slice(&token), servers, count, reason, sizeof(reason));
    buf_free(&token);
    return place;
}

START_TEST(which_server)
{
    struct token_rules servers[] = {{.resource_server_id = "a", .verify_aud = true},
                                    {.resource_server_id = "b", .verify_aud = true},
                                    {.resource_server_id = "c", .verify_aud = false},
                                    {.resource_server_id = "d", .verify_aud = false}};
    ck_assert_uint_eq(choose(servers, 4, "{\"aud\":\"x b\"}"), 1);
    ck_assert_uint_eq(choose(servers, 4, "{\"aud\":[\"a\",\"x\"]}"), 0);
    ck_assert_uint_eq(choose(servers, 4, "{\"aud\":\"d\"}"), 3);
    ck_assert_uint_eq(choose(servers, 4, "{\"aud\":[\"a\",\"b\"]}"), 4);
    ck_assert_str_eq(reason, "the token's audience is more than one of the resource servers");
    ck_assert_uint_eq(choose(servers, 3, "{\"aud\":\"x\"}"), 2); /* the only one that takes any */
    ck_assert_uint_eq(choose(servers, 3, "{}"), 2);
    ck_assert_uint_eq(choose(servers, 4, "{}"), 4);
    ck_assert_uint_eq(choose(servers, 2, "{\"aud\":\"x\"}"), 2);
    ck_assert_str_eq(reason, "the token's audience is no resource server here");
    ck_assert_uint_eq(choose(servers, 1, "{}"), 1);
    ck_assert_uint_eq(choose(servers, 1, "[]"), 1);
    ck_assert_uint_eq(choose(&(struct token_rules){.resource_server_id = ""}, 1, "{\"aud\":\"\"}"),
                      0);
    ck_assert_uint_eq(token_choose(SLICE("no.token"), servers, 1, reason, sizeof(reason)), 1);
}
END_TEST

START_TEST(discovery)
{
    static const char *const bad[] = {"",
                                      "[]",
                                      "{}",
                                      "{\"jwks_uri\":7}",
                                      "{\"jwks_uri\":\"file:///etc/passwd\"}",
                                      "{\"jwks_uri\":\"https://a b\"}",
                                      "{\"jwks_uri\":\"https://a\\u0000b\"}",
                                      "{\"jwks_uri\":\"https://a\""};
    char url[32] = "";
    for (size_t i = 0; i < array_size(bad); i++)
        ck_assert_msg(!oauth2_read_discovery(slice_of_string(bad[i]), false, url, sizeof(url),
                                             reason, sizeof(reason)),
                      "%s", bad[i]);
    struct slice plain = SLICE("{\"issuer\":\"x\",\"jwks_uri\":\"http://a/keys\"}");
    ck_assert(!oauth2_read_discovery(plain, true, url, sizeof(url), reason, sizeof(reason)));
    ck_assert_str_eq(reason, "the OpenID configuration has no jwks_uri of https that can be used");
    ck_assert(oauth2_read_discovery(plain, false, url, sizeof(url), reason, sizeof(reason)));
    ck_assert_str_eq(url, "http://a/keys");
    ck_assert(
        !oauth2_read_discovery(SLICE("{\"jwks_uri\":\"https://0123456789012345678901234567890\"}"),
                               false, url, sizeof(url), reason, sizeof(reason)));
}
END_TEST

/* --- inquiries and guesses --- */

START_TEST(keys_of_inquiries)
{
    struct buf one = {0}, two = {0};
    struct inquiry a = {.kind = QUESTION_RESOURCE, .user = SLICE("a"), .vhost = SLICE("bc")};
    struct inquiry b = {.kind = QUESTION_RESOURCE, .user = SLICE("ab"), .vhost = SLICE("c")};
    inquiry_key(&a, &one);
    inquiry_key(&b, &two);
    ck_assert(!slice_equal(buf_slice(&one), buf_slice(&two)));
    a.password = SLICE("geheim");
    inquiry_key(&a, &one);
    ck_assert_ptr_null(memmem(one.at, one.len, "geheim", 6));
    buf_free(&one);
    buf_free(&two);
}
END_TEST

START_TEST(guessing)
{
    struct guard guard;
    uint64_t now = 1000;
    guard_init(&guard, 1);
    for (int i = 0; i < GUARD_FREE; i++) {
        ck_assert_uint_eq(guard_turn_ms(&guard, "192.0.2.1", now), now);
        guard_failed(&guard, "192.0.2.1", now);
    }
    uint64_t last = now, turn;
    while ((turn = guard_turn_ms(&guard, "192.0.2.1", now)) != GUARD_NEVER) {
        ck_assert(turn == now || turn == last + GUARD_PACE_MS);
        last = turn;
    }
    ck_assert_uint_le(last, now + GUARD_WAIT_MAX_MS);
    ck_assert_uint_eq(guard_turn_ms(&guard, "192.0.2.2", now), now);
    now += (uint64_t)GUARD_FORGET_MS * 2;
    ck_assert_uint_eq(guard_turn_ms(&guard, "192.0.2.1", now), now); /* forgiven */
    for (int i = 0; i < GUARD_FREE; i++)
        guard_failed(&guard, i % 2 ? "2001:db8::1" : "2001:db8::ffff", now);
    ck_assert_uint_eq(guard_turn_ms(&guard, "2001:db8::2", now), now);
    ck_assert_uint_eq(guard_turn_ms(&guard, "2001:db8::3", now), now + GUARD_PACE_MS); /* the same /64 */
    for (int i = 0; i < 2 * GUARD_ADDRESSES_MAX; i++) {
        char address[40];
        snprintf(address, sizeof(address), "10.%d.%d.%d", i >> 16, i >> 8 & 255, i & 255);
        guard_failed(&guard, address, now);
    }
    ck_assert_uint_eq(guard.by_address.size, GUARD_ADDRESSES_MAX);
    guard_free(&guard);
}
END_TEST

/* --- questions to a backend --- */

static void *start_nothing(struct backend *backend, const void *settings)
{
    (void)settings;
    return backend;
}

/* Keeps the question: nobody hears of it again. */
static bool keep(void *thread, struct question *question)
{
    (void)thread;
    question_free(&question);
    return false;
}

static void nothing(void *arg)
{
    (void)arg;
}

START_TEST(questions_are_bounded)
{
    static const struct backend_type silent = {"silent", start_nothing, keep, nothing, NULL};
    struct backend_options options = {.type = &silent, .threads = 1, .wake = nothing};
    struct backend *backend = backend_new(&options);
    struct inquiry about = {.kind = QUESTION_LOGIN, .user = SLICE("u"), .password = SLICE("p")};
    for (int i = 0; i < 4096; i++)
        ck_assert(backend_ask(backend, question_new(&about, NULL)));
    struct question *question = question_new(&about, NULL);
    ck_assert(!backend_ask(backend, question));
    ck_assert_int_eq(question->verdict, VERDICT_ERROR);
    ck_assert_ptr_nonnull(strstr(question->reason, "4096 questions to answer already"));
    question_free(&question);
    backend_free(&backend);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("grant");
    TCase *plain = tcase_create("plain"), *signed_case = tcase_create("tokens");
    tcase_add_checked_fixture(signed_case, make_key, drop_key);
    tcase_add_test(plain, wildcards);
    tcase_add_test(plain, scopes);
    tcase_add_test(plain, keys_of_inquiries);
    tcase_add_test(plain, guessing);
    tcase_add_test(plain, questions_are_bounded);
    tcase_add_test(signed_case, good_tokens);
    tcase_add_test(signed_case, refused_tokens);
    tcase_add_test(signed_case, damaged_tokens);
    tcase_add_test(signed_case, scope_aliases);
    tcase_add_test(signed_case, scopes_by_server);
    tcase_add_test(signed_case, authorization_details);
    tcase_add_test(signed_case, which_server);
    tcase_add_test(signed_case, discovery);
    tcase_add_test(signed_case, key_sets);
    suite_add_tcase(suite, plain);
    suite_add_tcase(suite, signed_case);
    return suite_run(suite);
}
