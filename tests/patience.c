/* patience.c - a check program that is run by hand may take as long as under meson, which sets the same:
 * libcheck's own limit of four seconds for a case is short on a machine that does other things. */
#include <stdlib.h>

__attribute__((constructor)) static void be_patient(void)
{
    setenv("CK_DEFAULT_TIMEOUT", "120", 0);
}
