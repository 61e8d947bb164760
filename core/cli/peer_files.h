// SPDX-License-Identifier: Apache-2.0
/* The files that let one more client in: its own, and the [Peer] of the gateway's PeersDirectory. Both may hold
 * secrets: their texts are built in the caller's memory. */
#pragma once

#include "core/base/error.h"
#include "crypto/keys.h"

enum { PEER_FILE_MAX = 4096, PEER_PATH_MAX = 4096 };

/* What the gateway knows of a client; NULL: nothing. */
struct peer_file {
	const char *name;
	const char *public_key;
	const char *preshared_key, *preshared_key_file; /* one of them at most */
	const char *address;
	const char *allowed_ips; /* with commas between them */
};

/* The whole of a file with this peer. -E2BIG: it does not fit. */
int peer_file_format(const struct peer_file *peer, char text[PEER_FILE_MAX], struct error *error);

/* Writes DIRECTORY/NAME.conf, which must not be there yet: all of it or nothing, readable for the directory's group,
 * which the daemon is in, and for no others. `path` gets its name. */
int peer_file_save(const char *directory, const char *name, const char *text, char path[PEER_PATH_MAX],
		   struct error *error);

/* What a client needs to know. */
struct client_file {
	const char *name;
	const char *private_key, *preshared_key;
	const char *gateway_public_key;
	const char *endpoint;	 /* host:port */
	const char *allowed_ips; /* as above */
};

/* The whole of a file for `shardtun run`. */
int client_file_format(const struct client_file *client, char text[PEER_FILE_MAX], struct error *error);
