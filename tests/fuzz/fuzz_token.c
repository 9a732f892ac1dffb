/* fuzz_token.c - JSON Web Tokens. An input that begins with 1 is the payload of a token whose signature was
 * right, one with 2 an OpenID configuration; all others are a whole token, which must never be good: nothing was signed with the test's key. */
#include <jansson.h>
#include <openssl/ec.h>
#include <openssl/evp.h>

#include "auth/oauth2.h"
#include "auth/token_claims.h"
#include "base/assert.h"
#include "base/mem.h"
#include "tests/fuzz/fuzz.h"

enum { NOW_S = 1700000000 };

const struct slice fuzz_seeds[] = {
    FUZZ_SEED("\1{\"aud\":\"rabbitmq\",\"exp\":1800000000,\"sub\":\"me\",\"scope\":\"rabbitmq.read:*/* "
              "rabbitmq.write:v%2F1/q*/k.* rabbitmq.tag:administrator\"}"),
    FUZZ_SEED("\1{\"aud\":[\"a\",\"rabbitmq\"],\"nbf\":1,\"client_id\":\"c\",\"scope\":[\"rabbitmq.configure:"
              "{vhost}/x\"],\"extra\":{\"b\":\"rabbitmq.read:a/b\"}}"),
    FUZZ_SEED("\1{\"aud\":\"rabbitmq\",\"exp\":1e400,\"scope\":{\"rabbitmq\":[\"read:*/*\",\"tag:x\"]}}"),
    FUZZ_SEED("\1[[[[]]]]"),
    FUZZ_SEED("\1{\"aud\":\"rabbitmq\",\"scope\":\"dev x\",\"authorization_details\":[{\"type\":\"rabbitmq\","
              "\"locations\":[\"cluster:rabbit*/vhost:v/queue:q/routing-key:a:b\",\"//:/cluster:\"],\"actions\":"
              "[\"read\",\"monitoring\",\"x\"]}]}"),
    FUZZ_SEED("\2{\"jwks_uri\":\"https://example.com/keys\"}"),
    /* {"alg":"ES256","kid":"k"} {"sub":"me"}, the algorithms none and HS256, a critical header */
    FUZZ_SEED("eyJhbGciOiJFUzI1NiIsImtpZCI6ImsifQ.eyJzdWIiOiJtZSJ9."
              "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
    FUZZ_SEED("eyJhbGciOiJub25lIn0.eyJzdWIiOiJtZSJ9."),
    FUZZ_SEED("eyJhbGciOiJIUzI1NiIsImtpZCI6ImsifQ.eyJzdWIiOiJtZSJ9.AAAA"),
    FUZZ_SEED("eyJhbGciOiJFUzI1NiIsImtpZCI6ImsiLCJjcml0IjpbXX0.e30.AAAA"),
};
const size_t fuzz_seeds_count = array_size(fuzz_seeds);

static const struct token_rules rules = {.resource_server_id = "rabbitmq",
                                         .scope_prefix = "rabbitmq.",
                                         .default_key = "k",
                                         .username_claims = "user_name",
                                         .additional_scopes = "extra.b",
                                         .server_type = "rabbitmq",
                                         .aliases = (const struct token_alias[]){{"dev", "rabbitmq.read:d/*"}},
                                         .alias_count = 1,
                                         .verify_aud = true};

static void use(struct token_claims *claims)
{
    const struct grant *grant = claims->grant;
    assert(grant->expires_s > NOW_S && grant->scope_count <= GRANT_SCOPES_MAX);
    assert(claims->user.len > 0 && claims->user.len <= 255);
    (void)grant_allows_vhost(grant, SLICE("v/1"));
    (void)grant_allows(grant, ACCESS_READ, SLICE("a"), SLICE("b"));
    (void)grant_allows_key(grant, ACCESS_WRITE, SLICE("v/1"), SLICE("q1"), SLICE("k.k.k.k"));
    slice_free(&claims->user);
    slice_free(&claims->tags);
    grant_drop(&claims->grant);
}

static void try_payload(struct slice text)
{
    struct token_claims claims = {0};
    char reason[200] = "";
    json_error_t wrong;
    json_t *payload =
        json_loadb(text.len ? (const char *)text.at : "", text.len, JSON_REJECT_DUPLICATES, &wrong);
    if (json_is_object(payload) &&
        token_claims_read(payload, &rules, NOW_S, &claims, reason, sizeof(reason)))
        use(&claims);
    else
        assert(claims.grant == NULL && claims.user.len == 0 && claims.tags.len == 0);
    json_decref(payload);
}

static void try_discovery(struct slice text)
{
    char url[64] = "", reason[200] = "";
    if (oauth2_read_discovery(text, true, url, sizeof(url), reason, sizeof(reason)))
        assert(strncmp(url, "https://", 8) == 0);
    else
        assert(reason[0] && !url[0]);
}

static void load_key(struct jwk_set *keys)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    assert(key);
    struct jwk *jwk = mem_zalloc(sizeof(*jwk));
    *jwk = (struct jwk){.id = slice_copy(SLICE("k")), .key = key};
    jwk_set_init(keys, 1);
    map_put(&keys->by_id, jwk->id, jwk);
    assert(jwk_find(keys, SLICE("k")) == key);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct jwk_set keys;
    if (keys.by_id.size == 0)
        load_key(&keys);
    if (size > 0 && data[0] == 1) {
        try_payload(slice_of(data + 1, size - 1));
        return 0;
    }
    if (size > 0 && data[0] == 2) {
        try_discovery(slice_of(data + 1, size - 1));
        return 0;
    }
    struct token_claims claims;
    char reason[200] = "";
    (void)token_choose(slice_of(data, size), &rules, 1, reason, sizeof(reason));
    enum token_result result =
        token_verify(slice_of(data, size), &rules, &keys, NOW_S, &claims, reason, sizeof(reason));
    assertf(result != TOKEN_GOOD && reason[0], "a token that nobody signed is good");
    assert(claims.grant == NULL && claims.user.len == 0);
    return 0;
}
