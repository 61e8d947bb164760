// SPDX-License-Identifier: Apache-2.0
/* What a daemon gives up between its start and the first packet: privileges, and system calls that it does not need.
 * Control thread; each returns 0, or a negative errno with `error` set. */
#pragma once

#include "core/daemon/daemon.h"
#include "core/host/privileges.h"

/* Before the first thread is started: makes the filters of system calls, and has the data-path threads load theirs. */
int daemon_prepare_filters(struct daemon *daemon, struct error *error);
void daemon_free_filters(struct daemon *daemon);

/* Becomes that user and gives up what the control thread does not need: before the first thread is started, when all
 * is open. What CpuPriority takes stays until daemon_settle_priority(). */
int daemon_drop_privileges(struct daemon *daemon, const struct privileges_user *user, struct error *error);

/* When all threads of the data path run: gives up what they needed to set their priority, and logs what became of
 * CpuPriority. */
int daemon_settle_priority(struct daemon *daemon, struct error *error);

/* The same in a client, which keeps its rights. */
void daemon_tell_priority(const struct daemon *daemon);

/* When all threads run: filters the system calls of the control thread and of liburcu's, too. */
int daemon_filter_calls(struct daemon *daemon, struct error *error);
