/* arguments.c - the arguments of declarations, checked and compared. */
#include "broker/arguments.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "protocol/table.h"
#include "queue/dedup.h"
#include "queue/kind.h"
#include "queue/retry.h"

#define TIME_MAX_MS 315360000000 /* ten years */

/* A check returns NULL, or what is wrong in RabbitMQ's words, which users search for; in them %V stands for
 * the value and %T for its type. `args` are all arguments, for those that need another. */
typedef const char *argument_check(const struct field *field, struct slice args);

static const char *in_range(const struct field *field, int64_t min, int64_t max)
{
    int64_t value;
    if (!field_integer(field, &value))
        return "\"expected integer, got %T\"";
    if (value < min)
        return value == 0 ? "{value_zero,%V}" : "{value_negative,%V}";
    return value > max ? "{value_too_large,%V}" : NULL;
}

static const char *is_ttl(const struct field *field, struct slice args)
{
    (void)args;
    return in_range(field, 0, TIME_MAX_MS);
}

static const char *is_expires(const struct field *field, struct slice args)
{
    (void)args;
    return in_range(field, 1, TIME_MAX_MS);
}

static const char *is_length(const struct field *field, struct slice args)
{
    (void)args;
    return in_range(field, 0, INT64_MAX);
}

/* What is remembered to know duplicates by. */
static const char *is_memory(const struct field *field, struct slice args)
{
    (void)args;
    return in_range(field, 1, DEDUP_MAX);
}

static const char *is_priority(const struct field *field, struct slice args)
{
    int64_t value;
    (void)args;
    if (field_integer(field, &value) && value > 255)
        return "{max_value_exceeded,%V}";
    return in_range(field, 0, 255);
}

static const char *is_queue_version(const struct field *field, struct slice args)
{
    int64_t value;
    (void)args;
    if (field_integer(field, &value) && (value == 0 || value > 2))
        return "\"unsupported queue version '%V'\"";
    return in_range(field, 0, 2);
}

static const char *is_group_by(const struct field *field, struct slice args)
{
    struct slice text;
    struct field priority;
    struct group_by by;
    if (!field_string(field, &text))
        return "{unacceptable_type,%T}";
    if (table_find(args, "x-max-priority", &priority))
        return "a queue cannot order by group and by priority (x-max-priority)";
    return group_by_parse(text, &by)
               ? NULL
               : "expected header:NAME, routing-key, or property: with message-id, correlation-id, type, "
                 "app-id, user-id or reply-to";
}

static const char *is_group_max(const struct field *field, struct slice args)
{
    struct field by;
    if (!table_find(args, "x-group-by", &by))
        return "there is no x-group-by";
    return in_range(field, 1, GROUP_MAX);
}

static const char *is_delivery_limit(const struct field *field, struct slice args)
{
    (void)args;
    return in_range(field, -1, INT64_MAX);
}

static const char *is_delays(const struct field *field, struct slice args)
{
    struct field item;
    int count = 0;
    (void)args;
    if (field->type != 'A')
        return "an array is expected";
    for (struct slice rest = field->bytes; array_next(&rest, &item); count++) {
        if (in_range(&item, 0, TIME_MAX_MS))
            return "each delay has to be an integer from 0 to 315360000000";
    }
    return count > 0 && count <= RETRY_STEPS_MAX ? NULL : "1 to 32 delays are expected";
}

static const char *is_factor(const struct field *field, struct slice args)
{
    (void)args;
    return in_range(field, 1, RETRY_FACTOR_MAX);
}

static const char *is_percentage(const struct field *field, struct slice args)
{
    (void)args;
    return in_range(field, 0, RETRY_JITTER_MAX);
}

static const char *is_retry_limit(const struct field *field, struct slice args)
{
    (void)args;
    return in_range(field, 0, RETRY_LIMIT_MAX);
}

static const char *is_text(const struct field *field, struct slice args)
{
    struct slice text;
    (void)args;
    return field_string(field, &text) ? NULL : "{unacceptable_type,%T}";
}

/* What dead letters are sent with is a short string to those who get them. */
static const char *is_dead_letter_key(const struct field *field, struct slice args)
{
    struct field exchange;
    struct slice key;
    if (!table_find(args, "x-dead-letter-exchange", &exchange))
        return "routing_key_but_no_dlx_defined";
    if (!field_string(field, &key))
        return "{unacceptable_type,%T}";
    if (key.len > UINT8_MAX)
        return "a routing key has at most 255 bytes";
    return slice_is_utf8(key) ? NULL : "a routing key is UTF-8";
}

static const char *is_flag(const struct field *field, struct slice args)
{
    bool value;
    (void)args;
    return field_bool(field, &value) ? NULL : "{unacceptable_type,%T}";
}

/* NULL when the text is one of those in the NULL-terminated list. */
static const char *one_of(const struct field *field, const char *const *values, const char *expected)
{
    struct slice text;
    if (!field_string(field, &text))
        return "{unacceptable_type,%T}";
    for (; *values; values++)
        if (slice_is(text, *values))
            return NULL;
    return expected;
}

static const char *is_overflow(const struct field *field, struct slice args)
{
    static const char *const values[] = {"drop-head", "reject-publish", "reject-publish-dlx", NULL};
    (void)args;
    return one_of(field, values, "invalid_overflow");
}

static const char *is_queue_type(const struct field *field, struct slice args)
{
    static const char *const values[] = {"classic", "quorum", NULL};
    static const char *const stream[] = {"stream", NULL};
    (void)args;
    if (!one_of(field, stream, "not a stream"))
        return "unsupported queue type 'stream': this version has queues of type 'classic' and 'quorum'";
    return one_of(field, values, "\"unsupported queue type '%V'\"");
}

static const char *is_queue_mode(const struct field *field, struct slice args)
{
    static const char *const values[] = {"default", "lazy", NULL};
    (void)args;
    return one_of(field, values, "\"unsupported queue mode '%V'\"");
}

static const struct argument {
    const char *name;
    argument_check *check;
    bool acted_on;
} known[] = {
#define ARGUMENT(name, check, acted_on) {name, check, acted_on},
#include "broker/arguments.def"
#undef ARGUMENT
};

/* Arguments that mean nothing to a queue of one type, which RabbitMQ refuses there. */
static const char *const not_of_quorum[] = {"x-max-priority", "x-queue-mode", "x-queue-version",
                                            "x-queue-master-locator", "x-max-age",
                                            "x-stream-max-segment-size-bytes",
                                            "x-initial-cluster-size", NULL};
static const char *const not_of_classic[] = {"x-quorum-initial-group-size", "x-max-in-memory-length",
                                             "x-max-in-memory-bytes", "x-max-age",
                                             "x-stream-max-segment-size-bytes",
                                             "x-initial-cluster-size", NULL};

static bool check_type(struct slice args, const struct resource *what, struct fault *f)
{
    struct field field;
    enum kind_type type = kind_of_args(args).type;
    for (const char *const *name = type == KIND_QUORUM ? not_of_quorum : not_of_classic; *name; name++)
        if (table_find(args, *name, &field))
            return fault(f, PRECONDITION_FAILED,
                         "invalid arg '%s' for " RESOURCE_FORMAT " of queue type rabbit_%s_queue", *name,
                         RESOURCE_ARG(what), kind_type_name(type));
    return true;
}

/* The value alone: 1000, drop-head, true. */
static void describe(char *text, size_t size, const struct field *field)
{
    int64_t number;
    bool flag;
    struct slice string;
    if (field_integer(field, &number))
        snprintf(text, size, "%lld", (long long)number);
    else if (field_string(field, &string))
        snprintf(text, size, "%.*s", string.len > 60 ? 60 : (int)string.len, (const char *)string.at);
    else if (field_bool(field, &flag))
        snprintf(text, size, "%s", flag ? "true" : "false");
    else
        snprintf(text, size, "(%s)", field_type_name(field->type));
}

/* Says what is wrong with an argument; `reason` as a check returns it. Returns false. */
static bool refuse(const char *name, const struct field *field, const char *reason,
                   const struct resource *what, struct fault *f)
{
    char text[256], value[128];
    size_t len = 0;
    describe(value, sizeof(value), field);
    for (const char *at = reason; *at && len < sizeof(text) - 1; at++) {
        const char *word = strncmp(at, "%V", 2) == 0   ? value
                           : strncmp(at, "%T", 2) == 0 ? field_type_name(field->type)
                                                       : NULL;
        at += word != NULL;
        int n = snprintf(text + len, sizeof(text) - len, "%.*s", word ? (int)strlen(word) : 1,
                         word ? word : at);
        assertf(n >= 0, "snprintf returned %d", n); /* 0: the value is an empty text */
        len += (size_t)n;
    }
    text[len < sizeof(text) ? len : sizeof(text) - 1] = 0;
    return fault(f, PRECONDITION_FAILED, "invalid arg '%s' for " RESOURCE_FORMAT ": %s", name,
                 RESOURCE_ARG(what), text);
}

bool arguments_check_queue(struct slice args, const struct resource *what, struct fault *f)
{
    struct field field;
    struct slice text;
    if (table_find(args, "x-dead-letter-exchange", &field) && !field_string(&field, &text))
        return fault(f, PRECONDITION_FAILED,
                     "invalid type '%s' for arg 'x-dead-letter-exchange' in " RESOURCE_FORMAT,
                     field_type_name(field.type), RESOURCE_ARG(what));
    for (size_t i = 0; i < array_size(known); i++) {
        if (!table_find(args, known[i].name, &field))
            continue;
        const char *wrong = known[i].check(&field, args);
        if (wrong)
            return refuse(known[i].name, &field, wrong, what, f);
    }
    return check_type(args, what, f);
}

bool arguments_check_consumer(struct slice args, const struct resource *what, int64_t *priority,
                              struct fault *f)
{
    struct field field;
    *priority = 0;
    if (table_find(args, "x-priority", &field) && !field_integer(&field, priority))
        return fault(f, PRECONDITION_FAILED,
                     "invalid arg 'x-priority' for " RESOURCE_FORMAT ": \"expected integer, got %s\"",
                     RESOURCE_ARG(what), field_type_name(field.type));
    const char *wrong =
        table_find(args, "x-consumer-timeout", &field) ? is_ttl(&field, args) : NULL;
    return !wrong || refuse("x-consumer-timeout", &field, wrong, what, f);
}

/* A queue without a type is a classic one: to say so is no difference. */
static bool is_default(const char *name, const struct field *field)
{
    struct slice text;
    return strcmp(name, "x-queue-type") == 0 && field_string(field, &text) && slice_is(text, "classic");
}

/* Equal as RabbitMQ compares arguments: whole numbers of all widths by value, but never with one that could
 * have a fraction, though a headers exchange takes 1 and 1.0 for the same. */
static bool same_value(const struct field *a, const struct field *b)
{
    static const char reals[] = "fdD";
    return !strchr(reals, a->type) == !strchr(reals, b->type) && field_equal(a, b);
}

bool arguments_compare(const char *name, struct slice received, struct slice current,
                       const struct resource *what, struct fault *f)
{
    struct field new_field, old_field;
    bool has_new = table_find(received, name, &new_field);
    bool has_old = table_find(current, name, &old_field);
    if (has_new != has_old && is_default(name, has_new ? &new_field : &old_field))
        return true;
    if (has_new == has_old && (!has_new || same_value(&new_field, &old_field)))
        return true;
    char new_text[128], old_text[128];
    if (has_new)
        describe(new_text, sizeof(new_text), &new_field);
    if (has_old)
        describe(old_text, sizeof(old_text), &old_field);
    if (has_new && has_old)
        return fault(f, PRECONDITION_FAILED,
                     "inequivalent arg '%s' for " RESOURCE_FORMAT ": received '%s' but current is '%s'",
                     name, RESOURCE_ARG(what), new_text, old_text);
    if (has_new)
        return fault(f, PRECONDITION_FAILED,
                     "inequivalent arg '%s' for " RESOURCE_FORMAT
                     ": received the value '%s' of type '%s' but current is none",
                     name, RESOURCE_ARG(what), new_text, field_type_name(new_field.type));
    return fault(f, PRECONDITION_FAILED,
                 "inequivalent arg '%s' for " RESOURCE_FORMAT
                 ": received none but current is the value '%s' of type '%s'",
                 name, RESOURCE_ARG(what), old_text, field_type_name(old_field.type));
}

bool arguments_compare_queue(struct slice received, struct slice current,
                             const struct resource *what, struct fault *f)
{
    for (size_t i = 0; i < array_size(known); i++)
        if (!arguments_compare(known[i].name, received, current, what, f))
            return false;
    return true;
}

bool arguments_compare_flag(const char *name, bool received, bool current,
                            const struct resource *what, struct fault *f)
{
    if (received == current)
        return true;
    return fault(f, PRECONDITION_FAILED,
                 "inequivalent arg '%s' for " RESOURCE_FORMAT ": received '%s' but current is '%s'",
                 name, RESOURCE_ARG(what), received ? "true" : "false", current ? "true" : "false");
}

const char *arguments_without_effect(struct slice args)
{
    struct field field;
    for (size_t i = 0; i < array_size(known); i++)
        if (!known[i].acted_on && table_find(args, known[i].name, &field))
            return known[i].name;
    return NULL;
}
