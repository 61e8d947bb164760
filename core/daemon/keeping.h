// SPDX-License-Identifier: Apache-2.0
/* A daemon's descriptors over its restart (core/daemon/store.h, core/daemon/descriptors.h): adopted at the start, kept
 * while it runs, left or taken out of the store at the end.
 *
 *   end by                  descriptors      sessions         rules, files of sockets
 *   SIGTERM, SIGINT         out of the store BYE              removed
 *   SIGUSR2                 left             end without BYE  stay, the next process replaces or adopts them
 *   SIGTERM, `unannounced_until`         as SIGUSR2
 *   a take-over             the next one's   the next one's   stay, they are the next process's
 *   SIGKILL, crash          left             gone             the same
 *   a start that fails      out of the store                  removed
 *   a take-over that fails  the old one's    the old one's    stay
 *
 * Clients of a daemon that left come back by RESET; a gateway with Reset = no sends BYE all the same. Control thread.
 */
#pragma once

#include <stdbool.h>

#include "core/daemon/daemon.h"

/* What the daemon opens; `layout` is not filled in. Borrows from the parameters. */
struct descriptors_plan daemon_plan(const struct daemon_params *params);

/* First in daemon_open(), when `notify` is open: with `keeps` the store's descriptors become `descriptors.given`
 * (`adopted`), or are refused (`refused`). A process that runs and gives its own takes precedence (`taken_over`): what
 * of that does not fit is an error. */
int daemon_take(struct daemon *daemon, struct error *why);

/* Gives `given` up, with a line of log: it does not fit, or cannot be adopted. */
void daemon_refuse(struct daemon *daemon, struct descriptor_list *given, const struct error *why);

/* Whether the descriptors may outlive this process: there is a service manager. When daemon_open() was called. */
static inline bool daemon_keeps(const struct daemon *daemon)
{
	return daemon->params.keeps && daemon->notify.fd >= 0;
}

/* When all is open: has the service manager keep the descriptors, if there is one. Only logs what is wrong. */
void daemon_keep(struct daemon *daemon);

/* By this signal: from now on the daemon leaves its descriptors to the next process (`leaving`), and is to end. False:
 * they are not kept, and nothing changed. */
bool daemon_leave(struct daemon *daemon, int signal_number);

/* First when everything ends: takes them out of the store, unless they are left. Again is allowed. */
void daemon_end_keeping(struct daemon *daemon);
