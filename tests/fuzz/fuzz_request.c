/* fuzz_request.c - requests of the control socket, definitions among them, against a server in memory: each
 * line ends with one answer, all that is said is JSON, and the server is whole afterwards. */
#include <jansson.h>

#include "base/assert.h"
#include "base/mem.h"
#include "broker/commands.h"
#include "tests/fuzz/fuzz.h"
#include "tests/sim/fakedisk.h"

#define IMPORT(section, object)                                                                            \
    "{\"verb\":\"import_definitions\",\"definitions\":{\"" section "\":[" object "]}}"

const struct slice fuzz_seeds[] = {
    FUZZ_SEED("{\"verb\":\"ping\"}"),
    FUZZ_SEED(
        "{\"verb\":\"list_queues\",\"vhost\":\"/\",\"columns\":[\"name\",\"messages\",\"arguments\"]}"),
    FUZZ_SEED("{\"verb\":\"list_bindings\"}"),
    FUZZ_SEED("{\"verb\":\"list_exchanges\",\"columns\":[\"policy\",\"alternate_exchange\"]}"),
    FUZZ_SEED("{\"verb\":\"add_user\",\"name\":\"u\",\"password\":\"p\"}"),
    FUZZ_SEED("{\"verb\":\"set_user_tags\",\"name\":\"guest\",\"tags\":[\"a\",\"b\"]}"),
    FUZZ_SEED("{\"verb\":\"add_vhost\",\"name\":\"v\",\"metadata\":{\"description\":\"d\",\"tags\":[]}}"),
    FUZZ_SEED("{\"verb\":\"delete_vhost\",\"name\":\"v\"}"),
    FUZZ_SEED("{\"verb\":\"set_permissions\",\"user\":\"guest\",\"configure\":\".*\",\"write\":\"\","
              "\"read\":\"^a\"}"),
    FUZZ_SEED("{\"verb\":\"set_policy\",\"name\":\"p\",\"pattern\":\"^q\",\"definition\":\"{\\\"max-"
              "length\\\":5}\","
              "\"priority\":1,\"apply_to\":\"queues\"}"),
    FUZZ_SEED("{\"verb\":\"clear_policy\",\"name\":\"p\"}"),
    FUZZ_SEED("{\"verb\":\"set_vhost_limits\",\"definition\":\"{\\\"max-queues\\\":5}\"}"),
    FUZZ_SEED("{\"verb\":\"set_global_parameter\",\"name\":\"g\",\"value\":\"[1,2]\"}"),
    FUZZ_SEED("{\"verb\":\"close_connection\",\"connection\":\"<a@b.1.0>\",\"reason\":\"r\"}"),
    FUZZ_SEED("{\"verb\":\"delete_queue\",\"name\":\"q\",\"if_empty\":true}"),
    FUZZ_SEED("{\"verb\":\"export_definitions\"}"),
    FUZZ_SEED("{\"verb\":\"export_definitions\",\"vhost\":\"/\"}"),
    FUZZ_SEED(IMPORT("queues", "{\"name\":\"q\",\"vhost\":\"/\",\"durable\":true,\"arguments\":"
                               "{\"x-max-length\":5,\"l\":[1,2.5,null,{}]}}")),
    FUZZ_SEED(IMPORT("exchanges", "{\"name\":\"x\",\"vhost\":\"/\",\"type\":\"topic\",\"arguments\":{}}")),
    FUZZ_SEED(IMPORT("bindings",
                     "{\"source\":\"amq.headers\",\"vhost\":\"/\",\"destination\":\"q\","
                     "\"destination_type\":\"queue\",\"routing_key\":\"k\",\"arguments\":{\"x-match\":"
                     "\"any\"}}")),
    FUZZ_SEED(IMPORT("users", "{\"name\":\"v\",\"password_hash\":\"\",\"tags\":[\"t\"],\"limits\":"
                              "{\"max-channels\":1}}")),
    FUZZ_SEED(IMPORT("policies", "{\"name\":\"p\",\"vhost\":\"/\",\"pattern\":\"a+\",\"definition\":"
                                 "{\"expires\":5},\"priority\":0,\"apply-to\":\"all\"}")),
    FUZZ_SEED(IMPORT("parameters",
                     "{\"component\":\"operator_policy\",\"vhost\":\"/\",\"name\":\"o\",\"value\":"
                     "{\"pattern\":\"\",\"definition\":[[\"max-length\",5]],\"priority\":0}}")),
    FUZZ_SEED(IMPORT("permissions", "{\"user\":\"guest\",\"vhost\":\"/\",\"configure\":\"\",\"write\":\"\","
                                    "\"read\":\"\"}")),
};
const size_t fuzz_seeds_count = array_size(fuzz_seeds);

enum { INPUTS_A_SERVER = 400, TURNS_MAX = 1000 };

static uint64_t standing_still(void *arg)
{
    (void)arg;
    return 1000000000;
}

/* One server for many inputs: what the ones before it left is part of the test. */
struct stage {
    struct server server;
    struct config config;
    struct fakedisk *disk;
    unsigned inputs;
};

static void open_stage(struct stage *stage)
{
    char error[256];
    static const char *const settings[][2] = {{"log.console", "false"}, {"data_dir", "data"}};
    config_defaults(&stage->config);
    for (size_t i = 0; i < array_size(settings); i++)
        if (!config_set(&stage->config, settings[i][0], settings[i][1], "fuzz", error, sizeof(error)))
            panic("%s", error);
    stage->disk = fakedisk_new(1);
    struct server_options options = {.config = &stage->config,
                                     .clock = {standing_still, standing_still, NULL},
                                     .rand = rand_seeded(1),
                                     .io = fakedisk_io(stage->disk),
                                     .simulated = true};
    bool opened = server_open(&stage->server, &options);
    assert(opened);
    stage->inputs = 0;
}

static void close_stage(struct stage *stage)
{
    server_close(&stage->server);
    fakedisk_free(&stage->disk);
}

static void check_lines(struct slice out)
{
    unsigned answers = 0;
    while (out.len) {
        const uint8_t *end = memchr(out.at, '\n', out.len);
        assert(end);
        size_t len = (size_t)(end - out.at);
        json_error_t where;
        json_t *line = json_loadb((const char *)out.at, len, JSON_ALLOW_NUL, &where);
        assertf(json_is_object(line), "%.*s: %s", (int)len, (const char *)out.at, where.text);
        assert(answers == 0);
        if (!json_object_get(line, "row"))
            answers++;
        json_decref(line);
        out = slice_of(end + 1, out.len - len - 1);
    }
    assert(answers == 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct stage stage;
    if (!stage.disk)
        open_stage(&stage);
    struct server *s = &stage.server;
    struct request *r = request_new(s, slice_of(data, size));
    for (int turn = 0; !r->done; turn++) {
        assert(turn < TURNS_MAX);
        request_step(r);
        server_act(s);
        store_sync_now(s->store);
    }
    check_lines(buf_slice(&r->out));
    request_free(&r);
    assert(list_empty(&s->control.walks));
    if (s->stopping || ++stage.inputs == INPUTS_A_SERVER) {
        map_each (&s->vhosts, i)
            vhost_check(s->vhosts.slots[i].value);
        close_stage(&stage);
    }
    return 0;
}
