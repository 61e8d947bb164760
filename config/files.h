// SPDX-License-Identifier: Apache-2.0
/* What other kinds of files have in common with a gateway's (config/files.c). */
#pragma once

struct loader;

/* The begin of a [Peer], as of config/parser.h: a new one of the gateway's configuration, which loader->config is, or
 * begins with. */
void *files_peer_begin(struct loader *loader);
