// SPDX-License-Identifier: Apache-2.0
/* The status page, perf/export/page.html, which is part of the program. */
#pragma once

#include <stddef.h>

#include "core/base/bytes.h"

enum { PAGE_POLICY_MAX = 512 };

extern const char page_html[], page_html_end[];

static inline size_t page_length(void)
{
	return (size_t)(page_html_end - page_html);
}

/* A Content-Security-Policy under which the page's own script and style run, and no other, and which can reach only
 * the server that it came from. Returns `text`. */
const char *page_policy(char text[PAGE_POLICY_MAX]);
