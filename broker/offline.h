/* offline.h - `leveret store …`: looks at a data directory without a server. */
#ifndef BROKER_OFFLINE_H
#define BROKER_OFFLINE_H

/* The words behind `store`: check DIR or dump DIR. Prints to standard output; returns the exit
 * status: 0 clean, 1 damaged, 2 the directory cannot be read or is in use, or the words are wrong.
 */
int offline_run(int argc, char **argv);

#endif
