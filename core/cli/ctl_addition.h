// SPDX-License-Identifier: Apache-2.0
/* What "shardtunctl peer add" (core/cli/ctl_peer.h) works on, and the file that it makes for a new client. */
#pragma once

#include "config/config.h"
#include "core/cli/ctl.h"
#include "core/cli/ctl_options.h"
#include "core/cli/peer_files.h"
#include "crypto/keys.h"

enum {
	ADDITION_FAMILIES = 2,
	ADDITION_ADDRESSES_SIZE = ADDITION_FAMILIES * IP_TEXT_MAX,
};

/* A peer to be added. In locked memory: it holds keys. */
struct addition {
	const struct ctl_options *options;
	struct ctl_target target;
	bool in_cluster; /* the gateway is, and peers go to: */
	struct ctl_target agent;
	struct gateway_config *config; /* from the file; NULL: not needed */
	char gateway_key[KEY_TEXT_SIZE];
	const char *name; /* or NULL */
	bool is_new;	  /* --new */
	bool wireguard;	  /* --wireguard */
	const char *key;  /* public; of a new peer: */
	char public_key[KEY_TEXT_SIZE], private_key[KEY_TEXT_SIZE], preshared_key[KEY_TEXT_SIZE];
	char peer_file[PEER_FILE_MAX], client_file[PEER_FILE_MAX];
	struct ctl_line request;
	/* of a WireGuard client, as the gateway has reserved them */
	struct ip_address addresses[ADDITION_FAMILIES];
	size_t address_count;
	char saved[PEER_PATH_MAX]; /* path of the file that --save wrote, or "" */
};

/* Its addresses, separated by commas; with `lengths` as prefixes of hosts. */
void addition_join_addresses(const struct addition *addition, bool lengths, char text[ADDITION_ADDRESSES_SIZE]);

/* Makes the client's file from the configuration, the keys and the options. 0, or -EINVAL and the like with `error`
 * set. */
int addition_make_file(struct addition *addition, struct error *error);
