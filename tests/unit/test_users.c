/* test_users.c - users, password hashes, permission patterns and SASL PLAIN. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "auth/pattern.h"
#include "auth/users.h"
#include "base/mem.h"
#include "tests/unit/suite.h"

/* The example of RabbitMQ's passwords page: "test12" with the salt 90 8D C6 0A. */
#define TEST12 "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"

static struct users users;
static char error[256];

static void start(void)
{
    users_init(&users, 42);
    error[0] = 0;
}

static void stop(void)
{
    users_free(&users);
}

static struct user *put(const char *name, const char *password, const char *tags)
{
    char hash[PASSWORD_HASH_LENGTH + 1];
    struct rand rand = rand_seeded(7);
    password_hash(&rand, slice_of_string(password), hash);
    return user_put(&users, slice_of_string(name), slice_of_string(hash), slice_of_string(tags));
}

START_TEST(hash_is_rabbitmqs)
{
    ck_assert(password_matches(PASSWORD_SHA256, SLICE(TEST12), SLICE("test12")));
    ck_assert(!password_matches(PASSWORD_SHA256, SLICE(TEST12), SLICE("test13")));
    ck_assert(!password_matches(PASSWORD_SHA256, SLICE(TEST12), SLICE("test12 ")));
    ck_assert(!password_matches(PASSWORD_SHA256, SLICE(TEST12), SLICE("Test12")));
}
END_TEST

/* Salt 01020304, password "test12": from printf '\1\2\3\4test12' | openssl dgst -sha512 -binary, and -md5. */
START_TEST(other_hashes)
{
    const char *const sha512 =
        "AQIDBEasi57qQmKrKS3hT/tToZQTSGe0aIxheFJPzONWfcZLALq7JlkjIrc4zKmzoCl2i5"
        "ligSzH2lxUTbywDEUALuc=";
    const char *const md5 = "AQIDBDeBuuH8ubD+6IsvjTP2It8=";
    enum password_hashing hashing;
    ck_assert(password_matches(PASSWORD_SHA512, slice_of_string(sha512), SLICE("test12")));
    ck_assert(!password_matches(PASSWORD_SHA512, slice_of_string(sha512), SLICE("test13")));
    ck_assert(!password_matches(PASSWORD_SHA256, slice_of_string(sha512), SLICE("test12")));
    ck_assert(!password_matches(PASSWORD_SHA512, SLICE(TEST12), SLICE("test12")));
    ck_assert(password_matches(PASSWORD_MD5, slice_of_string(md5), SLICE("test12")));
    ck_assert(!password_matches(PASSWORD_MD5, slice_of_string(md5), SLICE("Test12")));
    ck_assert(password_hash_is_valid(PASSWORD_MD5, slice_of_string(md5)));
    ck_assert(!password_hash_is_valid(PASSWORD_SHA512, slice_of_string(md5)));
    ck_assert(password_hash_is_valid(PASSWORD_SHA512, SLICE("")));
    for (int i = 0; i < PASSWORD_HASHINGS; i++) {
        ck_assert(password_hashing_from_name(
            slice_of_string(password_hashing_name((enum password_hashing)i)), &hashing));
        ck_assert_int_eq((int)hashing, i);
    }
    ck_assert(!password_hashing_from_name(SLICE("sha512"), &hashing));
    ck_assert(password_hashing_from_name(SLICE(""), &hashing) && hashing == PASSWORD_SHA256);
}
END_TEST

START_TEST(limits_in_json)
{
    struct limits limits = limits_none();
    struct buf json = {0};
    ck_assert(limits_parse(&limits, LIMITS_OF_USER, SLICE("{\"max-channels\": 5}"), error, sizeof(error)));
    ck_assert(!limits_parse(&limits, LIMITS_OF_USER, SLICE("{\"max-channels\": 6, \"max\": 1}"), error,
                            sizeof(error)));
    ck_assert_str_eq(error, "unknown limit 'max': expected max-connections or max-channels");
    ck_assert_uint_eq(limits.max[LIMIT_CHANNELS], 5);
    ck_assert(limits_parse(&limits, LIMITS_OF_USER, SLICE("{\"max-connections\": 0}"), error, sizeof(error)));
    limits_print(&limits, &json);
    ck_assert(slice_is(buf_slice(&json), "{\"max-connections\":0,\"max-channels\":5}"));
    ck_assert(limits_reached(&limits, LIMIT_CONNECTIONS, 0));
    ck_assert(!limits_reached(&limits, LIMIT_CHANNELS, 4) && limits_reached(&limits, LIMIT_CHANNELS, 5));
    ck_assert(!limits_reached(&limits, LIMIT_QUEUES, UINT64_MAX - 1));
    buf_free(&json);
}
END_TEST

/* A removed user lives on as long as somebody holds it. */
START_TEST(references)
{
    struct user *bob = user_hold(put("bob", "x", ""));
    user_remove(&users, bob);
    ck_assert_ptr_null(user_find(&users, SLICE("bob")));
    ck_assert(slice_is(bob->name, "bob"));
    struct user *other = put("bob", "y", "");
    ck_assert_ptr_ne(other, bob);
    user_drop(&bob);
    ck_assert_ptr_null(bob);
    struct user *guest = user_new_outsider(SLICE("far"), SLICE("impersonator"), 1);
    ck_assert(guest->impersonator && !user_find(&users, SLICE("far")));
    user_drop(&guest);
}
END_TEST

START_TEST(hash_has_a_fresh_salt)
{
    char first[PASSWORD_HASH_LENGTH + 1], second[PASSWORD_HASH_LENGTH + 1];
    struct rand rand = rand_secure();
    password_hash(&rand, SLICE("geheim"), first);
    password_hash(&rand, SLICE("geheim"), second);
    ck_assert_uint_eq(strlen(first), PASSWORD_HASH_LENGTH);
    ck_assert_str_ne(first, second);
    ck_assert(password_matches(PASSWORD_SHA256, slice_of_string(first), SLICE("geheim")));
    ck_assert(password_matches(PASSWORD_SHA256, slice_of_string(second), SLICE("geheim")));
    ck_assert(!password_matches(PASSWORD_SHA256, slice_of_string(first), SLICE("geheim2")));
}
END_TEST

START_TEST(malformed_hash_matches_nothing)
{
    const char *const bad[] = {
        "",
        "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2PO",
        "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2PORx",
        "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2PO=",
        "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2P!R",
        "\nkI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2PO",
        "????????????????????????????????????????????????",
    };
    for (size_t i = 0; i < array_size(bad); i++)
        ck_assert_msg(!password_matches(PASSWORD_SHA256, slice_of_string(bad[i]), SLICE("test12")),
                      "%s", bad[i]);
}
END_TEST

/* A hash of the blank password is a well-formed hash; it must not open the door all the same. */
START_TEST(blank_password_is_refused)
{
    put("mallory", "", "");
    ck_assert_ptr_null(user_authenticate(&users, SLICE("mallory"), SLICE("")));
    ck_assert_ptr_null(user_authenticate(&users, SLICE("nobody"), SLICE("")));
    user_put(&users, SLICE("cleared"), SLICE(""), SLICE(""));
    ck_assert_ptr_null(user_authenticate(&users, SLICE("cleared"), SLICE("")));
    ck_assert_ptr_null(user_authenticate(&users, SLICE("cleared"), SLICE("x")));
}
END_TEST

START_TEST(login)
{
    struct user *alice = put("alice", "wonder\0land", "");
    ck_assert_ptr_eq(user_authenticate(&users, SLICE("alice"), SLICE("wonder")), alice);
    ck_assert_ptr_null(user_authenticate(&users, SLICE("alice"), SLICE("wonder\0land")));
    ck_assert_ptr_null(user_authenticate(&users, SLICE("alice"), SLICE("wonde")));
    ck_assert_ptr_null(user_authenticate(&users, SLICE("Alice"), SLICE("wonder")));
    ck_assert_ptr_null(user_authenticate(&users, SLICE(""), SLICE("wonder")));
}
END_TEST

START_TEST(put_replaces_and_keeps_permissions)
{
    struct user *bob = put("bob", "one", "monitoring, administrator");
    ck_assert(bob->administrator && !bob->impersonator);
    ck_assert(
        user_permit(bob, SLICE("/"), SLICE(".*"), SLICE(".*"), SLICE(".*"), error, sizeof(error)));
    ck_assert_ptr_eq(put("bob", "two", "impersonator"), bob);
    ck_assert(!bob->administrator && bob->impersonator);
    ck_assert_ptr_null(user_authenticate(&users, SLICE("bob"), SLICE("one")));
    ck_assert_ptr_eq(user_authenticate(&users, SLICE("bob"), SLICE("two")), bob);
    ck_assert_ptr_nonnull(user_permission(bob, SLICE("/")));
    /* Its own bytes given back to it. */
    ck_assert_ptr_eq(user_put(&users, bob->name, bob->password_hash, bob->tags), bob);
    ck_assert_ptr_eq(user_authenticate(&users, SLICE("bob"), SLICE("two")), bob);
    ck_assert(bob->impersonator);
}
END_TEST

START_TEST(tags_are_whole_words)
{
    ck_assert(!put("a", "x", "administrators,notimpersonator")->administrator);
    ck_assert(!put("a", "x", "administrators,notimpersonator")->impersonator);
    ck_assert(put("a", "x", ",,impersonator,")->impersonator);
    ck_assert(!put("a", "x", "")->administrator);
}
END_TEST

START_TEST(many_users)
{
    char name[32], password[32];
    for (int i = 0; i < 2000; i++) {
        snprintf(name, sizeof(name), "user-%d", i);
        snprintf(password, sizeof(password), "password-%d", i);
        ck_assert(user_permit(put(name, password, ""), SLICE("/"), SLICE("^a"), SLICE("b$"),
                              SLICE(""), error, sizeof(error)));
    }
    ck_assert_uint_eq(users.by_name.size, 2000);
    ck_assert_ptr_eq(user_authenticate(&users, SLICE("user-1999"), SLICE("password-1999")),
                     user_find(&users, SLICE("user-1999")));
    ck_assert_ptr_null(user_authenticate(&users, SLICE("user-1999"), SLICE("password-1998")));
}
END_TEST

START_TEST(permissions)
{
    struct user *carol = put("carol", "x", "");
    ck_assert_ptr_null(user_permission(carol, SLICE("/")));
    ck_assert(user_permit(carol, SLICE("/"), SLICE("^carol-"), SLICE("abc"), SLICE(""), error,
                          sizeof(error)));
    const struct permission *may = user_permission(carol, SLICE("/"));
    ck_assert_ptr_nonnull(may);
    ck_assert_ptr_null(user_permission(carol, SLICE("other")));
    ck_assert(slice_is(may->source[ACCESS_WRITE], "abc"));
    ck_assert(permission_allows(may, ACCESS_CONFIGURE, SLICE("carol-1")));
    ck_assert(!permission_allows(may, ACCESS_CONFIGURE, SLICE("x-carol-1")));
    ck_assert(permission_allows(may, ACCESS_WRITE, SLICE("xxabcxx"))); /* K109 */
    ck_assert(!permission_allows(may, ACCESS_WRITE, SLICE("xxABCxx")));
    ck_assert(!permission_allows(may, ACCESS_READ, SLICE("anything")));
    ck_assert(!permission_allows(may, ACCESS_READ, SLICE("amq.default")));

    /* A second permit replaces the first; a bad one leaves all as it was. */
    ck_assert(!user_permit(carol, SLICE("/"), SLICE(".*"), SLICE("(oops"), SLICE(".*"), error,
                           sizeof(error)));
    ck_assert_ptr_nonnull(strstr(error, "'(oops' is not a regular expression: "));
    ck_assert(!permission_allows(user_permission(carol, SLICE("/")), ACCESS_CONFIGURE, SLICE("q")));
    ck_assert(
        user_permit(carol, SLICE("/"), SLICE(".*"), SLICE(""), SLICE(".*"), error, sizeof(error)));
    may = user_permission(carol, SLICE("/"));
    ck_assert(permission_allows(may, ACCESS_CONFIGURE, SLICE("q")));
    ck_assert(!permission_allows(may, ACCESS_WRITE, SLICE("xxabcxx")));
    ck_assert(permission_allows(may, ACCESS_READ, SLICE("")));
}
END_TEST

static bool matches(const char *source, struct slice name)
{
    struct pattern *pattern = pattern_compile(slice_of_string(source), error, sizeof(error));
    ck_assert_msg(pattern != NULL, "%s", error);
    bool result = pattern_matches(pattern, name);
    pattern_free(&pattern);
    ck_assert_ptr_null(pattern);
    return result;
}

START_TEST(pattern_rules)
{
    ck_assert(matches(".*", SLICE("any\nthing")));
    ck_assert(matches(".*", SLICE("")));
    ck_assert(matches("", SLICE("")));
    ck_assert(matches("^$", SLICE("")));
    ck_assert(!matches("", SLICE("q")));
    ck_assert(!matches("^$", SLICE("q")));
    ck_assert(matches("b|c", SLICE("abx")));
    ck_assert(matches("^(amq\\.gen.*|amq\\.default)$", SLICE("amq.default")));
    ck_assert(!matches("^(amq\\.gen.*|amq\\.default)$", SLICE("amqxdefault")));
    ck_assert(matches("^..$", SLICE("\xc3\xa9"))); /* bytes, not characters */
    ck_assert(matches("x", SLICE("\xff\xfex")));
    ck_assert(matches("a.b", SLICE("a\0b")));
}
END_TEST

START_TEST(pattern_errors)
{
    const char *const bad[] = {"(", "[a", "*", "a{2,1}", "(*UTF)a", "(?<n>a)\\k<m>", "\\"};
    for (size_t i = 0; i < array_size(bad); i++) {
        error[0] = 0;
        ck_assert_ptr_null(pattern_compile(slice_of_string(bad[i]), error, sizeof(error)));
        ck_assert_msg(strstr(error, "is not a regular expression") != NULL, "%s: %s", bad[i],
                      error);
    }
    static char longest[PATTERN_LENGTH_MAX + 1];
    memset(longest, 'a', sizeof(longest));
    struct pattern *pattern =
        pattern_compile(slice_of(longest, PATTERN_LENGTH_MAX), error, sizeof(error));
    ck_assert_ptr_nonnull(pattern);
    pattern_free(&pattern);
    ck_assert_ptr_null(
        pattern_compile(slice_of(longest, PATTERN_LENGTH_MAX + 1), error, sizeof(error)));
    ck_assert_ptr_nonnull(strstr(error, "4097"));
    ck_assert_ptr_null(pattern_compile(SLICE("(((((((a{999}){999}){999}){999}){999}){999})"), error,
                                       sizeof(error)));
}
END_TEST

/* Without limits this takes longer than the universe is old. With them it says no. */
START_TEST(pattern_gives_up)
{
    char name[256];
    memset(name, 'a', sizeof(name) - 1);
    name[255] = 'b';
    ck_assert(!matches("(a+)+$", slice_of(name, sizeof(name))));
    ck_assert(!matches("^(a|a?)+$", slice_of(name, sizeof(name))));
    ck_assert(matches("(a+)+$", slice_of(name, 255)));
}
END_TEST

static bool plain(struct slice response, struct slice *name, struct slice *password)
{
    return sasl_plain(response, name, password);
}

START_TEST(plain_accepts)
{
    struct slice name, password;
    ck_assert(plain(SLICE("\0guest\0guest"), &name, &password));
    ck_assert(slice_is(name, "guest") && slice_is(password, "guest"));
    ck_assert(plain(SLICE("\0\xc3\xa4\0pass word"), &name, &password));
    ck_assert(slice_is(name, "\xc3\xa4") && slice_is(password, "pass word"));
    ck_assert(plain(SLICE("\0u\0"), &name, &password)); /* blank: for user_authenticate to refuse */
    ck_assert(slice_is(name, "u") && password.len == 0);
    ck_assert(plain(SLICE("\0\0p"), &name, &password));
    ck_assert(name.len == 0 && slice_is(password, "p"));
}
END_TEST

START_TEST(plain_refuses)
{
    struct slice name, password;
    ck_assert(!plain(SLICE(""), &name, &password));
    ck_assert(!plain(slice_of(NULL, 0), &name, &password));
    ck_assert(!plain(SLICE("\0"), &name, &password));
    ck_assert(!plain(SLICE("guest\0guest"), &name, &password));
    ck_assert(!plain(SLICE("\0guest"), &name, &password));
    ck_assert(
        !plain(SLICE("admin\0guest\0guest"), &name, &password)); /* K06: an authorization id */
    ck_assert(!plain(SLICE("\0guest\0guest\0"), &name, &password));
    ck_assert(!plain(SLICE("\0guest\0gu\0est"), &name, &password));
}
END_TEST

/* Every cut of a good response is read without a step outside it (a sanitizer build tells). */
START_TEST(plain_every_length)
{
    const struct slice whole = SLICE("\0guest\0secret");
    for (size_t len = 0; len <= whole.len; len++) {
        uint8_t *exact = malloc(len ? len : 1);
        memcpy(exact, whole.at, len);
        struct slice name, password;
        ck_assert_int_eq(sasl_plain(slice_of(exact, len), &name, &password), len >= 7);
        free(exact);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("users");
    TCase *tcase = tcase_create("users");
    tcase_add_checked_fixture(tcase, start, stop);
    tcase_add_test(tcase, hash_is_rabbitmqs);
    tcase_add_test(tcase, other_hashes);
    tcase_add_test(tcase, limits_in_json);
    tcase_add_test(tcase, references);
    tcase_add_test(tcase, hash_has_a_fresh_salt);
    tcase_add_test(tcase, malformed_hash_matches_nothing);
    tcase_add_test(tcase, blank_password_is_refused);
    tcase_add_test(tcase, login);
    tcase_add_test(tcase, put_replaces_and_keeps_permissions);
    tcase_add_test(tcase, tags_are_whole_words);
    tcase_add_test(tcase, many_users);
    tcase_add_test(tcase, permissions);
    tcase_add_test(tcase, pattern_rules);
    tcase_add_test(tcase, pattern_errors);
    tcase_add_test(tcase, pattern_gives_up);
    tcase_add_test(tcase, plain_accepts);
    tcase_add_test(tcase, plain_refuses);
    tcase_add_test(tcase, plain_every_length);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
