// SPDX-License-Identifier: Apache-2.0
/* Checks the Host header of a request. A web page can make a browser send requests here by letting the page's own name
 * resolve to our address (DNS rebinding), and read the answers, since the browser takes both for one site. Host then
 * has the page's name; so a server for its own machine alone answers only to names that no other site can have. */
#pragma once

#include <stdbool.h>

/* Whether `host`, with or without port, is an IP address (IPv6 in brackets), localhost or `own_name`; letters' case
 * does not matter. `own_name` may be empty: no name. Pure. */
bool http_host_is_ours(const char *host, const char *own_name);
