/* fuzz_answer.c - what an HTTP service answers when it is asked who may do what: nobody is let in but by an
 * answer that begins with the word allow, and tags are a list. An input: u8 kind of question, u8 status
 * (0 = 200), the body. */
#include <strings.h>

#include "auth/backend.h"
#include "auth/http_backend.h"
#include "base/assert.h"
#include "base/mem.h"
#include "tests/fuzz/fuzz.h"

const struct slice fuzz_seeds[] = {
    FUZZ_SEED("\0\0allow administrator  management\n"), FUZZ_SEED("\0\0deny"), FUZZ_SEED("\2\0 ALLOW "),
    FUZZ_SEED("\1\1allow"),
    FUZZ_SEED("\0\0allowed"),
    FUZZ_SEED("\3\0"),
};
const size_t fuzz_seeds_count = array_size(fuzz_seeds);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    enum question_kind kind = (enum question_kind)(data[0] % (QUESTION_TOPIC + 1));
    struct inquiry about = {.kind = kind, .user = SLICE("me")};
    struct question *question = question_new(&about, NULL);
    struct slice body = slice_of(data + 2, size - 2);
    http_backend_read(question, 200 + data[1], body);
    assert(question->reason[0]);
    if (question->verdict == VERDICT_ALLOW) {
        while (body.len && strchr(" \r\n\t", body.at[0]) && body.at[0])
            body = slice_of(body.at + 1, body.len - 1);
        assert(data[1] <= 1 && body.len >= 5 && strncasecmp((const char *)body.at, "allow", 5) == 0);
        assert((question->user.len > 0) == (about.kind <= QUESTION_USER));
    } else {
        assert(question->user.len == 0 && question->tags.len == 0);
    }
    question_free(&question);
    return 0;
}
