/* commands.c - requests: from a line of JSON to the function of its verb, and the answer.
 *
 * Owner: whoever called request_new. A request lives as long as its answer is not complete; what it walks
 * through may change meanwhile (base/walk.h). Failure modes: a line that is no request is answered as such.
 */
#include "broker/commands.h"

#include <stdarg.h>
#include <stdio.h>

#include "broker/json_in.h"
#include "broker/json_out.h"
#include "broker/policies.h"

static const struct command commands[] = {
#define COMMAND(verb, arguments, changes) {#verb, arguments, command_##verb, changes},
#include "broker/commands.def"
#undef COMMAND
};

const struct command *command_at(size_t i)
{
    assert(i < array_size(commands));
    return &commands[i];
}

size_t command_count(void)
{
    return array_size(commands);
}

const struct command *command_find(struct slice verb)
{
    for (size_t i = 0; i < array_size(commands); i++)
        if (slice_is(verb, commands[i].verb))
            return &commands[i];
    return NULL;
}

bool request_fail(struct request *r, enum request_error error, const char *format, ...)
{
    assert(error != REQUEST_FINE && r->error == REQUEST_FINE);
    va_list args;
    va_start(args, format);
    vsnprintf(r->reason, sizeof(r->reason), format, args);
    va_end(args);
    r->error = error;
    r->step = NULL;
    return false;
}

struct slice request_text(const struct request *r, const char *name)
{
    struct slice text;
    return json_in_text(r->args, name, &text) ? text : SLICE("");
}

struct vhost *request_vhost(struct request *r)
{
    struct slice name = SLICE("/");
    json_in_text(r->args, "vhost", &name);
    struct vhost *v = server_find_vhost(r->server, name);
    if (!v)
        request_fail(r, REQUEST_MISSING, "Virtual host '%.*s' does not exist", SLICE_ARG(name));
    return v;
}

void request_row_begin(struct request *r)
{
    buf_append_slice(&r->out, SLICE("{\"row\":{"));
}

void request_row_end(struct request *r)
{
    buf_append_slice(&r->out, SLICE("}}\n"));
}

void request_result(struct request *r, const char *name, json_t *value)
{
    assert(value);
    if (!r->result)
        r->result = json_object();
    int status = json_object_set_new(r->result, name, value);
    assert(status == 0);
}

/* --- arguments --- */

static bool type_fits(char type, const json_t *value)
{
    switch (type) {
    case 'n':
        return json_is_integer(value);
    case 'b':
        return json_is_boolean(value);
    case 'o':
        return json_is_object(value) || json_is_array(value);
    case 'a':
        return json_is_array(value);
    default:
        return json_is_string(value);
    }
}

/* One word of a command's arguments. */
struct parameter_word {
    char name[32];
    char type; /* 0 = text */
    bool optional;
};

static bool next_word(const char **rest, struct parameter_word *word)
{
    const char *at = *rest + strspn(*rest, " ");
    size_t len = strcspn(at, " ");
    *rest = at + len;
    if (len == 0)
        return false;
    *word = (struct parameter_word){0};
    if (len > 2 && at[1] == ':') {
        word->type = at[0];
        at += 2, len -= 2;
    }
    word->optional = at[len - 1] == '?';
    len -= word->optional;
    assert(len < sizeof(word->name));
    memcpy(word->name, at, len);
    return true;
}

static bool is_argument(const struct command *command, const char *name)
{
    struct parameter_word word;
    for (const char *rest = command->arguments; next_word(&rest, &word);)
        if (strcmp(word.name, name) == 0)
            return true;
    return strcmp(name, "verb") == 0;
}

static bool check_arguments(struct request *r)
{
    struct parameter_word word;
    const char *name;
    json_t *value;
    for (const char *rest = r->command->arguments; next_word(&rest, &word);) {
        value = json_object_get(r->args, word.name);
        if (!value && !word.optional)
            return request_fail(r, REQUEST_MALFORMED, "%s needs the argument '%s'", r->command->verb,
                                word.name);
        if (value && !type_fits(word.type, value))
            return request_fail(r, REQUEST_MALFORMED, "%s: the argument '%s' is of a wrong type",
                                r->command->verb, word.name);
    }
    json_object_foreach(r->args, name, value)
    {
        if (!is_argument(r->command, name))
            return request_fail(r, REQUEST_MALFORMED, "%s has no argument '%.80s'", r->command->verb, name);
    }
    return true;
}

static bool read_request(struct request *r, struct slice line)
{
    char error[256];
    struct slice verb;
    r->args = json_in_parse(line, error, sizeof(error));
    if (!r->args)
        return request_fail(r, REQUEST_MALFORMED, "%s", error);
    if (!json_is_object(r->args) || !json_in_text(r->args, "verb", &verb))
        return request_fail(r, REQUEST_MALFORMED, "a request is an object with a \"verb\"");
    r->command = command_find(verb);
    if (!r->command)
        return request_fail(r, REQUEST_MALFORMED, "there is no verb '%.*s'",
                            (int)(verb.len < 80 ? verb.len : 80), (const char *)verb.at);
    return check_arguments(r);
}

/* --- life --- */

struct request *request_new(struct server *s, struct slice line)
{
    struct request *r = mem_zalloc(sizeof(*r));
    r->server = s;
    if (!read_request(r, line))
        return r;
    if (r->command->changes)
        log_line(&s->log, LOG_INFO, 0, "control: %s", r->command->verb);
    r->command->start(r);
    if (r->command->changes)
        r->batch = s->defined_batch;
    return r;
}

static void answer(struct request *r)
{
    static const char *const words[] = {[REQUEST_MALFORMED] = "malformed",
                                        [REQUEST_MISSING] = "not_found",
                                        [REQUEST_EXISTS] = "already_exists",
                                        [REQUEST_INVALID] = "invalid",
                                        [REQUEST_REFUSED] = "refused"};
    struct buf *out = &r->out;
    if (r->error) {
        buf_printf(out, "{\"error\":\"%s\",\"reason\":", words[r->error]);
        json_out_string(out, r->reason);
    } else {
        buf_append_slice(out, SLICE("{\"ok\":true"));
        if (r->result) {
            struct slice text = json_in_dump(r->result);
            buf_append_slice(out, SLICE(",\"result\":"));
            buf_append_slice(out, text);
            slice_free(&text);
        }
    }
    buf_append_slice(out, SLICE("}\n"));
    r->done = true;
}

/* What it changed is on disk, and living queues are as their policies say. */
static bool may_answer(const struct request *r)
{
    return r->batch <= r->server->durable_seen &&
           !(r->command && r->command->changes && policies_are_settling(r->server));
}

bool request_is_ready(const struct request *r)
{
    return !r->done && (r->step || may_answer(r));
}

void request_step(struct request *r)
{
    assert(!r->done);
    if (r->step) {
        r->step(r);
        if (r->command->changes)
            r->batch = r->server->defined_batch;
    }
    if (!r->step && may_answer(r))
        answer(r);
}

void request_free(struct request **request)
{
    struct request *r = *request;
    *request = NULL;
    walk_end(&r->listing.walk);
    for (size_t i = 0; i < r->listing.vhost_count; i++)
        slice_free(&r->listing.vhosts[i]);
    mem_free(r->listing.vhosts);
    if (r->free_work)
        r->free_work(r->work);
    json_decref(r->args);
    json_decref(r->result);
    buf_free(&r->out);
    mem_free(r);
}
