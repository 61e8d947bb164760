// SPDX-License-Identifier: Apache-2.0
/* A write-ahead journal ("/run/shardtun-client/shardtun0.state") of what a client changes on the machine. Each change
 * is written before it is made, so that 'down' and the next start can undo what a killed client left behind. The file
 * is locked while the client runs: there is one client for it at a time, and 'down' learns its process ID from the
 * lock.
 *
 * A user that could write the file would make root undo arbitrary things, and one that could lock it would have 'down'
 * kill a process of its choice. So the file is root's alone (0600), in a directory that only root can write to: not in
 * that of the control sockets, which the gateway's user shares. With a ControlSocket in another directory the journal
 * is beside the socket, under the same condition. Main thread. */
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

struct applied {
	uint32_t route_table; /* that policy rules look up; 0: there are none */
	unsigned route_rank;  /* of these rules */
	bool kill_switch;
	bool firewall;			  /* the table of core/client/firewall.h */
	bool post_up;			  /* PostUp was started */
	unsigned dns;			  /* ways by which name servers are set, DNS_BIT() */
	struct resolver_result endpoints; /* of the gateway: behind a kill switch its name may not resolve */
};

struct journal {
	const struct client_config *config;
	int fd; /* locked; -1: not open */
	char *path;
	struct nftables *nftables; /* owns the tables that it sets: no other process can remove them */
	struct applied applied;
};

/* Creates or opens the file and locks it. journal->applied is then what a killed run left behind, or empty. Waits until
 * the nftables process of that run has ended. -EBUSY: a client holds the lock, or that process does not end. On failure
 * a file that was there before stays as it was. */
int journal_open(struct journal *journal, const struct client_config *config, struct error *error);

/* Reads the file. Endpoints have no port in it: they get `port`. A file that cannot be parsed reads as empty: it is
 * written in one piece, so it was never written. */
void journal_parse(int fd, uint16_t port, struct applied *applied);

/* Writes journal->applied: before each change, and after it was undone. */
int journal_write(struct journal *journal, struct error *error);

/* Undoes journal->applied, and runs PostDown last. Failures are logged. With `keep_kill_switch` the kill switch stays
 * in force and in the journal. The interface must be gone, or have no routes left to it. */
void journal_undo(struct journal *journal, bool keep_kill_switch);

/* Whether there is nothing to undo. */
bool journal_is_clean(const struct journal *journal);

/* Unlocks the file, and removes it when there is nothing left to undo. Also after a failed open. */
void journal_close(struct journal *journal);

/* The process that holds the lock, by the kernel's word and not the file's. 0: none does, or there is no file; or a
 * negative errno. */
pid_t journal_holder(const struct client_config *config, struct error *error);
