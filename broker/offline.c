/* offline.c - `leveret store check DIR` and `leveret store dump DIR`.
 * Owner: main, in place of a server. What they print is described in docs/format.md. */
#include "broker/offline.h"

#include <stdio.h>
#include <string.h>

#include "store/check.h"
#include "store/dump.h"

int offline_run(int argc, char **argv)
{
    const char *word = argc > 0 ? argv[0] : "";
    bool check = strcmp(word, "check") == 0, dump = strcmp(word, "dump") == 0;
    if ((!check && !dump) || argc != 2 || argv[1][0] == 0) {
        fputs("leveret: expected: store check DIR, or store dump DIR; leveret --help tells more\n",
              stderr);
        return CHECK_CANNOT;
    }
    enum check_status status =
        check ? check_run(io_system(), argv[1], stdout) : dump_run(io_system(), argv[1], stdout);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fputs("leveret: cannot write to the standard output\n", stderr);
        return CHECK_CANNOT;
    }
    return (int)status;
}
