// SPDX-License-Identifier: Apache-2.0
/* Whom a request's Host header names. A page on the web can have a browser ask us in its own name, by letting that name
 * lead to our address (DNS rebinding), and read the answers: the browser takes both for one site. What it then says in
 * Host is that name, so a server that only its own machine is to see answers no names but those that nobody else can
 * have. */
#pragma once

#include <stdbool.h>

/* Whether `host`, with or without port, is an IP address (IPv6 in brackets), localhost or `own_name`; letters' case
 * does not matter. `own_name` may be empty: no name. Pure. */
bool http_host_is_ours(const char *host, const char *own_name);
