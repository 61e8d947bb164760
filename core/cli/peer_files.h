// SPDX-License-Identifier: Apache-2.0
/* The two files of a new client: its own, and the [Peer] in the gateway's PeersDirectory. Both may contain secrets, so
 * their texts are built in the caller's memory. */
#pragma once

#include <stdbool.h>

#include "core/base/error.h"
#include "crypto/keys.h"

enum { PEER_FILE_MAX = 4096, PEER_PATH_MAX = 4096 };

/* The gateway's side; NULL: the option is not given. */
struct peer_file {
	const char *name;
	const char *public_key;
	const char *preshared_key, *preshared_key_file; /* one of them at most */
	const char *address;
	const char *allowed_ips; /* separated by commas */
	const char *protocol;
	const char *rate_up, *rate_down, *burst, *quota, *quota_rate;
};

/* Formats the file with this peer. 0, or -E2BIG: it does not fit. */
int peer_file_format(const struct peer_file *peer, char text[PEER_FILE_MAX], struct error *error);

/* Writes DIRECTORY/NAME.conf, which must not exist, completely or not at all. Only the directory's group, which the
 * daemon is in, can read it. `path` gets its path. */
int peer_file_save(const char *directory, const char *name, const char *text, char path[PEER_PATH_MAX],
		   struct error *error);

/* How a file with secrets is written. */
struct secret_file {
	const char *directory, *name, *text;
	unsigned mode; /* also if the umask forbids it; in a directory whose files have its group (setgid), 0640 */
	bool replace;  /* one that is there */
	const char *or_else; /* what to do when one is there, for the message */
};

/* Writes the file completely or not at all, with the directory's group. `path` gets its path. 0, -EEXIST, or another
 * negative errno. */
int secret_file_save(const struct secret_file *file, char path[PEER_PATH_MAX], struct error *error);

/* The client's side. */
struct client_file {
	const char *name;
	const char *private_key, *preshared_key;
	const char *gateway_public_key;
	const char *endpoint;	 /* host:port */
	const char *allowed_ips; /* as above */
};

/* Formats the file for `shardtun run`. 0, or -E2BIG. */
int client_file_format(const struct client_file *client, char text[PEER_FILE_MAX], struct error *error);

/* The side of a client that speaks WireGuard, to which the gateway can tell nothing when it connects. */
struct wireguard_file {
	struct client_file client;
	const char *addresses; /* its own with prefix lengths, separated by commas */
	const char *dns;       /* the same without lengths; NULL: none */
	unsigned mtu;
	bool keepalive; /* it has to be reached while it sends nothing */
};

/* Formats the file for wg-quick(8) and the applications that import such files. 0, or -E2BIG. */
int wireguard_file_format(const struct wireguard_file *file, char text[PEER_FILE_MAX], struct error *error);
