// SPDX-License-Identifier: Apache-2.0
/* A gateway takes the sessions, sockets and queues of a running one, and gives its own to the next: core/handover/ has
 * the steps, and this is what a gateway does at each. The running one listens on a socket beside its control socket,
 * ControlSocket with ".takeover" behind it, which only its user and root may use. Control thread. */
#pragma once

#include "core/control/listener.h"
#include "core/daemon/daemon.h"
#include "core/handover/export.h"

#define GATEWAY_TAKEOVER_SUFFIX ".takeover"

/* What is given besides those of core/daemon/descriptors.h. */
#define GATEWAY_TAKEOVER_LISTENER "takeover"
#define GATEWAY_TAKEOVER_QUOTA	  "quota"

struct gateway;

/* How a gateway starts. */
enum gateway_start {
	GATEWAY_OPENS,	    /* alone */
	GATEWAY_TAKES_OVER, /* from the one that runs */
	GATEWAY_RELOADS,    /* the same, or if that has the same program, it only reads its configuration again */
};

/* How far another process is with its take-over. */
enum gateway_takeover_stage {
	TAKEOVER_CONNECTED,
	TAKEOVER_ANSWERED, /* it has the descriptors */
	TAKEOVER_EXPORTED, /* and the records: handshakes rest */
};

struct gateway_takeover {
	/* the new process */
	enum gateway_start start;
	bool reloaded;			 /* nothing is to be taken over */
	int old;			 /* connected to the old one; -1: there is none, or it was left */
	struct descriptor_list given;	 /* by that */
	int given_listener, given_quota; /* -1: none */
	/* the old process */
	struct control_listener listener;
	int epoll_fd;
	bool paused;	/* the listener, until the next second */
	int connection; /* -1: none */
	enum gateway_takeover_stage stage;
	struct handover_export export; /* from TAKEOVER_EXPORTED on */
	uint64_t exporting;	       /* since when, monotonic ns */
	unsigned readings; /* of the configuration, until the other process gets the outcome; 0: it takes over */
	uint32_t changes;  /* as the registry had it, when the other process was answered */
	uint64_t deadline; /* monotonic ns: then the other process is to have gone on */
	/* either */
	uint64_t frozen;	/* since when the data path stands still, monotonic ns */
	uint64_t wait;		/* the new process: for how long packets waited, ns; 0: it took nothing over */
	size_t sessions;	/* that it took over */
	uint64_t device, inode; /* of the program's file; 0: unknown */
	uint64_t manager;	/* of the service manager and its unit; 0: none */
	uint64_t watchdog;	/* what the service manager told the old one, ns */
};

/* No take-over so far. */
void gateway_takeover_init(struct gateway_takeover *takeover, enum gateway_start start);

/* Unless it opens, when the parameters are complete: gets the running gateway's descriptors, for daemon_open(). 0, or a
 * negative errno with `error`: also when `reloaded` is set. */
int gateway_takeover_ask(struct gateway *gateway, struct daemon_params *params, struct error *error);

/* The same, when everything is made, and the threads stand still: gets the sessions. From here on this process
 * serves, and the other one ends; on failure that one serves on. Nothing to do otherwise. */
int gateway_takeover_claim(struct gateway *gateway, struct error *error);

/* Last at a start: from here on an end is for good. Before, after a claim, one by which the next process goes on with
 * the descriptors, where the service manager has them. */
void gateway_takeover_complete(struct gateway *gateway);

/* Whether another process's descriptors are in use here and its sessions are not: nothing of the machine is to be
 * removed at the end, and no session is said good-bye. */
bool gateway_takeover_pending(const struct gateway *gateway);

/* Listens for the next process, before rights are dropped; a path that is too long is said and is no error. */
int gateway_takeover_open(struct gateway *gateway, struct error *error);
void gateway_takeover_close(struct gateway *gateway);

/* The socket becomes this user's, as control_listener_give(). */
int gateway_takeover_give(const struct gateway *gateway, struct error *error);

/* `epoll_fd` is readable. Does not return when the next process has the sessions. */
void gateway_takeover_ready(struct gateway *gateway);

/* The configuration was read again, or was not, as `failure` says: a process that waits for that gets the outcome. */
void gateway_takeover_reloaded(struct gateway *gateway, const struct error *failure);

/* A process that does not go on is left. */
void gateway_takeover_every_second(struct gateway *gateway);
