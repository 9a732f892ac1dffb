/* notify.h - tells the service manager (systemd) how the process stands. */
#ifndef NET_NOTIFY_H
#define NET_NOTIFY_H

/* Sends assignments, one a line ("READY=1"), to the socket that NOTIFY_SOCKET names; without one, or when
 * nobody reads there, nothing happens (sd_notify(3) has the words). */
void notify_manager(const char *state);

#endif
