// SPDX-License-Identifier: Apache-2.0
/* What a running client would leave behind if it were killed now, written down before it is done
 * ("/run/shardtun-client/shardtun0.state"), so that 'down' and the next start find it and take it back. The file is
 * locked while the client lives: there is one client for it at a time, and the kernel tells 'down' whom to end.
 *
 * Whoever could write it would have root undo what it never did, and whoever could lock it would be ended in a client's
 * place. So it is root's alone (0600), in a directory where only root makes names: that of the control sockets, which
 * the gateway's user shares, is none. A ControlSocket elsewhere has it beside the socket, under the same condition.
 * Main thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "config/config.h"
#include "core/client/dns.h"
#include "core/host/resolver.h"
#include "tun/nftables.h"

#define CLIENT_STATE_DIRECTORY "/run/shardtun-client"

enum { CLIENT_COMMAND_SECONDS = 30 /* for each PostUp and PostDown */ };

struct client_deeds {
	unsigned route_rank;  /* of these rules */
	uint32_t route_table; /* policy rules point to it; 0: there are none */
	bool kill_switch;
	bool firewall;			  /* the table of core/client/firewall.h */
	bool post_up;			  /* PostUp was begun */
	unsigned dns;			  /* ways by which name servers are set, CLIENT_DNS_BIT() */
	struct resolver_result endpoints; /* where the gateway was: behind a kill switch no name can be looked up */
};

struct client_record {
	const struct client_config *config;
	int fd; /* -1: not ours */
	char *path;
	struct nftables *nftables; /* which lays rules, and alone can remove those that it owns */
	struct client_deeds deeds;
};

/* Makes the file and locks it. record->deeds are those of a run that was killed; nothing when there was none, or it
 * took everything back, and of that run no process is left: it is waited for. -EBUSY: a client runs for it, or such a
 * process does not end. On failure nothing is left behind, but what was there before. */
int client_record_open(struct client_record *record, const struct client_config *config, struct error *error);

/* What the file says; `port` is that of the endpoints, which have none there. What cannot be read is as good as
 * nothing: the file is written whole, or was never written. */
void client_deeds_read(int fd, uint16_t port, struct client_deeds *deeds);

/* Writes the deeds down: before they are done, and after they were taken back. */
int client_record_write(struct client_record *record, struct error *error);

/* Takes back what the deeds say, and runs PostDown last. What cannot be is logged. With
 * `keep_kill_switch` that one stays in force and in the file. The kernel has no interface of the name any more, or
 * nothing points to it. */
void client_record_undo(struct client_record *record, bool keep_kill_switch);

/* Whether there is nothing to take back. */
bool client_record_is_clean(const struct client_record *record);

/* Lets go of the file, and removes it when there is nothing left to take back. Also after a failed open. */
void client_record_close(struct client_record *record);

/* The process that holds the lock, as the kernel knows it, whatever the file says; 0: there is none, or the file is not
 * there; or a negative errno. */
pid_t client_record_holder(const struct client_config *config, struct error *error);
