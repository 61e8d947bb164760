// SPDX-License-Identifier: Apache-2.0
/* From a WireGuard server's file (config/wireguard_server.h) to the text of a gateway's configuration, which has the
 * keys of its peers in it, and to the lines about what is not taken over. */
#pragma once

#include <stddef.h>

#include "config/wireguard_server.h"

/* Something of the file that the configuration has not. */
struct import_left {
	unsigned line; /* in the file; 0: nowhere */
	const char *option;
	const char *value;
	const char *remedy; /* what there is instead; constant text */
};

enum { IMPORT_TEXT_MAX = 1024 };

/* Calls `tell` for each, in the order of the options. */
void import_each_left(const struct wireguard_server *file, void (*tell)(void *context, const struct import_left *left),
		      void *context);

/* "line 5: PostUp = ...: not taken over; REMEDY". What could be a key in it is hidden. Returns `text`. */
const char *import_left_text(const struct import_left *left, char text[IMPORT_TEXT_MAX]);

/* Formats the configuration, which names these two key files. With `hints` it begins with commands that make them. The
 * caller wipes and frees the text. NULL: no memory. */
char *import_format(const struct wireguard_server *file, const char *key_file, const char *wireguard_key_file,
		    bool hints);
